"""Tables of the `datasets` library become `LabelledImages`: in memory, or decoded as read if too large."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError, listed_problems
from genbench.files import said
from genbench.framing import USUAL, Framing
from genbench.images import ArrowImages, LabelledImages, TensorImages, memory_limit_bytes
from genbench.parquet import check_column, label_values, open_parquet
from genbench.protocols import RunContext

_ROWS = 16  # encoded images in memory at a time


def read_parquet(files: Sequence[Path], ctx: RunContext) -> Any:
    """Read parquet files as one `datasets.Dataset`; its Arrow copy is kept in the step's scratch folder.

    Raises:
        DataError: A file is not parquet, claims too much, or does not fit to the others.
    """
    import datasets

    for file in files:
        open_parquet(file)
    try:
        with _without_bars():
            return datasets.load_dataset(
                "parquet",
                data_files=[str(file.absolute()) for file in files],
                split="train",
                cache_dir=str(ctx.work / "arrow"),
            )
    except Exception as problem:  # the library wraps what it finds in errors of its own, or does not
        reason = said(problem.__cause__ or problem)
        raise DataError(f"{files[0].parent}: its parquet files cannot be read: {reason}") from problem


@dataclass
class Reading:
    """How a dataset's images are read, and which of them could not be.

    Attributes:
        size: Height and width in pixels.
        framing: How they become square.
        skip_broken: Whether broken ones are left out.
        left_out: Those that were, each with the reason.
        broken: What is wrong with those that were not.
    """

    size: int
    framing: Framing = USUAL
    skip_broken: bool = False
    left_out: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def refuse_broken(self, owner: str) -> None:
        """End here if images are broken and were not to be left out: after all splits were read.

        Raises:
            DataError: All of them are named.
        """
        if self.broken:
            hint = "mend or remove them, or leave them out and have them counted: skip_broken=true"
            raise listed_problems(f"images of {owner} cannot be used", self.broken, hint=hint)


def labelled(
    table: Any,
    image_column: str,
    label_column: str,
    class_names: Sequence[str],
    reading: Reading,
    ctx: RunContext,
) -> LabelledImages:
    """Turn a table into images of one size.

    Raises:
        DataError: A column is missing, or a label is empty.
    """
    labels = np.asarray(label_values(table, label_column, "the table"), dtype=np.int64)
    return with_labels(table, image_column, labels, class_names, reading, ctx)


def with_labels(
    table: Any,
    image_column: str,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    reading: Reading,
    ctx: RunContext,
) -> LabelledImages:
    """Turn a table's images, with labels `int64 [N]` that were read from it, into images of one size.

    Broken ones are noted in `reading`, which is to be asked when all splits were read.

    Raises:
        DataError: The column is missing.
    """
    check_column(table, image_column, "the table")
    encoded = ArrowImages(table, image_column, labels, class_names, reading.size, framing=reading.framing)
    return held_if_small(encoded, ctx, reading)


def held_if_small(encoded: ArrowImages, ctx: RunContext, reading: Reading) -> LabelledImages:
    """Decode a set into memory where it fits; else return it as it is, decoded as it is read.

    Broken images are noted in `reading`. Of a set that does not fit, they are looked for only where they are
    to be left out: that takes a whole pass.
    """
    shape = (len(encoded), *encoded.image_shape)
    fits = math.prod(shape) <= memory_limit_bytes()
    if not fits and not reading.skip_broken:
        return encoded
    pixels = torch.empty(shape if fits else (0, *shape[1:]), dtype=torch.uint8)
    broken = dict[int, str]()
    for start in range(0, len(encoded), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(encoded)))
        batch, problems = encoded.decode(rows)
        broken |= {start + place: problem for place, problem in problems.items()}
        if fits:
            pixels[start : start + len(rows)] = batch
        ctx.progress(start + len(rows), len(encoded))
    (reading.left_out if reading.skip_broken else reading.broken).extend(broken.values())
    kept = np.setdiff1d(np.arange(len(encoded)), list(broken))
    if not fits:
        return encoded.only(kept) if broken else encoded
    if broken:
        pixels = pixels[torch.from_numpy(kept)]
    return TensorImages(pixels, encoded.labels[kept], encoded.class_names)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the `datasets` library's progress bars while it reads: ours is shown."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    disable_progress_bar()
    try:
        yield
    finally:
        enable_progress_bar()
