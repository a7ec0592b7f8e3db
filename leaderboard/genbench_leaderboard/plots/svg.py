"""Elements of SVG, and what all plots share: frame, markers, dashes and hatching."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal

from markupsafe import Markup

from genbench.escaping import html_text, shortened

WIDTH = 420  #: of a plot, in units of its view box; a page scales it
FONT, SMALL = 12, 10.5  #: sizes of text, in the same units
LETTER = 0.56  #: mean width of a character, in sizes of the font
_CAPITAL = 0.72
_WIDTHS = {
    letter: wide
    for wide, letters in ((0.34, " iljtfrI.,:;'|!()"), (0.9, "mMw%"), (1.0, "W@"))
    for letter in letters
}
LONGEST_TITLE = 500

Anchor = Literal["start", "middle", "end"]
Shape = Literal["circle", "square", "diamond", "up", "down", "cross"]

#: Okabe and Ito's colours, which the colour-blind tell apart (https://jfly.uni-koeln.de/color/), darkened
#: where they would be faint on white; the second is for dark pages.
COLOURS = (
    *(("#0060a0", "#56b4e9"), ("#b84a00", "#f5a04c"), ("#00785a", "#3ccf9f"), ("#9a4a80", "#e79fc9")),
    *(("#6b6200", "#f0e442"), ("#2d3a8c", "#a9b6ff"), ("#8c1c13", "#ff9a8f"), ("#4a4a4a", "#c8c8c8")),
)
#: Of lines, in the order of the series: what stays where there is no colour.
DASHES = ("", "7 3", "2 2", "9 3 2 3", "12 4", "4 2 1 2", "1 4", "14 2 2 2")
SHAPES: tuple[Shape, ...] = ("circle", "square", "up", "diamond", "down", "cross")


def _style() -> str:
    light = "".join(f".series-{n}{{color:{pair[0]}}}" for n, pair in enumerate(COLOURS))
    dark = "".join(f".series-{n}{{color:{pair[1]}}}" for n, pair in enumerate(COLOURS))
    return (
        f":root{{--ground:#fff}}{light}"
        ".plot{display:block;max-width:100%;height:auto}"
        ".plot .ground{fill:var(--ground)}.plot .cut,.plot .halo{stroke:var(--ground)}"
        ".plot .halo{stroke-width:3;paint-order:stroke}"
        f"@media(prefers-color-scheme:dark){{:root{{--ground:#14171c}}{dark}}}"
        f"@media print{{:root{{--ground:#fff}}{light}}}"
    )


#: For the page that holds plots: colours on light and dark ground (`--ground`).
STYLE = _style()


def element(name: str, *inner: str, **attributes: object) -> Markup:
    """Return an element; what is inside is escaped unless it is `Markup`, and so is every attribute.

    Args:
        name: Of the element.
        inner: Its content.
        attributes: By name, `_` for `-`, a last `_` dropped; None leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(one if isinstance(one, Markup) else html_text(one) for one in inner)
    return Markup(f"<{name}{written}>{content}</{name}>")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return html_text(str(value))


def figure(title: str, description: str, size: tuple[float, float], body: Iterable[Markup]) -> Markup:
    """Return a whole plot.

    Args:
        title: What a screen reader calls it; also shown while a mouse rests on it.
        description: What it shows, in words.
        size: Width and height, in units.
        body: What is drawn.
    """
    width, height = size
    title = shortened(title, LONGEST_TITLE)
    head = (element("title", title), element("desc", description))
    return element(
        "svg",
        *head,
        *body,
        viewBox=f"0 0 {_value(float(width))} {_value(float(height))}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=title,
        class_="plot",
        font_family="system-ui, sans-serif",
        font_size=FONT,
        fill="currentColor",
        stroke="none",
    )


def label(
    text: str,
    x: float,
    y: float,
    anchor: Anchor = "start",
    *,
    size: float = FONT,
    room: float = math.inf,
    **attributes: object,
) -> Markup:
    """Return text, parted from the lines behind it; it is cut to fit into `room`, and whole in its title."""
    most = max(int(room / (LETTER * size)), 2) if room < math.inf else len(text)
    cut = text if len(text) <= most else f"{text[: most - 1].rstrip(' ,:')}\u2026"
    tip = [element("title", shortened(text))] if cut != text else []
    small = size if size != FONT else None
    where = anchor if anchor != "start" else None
    look = {"text_anchor": where, "font_size": small, "class_": "halo"}
    return element("text", *tip, cut, x=x, y=y, **look, **attributes)


def folded(text: str, room: float, size: float = FONT, most: int = 2) -> list[str]:
    """Fold text into lines that fit into `room`; what is beyond the last line is cut."""
    lines = textwrap.wrap(text, max(int(room / (LETTER * size)), 4)) or [""]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{lines[most - 1][:-1].rstrip(' ,:')}\u2026"]


def width_of(text: str, size: float = FONT) -> float:
    """Return about how wide text is in a common sans serif, whose capitals are wider."""
    return size * sum(_WIDTHS.get(letter, _CAPITAL if letter.isupper() else LETTER) for letter in text)


def line(x1: float, y1: float, x2: float, y2: float, width: float = 1.0, **attributes: object) -> Markup:
    """Return a straight line in the colour of the text."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", **ends, stroke="currentColor", stroke_width=width, **attributes)


def path(points: Sequence[tuple[float, float]], width: float = 2.0, dashes: str = "") -> Markup:
    """Return straight lines from point to point, in the colour of the text."""
    steps = " ".join(f"{_value(float(x))},{_value(float(y))}" for x, y in points)
    look = {"fill": "none", "stroke": "currentColor", "stroke_width": width}
    return element("polyline", points=steps, stroke_dasharray=dashes or None, **look)


def marker(
    shape: Shape, x: float, y: float, *, filled: bool = True, radius: float = 4.5, tip: str = ""
) -> Markup:
    """Return a marker: filled, or open on the ground of the page."""
    told = [element("title", tip)] if tip else []
    look: dict[str, object] = {"stroke": "currentColor", "stroke_width": 1.6}
    look |= {"fill": "currentColor"} if filled else {"class_": "ground", "fill": "#fff"}
    if shape == "circle":
        return element("circle", *told, cx=x, cy=y, r=radius, **look)
    half = radius * 0.9
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-half, -half), (half, -half), (half, half), (-half, half)],
        "diamond": [(0, -1.3 * radius), (1.3 * radius, 0), (0, 1.3 * radius), (-1.3 * radius, 0)],
        "up": [(0, -1.2 * radius), (1.15 * radius, 0.9 * radius), (-1.15 * radius, 0.9 * radius)],
        "down": [(0, 1.2 * radius), (1.15 * radius, -0.9 * radius), (-1.15 * radius, -0.9 * radius)],
        "cross": [
            *((-half, -radius), (0, -half / 3), (half, -radius), (radius, -half), (half / 3, 0)),
            *((radius, half), (half, radius), (0, half / 3), (-half, radius), (-radius, half)),
            *((-half / 3, 0), (-radius, -half)),
        ],
    }
    points = " ".join(f"{_value(x + dx)},{_value(y + dy)}" for dx, dy in corners[shape])
    return element("polygon", *told, points=points, **look)


def hatching(box: tuple[float, float, float, float], kind: int) -> Markup:
    """Return lines over a rectangle (x, y, width, height); which ones depends on the series.

    They are computed, not an SVG pattern: that would need an id, which a page of many plots cannot spare.
    """
    x, y, width, height = box
    styles: tuple[tuple[str, float], ...] = (("", 0), ("/", 6), ("\\", 6), ("|", 4), ("-", 4), ("/\\", 7))
    directions, step = styles[kind % len(styles)]
    lines = []
    for direction in directions:
        if direction in "|-":
            length = width if direction == "|" else height
            for number in range(1, int(length / step) + 1):
                at = number * step
                lines.append(
                    f"M{x + at:.1f} {y:.1f}v{height:.1f}"
                    if direction == "|"
                    else f"M{x:.1f} {y + at:.1f}h{width:.1f}"
                )
            continue
        for number in range(1, int((width + height) / step) + 1):
            # The diagonal u + v = at of the rectangle, cut off where it leaves it.
            at = number * step
            u0, u1 = max(0.0, at - height), min(width, at)
            if u0 < u1:
                ends = [(u0, at - u0), (u1, at - u1)]
                if direction == "\\":
                    ends = [(u, height - v) for u, v in ends]
                lines.append(
                    "".join(f"{c}{x + u:.1f} {y + v:.1f}" for c, (u, v) in zip("ML", ends, strict=True))
                )
    return element("path", d="".join(lines), fill="none", class_="cut", stroke="#fff", stroke_width=1.1)


def legend(
    entries: Sequence[tuple[Markup, str]], y: float, width: float = WIDTH
) -> tuple[list[Markup], float]:
    """Return drawn signs with their names, in as many lines as that takes, and where the next line would be.

    Args:
        entries: A sign, drawn around (0, 0) within 12 units to each side, and what it means.
        y: Of the first line.
        width: Of the plot.
    """
    drawn, x = [], 14.0
    for sign, name in entries:
        needed = 38 + width_of(name, SMALL)
        if x > 14 and x + needed > width:
            x, y = 14.0, y + 17
        drawn.append(element("g", sign, transform=f"translate({x:.1f} {y - 4:.1f})"))
        drawn.append(label(name, x + 16, y, size=SMALL, room=width - x - 18))
        x += needed
    return drawn, y + 17 if entries else y
