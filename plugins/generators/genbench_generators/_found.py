"""Generated images as they were found: opened part by part, in the dataset's size, with labels of their own.

Nothing is decoded before it is asked for. Arrays are mapped from where they lie, inside a `.npz`, too.
"""

import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.arrays import array_names, load_array, load_arrays, map_array
from genbench.errors import DataError
from genbench.files import open_regular, read_regular, said, shown
from genbench.image_files import SUFFIXES, check_image
from genbench.images import ArrowImages, LabelledImages, read_square, to_square
from genbench.parquet import ParquetRows, named_labels
from genbench.unpacking import MOST_FILE_BYTES, open_zip, zip_images, zip_member
from genbench_generators.configs._layouts import LIST, ROW_LABELS, Part
from genbench_generators.configs.folder import FolderConfig

Labels = npt.NDArray[np.int64]
_MOST_LIST_BYTES = 512 << 20  # of a dataset.json: a million images take 40 MB
_CHANNELS = (1, 3, 4)
_KEYS = (("image", "label"), ("images", "labels"), ("arr_0", "arr_1"), ("img", "label"), ("x", "y"))
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "class_name", "target", "wnid", "synset")
_IMAGE_COLUMNS = ("image", "img", "images")


@dataclass(frozen=True)
class Found:
    """The images of one part.

    Attributes:
        images: In the size of the dataset, labelled by the part's own classes.
        numbered: Whether these are numbers of labels, and not names.
        stays: Whether pixels are read from where they lie, and can be read in any order.
        check: Looks at the header of image i, and raises a DataError; None where pixels are raw.
    """

    images: LabelledImages
    numbered: bool = False
    stays: bool = True
    check: Callable[[int], None] | None = None


def open_part(part: Part, config: FolderConfig, size: int, work: Path) -> Found:
    """Open a part.

    Args:
        part: Its files and their layout.
        config: Options.
        size: Height and width of the dataset's images.
        work: A scratch folder.

    Raises:
        DataError: It is not what its layout says, or has no labels.
    """
    openers: Mapping[str, Callable[[], Found]] = {
        "tree": lambda: _tree(part, size),
        "labelled": lambda: _labelled(part, size),
        "zip": lambda: _zip(part, size),
        "npz": lambda: _npz(part, config, size, work),
        "rows": lambda: _rows(part, size),
        "parquet": lambda: _parquet(part, config, size, work),
    }
    return openers[part.kind]()


def brought_to_size(source: bytes | Path, size: int, name: str) -> npt.NDArray[np.uint8]:
    """Bring an encoded image to the dataset's size, as the dataset's own are: `uint8 [3, size, size]`."""
    return read_square(source, size, name, as_photograph=True)


# ----------------------------------------------------------------------------------------- images by file


class EncodedImages(LabelledImages):
    """Encoded images, each opened when it is asked for.

    Args:
        names: What messages call each.
        opened: Returns the file or the content of image i.
        labels: `int64 [N]`.
        class_names: One name per class.
        size: Height and width that they are brought to.
    """

    def __init__(
        self,
        names: Sequence[str],
        opened: Callable[[int], bytes | Path],
        labels: Labels,
        class_names: Sequence[str],
        size: int,
    ) -> None:
        self._names, self._opened, self._size = names, opened, size
        self.labels, self.class_names = labels, tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self._size, self._size

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`.

        Raises:
            DataError: One cannot be decoded; it is named.
        """
        rows = np.asarray(indices, dtype=np.int64).tolist()
        pixels = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            pixels[place] = brought_to_size(self._opened(row), self._size, self._names[row])
        return torch.from_numpy(pixels)

    def check(self, row: int) -> None:
        """Look at the header of an image."""
        check_image(self._opened(row), self._names[row])


def _encoded(
    part: Part, names: Sequence[str], classes: Sequence[str], opened: Callable[[int], bytes | Path], size: int
) -> Found:
    """Return images with the class of each, in the order of classes and of files."""
    if not names:
        raise DataError(f"folder: {part.place} holds no image in a class folder")
    known = {name: label for label, name in enumerate(sorted(set(classes)))}
    labels = np.array([known[name] for name in classes], dtype=np.int64)
    images = EncodedImages([f"{part.place}: {name}" for name in names], opened, labels, list(known), size)
    return Found(images, check=images.check)


def _tree(part: Part, size: int) -> Found:
    names = sorted(part.files)
    return _encoded(
        part, names, [PurePosixPath(name).parts[0] for name in names], lambda i: part.files[names[i]], size
    )


def _labelled(part: Part, size: int) -> Found:
    listed = _listed(part.place, read_regular(part.files[LIST], _MOST_LIST_BYTES), part.files)
    names = list(listed)
    found = _encoded(part, names, [str(listed[name]) for name in names], lambda i: part.files[names[i]], size)
    return Found(found.images, numbered=True, check=found.check)


def _zip(part: Part, size: int) -> Found:
    """Open a zip of class folders, or one that `dataset.json` labels."""
    file = open_regular(part.files["images.zip"])  # open as long as its images are
    try:
        packed = open_zip(file)
        members = zip_images(packed, file)
    except DataError as problem:
        raise DataError(
            f"folder: {part.place} cannot be read: {problem.message}", hint=problem.hint
        ) from None
    except Exception as problem:  # zipfile raises nearly every kind on broken files
        raise DataError(f"folder: {part.place} cannot be read as a zip: {said(problem)}") from None
    numbered = LIST in members
    if numbered:
        listed = _listed(part.place, zip_member(packed, members[LIST], _MOST_LIST_BYTES), members)
        names, classes = list(listed), [str(listed[name]) for name in listed]
    else:
        top = {PurePosixPath(name).parts[0] for name in members if "/" in name}
        inner = "train/" if "train" in top and any(name.startswith("train/") for name in members) else ""
        if len(top) == 1 and not inner:  # a zip of a folder that holds the class folders
            inner = f"{next(iter(top))}/" if all(name.count("/") > 1 for name in members) else ""
        names = [
            name
            for name in sorted(members)
            if name.startswith(inner) and "/" in name[len(inner) :] and _is_image(name)
        ]
        classes = [name[len(inner) :].partition("/")[0] for name in names]

    def opened(row: int) -> bytes:
        return _member(packed, members[names[row]], f"{part.place}: {names[row]}")

    found = _encoded(part, names, classes, opened, size)
    return Found(found.images, numbered=numbered, check=found.check)


def _member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    try:
        return zip_member(packed, info, MOST_FILE_BYTES)
    except Exception as problem:  # as above
        raise DataError(f"{name} cannot be read: {said(problem)}") from None


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _listed(place: str, content: bytes, there: Mapping[str, Any]) -> dict[str, int]:
    """Return the labels of a StyleGAN `dataset.json` by file.

    Raises:
        DataError: It is none, has no labels, or names a file that is not there.
    """
    try:
        labels = json.loads(content)["labels"]
        if labels is None:
            raise DataError(f"folder: {place}: {LIST} says that its images have no labels")
        found = {str(name): label for name, label in labels}
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f'folder: {place}: {LIST} is not {{"labels": [["00000/img00000000.png", 6], ...]}}'
        ) from None
    odd = next((name for name, label in found.items() if type(label) is not int), None)
    if odd is not None:
        raise DataError(
            f"folder: {place}: {LIST} gives {shown(odd)} the label {said(found[odd])}, no whole number"
        )
    missing = [name for name in found if name not in there]
    if missing or len(found) != len(labels):
        what = f"names {shown(missing[0])}, which is not there" if missing else "names a file twice"
        raise DataError(f"folder: {place}: {LIST} {what} ({len(missing)} such files)")
    return found


# ------------------------------------------------------------------------------------------------- arrays


class ArrayImages(LabelledImages):
    """Images in an array, mapped from a file: `uint8 [N, H, W, C]`, or `[N, C, H, W]` where `channels_first`.

    Args:
        pixels: 1, 3 or 4 channels.
        channels_first: Where these are.
        labels: `int64 [N]`.
        class_names: One name per class.
        size: Height and width that the images are brought to.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        labels: Labels,
        class_names: Sequence[str],
        size: int,
        *,
        channels_first: bool = False,
    ) -> None:
        self._pixels, self._size, self._channels_first = pixels, size, channels_first
        self.labels, self.class_names = labels, tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self._size, self._size

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        from PIL import Image

        rows = np.asarray(indices, dtype=np.int64)
        found = np.ascontiguousarray(self._pixels[rows])
        if self._channels_first:
            found = np.ascontiguousarray(found.transpose(0, 2, 3, 1))
        if found.shape[1:] == (self._size, self._size, 3):
            return torch.from_numpy(np.ascontiguousarray(found.transpose(0, 3, 1, 2)))
        pixels = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for place, image in enumerate(found):
            grey = image.shape[-1] == 1
            pixels[place] = to_square(Image.fromarray(image[..., 0] if grey else image), self._size)
        return torch.from_numpy(pixels)


def _npz(part: Part, config: FolderConfig, size: int, work: Path) -> Found:
    file = part.files["arrays.npz"]
    image_key, label_key = _keys(part.place, array_names(file), config)
    pixels, is_mapped = map_array(file, image_key, work)
    (labels,) = load_arrays(file, label_key)
    found = _from_arrays(f"folder: {part.place}", pixels, labels, size)
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


def _rows(part: Part, size: int) -> Found:
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
    return Found(_from_arrays(f"folder: {part.place}", pixels, labels, size), numbered=True)


def _from_arrays(owner: str, pixels: npt.NDArray[Any], labels: npt.NDArray[Any], size: int) -> ArrayImages:
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
        pixels, own.astype(np.int64), [str(one) for one in values], size, channels_first=channels_first
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


# ------------------------------------------------------------------------------------------------- tables


def _parquet(part: Part, config: FolderConfig, size: int, work: Path) -> Found:
    owner = f"folder: {part.place}"
    rows = ParquetRows([part.files[name] for name in sorted(part.files)], work / "arrow")
    image = _image_column(owner, rows, config.image_key)
    label = _label_column(owner, rows, config.label_key)
    names, labels = named_labels(rows, label, owner)
    kind = str(getattr(rows.features[label], "dtype", ""))
    numbered = type(rows.features[label]).__name__ != "ClassLabel" and "int" in kind
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        raise DataError(
            f"{owner}: labels must lie in 0..{len(names) - 1}, found {labels.min()}..{labels.max()}"
        )
    table = rows.select_columns([image]).select(np.arange(len(rows)))
    return Found(ArrowImages(table, image, labels, names, size), numbered=numbered, stays=False)


def _image_column(owner: str, rows: ParquetRows, wanted: str) -> str:
    """Return the column of images; one that `datasets` did not write is known by its form."""
    import datasets

    typed = [name for name, feature in rows.features.items() if type(feature).__name__ == "Image"]
    likely = [wanted] if wanted else typed or [name for name in _IMAGE_COLUMNS if name in rows.features]
    name = likely[0] if likely else ""
    feature = rows.features.get(name)
    if isinstance(feature, dict) and feature.keys() == {"bytes", "path"}:
        rows.features[name] = feature = datasets.Image()
    if type(feature).__name__ != "Image":
        raise DataError(
            f"{owner}: no column of images is known by its type. Found: {_columns(rows)}",
            hint="folder:PATH,image_key=COLUMN, a column of {bytes, path} as `datasets` writes it",
        )
    return name


def _label_column(owner: str, rows: ParquetRows, wanted: str) -> str:
    typed = [name for name, feature in rows.features.items() if type(feature).__name__ == "ClassLabel"]
    likely = (
        [wanted]
        if wanted
        else typed
        if len(typed) == 1
        else [n for n in _LABEL_COLUMNS if n in rows.features]
    )
    if likely and likely[0] in rows.features:
        return likely[0]
    raise DataError(
        f"{owner} has no column of classes; captions alone do not say which class an image is of. Found: "
        f"{_columns(rows)}",
        hint="folder:PATH,label_key=COLUMN, if one of them holds classes",
    )


def _columns(rows: ParquetRows) -> str:
    return said(", ".join(f"{name} ({_type(feature)})" for name, feature in rows.features.items()))


def _type(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)


# ------------------------------------------------------------------------------------- problems, all at once


def problems_of(found: Found, told: Callable[[int], None]) -> Iterator[str]:
    """Look at every header of a part, and yield what is wrong."""
    for row in range(len(found.images)):
        told(row)
        if found.check is not None:
            try:
                found.check(row)
            except DataError as problem:
                yield problem.message


def counted(labels: Labels, names: Sequence[str]) -> str:
    """Write images by class, for messages."""
    counts = Counter(labels.tolist())
    return ", ".join(f"{name} ({counts[label]:,})" for label, name in enumerate(names))


def is_padded_number(name: str) -> bool:
    """Say whether a folder's name is the number of a label: `7`, `007`; not one of EDM's `000000`."""
    return bool(re.fullmatch(r"[0-9]{1,4}", name))
