"""`hub` and `imagenet`: any set of labelled images on the Hugging Face Hub, read from its parquet files.

The columns are found by their types (`Image`, `ClassLabel`). Sets that fill more than a quarter of the memory
stay encoded in Arrow and are decoded as they are read, so that ImageNet is bounded by the batch. `classes`
and `images_per_class` take a subset, drawn by the split's seed; a subset's classes keep their names.

`shifts` are other sets on the Hub with (some of) the same classes: ImageNetV2, ObjectNet, ImageNet-R, -A and
-Sketch for `imagenet`, for example. Classes are matched by name; where a set names them differently (by
WordNet id, say), `class_maps` holds the published map as JSON, and null leaves a class out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genbench.errors import DataError
from genbench.images import LabelledImages, RealImages, Subset, stratified_choice, stratified_counts
from genbench.protocols import Dataset, RunContext
from genbench.seeding import generator
from genbench_datasets._shifts import class_map
from genbench_datasets._tables import labelled, read_parquet
from genbench_datasets.table_configs import HubConfig


class Hub(Dataset):
    """Reads a table of images and classes."""

    def __init__(self, config: HubConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return train and test; test is drawn from train where the set has none.

        Raises:
            DataError: The set has no such split, column or class.
        """
        config, files = self._config, self._own_files()
        held_out = _of_split(files, config.test_split)
        if not _of_split(files, config.train_split):
            raise DataError(
                f"{config.name} has no files of the split {config.train_split!r}. Found: {', '.join(files)}",
                hint=f"hub:{config.name},train_split=NAME",
            )
        train = self._part(_of_split(files, config.train_split), "train", ctx)
        shifts = {shift: self._shift(shift, train.class_names, ctx) for shift in config.shifts}
        if held_out:
            return RealImages(train, self._part(held_out, "test", ctx), shifts)
        counts = stratified_counts(train.class_counts(), round(config.test_fraction * len(train)))
        test, rest = stratified_choice(train.labels, counts, "hub", "test", config.split_seed)
        return RealImages(Subset(train, rest), Subset(train, test), shifts)

    def _own_files(self) -> Mapping[str, Path]:
        foreign = (*(f"{shift}/" for shift in self._config.shifts), "class_maps.json")
        return {
            name: path for name, path in self._config.source_files().items() if not name.startswith(foreign)
        }

    def _shift(self, shift: str, classes: Sequence[str], ctx: RunContext) -> LabelledImages:
        """Read a shift; its classes become this set's, by name or by the class map.

        Raises:
            DataError: A class of the shift is none of this set's, and the map does not say what to do.
        """
        files = self._config.source_files()
        table = read_parquet([path for name, path in files.items() if name.startswith(f"{shift}/")], ctx)
        image, label = (_column_of_type(table, kind, "shifts") for kind in ("Image", "ClassLabel"))
        maps = json.loads(files["class_maps.json"].read_text("utf-8")) if "class_maps.json" in files else {}
        renamed = maps.get(shift, {})
        names = table.features[label].names
        kept = [old for old, name in enumerate(names) if renamed.get(name, name) is not None]
        to_class = class_map(shift, [renamed.get(names[old], names[old]) for old in kept], classes)
        position = dict(zip(kept, to_class, strict=True))
        labels = np.asarray(table[label], dtype=np.int64)
        unlabelled = int((labels < 0).sum())
        if unlabelled:
            raise DataError(f"shift {shift!r}: {unlabelled} images have no label")
        rows = np.flatnonzero(np.isin(labels, kept))
        table = table.select(rows).cast_column(label, _plain_integers())
        table = table.map(lambda row: {label: position[row[label]]}, load_from_cache_file=False)
        return labelled(table, image, label, classes, self._config.size, ctx)

    def _part(self, files: Sequence[Path], split: str, ctx: RunContext) -> LabelledImages:
        """Read one split, reduced to the classes and images that the options ask for."""
        config = self._config
        table = read_parquet(files, ctx)
        image = config.image_column or _column_of_type(table, "Image", "image_column")
        label = config.label_column or _column_of_type(table, "ClassLabel", "label_column")
        names = list(table.features[label].names)
        rows, kept = self._rows(np.asarray(table[label], dtype=np.int64), len(names), split)
        table = table.select(rows)
        if len(kept) < len(names):
            position = {old: new for new, old in enumerate(kept)}
            table = table.cast_column(label, _plain_integers())
            table = table.map(lambda row: {label: position[row[label]]}, load_from_cache_file=False)
        return labelled(table, image, label, [names[old] for old in kept], config.size, ctx)

    def _rows(self, labels: Any, classes: int, split: str) -> tuple[Any, list[int]]:
        """Return the rows and the classes to use, in their order."""
        config, kept = self._config, list(range(classes))
        if config.classes is not None:
            if config.classes > classes:
                raise DataError(f"{config.name} has {classes} classes, and classes asks for {config.classes}")
            rng = np.random.default_rng(generator("hub", "classes", config.split_seed).initial_seed())
            kept = sorted(rng.permutation(classes)[: config.classes].tolist())
        rows = np.flatnonzero(np.isin(labels, kept))
        if config.images_per_class is not None and split == "train":
            rng = np.random.default_rng(generator("hub", "images", config.split_seed).initial_seed())
            own = [rng.permutation(rows[labels[rows] == label])[: config.images_per_class] for label in kept]
            rows = np.sort(np.concatenate(own))
        return rows, kept


def _of_split(files: Mapping[str, Path], split: str) -> list[Path]:
    return [path for name, path in files.items() if Path(name).name.startswith(split)]


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


def _plain_integers() -> Any:
    import datasets

    return datasets.Value("int64")
