"""Gain against cost: dots on a logarithmic axis, and the front that nothing beats at the same cost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from string import ascii_lowercase

from markupsafe import Markup

from genbench_leaderboard.plots.scales import Scale, finite, log_padded, padded, plain, signed
from genbench_leaderboard.plots.svg import (
    FONT,
    SMALL,
    WIDTH,
    Shape,
    element,
    figure,
    label,
    legend,
    line,
    marker,
    path,
    width_of,
)

_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, WIDTH - 12.0, 12.0, 250.0
_LABELLED = 14  #: so many dots have their names beside them; of more, those on the front alone

Place = tuple[float, float]
Box = tuple[float, float, float, float]  #: left, top, right, bottom

#: Shape and series by role.
LOOKS: dict[str, tuple[Shape, int]] = {
    "baseline": ("diamond", 7),
    "contender": ("circle", 0),
    "control": ("square", 1),
}


@dataclass(frozen=True)
class Dot:
    """A dot: what it is called, its cost (positive), its gain, and `baseline`, `contender` or `control`."""

    label: str
    x: float
    y: float
    role: str = "contender"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of the points that no other beats: lower x is better, and higher y.

    One point beats another where it is at least as good in both, and better in one. Of equal points, none
    beats another.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front: list[int] = []
    for place in order:
        best = points[front[-1]] if front else None
        if best is None or points[place][1] > best[1] or points[place] == best:
            front.append(place)
    return front


def _worth_it(dots: Sequence[Dot]) -> list[int]:
    """Return the Pareto front; a loss, however cheap, is no part of it where something does without one."""
    places = [place for place, dot in enumerate(dots) if dot.y >= 0] or list(range(len(dots)))
    return [places[one] for one in pareto_front([(dots[place].x, dots[place].y) for place in places])]


def scatter_plot(dots: Sequence[Dot], title: str, axes: tuple[str, str], description: str = "") -> Markup:
    """Draw gain against cost with a logarithmic axis of cost, and mark the Pareto front.

    Args:
        dots: What has no positive finite cost, or no finite gain, is left out.
        title: See `figure`.
        axes: What x and y are, with units.
        description: See `figure`; by default the front in words.
    """
    dots = [dot for dot in dots if len(finite([dot.x, dot.y])) == 2 and dot.x > 0]
    if not dots:
        return figure(
            title, "No row has both a cost and a gain.", (WIDTH, 30), [label("nothing to draw", 10, 20)]
        )
    x = Scale(*log_padded([dot.x for dot in dots]), _LEFT, _RIGHT, log=True)
    y = Scale(*padded([dot.y for dot in dots], include=(0.0,), share=0.1), _BOTTOM, _TOP)
    front = _worth_it(dots)
    body = [*_axes(x, y, axes), path(_corners([dots[place] for place in front], x, y), 1.2, "2 3")]
    for place, dot in enumerate(dots):
        shape, series = LOOKS.get(dot.role, LOOKS["contender"])
        tip = f"{dot.label}: {signed(dot.y)} at {plain(round(dot.x, 1))}"
        drawn = marker(shape, x.at(dot.x), y.at(dot.y), filled=place in front, radius=5, tip=tip)
        body.append(element("g", drawn, class_=f"series-{series}"))
    named = front if len(dots) > _LABELLED else range(len(dots))
    drawn_names, keyed = _names([dots[place] for place in named], dots, _lines(dots, front, x, y), x, y)
    body += drawn_names
    roles = [role for role in LOOKS if any(dot.role == role for dot in dots)]
    signs = [
        (element("g", marker(LOOKS[role][0], 0, 0, filled=False), class_=f"series-{LOOKS[role][1]}"), role)
        for role in roles
    ]
    signs.append((marker("circle", 0, 0), "filled: on the Pareto front"))
    signs += [(label(key, 0, 4, "middle", size=SMALL), name) for key, name in keyed]
    drawn_legend, height = legend(signs, _BOTTOM + 54)
    told = description or _told([dots[place] for place in front])
    return figure(title, told, (WIDTH, height - 4), [*body, *drawn_legend])


def _told(front: Sequence[Dot]) -> str:
    found = "; ".join(f"{dot.label} ({signed(dot.y)} at {plain(round(dot.x, 1))})" for dot in front)
    return f"On the Pareto front, from cheap to dear: {found}."


def _corners(front: Sequence[Dot], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Return the front as steps: what a budget on x buys."""
    points: list[tuple[float, float]] = []
    for dot in front:
        if points:
            points.append((x.at(dot.x), points[-1][1]))
        points.append((x.at(dot.x), y.at(dot.y)))
    return [*points, (_RIGHT, points[-1][1])]


def _lines(dots: Sequence[Dot], front: Sequence[int], x: Scale, y: Scale) -> list[Box]:
    """Return the boxes of what no name may cross: the zero line and the steps of the front."""
    corners = _corners([dots[place] for place in front], x, y)
    zero = (_LEFT, y.at(0.0) - 1, _RIGHT, y.at(0.0) + 1)
    steps = [
        (min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
        for a, b in pairwise(corners)
    ]
    return [zero, *steps]


def _axes(x: Scale, y: Scale, axes: tuple[str, str]) -> list[Markup]:
    drawn = []
    for tick in x.ticks():
        at = x.at(tick)
        drawn.append(line(at, _BOTTOM, at, _BOTTOM + 4))
        drawn.append(label(plain(tick), at, _BOTTOM + 16, "middle", size=SMALL))
    for tick in y.ticks():
        at = y.at(tick)
        drawn.append(line(_LEFT - 4, at, _LEFT, at))
        drawn.append(label(plain(tick), _LEFT - 6, at + 4, "end", size=SMALL))
    drawn += [line(_LEFT, _TOP, _LEFT, _BOTTOM), line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM)]
    zero = y.at(0.0)
    drawn.append(line(_LEFT, zero, _RIGHT, zero, 1.4, stroke_dasharray="5 3"))
    drawn.append(label(axes[0], (_LEFT + _RIGHT) / 2, _BOTTOM + 34, "middle", size=SMALL, room=WIDTH))
    middle = (_TOP + _BOTTOM) / 2
    turned = f"rotate(-90 12 {middle:g})"
    return [*drawn, label(axes[1], 12, middle, "middle", size=SMALL, room=_BOTTOM, transform=turned)]


def _names(
    named: Sequence[Dot], dots: Sequence[Dot], lines: Sequence[Box], x: Scale, y: Scale
) -> tuple[list[Markup], list[tuple[str, str]]]:
    """Write names beside their dots, where they cover no line, name or dot, and are nobody else's.

    What finds no such place has a letter instead, and its name in the legend; at the worst no letter, either,
    and its name is where a mouse rests on it.
    """
    marks = {(x.at(dot.x), y.at(dot.y)) for dot in dots}
    taken = [*(_around(mark, 6.5) for mark in marks), *lines]
    drawn: list[Markup] = []
    keyed: list[tuple[str, str]] = []
    left_over: list[Dot] = []
    for dot in named:
        found = _place(dot.label, (x.at(dot.x), y.at(dot.y)), marks, taken)
        if found is None:
            left_over.append(dot)
        else:
            taken.append(found)
            drawn.append(label(dot.label, found[0], found[3] - 2, size=SMALL))
    for dot in left_over:
        key = ascii_lowercase[len(keyed) % len(ascii_lowercase)]
        found = _place(key, (x.at(dot.x), y.at(dot.y)), marks, taken)
        if found is not None:
            taken.append(found)
            drawn.append(label(key, found[0], found[3] - 2, size=SMALL))
            keyed.append((key, dot.label))
    return drawn, keyed


def _place(text: str, mark: Place, marks: Collection[Place], taken: Sequence[Box]) -> Box | None:
    """Return the box of a name beside its mark, or None where there is no room for one."""
    wide, high = 1.08 * width_of(text, SMALL), FONT
    right, left, middle = mark[0] + 8, mark[0] - 8 - wide, mark[0] - wide / 2
    beside, above, below = mark[1] - high / 2, mark[1] - 8 - high, mark[1] + 8
    level = [(at, top) for top in (beside, beside - 5, beside + 5) for at in (right, left)]
    apart = [(at, top) for top in (above, below) for at in (middle, mark[0] - 6, mark[0] + 6 - wide)]
    for start, top in (*level, *apart):
        box = (start, top, start + wide, top + high)
        inside = box[0] >= _LEFT + 2 and box[2] <= _RIGHT + 10 and box[1] >= _TOP and box[3] <= _BOTTOM - 2
        own = _distance(box, mark)
        is_its = all(_distance(box, other) > own + 3 for other in marks if other != mark)
        if inside and is_its and not any(_overlap(box, other) for other in taken):
            return box
    return None


def _around(at: Place, room: float) -> Box:
    return at[0] - room, at[1] - room, at[0] + room, at[1] + room


def _distance(box: Box, at: Place) -> float:
    """Return how far a point is from a box."""
    return hypot(
        max(box[0] - at[0], at[0] - box[2], 0.0),
        max(box[1] - at[1], at[1] - box[3], 0.0),
    )


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
