"""What a run leaves beside its records for a row to open: contact sheets of its synthetic images.

Boards are published, and no real image of a dataset may be: a licence that lets people train on images seldom
lets others hand them on. So an image is shown where every generator that took part in it declares
`new_pixels`, and where no real image is much like it, darker or mirrored ones included.
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
from genbench.escaping import LONGEST_LABEL, exception_text, one_line
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
    import torch
    from PIL import Image

    from genbench.export import CellImages
    from genbench.images import LabelledImages

Tile = npt.NDArray[np.uint8]  #: `uint8 [3, H, W]`, 0-255

_LEAST_SIDE, _MOST_SIDE = 32, 64  #: pixels of an image on a sheet: others are enlarged, or scaled down
_MOST_PIXELS = 80 * 32 * 32  #: of all images of a sheet: with 256 colours, they fill some 65 KB
_STRIP_TILES, _STRIP_SIDE = 10, 64
_GAP, _COLOURS = 1, 256
_PAPER, _EMPTY = (255, 255, 255), (235, 235, 235)
#: An image is not shown where its correlation with a real one is above what all but a hundredth of val have
#: with train, and above 0.9; among images that are all alike, as digits are, above 0.999 alone.
_ALIKE, _THE_SAME = 0.9, 0.999
_LIKENESS_SHARE, _LIKENESS_OF, _LIKENESS_SIDE = 0.99, 1000, 32


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
    from genbench.export import cell_images

    try:
        return _drawn(blank, cell_images(plan, store, cell.name), store, inside)
    except GenbenchError:
        return None
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        # What a plugin left is odd: no reason to lose the board of a run that took days.
        said = one_line(exception_text(problem), LONGEST_LABEL)
        return replace(blank, why_not=f"Its picture could not be drawn ({said})")


def _drawn(blank: Sheet, found: "CellImages", store: Store, inside: Path) -> Sheet:
    """Draw the first images of a set that may be shown, and write sheet and strip."""
    from genbench.export import LICENCES

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
    from genbench.images import evenly_spaced

    return [int(one) for one in evenly_spaced(count, MOST_CLASSES)]


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
    """Yield the images that are a real one, or that are more like one than real images are like others."""
    from genbench.steps.dataset import open_splits

    dataset = store.open(found.step.inputs["dataset"])
    if dataset is None:  # what they would be held against is gone
        yield from numbers.tolist()
        return
    splits, pixels = open_splits(dataset), found.made.images.batch(numbers)
    real = [splits.train, *splits.evaluated.values()]
    real += [splits.reserve] if splits.reserve is not None else []
    val = splits.evaluated["val"]
    usual = likeness(val.batch(np.arange(min(len(val), _LIKENESS_OF))), [splits.train])
    most = max(_ALIKE, float(np.quantile(usual, _LIKENESS_SHARE)) if len(usual) else _ALIKE)
    yield from numbers[likeness(pixels, real) > min(most, _THE_SAME)].tolist()


def likeness(pixels: "torch.Tensor", real: "Iterable[LabelledImages]") -> npt.NDArray[np.float64]:
    """Return how much each image is like the most similar real one: `float64 [n]`, at most 1.

    It is the correlation of their pixels, as they are or mirrored: another brightness or contrast changes
    nothing, a little noise not much. Large images are compared at 32 pixels.

    Args:
        pixels: `uint8 [n, 3, H, W]`.
        real: Sets of images of the same size.
    """
    images, found = _standardised(pixels), np.full(len(pixels), -1.0)
    for batch in (batch for part in real for batch in part.batches(1000)):
        others = _standardised(batch)
        for turned in (others, others.flip(-1)):
            alike = images.flatten(1) @ turned.flatten(1).T
            found = np.maximum(found, alike.max(dim=1).values.numpy())
    return found


def _standardised(pixels: "torch.Tensor") -> "torch.Tensor":
    """Return images without their mean colour, of length 1: `float32 [n, 3, H, W]`; one colour alone is 0."""
    from torch.nn import functional

    images: torch.Tensor = pixels.float() / 255
    if max(images.shape[-2:]) > _LIKENESS_SIDE:
        images = functional.adaptive_avg_pool2d(images, _LIKENESS_SIDE)
    images = images - images.mean(dim=(2, 3), keepdim=True)
    length = images.flatten(1).norm(dim=1).clamp(min=1e-6)
    images /= length[:, None, None, None]
    return images


# ------------------------------------------------------------------------------------------------- drawing


def draw(rows: Sequence[Sequence[Tile | None]], images: "LabelledImages") -> bytes:
    """Draw rows of images of a set as a PNG; None leaves a grey place."""
    return draw_pixels(rows, _side(images))


def draw_pixels(rows: Sequence[Sequence[Tile | None]], side: int) -> bytes:
    """Draw rows of images as a PNG, each at most `side` pixels wide and high; None leaves a grey place."""
    pictures = [[None if tile is None else _scaled(tile, side) for tile in row] for row in rows]
    return _png(_laid_out(pictures, side))


def _side(images: "LabelledImages") -> int:
    """Return how large images of a set are drawn: small ones are enlarged by a whole factor."""
    return shown_side(max(images.image_shape[1:]))


def shown_side(pixels: int) -> int:
    """Return how large an image of so many pixels is drawn."""
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
