"""A table of labels beside a folder of images: `filename,label`, perhaps with a split.

Nothing that the table names is opened unless it is one of the files that the folder was found to hold.
"""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.errors import DataError, did_you_mean
from genbench.files import read_regular, shown
from genbench.image_files import SUFFIXES
from genbench_datasets.configs._layout import SPLIT_NAMES, SPLITS, Found, Labelled, Split

#: What columns are called where the options do not say, the best first.
FILE_COLUMNS = ("filename", "file_name", "file", "image", "path", "image_path", "image_id", "id")
LABEL_COLUMNS = ("label", "class", "class_name", "category", "target")
SPLIT_COLUMNS = ("split", "set", "subset")
_MOST_BYTES = 512 << 20


@dataclass(frozen=True)
class Columns:
    """Names of columns; empty ones are found by their usual names."""

    file: str = ""
    label: str = ""
    split: str = ""


@dataclass(frozen=True)
class _Row:
    number: int
    file: str
    label: str
    split: str | None  #: None where the table has no such column


def by_table(root: Path, files: Sequence[Path], table: Path, columns: Columns) -> Found:
    """Find classes and splits of a folder's images in a table.

    What is wrong with its rows stands among the `problems` of what is returned: missing files, files without
    a row, files with several, and rows without a label or of an unknown split.

    Raises:
        DataError: The table cannot be read, or lacks a column.
    """
    rows = _rows(table, columns)
    known = _by_name(root, files)
    named = [(row, known.get(_same(row.file.removeprefix("./").replace("\\", "/")))) for row in rows]
    rows_of: dict[Path, list[str]] = {}
    for row, path in named:
        if path is not None:
            rows_of.setdefault(path, []).append(str(row.number))
    problems = [problem for row, path in named for problem in _problems(row, path, root)]
    for path, numbers in rows_of.items():
        if len(numbers) > 1:
            problems.append(f"{shown(path)} is in several lines: {', '.join(numbers)}")
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    problems += [f"{shown(path)} has no line" for path in images if path not in rows_of]
    return _found(table.name, [(row, path) for row, path in named if path and row.label], problems)


def _problems(row: _Row, path: Path | None, root: Path) -> Iterator[str]:
    """Yield what is wrong with a row."""
    name = f"line {row.number}: {shown(row.file)!r}"
    if path is None:
        yield f"{name} is no file of {shown(root)}"
    if not row.label:
        yield f"{name} has no label"
    if row.split is not None and row.split.lower() not in SPLIT_NAMES:
        yield f"{name} has the split {row.split!r}; allowed: {', '.join(SPLIT_NAMES)}"


def _found(table: str, named: Sequence[tuple[_Row, Path]], problems: list[str]) -> Found:
    has_splits = any(row.split is not None for row, _ in named)
    of_split: dict[Split, list[tuple[str, Path]]] = {"train": []}
    for row, path in named:
        split = SPLIT_NAMES.get((row.split or "train").lower())
        if split is not None:
            of_split.setdefault(split, []).append((row.label, path))
    names = tuple(sorted({label for label, _ in of_split["train"]}))
    if len(names) < 2:
        problems.append(
            f"{table} needs at least two classes, found {len(names)}: {', '.join(names) or 'none'}"
        )
    for split, rows in of_split.items():
        classes = {label for label, _ in rows}
        if lacking := sorted(set(names) - classes):
            problems.append(f"the split {split} lacks classes of train: {', '.join(lacking[:20])}")
        if more := sorted(classes - set(names)):
            problems.append(f"the split {split} has classes that train lacks: {', '.join(more[:20])}")
    places = {name: label for label, name in enumerate(names)}
    splits: dict[Split, Sequence[Labelled]] = {}
    for split in SPLITS:
        own = [Labelled(path, places[label]) for label, path in of_split.get(split, ()) if label in places]
        if split in of_split:
            splits[split] = sorted(own, key=_in_order)
    layout = f"labels and splits of {table}" if has_splits else f"labels of {table}"
    return Found(layout, names, splits, problems=tuple(problems))


def _in_order(file: Labelled) -> tuple[int, Path]:
    """Order files as class folders have them: the order of rows changes nothing."""
    return file.label, file.path


def _rows(table: Path, columns: Columns) -> list[_Row]:
    """Read a table with a header; values may be parted by commas, semicolons or tabs.

    Raises:
        DataError: It is not UTF-8, has no such columns, or a row is longer or shorter than its header.
    """
    try:
        text = read_regular(table, _MOST_BYTES).decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(reader, [])]
        body = [(reader.line_num, [value.strip() for value in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(
            f"{shown(table)} cannot be read as a table: {problem}", hint="save it as CSV, UTF-8"
        ) from None
    file = _column(header, columns.file, FILE_COLUMNS, "file_column", table)
    label = _column(header, columns.label, LABEL_COLUMNS, "label_column", table)
    wants_split = columns.split or any(name.lower() in SPLIT_COLUMNS for name in header)
    split = _column(header, columns.split, SPLIT_COLUMNS, "split_column", table) if wants_split else None
    odd = [number for number, row in body if len(row) != len(header)]
    if odd:
        raise DataError(
            f"{shown(table)}: {len(odd)} lines do not have the {len(header)} values of its first one: line "
            f"{', '.join(map(str, odd[:20]))}",
            hint='a value that holds a comma stands in quotes: "a,b.jpg",cat',
        )
    return [
        _Row(
            number, row[file], unicodedata.normalize("NFC", row[label]), None if split is None else row[split]
        )
        for number, row in body
    ]


def _column(header: Sequence[str], named: str, usual: Sequence[str], option: str, table: Path) -> int:
    """Return the place of a column that the options name, or of the first with a usual name."""
    if named:
        if named not in header:
            raise DataError(f"{shown(table)} has no column {named!r}. {did_you_mean(named, header)}")
        return header.index(named)
    small = [name.lower() for name in header]
    for name in usual:
        if name in small:
            return small.index(name)
    there = shown(", ".join(header)) or "none"
    raise DataError(
        f"{shown(table)} has no column called {', '.join(usual[:3])} or the like. Found: {there}",
        hint=f"its first line names the columns; say which one it is: {option}=NAME",
    )


def _by_name(root: Path, files: Sequence[Path]) -> Mapping[str, Path]:
    """Return files by what a row may call them: the path in the folder, or that without its extension.

    Two files that differ in nothing but the extension must be called by their whole names.
    """
    found: dict[str, Path] = {}
    short = Counter[str]()
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            name = _same(path.relative_to(root).with_suffix("").as_posix())
            short[name] += 1
            found[name] = path
    found = {name: path for name, path in found.items() if short[name] == 1}
    return found | {_same(path.relative_to(root).as_posix()): path for path in files}


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name)
