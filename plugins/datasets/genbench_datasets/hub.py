"""`hub` and `imagenet`: any set of labelled images on the Hugging Face Hub, read from its parquet files.

The columns are found by their types (`Image`, `ClassLabel`) or named; a named column of classes may hold
words or whole numbers. Sets that fill more than a quarter of the memory stay encoded in Arrow and are decoded
as they are read, so that ImageNet is bounded by the batch. `classes` and `images_per_class` take a subset,
drawn by the split's seed, or named: `classes=tench+goldfish`, by name, synonym or (`imagenet`) WordNet id, or
in `classes_file`, one a line; a subset's classes keep their names. `limit_test` takes some images of test and
of every shift.

Photographs are turned as their EXIF data say. What is not square is cut to its centre (fit=crop), padded
(pad) or stretched (squash); transparent pixels are blended with `background`; grey, palettes and CMYK become
RGB. Broken images are named by their row, all of them; skip_broken=true leaves them out and counts them.

`shifts` are other sets on the Hub with (some of) the same classes, in parquet files. Classes are matched by
name, in test too; where a set names them differently, `class_maps` holds their map as JSON, and null leaves a
class out. Classes that the subset left out of train are left out of test and shifts.

`imagenet` also knows its published shifts by short names, with their class maps (`_imagenet.py`), reads
ImageNetV2 and -Sketch from their archives, and matches classes of any shift by WordNet id. Networks are
scored over all classes of the dataset, also where a shift has images of 200 of them (-R, -A): papers that
leave out the other 800 logits report higher accuracies.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from genbench.errors import DataError
from genbench.images import (
    LabelledImages,
    RealImages,
    Subset,
    limited_rows,
    stratified_choice,
    stratified_counts,
)
from genbench.parquet import ParquetRows, check_column, named_labels
from genbench.protocols import Dataset, RunContext
from genbench.seeding import generator
from genbench.synsets import imagenet_synsets, synsets
from genbench_datasets._archives import class_folders
from genbench_datasets._imagenet import renamed_to
from genbench_datasets._named_classes import labels_of, listed_in
from genbench_datasets._shifts import class_map
from genbench_datasets._tables import Reading, with_labels
from genbench_datasets.configs.hub import CLASS_MAPS, CLASSES, HubConfig

Renamed = Mapping[str, str | None]
_WORD_COLUMNS = ("wnid", "synset", "class_name", "class", "label")  # the best first


class _Table(NamedTuple):
    """A table with its columns found; `labels` is the class of each row, `int64 [N]`."""

    owner: str
    rows: Any
    image: str
    labels: npt.NDArray[np.int64]
    names: list[str]


class _Classes(NamedTuple):
    """The classes in use, in label order, and those of the set that the options left out."""

    used: tuple[str, ...]
    left_out: frozenset[str]
    named: tuple[str, ...]  #: all of them, in the set's order


class Hub(Dataset):
    """Reads a table of images and classes."""

    def __init__(self, config: HubConfig) -> None:
        self._config = config
        self._reading = Reading(config.size)

    def load(self, ctx: RunContext) -> RealImages:
        """Return train and test; test is drawn from train where the set has none.

        Raises:
            DataError: The set has no such split, column or class, a row has no label, or images are broken.
        """
        config, files = self._config, self._config.source_files()
        self._reading = Reading(config.size, config.framing, config.skip_broken)
        real = self._load(files, ctx)
        self._reading.refuse_broken(config.name)
        return replace(real, left_out=tuple(self._reading.left_out))

    def _load(self, files: Mapping[str, Path], ctx: RunContext) -> RealImages:
        config = self._config
        foreign = (*(f"{shift}/" for shift in config.shifts), CLASS_MAPS, CLASSES)
        own = {name: path for name, path in files.items() if not name.startswith(foreign)}
        if not _of_split(own, config.train_split):
            raise DataError(
                f"{config.name} has no files of the split {config.train_split!r}. Found: {', '.join(own)}",
                hint=f"hub:{config.name},train_split=NAME",
            )
        table = self._open(
            f"{config.name}/{config.train_split}", _rows(_of_split(own, config.train_split), ctx)
        )
        classes = self._classes(table.names, files)
        train = self._images(table, classes, ctx, most=config.images_per_class, is_train=True)
        shifts = {shift: self._shift(shift, files, classes, ctx) for shift in config.shifts}
        if held_out := _of_split(own, config.test_split):
            table = self._open(f"{config.name}/{config.test_split}", _rows(held_out, ctx))
            return RealImages(train, self._images(table, classes, ctx), shifts)
        counts = stratified_counts(train.class_counts(), round(config.test_fraction * len(train)))
        test, rest = stratified_choice(train.labels, counts, "hub", "test", config.split_seed)
        return RealImages(Subset(train, rest), Subset(train, test), shifts)

    def _shift(
        self, shift: str, files: Mapping[str, Path], classes: _Classes, ctx: RunContext
    ) -> LabelledImages:
        """Read a shift; its classes become this set's, by name, by WordNet id or by the class map."""
        owner, folder = f"shift {shift!r}", f"{shift}/"
        own = {name.removeprefix(folder): path for name, path in files.items() if name.startswith(folder)}
        tables = [path for name, path in own.items() if name.endswith(".parquet")]
        rows = _rows(tables, ctx) if tables else class_folders(owner, own, imagenet_synsets(), ctx)
        table = self._open(owner, rows, foreign=True)
        renamed = _class_maps(files[CLASS_MAPS]).get(shift) if CLASS_MAPS in files else None
        unknown = sorted((renamed or {}).keys() - set(table.names))
        if unknown:
            raise DataError(
                f"class_maps renames classes that {owner} does not have: {', '.join(unknown[:20])}"
            )
        if renamed is None and self._config.by_synset:
            renamed = renamed_to(shift, table.names, classes.named)
        return self._images(table, classes, ctx, renamed=renamed)

    def _open(self, owner: str, rows: Any, *, foreign: bool = False) -> _Table:
        """Find a table's columns: those that the options name, else by type.

        A foreign table (a shift's) may call its columns otherwise.
        """
        image, label = self._config.image_column, self._config.label_column
        if not image or (foreign and image not in rows.column_names):
            image = _column_of_type(rows, "Image", "image_column")
        if not label or (foreign and label not in rows.column_names):
            label = self._label_column(rows, foreign=foreign)
        check_column(rows, image, owner)
        names, labels = named_labels(rows, label, owner)
        return _Table(owner, rows, image, labels, names)

    def _label_column(self, rows: Any, *, foreign: bool) -> str:
        """Return the column of classes: a published shift may have words instead of a ClassLabel."""
        words = [name for name in _WORD_COLUMNS if name in rows.column_names]
        typed = any(type(feature).__name__ == "ClassLabel" for feature in rows.features.values())
        if foreign and self._config.by_synset and words and not typed:
            return words[0]
        return _column_of_type(rows, "ClassLabel", "label_column")

    def _classes(self, names: Sequence[str], files: Mapping[str, Path]) -> _Classes:
        """Return the classes to use, in the set's order: those that are named, or drawn ones."""
        wanted: Any = listed_in(files[CLASSES]) if CLASSES in files else self._config.classes
        if wanted is None:
            return _Classes(tuple(names), frozenset(), tuple(names))
        kept = self._drawn(wanted, names) if isinstance(wanted, int) else self._named(wanted, names)
        used = tuple(names[label] for label in kept)
        return _Classes(used, frozenset(names) - set(used), tuple(names))

    def _drawn(self, wanted: int, names: Sequence[str]) -> list[int]:
        if wanted > len(names):
            raise DataError(f"{self._config.name} has {len(names)} classes, and classes asks for {wanted}")
        rng = np.random.default_rng(generator("hub", "classes", self._config.split_seed).initial_seed())
        return sorted(int(label) for label in rng.permutation(len(names))[:wanted])

    def _named(self, wanted: Sequence[str], names: Sequence[str]) -> list[int]:
        known = synsets(names) if self._config.by_synset else [None] * len(names)
        labels = labels_of(wanted, names, known, self._config.name)
        if len(labels) < 2:
            raise DataError(f"{CLASSES}: at least two classes are needed, found {', '.join(wanted)}")
        return labels

    def _images(
        self,
        table: _Table,
        classes: _Classes,
        ctx: RunContext,
        *,
        renamed: Renamed | None = None,
        most: int | None = None,
        is_train: bool = False,
    ) -> LabelledImages:
        """Return the images of the classes in use, labelled in their order.

        Of train at most `most` of each class, of test and shifts what `limit_test` leaves: others would be
        decoded for nothing.
        """
        targets = [(renamed or {}).get(name, name) for name in table.names]
        wanted = {
            old: name for old, name in enumerate(targets) if name is not None and name not in classes.left_out
        }
        position = np.full(len(table.names), -1)
        position[list(wanted)] = class_map(table.owner, list(wanted.values()), classes.used)
        labels = position[table.labels]
        rows = np.flatnonzero(labels >= 0)
        if len(rows) == 0:
            raise DataError(f"{table.owner} has no image of the {len(classes.used)} classes in use")
        if most is not None:
            rng = np.random.default_rng(generator("hub", "images", self._config.split_seed).initial_seed())
            of_class = [rows[labels[rows] == label] for label in range(len(classes.used))]
            rows = np.sort(np.concatenate([rng.permutation(own)[:most] for own in of_class]))
        if not is_train:
            limit, seed = self._config.limit_test, self._config.split_seed
            rows = rows[limited_rows(labels[rows], len(classes.used), limit, seed)]
        chosen = table.rows.select_columns([table.image]).select(rows)
        return with_labels(chosen, table.image, labels[rows], classes.used, self._reading, ctx)


def _rows(files: Sequence[Path], ctx: RunContext) -> ParquetRows:
    return ParquetRows(files, ctx.work / "arrow")


def _of_split(files: Mapping[str, Path], split: str) -> list[Path]:
    """Return the files called SPLIT, SPLIT-00000-of-00002 or SPLIT/0000; `test` is not `test_extra`.

    Raises:
        DataError: They are in several folders, as the configurations of a set do.
    """
    called = re.compile(rf"{re.escape(split)}([-_.]\d.*)?")
    found = {
        name: path
        for name, path in files.items()
        if called.fullmatch(Path(name).stem) or Path(name).parent.name == split
    }
    folders = sorted({Path(name).parent.as_posix() for name in found})
    if len(folders) > 1:
        raise DataError(
            f"the split {split!r} is in several folders, one per configuration: {', '.join(folders)}",
            hint=f"set config_name={folders[0]}",
        )
    return list(found.values())


def _class_maps(path: Path) -> Mapping[str, Renamed]:
    try:
        return TypeAdapter(dict[str, dict[str, str | None]]).validate_json(path.read_bytes())
    except ValidationError as problem:
        raise DataError(
            f"class_maps: {path} has another form: {problem.errors()[0]['msg']}",
            hint='{"ORG/NAME": {"class of the shift": "class of this set", "another": null}}',
        ) from problem


def _column_of_type(table: Any, wanted: str, option: str) -> str:
    """Return the only column of a type.

    Raises:
        DataError: There is none, or several.
    """
    found = [name for name, feature in table.features.items() if type(feature).__name__ == wanted]
    if len(found) != 1:
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
        raise DataError(
            f"{len(found)} columns are of type {wanted}. Found: {columns}", hint=f"set {option}=COLUMN"
        )
    name: str = found[0]
    return name
