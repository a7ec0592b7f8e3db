"""Rows of parquet files, read where they are asked for: classes first, then the images of some rows.

ImageNet fills 150 GB, ten classes of it 1.5. The column of classes is read alone, rows are chosen, and only
these are copied, encoded as they are, into an Arrow file in the step's scratch folder. A row group is in
memory at a time: 100 images, as sets on the Hub are written.
"""

import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from genbench.errors import DataError
from genbench.files import said

_IMAGES = 16  # in memory at a time: those of ImageNet have 0.1 MB, of ObjectNet 3 MB
_ROWS_IN_ANY = 1_000_000  # rows that a file of any size may have, and one more for each of its bytes
_BYTES_IN_ANY = 256 << 20  # bytes that a row group's column may fill uncompressed, however small it is
_MOST_GROWTH = 20  # how many times its size may be that: images hardly compress
_UNLABELLED = (-1, "")  # how sets on the Hub write that a label is hidden
_CLASS_TYPES = frozenset(
    {"string", "large_string", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
)
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
        self._files, self._folder, self._length = files, folder, 0
        self.features: Any = _features(files[0])
        for file in files:
            parquet = open_parquet(file)
            missing = set(self.features) - set(parquet.schema_arrow.names)
            if missing:
                raise DataError(
                    f"{file} lacks columns of {files[0].name}: {said(', '.join(sorted(missing)))}"
                )
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
            parquet = open_parquet(file)
            for group in range(parquet.num_row_groups):
                stop = start + parquet.metadata.row_group(group).num_rows
                if len(_between(rows, start, stop)):
                    for part in _batches(parquet, file, batch, group, self.column_names):
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
                f"{file} has columns of other types than {self._files[0]}: {said(problem)}"
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


def open_parquet(file: Path) -> Any:
    """Open a parquet file, and compare what it says of itself with its size; pages may still say otherwise.

    Raises:
        DataError: It is not parquet, or claims more rows or bytes than a file of its size holds.
    """
    try:
        parquet = pq.ParquetFile(file)
        facts = parquet.metadata
        groups = [facts.row_group(index) for index in range(facts.num_row_groups)]
        columns = range(facts.num_columns)
        sizes = [
            (group.column(index).total_uncompressed_size, group.column(index).total_compressed_size)
            for group in groups
            for index in columns
        ]
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(f"{file} cannot be read as parquet: {said(problem)}") from problem
    most_rows = _ROWS_IN_ANY + file.stat().st_size
    if not 0 <= facts.num_rows <= most_rows or facts.num_rows != sum(group.num_rows for group in groups):
        raise DataError(f"{file} claims {facts.num_rows:,} rows; {most_rows:,} are allowed for its size")
    for full, packed in sizes:
        allowed = max(_BYTES_IN_ANY, _MOST_GROWTH * packed)
        if not 0 <= full <= allowed:
            raise DataError(f"{file} claims a column of {full:,} bytes; {allowed:,} are allowed for its size")
    return parquet


def named_labels(table: Any, column: str, owner: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the names of a column's classes, and the class of each row: `int64 [N]`.

    A column of words or whole numbers has the classes that occur in it, in their order.

    Raises:
        DataError: The column is missing or is of another type, or a row has no label; `owner` is named.
    """
    raw, feature = label_values(table, column, owner), table.features[column]
    if type(feature).__name__ == "ClassLabel":
        return list(feature.names), np.asarray(raw, dtype=np.int64)
    if getattr(feature, "dtype", "") not in _CLASS_TYPES:
        raise DataError(
            f"{owner}: classes must be a ClassLabel, words or whole numbers; {column!r} is {said(feature)}",
            hint="set label_column=COLUMN",
        )
    values, labels = np.unique(np.asarray(raw), return_inverse=True)
    return [str(value) for value in values], labels.astype(np.int64)


def first_column(columns: Mapping[str, Any], *names: str) -> str:
    """Return the first of `names` that is a column: public sets call theirs `img` or `image`."""
    for name in names:
        if name in columns:
            return name
    raise DataError(
        f"the table has none of the columns {', '.join(names)}. Found: {said(', '.join(columns))}"
    )


def label_values(table: Any, column: str, owner: str) -> list[Any]:
    """Return the values of a column of classes.

    Raises:
        DataError: It is missing, or a row has no label; `owner` is named.
    """
    check_column(table, column, owner)
    raw = list(table[column])
    missing = [row for row, label in enumerate(raw) if label is None or label in _UNLABELLED]
    if missing:
        raise DataError(
            f"{owner}: {len(missing)} of {len(raw)} rows have no label, the first is row {missing[0]}",
            hint="hidden labels of a competition cannot be scored: choose another split",
        )
    return raw


def check_column(table: Any, column: str, owner: str) -> None:
    """Raise a DataError that names `owner`, the column and those there are, where the column is missing."""
    if column not in table.column_names:
        raise DataError(f"{owner} has no column {column!r}. Found: {said(', '.join(table.column_names))}")


def _features(file: Path) -> Any:
    import datasets

    try:
        return datasets.Features.from_arrow_schema(open_parquet(file).schema_arrow)
    except DataError:
        raise
    except Exception as problem:  # the schema holds JSON of any shape
        raise DataError(
            f"{file}: its columns cannot be read: {said(problem)} ({type(problem).__name__})"
        ) from problem


def _batches(parquet: Any, file: Path, batch: int, group: int, columns: Sequence[str]) -> Iterator[Any]:
    try:
        yield from parquet.iter_batches(batch, [group], columns)
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(f"{file} cannot be read as parquet: {said(problem)}") from problem


def _between(rows: npt.NDArray[np.int64], start: int, stop: int) -> npt.NDArray[np.int64]:
    """Return those of the ascending rows that lie in [start, stop), counted from start."""
    first, last = np.searchsorted(rows, [start, stop])
    return rows[first:last] - start
