"""The tables below a group's own: distances, shifts, classes, and whatever else was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import filterfalse
from typing import Literal

from genbench.metrics import MetricIdentity, shown_range
from genbench_leaderboard.columns import NOTHING, Column, Table, number
from genbench_leaderboard.crossed import ALPHA, Comparison
from genbench_leaderboard.predictors import is_about_a_metric
from genbench_leaderboard.rows import (
    BASELINE,
    Board,
    Books,
    ClassGain,
    Contrast,
    Distance,
    Group,
    Measured,
    Row,
    ShiftGain,
)
from genbench_leaderboard.sentences import count
from genbench_leaderboard.statistics import Estimate
from genbench_leaderboard.titles import cell_titles, row_titles

_FAMILIES = {"fid": "FID", "mmd2": "MMD²", "kid": "KID"}
_SHOWN = 20  # classes, or shifts
_SHOWN_MEASURES = 200  # lines; every row has a column, so they multiply


def further_tables(group: Group) -> tuple[Table, ...]:
    """Lay out what there is besides the main table; what the tables mean is said once (`terms`)."""
    names = cell_titles(group)
    tables = (
        Table("More than what is simpler?", _additions_table(group, names), ""),
        Table("Images behind the rows", _books_table(group, names), ""),
        Table("Distances of the image sets", _distance_table(group), ""),
        Table("Shifts", _shift_table(group, names), _shown_of(group, "shifts")),
        Table("Gain per class", _class_table(group, names), _class_legend(group)),
        Table("Other measurements", _measure_table(group, names), _left_out(group)),
        Table("Exact names", _reference_table(group, names), ""),
    )
    return tuple(table for table in tables if table.columns)


def _additions_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out contenders against frozen copies and free augmentation: a line per contrast."""
    lines = [
        (
            names[row.name],
            names.get(one.against, one.against),
            difference(one),
            p_value(one),
            one.verdict,
        )
        for row in group.rows
        for one in row.adds
    ]
    return _columns(("arm", "against", "Δ", "p", "verdict"), lines, words=("arm", "against", "verdict"))


def _reference_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out what users typed: the references of what the other tables call by words."""
    lines = [(names[row.name], row.generator, row.filter, row.mix) for row in group.rows]
    filtered = any(row.filter != BASELINE for row in group.rows)
    columns = _columns(
        ("arm", "generator", "filter", "mix"), lines, words=("arm", "generator", "filter", "mix")
    )
    return tuple(
        replace(column, is_reference=column.name != "arm")
        for column in columns
        if filtered or column.name != "filter"
    )


def _columns(
    titles: Sequence[str], lines: Sequence[Sequence[str]], words: Sequence[str]
) -> tuple[Column, ...]:
    """Turn lines into columns, those of words on the left, without those that say nothing."""
    columns = (
        Column(title, tuple(cells), "left" if title in words else "right")
        for title, cells in zip(titles, zip(*lines, strict=True), strict=False)
    )
    return tuple(column for column in columns if set(column.cells) != {NOTHING})


def difference(contrast: Contrast) -> str:
    """Write the difference of a contrast with half its interval: `+0.52 ±0.31`."""
    found = contrast.found
    if found is None:
        return NOTHING
    return f"{found.mean:+.2f}" + ("" if found.half_width is None else f" ±{found.half_width:.2f}")


def p_value(contrast: Contrast) -> str:
    """Write the adjusted p of a contrast."""
    if contrast.adjusted_p is None or contrast.verdict == "incomplete":
        return NOTHING
    return "<0.001" if contrast.adjusted_p < 0.001 else f"{contrast.adjusted_p:.3f}"


def _books_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out which images each row learned from, and how often it saw real ones."""
    lines = [(names[row.name], *_books(row.books)) for row in group.rows if row.books is not None]
    titles = ("arm", "real", "synthetic", "real seen", "each", "synthetic seen", "steps")
    return _columns(titles, lines, words=("arm",))


def _books(books: Books) -> tuple[str, ...]:
    return (
        _count(books.train),
        _count(books.synthetic),
        _count(books.real_seen),
        f"{books.real_seen / books.train:.1f}x" if books.train else NOTHING,
        _count(books.synthetic_seen),
        NOTHING if books.steps is None else _count(books.steps),
    )


def _count(number_of_images: float) -> str:
    return f"{number_of_images:,.0f}"


def _distance_table(group: Group) -> tuple[Column, ...]:
    """Lay out every distance: one line per image set and kind of distance."""
    lines: dict[tuple[str, ...], tuple[str, ...]] = {}
    titles = row_titles(group)
    several = len({title.mix for title in titles if title.mix}) > 1
    for row, title in zip(group.rows, titles, strict=True):
        images = f"{title.images}, {title.mix}" if several and title.mix else title.images
        found = _by_kind(row.distances)
        for family, extractor in sorted({(one.family, one.extractor) for one in row.distances}):
            train, val = (found.get((family, extractor, split, False)) for split in ("train", "val"))
            floor = found.get((family, extractor, "val", True))
            sizes = "/".join(shown_range(one.n) if one else NOTHING for one in (train, val))
            cells = tuple(number(one.mean) if one else NOTHING for one in (train, val, floor))
            lines[(images, _family(family), extractor)] = (sizes, *cells)
    names = ("images", "distance", "extractor", "n (train/val)", "to train", "to val", "floor of val")
    table = [(*key, *cells) for key, cells in lines.items()]
    return _columns(names, table, words=names[:3])


def _shift_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out top-1 on every shift: a line per shift, a column per row; beyond 20, the largest changes."""
    rows = [row for row in group.rows if row.shifts]
    if not rows:
        return ()
    largest: dict[str, float] = {}
    for shift in (shift for row in rows for shift in row.shifts):
        gain = abs(shift.difference.mean) if shift.difference else 0.0
        largest[shift.name] = max(largest.get(shift.name, 0.0), gain)
    kept = _most(largest)
    sizes = {shift.name: shift.images for row in rows for shift in row.shifts}
    columns = [Column("shift", tuple(kept), "left"), Column("n", tuple(str(sizes[name]) for name in kept))]
    for row in rows:
        found = {shift.name: shift for shift in row.shifts}
        columns.append(Column(names[row.name], tuple(_shift(found.get(name)) for name in kept), spare=True))
    return tuple(columns)


def _shift(found: ShiftGain | None) -> str:
    if found is None:
        return NOTHING
    top1 = f"{found.top1.mean:.1f}"
    return top1 if found.difference is None else f"{top1} ({_points(found.difference)})"


def _class_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out the gain of every class: a line per class, a column per row; beyond 20, the largest changes."""
    rows = [row for row in group.rows if row.classes]
    if not rows:
        return ()
    largest: dict[str, float] = {}
    for gain in (gain for row in rows for gain in row.classes):
        largest[gain.name] = max(largest.get(gain.name, 0.0), abs(gain.difference.mean))
    kept = _most(largest)
    sizes = {gain.name: gain.images for gain in rows[0].classes}
    columns = [Column("class", tuple(kept), "left")]
    columns.append(Column("n", tuple(str(sizes.get(name, NOTHING)) for name in kept)))
    for row in rows:
        gains = {gain.name: gain for gain in row.classes}
        columns.append(
            Column(names[row.name], tuple(_class_gain(gains.get(name)) for name in kept), spare=True)
        )
    return tuple(columns)


def _class_gain(gain: ClassGain | None) -> str:
    if gain is None:
        return NOTHING
    star = " *" if gain.adjusted_p is not None and gain.adjusted_p < ALPHA else ""
    return _points(gain.difference) + star


def _measure_table(group: Group, names: Mapping[str, str]) -> tuple[Column, ...]:
    """Lay out everything else, a line per metric, a column per row."""
    rows = [row for row in group.rows if row.measures]
    measured = {_identity(one): None for row in rows for one in row.measures}
    if not measured:
        return ()
    order = sorted(measured, key=lambda one: (one[0].label, one[1]))[:_SHOWN_MEASURES]
    titles = tuple(_title(*one) for one in order)
    columns = [Column("metric", titles, "left"), *_n_column(rows, order)]
    for row in rows:
        found = {_identity(one): one.value.value for one in row.measures}
        cells = (number(found[one]) if one in found else NOTHING for one in order)
        columns.append(Column(names[row.name], tuple(cells), spare=True))
    return tuple(columns)


def _identity(measured: Measured) -> tuple[MetricIdentity, str]:
    return measured.value.identity, measured.by


def _title(identity: MetricIdentity, author: str) -> str:
    unit = f" ({identity.unit})" if identity.unit else ""
    return f"{identity.label}{unit}" + (f" by {author}" if author else "")


def _n_column(rows: Sequence[Row], order: Sequence[tuple[MetricIdentity, str]]) -> list[Column]:
    """Return how many images the numbers rest on, over all rows and seeds; nothing where no metric says."""
    sizes: dict[tuple[MetricIdentity, str], list[int]] = {}
    for one in (one for row in rows for one in row.measures):
        sizes.setdefault(_identity(one), []).extend(one.value.n or ())
    shown = [shown_range(sizes[one]) for one in order]
    return [Column("n", tuple(text or NOTHING for text in shown))] if any(shown) else []


def findings_table(board: Board, most: int | None = None) -> tuple[Column, ...]:
    """Lay out what else than `predictors` was found across the rows; of more than `most` the largest values.

    Metrics without a value, for one and the same reason, share a line.
    """
    lines: dict[tuple[str, ...], list[float | None]] = {}
    for one in filterfalse(is_about_a_metric, board.findings):
        named = ("", "") if one.value is None else (one.metric, one.unit)
        key = (one.dataset, one.evaluator, *named, one.note)
        lines.setdefault(key, []).append(one.value)
    found = sorted(lines.items(), key=lambda line: -abs(line[1][0] or 0.0)) if most else list(lines.items())
    cells = [
        (
            dataset,
            evaluator,
            metric or count(len(values), "metric", "metrics"),
            NOTHING if values[0] is None else f"{number(values[0])} {unit}".strip(),
            note,
        )
        for (dataset, evaluator, metric, unit, note), values in found[:most]
    ]
    names = ("dataset", "evaluator", "metric", "value", "note")
    columns = tuple(
        Column(name, column, "right" if name == "value" else "left")
        for name, column in zip(names, zip(*cells, strict=True), strict=False)
    )
    return columns if len({line[0] for line in cells}) > 1 else columns[1:]


def _class_legend(group: Group) -> str:
    same = any(gain.difference.half_width == 0 for row in group.rows for gain in row.classes)
    told = "No ± behind a gain: no spread between its seeds, which all changed alike." if same else ""
    return f"{told} {_shown_of(group, 'classes')}".strip()


def _shown_of(group: Group, what: Literal["shifts", "classes"]) -> str:
    """Say that lines were left out, if they were."""
    count = len({one.name for row in group.rows for one in getattr(row, what)})
    return f"Of {count} {what}, the {_SHOWN} with the largest differences." if count > _SHOWN else ""


def _left_out(group: Group) -> str:
    count = len({_identity(one) for row in group.rows for one in row.measures})
    return f"Of {count} metrics, the first {_SHOWN_MEASURES} by name." if count > _SHOWN_MEASURES else ""


def _most(largest: dict[str, float]) -> list[str]:
    """Return the names in their order, or of too many those with the largest values."""
    if len(largest) <= _SHOWN:
        return list(largest)
    return sorted(largest, key=lambda name: (-largest[name], name))[:_SHOWN]


def _points(difference: Estimate | Comparison) -> str:
    """Write a difference; without any spread no ±, which would read as certainty."""
    half, text = difference.half_width, f"{difference.mean:+.1f}"
    return (text if float(text) else text[1:]) + (f" ±{half:.1f}" if half else "")


def _by_kind(distances: Sequence[Distance]) -> dict[tuple[str, str, str, bool], Distance]:
    """Return distances by family, extractor, real images, and whether they are a floor; the first of each."""
    return {(one.family, one.extractor, one.against, one.floor): one for one in reversed(distances)}


def _family(family: str) -> str:
    return _FAMILIES.get(family, family)
