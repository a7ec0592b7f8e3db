"""`predictions`: a model that was trained elsewhere, of which only what it said of the images is known.

Read are logits or probabilities, `[N, classes]`, or the predicted classes, `[N]`, as numbers or names, in the
order of the dataset's split; columns of a CSV file are told by the names of their classes. Probabilities
(rows of numbers from 0 to 1 that sum to 1) become their logarithms, which have the same softmax. Classes
alone become rows of a single 1: accuracy can be told from them, and calibration cannot. Files may hold more
than predictions, and what they hold is checked: `labels`, the true classes, which find out another order or
another test set; and `sha256`, the digest of the images.
"""

import csv
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.escaping import one_line
from genbench.files import open_regular, read_regular
from genbench.image_files import numbers_mislead
from genbench.images import LabelledImages
from genbench.protocols import ForeignClassifier
from genbench_classifiers.configs.predictions import PredictionsConfig

_MOST_BYTES = 2**31
_VALUES = ("logits", "probabilities", "predictions", "prediction")  # names of what a model said
_TRUE = ("labels", "label")
_SMALLEST_PROBABILITY = 1e-30


class Said(NamedTuple):
    """What a file holds of one split.

    Attributes:
        values: `[N, C]` numbers, or `[N]` classes.
        labels: True classes `[N]`, or None.
        sha256: Digest of the images, or an empty string.
        columns: What the columns of `values`, texts then, are called; empty where they have no names.
    """

    values: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None = None
    sha256: str = ""
    columns: tuple[str, ...] = ()


class StoredPredictions(ForeignClassifier):
    """Reads predictions from files."""

    config: PredictionsConfig

    def logits(self, splits: Mapping[str, LabelledImages]) -> dict[str, npt.NDArray[np.float32]]:
        """Return logits by split, for the splits that the files have predictions of.

        Raises:
            DataError: A file cannot be read, is about a split that the dataset does not have or that another
                file is about, or about other images.
        """
        found: dict[str, npt.NDArray[np.float32]] = {}
        origin: dict[str, str] = {}
        for name, path in self.config.source_files().items():
            own_split = name.rpartition(".")[0]
            for split, said in read_predictions(path, own_split).items():
                if split in found:
                    raise DataError(
                        f"predictions: {origin[split]} and {path.name} are both about {split!r}",
                        hint="one file per split: move the other out of the folder",
                    )
                origin[split] = path.name
                if split not in splits:
                    raise DataError(
                        f"predictions: {path.name} is about {split!r}, the dataset has {', '.join(splits)}",
                        hint="shifts are options of the dataset: cifar10:shifts=cifar10.1-v6",
                    )
                found[split] = as_logits(said, splits[split], f"predictions: {path.name}, {split}")
        return found


# ----------------------------------------------------------------------------------------------- the files


def read_predictions(path: Path, split: str) -> dict[str, Said]:
    """Read what a file says, by split; `split` is what it is about where it does not say so itself.

    Raises:
        DataError: It cannot be read.
    """
    readers = {".npy": _npy, ".npz": _npz, ".json": _json, ".csv": _csv}
    try:
        return readers[path.suffix.lower()](path, split)
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as problem:
        reason = one_line(str(problem), 200)
        raise DataError(f"predictions: {path.name} cannot be read: {reason}") from problem


def _npy(path: Path, split: str) -> dict[str, Said]:
    with open_regular(path) as file:
        return {split: Said(np.load(file, allow_pickle=False))}


def _npz(path: Path, split: str) -> dict[str, Said]:
    with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
        return _from_table({name: arrays[name] for name in arrays.files}, split)


def _json(path: Path, split: str) -> dict[str, Said]:
    content = json.loads(read_regular(path, _MOST_BYTES))
    return _from_table(content, split) if isinstance(content, dict) else {split: Said(np.asarray(content))}


def _from_table(content: Mapping[str, Any], split: str) -> dict[str, Said]:
    """Read `{"logits": ..., "labels": ...}`, or the same or a plain list under the names of splits."""
    values = next((content[name] for name in _VALUES if name in content), None)
    if values is None:
        found: dict[str, Said] = {}
        for name, inner in content.items():
            own = _from_table(inner, name) if isinstance(inner, dict) else {name: Said(np.asarray(inner))}
            twice = sorted(found.keys() & own.keys())
            if twice:
                raise ValueError(f"it is about {twice[0]!r} twice")
            found |= own
        return found
    labels = next((np.asarray(content[name]) for name in _TRUE if name in content), None)
    return {split: Said(np.asarray(values), labels, str(content.get("sha256", "")))}


def _csv(path: Path, split: str) -> dict[str, Said]:
    """Read rows under a header: `prediction`, or a column per class; perhaps `label`, `split`, `index`."""
    rows = list(csv.DictReader(read_regular(path, _MOST_BYTES).decode("utf-8-sig").splitlines()))
    if not rows:
        raise ValueError("it has a header and no rows, or neither")
    if any(None in row for row in rows):  # where DictReader puts what no column is there for
        raise ValueError("a row has more values than the header has names")
    by_split: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_split.setdefault(row.get("split") or split, []).append(row)
    columns = [name for name in rows[0] if name not in {"split", "index", *_TRUE}]
    single = [name for name in columns if name in _VALUES]
    true = next((name for name in _TRUE if name in rows[0]), None)
    found = {}
    for name, own in by_split.items():
        if single:
            values = np.array([row[single[0]] for row in own])
        else:
            values = np.array([[row[column] or "" for column in columns] for row in own])
        labels = np.array([row[true] for row in own]) if true else None
        found[name] = Said(values, labels, columns=() if single else tuple(columns))
    return found


# ------------------------------------------------------------------------------------------------ the checks


def as_logits(said: Said, images: LabelledImages, where: str) -> npt.NDArray[np.float32]:
    """Return logits `float32 [N, classes]` after all checks that the file allows.

    Args:
        said: What the file holds.
        images: The split that it is about.
        where: Begins every message.

    Raises:
        DataError: It is about other images or other classes.
    """
    values, classes = said.values, images.num_classes
    if len(values) != len(images):
        raise DataError(f"{where}: {len(values):,} predictions for {len(images):,} images")
    if said.labels is not None:
        _check_order(_as_classes(said.labels, images, f"{where}, labels"), images, where)
    if said.columns:
        values = _by_name(values, said.columns, images.class_names, where)
    if said.sha256 and said.sha256.lower() != (own := images_digest(images)):
        raise DataError(f"{where}: sha256 is {said.sha256[:16]}..., that of the images is {own[:16]}...")
    if values.ndim == 1:
        return np.eye(classes, dtype=np.float32)[_as_classes(values, images, where)]
    if values.ndim != 2 or values.shape[1] != classes or values.dtype.kind not in "fiu":
        columns = ", ".join(images.class_names[:10])
        raise DataError(
            f"{where}: found {values.dtype} {list(values.shape)}, expected numbers "
            f"[{len(images)}, {classes}] (a column per class: {columns}) or classes [{len(images)}]"
        )
    numbers = values.astype(np.float64)
    unusable = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(unusable):
        raise DataError(
            f"{where}: the file holds NaN or infinity in {len(unusable):,} of {len(numbers):,} rows, "
            f"first in row {unusable[0]}"
        )
    sums_to_one = np.allclose(numbers.sum(axis=1), 1, atol=1e-3) and float(numbers.min()) >= 0
    if sums_to_one and not np.isin(numbers, (0.0, 1.0)).all():
        numbers = np.log(np.maximum(numbers, _SMALLEST_PROBABILITY))
    return numbers.astype(np.float32)


def _by_name(
    values: npt.NDArray[Any], columns: tuple[str, ...], classes: Sequence[str], where: str
) -> npt.NDArray[np.float64]:
    """Return columns in the order of the dataset's classes, as numbers: `float64 [N, classes]`.

    They are called as the classes are, or, where no class is called by a number, 0 to C - 1: its place.

    Raises:
        DataError: A column is no class, or a class has none or two; or a value is no number.
    """
    wanted, found = list(classes), [column.strip() for column in columns]
    places = [str(place) for place in range(len(wanted))]
    if not numbers_mislead(tuple(wanted)) and sorted(found) == sorted(places):
        wanted = places
    unknown = [column for column in found if column not in wanted]
    missing = [name for name in wanted if name not in found]
    if unknown or missing or len(found) > len(wanted):
        said = f"no class is called {unknown[0]!r}" if unknown else "a class has two columns"
        said = f"no column is called {missing[0]!r}" if missing and not unknown else said
        raise DataError(
            f"{where}: {said}. Its columns are {', '.join(found[:20])}; the dataset's classes are "
            f"{', '.join(classes[:20])}",
            hint="a column per class, called as the class is, in any order; besides them index, label, split",
        )
    try:
        return values[:, [found.index(name) for name in wanted]].astype(np.float64)
    except ValueError as problem:
        raise DataError(f"{where}: {one_line(str(problem), 200)}") from None


def images_digest(images: LabelledImages) -> str:
    """Return the SHA-256 of a split's pixels, `uint8 [N, 3, H, W]` in order."""
    sha = hashlib.sha256(usedforsecurity=False)
    for batch in images.batches(1024):
        sha.update(np.ascontiguousarray(batch.numpy()).tobytes())
    return sha.hexdigest()


def _as_classes(values: npt.NDArray[Any], images: LabelledImages, where: str) -> npt.NDArray[np.int64]:
    """Return classes as numbers; they may be names, and a text that equals a name means that class."""
    names = images.class_names
    misleads = numbers_mislead(names)
    if values.dtype.kind in "US":
        known = {name: number for number, name in enumerate(names)}
        texts = {str(one) for one in values}
        if not misleads:  # a text may be a number, as all is text in CSV
            numbers = {text: int(text) for text in texts - set(known) if text.strip().isdecimal()}
            known |= {text: number for text, number in numbers.items() if number < len(names)}
        unknown = sorted(texts - set(known))
        if unknown:
            raise DataError(f"{where}: no class {unknown[0]!r}; the dataset's are {', '.join(names[:20])}")
        return np.array([known[str(one)] for one in values], dtype=np.int64)
    if misleads:
        raise DataError(
            f"{where}: a number could be the place of a class or its name, as the dataset's classes are "
            f"called {', '.join(names[:20])} in this order",
            hint="write the names as text, as JSON and CSV have it, or a column of scores per class",
        )
    whole = values.astype(np.int64) if values.dtype.kind in "iuf" else None
    if whole is None or (whole != values).any() or whole.min() < 0 or whole.max() >= len(names):
        raise DataError(f"{where}: classes must be whole numbers from 0 to {len(names) - 1}, or their names")
    return whole


def _check_order(labels: npt.NDArray[np.int64], images: LabelledImages, where: str) -> None:
    if len(labels) != len(images):
        raise DataError(f"{where}: {len(labels):,} labels for {len(images):,} images")
    wrong = np.flatnonzero(labels != images.labels)
    if len(wrong):
        row, names = int(wrong[0]), images.class_names
        raise DataError(
            f"{where}: {len(wrong):,} of {len(labels):,} true labels differ from the dataset's, first in row "
            f"{row}: {names[labels[row]]!r} there, {names[images.labels[row]]!r} here: it is in another "
            "order, or about another test set"
        )
