"""Copies of test images cannot make a gain: they are found, counted, and left out of a second comparison."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from genbench.digest import digest
from genbench.images import TensorImages
from genbench.metrics import Metric
from genbench.protocols import ImageSet, RunContext
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record, Result, Run, pack_bits, unpack_bits
from genbench_evaluators.configs.memorization import MemorizationConfig
from genbench_evaluators.memorization import Memorization
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Board, Row
from genbench_leaderboard.tables import render_markdown

TEST = 400
NONE, MADE = Component("none"), Component("ddpm")


def record(generator: Component, index: int, evaluator: str, **entries: Any) -> Record:
    mix, is_cell = Mix(ratio=0.0 if generator is NONE else 1.0), evaluator != "memorization"
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
        planned_indices=5,
        **entries,
    )
    return Record(result, Run("2026-01-01T00:00:00Z", "genbench run"))


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


def found_copies(copied: range, p: float, index: int = 0, n: int = TEST) -> Record:
    table = {
        "n": n, "copied": len(copied), "copied_bits": pack_bits(image in copied for image in range(n)),
        "val_n": 100, "val_copied": 1, "p": p,
    }  # fmt: skip
    return record(MADE, index, "memorization", tables={"test_copies": table})


BETTER = accuracies(NONE, [356, 358, 360, 362, 364]) + accuracies(MADE, [373, 374, 377, 378, 381])


def made_row(board: Board) -> Row:
    return next(row for row in board.groups[0].rows if not row.is_baseline)


def test_a_gain_that_rests_on_copied_images_is_void() -> None:
    plain = made_row(build_board(BETTER))
    assert plain.contrast is not None
    assert (plain.contrast.verdict, plain.rank, plain.contrast.copied_images) == ("better", 1, 0)
    board = build_board([*BETTER, found_copies(range(350, 390), p=1e-6)])
    void = made_row(board)
    assert void.contrast is not None
    assert void.contrast.verdict == "void"
    assert void.rank is None
    assert void.contrast.found == plain.contrast.found  # what was measured stays on the board
    assert void.contrast.without_copies is not None
    assert void.contrast.without_copies.mean == 0
    page = render_markdown(board)
    assert (
        "near copies among the synthetic ones, and Δ without them: 40, +0.00 (ddpm, +1.0x standard)" in page
    )
    assert "void: the verdict changes without the copied test images (ddpm, +1.0x standard)." in page


def test_a_gain_that_does_not_rest_on_them_stands_and_is_noted() -> None:
    row = made_row(build_board([*BETTER, found_copies(range(40), p=1e-6)]))
    assert row.contrast is not None
    assert row.contrast.verdict == "better"
    assert row.contrast.without_copies is not None
    means = [one.mean for one in (row.contrast.found, row.contrast.without_copies) if one]
    assert means[1] == pytest.approx(means[0] * TEST / (TEST - 40))


def test_what_chance_explains_changes_nothing() -> None:
    assert made_row(build_board([*BETTER, found_copies(range(350, 390), p=0.2)])) == made_row(
        build_board(BETTER)
    )
    five = [found_copies(range(350, 390), p=0.02, index=index) for index in range(5)]  # Bonferroni over seeds
    assert made_row(build_board([*BETTER, *five])) == made_row(build_board(BETTER))


def test_copies_of_all_seeds_are_left_out_together() -> None:
    parts = [found_copies(range(340 + 10 * k, 350 + 10 * k), p=1e-6, index=k) for k in range(5)]
    row = made_row(build_board([*BETTER, *parts]))
    assert row.contrast is not None
    assert row.contrast.copied_images == 50
    assert row.contrast.verdict == "void"


def test_copies_among_another_number_of_images_leave_nothing_to_compare() -> None:
    row = made_row(build_board([*BETTER, found_copies(range(30), p=1e-6, n=300)]))
    assert row.contrast is not None
    assert (row.contrast.verdict, row.contrast.without_copies) == ("void", None)


# --------------------------------------------------------------------------------------------- the evaluator


def features(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def test_copied_test_images_are_named(make_images: Callable[..., TensorImages], ctx: RunContext) -> None:
    real = {
        name: features(count, seed)
        for seed, (name, count) in enumerate({"train": 300, "val": 100, "test": 120}.items())
    }
    sets = {name: ImageSet(make_images(len(found)), found) for name, found in real.items()}
    own = features(150, 9)
    honest = Memorization(MemorizationConfig()).evaluate(ImageSet(make_images(150), own), sets, ctx)
    own[:12] = real["test"][30:42]
    leaky = Memorization(MemorizationConfig()).evaluate(ImageSet(make_images(150), own), sets, ctx)
    table = leaky.tables["test_copies"]
    copied = {image for image, flag in enumerate(unpack_bits(table["copied_bits"], 120)) if flag}
    assert set(range(30, 42)) <= copied
    assert len(copied) == table["copied"] < 20
    assert table["p"] < 0.01 < honest.tables["test_copies"]["p"]
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
            name: ImageSet(make_images(count), features(count, 100 * trial + seed))
            for seed, (name, count) in enumerate({"train": 200, "val": 100, "test": 100}.items())
        }
        own = ImageSet(make_images(200), features(200, 100 * trial + 50))
        found = Memorization(MemorizationConfig(extractor="pixels", quantile=0.2)).evaluate(
            own, {name: ImageSet(one.images, one.features) for name, one in sets.items()}, ctx
        )
        low += found.tables["test_copies"]["p"] < 0.05
    assert low <= 3


@pytest.mark.slow(reason="trains fifteen networks")
def test_a_generator_that_returns_test_images_is_caught_end_to_end(run_cells: Callable[..., Any]) -> None:
    _, outcome = run_cells(
        generators=["toy", "toy:fault=leak"],
        datasets=["toy-data:images=200"],
        seeds=5,
        evaluators=["accuracy", "memorization"],
    )
    assert not outcome.failed
    board = build_board(outcome.records)
    rows = {row.generator: row for row in board.groups[0].rows}
    honest, leaky = rows["toy"].contrast, rows["toy:fault=leak"].contrast
    assert honest is not None
    assert leaky is not None
    assert leaky.copied_images > 100
    assert leaky.copied_images > 10 * honest.copied_images
    assert leaky.without_copies is None or leaky.without_copies.n == 5
    assert f"and Δ without them: {leaky.copied_images}, " in render_markdown(board)
