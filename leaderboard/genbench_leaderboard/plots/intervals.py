"""Forest plot: differences with their intervals around a line at zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from genbench_leaderboard.plots.scales import Scale, finite, padded, plain, signed
from genbench_leaderboard.plots.svg import (
    SMALL,
    WIDTH,
    Shape,
    element,
    figure,
    folded,
    label,
    legend,
    line,
    marker,
    width_of,
)

_ROW, _LINE, _TOP, _LEFT = 42.0, 14.0, 4.0, 14.0
_BAND = 9.0  #: from the middle of a bar to the ends of the lines behind it, which cross no name

#: Shape, whether it is filled, and series, by verdict: what can be told apart without colours.
LOOKS: dict[str, tuple[Shape, bool, int]] = {
    "better": ("up", True, 2),
    "worse": ("down", True, 6),
    "cannot tell": ("circle", False, 0),
    "reference": ("square", False, 7),
    "void": ("cross", False, 7),
}
_OTHER: tuple[Shape, bool, int] = ("diamond", False, 7)


@dataclass(frozen=True)
class IntervalRow:
    """A line of a forest plot.

    Attributes:
        label: Name of the row.
        mean: Difference.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        verdict: Decides the marker, see `LOOKS`.
    """

    label: str
    mean: float
    low: float | None = None
    high: float | None = None
    verdict: str = ""

    @property
    def text(self) -> str:
        """The numbers, written."""
        if self.low is None or self.high is None:
            return signed(self.mean)
        return f"{signed(self.mean)} \u00b1{(self.high - self.low) / 2:.2f}"


def interval_plot(rows: Sequence[IntervalRow], title: str, axis: str, description: str = "") -> Markup:
    """Draw differences with their intervals, one row below the other, around zero.

    Args:
        rows: From top to bottom.
        title: See `figure`.
        axis: What the numbers are, with their unit.
        description: See `figure`; by default every row in words.
    """
    drawable = [row for row in rows if finite([row.mean])]
    low, high = padded(
        finite(value for row in drawable for value in (row.mean, row.low, row.high)), include=(0.0,)
    )
    numbers = max((width_of(row.text) for row in drawable), default=0.0)
    scale = Scale(low, high, _LEFT, WIDTH - _LEFT - numbers - 14)
    folds = [folded(row.label, WIDTH - 2 * _LEFT) for row in drawable]
    tops = list(accumulate((_ROW + _LINE * (len(lines) - 1) for lines in folds), initial=_TOP))
    bottom = tops[-1]
    body = [*_named(scale, bottom), label(axis, WIDTH / 2, bottom + 34, "middle", size=SMALL, room=WIDTH)]
    for row, lines, top in zip(drawable, folds, tops, strict=False):
        body += _row(row, lines, scale, top)
    kinds = [kind for kind in LOOKS if any(row.verdict == kind for row in drawable)]
    signs = [(_sign(kind), kind) for kind in kinds]
    if any(row.verdict not in LOOKS for row in drawable):
        signs.append((_sign(""), "no verdict"))
    drawn, height = legend(signs, bottom + 54)
    told = description or "; ".join(
        f"{row.label}: {row.text}{f', {row.verdict}' if row.verdict else ''}" for row in drawable
    )
    return figure(title, told, (WIDTH, height - 4), [*body, *drawn])


def _row(row: IntervalRow, lines: Sequence[str], scale: Scale, top: float) -> list[Markup]:
    shape, filled, series = LOOKS.get(row.verdict, _OTHER)
    y = top + 26 + _LINE * (len(lines) - 1)
    text, drawn = row.text, [label(row.text, WIDTH - _LEFT, y + 4, "end"), *_grid(scale, y)]
    drawn += [label(one, _LEFT, top + 12 + _LINE * place) for place, one in enumerate(lines)]
    parts = []
    if row.low is not None and row.high is not None:
        ends = scale.at(row.low), scale.at(row.high)
        parts += [line(ends[0], y, ends[1], y, 1.8)]
        parts += [line(x, y - 4, x, y + 4, 1.8) for x in ends]
    parts.append(marker(shape, scale.at(row.mean), y, filled=filled, tip=f"{row.label}: {text}"))
    return [*drawn, element("g", *parts, class_=f"series-{series}")]


def _named(scale: Scale, bottom: float) -> list[Markup]:
    """Name the numbers of the axis below the rows."""
    return [label(plain(tick), scale.at(tick), bottom + 16, "middle", size=SMALL) for tick in scale.ticks(5)]


def _grid(scale: Scale, y: float) -> list[Markup]:
    """Draw the lines behind a bar at `y`, and no further: a name stands above it."""
    drawn = [
        line(scale.at(tick), y - _BAND, scale.at(tick), y + _BAND, class_="grid", opacity=0.22)
        for tick in scale.ticks(5)
        if tick
    ]
    zero = scale.at(0.0)
    return [*drawn, line(zero, y - _BAND, zero, y + _BAND, 1.4)]


def _sign(verdict: str) -> Markup:
    shape, filled, series = LOOKS.get(verdict, _OTHER)
    return element("g", marker(shape, 0, 0, filled=filled), class_=f"series-{series}")
