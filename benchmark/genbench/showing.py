"""What a run leaves beside its records for a row to open: contact sheets of its synthetic images.

Boards are published, and no real image of a dataset may be: a licence that lets people train on images seldom
lets others hand them on. So an image is shown where every generator that took part in it declares
`new_pixels`, and where it is neither a copy of a real image nor nearly the one that it was made from.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genbench.disk import make_folder, write_output
from genbench.errors import DataError, GenbenchError
from genbench.escaping import LONGEST_LABEL, one_line
from genbench.plan import Cell, Plan
from genbench.planner import as_component
from genbench.sheets import (
    FOLDER,
    INDEX,
    MOST_CLASSES,
    MOST_COLUMNS,
    Sheet,
    as_json,
    content_name,
    images_id,
    read_shown,
)
from genbench.spec import Resolved
from genbench.store import Store

if TYPE_CHECKING:
    from PIL import Image

    from genbench.export import CellImages
    from genbench.images import LabelledImages

Tile = npt.NDArray[np.uint8]  #: `uint8 [3, H, W]`, 0-255

_LEAST_SIDE, _MOST_SIDE = 32, 64  #: pixels of an image on a sheet: others are enlarged, or scaled down
_MOST_PIXELS = 80 * 32 * 32  #: of all images of a sheet: with 256 colours, they fill some 65 KB
_STRIP_TILES, _STRIP_SIDE = 10, 64
_GAP, _COLOURS = 1, 256
_PAPER, _EMPTY = (255, 255, 255), (235, 235, 235)
#: Mean absolute difference, in grey levels, below which an image is the one that it was made from.
_NEARLY_EQUAL = 8.0


def write_shown(plan: Plan, store: Store, folder: Path) -> int:
    """Write `folder/shown` for a plan that was run; return how many sets of images are shown.

    A sheet that is there already, of the same steps, is not drawn again.
    """
    before: Mapping[str, Sheet] = {}
    with contextlib.suppress(DataError):  # one that was damaged is drawn anew
        before = {name: one.sheet for name, one in read_shown(folder).items()}
    inside, sheets = folder / FOLDER, dict[str, Sheet]()
    for blank, cell in sets(plan):
        if blank.images_id in sheets and sheets[blank.images_id].grid:
            continue  # the first seed that can be shown stands for all
        known = before.get(blank.images_id)
        if known is not None and known.grid and known.keys == blank.keys:
            sheets[blank.images_id] = known
            continue
        sheet = _made(blank, cell, plan, store, inside)
        if sheet is not None:
            sheets.setdefault(blank.images_id, sheet)
            sheets[blank.images_id] = sheet if sheet.grid else sheets[blank.images_id]
    if sheets:
        make_folder(inside)
        write_output(inside / INDEX, as_json(sheets.values()))
        _remove_others(inside, sheets.values())
    return sum(bool(sheet.grid) for sheet in sheets.values())


def _remove_others(inside: Path, sheets: Iterable[Sheet]) -> None:
    named = {name for sheet in sheets for name in (sheet.grid, sheet.strip)}
    for file in inside.glob("*.png"):
        if file.name not in named:
            file.unlink(missing_ok=True)


def hides_pixels(generator: Resolved) -> str:
    """Say why images of a generator are not shown, as a sentence; nothing where they may be."""
    if not generator.spec.new_pixels:
        return (
            f"Images of {generator.name} are not shown: they may be real images, or have parts of such "
            "(it does not declare new_pixels)"
        )
    inner = (hides_pixels(one) for _, one in generator.references.values() if one.kind == "generator")
    return next(filter(None, inner), "")


# ------------------------------------------------------------------------------------------------ one sheet


def sets(plan: Plan) -> Iterator[tuple[Sheet, Cell]]:
    """Yield an entry without picture for every set of images of a plan, the first seeds first."""
    seen: set[tuple[str, ...]] = set()
    for cell in sorted(plan.cells, key=lambda one: one.arm.index):
        keys = tuple(filter(None, (cell.sample, *cell.more, cell.filter)))
        if cell.sample and keys not in seen:
            seen.add(keys)
            arm = cell.arm
            parts = [as_component(one) for one in (arm.dataset, arm.generator, arm.filter)]
            dataset, generator, filtered = (one_line(part.name, LONGEST_LABEL) for part in parts)
            identity = images_id(parts[0], parts[1], parts[2], arm.ratio)
            why = "Its images are not in the store"
            yield Sheet(identity, dataset, generator, filtered, arm.ratio, arm.index, keys, why_not=why), cell


def _made(blank: Sheet, cell: Cell, plan: Plan, store: Store, inside: Path) -> Sheet | None:
    """Draw a set's sheet and write it; None where the set was never made, or is gone."""
    if not store.has(cell.sample):
        return None
    why = hides_pixels(cell.arm.generator)
    if why:
        return replace(blank, why_not=why)
    from genbench.export import LICENCES, cell_images

    try:
        found = cell_images(plan, store, cell.name)
    except GenbenchError:
        return None
    images = found.made.images
    blank = replace(blank, images=len(found.kept), licence=f"Licence: {LICENCES[found.origin]}")
    chosen = chosen_classes(images.num_classes)
    columns, side = columns_of(images, len(chosen)), _side(images)
    rows = _tiles(found, store, chosen, columns)
    if not any(tile is not None for row in rows for tile in row):
        return replace(blank, why_not="Each of its first images is a real one, or nearly so")
    pictures = [[_scaled(tile, side) if tile is not None else None for tile in row] for row in rows]
    grid = _png(_laid_out(pictures, side))
    name = content_name(grid)
    make_folder(inside)
    write_output(inside / f"{name}.png", grid)
    write_output(inside / f"{name}-strip.png", _png(_strip(pictures, side)))
    return replace(
        blank,
        classes=tuple(one_line(images.class_names[label], LONGEST_LABEL) for label in chosen),
        columns=columns,
        grid=f"{name}.png",
        strip=f"{name}-strip.png",
        why_not="",
    )


def chosen_classes(count: int) -> list[int]:
    """Return at most `MOST_CLASSES` classes, evenly spaced: the rows of a sheet."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST_CLASSES)).tolist()})


def columns_of(images: "LabelledImages", classes: int) -> int:
    """Return how many images of each class a sheet has: as many as its size allows."""
    return max(1, min(MOST_COLUMNS, _MOST_PIXELS // (classes * _side(images) ** 2)))


def first_numbers(found: "CellImages", chosen: Sequence[int], columns: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the first images of some classes, else -1: `int64 [classes, columns]`."""
    from genbench.export import class_rows

    return class_rows(found.made.images, found.kept, columns)[list(chosen)]


def first_tiles(found: "CellImages", chosen: Sequence[int], columns: int) -> list[list[Tile | None]]:
    """Return the first images of some classes, whatever they show: for pages that nobody publishes."""
    numbers = first_numbers(found, chosen, columns)
    there = numbers[numbers >= 0]
    tiles = dict(zip(there.tolist(), found.made.images.batch(there).numpy(), strict=True))
    return [[tiles.get(number) for number in row] for row in numbers.tolist()]


def _tiles(found: "CellImages", store: Store, chosen: Sequence[int], columns: int) -> list[list[Tile | None]]:
    """Return the first images of some classes; None in place of those that must not be shown."""
    numbers = first_numbers(found, chosen, columns)
    hidden = set(_too_real(found, store, numbers[numbers >= 0]))
    return [
        [None if number in hidden else tile for number, tile in zip(line, row, strict=True)]
        for line, row in zip(numbers.tolist(), first_tiles(found, chosen, columns), strict=True)
    ]


def _too_real(found: "CellImages", store: Store, numbers: npt.NDArray[np.int64]) -> Iterator[int]:
    """Yield the images that are a real one, pixel for pixel, or nearly the one that they were made from."""
    from genbench.images import fingerprints
    from genbench.steps.dataset import open_splits

    made, dataset = found.made, store.open(found.step.inputs["dataset"])
    if dataset is None:  # what they would be held against is gone
        yield from numbers.tolist()
        return
    splits, pixels = open_splits(dataset), made.images.batch(numbers)
    real = {"train": splits.train, **splits.evaluated}
    if splits.reserve is not None:
        real["reserve"] = splits.reserve
    marks, copied = fingerprints(pixels), np.zeros(len(numbers), dtype=bool)
    for name, count in made.counts.copies.items():  # only where any is known: it takes reading the split
        for batch in real[name].batches(1000) if count and name in real else ():
            copied |= np.isin(marks, fingerprints(batch))
    parents = made.sources[numbers]
    for place in np.flatnonzero(parents >= 0):
        parent = splits.train.batch(parents[place : place + 1])[0].float()
        copied[place] |= bool((pixels[place].float() - parent).abs().mean() < _NEARLY_EQUAL)
    yield from numbers[copied].tolist()


# ------------------------------------------------------------------------------------------------- drawing


def draw(rows: Sequence[Sequence[Tile | None]], images: "LabelledImages") -> bytes:
    """Draw rows of images of a set as a PNG; None leaves a grey place."""
    side = _side(images)
    pictures = [[None if tile is None else _scaled(tile, side) for tile in row] for row in rows]
    return _png(_laid_out(pictures, side))


def _side(images: "LabelledImages") -> int:
    """Return how large images of a set are drawn: small ones are enlarged by a whole factor."""
    pixels = max(images.image_shape[1:])
    return min(_MOST_SIDE, pixels * max(1, _LEAST_SIDE // pixels))


def _scaled(tile: Tile, side: int) -> "Image.Image":
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0)))
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    way = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS  # no pixel is made up
    return image if image.size == size else image.resize(size, way)


def _laid_out(rows: "Sequence[Sequence[Image.Image | None]]", side: int) -> "Image.Image":
    """Lay images out, a pixel of paper between them: row by row, each place `side` x `side`."""
    from PIL import Image

    columns, step = max(map(len, rows)), side + _GAP
    page = Image.new("RGB", (columns * step - _GAP, len(rows) * step - _GAP), _PAPER)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is None:
                page.paste(_EMPTY, (x * step, y * step, x * step + side, y * step + side))
            else:
                page.paste(image, (x * step, y * step))
    return page


def _strip(rows: "Sequence[Sequence[Image.Image | None]]", side: int) -> "Image.Image":
    """Lay ten images in a line, as many of every class as fit, enlarged by a whole factor."""
    from PIL import Image

    each = max(1, _STRIP_TILES // len(rows))
    line = [image for row in rows for image in [one for one in row if one is not None][:each]]
    factor = max(1, _STRIP_SIDE // side)
    large = [
        image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        for image in line[:_STRIP_TILES]
    ]
    return _laid_out([large], side * factor)


def _png(page: "Image.Image") -> bytes:
    """Encode a page with 256 colours: half the size, and hardly a difference to see."""
    content = io.BytesIO()
    page.quantize(_COLOURS).save(content, "png", optimize=True)
    return content.getvalue()
