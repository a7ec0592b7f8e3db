"""Named out-of-distribution test sets: computed from test, or read from files.

`computed`: fifteen families of corruptions (`_corruptions.py`), as `computed-FAMILY-SEVERITY`. `cifar10` has

* `natural-shift-9`: 1,799 images of nine of its classes from other sets (`genbench/natural-shift-9`); a harsh
  natural shift, and not CIFAR-10.1;
* `cifar10.1-v4`, `cifar10.1-v6`: the published arrays (arXiv:1806.00451), `modestyachts/CIFAR-10.1`;
* `cifar10.2`: the published archive (arXiv:2107.04649), `modestyachts/cifar-10.2`;
* `cifar10-c`: the published arrays (arXiv:1903.12261), `hendrycks/cifar-10-c`, at the severities asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genbench.arrays import load_array, load_arrays
from genbench.errors import DataError
from genbench.images import LabelledImages, Subset, TensorImages, limited_rows, to_square
from genbench.parquet import first_column, named_labels
from genbench.protocols import RunContext
from genbench.seeding import derive_seed
from genbench_datasets._corruptions import CORRUPTIONS, corrupted
from genbench_datasets._tables import Reading, read_parquet, with_labels
from genbench_datasets.configs._shifts import ShiftOptions

_OTHER_NAMES = {"car": "automobile", "plane": "airplane"}
_SIDE = 32  # pixels, of the published arrays
_NAMED = 20  # classes that a message names
_PER_SEVERITY = 10_000  # images per severity in a file of CIFAR-10-C


def computed_shifts(
    test: LabelledImages, options: ShiftOptions, ctx: RunContext
) -> dict[str, LabelledImages]:
    """Return the corrupted test sets that the options ask for.

    They are of those images of test that `limit_test` and `limit_corrupted` leave.
    """
    if "computed" not in options.shifts:
        return {}
    for limit in (options.limit_test, options.limit_corrupted):
        test = Subset(test, limited_rows(test.labels, test.num_classes, limit, options.split_seed))
    pixels, found = test.all().numpy(), dict[str, LabelledImages]()
    names = [(family, severity) for family in CORRUPTIONS for severity in options.severities]
    for done, (family, severity) in enumerate(names):
        made = corrupted(pixels, family, severity, derive_seed("corruption", family, severity))
        images = TensorImages(torch.from_numpy(made), test.labels, test.class_names)
        found[f"computed-{family}-{severity}"] = images
        ctx.progress(done + 1, len(names))
    return found


def cifar10_shifts(
    options: ShiftOptions,
    files: Mapping[str, Path],
    classes: Sequence[str],
    ctx: RunContext,
    size: int = _SIDE,
) -> Iterator[tuple[str, LabelledImages]]:
    """Yield (name, images) of the shifts of CIFAR-10 that are read from files, brought to `size` pixels.

    Of each, those images that `limit_test` leaves: others would be resized for nothing.
    """
    reading = Reading(size)
    for name, images in _read_shifts(options, files, classes, reading, ctx):
        reading.refuse_broken(f"shift {name!r}")
        left = limited_rows(images.labels, images.num_classes, options.limit_test, options.split_seed)
        yield name, _resized(Subset(images, left), size)


def _read_shifts(
    options: ShiftOptions,
    files: Mapping[str, Path],
    classes: Sequence[str],
    reading: Reading,
    ctx: RunContext,
) -> Iterator[tuple[str, LabelledImages]]:
    names: Sequence[str] = options.shifts
    for shift in names:
        own = {name.partition("/")[2]: path for name, path in files.items() if name.startswith(f"{shift}/")}
        if shift == "natural-shift-9":
            yield shift, _from_table(shift, list(own.values()), classes, reading, ctx)
        elif shift.startswith("cifar10.1"):
            version = shift.rpartition("-")[2]
            pixels, labels = (
                load_array(own[f"cifar10.1_{version}_{part}.npy"]) for part in ("data", "labels")
            )
            yield shift, _from_arrays(shift, pixels, labels, classes)
        elif shift == "cifar10.2":
            pixels, labels = load_arrays(own["cifar102_test.npz"], "images", "labels")
            yield shift, _from_arrays(shift, pixels, labels, classes)
        elif shift == "cifar10-c":
            yield from _published_corruptions(own, options.severities, classes)


def _published_corruptions(
    files: Mapping[str, Path], severities: Sequence[int], classes: Sequence[str]
) -> Iterator[tuple[str, LabelledImages]]:
    labels = load_array(files["labels.npy"])
    for name, path in sorted(files.items()):
        if name != "labels.npy":
            pixels = load_array(path)
            for severity in severities:
                rows = slice((severity - 1) * _PER_SEVERITY, severity * _PER_SEVERITY)
                shift = f"cifar10-c-{path.stem}-{severity}"
                yield shift, _from_arrays(shift, np.array(pixels[rows]), labels[rows], classes)


def _from_arrays(
    shift: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> LabelledImages:
    """Turn `uint8 [N, 32, 32, 3]` and labels `[N]` into images.

    Raises:
        DataError: They are of another type or shape, or a label is none of the classes.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"shift {shift!r}: labels must be whole numbers [N], found {labels.dtype} {list(labels.shape)}"
        )
    wanted = (len(labels), _SIDE, _SIDE, 3)
    if pixels.shape != wanted or pixels.dtype != np.uint8:
        raise DataError(
            f"shift {shift!r}: expected uint8 {list(wanted)}, one image per label, "
            f"found {pixels.dtype} {list(pixels.shape)}"
        )
    unknown = sorted(set(labels.tolist()) - set(range(len(classes))))
    if unknown:
        raise DataError(f"shift {shift!r} has labels {unknown}, and the classes are 0..{len(classes) - 1}")
    ordered = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return TensorImages(ordered, labels.astype(np.int64), classes)


def _resized(images: LabelledImages, size: int) -> LabelledImages:
    """Bring published arrays to another size, image by image, as Pillow does files."""
    from PIL import Image

    if images.image_shape[1] == size:
        return images
    pixels = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    for place, image in enumerate(images.all().numpy().transpose(0, 2, 3, 1)):
        pixels[place] = torch.from_numpy(to_square(Image.fromarray(image), size))
    return TensorImages(pixels, images.labels, images.class_names)


def _from_table(
    shift: str, files: Sequence[Path], classes: Sequence[str], reading: Reading, ctx: RunContext
) -> LabelledImages:
    """Read a table whose classes are some of `classes`, by name."""
    table, owner = read_parquet(files, ctx), f"shift {shift!r}"
    image, label = (first_column(table.features, *names) for names in (("image", "img"), ("label", "labels")))
    names, own = named_labels(table, label, owner)
    labels = np.array(class_map(owner, names, classes), dtype=np.int64)[own]
    return with_labels(table, image, labels, classes, reading, ctx)


def class_map(owner: str, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the class of each of the owner's classes, by name.

    Raises:
        DataError: A class of the owner ("shift 'fog'") is none of the dataset's.
    """
    known = {name: label for label, name in enumerate(classes)}
    found = [known.get(name, known.get(_OTHER_NAMES.get(name, ""), -1)) for name in names]
    unknown = [name for name, label in zip(names, found, strict=True) if label < 0]
    if unknown:
        raise DataError(
            f"{owner} has classes that the dataset does not have: {_some(unknown)}. "
            f"The dataset's: {_some(classes)}"
        )
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
