"""`fid` and `mmd`: which images they compare, how they name it, and what they refuse."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from genbench.errors import DataError, PluginError
from genbench.images import TensorImages
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.registry import Registry, import_target
from genbench.store import Store
from genbench_evaluators._frechet import fit_gaussian, frechet_distance, make_reference

MakeImages = Callable[..., TensorImages]
NAMES = ("fid", "mmd")
FAMILY = {"fid": "fid", "mmd": "mmd2"}


def evaluator(registry: Registry, name: str, **options: Any) -> ImageEvaluator:
    spec = registry.spec("evaluator", name)
    config = import_target(spec.config, name).model_validate(options)
    made: ImageEvaluator = import_target(spec.target, name)(config)
    return made


@pytest.fixture
def image_set(make_images: MakeImages) -> Callable[..., ImageSet]:
    """Build a set of made-up features."""

    def make(count: int, seed: int, shift: float = 0.0, dimensions: int = 6) -> ImageSet:
        features = np.random.default_rng(seed).normal(shift, 1, (count, dimensions)).astype(np.float32)
        return ImageSet(make_images(count), features)

    return make


@pytest.fixture
def measure(
    registry: Registry, image_set: Callable[..., ImageSet], ctx: RunContext
) -> Callable[..., Evaluation]:
    """Compare 120 synthetic images with 300 of train and 40 of val, unless told otherwise."""

    def run(
        name: str, *, n: int = 120, train: int = 300, shift: float = 0.0, context: Any = ctx, **options: Any
    ) -> Any:
        real = {"train": image_set(train, 1), "val": image_set(40, 2)}
        return evaluator(registry, name, **options).evaluate(image_set(n, 3, shift), real, context)

    return run


def values(evaluation: Evaluation) -> list[float]:
    return [metric.value for metric in evaluation.metrics if metric.value is not None]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_say_extractor_n_and_split(measure: Callable[..., Evaluation], name: str) -> None:
    family = FAMILY[name]
    found = measure(name).metrics[:3]  # `mmd` has its p besides
    assert [(metric.label, metric.n) for metric in found] == [
        (f"{family}[reference,train]", 120),
        (f"{family}[reference,val]", 40),
        (f"{family}_floor[reference,val]", 40),
    ]
    assert [metric.split for metric in found] == ["synthetic", "synthetic", "train"]
    assert all(metric.higher_is_better is False for metric in found)
    assert "against all 300 training images" in found[0].note
    assert measure(name, extractor="pixels").metrics[0].label == f"{family}[pixels,train]"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "train"), [(25, 300), (120, 25)])
def test_the_smallest_set_gives_n_of_all_that_is_compared_with_val(
    measure: Callable[..., Evaluation], name: str, n: int, train: int
) -> None:
    first, *others = measure(name, n=n, train=train).metrics
    assert (first.against, first.n) == ("train", n)
    assert {(metric.against, metric.n) for metric in others} == {("val", 25)}


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_moves_both_distances_and_not_the_floor(
    measure: Callable[..., Evaluation], name: str
) -> None:
    near, far = values(measure(name)), values(measure(name, shift=1.0))
    assert far[0] > near[0] + 0.1
    assert far[1] > near[1] + 0.1
    assert far[2] == near[2]


@pytest.mark.parametrize("name", NAMES)
def test_subsamples_depend_on_names_alone(
    measure: Callable[..., Evaluation], make_context: Callable[..., RunContext], name: str
) -> None:
    """Another option of an evaluator, or another seed, must not move a distance."""
    assert values(measure(name))[:3] == values(measure(name, context=make_context(step_seed=2)))[:3]


def test_fid_against_train_is_the_distance_of_the_whole_sets(
    measure: Callable[..., Evaluation], image_set: Callable[..., ImageSet]
) -> None:
    sets = [torch.from_numpy(image_set(count, seed).features) for count, seed in ((300, 1), (120, 3))]
    train, synthetic = (fit_gaussian(features) for features in sets)
    assert values(measure("fid"))[0] == pytest.approx(
        frechet_distance(make_reference(train), synthetic), rel=1e-12
    )


def test_fid_says_when_there_are_too_few_images_for_its_dimensions(
    measure: Callable[..., Evaluation],
) -> None:
    few = measure("fid", n=6).metrics
    assert "n = 6 samples for D = 6 dimensions: biased upward." in few[0].note
    assert "n = 6 samples for D = 6 dimensions: biased upward." in few[2].note
    assert all("biased" not in metric.note for metric in measure("fid").metrics)


def test_mmd_takes_its_bandwidth_from_train_alone(measure: Callable[..., Evaluation]) -> None:
    kernel = measure("mmd").tables["kernel"]
    assert kernel == measure("mmd", shift=5.0, n=30).tables["kernel"]
    assert kernel["bandwidth"] == pytest.approx(12**0.5, rel=0.1)  # E|x - y|^2 = 2 D
    assert kernel["bandwidth_from"] == "median distance between 300 training images"


def test_mmd_takes_the_stated_bandwidth(measure: Callable[..., Evaluation]) -> None:
    stated = measure("mmd", bandwidth=0.5, shift=1.0)
    assert stated.tables["kernel"]["bandwidth"] == 0.5
    assert stated.tables["kernel"]["bandwidth_from"] == "the option `bandwidth`"
    assert values(stated)[0] != pytest.approx(values(measure("mmd", shift=1.0))[0], rel=0.01)


def test_mmd_needs_a_bandwidth_where_images_are_all_alike(
    registry: Registry, make_images: MakeImages, ctx: RunContext
) -> None:
    same = ImageSet(make_images(10), np.ones((10, 3), np.float32))
    with pytest.raises(DataError, match=r"(?s)median distance .* is 0.*mmd:bandwidth=VALUE"):
        evaluator(registry, "mmd").evaluate(same, {"train": same, "val": same}, ctx)


@pytest.mark.parametrize("name", NAMES)
def test_unusable_features_are_refused_by_set_and_number(
    registry: Registry, image_set: Callable[..., ImageSet], ctx: RunContext, name: str
) -> None:
    synthetic, real = image_set(20, 0), {"train": image_set(30, 1), "val": image_set(10, 2)}
    assert synthetic.features is not None
    synthetic.features[[2, 2, 5], [0, 1, 0]] = np.nan
    message = f"{name}: features of synthetic are NaN or infinite for 2 of 20 images"
    with pytest.raises(DataError, match=message):
        evaluator(registry, name).evaluate(synthetic, real, ctx)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_images_are_refused_with_the_numbers(measure: Callable[..., Evaluation], name: str) -> None:
    message = f"{name}: needs at least 2 images in each set, found 1 synthetic, 300 train, 40 val"
    with pytest.raises(DataError, match=message):
        measure(name, n=1)


@pytest.mark.parametrize("name", NAMES)
def test_missing_features_are_a_fault_of_the_caller(
    registry: Registry, make_images: MakeImages, ctx: RunContext, name: str
) -> None:
    bare = ImageSet(make_images(10), None)
    with pytest.raises(PluginError, match=r"features of synthetic must be \[10, D\], found none"):
        evaluator(registry, name).evaluate(bare, {"train": bare, "val": bare}, ctx)


def test_stored_statistics_of_real_sets_give_the_same_distances_to_the_last_digit(
    registry: Registry, image_set: Callable[..., ImageSet], ctx: RunContext
) -> None:
    fid = evaluator(registry, "fid")
    real = {"train": image_set(300, 1), "val": image_set(40, 2)}
    stored = {
        name: dataclasses.replace(found, summary=fid.summarise(found.features))
        for name, found in real.items()
    }
    plain = fid.evaluate(image_set(120, 3), real, ctx)
    assert values(fid.evaluate(image_set(120, 3), stored, ctx)) == values(plain)
    false = {**stored["train"].summary, "mu": stored["train"].summary["mu"] + 1}  # it is what is read
    moved = fid.evaluate(
        image_set(120, 3), {**stored, "train": dataclasses.replace(stored["train"], summary=false)}, ctx
    )
    assert values(moved)[0] > values(plain)[0] + 1
    few = fid.evaluate(image_set(20, 3), stored, ctx)  # 20 of val's 40 are compared: not those of its summary
    assert values(few) == values(fid.evaluate(image_set(20, 3), real, ctx))


def test_real_sets_are_summarised_once_for_all_generators(
    run_cells: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fid = import_target("genbench_evaluators.fid:Fid", "fid")
    sizes: list[int] = []
    summarise = fid.summarise

    def counted(features: Any) -> Any:
        sizes.append(len(features))
        return summarise(features)

    monkeypatch.setattr(fid, "summarise", staticmethod(counted))
    plan, outcome = run_cells(generators=["toy", "copies"], evaluators=["accuracy", "fid"], seeds=2)
    assert not outcome.failed
    steps = [step for step in plan.steps.values() if "summary" in step.document and "features" in step.inputs]
    assert len(steps) == len(sizes) == 2  # train and val, whatever the generators and seeds
    for step in steps:
        artifact, embedded = store.open(step.key), store.open(step.inputs["features"])
        assert artifact is not None
        assert embedded is not None
        features = np.load(embedded.folder / "features.npy").astype(np.float64)
        with np.load(artifact.folder / "summary.npz") as published:  # what pytorch-fid reads
            np.testing.assert_allclose(published["mu"], features.mean(axis=0), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(
                published["sigma"], np.cov(features, rowvar=False), rtol=1e-9, atol=1e-12
            )
            np.testing.assert_allclose(
                published["factor"] @ published["factor"].T, published["sigma"], rtol=1e-6, atol=1e-9
            )


def test_features_that_cannot_be_summarised_are_left_to_the_evaluation(registry: Registry) -> None:
    fid = evaluator(registry, "fid")
    assert fid.summarise(np.full((5, 3), np.nan, np.float32)) == {}
    assert fid.summarise(np.zeros((1, 3), np.float32)) == {}
