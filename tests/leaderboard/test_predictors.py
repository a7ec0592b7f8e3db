"""What a board says of the metrics that may predict a gain."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import spearmanr

from genbench.metrics import INTERVALS, Metric
from genbench.protocols import RunContext
from genbench.records import Component, Record
from genbench_evaluators.configs.usefulness import UsefulnessConfig
from genbench_evaluators.usefulness import Usefulness
from genbench_leaderboard.board import build_board
from genbench_leaderboard.page import render_page
from genbench_leaderboard.predictors import TITLE, predictors
from genbench_leaderboard.rows import Board, Finding
from genbench_leaderboard.tables import render_markdown, render_terminal
from made_records import BASE, arm, declared


def finding(metric: str, value: float | None, ends: tuple[float, float] | None, **changes: Any) -> Finding:
    usual: dict[str, Any] = {
        "dataset": "digits", "evaluator": "usefulness", "metric": f"spearman[{metric}]", "unit": "",
        "note": "with the gain, 8 rows of 8 generators; 95 % interval over generators 0 to 1",
        "name": "spearman", "about": (metric,), "source": "one",
    }  # fmt: skip
    return Finding(value=value, interval=ends, **{**usual, **changes})


def board_with(found: Sequence[Finding]) -> Board:
    return replace(build_board(arm("none", BASE, declared("baseline"))), findings=tuple(found))


def as_suite(cell: Record, metrics: Sequence[Metric], tables: Mapping[str, Any]) -> Record:
    """Return what an evaluation of the whole suite has found."""
    about = {"subject": "suite", "classifier": None, "mix": None, "evaluator": Component("usefulness")}
    found = replace(cell.result, **about, metrics=tuple(metrics), tables=tables, key="f" * 64)
    return Record(found, cell.run)


RELATED, OPPOSED, UNCLEAR = (
    finding("inception_score[cnn]", 0.98, (0.79, 1.0)),
    finding("fid[reference,val]", -0.93, (-1.0, -0.41)),
    finding("vendi[reference]", 0.52, (-0.34, 0.91)),
)


def test_the_closest_relation_comes_first_and_zero_decides() -> None:
    (told,) = predictors(board_with([UNCLEAR, OPPOSED, RELATED]))
    assert told.title == TITLE
    assert told.sentence.startswith(
        "Of 3 metrics of the images, over 8 rows of 8 generators, 2 are related to the gain: their intervals "
        "leave out 0. The closest: inception score (cnn) (+0.98) and FID (reference, val) (-0.93). "
    )
    assert told.result == "2 of 3 metrics are related to it"
    cells = {column.name: column.cells for column in told.columns}
    assert cells == {
        "metric": ("inception score", "FID", "vendi"),
        "of": ("cnn", "reference, val", "reference"),
        "rank correlation": ("+0.98", "-0.93", "+0.52"),
        "95 % interval": ("+0.79 to +1.00", "-1.00 to -0.41", "-0.34 to +0.91"),
    }


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-1.0, 0.0), (-0.1, 0.9)])
def test_an_interval_that_holds_zero_shows_nothing(ends: tuple[float, float]) -> None:
    (told,) = predictors(board_with([finding("fid", 0.5, ends)]))
    assert "none was shown to be related to the gain" in told.sentence
    assert told.result == "0 of 1 metric is related to it"


def test_the_closest_are_of_different_metrics() -> None:
    """Distances to train and to val say nearly the same."""
    found = [
        finding("fid[reference,train]", -0.9, (-1.0, -0.4)), OPPOSED, finding("kid[x]", -0.8, (-1.0, -0.1))
    ]  # fmt: skip
    (told,) = predictors(board_with(found))
    assert "The closest: FID (reference, val) (-0.93) and KID (x) (-0.80)." in told.sentence


def test_rows_are_told_line_by_line_where_they_differ() -> None:
    other = finding("kid[val]", -0.5, (-0.9, 0.1), note="with the gain, 5 rows of 5 generators; 95 % x")
    (told,) = predictors(board_with([RELATED, other]))
    assert "over" not in told.sentence
    assert told.columns[-1].name == "over"
    assert told.columns[-1].cells == ("8 rows of 8 generators", "5 rows of 5 generators")


def test_each_evaluation_has_a_table_of_its_own() -> None:
    elsewhere = finding("fid[val]", -0.2, (-0.8, 0.6), source="two", dataset="cifar10")
    assert [one.title for one in predictors(board_with([RELATED, elsewhere]))] == [
        f"{TITLE} digits", f"{TITLE} cifar10",
    ]  # fmt: skip


def test_what_has_no_interval_stays_across_the_rows() -> None:
    bare = finding("fid", 0.5, None)
    page = render_markdown(board_with([bare]))
    assert TITLE not in page
    assert "## Across the rows" in page
    whole = render_markdown(board_with([RELATED]))
    assert "Across the rows" not in whole
    both = render_markdown(board_with([RELATED, bare]))
    assert both.index(f"## {TITLE}") < both.index("## Across the rows")


def test_the_contents_of_a_page_name_it() -> None:
    one, other = (arm("none", BASE, declared("baseline"), dataset=name) for name in ("digits", "letters"))
    page = render_page(replace(build_board([*one, *other]), findings=(RELATED, OPPOSED, UNCLEAR)), (), {})
    assert page.count('href="#predictors-1"') == page.count('id="predictors-1"') == 1


def test_every_form_shows_it() -> None:
    board = board_with([RELATED, OPPOSED, UNCLEAR])
    for page in (render_markdown(board), render_terminal(board), render_page(board, (), {})):
        assert TITLE in page
        assert "2 are related to the gain" in " ".join(page.split())
        assert "+0.79 to +1.00" in page


def test_an_evaluation_gives_its_intervals_as_numbers(ctx: RunContext) -> None:
    gains, values = [30, 10, 40, 20, 50, 0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    records = list(arm("none", [600]))
    for number, (gain, value) in enumerate(zip(gains, values, strict=True)):
        cell = arm(f"g{number}", [600 + gain])[0]
        result = replace(
            cell.result, subject="image_set", classifier=None, mix=None, evaluator=Component("fid"),
            tables={}, metrics=(Metric("fid", value),), key=f"{number:064x}",
        )  # fmt: skip
        records += [cell, Record(result, cell.run)]
    found = Usefulness(UsefulnessConfig()).evaluate(records, ctx)
    (metric,) = found.metrics
    assert metric.value == pytest.approx(spearmanr(gains, values).statistic)
    low, high = found.tables[INTERVALS][metric.label]
    assert -1 <= low < metric.value < high <= 1
    assert metric.note.endswith(f"interval over generators {low:.2f} to {high:.2f}")
    suite = as_suite(records[0], found.metrics, found.tables)
    (told,) = predictors(build_board([*records, suite]))
    assert f"{low:+.2f} to {high:+.2f}" in told.columns[3].cells


@pytest.mark.parametrize(
    "given",
    [None, 3, {"spearman[fid]": None}, {"spearman[fid]": [1.0]}, {"spearman[fid]": ["a", "b"]},
     {"spearman[fid]": [float("nan"), 1.0]}, {"spearman[fid]": [1.0, -1.0]}],
)  # fmt: skip
def test_what_is_no_interval_is_none(given: Any) -> None:
    cell = arm("none", BASE)[0]
    odd = as_suite(cell, [Metric("spearman", 0.5, qualifiers=("fid",), note="6 rows")], {INTERVALS: given})
    board = build_board([cell, odd])
    assert predictors(board) == ()
    assert "6 rows" in render_markdown(board)
