"""Tables of the `datasets` library become `LabelledImages`: in memory, or decoded as read if too large."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.errors import DataError
from genbench.images import ArrowImages, LabelledImages, TensorImages, memory_limit_bytes, to_square
from genbench.protocols import RunContext


def read_parquet(files: Sequence[Path], ctx: RunContext) -> Any:
    """Read parquet files as one `datasets.Dataset`; its Arrow copy lies in the step's scratch folder."""
    import datasets

    with _without_bars():
        return datasets.load_dataset(
            "parquet",
            data_files=[str(file) for file in files],
            split="train",
            cache_dir=str(ctx.work / "arrow"),
        )


def labelled(
    table: Any, image_column: str, label_column: str, class_names: Sequence[str], size: int, ctx: RunContext
) -> LabelledImages:
    """Turn a table into images of one size.

    Raises:
        DataError: A column is missing, a label is empty, or an image cannot be decoded; the row is named.
    """
    for column in (image_column, label_column):
        if column not in table.column_names:
            raise DataError(f"the table has no column {column!r}. Found: {', '.join(table.column_names)}")
    raw = table[label_column]
    missing = [row for row, label in enumerate(raw) if label is None or label < 0]
    if missing:
        raise DataError(f"{len(missing)} rows have no label, the first is row {missing[0]}")
    labels = np.asarray(raw, dtype=np.int64)
    if len(table) * 3 * size * size > memory_limit_bytes():
        return ArrowImages(table, image_column, labels, class_names, size)
    pixels = np.empty((len(table), 3, size, size), dtype=np.uint8)
    for row, image in enumerate(_decoded(table, image_column)):
        pixels[row] = to_square(image, size)
        ctx.progress(row + 1, len(table))
    return TensorImages(torch.from_numpy(pixels), labels, class_names)


def first_column(columns: Mapping[str, Any], *names: str) -> str:
    """Return the first of `names` that is a column: public sets call theirs `img` or `image`."""
    for name in names:
        if name in columns:
            return name
    raise DataError(f"the table has none of the columns {', '.join(names)}. Found: {', '.join(columns)}")


def _decoded(table: Any, column: str) -> Iterator[Any]:
    decoded = 0
    try:
        for example in table.select_columns([column]):
            with example[column] as image:  # PIL keeps the file of an animated image open
                yield image
            decoded += 1
    except OSError as problem:
        raise DataError(f"the image in row {decoded} cannot be decoded: {problem}") from problem


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the `datasets` library's progress bars while it reads: ours is shown."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    disable_progress_bar()
    try:
        yield
    finally:
        enable_progress_bar()
