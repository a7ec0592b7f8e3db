"""Heat map: a table of differences whose cells are shaded, with the numbers in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genbench_leaderboard.plots.scales import finite, signed
from genbench_leaderboard.plots.svg import (
    LETTER,
    SMALL,
    WIDTH,
    element,
    figure,
    folded,
    label,
    line,
    width_of,
)

_CELL, _ROW, _HEAD = 38.0, 20.0, 12.0
_MOST_HEAD = 190.0  # room for names of columns, written upwards
_SPARE = 1.1  # of room for names: fonts differ, and none may be cut
_LONGEST_NAME = 26  # characters of a line of a row's label
_GAIN, _LOSS = 0, 1  # series: blue and orange, which the colour-blind tell apart


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat map.

    Attributes:
        value: A difference; None where there is none.
        mark: Written behind it, as `*` for significant.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        note: Said besides where a mouse rests on it.
    """

    value: float | None
    mark: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def excluded(self) -> float:
        """How far the interval stays away from zero: 0 where it holds zero, and where there is none."""
        if self.low is None or self.high is None:
            return 0.0
        return max(self.low, -self.high, 0.0)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[HeatCell]],
    title: str,
    description: str = "",
    digits: int = 1,
) -> Markup:
    """Draw a table of differences. What may be noise has no colour, however large it is.

    A cell is coloured where its interval excludes zero, the darker the further away that stays; a coloured
    loss is underlined besides.
    It is as wide as its columns need; the page scrolls it where that is more than fits.

    Args:
        rows: Their names, from top to bottom.
        columns: Their names, from left to right: written upwards.
        cells: By row, then column.
        title: See `figure`.
        description: See `figure`; by default the extremes in words.
        digits: After the decimal point.
    """
    largest = max(finite(cell.excluded for line_ in cells for cell in line_), default=0.0) or 1.0
    names = [folded(name, width_of("n" * _LONGEST_NAME, SMALL), SMALL) for name in rows]
    left = _room([line_ for name in names for line_ in name]) + 8
    row_height = _ROW if all(len(name) == 1 for name in names) else 1.4 * _ROW
    head = min(_room(columns), _MOST_HEAD) + _HEAD
    wide = max(_CELL, min(60.0, (WIDTH - left) / max(len(columns), 1)))
    body: list[Markup] = []
    for place, name in enumerate(columns):
        x = left + wide * (place + 0.5) + 4
        turned = f"rotate(-90 {x:g} {head - 6:g})"
        body.append(label(name, x, head - 6, size=SMALL, room=head - 8, transform=turned))
    for place, (folds, whole) in enumerate(zip(names, rows, strict=True)):
        y = head + row_height * place
        for number, one in enumerate(folds):
            base = y + row_height / 2 + 4 + 12 * (number - (len(folds) - 1) / 2)
            body.append(label(one, left - 6, base, "end", size=SMALL))
        for number, cell in enumerate(cells[place]):
            tip_text = f"{whole}, {columns[number]}"
            body += _cell(cell, (left + wide * number, y, wide, row_height), largest, digits, tip_text)
    height = head + row_height * len(rows) + 4
    told = description or _told(rows, columns, cells)
    return figure(title, told, (max(left + wide * len(columns) + 4, 120), height), body)


def _room(names: Sequence[str]) -> float:
    """Return how much room names take in a font of wide letters."""
    return _SPARE * LETTER * SMALL * max(map(len, names), default=6)


def _cell(
    cell: HeatCell, box: tuple[float, float, float, float], largest: float, digits: int, tip: str
) -> list[Markup]:
    x, y, wide, high = box
    base = y + high / 2 + 4
    if cell.value is None or not finite([cell.value]):
        return [label("\u00b7", x + wide / 2, base, "middle", size=SMALL)]
    text = f"{signed(cell.value, digits)}{cell.mark}"
    told = f"{tip}: {text}{_interval(cell, digits)}{f'; {cell.note}' if cell.note else ''}"
    share = cell.excluded / largest
    shade = element(
        "rect",
        element("title", told),
        x=x + 1,
        y=y + 1,
        width=wide - 2,
        height=high - 2,
        fill="currentColor",
        fill_opacity=0.12 + 0.38 * share if share else 0.0,
    )
    series = _GAIN if cell.value >= 0 else _LOSS
    drawn = [element("g", shade, class_=f"series-{series}")]
    weight = 700 if cell.mark else None
    place = {"x": x + wide / 2, "y": base, "text_anchor": "middle", "font_size": SMALL}
    drawn.append(element("text", text, **place, font_weight=weight))
    if share and cell.value < 0:
        drawn.append(line(x + 5, base + 3, x + wide - 5, base + 3, 1.2))
    return drawn


def _interval(cell: HeatCell, digits: int) -> str:
    if cell.low is None or cell.high is None or cell.low == cell.high:
        return ""
    return f" ({signed(cell.low, digits)} to {signed(cell.high, digits)})"


def _told(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[HeatCell]]) -> str:
    found = [
        (cell.value, row, column)
        for row, line_ in zip(rows, cells, strict=True)
        for column, cell in zip(columns, line_, strict=True)
        if cell.value is not None and finite([cell.value])
    ]
    if not found:
        return "No numbers."
    low, high = min(found), max(found)
    clear = sum(cell.excluded > 0 for line_ in cells for cell in line_)
    return (
        f"{len(rows)} rows by {len(columns)} columns. Largest: {signed(high[0])} ({high[1]}, {high[2]}). "
        f"Smallest: {signed(low[0])} ({low[1]}, {low[2]}). The intervals of {clear} cells exclude zero."
    )
