"""`LabelledImages`, the currency between steps, and where its pixels may live.

Pixels are `uint8 [n, 3, H, W]`, 0-255, RGB; labels are `int64 [N]`. A set lives in a tensor, in
memory-mapped `.npy` shards, or in an Arrow table that is decoded as it is read: whoever reads it cannot tell
the difference.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genbench import seeding
from genbench.errors import DataError, listed_problems
from genbench.files import said
from genbench.framing import USUAL, Framing, read_square, to_square

# How one image is read is told where it is done; plugins take the names from here.
__all__ = [
    "ArrowImages", "Framing", "ImageStatistics", "JoinedImages", "LabelledImages", "Labels", "RealImages",
    "ShardImages", "Subset", "TensorImages", "fingerprints", "limited_rows", "memory_limit_bytes",
    "open_images", "read_square", "statistics", "stratified_choice", "stratified_counts", "to_square",
    "write_images",
]  # fmt: skip

Labels = npt.NDArray[np.int64]
RESIDENT_SHARE = 0.25  #: sets that fill less of the memory than this are held in it
_SHARD_IMAGES = 10_000


class LabelledImages(ABC):
    """A set of images of one size, with one label each.

    Attributes:
        labels: `int64 [N]`, each in `range(len(class_names))`.
        class_names: One name per class, in label order.
    """

    labels: Labels
    class_names: tuple[str, ...]

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width: (3, H, W)."""

    @abstractmethod
    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`, in that order: `uint8 [n, 3, H, W]` on the CPU."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """How many classes the set is labelled with (some may have no image)."""
        return len(self.class_names)

    def class_counts(self) -> Labels:
        """Images per class: `int64 [num_classes]`."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    def all(self) -> torch.Tensor:
        """Return every image: `uint8 [N, 3, H, W]`. For sets that fit in memory only."""
        return self.batch(np.arange(len(self)))

    def write(self, folder: Path) -> None:
        """Write the set into an empty folder, for `open_images`; a shard in memory at a time."""
        write_images(folder, self.batches(_SHARD_IMAGES), self.labels, self.class_names)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Yield the images in order, `size` at a time: `uint8 [<= size, 3, H, W]`."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))


class TensorImages(LabelledImages):
    """Images in memory.

    Raises:
        DataError: Pixels are not `uint8 [N, 3, H, W]`, or labels do not fit them.
    """

    def __init__(self, pixels: torch.Tensor, labels: Labels, class_names: Sequence[str]) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise DataError(f"images must be uint8 [N, 3, H, W], found {pixels.dtype} {list(pixels.shape)}")
        self._pixels = pixels
        self.labels = _checked_labels(labels, len(pixels), class_names)
        self.class_names = tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self._pixels.shape
        return channels, height, width

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        return self._pixels[torch.as_tensor(indices, dtype=torch.int64)]

    def all(self) -> torch.Tensor:
        """Return every image without a copy."""
        return self._pixels


class ShardImages(LabelledImages):
    """Images in a folder that `write_images` wrote: memory-mapped, read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        card = json.loads((folder / "images.json").read_text())
        self.labels = np.load(folder / "labels.npy")
        self.class_names = tuple(card["class_names"])
        self._shape = (3, int(card["height"]), int(card["width"]))
        names = [str(name) for name in card["shards"]]
        odd = [name for name in names if name != Path(name).name or (folder / name).is_symlink()]
        if odd:  # a step that a plugin takes part in could point anywhere
            raise DataError(f"{folder.name}: a set of images is made of files of its own, found {odd[0]!r}")
        self._shards = [np.load(folder / name, mmap_mode="r") for name in names]
        self._starts = np.cumsum([0, *[len(shard) for shard in self._shards]])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self._shape

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        wanted = np.asarray(indices, dtype=np.int64)
        pixels = np.empty((len(wanted), *self._shape), dtype=np.uint8)
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            pixels[here] = self._shards[shard][wanted[here] - self._starts[shard]]
        return torch.from_numpy(pixels)


class ArrowImages(LabelledImages):
    """Encoded images in a `datasets` table, decoded and resized batch by batch: for sets larger than memory.

    Args:
        table: A `datasets.Dataset`.
        image_column: The column of images (any mode and size).
        labels: `int64 [N]`.
        class_names: One name per class.
        size: Height and width in pixels that every image is brought to (see `to_square`).
        framing: How: what happens where it is not square, and to transparent pixels.
        own_files: Whether rows may hold the path of a file instead of its content: only where the caller
            listed these files itself. A path in a table that came from elsewhere is never opened.

    Raises:
        DataError: The column is not one of images, or a row holds no image.
    """

    def __init__(
        self,
        table: Any,
        image_column: str,
        labels: Labels,
        class_names: Sequence[str],
        size: int,
        *,
        framing: Framing = USUAL,
        own_files: bool = False,
    ) -> None:
        self.table = table.select_columns([image_column])
        self._column = image_column
        self._size = size
        self._framing = framing
        self._own_files = own_files
        self._mode = _checked_column(self.table, image_column, own_files=own_files)
        self._encoded = self.table.with_format("arrow")  # `datasets` would decode whatever Pillow can
        self.labels = _checked_labels(labels, len(table), class_names)
        self.class_names = tuple(class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self._size, self._size

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Decode the images at `indices`, one at a time: `uint8 [n, 3, H, W]`.

        Raises:
            DataError: Some cannot be decoded; all are named, by file where that is known, else by row.
        """
        pixels, problems = self.decode(indices)
        if problems:
            raise listed_problems("images that cannot be used", list(problems.values()))
        return pixels

    def decode(
        self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, str]]:
        """Decode images one at a time, and go on after a broken one.

        Returns:
            `uint8 [n, 3, H, W]`, black where one is broken; and what is wrong, by place in `indices`.
        """
        rows = np.asarray(indices, dtype=np.int64)
        pixels = np.zeros((len(rows), *self.image_shape), dtype=np.uint8)
        problems = dict[int, str]()
        if len(rows):
            cells = self._encoded[rows].column(self._column).to_pylist()
            for place, (row, cell) in enumerate(zip(rows.tolist(), cells, strict=True)):
                try:
                    pixels[place] = self._square(cell, row)
                except DataError as problem:
                    problems[place] = problem.message
        return torch.from_numpy(pixels), problems

    def _square(self, cell: Mapping[str, Any], row: int) -> npt.NDArray[np.uint8]:
        path, content = cell.get("path") or "", cell["bytes"]
        if self._own_files and content is None:
            source, name = Path(path), path
        else:
            source, name = content, f"the image in row {row}" + (f" ({Path(path).name})" if path else "")
        return read_square(
            source, self._size, name, as_photograph=True, mode=self._mode, framing=self._framing
        )

    def only(self, rows: npt.NDArray[np.int64]) -> "ArrowImages":
        """Return some rows, encoded as they are."""
        return ArrowImages(
            self.table.select(rows),
            self._column,
            self.labels[rows],
            self.class_names,
            self._size,
            framing=self._framing,
            own_files=self._own_files,
        )

    def write(self, folder: Path) -> None:
        """Write the encoded images, not the pixels."""
        self.write_rows(folder, np.arange(len(self)))

    def write_rows(self, folder: Path, rows: npt.NDArray[np.int64]) -> None:
        """Write some rows, encoded as they are."""
        self.table.select(rows).save_to_disk(str(folder / "arrow"))
        np.save(folder / "labels.npy", self.labels[rows])
        card = {"class_names": list(self.class_names), "column": self._column, "size": self._size}
        card |= self._framing.as_options()  # the usual one is not written: files are as they were before it
        (folder / "arrow.json").write_text(json.dumps(card, indent=1))


class Subset(LabelledImages):
    """Some images of another set, in the order of `indices`."""

    def __init__(self, images: LabelledImages, indices: npt.NDArray[np.int64]) -> None:
        self._images = images
        self._indices = np.asarray(indices, dtype=np.int64)
        self.labels = images.labels[self._indices]
        self.class_names = images.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self._images.image_shape

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices` of this subset: `uint8 [n, 3, H, W]`."""
        return self._images.batch(self._indices[np.asarray(indices, dtype=np.int64)])

    def write(self, folder: Path) -> None:
        """Write the set: encoded where it is encoded, else as pixels."""
        if isinstance(self._images, ArrowImages):
            self._images.write_rows(folder, self._indices)
        else:
            super().write(folder)


class JoinedImages(LabelledImages):
    """The images of several sets of the same classes and size, one set after another."""

    def __init__(self, parts: Sequence[LabelledImages]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *[len(part) for part in parts]])
        self.labels = np.concatenate([part.labels for part in parts])
        self.class_names = parts[0].class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self._parts[0].image_shape

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at `indices`: `uint8 [n, 3, H, W]`."""
        wanted = np.asarray(indices, dtype=np.int64)
        pixels = torch.empty(len(wanted), *self.image_shape, dtype=torch.uint8)
        part_of = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(part_of):
            here = np.flatnonzero(part_of == number)
            pixels[here] = self._parts[number].batch(wanted[here] - self._starts[number])
        return pixels


@dataclass(frozen=True)
class RealImages:
    """What a dataset plugin hands over: everything that is real, before the harness splits it.

    Attributes:
        train: All training images; the harness takes the reserve out of them, and `val` where there is none.
        test: The test split.
        shifts: Named out-of-distribution test sets with the same classes.
        val: The owner's val split, taken as it is; None has the harness draw one from `train`.
        left_out: Files that the owner's options had left out because they cannot be used, each with the
            reason: the record counts them.
    """

    train: LabelledImages
    test: LabelledImages
    shifts: dict[str, LabelledImages] = field(default_factory=dict)
    val: LabelledImages | None = None
    left_out: tuple[str, ...] = ()


class ImageStatistics(NamedTuple):
    """Mean and standard deviation per channel, in units of 0-1: what the engine normalises with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(images: LabelledImages) -> ImageStatistics:
    """Compute mean and standard deviation per channel over all pixels, in float64."""
    total = torch.zeros(3, dtype=torch.float64)
    squares = torch.zeros(3, dtype=torch.float64)
    for batch in images.batches(2048):
        pixels = batch.double() / 255
        total += pixels.sum(dim=(0, 2, 3))
        squares += pixels.square().sum(dim=(0, 2, 3))
    count = len(images) * images.image_shape[1] * images.image_shape[2]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)  # one-colour sets
    return ImageStatistics(tuple(mean.tolist()), tuple(std.tolist()))


def write_images(folder: Path, batches: Iterable[torch.Tensor], labels: Labels, names: Sequence[str]) -> None:
    """Write a set as `.npy` shards with `labels.npy` and `images.json`, a shard in memory at a time.

    Args:
        folder: An existing folder.
        batches: `uint8 [n, 3, H, W]` in the order of `labels`.
        labels: `int64 [N]`.
        names: One name per class.
    """
    shards: list[str] = []
    waiting: list[torch.Tensor] = []
    height, width = 0, 0

    def flush() -> None:
        if waiting:
            name = f"images-{len(shards):05d}.npy"
            np.save(folder / name, torch.cat(waiting).contiguous().numpy())
            shards.append(name)
            waiting.clear()

    written = 0
    for batch in batches:
        waiting.append(batch)
        written += len(batch)
        height, width = int(batch.shape[2]), int(batch.shape[3])
        if sum(map(len, waiting)) >= _SHARD_IMAGES:
            flush()
    flush()
    np.save(folder / "labels.npy", _checked_labels(labels, written, names))
    card = {"class_names": list(names), "height": height, "width": width, "shards": shards}
    (folder / "images.json").write_text(json.dumps(card, indent=1))


def open_images(folder: Path) -> LabelledImages:
    """Open a set that `LabelledImages.write` wrote; pixels are read as they are asked for."""
    if not (folder / "arrow.json").is_file():
        return ShardImages(folder)
    import datasets

    card = json.loads((folder / "arrow.json").read_text())
    table = datasets.load_from_disk(str(folder / "arrow"))
    framing = Framing(**{name: card[name] for name in ("fit", "background") if name in card})
    return ArrowImages(
        table,
        card["column"],
        np.load(folder / "labels.npy"),
        card["class_names"],
        card["size"],
        framing=framing,
    )


def fingerprints(batch: torch.Tensor) -> npt.NDArray[np.uint64]:
    """Return a number for each image, equal for equal pixels: `uint8 [n, 3, H, W]` to `uint64 [n]`.

    The first 8 bytes of its SHA-256: of a million and 100,000 images, two others share one with p = 5e-9.
    """
    content = batch.contiguous().numpy()
    digests = b"".join(hashlib.sha256(image.data).digest()[:8] for image in content)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def memory_limit_bytes() -> int:
    """Return how large a set may be to be held in memory: a quarter of it, or `GENBENCH_RESIDENT_MIB`."""
    named = os.environ.get("GENBENCH_RESIDENT_MIB")
    if named:
        return int(named) << 20
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * RESIDENT_SHARE)


def stratified_counts(class_counts: Labels, total: int) -> Labels:
    """Distribute `total` images over classes in proportion to `class_counts`, by largest remainder.

    >>> stratified_counts(np.array([10, 20, 30]), 7).tolist()
    [1, 2, 4]
    """
    exact = class_counts * (total / class_counts.sum())
    counts: Labels = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: total - counts.sum()]] += 1
    return counts


def evenly_spaced(count: int, most: int) -> Labels:
    """Return at most `most` of the numbers below `count`, from the first to the last: sorted, `int64 [n]`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def limited_rows(labels: Labels, num_classes: int, most: int | None, split_seed: int) -> Labels:
    """Draw the rows that `limit_test` leaves of a test split or shift: sorted, `int64`.

    They depend on labels and seed alone: of sets that show the same images in the same order, as computed
    corruptions of test do, the same images are left.
    """
    if most is None or most >= len(labels):
        return np.arange(len(labels))
    counts = stratified_counts(np.bincount(labels, minlength=num_classes), most)
    return stratified_choice(labels, counts, "split", "limit_test", split_seed)[0]


def stratified_choice(labels: Labels, counts: Labels, *seed: str | int) -> tuple[Labels, Labels]:
    """Draw `counts[c]` images of each class: (rows drawn, rows left), each sorted: `int64`."""
    drawn = []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)
        order = torch.randperm(len(rows), generator=seeding.generator(*seed, label)).numpy()
        drawn.append(rows[order[:count]])
    chosen = np.sort(np.concatenate(drawn)).astype(np.int64)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def _checked_column(table: Any, column: str, *, own_files: bool) -> str | None:
    """Return the mode that a column's images are to be converted to.

    Raises:
        DataError: It is not a column of images, or a row holds none: nothing, or somebody's path.
    """
    feature = table.features[column]
    if type(feature).__name__ != "Image":
        raise DataError(f"column {column!r} holds no images: it is {said(feature)}")
    mode: str | None = feature.mode
    cells = table.data.column(column)
    content = cells.flatten()[cells.type.get_field_index("bytes")]
    if content.null_count and not own_files:
        first = content.is_null().index(True).as_py()
        path = cells[first].as_py() or {}
        found = f"the path {path['path']!r} and no content" if path.get("path") else "nothing"
        raise DataError(
            f"column {column!r} holds no image in row {first}, but {found} ({content.null_count} such rows)",
            hint="a path in a table is not opened: put the files' content into the column `bytes`",
        )
    return mode


def _checked_labels(labels: Labels, count: int, class_names: Sequence[str]) -> Labels:
    labels = np.asarray(labels, dtype=np.int64)
    if len(labels) != count:
        raise DataError(f"{count} images but {len(labels)} labels")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise DataError(
            f"labels must lie in 0..{len(class_names) - 1} ({len(class_names)} classes), "
            f"found {labels.min()}..{labels.max()}"
        )
    return labels
