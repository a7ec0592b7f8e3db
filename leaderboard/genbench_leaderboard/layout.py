"""What a page says, before it is Markdown or plain text: columns, sentences, footnotes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from genbench_leaderboard import sentences
from genbench_leaderboard.rows import BASELINE, Board, ClassGain, Cost, Distance, Group, Row
from genbench_leaderboard.statistics import ALPHA, SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT

NOTHING = "-"
_FAMILIES = {"fid": "FID", "mmd2": "MMD²", "kid": "KID"}
_IN_MAIN_TABLE = ("fid", "mmd2")
_SHOWN_CLASSES = 20
_ROUNDING = 1e-9  # a distance below it is one of a set to itself


@dataclass(frozen=True)
class Column:
    """A column of formatted cells.

    Attributes:
        spare: A narrow terminal may leave it out: it says nothing, or the second table says it, too.
    """

    name: str
    cells: tuple[str, ...]
    align: Literal["left", "right"] = "right"
    spare: bool = False


@dataclass(frozen=True)
class Section:
    """One group on the page."""

    title: str
    intro: str
    table: tuple[Column, ...]
    legend: tuple[str, ...]
    notes: tuple[str, ...]
    distances: tuple[Column, ...]
    distances_legend: str
    classes: tuple[Column, ...]
    classes_legend: str
    environment: str
    commands: tuple[str, ...]


def section(group: Group, board: Board) -> Section:
    """Lay out one group."""
    distances = _distance_table(group)
    return Section(
        title=group.title,
        intro=sentences.intro(group),
        table=_main_table(group),
        legend=sentences.legend(group, board),
        notes=sentences.notes(group),
        distances=distances,
        distances_legend=sentences.DISTANCES_LEGEND if distances else "",
        classes=_class_table(group),
        classes_legend=sentences.CLASSES_LEGEND,
        environment=sentences.environment(group.environments),
        commands=group.commands,
    )


# ------------------------------------------------------------------------------------------- main table


def _main_table(group: Group) -> tuple[Column, ...]:
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
    columns += _distance_columns(rows)
    columns.append(_column(_cost_header(rows), rows, lambda row: _cost(row.cost, rows)))
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
    done = sentences.pairs_done(row)
    return str(row.planned) if done >= row.planned else f"{done} of {row.planned}"


def _difference(row: Row) -> str:
    if row.is_baseline and row.contrast is None:
        return "baseline"
    if row.contrast is None or row.contrast.test is None:
        return NOTHING
    difference = row.contrast.test.difference
    half = difference.half_width
    return f"{difference.mean:+.2f}" + ("" if half is None else f" ±{half:.2f}")


def _p(row: Row) -> str:
    if row.contrast is None or row.contrast.adjusted_p is None or row.contrast.verdict == "incomplete":
        return NOTHING
    p = row.contrast.adjusted_p
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(row: Row) -> str:
    if row.contrast is None:
        return NOTHING if row.is_baseline else "no baseline"
    if row.contrast.verdict == "too few seeds":
        lacks = "interval" if row.planned < SEEDS_FOR_INTERVAL else "verdict"
        return f"{sentences.count(row.planned, 'seed', 'seeds')}: no {lacks}"
    return row.contrast.verdict


def _cost_header(rows: Sequence[Row]) -> str:
    devices = _devices(rows)
    return f"cost ({devices[0]})" if len(devices) == 1 else "cost"


def _devices(rows: Sequence[Row]) -> list[str]:
    return sorted({", ".join(row.cost.devices) for row in rows if row.cost and row.cost.devices})


def _cost(cost: Cost | None, rows: Sequence[Row]) -> str:
    if cost is None:
        return NOTHING
    where = f" {', '.join(cost.devices)}" if len(_devices(rows)) > 1 else ""
    return duration(cost.seconds) + where


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(12.34), duration(754), duration(36000)
    ('12.3 s', '12.6 min', '10.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def number(value: float) -> str:
    """Write a distance with three significant digits, more before the point.

    >>> number(1234.5), number(14.0), number(0.012345), number(-0.00000123), number(2e-12)
    ('1234', '14.0', '0.0123', '-1.23e-06', '0')
    """
    if abs(value) < _ROUNDING:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


# -------------------------------------------------------------------------------------------- distances


def _distance_columns(rows: Sequence[Row]) -> list[Column]:
    """Return FID and MMD² to train, one column per extractor; n in the cell only where it varies."""
    kinds = sorted(
        {(one.family, one.extractor) for row in rows for one in row.distances if one.family in _IN_MAIN_TABLE}
    )
    columns = []
    for family, extractor in kinds:
        found = [_pick(row.distances, family, extractor, "train") for row in rows]
        sizes = {one.n for one in found if one}
        if not sizes:
            continue
        shared = f", n={min(sizes)}" if len(sizes) == 1 else ""
        cells = [
            NOTHING if one is None else number(one.mean) + ("" if shared else f" (n={one.n})")
            for one in found
        ]
        columns.append(Column(f"{_family(family)} ({extractor}{shared})", tuple(cells), spare=True))
    return columns


def _distance_table(group: Group) -> tuple[Column, ...]:
    """Lay out every distance: one line per image set and kind of distance."""
    lines: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in group.rows:
        images = (row.generator, row.filter, f"{float(row.mix_values['ratio'])}x")
        for family, extractor in sorted({(one.family, one.extractor) for one in row.distances}):
            train, val = (_pick(row.distances, family, extractor, split) for split in ("train", "val"))
            floor = _pick(row.distances, family, extractor, "val", floor=True)
            sizes = "/".join(str(one.n) if one else NOTHING for one in (train, val))
            cells = tuple(number(one.mean) if one else NOTHING for one in (train, val, floor))
            lines[(*images, _family(family), extractor)] = (sizes, *cells)
    if not lines:
        return ()
    names = (
        "generator",
        "filter",
        "ratio",
        "distance",
        "extractor",
        "n (train/val)",
        "to train",
        "to val",
        "floor of val",
    )
    table = [(*key, *cells) for key, cells in lines.items()]
    unfiltered = all(line[1] == BASELINE for line in table)
    return tuple(
        Column(name, cells, "left" if place < 5 else "right", spare=name == "filter" and unfiltered)
        for place, (name, cells) in enumerate(zip(names, zip(*table, strict=True), strict=True))
    )


# ---------------------------------------------------------------------------------------------- classes


def _class_table(group: Group) -> tuple[Column, ...]:
    """Lay out the gain of every class: a line per class, a column per row; the extremes of many classes."""
    rows = [row for row in group.rows if row.classes]
    if not rows:
        return ()
    largest: dict[str, float] = {}
    for gain in (gain for row in rows for gain in row.classes):
        largest[gain.name] = max(largest.get(gain.name, 0.0), abs(gain.difference.mean))
    names = list(largest)
    if len(names) > _SHOWN_CLASSES:
        names = sorted(names, key=lambda name: (-largest[name], name))[:_SHOWN_CLASSES]
    sizes = {gain.name: gain.images for gain in rows[0].classes}
    columns = [Column("class", tuple(names), "left")]
    columns.append(Column("n", tuple(str(sizes.get(name, NOTHING)) for name in names)))
    for row in rows:
        gains = {gain.name: gain for gain in row.classes}
        columns.append(Column(row.name, tuple(_class_gain(gains.get(name)) for name in names), spare=True))
    return tuple(columns)


def _class_gain(gain: ClassGain | None) -> str:
    if gain is None:
        return NOTHING
    half = gain.difference.half_width
    star = " *" if gain.adjusted_p is not None and gain.adjusted_p < ALPHA else ""
    return f"{gain.difference.mean:+.1f}" + ("" if half is None else f" ±{half:.1f}") + star


# --------------------------------------------------------------------------------------- across the rows


def findings_table(board: Board, most: int | None = None) -> tuple[Column, ...]:
    """Lay out what was found across the rows; of more than `most` the largest values."""
    found = board.findings
    if most is not None and len(found) > most:
        found = tuple(sorted(found, key=lambda one: -abs(one.value or 0.0))[:most])
    cells = [
        (
            one.dataset,
            one.evaluator,
            one.metric,
            NOTHING if one.value is None else f"{number(one.value)} {one.unit}".strip(),
            one.note,
        )
        for one in found
    ]
    names = ("dataset", "evaluator", "metric", "value", "note")
    return tuple(
        Column(name, column, "right" if name == "value" else "left")
        for name, column in zip(names, zip(*cells, strict=True), strict=False)
    )


def _pick(
    distances: Iterable[Distance], family: str, extractor: str, split: str, *, floor: bool = False
) -> Distance | None:
    wanted = (family, extractor, split, floor)
    found = [one for one in distances if (one.family, one.extractor, one.split, one.floor) == wanted]
    return max(found, key=lambda one: one.n, default=None)


def _family(family: str) -> str:
    return _FAMILIES.get(family, family)
