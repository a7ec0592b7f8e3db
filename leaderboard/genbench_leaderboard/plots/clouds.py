"""Points of several classes in a plane, as a projection of features has them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genbench_leaderboard.plots.scales import Scale, finite, padded
from genbench_leaderboard.plots.svg import COLOURS, SMALL, WIDTH, element, figure, legend

_SIDE, _MARGIN = 340.0, 12.0
_SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"  #: what a class is drawn as, where there is no colour


@dataclass(frozen=True)
class CloudPoint:
    """A point, and the place of its class among the names."""

    x: float
    y: float
    kind: int


def point_cloud(points: Sequence[CloudPoint], names: Sequence[str], title: str) -> Markup:
    """Draw every point as a digit or letter of its class, in the colour of its series; the axes mean nothing.

    Args:
        points: Those that are not finite are left out.
        names: Of the classes, by `kind`.
        title: See `figure`.
    """
    drawn = [point for point in points if len(finite([point.x, point.y])) == 2]
    across = Scale(*padded([point.x for point in drawn]), _MARGIN, WIDTH - _MARGIN)
    up = Scale(*padded([point.y for point in drawn]), _SIDE - _MARGIN, _MARGIN)
    frame = {"x": 1.0, "y": 1.0, "width": WIDTH - 2.0, "height": _SIDE - 2}
    body = [element("rect", **frame, fill="none", stroke="currentColor", opacity=0.4)]
    for point in drawn:
        body.append(_sign(point.kind, across.at(point.x), up.at(point.y)))
    kinds = sorted({point.kind for point in drawn})
    signs, height = legend([(_sign(kind, 0, 0), names[kind]) for kind in kinds], _SIDE + 16)
    told = f"{len(drawn)} points of {len(kinds)} classes."
    return figure(title, told, (WIDTH, height - 4), [*body, *signs])


def _sign(kind: int, x: float, y: float) -> Markup:
    look = {"text_anchor": "middle", "dominant_baseline": "central", "font_size": SMALL, "font_weight": 600}
    text = element("text", _SIGNS[kind % len(_SIGNS)], x=float(x), y=float(y), **look)
    return element("g", text, class_=f"series-{kind % len(COLOURS)}")
