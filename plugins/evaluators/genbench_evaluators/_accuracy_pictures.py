"""The pictures of `accuracy`, readable in black and white: confusion counts, accuracy against confidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERED_CLASSES = 20  # counts are written into the cells up to here
_PLAIN_SIDE = 6.0  # inches, of a picture without counts


def draw_confusion(confusion: npt.NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw counts, rows being true classes; the darker, the larger the share of the row."""
    numbered = len(names) <= _NUMBERED_CLASSES
    figure, axis = _figure(2.2 + 0.36 * len(names) if numbered else _PLAIN_SIDE)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    if numbered:
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if numbered:
        figure.get_layout_engine().execute(figure)  # before the counts: with an engine, each is drawn twice
        figure.set_layout_engine(None)
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(confusion[row, column])
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    figure.savefig(path, dpi=110)


def draw_reliability(bins: Sequence[Any], path: Path) -> None:
    """Draw accuracy against confidence; the size of a point is the share of the images in its bin."""
    figure, axis = _figure(3.8)
    total = sum(one.images for one in bins)
    axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axis.plot([one.confidence for one in bins], [one.accuracy for one in bins], color="black", linewidth=1)
    sizes = [20 + 400 * one.images / total for one in bins]
    points = ([one.confidence for one in bins], [one.accuracy for one in bins])
    axis.scatter(*points, s=sizes, color="0.3", zorder=2)
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy on test")
    figure.savefig(path, dpi=110)


def _figure(side: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
