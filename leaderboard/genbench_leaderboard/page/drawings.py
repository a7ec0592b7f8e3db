"""The plots of a group and of a whole board: which numbers they show, and in which order."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genbench.digest import digest
from genbench_leaderboard.crossed import ALPHA, Comparison
from genbench_leaderboard.plots import (
    Axis,
    Curve,
    CurvePoint,
    Dot,
    HeatCell,
    IntervalRow,
    curve_plot,
    heat_map,
    interval_plot,
    scatter_plot,
)
from genbench_leaderboard.rows import Board, Contrast, Group, Row
from genbench_leaderboard.statistics import Estimate
from genbench_leaderboard.titles import (
    augmentation,
    classifier_of,
    dataset_of,
    row_titles,
    short_titles,
    training_images,
)
from genbench_leaderboard.wording import is_sound, why_no_verdict

MOST_ROWS, MOST_COLUMNS, MOST_CURVES = 60, 20, 8  #: of a plot; of more, those that changed most
_COLOURED = (
    "Coloured where the 95 % interval over seeds excludes zero, the darker the further: of cells without any "
    "effect, one in twenty is by chance. What has no colour cannot be told from noise, or has no spread."
)
_DELTA = "difference in top-1, in percentage points; bars: 95 % interval"


@dataclass(frozen=True)
class Drawing:
    """A plot with its name, what it leaves out, and whether it takes the whole width of the page."""

    name: str
    svg: Markup
    note: str = ""
    wide: bool = False


def group_drawings(group: Group) -> Iterator[Drawing]:
    """Yield the plots of a group that there are numbers for."""
    named = row_labels(group)
    drawn = [_differences(group, named), _additions(group, named), *_gains_against_cost(group, named)]
    drawn += [draw(group, named) for draw in (_ratios, _classes, _shifts)]
    yield from (one for one in drawn if one is not None)


Names = Mapping[str, str]


def row_labels(group: Group) -> Names:
    """Return what the rows of a group are called in plots, by `Row.name`: as short as can be, none alike.

    `DDPM 2x, strong`: ratio and augmentation only where those of the group differ.
    """
    rows, titles = group.rows, row_titles(group)
    ratios = {row.mix_values["ratio"] for row in rows if not row.is_baseline}
    augmentations = {title.augment for title in titles}
    labels = [
        title.images
        + (f" {float(row.mix_values['ratio']):g}x" if len(ratios) > 1 and not row.is_baseline else "")
        + (f", {title.augment}" if len(augmentations) > 1 else "")
        for row, title in zip(rows, titles, strict=True)
    ]
    names = [row.name for row in rows]
    return dict(zip(names, labels, strict=True)) if len(set(labels)) == len(labels) else short_titles(group)


def _differences(group: Group, names: Names) -> Drawing | None:
    """Draw the difference of every row to its baseline."""
    found = [(names[row.name], row.contrast) for row in group.rows if row.contrast]
    return _forest("Difference to real images alone", found)


def _additions(group: Group, names: Names) -> Drawing | None:
    """Draw what contenders add to copies and to free augmentation."""
    found = [
        (f"{names[row.name]} against {names.get(one.against, one.against)}", one)
        for row in group.rows
        for one in row.adds
    ]
    return _forest("Difference to what is simpler", found)


def _forest(name: str, contrasts: Sequence[tuple[str, Contrast]]) -> Drawing | None:
    found = [(label, one, one.found) for label, one in contrasts if one.found is not None]
    if not found:
        return None
    most = sorted(found, key=lambda entry: -abs(entry[2].mean))[:MOST_ROWS]
    kept = {label for label, *_ in most}
    rows = []
    for label, contrast, comparison in found:
        interval = comparison.interval
        low, high = (interval.low, interval.high) if interval else (None, None)
        if label in kept:
            rows.append(IntervalRow(label, comparison.mean, low, high, contrast.verdict))
    return Drawing(name, interval_plot(rows, name, _DELTA), _left_out(len(found), MOST_ROWS, "rows"))


def _left_out(count: int, most: int, what: str) -> str:
    return f"Of {count} {what}, the {most} with the largest differences." if count > most else ""


def _gains_against_cost(group: Group, names: Names) -> Iterator[Drawing]:
    """Draw gain against cost, a plot for each baseline: it has no gain, and its own cost.

    What is void has no gain that a front could be made of.
    """
    rows = {row.name: row for row in group.rows}
    against: dict[str, list[Row]] = defaultdict(list)
    for row in group.rows:
        if row.contrast is not None and row.contrast.found is not None:
            against[row.contrast.against].append(row)
    for base, members in against.items():
        kept = [row for row in members if row.contrast and not (row.contrast.void or row.contrast.problem)]
        kept = [row for row in kept if row.contrast and row.contrast.verdict != "void"]
        zero = _dot(rows[base], names, 0.0, "baseline") if base in rows else None
        dots = [zero, *(_gain_of(row, names) for row in kept)]
        found = [dot for dot in dots if dot is not None]
        if len(found) < 2:
            continue
        name = "Gain against cost"
        name += f": baseline {names.get(base, base)}" if len(against) > 1 else ""
        axes = ("seconds of one seed: fit, filter, sample, train", "difference in points")
        notes = _notes_on_costs([*kept, *([rows[base]] if base in rows else [])])
        if len(kept) < len(members):
            void = [f"{names[row.name]} ({why_no_verdict(row)})" for row in members if row not in kept]
            notes.append(f"Left out, since void: {'; '.join(void)}.")
        few = [f"{names[row.name]} ({why_no_verdict(row)})" for row in kept if not is_sound(row)]
        notes += [f"Of fewer seeds than planned: {'; '.join(few)}."] if few else []
        yield Drawing(name, scatter_plot(found, name, axes), " ".join(notes))


def _gain_of(row: Row, names: Names) -> Dot | None:
    found = row.contrast.found if row.contrast else None
    role = "contender" if row.role == "contender" else "control"
    return _dot(row, names, found.mean, role) if found else None


def _dot(row: Row, names: Names, gain: float, role: str) -> Dot | None:
    cost = row.cost.seconds if row.cost else None
    return Dot(names[row.name], cost, gain, role) if cost else None


def _notes_on_costs(rows: Sequence[Row]) -> list[str]:
    devices = sorted({device for row in rows if row.cost for device in row.cost.devices})
    return [f"Costs are of different devices: {', '.join(devices)}."] if len(devices) > 1 else []


# ----------------------------------------------------------------------------------------------- heat maps


def _classes(group: Group, names: Names) -> Drawing | None:
    """Draw what every row changes for every class."""
    table = {
        row.name: {one.name: _heat_cell(one.difference, one.adjusted_p) for one in row.classes}
        for row in group.rows
        if row.classes
    }
    note = (
        f"Difference of each class's recall, in points. {_COLOURED} "
        "*: p < 0.05, Holm-adjusted over the classes of a row."
    )
    return _heat("Gain per class", table, names, "classes", note)


def _shifts(group: Group, names: Names) -> Drawing | None:
    """Draw what every row changes on every shift."""
    table = {
        row.name: {one.name: _heat_cell(one.difference) for one in row.shifts if one.difference}
        for row in group.rows
        if any(one.difference for one in row.shifts)
    }
    note = f"Difference of top-1 on each shift, in points. {_COLOURED}"
    return _heat("Gain per shift", table, names, "shifts", note)


def _heat_cell(difference: Estimate | Comparison, adjusted_p: float | None = None) -> HeatCell:
    """Return a cell; without spread between seeds, an interval of no width would say what nobody knows."""
    mark = "*" if adjusted_p is not None and adjusted_p < ALPHA else ""
    interval = difference.interval
    if interval is None or interval.low == interval.high:
        return HeatCell(difference.mean, mark, note="" if interval is None else "no spread between seeds")
    return HeatCell(difference.mean, mark, interval.low, interval.high)


def _heat(
    name: str, table: Mapping[str, Mapping[str, HeatCell]], names: Names, what: str, note: str
) -> Drawing | None:
    largest: dict[str, float] = {}
    for line in table.values():
        for column, cell in line.items():
            largest[column] = max(largest.get(column, 0.0), abs(cell.value or 0.0))
    if not largest:
        return None
    columns = _largest(largest, MOST_COLUMNS)
    sizes = {
        row: max((abs(one.value or 0.0) for one in cells.values()), default=0.0)
        for row, cells in table.items()
    }
    rows = _largest(sizes, MOST_ROWS)
    cells = [[table[row].get(column, HeatCell(None)) for column in columns] for row in rows]
    svg = heat_map([names[row] for row in rows], columns, cells, name)
    left_out = [_left_out(len(table), MOST_ROWS, "rows"), _left_out(len(largest), MOST_COLUMNS, what)]
    return Drawing(name, svg, " ".join(part for part in (note, *left_out) if part), wide=True)


def _largest(sizes: Mapping[str, float], most: int) -> list[str]:
    """Return names in their order; of too many, those with the largest sizes."""
    kept = set(sorted(sizes, key=lambda one: -sizes[one])[:most])
    return [one for one in sizes if one in kept]


# -------------------------------------------------------------------------------------------------- curves


def _ratios(group: Group, names: Names) -> Drawing | None:
    """Draw top-1 against the ratio of what was run with several ratios, and its baselines as levels."""
    families: dict[tuple[str, ...], dict[float, Row]] = defaultdict(dict)
    for row in group.rows:
        if row.top1 is not None and not row.is_baseline:
            families[_but_ratio(row)][float(row.mix_values["ratio"])] = row
    several = {family: rows for family, rows in families.items() if len(rows) > 1}
    if not several:
        return None
    images = {row.name: title.images for row, title in zip(group.rows, row_titles(group), strict=True)}
    augmentations = len({augmentation(row) for rows in several.values() for row in rows.values()}) > 1
    curves = [
        Curve(
            _family_name(next(iter(rows.values())), images, augmentations),
            tuple(_point(ratio, row.top1) for ratio, row in rows.items() if row.top1),
        )
        for rows in several.values()
    ]
    curves = sorted(curves, key=lambda one: -max(point.y for point in one.points))[:MOST_CURVES]
    levels = [
        Curve(names[row.name], (CurvePoint(0.0, row.top1.mean),), level=True)
        for row in group.rows
        if row.is_baseline and row.contrast is None and row.top1 is not None
    ]
    ratios = tuple(sorted({ratio for rows in several.values() for ratio in rows}))
    name = "Top-1 against the ratio"
    left_out = f"Of {len(several)} generators, the {MOST_CURVES} best." if len(several) > MOST_CURVES else ""
    x, y = Axis("synthetic images per real one", log=True, named=ratios), Axis("top-1 on test in %")
    return Drawing(
        name, curve_plot([*curves, *levels], name, x, y), f"Bars: 95 % interval over seeds. {left_out}"
    )


def _but_ratio(row: Row) -> tuple[str, ...]:
    rest = (f"{key}={row.mix_values[key]}" for key in sorted(row.mix_values) if key != "ratio")
    return (row.generator, row.filter, str(row.mix_values["augment"]), *rest)


def _family_name(row: Row, images: Names, augmentations: bool) -> str:
    return images[row.name] + (f", {augmentation(row)}" if augmentations else "")


def _point(x: float, estimate: Estimate | None) -> CurvePoint:
    assert estimate is not None
    interval = estimate.interval
    return CurvePoint(
        float(x), estimate.mean, interval.low if interval else None, interval.high if interval else None
    )


def size_drawings(board: Board) -> tuple[Drawing, ...]:
    """Return top-1 against the number of real training images, where groups differ in nothing else."""
    families: dict[str, dict[int, Group]] = defaultdict(dict)
    for group in board.groups:
        images = training_images(group)
        if images:
            families[_but_size(group)].setdefault(images, group)
    return tuple(one for groups in families.values() if len(groups) > 1 for one in _sizes(groups))


def _but_size(group: Group) -> str:
    """Return what groups share whose training sets differ in size alone."""
    dataset, classifier = group.dataset_component, group.classifier_component
    options = {key: value for key, value in dataset.config.items() if key != "limit_train"}
    about = [dataset.use, dataset.version, options, classifier.identity, group.protocol.identity]
    return digest([*about, group.budget, group.budget_scale])


def _sizes(groups: Mapping[int, Group]) -> Iterator[Drawing]:
    """Yield a plot for each ratio, with the baselines in all of them."""
    points: dict[tuple[float, str], dict[int, Estimate]] = defaultdict(dict)
    names: dict[str, str] = {}
    for images, group in sorted(groups.items()):
        names |= row_labels(group)
        for row in group.rows:
            if row.top1 is not None:
                points[0.0 if row.is_baseline else float(row.mix_values["ratio"]), row.name][images] = (
                    row.top1
                )
    curves = {
        (ratio, row): Curve(names[row], tuple(_point(images, top1) for images, top1 in found.items()))
        for (ratio, row), found in points.items()
        if len(found) > 1
    }
    ratios = sorted({ratio for ratio, _ in curves})
    first = next(iter(groups.values()))
    about = f"{dataset_of(first).title}, {classifier_of(first).title}"
    x = Axis("real training images", log=True, named=tuple(map(float, sorted(groups))))
    for shown in ratios[1:] if len(ratios) > 1 else ratios:
        found = [curve for (ratio, _), curve in curves.items() if ratio in {0.0, shown}]
        name = f"{about}, {shown:g} synthetic per real image" if shown else about
        left_out = f" Of {len(found)} rows, the first {MOST_CURVES}." if len(found) > MOST_CURVES else ""
        svg = curve_plot(
            found[:MOST_CURVES], f"Top-1 by training images: {name}", x, Axis("top-1 on test in %")
        )
        yield Drawing(name, svg, f"Bars: 95 % interval over seeds.{left_out}")
