"""What a board shows below its main tables: shifts, other measurements, and findings without a value."""

from collections.abc import Sequence
from typing import Any

import pytest

from genbench.records import Metric, Record, Result, Run
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Row
from genbench_leaderboard.tables import render_json, render_markdown, render_terminal

NONE: dict[str, Any] = {"use": "none", "version": 1, "config": {}}
MADE: dict[str, Any] = {"use": "ddpm", "version": 1, "config": {}}


def record(
    generator: dict[str, Any],
    index: int,
    evaluator: str,
    subject: Any,
    metrics: Sequence[Metric],
    **entries: Any,
) -> Record:
    result = Result(
        subject=subject,
        status="ok",
        dataset={"use": "digits", "version": 1, "config": {}},
        generator=generator,
        filter=NONE,
        mix={
            "ratio": 0.0 if generator is NONE else 1.0,
            "mode": "append",
            "augment": "standard",
            "budget": "steps",
            "budget_scale": 1.0,
        },
        classifier={"use": "cnn", "version": 1, "config": {}} if subject == "cell" else None,
        index=index,
        protocol={"base_seed": 0},
        evaluator={"use": evaluator, "version": 1, "config": {}},
        key=f"{generator['use']} {index} {evaluator}",
        planned_indices=3,
        metrics=tuple(metrics),
        **entries,
    )
    return Record(result, Run(f"2026-01-0{index + 1}T00:00:00Z", "genbench run"))


def cells(generator: dict[str, Any], fog: Sequence[float]) -> list[Record]:
    return [
        record(
            generator, index, "accuracy", "cell",
            [
                Metric("top1", 90.0, "%"), Metric("top1[fog-3]", value, "%"),
                Metric("balanced_accuracy[fog-3]", 1.0, "%"),
            ],
            tables={"fog-3": {"n": 449}},
        )
        for index, value in enumerate(fog)
    ]  # fmt: skip


def images(index: int, *metrics: Metric) -> Record:
    return record(MADE, index, "precision_recall", "image_set", metrics)


def row_of(records: Sequence[Record]) -> Row:
    return next(row for row in build_board(records).groups[0].rows if not row.is_baseline)


RECORDS = [*cells(NONE, [50.0, 52.0, 54.0]), *cells(MADE, [53.0, 56.0, 59.0])]


def test_accuracy_on_shifts_is_shown_with_its_paired_difference() -> None:
    (shift,) = row_of(RECORDS).shifts
    assert (shift.name, shift.images, shift.top1.mean) == ("fog-3", 449, 56.0)
    assert shift.difference is not None
    assert shift.difference.mean == 4.0  # 3, 4, 5: paired by seed
    assert shift.difference.sd == pytest.approx(1.0)
    for page in (render_markdown(build_board(RECORDS)), render_terminal(build_board(RECORDS))):
        assert "Shifts" in page
        assert "56.0 (+4.0 ±2.5)" in page  # t(0.975, 2) / sqrt(3) = 2.48
        assert "52.0" in page
        assert "balanced_accuracy[fog-3]" not in page


def test_a_seed_that_the_baseline_lacks_is_in_no_difference() -> None:
    (shift,) = row_of([*cells(NONE, [50.0]), *cells(MADE, [53.0, 56.0])]).shifts
    assert shift.top1.mean == 54.5
    assert shift.difference is not None
    assert (shift.difference.mean, shift.difference.n) == (3.0, 1)


def test_of_many_shifts_the_largest_changes_are_shown() -> None:
    def many(generator: dict[str, Any], step: float) -> Record:
        metrics = [
            Metric("top1", 90.0, "%"),
            *(Metric(f"top1[s{k:02d}]", 50 + step * k, "%") for k in range(30)),
        ]
        return record(generator, 0, "accuracy", "cell", metrics)

    page = render_markdown(build_board([many(NONE, 0.0), many(MADE, 1.0)]))
    assert "| s29 " in page
    assert "| s09 " not in page
    assert "Of 30 shifts, the 20 with the largest differences." in page


def test_everything_else_that_was_measured_is_shown_once() -> None:
    measured = [
        images(0, Metric("recall[reference,n=600,k=3]", 0.5), Metric("fid[reference,n=600,train]", 3.0)),
        images(
            1,
            Metric("recall[reference,n=600,k=3]", 0.7),
            Metric("vendi[x]", None),
            Metric("mmd2_p[reference,n=9,val]", 0.5),
        ),
        record(
            MADE,
            0,
            "ood_accuracy",
            "cell",
            [Metric("ood_top1[fog-3]", 1.0, "%"), Metric("mean_computed_top1", 33.0, "%")],
        ),
    ]
    found = {one.name: (one.mean, one.unit) for one in row_of([*RECORDS, *measured]).measures}
    assert found == {"recall[reference,n=600,k=3]": (0.6, ""), "mean_computed_top1": (33.0, "%")}
    page = render_markdown(build_board([*RECORDS, *measured]))
    assert "### Other measurements" in page
    assert "mean_computed_top1 (%)" in page
    assert '"mean_computed_top1"' in render_json(build_board([*RECORDS, *measured]))
    assert "Other measurements" not in render_markdown(build_board(RECORDS))


def test_findings_without_a_value_share_a_line() -> None:
    why = "only 2 rows have both; 5 are needed"
    metrics = [Metric(f"spearman[{name}]", None, note=why) for name in ("fid", "kid", "mmd")]
    suite = record(NONE, 0, "usefulness", "suite", [*metrics, Metric("spearman[vendi]", -0.7, note="6 rows")])
    for page in (
        render_markdown(build_board([*RECORDS, suite])),
        render_terminal(build_board([*RECORDS, suite])),
    ):
        assert page.count(why) == 1
        assert "3 metrics" in page
        assert "-0.700" in page
        across = page[page.index("Across the rows") :]
        assert "dataset" not in across.splitlines()[2]  # there is one alone
