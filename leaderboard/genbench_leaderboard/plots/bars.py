"""Bars made of parts: the images behind a row, or what each step of it cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genbench_leaderboard.plots.scales import Scale, finite, plain
from genbench_leaderboard.plots.svg import (
    COLOURS,
    SMALL,
    WIDTH,
    element,
    figure,
    hatching,
    label,
    legend,
    line,
)

_ROW, _TOP, _LEFT, _THICK = 34.0, 6.0, 12.0, 13.0


@dataclass(frozen=True)
class Part:
    """A part of a bar: its name, which decides colour and hatching, and how much."""

    name: str
    value: float


@dataclass(frozen=True)
class Bar:
    """A bar; its parts follow each other from left to right. `note` is written at its right."""

    label: str
    parts: tuple[Part, ...]
    note: str = ""

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(part.value for part in self.parts)


def bar_plot(bars: Sequence[Bar], title: str, axis: str, description: str = "") -> Markup:
    """Draw bars below each other, on one axis that begins at zero.

    Args:
        bars: From top to bottom; parts that are negative or not finite are left out.
        title: See `figure`.
        axis: What the numbers are, with their unit.
        description: See `figure`; by default every part in words.
    """
    bars = [
        Bar(
            bar.label, tuple(part for part in bar.parts if finite([part.value]) and part.value >= 0), bar.note
        )
        for bar in bars
    ]
    names = list(dict.fromkeys(part.name for bar in bars for part in bar.parts))
    largest = max((bar.total for bar in bars), default=0.0) or 1.0
    scale = Scale(0.0, largest, _LEFT, WIDTH - _LEFT)
    bottom = _TOP + _ROW * len(bars)
    body: list[Markup] = []
    for tick in scale.ticks(5):
        x = scale.at(tick)
        body.append(line(x, _TOP, x, bottom + 3, class_="grid", opacity=0.22))
        anchor = "middle" if x < WIDTH - 30 else "end"
        body.append(label(plain(tick), min(x, WIDTH - 2), bottom + 16, anchor, size=SMALL))  # type: ignore[arg-type]
    body.append(label(axis, WIDTH / 2, bottom + 34, "middle", size=SMALL, room=WIDTH))
    for place, bar in enumerate(bars):
        body += _bar(bar, names, scale, _TOP + _ROW * place)
    signs = [(_box(number, (-9.0, -5.0, 18.0, 10.0)), name) for number, name in enumerate(names)]
    drawn, height = legend(signs if len(names) > 1 else [], bottom + 54)
    told = description or "; ".join(_told(bar) for bar in bars)
    return figure(title, told, (WIDTH, height - 4), [*body, *drawn])


def _bar(bar: Bar, names: Sequence[str], scale: Scale, top: float) -> list[Markup]:
    drawn = [label(bar.label, _LEFT, top + 12, room=WIDTH - 2 * _LEFT - 7 * len(bar.note) - 10)]
    if bar.note:
        drawn.append(label(bar.note, WIDTH - _LEFT, top + 12, "end", room=WIDTH / 2))
    before = 0.0
    for part in bar.parts:
        start, end = scale.at(before), scale.at(before + part.value)
        before += part.value
        if end > start:
            tip = f"{bar.label}, {part.name}: {plain(round(part.value, 2))}"
            drawn.append(_box(names.index(part.name), (start, top + 17, end - start, _THICK), tip))
    return drawn


def _box(number: int, box: tuple[float, float, float, float], tip: str = "") -> Markup:
    x, y, width, height = box
    told = [element("title", tip)] if tip else []
    look = {"fill": "currentColor", "stroke": "currentColor", "stroke_width": 0.8}
    rect = element("rect", *told, x=x, y=y, width=width, height=height, **look)
    return element("g", rect, hatching(box, number), class_=f"series-{number % len(COLOURS)}")


def _told(bar: Bar) -> str:
    parts = ", ".join(f"{part.name} {plain(round(part.value, 2))}" for part in bar.parts)
    return f"{bar.label}: {parts}" if len(bar.parts) != 1 else f"{bar.label}: {plain(round(bar.total, 2))}"
