"""Rows of parquet files, read where they are asked for: classes first, then the images of some rows.

ImageNet fills 150 GB, ten classes of it 1.5. The column of classes is read alone, rows are chosen, and only
these are copied, encoded as they are, into an Arrow file in the step's scratch folder. A row group is in
memory at a time: 100 images, as sets on the Hub are written.
"""

import copy
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from genbench.errors import DataError

_IMAGES = 16  # in memory at a time: those of ImageNet have 0.1 MB, of ObjectNet 3 MB
_VALUES = 1 << 16  # in memory at a time, of a column that fits in it


class ParquetRows:
    """Parquet files as one table, with those methods of a `datasets.Dataset` that choosing rows takes.

    Args:
        files: The files; their rows follow one another in this order.
        folder: Where `select` puts the rows that it copies.

    Attributes:
        features: The `datasets.Features` of the columns, as the first file describes them.

    Raises:
        DataError: A file is not parquet, or lacks a column that the first has; it is named.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        import datasets

        self._files, self._folder, self._length = files, folder, 0
        self.features: Any = datasets.Features.from_arrow_schema(_open(files[0]).schema_arrow)
        for file in files:
            parquet = _open(file)
            missing = set(self.features) - set(parquet.schema_arrow.names)
            if missing:
                raise DataError(f"{file} lacks columns of {files[0].name}: {', '.join(sorted(missing))}")
            self._length += int(parquet.metadata.num_rows)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.features)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, column: str) -> list[Any]:
        """Return a column's values, which must fit in memory; no other column is read."""
        tables = self.select_columns([column])._read(np.arange(len(self)), _VALUES)
        return [value for table in tables for value in table[column].to_pylist()]

    def select_columns(self, columns: Sequence[str]) -> "ParquetRows":
        """Return the same rows with these columns alone."""
        same = copy.copy(self)
        same.features = type(self.features)({name: self.features[name] for name in columns})
        return same

    def select(self, rows: npt.NDArray[np.int64]) -> Any:
        """Copy rows, ascending (`int64 [n]`), into an Arrow file: a `datasets.Dataset`."""
        return write_arrow(self._read(rows, _IMAGES), self.features, self._folder)

    def _read(self, rows: npt.NDArray[np.int64], batch: int) -> Iterator[Any]:
        """Yield the rows asked for, in order, as tables; row groups without any are not read."""
        start = 0
        for file in self._files:
            parquet = _open(file)
            for group in range(parquet.num_row_groups):
                stop = start + parquet.metadata.row_group(group).num_rows
                if len(_between(rows, start, stop)):
                    for part in parquet.iter_batches(batch, [group], self.column_names):
                        chosen = _between(rows, start, start + len(part))
                        if len(chosen):
                            yield self._cast(pa.Table.from_batches([part]).take(chosen), file)
                        start += len(part)
                start = stop

    def _cast(self, table: Any, file: Path) -> Any:
        """Bring a table to the types of the first file."""
        from datasets.table import table_cast

        try:
            return table_cast(table, self.features.arrow_schema)
        except (pa.ArrowException, ValueError, TypeError) as problem:
            raise DataError(
                f"{file} has columns of other types than {self._files[0]}: {problem}"
            ) from problem


def write_arrow(tables: Iterable[Any], features: Any, folder: Path) -> Any:
    """Write tables of the schema of `features` into a new file: a `datasets.Dataset` mapped from it."""
    import datasets

    folder.mkdir(parents=True, exist_ok=True)
    schema = features.arrow_schema
    with (
        tempfile.NamedTemporaryFile(dir=folder, suffix=".arrow", delete=False) as file,
        pa.ipc.new_stream(file, schema) as stream,
    ):
        for table in tables:
            stream.write_table(table)
    return datasets.Dataset.from_file(file.name)


def _open(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as problem:
        raise DataError(f"{file} cannot be read as parquet: {problem}") from problem


def _between(rows: npt.NDArray[np.int64], start: int, stop: int) -> npt.NDArray[np.int64]:
    """Return those of the ascending rows that lie in [start, stop), counted from start."""
    first, last = np.searchsorted(rows, [start, stop])
    return rows[first:last] - start
