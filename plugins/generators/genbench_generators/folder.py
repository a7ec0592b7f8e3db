"""`folder`: images that somebody generated already, in the layouts that they are published in.

PATH/cat/1.png PATH/dog/1.png         class folders, or PATH/train/cat/1.png; named by class or WordNet id
FILE.npz                              `image` and `label` (EDM), `arr_0` and `arr_1` (guided-diffusion)
FOLDER or FILE.parquet                columns of images and classes, as `genbench export-images` writes
FOLDER or FILE.zip                    `dataset.json` (StyleGAN, EDM), or class folders in a zip
FILE.bin with FILE_labels.npy         rows of pixels (Sehwag et al.)
'20m_part{1,2}.npz', hub:ORG/NAME     several parts; files on the Hub, in a mirror first

Each image is used at most once per seed. With `draw=seeded`, every seed draws its own, class by class in
train's proportions: published sets are sorted by class and by confidence, so their head is no sample. With
`draw=whole`, every seed uses all, in the order of the files. Images are brought to the dataset's size as the
dataset's own are. Reading them is all that is measured: what making them took is unknown unless it is told.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.images import (
    JoinedImages,
    LabelledImages,
    Subset,
    TensorImages,
    memory_limit_bytes,
    open_images,
)
from genbench.protocols import RunContext, StockGenerator
from genbench_generators._class_names import positions, told
from genbench_generators._found import Found, problems_of
from genbench_generators._parts import open_part
from genbench_generators.configs.folder import FolderConfig

_BATCH = 64  # images between two looks at whether to stop
_SHOWN = 20  # broken images that a message names
_IMAGES, _NOTE, _PIXELS = "images", "folder.json", "stock.npy"


class Folder(StockGenerator):
    """Hands out the images of a folder.

    A set that fits into a quarter of the memory is decoded once, into the artifact. A larger one is read from
    where it lies, unless it has to be unpacked for that.
    """

    def __init__(self, config: FolderConfig) -> None:
        self.config = config
        self._stock: LabelledImages | None = None
        self._is_packed = False

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Find the images, match their classes with train's, and decode them or look at their headers.

        Raises:
            DataError: Classes do not match, or images are broken: all of them are named.
        """
        _, height, width = train.image_shape
        if height != width:
            raise DataError(f"folder: images are brought to squares, and train has {height} x {width} pixels")
        found = self._open(height, ctx.work)
        for place in self.config.parts():
            ctx.log.info("%s: %s", place.place, place.in_words())
        places = positions(found, train.class_names, self.config)
        ctx.log.info("classes: %s", told(found, places, train.class_names))
        stock = _joined(found, places, train.class_names)
        self._is_packed = (
            not all(part.stays for part in found)
            or len(stock) * math.prod(stock.image_shape) <= memory_limit_bytes()
        )
        if self._is_packed:
            self._stock = _decoded(stock, ctx)
            return
        done = 0

        def looked_at(row: int) -> None:
            if row % _BATCH == 0:
                ctx.progress(min(done + row, len(stock)), len(stock))
                if ctx.checkpoint_due():
                    ctx.checkpoint({}, {})

        problems: list[str] = []
        for part in found:
            problems += problems_of(part, looked_at)
            done += len(part.images)
        _refuse(problems)
        self._stock = stock

    def save(self, folder: Path) -> None:
        """Write the images, or what is needed to find them again."""
        stock = self.stock()
        if self._is_packed:
            (folder / _IMAGES).mkdir()
            stock.write(folder / _IMAGES)
        note = {"class_names": list(stock.class_names), "size": stock.image_shape[1]}
        (folder / _NOTE).write_text(json.dumps(note))

    def load(self, folder: Path) -> None:
        """Open the images that `save` wrote, or those that stayed where they are."""
        if (folder / _IMAGES).is_dir():
            self._stock = open_images(folder / _IMAGES)
            return
        note = json.loads((folder / _NOTE).read_text())
        found = self._open(note["size"], folder)  # nothing is unpacked: these can be read in place
        names = note["class_names"]
        self._stock = _joined(found, positions(found, names, self.config), names)

    def stock(self) -> LabelledImages:
        """Return all images."""
        if self._stock is None:
            raise RuntimeError("the folder was not read")
        return self._stock

    def class_names(self) -> Sequence[str]:
        """Return the classes of the folder, as it calls them."""
        import tempfile

        with tempfile.TemporaryDirectory() as work:
            names = [part.images.class_names for part in self._open(8, Path(work))]
        return list(dict.fromkeys(name for one in names for name in one))

    def _open(self, size: int, work: Path) -> list[Found]:
        return [open_part(part, self.config, size, work) for part in self.config.parts()]


class _Matched(LabelledImages):
    """Images under other labels."""

    def __init__(
        self, images: LabelledImages, labels: npt.NDArray[np.int64], class_names: Sequence[str]
    ) -> None:
        self._images, self.labels, self.class_names = images, labels, tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self._images.image_shape

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        return self._images.batch(indices)


def _joined(
    found: Sequence[Found], places: Sequence[npt.NDArray[np.int64]], class_names: Sequence[str]
) -> LabelledImages:
    """Return the images of all parts under the dataset's labels, class by class; the others are left out."""
    parts = []
    for part, own in zip(found, places, strict=True):
        labels = own[part.images.labels]
        rows = np.flatnonzero(labels >= 0)
        parts.append(_Matched(Subset(part.images, rows), labels[rows], class_names))
    joined = JoinedImages(parts)
    return Subset(joined, np.argsort(joined.labels, kind="stable"))


def _decoded(stock: LabelledImages, ctx: RunContext) -> LabelledImages:
    """Decode all images into a file in the scratch folder; a stopped fit resumes where it was.

    Raises:
        DataError: Images are broken; all are named.
    """
    ctx.work.mkdir(parents=True, exist_ok=True)
    place, shape, saved = ctx.work / _PIXELS, (len(stock), *stock.image_shape), ctx.restore()
    done, problems = (
        (saved.meta["done"], list(saved.meta["problems"])) if saved and place.is_file() else (0, [])
    )
    pixels = np.lib.format.open_memmap(place, "r+" if done else "w+", np.uint8, shape)
    while done < len(stock):
        rows = np.arange(done, min(done + _BATCH, len(stock)))
        try:
            pixels[rows] = stock.batch(rows).numpy()
        except DataError:
            problems += _one_by_one(stock, rows)
        done += len(rows)
        ctx.progress(done, len(stock))
        if ctx.checkpoint_due():
            pixels.flush()
            ctx.checkpoint({}, {"done": done, "problems": problems})
    _refuse(problems)
    return TensorImages(torch.from_numpy(pixels), stock.labels, stock.class_names)


def _one_by_one(stock: LabelledImages, rows: npt.NDArray[np.int64]) -> list[str]:
    """Return what is wrong with the images of a batch of which one is broken."""
    problems = []
    for row in rows.tolist():
        try:
            stock.batch([row])
        except DataError as problem:
            problems.append(problem.message)
    return problems


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"folder: {len(problems):,} of its images cannot be read\n{listed}{more}",
            hint="replace them, or take them out of the folder",
        )
