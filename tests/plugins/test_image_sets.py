"""Evaluators of image sets: each against a closed form or an independent implementation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.neighbors import NearestNeighbors

from genbench.errors import DataError
from genbench.executors import Event
from genbench.images import Subset, TensorImages
from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.protocols import Evaluation, ImageSet, RunContext
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.seeding import generator
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.testing.suites import EvaluatorConformance
from genbench.walk import Observer
from genbench.worker import RunOptions
from genbench_evaluators import _neighbours as neighbours
from genbench_evaluators._neighbours import nearest
from genbench_evaluators.configs.fid import FidConfig
from genbench_evaluators.configs.kid import KidConfig
from genbench_evaluators.configs.memorization import MemorizationConfig
from genbench_evaluators.configs.mmd import MmdConfig
from genbench_evaluators.configs.precision_recall import PrecisionRecallConfig
from genbench_evaluators.configs.vendi import VendiConfig
from genbench_evaluators.fid import Fid
from genbench_evaluators.inception_score import inception_score
from genbench_evaluators.kid import Kid
from genbench_evaluators.label_fidelity import by_class
from genbench_evaluators.memorization import Memorization
from genbench_evaluators.mmd import Mmd
from genbench_evaluators.precision_recall import PrecisionRecall, manifold
from genbench_evaluators.vendi import Vendi, vendi_score

MakeImages = Callable[..., TensorImages]
RunCells = Callable[..., tuple[Plan, RunSummary]]


class TestKid(EvaluatorConformance):
    component = "kid"


class TestPrecisionRecall(EvaluatorConformance):
    component = "precision_recall"


class TestVendi(EvaluatorConformance):
    component = "vendi"


class TestInceptionScore(EvaluatorConformance):
    component = "inception_score"


class TestLabelFidelity(EvaluatorConformance):
    component = "label_fidelity:judge=cnn"


class TestFidWithEverything(EvaluatorConformance):
    component = "fid:per_class=true,extrapolate=true"


class TestPolynomialMmd(EvaluatorConformance):
    component = "mmd:kernel=polynomial"


def normal(count: int, dimensions: int = 6, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=rng) + shift


def image_set(make_images: MakeImages, features: torch.Tensor, seed: int = 0) -> ImageSet:
    return ImageSet(make_images(len(features), seed=seed), features.numpy())


def values(evaluation: Evaluation) -> dict[str, float | None]:
    return {metric.label: metric.value for metric in evaluation.metrics}


def sizes(evaluation: Evaluation) -> dict[str, int | None]:
    return {metric.label: metric.n for metric in evaluation.metrics}


@pytest.fixture
def sets(make_images: MakeImages) -> Callable[..., tuple[ImageSet, dict[str, ImageSet]]]:
    """A synthetic set, shifted against train, val and test."""

    def make(shift: float = 0.3, count: int = 200) -> tuple[ImageSet, dict[str, ImageSet]]:
        real = {
            name: image_set(make_images, normal(size, seed=seed), seed)
            for seed, (name, size) in enumerate({"train": 200, "val": 100, "test": 120}.items(), start=1)
        }
        return image_set(make_images, normal(count, shift=shift, seed=9), 9), real

    return make


# --------------------------------------------------------------------------------------------- kid, mmd, fid


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")  # of torchmetrics
def test_kid_is_torchmetrics(sets: Any, ctx: RunContext) -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    synthetic, real = sets()
    evaluation = Kid(KidConfig()).evaluate(synthetic, real, ctx)
    found = values(evaluation)["kid[reference,train]"]
    assert sizes(evaluation)["kid[reference,train]"] == 200
    theirs = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=200)
    theirs.update(torch.from_numpy(real["train"].features), real=True)
    theirs.update(torch.from_numpy(synthetic.features), real=False)
    assert found == pytest.approx(float(theirs.compute()[0]), rel=1e-3)


def test_kid_of_equal_distributions_is_about_its_floor(sets: Any, ctx: RunContext) -> None:
    evaluations = [Kid(KidConfig()).evaluate(*sets(shift), ctx) for shift in (0.0, 1.0)]
    near, far = map(values, evaluations)
    floor = near["kid_floor[reference,val]"]
    assert floor == far["kid_floor[reference,val]"]
    assert abs(near["kid[reference,val]"] or 0) < 0.2
    assert (far["kid[reference,val]"] or 0) > 1
    assert {sizes(one)[f"kid{kind}[reference,val]"] for one in evaluations for kind in ("", "_floor")} == {
        100
    }


def test_mmd_options_take_effect_and_p_says_what_is_different(sets: Any, ctx: RunContext) -> None:
    same, other = (Mmd(MmdConfig()).evaluate(*sets(shift), ctx) for shift in (0.0, 0.8))
    name = "mmd2_p[reference,val]"
    assert sizes(same)[name] == 100
    assert (values(same)[name] or 0) > 0.05
    assert values(other)[name] == pytest.approx(1 / 201)
    assert not [
        one for one in Mmd(MmdConfig(permutations=0)).evaluate(*sets(), ctx).metrics if one.role == "p_value"
    ]
    main = "mmd2[reference,train]"
    assert sizes(same)[main] == 200
    several = {
        str(options): values(Mmd(MmdConfig(permutations=0, **options)).evaluate(*sets(), ctx))[main]
        for options in ({}, {"bandwidth_factors": (0.5, 1, 2)}, {"kernel": "polynomial"}, {"bandwidth": 3.0})
    }
    assert len(set(several.values())) == 4


@pytest.mark.parametrize("kernel", ["rbf", "polynomial"])
def test_p_is_fair_where_images_lie_class_by_class_and_more_than_are_permuted(
    make_images: MakeImages, make_context: Callable[..., RunContext], monkeypatch: Any, kernel: str
) -> None:
    """The first rows of a sorted set are of a few classes: real against real had p = 0.005."""
    monkeypatch.setattr("genbench_evaluators.mmd._MOST_PERMUTED", 60)
    centres = normal(4, 6, seed=0).mul(3)
    labels = torch.arange(240) % 4  # of val, in the dataset's order; the others are sorted

    def p(seed: int, shift: float) -> float:
        drawn = {name: normal(240, seed=10 * seed + k) for k, name in enumerate(("made", "train", "val"))}
        made = image_set(make_images, drawn["made"] + centres[labels.sort().values] + shift)
        real = {"train": image_set(make_images, drawn["train"] + centres[labels.sort().values])}
        real["val"] = image_set(make_images, drawn["val"] + centres[labels])
        config = MmdConfig(permutations=39, kernel=kernel)
        found = Mmd(config).evaluate(made, real, make_context(step_seed=seed)).metrics[-1]
        assert (found.role, found.n) == ("p_value", 60)
        assert found.note == "Against val, 39 random splits of 60 and 60 images."
        return found.value or 0.0

    same = [p(seed, 0.0) for seed in range(20)]
    assert 0.25 < np.mean(same) < 0.75
    assert sum(value <= 0.25 for value in same) <= 10  # 5 expected; with the first rows all 20 were
    assert max(p(seed, 2.0) for seed in range(3)) <= 2 / 40
    monkeypatch.setattr("genbench_evaluators.mmd._drawn", lambda features, count, ctx: features[:count])
    assert max(p(seed, 0.0) for seed in range(3)) == pytest.approx(1 / 40)  # what the first rows gave


def test_p_is_fair_for_more_than_2000_sorted_images(make_images: MakeImages, ctx: RunContext) -> None:
    centres, labels = normal(4, 6, seed=0).mul(3), torch.arange(2400) % 4
    made = image_set(make_images, normal(2400, seed=1) + centres[labels.sort().values])
    real = {"train": made, "val": image_set(make_images, normal(2400, seed=2) + centres[labels])}
    found = Mmd(MmdConfig(permutations=19)).evaluate(made, real, ctx).metrics[-1]
    assert found.n == 2000
    assert (found.value or 0) > 0.05


def test_fid_per_class_is_fid_of_the_class_with_its_n(make_images: MakeImages, ctx: RunContext) -> None:
    train, made = normal(240, seed=1), normal(160, shift=0.5, seed=2)
    real = {"train": image_set(make_images, train), "val": image_set(make_images, normal(80, seed=3))}
    synthetic = image_set(make_images, made)
    found = Fid(FidConfig(per_class=True)).evaluate(synthetic, real, ctx)
    assert [row["n"] for row in found.tables["per_class"]] == [40] * 4
    only = [np.flatnonzero(one.images.labels == 2) for one in (synthetic, real["train"])]
    alone = {**real, "train": image_set(make_images, train[only[1]])}
    whole = Fid(FidConfig()).evaluate(image_set(make_images, made[only[0]]), alone, ctx)
    assert found.tables["per_class"][2]["fid"] == pytest.approx(whole.metrics[0].value)
    assert values(found)["mean_class_fid[reference,train]"] == pytest.approx(
        np.mean([row["fid"] for row in found.tables["per_class"]])
    )


def test_a_class_without_images_has_no_fid_and_few_samples_are_said(
    make_images: MakeImages, ctx: RunContext
) -> None:
    labels = np.arange(60, dtype=np.int64) % 3  # of four classes, one is missing
    images = TensorImages(torch.zeros(60, 3, 8, 8).byte(), labels, "abcd")
    synthetic = ImageSet(images, normal(60, 30).numpy())
    real = {
        name: image_set(make_images, normal(80, 30, seed=seed)) for seed, name in enumerate(("train", "val"))
    }
    table = Fid(FidConfig(per_class=True)).evaluate(synthetic, real, ctx).tables["per_class"]
    assert table[3]["fid"] is None
    assert table[3]["note"] == "fewer than two images on one side"
    assert table[0]["note"] == "20 samples for 30 dimensions: biased upward"


def test_fid_infinity_removes_the_bias_of_n(make_images: MakeImages, ctx: RunContext) -> None:
    """Equal Gaussians: FID is biased upward by about c / n, and its extrapolation is nearer to 0."""
    many = image_set(make_images, normal(20_000, 16, seed=1))
    real = {"train": many, "val": image_set(make_images, normal(400, 16, seed=2))}
    synthetic = image_set(make_images, normal(800, 16, seed=3))
    evaluation = Fid(FidConfig(extrapolate=True)).evaluate(synthetic, real, ctx)
    found = values(evaluation)
    plain, infinite = found["fid[reference,train]"], found["fid_infinity[reference,train]"]
    assert (
        sizes(evaluation)["fid[reference,train]"],
        sizes(evaluation)["fid_infinity[reference,train]"],
    ) == (800, 800)
    assert plain is not None
    assert infinite is not None
    assert abs(infinite) < 0.5 * plain
    few = Fid(FidConfig(extrapolate=True)).evaluate(image_set(make_images, normal(60, 16)), real, ctx)
    assert values(few)["fid_infinity[reference,train]"] is None


@pytest.mark.parametrize(("count", "dimensions"), [(319, 32), (599, 60)])
def test_fid_infinity_has_no_value_where_its_subsets_are_not_well_above_d(
    make_images: MakeImages, ctx: RunContext, count: int, dimensions: int
) -> None:
    """One image more, and it has one: 5 D of them are in the smallest subset."""
    real = {
        name: image_set(make_images, normal(size, dimensions, seed=k))
        for k, (name, size) in enumerate({"train": 4000, "val": 100}.items())
    }
    few, enough = (
        Fid(FidConfig(extrapolate=True)).evaluate(
            image_set(make_images, normal(n, dimensions, seed=9)), real, ctx
        ).metrics[-1]
        for n in (count, count + 1)
    )  # fmt: skip
    assert (few.name, few.value) == ("fid_infinity", None)
    needed = 10 * dimensions
    assert few.note.startswith(f"{count} images, and {needed} are needed to extrapolate in D = {dimensions}")
    assert enough.value is not None
    assert abs(enough.value) < 0.5
    assert f"From 10 subsets of {5 * dimensions} to {needed} images" in enough.note


# --------------------------------------------------------------------------------- precision, recall, vendi


def test_the_manifold_is_scikit_learns_neighbours() -> None:
    real, made = normal(150, seed=1), normal(120, shift=0.7, seed=2)

    def ball(points: torch.Tensor, k: int) -> Any:
        return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, -1]

    cross = torch.cdist(made, real).numpy()
    found = manifold(made, real, 3, 5)
    assert found.precision == pytest.approx((cross <= ball(real, 3)[None]).any(axis=1).mean())
    assert found.recall == pytest.approx((ball(made, 3)[None] >= cross.T).any(axis=1).mean())
    assert found.density == pytest.approx((cross <= ball(real, 5)[None]).sum() / (5 * 120))
    assert found.coverage == pytest.approx((cross.min(axis=0) <= ball(real, 5)).mean())


@pytest.mark.parametrize(("rows", "columns"), [(7, 11), (1, 1), (64, 1000)])
def test_neighbours_do_not_depend_on_the_blocks(monkeypatch: Any, rows: int, columns: int) -> None:
    real, made = normal(50, seed=1), normal(40, shift=0.7, seed=2)
    real[7] = real[3]  # a tie goes to the first
    expected = manifold(made, real, 3, 5), neighbours.nearest(real, real)
    monkeypatch.setattr(neighbours, "_ROWS", rows)
    monkeypatch.setattr(neighbours, "_COLUMNS", columns)
    assert manifold(made, real, 3, 5) == expected[0]
    found = neighbours.nearest(real, real)
    assert torch.equal(found.row, expected[1].row)
    assert int(found.row[7]) == 3


def test_features_far_from_0_give_the_manifold_of_float64(make_images: MakeImages, ctx: RunContext) -> None:
    """Distances of 20 + x are those of x: float32 loses them unless features are centred first."""
    sides = {"made": 200, "train": 300, "val": 100}
    far = {
        name: normal(n, 64, shift=0.1 * (name == "made"), seed=k) * 0.01 + 20
        for k, (name, n) in enumerate(sides.items())
    }
    real = {name: image_set(make_images, far[name]) for name in ("train", "val")}
    config = PrecisionRecallConfig(most_images=10_000)
    found = PrecisionRecall(config).evaluate(image_set(make_images, far["made"]), real, ctx).metrics
    rows = torch.randperm(300, generator=generator("precision_recall", "train"))[:200].sort().values
    exact = manifold(far["made"].double(), far["train"][rows].double(), 3, 5)
    blurred = manifold(far["made"], far["train"][rows], 3, 5)
    assert [one.value for one in found[:4]] == pytest.approx(list(exact), abs=5e-3)
    assert abs(blurred.precision - exact.precision) > 0.02  # what happened without


def test_one_real_image_repeated_is_precise_and_recalls_nothing() -> None:
    real = normal(200, seed=1)
    repeated = manifold(real[:1].repeat(100, 1) + 1e-3 * normal(100), real, 3, 5)
    assert repeated.precision == 1
    assert repeated.recall < 0.02
    assert repeated.coverage < 0.2
    far = manifold(normal(100, shift=50.0), real, 3, 5)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_neighbours_take_effect_and_too_many_are_refused(sets: Any, ctx: RunContext) -> None:
    few, many = (
        PrecisionRecall(PrecisionRecallConfig(neighbours=k)).evaluate(*sets(1.5), ctx) for k in (1, 20)
    )
    assert (few.metrics[0].value or 0) < (many.metrics[0].value or 0)
    with pytest.raises(DataError, match="100 neighbours among 100 synthetic and 100 real"):
        PrecisionRecall(PrecisionRecallConfig(neighbours=100)).evaluate(*sets(), ctx)


def test_vendi_counts_orthogonal_images_and_not_copies() -> None:
    assert vendi_score(torch.eye(7)) == pytest.approx(7)
    assert vendi_score(torch.ones(7, 3)) == pytest.approx(1)
    assert vendi_score(torch.eye(4).repeat(5, 1)) == pytest.approx(4)
    assert vendi_score(torch.zeros(6, 3)) == pytest.approx(1)  # one-colour images: all alike
    x = normal(40, 9)
    unit = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    own = np.linalg.eigvalsh(unit @ unit.T / 40)
    assert vendi_score(x) == pytest.approx(np.exp(entropy(own[own > 1e-15])))


def test_vendi_is_said_for_real_images_of_the_same_n(sets: Any, ctx: RunContext) -> None:
    found = Vendi(VendiConfig(most_images=50)).evaluate(*sets(), ctx).metrics
    assert [(one.label, one.split, one.n) for one in found] == [
        ("vendi[reference]", "synthetic", 50),
        ("vendi_floor[reference]", "train", 50),
    ]


# ------------------------------------------------------------------------------------------- memorization


def test_planted_copies_of_train_and_test_are_found(
    make_images: MakeImages, ctx: RunContext, tmp_path: Path
) -> None:
    real = {
        name: image_set(make_images, normal(size, seed=seed), seed)
        for seed, (name, size) in enumerate({"train": 200, "val": 100, "test": 120}.items(), start=1)
    }
    own = make_images(100, seed=9).all()
    own[:20], own[20:30] = real["train"].images.batch(range(20)), real["test"].images.batch(range(10))
    features = normal(100, seed=9)
    features[:20], features[20:30] = (
        torch.from_numpy(real[n].features)[:k] for n, k in (("train", 20), ("test", 10))
    )
    labels = np.arange(100, dtype=np.int64) % 4
    synthetic = ImageSet(TensorImages(own, labels, [f"class{k}" for k in range(4)]), features.numpy())
    found = Memorization(MemorizationConfig()).evaluate(synthetic, real, ctx)
    shares = values(found)
    for space in ("reference", "pixels"):
        assert 20 <= (shares[f"copies[{space},train]"] or 0) <= 24
        assert 10 <= (shares[f"copies[{space},test]"] or 0) <= 14
        assert {sizes(found)[f"copies[{space},{split}]"] for split in ("train", "test")} == {100}
        closest = found.tables[space]["train"]
        assert {row["synthetic"] for row in closest} <= set(range(20))
        assert all(row["real"] == row["synthetic"] for row in closest)
        assert closest[0]["distance"] == pytest.approx(0, abs=1e-3)
    assert (ctx.files / "closest_pairs.png").stat().st_size > 5000


def test_independent_images_are_flagged_as_often_as_the_quantile_says(sets: Any, ctx: RunContext) -> None:
    found = Memorization(MemorizationConfig(quantile=0.1)).evaluate(*sets(0.0), ctx)
    assert 2 < (values(found)["copies[reference,train]"] or 0) < 21
    assert sizes(found)["copies[reference,train]"] == 200


def test_the_datasets_own_duplicates_are_counted(make_images: MakeImages, ctx: RunContext) -> None:
    train = make_images(40)
    mixed = TensorImages(
        torch.cat([train.all()[:3], make_images(37, seed=5).all()]), train.labels, train.class_names
    )
    splits = {"train": train, "val": make_images(40, seed=2), "test": mixed}
    real = {
        name: ImageSet(images, normal(40, seed=k).numpy()) for k, (name, images) in enumerate(splits.items())
    }
    metrics = Memorization(MemorizationConfig()).evaluate(real["val"], real, ctx).metrics
    found = {one.split: (one.value, one.n) for one in metrics if one.name == "dataset_duplicates"}
    assert found == {"test": (3, 40), "val": (0, 40)}


def test_duplicates_in_val_do_not_switch_it_off(make_images: MakeImages, ctx: RunContext) -> None:
    """More of them than the quantile made the limit 0, and half a set of copies 0 %."""
    real = {
        name: image_set(make_images, normal(size, seed=seed), seed)
        for seed, (name, size) in enumerate({"train": 200, "val": 100, "test": 120}.items(), start=1)
    }
    train, val = real["train"], real["val"]
    assert train.features is not None
    assert val.features is not None
    pixels, features = val.images.all().clone(), val.features.copy()
    pixels[:11], features[:11] = train.images.batch(range(11)), train.features[:11]
    doubled = ImageSet(TensorImages(pixels, val.images.labels, val.images.class_names), features)
    own, made = make_images(100, seed=9).all(), normal(100, seed=9).numpy()
    own[:50], made[:50] = train.images.batch(range(50)), train.features[:50] + 1e-3  # rounding
    synthetic = ImageSet(TensorImages(own, np.arange(100) % 4, val.images.class_names), made)
    found = values(Memorization(MemorizationConfig()).evaluate(synthetic, {**real, "val": doubled}, ctx))
    for space in ("reference", "pixels"):
        assert 50 <= (found[f"copies[{space},train]"] or 0) <= 54
    all_doubled = {**real, "val": train}  # nothing left to calibrate with: copies are exact or none
    found = values(Memorization(MemorizationConfig()).evaluate(synthetic, all_doubled, ctx))
    assert found["copies[reference,train]"] == found["copies[pixels,train]"] == 50


def test_nearest_pixels_by_batches_are_the_nearest(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, real = make_images(30, seed=1), make_images(70, seed=2)
    whole = nearest(*(one.all().flatten(1).float() / 255 for one in (wanted, real)))
    monkeypatch.setattr(neighbours, "_HELD_BYTES", 7 * 3 * 64)
    monkeypatch.setattr(neighbours, "_FLOAT_BYTES", 4 * 4 * 3 * 64)
    found = neighbours.nearest_pixels(wanted, real)
    assert found.row.tolist() == whole.row.tolist()
    assert found.distance.numpy() == pytest.approx(whole.distance.numpy(), rel=1e-5)
    assert len(neighbours.nearest_pixels(Subset(wanted, np.arange(0)), real).row) == 0


# -------------------------------------------------------------------------------------------------- judges


def test_the_inception_score_by_hand() -> None:
    assert inception_score(np.zeros((5, 3))) == pytest.approx(1)
    assert inception_score(np.eye(3).repeat(2, axis=0) * 1e3) == pytest.approx(3)


def test_agreement_is_counted_by_intended_class() -> None:
    images = TensorImages(torch.zeros(4, 3, 2, 2).byte(), np.array([0, 0, 1, 1]), "abc")
    rows = by_class(np.array([True, False, True, True]), images)
    assert [(row["n"], row["agree"], row["percent"]) for row in rows] == [
        (2, 1, 50.0),
        (2, 2, 100.0),
        (0, 0, None),
    ]


def test_all_of_them_run_on_digits_and_share_their_embeddings(run_cells: RunCells) -> None:
    plan, outcome = run_cells(
        generators=["copies", "cvae"],
        datasets=["digits:limit_train=100"],
        reference="cnn",
        evaluators=[
            "accuracy", "fid", "kid", "mmd", "precision_recall", "vendi", "memorization",
            "inception_score:judge=mlp", "label_fidelity:judge=mlp",
        ],
    )  # fmt: skip
    assert outcome.failed == {}
    embeds = [step.label for step in plan.steps.values() if step.stage == "embed"]
    # Train, val, test and two image sets, the summaries of fid, what is known of copies: once for all.
    assert len(embeds) == 5 + 2 + 1
    found = {
        record.result.generator.use: values(Evaluation(record.result.metrics))
        for record in outcome.records
        if record.result.evaluator.use == "memorization"
    }
    assert found["copies"]["copies[pixels,train]"] == 100
    assert (found["cvae"]["copies[pixels,train]"] or 0) < 50
    copies = [one for record in outcome.records for one in record.result.metrics if one.name == "copies"]
    assert {one.n for one in copies} == {100}
    judged = {
        record.result.generator.use: record.result.metrics[0].value
        for record in outcome.records
        if record.result.evaluator.use == "label_fidelity"
    }
    assert (judged["copies"] or 0) > 50


def test_a_run_says_at_once_that_images_do_not_show_their_class(registry: Registry, store: Store) -> None:
    entries = {
        "preset": "smoke",
        "seeds": 2,
        "datasets": ["digits:limit_train=200"],
        "generators": ["copies", "cvae:fit_steps=1"],
        "classifiers": ["mlp"],
        "reference": "mlp",
        "evaluators": ["accuracy", "label_fidelity:judge=mlp"],
    }
    plan = make_plan(resolve_suite(registry, make_suite(entries, "test"), store.fingerprint))
    heard: list[str] = []
    trained = 0

    def event(step: Step, news: Event) -> None:
        nonlocal trained
        trained += news.status == "done" and step.key in {cell.train for cell in plan.cells}

    def notice(message: str) -> None:
        heard.append(f"after {trained} trainings: {message}")

    outcome = run(plan, store, registry, RunOptions(jobs=0), Observer(event=event, notice=notice))
    assert outcome.failed == {}
    (warning,) = (one for one in heard if "sees the class" in one)
    shares = [
        {metric.role: metric.value for metric in record.result.metrics}
        for record in outcome.records
        if (record.result.evaluator.use, record.result.generator.use, record.result.index)
        == ("label_fidelity", "cvae", 0)
    ]
    assert f"{shares[0]['score']:.0f} % of these images, in {shares[0]['floor']:.0f} % of real" in warning
    assert "cvae:fit_steps=1 for digits:limit_train=200" in warning
    assert warning.startswith("after 0 trainings"), "before anything is trained on them"
