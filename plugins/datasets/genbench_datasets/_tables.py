"""Tables of the `datasets` library become `LabelledImages`: in memory, or decoded as read if too large."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.files import said
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


def labelled(
    table: Any, image_column: str, label_column: str, class_names: Sequence[str], size: int, ctx: RunContext
) -> LabelledImages:
    """Turn a table into images of one size.

    Raises:
        DataError: A column is missing, a label is empty, or an image cannot be decoded; the row is named.
    """
    labels = np.asarray(label_values(table, label_column, "the table"), dtype=np.int64)
    return with_labels(table, image_column, labels, class_names, size, ctx)


def with_labels(
    table: Any,
    image_column: str,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    size: int,
    ctx: RunContext,
) -> LabelledImages:
    """Turn a table's images, with labels `int64 [N]` that were read from it, into images of one size.

    Raises:
        DataError: The column is missing, or an image cannot be decoded; the row is named.
    """
    check_column(table, image_column, "the table")
    return held_if_small(ArrowImages(table, image_column, labels, class_names, size), ctx)


def held_if_small(encoded: ArrowImages, ctx: RunContext) -> LabelledImages:
    """Decode a set into memory where it fits; else return it as it is, decoded as it is read.

    Raises:
        DataError: An image cannot be decoded; the row is named.
    """
    shape = (len(encoded), *encoded.image_shape)
    if math.prod(shape) > memory_limit_bytes():
        return encoded
    pixels = torch.empty(shape, dtype=torch.uint8)
    done = 0
    for batch in encoded.batches(_ROWS):
        pixels[done : done + len(batch)] = batch
        done += len(batch)
        ctx.progress(done, len(encoded))
    return TensorImages(pixels, encoded.labels, encoded.class_names)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the `datasets` library's progress bars while it reads: ours is shown."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    disable_progress_bar()
    try:
        yield
    finally:
        enable_progress_bar()
