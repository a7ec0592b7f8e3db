"""Generated images in arrays: `.npz` of EDM and guided-diffusion, and Sehwag's rows of bytes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.arrays import NotNumericError, array_names, load_array, load_arrays, map_array
from genbench.errors import DataError
from genbench.files import open_regular, said
from genbench.images import LabelledImages, to_square
from genbench_generators._found import Found, Look
from genbench_generators.configs._layouts import ROW_LABELS, Part
from genbench_generators.configs.folder import FolderConfig

Labels = npt.NDArray[np.int64]
_CHANNELS = (1, 3, 4)
_KEYS = (("image", "label"), ("images", "labels"), ("arr_0", "arr_1"), ("img", "label"), ("x", "y"))

# Not numpy.unique, which numbers names by the alphabet: the dataset's order may be another.
_NAMES_HINT = (
    "turn names into numbers in the dataset's order: names = ['cat', 'dog', ...]; "
    "numpy.savez('FILE.npz', image=images, label=[names.index(one) for one in labels.tolist()]); or write "
    "the images into a folder per class: PATH/cat/1.png PATH/dog/1.png"
)


class ArrayImages(LabelledImages):
    """Images in an array, mapped from a file: `uint8 [N, H, W, C]`, or `[N, C, H, W]` where `channels_first`.

    Args:
        pixels: 1, 3 or 4 channels.
        channels_first: Where these are.
        labels: `int64 [N]`.
        class_names: One name per class.
        look: What the images are brought to.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        labels: Labels,
        class_names: Sequence[str],
        look: Look,
        *,
        channels_first: bool = False,
    ) -> None:
        self._pixels, self._look, self._channels_first = pixels, look, channels_first
        self.labels, self.class_names = labels, tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self._look.size, self._look.size

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        from PIL import Image

        rows = np.asarray(indices, dtype=np.int64)
        found = np.ascontiguousarray(self._pixels[rows])
        if self._channels_first:
            found = np.ascontiguousarray(found.transpose(0, 2, 3, 1))
        if found.shape[1:] == (self._look.size, self._look.size, 3):
            return torch.from_numpy(np.ascontiguousarray(found.transpose(0, 3, 1, 2)))
        pixels = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for place, image in enumerate(found):
            grey = image.shape[-1] == 1
            pixels[place] = to_square(
                Image.fromarray(image[..., 0] if grey else image), self._look.size, self._look.framing
            )
        return torch.from_numpy(pixels)


def open_npz(part: Part, config: FolderConfig, look: Look, work: Path) -> Found:
    file = part.files["arrays.npz"]
    image_key, label_key = _keys(part.place, array_names(file), config)
    pixels, is_mapped = map_array(file, image_key, work)
    try:
        (labels,) = load_arrays(file, label_key)
    except NotNumericError as problem:
        raise DataError(f"folder: its labels are no numbers: {problem.message}", hint=_NAMES_HINT) from None
    found = _from_arrays(f"folder: {part.place}", pixels, labels, look)
    return Found(found, numbered=True, stays=is_mapped)


def _keys(place: str, names: Sequence[str], config: FolderConfig) -> tuple[str, str]:
    """Return the names of the arrays of images and labels.

    Raises:
        DataError: They are not there.
    """
    usual = next((pair for pair in _KEYS if pair[0] in names and pair[1] in names), None)
    if config.image_key or config.label_key or usual is None:
        usual = (config.image_key or (usual or _KEYS[0])[0], config.label_key or (usual or _KEYS[0])[1])
    missing = [name for name in usual if name not in names]
    if not missing:
        return usual
    found = f"folder: {place} holds the arrays {said(', '.join(names)) or 'none'}"
    if list(names) == ["arr_0"]:
        raise DataError(
            f"{found}: images without labels, as guided-diffusion writes them for models without classes",
            hint="sample with --class_cond True, which adds arr_1, or add the labels: numpy.savez",
        )
    raise DataError(
        f"{found}, and not {' and '.join(missing)}",
        hint="folder:PATH,image_key=NAME,label_key=NAME",
    )


def open_rows(part: Part, look: Look) -> Found:
    """Open Sehwag's rows of pixels: `H x W x 3` bytes each, as many as there are labels."""
    file, labels = part.files["images.bin"], load_array(part.files[ROW_LABELS])
    with open_regular(file):
        there = file.stat().st_size
    count = len(labels) if labels.ndim else 0
    side = math.isqrt(there // (3 * count)) if count else 0
    if not side or count * 3 * side * side != there:
        raise DataError(
            f"folder: {part.place} has {there:,} bytes and {count:,} labels: these are no square images of "
            "three bytes a pixel, height by width by colour (32 x 32: 3,072 bytes each)"
        )
    pixels = np.memmap(file, np.uint8, "r", shape=(count, side, side, 3))
    return Found(_from_arrays(f"folder: {part.place}", pixels, labels, look), numbered=True)


def _from_arrays(owner: str, pixels: npt.NDArray[Any], labels: npt.NDArray[Any], look: Look) -> ArrayImages:
    """Check arrays of images and labels.

    Raises:
        DataError: They are no `uint8` images, or no label each.
    """
    channels_first = _channels_first(owner, pixels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise DataError(
            f"{owner}: its labels are {labels.dtype} {list(labels.shape)}; wanted: a whole number per image",
            hint="of one-hot rows: labels.argmax(axis=1)",
        )
    if len(labels) != len(pixels):
        raise DataError(f"{owner}: {len(pixels):,} images and {len(labels):,} labels")
    if labels.min() < 0:
        raise DataError(
            f"{owner}: {int((labels < 0).sum()):,} labels are negative: these images have no class"
        )
    values, own = np.unique(labels, return_inverse=True)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return ArrayImages(
        pixels, own.astype(np.int64), [str(one) for one in values], look, channels_first=channels_first
    )


def _channels_first(owner: str, pixels: npt.NDArray[Any]) -> bool:
    """Say where the channels of an array of images are.

    Raises:
        DataError: It is no `uint8 [N, H, W, C]`, or could be that and `[N, C, H, W]` as well.
    """
    shape = list(pixels.shape)
    if not len(pixels.shape) or not len(pixels):
        raise DataError(f"{owner} holds no image")
    if pixels.dtype != np.uint8:
        some = pixels[:16]
        convert = "(x * 255).round()" if some.min() >= 0 else "((x + 1) * 127.5).round().clip(0, 255)"
        how = f"{convert}.astype('uint8')" if pixels.dtype.kind == "f" else "x.astype('uint8')"
        raise DataError(
            f"{owner}: its images are {pixels.dtype}, from {some.min():g} to {some.max():g} in the first; "
            "pixels must be uint8, 0 to 255: nothing is guessed",
            hint=f"numpy.savez('FILE.npz', image={how}, label=labels)",
        )
    last, first = shape[-1] in _CHANNELS, shape[1] in _CHANNELS if len(shape) == 4 else False
    if len(shape) == 3 or (len(shape) == 4 and last and not first):
        return False
    if len(shape) == 4 and first and not last:
        return True
    what = "could be height by width by channels or channels first" if first and last else "are no images"
    raise DataError(
        f"{owner}: {shape} {what}; wanted is [N, H, W, C] with {', '.join(map(str, _CHANNELS))} channels"
    )
