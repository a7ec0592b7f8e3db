"""Generated images as they were found: opened part by part, in the dataset's size, with labels of their own.

Nothing is decoded before it is asked for. Arrays are mapped from where they lie, inside a `.npz`, too.
"""

import contextlib
import json
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.files import open_regular, read_regular, said, shown
from genbench.framing import Framing
from genbench.image_files import check_image
from genbench.images import LabelledImages, read_square
from genbench.unpacking import MOST_FILE_BYTES, open_zip, zip_images, zip_member
from genbench_generators.configs._layouts import LIST, Part, class_images

Labels = npt.NDArray[np.int64]
_MOST_LIST_BYTES = 512 << 20  # of a dataset.json: a million images take 40 MB


class Look(NamedTuple):
    """What images are brought to: the dataset's height and width, and how they get there."""

    size: int
    framing: Framing


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


def brought_to_size(source: bytes | Path, look: Look, name: str) -> npt.NDArray[np.uint8]:
    """Bring an encoded image to the dataset's size, as the dataset's own are: `uint8 [3, size, size]`."""
    return read_square(source, look.size, name, as_photograph=True, framing=look.framing)


# ----------------------------------------------------------------------------------------- images by file


class EncodedImages(LabelledImages):
    """Encoded images, each opened when it is asked for.

    Args:
        names: What messages call each.
        opened: Returns the file or the content of image i.
        labels: `int64 [N]`.
        class_names: One name per class.
        look: What they are brought to.
    """

    def __init__(
        self,
        names: Sequence[str],
        opened: Callable[[int], bytes | Path],
        labels: Labels,
        class_names: Sequence[str],
        look: Look,
    ) -> None:
        self._names, self._opened, self._look = names, opened, look
        self.labels, self.class_names = labels, tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self._look.size, self._look.size

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`.

        Raises:
            DataError: One cannot be decoded; it is named.
        """
        rows: list[int] = [int(row) for row in np.asarray(indices, dtype=np.int64)]
        pixels = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            pixels[place] = brought_to_size(self._opened(row), self._look, self._names[row])
        return torch.from_numpy(pixels)

    def check(self, row: int) -> None:
        """Look at the header of an image."""
        check_image(self._opened(row), self._names[row])


def _encoded(
    part: Part,
    names: Sequence[str],
    classes: Sequence[str],
    opened: Callable[[int], bytes | Path],
    look: Look,
) -> Found:
    """Return images with the class of each, in the order of classes and of files."""
    if not names:
        raise DataError(f"folder: {part.place} holds no image in a class folder")
    known = {name: label for label, name in enumerate(sorted(set(classes)))}
    labels = np.array([known[name] for name in classes], dtype=np.int64)
    images = EncodedImages([f"{part.place}: {name}" for name in names], opened, labels, list(known), look)
    return Found(images, check=images.check)


def open_tree(part: Part, look: Look) -> Found:
    names = sorted(part.files)
    return _encoded(
        part,
        names,
        [PurePosixPath(name).parts[part.class_part] for name in names],
        lambda i: part.files[names[i]],
        look,
    )


def open_labelled(part: Part, look: Look) -> Found:
    listed = _listed(part.place, read_regular(part.files[LIST], _MOST_LIST_BYTES), part.files)
    names = list(listed)
    classes = [str(label) for label in listed.values()]
    found = _encoded(part, names, classes, lambda i: part.files[names[i]], look)
    return Found(found.images, numbered=True, check=found.check)


def open_packed(part: Part, look: Look) -> Found:
    """Open a zip of class folders, or one that `dataset.json` labels, for as long as its images live."""
    with contextlib.ExitStack() as held:
        file = held.enter_context(open_regular(part.files["images.zip"]))
        try:
            packed = open_zip(file)
            members = zip_images(packed, file)
        except DataError as problem:
            reason = f"folder: {part.place} cannot be read: {problem.message}"
            raise DataError(reason, hint=problem.hint) from None
        except Exception as problem:  # zipfile raises nearly every kind on broken files
            raise DataError(f"folder: {part.place} cannot be read as a zip: {said(problem)}") from None
        if LIST in members:
            listed = _listed(part.place, zip_member(packed, members[LIST], _MOST_LIST_BYTES), members)
            names, classes = list(listed), [str(label) for label in listed.values()]
        else:
            names, classes, _ = class_images(members)

        def opened(row: int) -> bytes:
            return _member(packed, members[names[row]], f"{part.place}: {names[row]}")

        found = _encoded(part, names, classes, opened, look)
        weakref.finalize(found.images, held.pop_all().close)
    return Found(found.images, numbered=LIST in members, check=found.check)


def _member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    try:
        return zip_member(packed, info, MOST_FILE_BYTES)
    except Exception as problem:  # as above
        raise DataError(f"{name} cannot be read: {said(problem)}") from None


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
