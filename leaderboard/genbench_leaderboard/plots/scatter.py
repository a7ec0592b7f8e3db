"""Gain against cost: dots on a logarithmic axis, and the front that nothing beats at the same cost."""

from collections.abc import Sequence
from dataclasses import dataclass

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

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, WIDTH - 12.0, 12.0, 250.0
_LABELLED = 14  #: so many dots have their names beside them; of more, those on the front alone

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
    front = pareto_front([(dot.x, dot.y) for dot in dots])
    body = [*_axes(x, y, axes), _stairs([dots[place] for place in front], x, y)]
    for place, dot in enumerate(dots):
        shape, series = LOOKS.get(dot.role, LOOKS["contender"])
        tip = f"{dot.label}: {signed(dot.y)} at {plain(round(dot.x, 1))}"
        drawn = marker(shape, x.at(dot.x), y.at(dot.y), filled=place in front, radius=5, tip=tip)
        body.append(element("g", drawn, class_=f"series-{series}"))
    named = front if len(dots) > _LABELLED else range(len(dots))
    body += _names([dots[place] for place in named], dots, x, y)
    roles = [role for role in LOOKS if any(dot.role == role for dot in dots)]
    signs = [
        (element("g", marker(LOOKS[role][0], 0, 0, filled=False), class_=f"series-{LOOKS[role][1]}"), role)
        for role in roles
    ]
    signs.append((marker("circle", 0, 0), "filled: on the Pareto front"))
    drawn_legend, height = legend(signs, _BOTTOM + 54)
    told = description or _told([dots[place] for place in front])
    return figure(title, told, (WIDTH, height - 4), [*body, *drawn_legend])


def _told(front: Sequence[Dot]) -> str:
    found = "; ".join(f"{dot.label} ({signed(dot.y)} at {plain(round(dot.x, 1))})" for dot in front)
    return f"On the Pareto front, from cheap to dear: {found}."


def _stairs(front: Sequence[Dot], x: Scale, y: Scale) -> Markup:
    """Draw the front as steps: what a budget on x buys."""
    points: list[tuple[float, float]] = []
    for dot in front:
        if points:
            points.append((x.at(dot.x), points[-1][1]))
        points.append((x.at(dot.x), y.at(dot.y)))
    points.append((_RIGHT, points[-1][1]))
    return path(points, 1.2, "2 3")


def _axes(x: Scale, y: Scale, axes: tuple[str, str]) -> list[Markup]:
    drawn = []
    for tick in x.ticks():
        at = x.at(tick)
        drawn.append(line(at, _TOP, at, _BOTTOM, class_="grid", opacity=0.22))
        drawn.append(label(plain(tick), at, _BOTTOM + 16, "middle", size=SMALL))
    for tick in y.ticks():
        at = y.at(tick)
        drawn.append(line(_LEFT, at, _RIGHT, at, class_="grid", opacity=0.22))
        drawn.append(label(plain(tick), _LEFT - 5, at + 4, "end", size=SMALL))
    zero = y.at(0.0)
    drawn.append(line(_LEFT, zero, _RIGHT, zero, 1.4, stroke_dasharray="5 3"))
    drawn.append(label(axes[0], (_LEFT + _RIGHT) / 2, _BOTTOM + 34, "middle", size=SMALL, room=WIDTH))
    middle = (_TOP + _BOTTOM) / 2
    turned = f"rotate(-90 12 {middle:g})"
    return [*drawn, label(axes[1], 12, middle, "middle", size=SMALL, room=_BOTTOM, transform=turned)]


def _names(named: Sequence[Dot], dots: Sequence[Dot], x: Scale, y: Scale) -> list[Markup]:
    """Write names beside their dots, where they cover neither each other nor a dot; else leave them out."""
    taken = [(x.at(dot.x) - 5, y.at(dot.y) - 5, x.at(dot.x) + 5, y.at(dot.y) + 5) for dot in dots]
    drawn = []
    for dot in named:
        text = dot.label if len(dot.label) <= 40 else f"{dot.label[:39]}\u2026"
        wide, at = width_of(text, SMALL), (x.at(dot.x), y.at(dot.y))
        places = [
            (at[0] + dx - (wide if dx < 0 else 0), at[1] + dy)
            for dy in (4, -8, 16, -18, 26)
            for dx in (8, -8)
        ]
        for left, base in places:
            box = (left, base - FONT + 2, left + wide, base + 2)
            inside = box[0] >= _LEFT and box[2] <= _RIGHT + 10 and box[1] >= _TOP and box[3] <= _BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                drawn.append(label(text, left, base, size=SMALL))
                break
    return drawn


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
