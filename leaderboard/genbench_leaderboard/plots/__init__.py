"""Plots as SVG text: one function for each kind, on plain numbers. Nothing here knows a record or a board.

What they draw can be read in black and white (shapes, dashes and hatching besides colours), has a title and
a description for screen readers, text as text, and is laid out for 420 units, so that it fits a phone. Lines
and letters take the colour of the text around them; series take the colours of the classes `series-0` to
`series-7`, which `STYLE` sets for light and dark pages. No ids, scripts or styles inside: a page may hold any
number of them, under any content security policy.
"""

from genbench_leaderboard.plots.bars import Bar, Part, bar_plot
from genbench_leaderboard.plots.curves import Axis, Curve, CurvePoint, curve_plot
from genbench_leaderboard.plots.heat import HeatCell, heat_map
from genbench_leaderboard.plots.intervals import IntervalRow, interval_plot
from genbench_leaderboard.plots.scatter import Dot, pareto_front, scatter_plot
from genbench_leaderboard.plots.svg import STYLE

__all__ = [
    "STYLE",
    "Axis",
    "Bar",
    "Curve",
    "CurvePoint",
    "Dot",
    "HeatCell",
    "IntervalRow",
    "Part",
    "bar_plot",
    "curve_plot",
    "heat_map",
    "interval_plot",
    "pareto_front",
    "scatter_plot",
]
