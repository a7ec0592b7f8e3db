"""The check for copies of test: its scores against numpy, silence, sight, and that nothing avoids it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from copy_tables import copy_table
from genbench.chance import largest_share, poisson_tail
from genbench.copies import evaluator as check
from genbench.copies import grids, known
from genbench.copies.config import CopiesConfig
from genbench.copies.evaluator import Copies, copy_tests
from genbench.copies.grids import as_grids
from genbench.copies.known import copied_exactly, known_images
from genbench.copies.scores import SCORES, UNEXPLAINED, Scores, score
from genbench.copies.search import Split, Tiles
from genbench.copy_judgement import judge_copies
from genbench.counts import COPY_TESTS, read_copies
from genbench.errors import UsageError
from genbench.images import TensorImages, fingerprints
from genbench.planner import make_plan
from genbench.protocols import ImageSet, RunContext
from genbench.registry import PluginSource, Registry
from genbench.runner import run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions

THIEF_PLUGIN = Path(__file__).parents[1] / "thief_plugin.py"
Made = Callable[..., np.ndarray]  # type: ignore[type-arg]


def pictures(count: int, side: int, seed: int) -> Any:
    """Smooth random grids: `uint8 [count, side, side]`."""
    noise = np.random.default_rng(seed).normal(size=(count, side, side))
    smooth = np.stack([ndimage.gaussian_filter(one, side / 16, mode="wrap") for one in noise])
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


USUAL = Tiles()


def scored(made: Any, train: Any, test: Any, tiles: Tiles = USUAL, **skips: Any) -> Scores:
    return score(made, Split(train, "cpu", tiles), Split(test, "cpu", tiles), **skips)


def same(one: Scores, other: Scores) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def as_images(pixels: Any) -> TensorImages:
    """Turn grids into grey images."""
    grey = torch.from_numpy(np.ascontiguousarray(pixels))[:, None].repeat(1, 3, 1, 1)
    return TensorImages(grey, np.zeros(len(grey), dtype=np.int64), ["any"])


# ------------------------------------------------------------------------------------------------ chance


@pytest.mark.parametrize(("found", "n"), [(0, 1), (0, 4000), (1, 469), (30, 4000), (399, 400), (400, 400)])
def test_the_largest_share_is_clopper_and_pearsons(found: int, n: int) -> None:
    expected = 1.0 if found == n else stats.beta.ppf(0.95, found + 1, n - found)
    assert largest_share(found, n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("found", "mean"), [(0, 2.0), (1, 0.5), (12, 2.8), (5, 50.0), (343, 250.0), (3, 0.0)]
)
def test_the_tail_of_poisson(found: int, mean: float) -> None:
    assert poisson_tail(found, mean) == pytest.approx(float(stats.poisson.sf(found - 1, mean)), rel=1e-9)


# ------------------------------------------------------------------------------------------ against numpy


@pytest.mark.parametrize("size", [(5, 5), (8, 8), (20, 20), (32, 32), (48, 40), (224, 224)])
def test_grids_are_means_of_areas_of_grey(size: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (3, 3, *size), generator=torch.Generator().manual_seed(0)).byte()
    grey = np.einsum("nchw,c->nhw", pixels.numpy().astype(float), [0.299, 0.587, 0.114])
    side = 8 if max(size) <= 8 else 32
    fine = np.kron(grey, np.ones((side, side)))  # every pixel in side x side parts
    expected = fine.reshape(3, side, size[0], side, size[1]).mean(axis=(2, 4))
    assert np.abs(as_grids(pixels) - expected).max() <= 0.5 + 1e-9


def largest_correlation(made: Any, real: Any, inner: int) -> float:
    """The middle of one image against every window of another, plain and mirrored, by the formula."""
    side = made.shape[0]
    margin = (side - inner) // 2
    factor = 2 if side == 32 else 1

    def coarse(window: Any) -> Any:
        parts = window.reshape(inner // factor, factor, inner // factor, factor)
        return parts.sum(axis=(1, 3)).astype(float).ravel()

    best = 0.0
    middle = made[margin : side - margin, margin : side - margin].astype(int)
    for y, x in product(range(side - inner + 1), repeat=2):
        if factor == 2 and max(y, x) > 8:
            continue
        window = coarse(real[y : y + inner, x : x + inner].astype(int))
        for one in (middle, middle[:, ::-1]):
            best = max(best, abs(np.corrcoef(coarse(one), window)[0, 1]))
    return best


@pytest.mark.parametrize(("side", "inner"), [(8, 6), (32, 24)])
def test_whole_is_the_best_correlation_over_all_shifts(
    side: int, inner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "_CHANGES", ((0, 1.0),))
    grids._changes.cache_clear()
    train, test, made = (pictures(3, side, seed) for seed in (1, 2, 3))  # three each: all are candidates
    made[1], made[2] = test[2, :, ::-1], 255 - np.roll(test[1], 1, axis=1)
    found = scored(made, train, test)
    grids._changes.cache_clear()
    for row, image in enumerate(made):
        left = [
            max(1 - max(largest_correlation(image, one, inner) for one in split) ** 2, UNEXPLAINED)
            for split in (train, test)
        ]
        assert found.ratios[row, 0] == pytest.approx(left[0] / left[1], rel=1e-9)
    assert found.test[1:, 0].tolist() == [2, 1]
    assert (found.ratios[1:, 0] > 20).all()


def test_variants_turn_and_zoom_about_the_middle() -> None:
    image = pictures(1, 32, 5)[0].astype(float)
    made = grids.variants(torch.from_numpy(image[None]).float()).vectors[0]
    for number, (degrees, zoom) in enumerate(((0, 1.0), (8, 1.0), (-8, 1.0), (0, 1.15), (0, 0.87))):
        turn = np.radians(degrees)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / zoom
        offset = 15.5 - matrix @ [15.5, 15.5]
        changed = ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest")
        for mirror in (0, 1):
            view = changed[:, ::-1] if mirror else changed
            parts = view[4:28, 4:28].reshape(12, 2, 12, 2).mean(axis=(1, 3)).ravel()
            assert np.corrcoef(parts, made[2 * number + mirror])[0, 1] > 0.999


def pair_residual(image: Any, first: Any, second: Any) -> float:
    """What two images, of which the second may only add, do not explain of one, by Gram and Schmidt."""
    first = max((first, first[:, ::-1]), key=lambda one: (image * unit(one)).sum())
    image, first, second = (unit(one).ravel() for one in (image, first, second))
    rest = image - (image @ first) * first
    beside = second - (second @ first) * first
    beside /= np.linalg.norm(beside)
    return float(rest @ rest - max(rest @ beside, 0.0) ** 2)


def unit(image: Any) -> Any:
    centred = image.astype(float) - image.mean()
    return centred / np.linalg.norm(centred)


def test_pair_is_the_best_of_all_pairs() -> None:
    train, test, made = (pictures(3, 8, seed) for seed in (1, 2, 3))
    made[1] = (0.5 * test[1] + 0.5 * train[0, :, ::-1]).astype(np.uint8)
    made[2] = (0.5 * train[1] + 0.5 * train[2]).astype(np.uint8)
    found = scored(made, train, test)

    def both_ways(image: Any, first: Any, second: Any) -> float:
        return min(pair_residual(image, first, one) for one in (second, second[:, ::-1]))

    for row, image in enumerate(made):
        begin = max(test, key=lambda one: max((unit(image) * unit(way)).sum() for way in (one, one[:, ::-1])))
        trains = [both_ways(image, train[i], train[j]) for i in range(3) for j in range(3) if i != j]
        tests = [both_ways(image, one, other) for one in train for other in test]
        tests += [both_ways(image, begin, one) for one in train]
        expected = max(min(trains), UNEXPLAINED) / max(min(tests), UNEXPLAINED)
        if expected > np.e:
            assert found.ratios[row, 1] == pytest.approx(expected, rel=0.02)
        else:  # train was not tried harder than it takes to stay below the lowest limit
            assert expected * 0.98 <= found.ratios[row, 1] <= np.e
    assert found.test[1, 1] == 1
    assert found.ratios[1, 1] > 20
    assert found.ratios[2, 1] < 1


def test_a_quadrant_is_found_where_it_was_and_mirrored() -> None:
    train, test = pictures(30, 32, 1), pictures(30, 32, 2)
    made = train[:3].copy()
    made[1, :16, 16:] = test[4, :16, 16:]
    made[2] = made[2, :, ::-1]
    made[2, 16:, :16] = test[5, :, ::-1][16:, :16]
    found = scored(made, train, test)
    assert found.test[1:, 2].tolist() == [4, 5]
    assert found.ratios[0, 2] < 1
    assert found.ratios[1:, 2].min() > 20


# ---------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("side", [8, 32])
def test_no_chunk_changes_a_bit(side: int) -> None:
    train, test, made = pictures(30, side, 1), pictures(21, side, 2), pictures(11, side, 3)
    train[10:14] = train[10]  # equal scores: the first row wins
    made[0], made[1] = train[10], np.roll(test[3], 1)
    skips = np.where(np.arange(11) % 2, np.arange(11), -1)
    usual = scored(made, train, test, skips=skips)
    for tiles in (Tiles(1, 1, 1, 1), Tiles(7, 3, 5, 2), Tiles(1000, 1000, 1000, 1000)):
        assert same(scored(made, train, test, tiles, skips=skips), usual)
    for row in range(3):  # and no other image of the set
        alone = scored(made[row : row + 1], train, test, skips=skips[row : row + 1])
        assert np.array_equal(alone.ratios[0], usual.ratios[row])


def test_an_image_is_not_compared_with_itself() -> None:
    train, test = pictures(20, 8, 1), pictures(20, 8, 2)
    test[:5] = train[:5]  # duplicates within the dataset
    found = scored(train, train, test, skips=np.arange(20))
    assert (found.ratios[:5, 0] > 20).all()
    assert (found.ratios[5:, 0] < 20).all()
    assert (found.train != np.arange(20)).all()


def test_flat_images_resemble_nothing() -> None:
    flat = np.full((4, 32, 32), 7, dtype=np.uint8)
    flat[1, 3, 3] = 9
    found = scored(flat, pictures(10, 32, 1), np.concatenate([flat, pictures(10, 32, 2)]))
    assert found.ratios == pytest.approx(np.ones((4, 3)))


# ------------------------------------------------------------------------------------- silence, and sight


@pytest.fixture(scope="module")
def digits() -> Any:
    """Digits in parts, and what the check knows of them."""
    from sklearn.datasets import load_digits

    images = (load_digits().images / 16 * 255).round().astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    cut = np.split(images[order], [1000, 1100, 1550])
    parts = dict(zip(("train", "val", "test", "fresh"), cut, strict=True))
    sets = {name: as_images(parts[name]) for name in ("train", "val", "test")}
    return parts, known_images(sets, "cpu")


def alarms(made: Any, digits: Any) -> bool:
    parts, facts = digits
    found = copy_tests(scored(made, parts["train"], parts["test"]), facts)
    return any(one.found >= 3 and len(found) * one.p < 0.001 for one in found)


def blended(images: Any, others: Any) -> Any:
    return (0.5 * images + 0.5 * others[: len(images)]).round().astype(np.uint8)


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "exact": lambda x, _: x,
    "dark": lambda x, _: (0.7 * x).astype(np.uint8),
    "grey": lambda x, _: (127 + 0.5 * (x - 127.0)).astype(np.uint8),
    "mirrored": lambda x, _: x[:, :, ::-1],
    "shifted": lambda x, _: np.roll(x, 1, axis=2),
    "inverted": lambda x, _: 255 - x,
    "blended": blended,
    "noisy": lambda x, _: np.clip(x + np.random.default_rng(0).uniform(-40, 40, x.shape), 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_is_seen_of_test_and_not_of_train(way: str, digits: Any) -> None:
    """5 % of 1,000 images; the rest, and the honest set, are changed images of train."""
    train, test = digits[0]["train"], digits[0]["test"]
    honest = WAYS[way](train, train[::-1]).copy()
    assert not alarms(honest, digits)
    honest[:50] = WAYS[way](test[:50], train)
    assert alarms(honest, digits)


def test_fresh_real_images_raise_no_alarm(digits: Any) -> None:
    assert not alarms(digits[0]["fresh"], digits)
    assert not alarms(digits[0]["val"], digits)


# -------------------------------------------------------------------------------------------- the evaluator


def evaluated(made: Any, parts: dict[str, Any], ctx: RunContext) -> Any:
    sets = {name: as_images(found) for name, found in parts.items()}
    facts = known_images(sets, "cpu")
    real = {name: ImageSet(images, None, facts) for name, images in sets.items()}
    found = Copies(CopiesConfig()).evaluate(ImageSet(as_images(made), None), real, ctx)
    return found, read_copies(found.tables["copies"])


def test_the_table_says_what_was_found(ctx: RunContext) -> None:
    parts = {name: pictures(60, 8, seed) for seed, name in enumerate(("train", "val", "test", "reserve"))}
    made = np.concatenate([
        pictures(40, 8, 9), parts["test"][:5], parts["val"][:4], parts["reserve"][:3], parts["train"][:2],
        np.full((3, 8, 8), 9, dtype=np.uint8),
    ])  # fmt: skip
    evaluation, table = evaluated(made, parts, ctx)
    assert (table.images, table.judged, table.real, table.test, table.grid) == (57, 57, 120, 60, 8)
    assert (table.exact.test, table.exact.val, table.exact.reserve) == (5, 4, 3)
    assert (table.blank, table.duplicates) == (3, 2)
    assert [(one.score, one.limit) for one in table.tests] == list(COPY_TESTS)
    assert table.tests[2].found == 5
    assert {pair.synthetic for pair in table.worst[:5]} == set(range(40, 45))
    assert all(pair.test == pair.synthetic - 40 for pair in table.worst[:5])
    assert len(table.worst) == 20
    assert {metric.name: metric.value for metric in evaluation.metrics} == {
        "test_copies": 5, "exact_copies": 12, "blank_images": 3, "duplicate_images": 2,
    }  # fmt: skip
    assert (ctx.files / "most_alike_to_test.png").stat().st_size > 500


def test_of_a_large_set_a_sample_is_compared(ctx: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MOST_JUDGED", 30)
    monkeypatch.setattr(known, "MOST_REAL", 25)
    parts = {name: pictures(40, 8, seed) for seed, name in enumerate(("train", "val", "test"))}
    _, table = evaluated(np.concatenate([pictures(50, 8, 9), parts["test"]]), parts, ctx)
    assert (table.images, table.judged, table.real) == (90, 30, 25)
    assert table.exact.test == 40  # these are counted in the whole set
    assert 5 <= table.tests[2].found <= 25


def test_what_train_holds_too_is_no_copy() -> None:
    parts = {name: pictures(10, 8, seed) for seed, name in enumerate(("train", "val", "test", "reserve"))}
    parts["test"][0] = parts["train"][0]
    parts["test"][1] = parts["train"][1, :, ::-1]
    parts["test"][2] = parts["val"][2] = parts["reserve"][2]
    facts = known_images({name: as_images(found) for name, found in parts.items()}, "cpu")
    found = copied_exactly(fingerprints(as_images(parts["test"][:4]).all()), facts)
    assert {split: np.flatnonzero(rows).tolist() for split, rows in found.items()} == {
        "reserve": [2], "val": [], "test": [3],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ the table


def changed(**entries: Any) -> dict[str, Any]:
    return {**copy_table(40, range(3)), **entries}


def with_test(**entries: Any) -> dict[str, Any]:
    table = changed()
    table["tests"][0] |= entries
    return table


TABLES = {
    "found without bits": (with_test(found=4), "whole above 2.72: found is 4, not 3"),
    "bits of another test": (with_test(bits="AA=="), "1 bytes do not hold 40 bits"),
    "less chance": (with_test(p=1e-9), "p is 1e-09, not 0.57"),
    "a larger share": (with_test(expected=9.0), "expected is 9, not 2.99"),
    "more real than asked": (with_test(real=1001), "1001 of 1000 real images"),
    "another limit": (with_test(limit=2.0), "its tests are not the 8 that there are"),
    "fewer tests": (changed(tests=copy_table(40)["tests"][:7]), "its tests are not the 8"),
    "more judged": (changed(judged=1001), "1001 images judged of 1000"),
    "more exact": (changed(exact={"val": 900, "test": 101, "reserve": 0}), "exact counts 1001 of 1000"),
    "more blank": (changed(blank=1001), "blank counts 1001 of 1000"),
    "an unknown entry": (changed(saint=True), "saint"),
    "no real images": (changed(real=0), "real"),
    "a pair of nobody": (
        changed(worst=[{"synthetic": 0, "test": 40, "train": 0, "whole": 3.0, "pair": 1.0, "quadrant": 0.0}]),
        "no such pair",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_contradicts_itself_is_refused(name: str) -> None:
    table, message = TABLES[name]
    with pytest.raises(ValueError, match=message):
        read_copies(table)


def test_a_table_is_read() -> None:
    assert read_copies(changed()).tests[0].found == 3


# ---------------------------------------------------------------------------------------- it is always there


@pytest.fixture(scope="module")
def thieves() -> Registry:
    return Registry(PluginSource(files=(str(THIEF_PLUGIN), str(THIEF_PLUGIN.parent / "toy_plugin.py"))))


def test_every_image_set_is_checked_whatever_evaluators_are_asked(registry: Registry, store: Store) -> None:
    entries = {
        "datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 2,
        "generators": ["toy", "toy:noise=0.5"], "filters": ["none", "toy-filter:oversample=2"],
    }  # fmt: skip
    for evaluators in ([], ["accuracy"], ["accuracy", "copies"]):
        suite = make_suite({**entries, "evaluators": evaluators}, "test")
        plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
        checks = [one for one in plan.records.values() if one.evaluator.name == "copies"]
        assert len(checks) == 2 * 2 * 2
        assert len([step for step in plan.steps.values() if "for copies" in step.label]) == 1


def test_it_has_no_options(registry: Registry, store: Store) -> None:
    suite = make_suite({"classifiers": ["toy-net"], "evaluators": ["copies:limit=1000"]}, "test")
    with pytest.raises(UsageError, match="unknown option 'limit'"):
        resolve_suite(registry, suite, store.fingerprint)


def write_plugin(folder: Path, kind: str, spec: str) -> Registry:
    file = folder / f"own_{len(spec)}_{kind}.py"  # a module of its own
    file.write_text(
        f"import genbench\n\n@genbench.hookimpl\ndef genbench_{kind}s():\n"
        f"    return [genbench.ComponentSpec({spec}, target='x:X', config='x:X', summary='mine')]\n"
    )
    return Registry(PluginSource(files=(str(file),), disabled=frozenset({"genbench", "evaluators"})))


def test_no_plugin_takes_its_place_and_nothing_switches_it_off(tmp_path: Path) -> None:
    registry = write_plugin(tmp_path, "evaluator", "name='copies'")
    plugin = registry.plugins[-1]
    assert (plugin.state, plugin.components) == ("conflict", [])
    assert plugin.reason == "evaluator 'copies' is already registered by plugin 'genbench'"
    assert registry.spec("evaluator", "copies").target == "genbench.copies.evaluator:Copies"
    assert registry.owner("evaluator", "copies").builtin


@pytest.mark.parametrize("name", ["mine", "real_extra"])
def test_the_reserve_is_real_extras_alone(tmp_path: Path, name: str) -> None:
    registry = write_plugin(tmp_path, "generator", f"name={name!r}, needs_reserve=True")
    plugin = registry.plugins[-1]
    assert (plugin.state, plugin.components) == ("failed", [])
    assert f"generator {name!r} says needs_reserve" in plugin.reason
    assert "built-in generator 'real_extra' alone" in plugin.reason


@pytest.fixture(scope="module")
def judged(thieves: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Judge every generator of one small suite of thieves and honest ones."""
    store = Store(tmp_path_factory.mktemp("thieves") / "store")
    ways = [f"thief:way={way}" for way in ("exact", "dark", "shifted", "blended", "with_val")]
    entries = {
        "datasets": ["digits:limit_train=200,reserve=300"], "classifiers": ["toy-net"],
        "reference": "toy-net", "seeds": 1, "generators": [*ways, "copies", "classical", "real_extra"],
        "evaluators": ["accuracy"], "preset": "smoke",
    }  # fmt: skip
    plan = make_plan(resolve_suite(thieves, make_suite(entries, "test"), store.fingerprint))
    outcome = run(plan, store, thieves, RunOptions(jobs=0))
    assert outcome.failed == {}
    names = {record.result.generator.name for record in outcome.records}
    return {
        name: judge_copies(
            (
                record
                for record in outcome.records
                if record.result.subject == "image_set" and record.result.generator.name == name
            ),
            seeds=[0],
        )
        for name in names - {"none"}
    }


@pytest.mark.parametrize("way", ["exact", "dark", "shifted", "blended", "with_val"])
def test_copies_of_test_are_void_through_the_program(way: str, judged: dict[str, Any]) -> None:
    found = judged[f"thief:way={way}"]
    assert found.checked
    expected = {
        "exact": "200 synthetic images are test images, pixel for pixel",
        "with_val": "100 synthetic images are test images, 100 synthetic images are val images, "
        "pixel for pixel",
    }
    reason = "more near copies of test images than chance explains"
    assert found.void == expected.get(way, found.void)
    assert way in expected or found.void.startswith(reason)
    assert found.distinct > 5 * found.expected
    assert found.flagged is not None
    assert found.flagged.sum() >= found.distinct


@pytest.mark.parametrize("name", ["copies", "classical", "real_extra"])
def test_honest_images_are_not_void_through_the_program(name: str, judged: dict[str, Any]) -> None:
    assert judged[name].checked
    assert judged[name].void == ""
    assert replace(judged[name], flagged=None).distinct <= 3 * max(judged[name].expected, 1)


def test_a_filtered_set_is_judged_as_it_was_kept(run_cells: Callable[..., Any]) -> None:
    _, outcome = run_cells(generators=["toy"], filters=["toy-filter:oversample=2"])
    (record,) = [one for one in outcome.records if one.result.evaluator.use == "copies"]
    images = record.result.ledger.images
    assert images is not None
    assert record.result.tables["copies"]["images"] == images.kept_images == images.made_images // 2
    assert list(SCORES) == list(dict.fromkeys(score for score, _ in COPY_TESTS))
