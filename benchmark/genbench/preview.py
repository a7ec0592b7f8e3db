"""Draw synthetic images as a grid: a row per class, with its name."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from genbench.disk import write_output
from genbench.escaping import LONGEST_LABEL, one_line

_CELL_PIXELS = 48  # small images are enlarged to at least this, by a whole factor
_GAP, _MARGIN, _TEXT_PIXELS = 2, 10, 13
_LONGEST_NAME = 60  # characters: beyond, the names would be most of the picture
_PAPER, _INK, _EMPTY = (255, 255, 255), (20, 20, 20), (235, 235, 235)

Tile = npt.NDArray[np.uint8]


def draw_grid(rows: Sequence[Sequence[Tile | None]], names: Sequence[str], title: str, path: Path) -> None:
    """Write a PNG of labelled rows of images.

    Args:
        rows: For each class its images, `uint8 [3, H, W]`; None leaves a grey place.
        names: One per row.
        title: Above the grid.
        path: Where to.
    """
    names, title = [one_line(name, _LONGEST_NAME) for name in names], one_line(title, LONGEST_LABEL)
    shape = next(tile.shape for row in rows for tile in row if tile is not None)
    factor = max(1, -(-_CELL_PIXELS // max(shape[1:])))
    height, width = shape[1] * factor, shape[2] * factor
    font = ImageFont.load_default(size=_TEXT_PIXELS)
    label_width = int(max(font.getlength(name) for name in names)) + _GAP * 4
    columns = max(len(row) for row in rows)
    top = _MARGIN + _TEXT_PIXELS + _GAP * 4
    size = (
        max(2 * _MARGIN + label_width + columns * (width + _GAP), int(font.getlength(title)) + 2 * _MARGIN),
        top + len(rows) * (height + _GAP) + _MARGIN,
    )
    page = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, _MARGIN), title, _INK, font)
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = top + number * (height + _GAP)
        pen.text((_MARGIN, y + height / 2), name, _INK, font, anchor="lm")
        for column, tile in enumerate(row):
            x = _MARGIN + label_width + column * (width + _GAP)
            page.paste(_enlarged(tile, factor) if tile is not None else _EMPTY, (x, y, x + width, y + height))
    content = io.BytesIO()
    page.save(content, "png")
    write_output(path, content.getvalue())


def _enlarged(tile: Tile, factor: int) -> Image.Image:
    """Repeat every pixel, so that what is seen is what is there."""
    image = Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
