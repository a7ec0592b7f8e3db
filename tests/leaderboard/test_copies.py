"""Copies of test images cannot make a gain: they are found, counted, and left out of a second comparison."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from copy_tables import CODE, copy_table
from genbench.copy_judgement import CopyJudgement, judge_copies
from genbench.digest import digest
from genbench.errors import ProtocolError
from genbench.images import TensorImages
from genbench.metrics import Metric
from genbench.protocols import ImageSet, RunContext
from genbench.recipe import Mix
from genbench.records import Component, PluginCode, Protocol, Record, Result, Run, pack_bits, unpack_bits
from genbench_evaluators.configs.memorization import MemorizationConfig
from genbench_evaluators.memorization import Memorization
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Board, Row
from genbench_leaderboard.tables import render_markdown

TEST = 400
SEEDS = 5
NONE, MADE = Component("none"), Component("ddpm")
NEAR_COPIES = "more near copies of test images than chance explains"


def record(generator: Component, index: int, evaluator: str, **entries: Any) -> Record:
    mix, is_cell = Mix(ratio=0.0 if generator is NONE else 1.0), evaluator == "accuracy"
    run = Run("2026-01-01T00:00:00Z", "genbench run", plugins=entries.pop("plugins", (CODE,)))
    result = Result(
        subject="cell" if is_cell else "image_set",
        status="ok",
        dataset=Component("digits"),
        generator=generator,
        filter=NONE,
        ratio=mix.ratio,
        mix=mix if is_cell else None,
        classifier=Component("cnn") if is_cell else None,
        index=index,
        protocol=Protocol(),
        evaluator=Component(evaluator),
        key=digest([generator.use, index, evaluator]),
        planned_indices=SEEDS,
        **entries,
    )
    return Record(result, run)


def accuracies(generator: Component, rights: Sequence[int]) -> list[Record]:
    """Cells that are right on the first images of test."""
    return [
        record(
            generator,
            index,
            "accuracy",
            metrics=(
                Metric("top1", 100 * right / TEST, "%", split="test"),
                Metric("top1", 90.0, "%", split="val"),
            ),
            tables={"test": {"n": TEST, "correct_bits": pack_bits(image < right for image in range(TEST))}},
        )
        for index, right in enumerate(rights)
    ]


def checked(copied: Collection[int] = (), index: int = 0, **entries: Any) -> Record:
    """A record of the harness's own check: 3.0 copies are expected by chance, 13 in one set are void."""
    generator = entries.pop("generator", MADE)
    table = copy_table(entries.pop("test", TEST), copied, **entries)
    return record(generator, index, "copies", tables={"copies": table})


def all_seeds(copied: Callable[[int], Collection[int]], **entries: Any) -> list[Record]:
    return [checked(copied(index), index, **entries) for index in range(SEEDS)]


def judge(records: Iterable[Record]) -> CopyJudgement:
    return judge_copies(records, range(SEEDS))


BETTER = accuracies(NONE, [356, 358, 360, 362, 364]) + accuracies(MADE, [373, 374, 377, 378, 381])


def made_row(board: Board) -> Row:
    return next(row for row in board.groups[0].rows if not row.is_baseline)


# ------------------------------------------------------------------------------------------- the judgement


def test_what_chance_explains_is_left_out_and_not_held_against_a_row() -> None:
    found = judge(all_seeds(lambda index: range(index, index + 4)))
    assert (found.checked, found.void, found.distinct) == (True, "", 4)
    assert found.flagged is not None
    assert np.flatnonzero(found.flagged).tolist() == list(range(8))
    nothing = judge(all_seeds(lambda _: ()))
    assert (nothing.checked, nothing.void, nothing.flagged, nothing.distinct) == (True, "", None, 0)


def test_more_than_chance_explains_is_void_in_one_seed_and_in_all_together() -> None:
    one = judge(all_seeds(lambda index: range(13) if index == 3 else ()))
    assert one.void == f"{NEAR_COPIES}: 13 test images, 3.0 expected"
    assert (one.distinct, round(one.expected, 1)) == (13, 3.0)
    assert not judge(all_seeds(lambda index: range(11) if index == 3 else ())).void
    # Eight in each of five seeds: no seed's set is too many, forty of all together are.
    apart = judge(all_seeds(lambda index: range(10 * index, 10 * index + 8)))
    assert apart.void == f"{NEAR_COPIES}: 40 test images, 15.0 expected"
    assert not judge(all_seeds(lambda _: range(8))).void  # the same eight are eight


@pytest.mark.parametrize("split", ["test", "val", "reserve"])
def test_exact_copies_are_void(split: str) -> None:
    counts = {"test": 0, "val": 0, "reserve": 0}
    found = judge([*all_seeds(lambda _: ())[1:], checked(exact={**counts, split: 2})])
    what = {"test": "test images", "val": "val images", "reserve": "images of the reserve"}[split]
    assert found.void == f"2 synthetic images are {what}, pixel for pixel"
    ceiling = all_seeds(lambda _: (), exact={**counts, split: 2}, generator=Component("real_extra"))
    assert bool(judge(ceiling).void) is (split != "reserve")  # whose images they are
    assert not any(word in found.void for word in ("cheat", "steal", "thief", "fraud"))


def test_a_row_is_checked_when_every_seed_is() -> None:
    records = all_seeds(lambda _: ())
    assert judge(records).checked
    assert not judge(records[1:]).checked
    assert not judge([]).checked
    assert not judge([record(MADE, 0, "fid")]).checked


def test_only_the_harness_own_check_is_read() -> None:
    table = {"copies": copy_table(TEST, range(13)), "test_copies": {"p": 0.0, "n": 1, "copied_bits": "gA=="}}
    for evaluator in ("memorization", "copycat"):
        strange = [record(MADE, index, evaluator, tables=table) for index in range(SEEDS)]
        assert judge(strange).flagged is None
        assert not judge(strange).checked
        assert judge([*strange, *all_seeds(lambda _: ())]).void == ""
    for code in (
        PluginCode("evaluator", "copies", 1, "somebody 1.0"),
        PluginCode("evaluator", "copies", 1, "genbench 0.1.0", confined="Landlock 7, seccomp"),
        PluginCode("generator", "copies", 1, "genbench 0.1.0"),
    ):
        own = [record(MADE, i, "copies", tables=table, plugins=(code,)) for i in range(SEEDS)]
        assert not judge(own).checked


def test_of_two_checks_of_a_seed_the_newest_counts() -> None:
    older = checked(range(13))
    newer = Record(checked().result, Run("2026-02-01T00:00:00Z", "genbench run", plugins=(CODE,)))
    assert judge([newer, older]).void == ""


# ----------------------------------------------------------------------------------------------- the board


def row_of(*copies: Record) -> Row:
    return made_row(build_board([*BETTER, *copies]))


def verdict(row: Row) -> str:
    assert row.contrast is not None
    return row.contrast.verdict


def test_a_row_with_more_copies_than_chance_explains_is_void() -> None:
    honest = row_of(*all_seeds(lambda _: ()))
    assert (verdict(honest), honest.rank) == ("better", 1)
    board = build_board([*BETTER, *all_seeds(lambda _: range(40))])
    void = made_row(board)
    assert (verdict(void), void.rank) == ("void", None)
    assert honest.contrast is not None
    assert void.contrast is not None
    assert void.contrast.found == honest.contrast.found, "what was measured stays on the board"
    assert f"void: {NEAR_COPIES}: 40 test images, " in render_markdown(board)


def test_a_row_whose_images_nobody_checked_is_void() -> None:
    assert verdict(row_of()) == "void"
    assert verdict(row_of(*all_seeds(lambda _: ())[1:])) == "void", "one seed was not"
    assert "void: its images were not checked for copies of test" in render_markdown(build_board(BETTER))
    older = [replace(one, result=replace(one.result, protocol=Protocol(version=1))) for one in BETTER]
    assert verdict(made_row(build_board(older))) == "better", "they could not be checked then"


def test_a_void_row_takes_part_in_no_family() -> None:
    rival = accuracies(Component("cvae"), [372, 373, 376, 378, 380])
    clean = all_seeds(lambda _: (), generator=Component("cvae"))
    board = build_board([*BETTER, *rival, *clean, *all_seeds(lambda _: range(40))])
    verdicts = {row.generator: verdict(row) for row in board.groups[0].rows if row.contrast}
    assert verdicts == {"ddpm": "void", "cvae": "better"}
    assert {row.generator: row.rank for row in board.groups[0].rows} == {"none": 2, "ddpm": None, "cvae": 1}


def test_a_gain_that_rests_on_a_few_copied_images_is_void() -> None:
    # Eleven in one set are not too many, but the gain is on these eleven images alone.
    gain = accuracies(NONE, [356, 357, 356, 357, 356]) + accuracies(MADE, [363, 364, 363, 364, 363])
    board = build_board([*gain, *all_seeds(lambda index: range(355, 366) if not index else ())])
    row = made_row(board)
    assert row.contrast is not None
    assert (row.contrast.verdict, row.contrast.copied_images) == ("void", 11)
    assert "void: the verdict changes without the copied test images (DDPM)." in render_markdown(board)


def test_a_gain_that_does_not_rest_on_them_stands_and_is_noted() -> None:
    row = row_of(*all_seeds(lambda _: range(4)))
    assert row.contrast is not None
    assert row.contrast.verdict == "better"
    means = [one.mean for one in (row.contrast.found, row.contrast.without_copies) if one]
    assert means[1] == pytest.approx(means[0] * TEST / (TEST - 4))


def test_copies_among_other_test_images_leave_nothing_to_compare() -> None:
    assert verdict(row_of(*all_seeds(lambda _: range(3), test=300))) == "void"
    with pytest.raises(ProtocolError, match=r"among \[300, 400\] test images"):
        judge([checked(), checked(index=1, test=300)])
    mixed = row_of(checked(), checked(index=1, test=300))
    assert mixed.contrast is not None
    assert mixed.contrast.void == "copies of test were looked for among [300, 400] test images, by seed"


def test_blank_and_repeated_images_are_said() -> None:
    blank = all_seeds(lambda _: (), blank=7, duplicates=3)
    text = render_markdown(build_board([*BETTER, *blank]))
    assert "warning: synthetic images of one colour: 7 (DDPM)." in text
    assert re.search(r"that repeat another one, so that [^:]*: 3 of [\d,]+ \(DDPM\)\.", text)
    assert "warning" not in render_markdown(build_board([*BETTER, *all_seeds(lambda _: ())]))


# --------------------------------------------------------------------------------------------- the evaluator


def features(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def test_copied_test_images_are_named(make_images: Callable[..., TensorImages], ctx: RunContext) -> None:
    real = {
        name: features(count, seed)
        for seed, (name, count) in enumerate({"train": 300, "val": 100, "test": 120}.items())
    }
    sets = {
        name: ImageSet(make_images(len(found), seed=seed), found)
        for seed, (name, found) in enumerate(real.items())
    }
    own = features(150, 9)
    honest = Memorization(MemorizationConfig()).evaluate(ImageSet(make_images(150, seed=9), own), sets, ctx)
    own[:12] = real["test"][30:42]
    leaky = Memorization(MemorizationConfig()).evaluate(ImageSet(make_images(150, seed=9), own), sets, ctx)
    table = leaky.tables["images_copied"]
    copied = {image for image, flag in enumerate(unpack_bits(table["copied_bits"], 120)) if flag}
    assert set(range(30, 42)) <= copied
    assert len(copied) == table["copied"] < 20
    assert table["p"] < 0.01 < honest.tables["images_copied"]["p"]
    assert leaky.metrics[2].label == "images_copied[reference,synthetic]"
    assert leaky.metrics[2].n == 120
    assert leaky.metrics[2].value == table["copied"]


def test_independent_sets_are_rarely_more_than_chance(
    make_images: Callable[..., TensorImages], ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test is Fisher's: under independence, p below 0.05 comes at most about once in twenty."""
    monkeypatch.setattr("genbench_evaluators.memorization._draw", lambda *_: None)  # twenty slow pictures
    low = 0
    for trial in range(20):
        sets = {
            name: ImageSet(make_images(count, seed=seed), features(count, 100 * trial + seed))
            for seed, (name, count) in enumerate({"train": 200, "val": 100, "test": 100}.items())
        }
        own = ImageSet(make_images(200, seed=9), features(200, 100 * trial + 50))
        found = Memorization(MemorizationConfig(extractor="pixels", quantile=0.2)).evaluate(
            own, {name: ImageSet(one.images, one.features) for name, one in sets.items()}, ctx
        )
        low += found.tables["images_copied"]["p"] < 0.05
    assert low <= 3
