"""What a page says, before it is Markdown or plain text: columns, sentences, footnotes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from genbench.escaping import shortened
from genbench_leaderboard import sentences
from genbench_leaderboard.columns import NOTHING, UNKNOWN, Column, Table
from genbench_leaderboard.crossed import SEEDS_FOR_INTERVAL
from genbench_leaderboard.further_tables import difference, distance_columns, further_tables, p_value
from genbench_leaderboard.rows import BASELINE, Board, Cost, Group, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT

_LONGEST_LINE = 20_000  # a note on each of 200 rows


@dataclass(frozen=True)
class Section:
    """One group on the page."""

    title: str
    intro: str
    table: tuple[Column, ...]
    legend: tuple[str, ...]
    notes: tuple[str, ...]
    further: tuple[Table, ...]
    environment: str
    commands: tuple[str, ...]


def section(group: Group, board: Board) -> Section:
    """Lay out one group."""
    return Section(
        title=group.title,
        intro=sentences.intro(group),
        table=_main_table(group, verified=board.verified),
        legend=sentences.legend(group, verified=board.verified),
        notes=tuple(shortened(note, _LONGEST_LINE) for note in sentences.notes(group)),
        further=further_tables(group),
        environment=shortened(
            f"{sentences.provenance(group.provenance)} {sentences.environment(group.environments)}",
            _LONGEST_LINE,
        ),
        commands=group.commands,
    )


# ------------------------------------------------------------------------------------------- main table


def _main_table(group: Group, *, verified: bool) -> tuple[Column, ...]:
    rows = group.rows
    judged = any(row.planned >= SEEDS_FOR_VERDICT for row in rows)
    columns = [
        _column("generator", rows, lambda row: row.generator + _marks(row), align="left"),
        _column(
            "filter",
            rows,
            lambda row: row.filter,
            align="left",
            spare=all(row.filter == BASELINE for row in rows),
        ),
        _column("mix", rows, lambda row: row.mix, align="left"),
        _column("top-1 (%)", rows, _top1),
        _column("n", rows, _seeds),
        _column("Δ to none", rows, _difference),
    ]
    if judged:
        columns += [
            _column("p", rows, _p),
            _column("verdict", rows, _verdict, align="left"),
            _column("rank", rows, lambda row: NOTHING if row.rank is None else str(row.rank)),
        ]
    columns += distance_columns(rows)
    columns.append(_column(_cost_header(rows), rows, lambda row: _cost(row.cost, rows)))
    if verified:
        columns.append(_column("checked", rows, _checked, align="left"))
    return tuple(columns)


def _column(
    name: str,
    rows: Sequence[Row],
    cell: Callable[[Row], str],
    align: Literal["left", "right"] = "right",
    spare: bool = False,
) -> Column:
    return Column(name, tuple(cell(row) for row in rows), align, spare)


def _marks(row: Row) -> str:
    marks = sentences.MIXED * row.mixed_environment + sentences.LIMITED * (row.budget_limited is not None)
    marks += sentences.EXTERNAL * bool(row.external_data)
    return f" {marks}" if marks else ""


def _top1(row: Row) -> str:
    if row.top1 is None:
        return NOTHING
    half = row.top1.half_width
    return f"{row.top1.mean:.2f}" + ("" if half is None else f" ±{half:.2f}")


def _seeds(row: Row) -> str:
    done = row.top1.n if _lacks_baseline(row) and row.top1 else sentences.pairs_done(row)
    return str(row.planned) if done >= row.planned else f"{done} of {row.planned}"


def _difference(row: Row) -> str:
    if row.contrast is None:
        return "baseline" if row.is_baseline else NOTHING
    if _lacks_baseline(row):
        return "no baseline"
    return difference(row.contrast)


def _lacks_baseline(row: Row) -> bool:
    """Whether a row was measured and its baseline was not: every seed of that failed."""
    return row.contrast is not None and row.contrast.found is None and row.top1 is not None


def _p(row: Row) -> str:
    return NOTHING if row.contrast is None else p_value(row.contrast)


def _verdict(row: Row) -> str:
    if row.contrast is None:
        return NOTHING if row.is_baseline else "no baseline"
    if row.contrast.verdict == "too few seeds":
        lacks = "interval" if row.planned < SEEDS_FOR_INTERVAL else "verdict"
        return f"{sentences.count(row.planned, 'seed', 'seeds')}: no {lacks}"
    return row.contrast.verdict


def _checked(row: Row) -> str:
    cells = row.top1.n if row.top1 else 0
    return f"{row.level} ({row.rerun} of {cells})" if row.level == "reproduced" else row.level


def _cost_header(rows: Sequence[Row]) -> str:
    devices = _devices(rows)
    return f"cost ({devices[0]})" if len(devices) == 1 else "cost"


def _devices(rows: Sequence[Row]) -> list[str]:
    return sorted({", ".join(row.cost.devices) for row in rows if row.cost and row.cost.devices})


def _cost(cost: Cost | None, rows: Sequence[Row]) -> str:
    if cost is None:
        return NOTHING
    where = f" {', '.join(cost.devices)}" if len(_devices(rows)) > 1 else ""
    return UNKNOWN if cost.seconds is None else duration(cost.seconds) + where


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(12.34), duration(754), duration(36000)
    ('12.3 s', '12.6 min', '10.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
