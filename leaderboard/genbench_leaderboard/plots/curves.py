"""Lines: accuracy against ratio, against training-set size, or against optimizer steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genbench_leaderboard.plots.scales import Scale, finite, log_padded, padded, plain
from genbench_leaderboard.plots.svg import (
    COLOURS,
    DASHES,
    SHAPES,
    SMALL,
    WIDTH,
    element,
    figure,
    label,
    legend,
    line,
    marker,
    path,
)

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, WIDTH - 14.0, 10.0, 220.0
_MARKED = 16  #: a curve of more points has a marker at some of them
_NEAREST = 26.0  # units between two names of an axis


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve, with its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Curve:
    """A line from point to point; a single point is a level across the plot, as a baseline is."""

    label: str
    points: tuple[CurvePoint, ...]
    level: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis of curves.

    Attributes:
        title: What it is, with its unit.
        log: Whether equal ratios are equal distances.
        named: Numbers that it names; by default round ones.
        zero: Whether zero is within the plot, and drawn; of y alone.
    """

    title: str
    log: bool = False
    named: tuple[float, ...] = ()
    zero: bool = False


def curve_plot(curves: Sequence[Curve], title: str, x: Axis, y: Axis, description: str = "") -> Markup:
    """Draw curves, each with a dash and a marker of its own.

    Args:
        curves: In the order of the legend; points are left out that are not finite, or not positive on a
            logarithmic axis.
        title: See `figure`.
        x: The horizontal axis.
        y: The vertical one.
        description: See `figure`; by default first and last point of every curve.
    """
    curves = [curve for curve in (_drawable(curve, x.log, y.log) for curve in curves) if curve.points]
    if not curves:
        return figure(title, "No points.", (WIDTH, 30), [label("nothing to draw", 10, 20)])
    across, up = _scales(curves, x, y)
    body = _axes(across, up, x, y)
    for number, curve in enumerate(curves):
        drawn = _curve(curve, number, across, up)
        body.append(element("g", *drawn, class_=f"series-{number % len(COLOURS)}"))
    signs = [(_sign(curve, number), curve.label) for number, curve in enumerate(curves)]
    named, height = legend(signs, _BOTTOM + 54)
    told = description or "; ".join(_told(curve) for curve in curves)
    return figure(title, told, (WIDTH, height - 4), [*body, *named])


def _scales(curves: Sequence[Curve], x: Axis, y: Axis) -> tuple[Scale, Scale]:
    xs = [point.x for curve in curves for point in curve.points if not curve.level] or [1.0]
    ys = finite(value for curve in curves for one in curve.points for value in (one.y, one.low, one.high))
    if y.log:
        ys = [value for value in ys if value > 0]
    across = log_padded(xs) if x.log else padded(xs, share=0.03)
    up = log_padded(ys) if y.log else padded(ys, include=(0.0,) if y.zero else ())
    return Scale(*across, _LEFT, _RIGHT, x.log), Scale(*up, _BOTTOM, _TOP, y.log)


def _drawable(curve: Curve, log_x: bool, log_y: bool) -> Curve:
    kept = [
        point
        for point in curve.points
        if len(finite([point.x, point.y])) == 2
        and (point.x > 0 or not log_x or curve.level)
        and (point.y > 0 or not log_y)
    ]
    return Curve(curve.label, tuple(sorted(kept, key=lambda point: point.x)), curve.level)


def _curve(curve: Curve, number: int, x: Scale, y: Scale) -> list[Markup]:
    dashes = DASHES[number % len(DASHES)]
    if curve.level:
        at = y.at(curve.points[0].y)
        return [path([(_LEFT, at), (_RIGHT, at)], dashes=dashes)]
    drawn = [path([(x.at(point.x), y.at(point.y)) for point in curve.points], dashes=dashes)]
    every = max(1, -(-len(curve.points) // _MARKED))
    for place, point in enumerate(curve.points):
        at = x.at(point.x)
        if point.low is not None and point.high is not None:
            # Curves stand beside each other where their intervals would cover each other.
            shifted = at + 2.5 * (number % 5 - 2)
            ends = y.at(point.low), y.at(point.high)
            drawn.append(line(shifted, ends[0], shifted, ends[1], 1.2))
            drawn += [line(shifted - 3, end, shifted + 3, end, 1.2) for end in ends]
        if place % every == 0 or place == len(curve.points) - 1:
            shape = SHAPES[number % len(SHAPES)]
            tip = f"{curve.label}: {plain(round(point.y, 4))} at {plain(round(point.x, 4))}"
            drawn.append(marker(shape, at, y.at(point.y), filled=number % 2 == 0, radius=3.5, tip=tip))
    return drawn


def _sign(curve: Curve, number: int) -> Markup:
    drawn = [path([(-12, 0), (12, 0)], dashes=DASHES[number % len(DASHES)])]
    if not curve.level:
        drawn.append(marker(SHAPES[number % len(SHAPES)], 0, 0, filled=number % 2 == 0, radius=3.5))
    return element("g", *drawn, class_=f"series-{number % len(COLOURS)}")


def _axes(across: Scale, up: Scale, x: Axis, y: Axis) -> list[Markup]:
    drawn, last = [], float("-inf")
    for tick in x.named or across.ticks():
        at = across.at(tick)
        drawn.append(line(at, _TOP, at, _BOTTOM, class_="grid", opacity=0.22))
        if at - last >= _NEAREST:
            drawn.append(label(plain(tick), at, _BOTTOM + 16, "middle", size=SMALL))
            last = at
    for tick in y.named or up.ticks():
        at = up.at(tick)
        drawn.append(line(_LEFT, at, _RIGHT, at, class_="grid", opacity=0.22))
        drawn.append(label(plain(tick), _LEFT - 5, at + 4, "end", size=SMALL))
    if y.zero and not y.log:
        drawn.append(line(_LEFT, up.at(0), _RIGHT, up.at(0), 1.4, stroke_dasharray="5 3"))
    drawn.append(label(x.title, (_LEFT + _RIGHT) / 2, _BOTTOM + 34, "middle", size=SMALL, room=WIDTH))
    middle = (_TOP + _BOTTOM) / 2
    turned = f"rotate(-90 11 {middle:g})"
    return [*drawn, label(y.title, 11, middle, "middle", size=SMALL, room=_BOTTOM, transform=turned)]


def _told(curve: Curve) -> str:
    first, last = curve.points[0], curve.points[-1]
    if curve.level or len(curve.points) == 1:
        return f"{curve.label}: {plain(round(first.y, 2))}"
    ends = [f"{plain(round(one.y, 2))} at {plain(round(one.x, 2))}" for one in (first, last)]
    return f"{curve.label}: from {ends[0]} to {ends[1]}"
