"""The `dataset` step: real images become train, val, reserve, test and shifts, the same for all cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from genbench.artifacts import read_card, write_card
from genbench.documents import DatasetDocument
from genbench.errors import DataError
from genbench.images import (
    ImageStatistics,
    LabelledImages,
    RealImages,
    Subset,
    limited_rows,
    open_images,
    statistics,
    stratified_choice,
    stratified_counts,
)
from genbench.protocols import Dataset, DatasetConfig, DatasetFacts, RunContext
from genbench.steps.components import build, build_config
from genbench.steps.workshop import Job
from genbench.store import Artifact
from genbench.training.data import Augmentation


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset, opened from its artifact; pixels are read as they are asked for."""

    opened: "_Opened"
    statistics: ImageStatistics
    facts: DatasetFacts

    @property
    def train(self) -> LabelledImages:
        """What everything learns from."""
        return self.opened["train"]

    @property
    def reserve(self) -> LabelledImages | None:
        """Real images held out of train, for generators that ask for them."""
        return self.opened.get("reserve")

    @cached_property
    def evaluated(self) -> Mapping[str, LabelledImages]:
        """Return val, test and every shift, by name."""
        names = tuple(name for name in self.opened if name not in {"train", "reserve"})
        return _Opened(self.opened.folder, names)

    def augmentation(self, level: str) -> Augmentation:
        """Return what a mix's `augment` means for these images."""
        return Augmentation(level, self.facts.shift_pixels, self.facts.flip)

    def named(self, split: str) -> LabelledImages:
        """Return `train`, `val`, `test`, `reserve` or a shift."""
        return self.opened[split]


def run(job: Job[DatasetDocument]) -> None:
    """Load a dataset and split it."""
    component, location = job.document.component, job.step.location
    config = build_config(component, "dataset", job.workshop, location)
    assert isinstance(config, DatasetConfig)
    write_splits(build(component, "dataset", job.workshop, location), config, job.ctx, job.ctx.files)


def write_splits(dataset: Dataset, config: DatasetConfig, ctx: RunContext, folder: Path) -> None:
    """Load a dataset, split it, and write every split.

    Raises:
        DataError: A class has no training image, too few images are left for a split, `limit_test` is below
            the number of classes, or a split is of another image size or of other classes than train.
    """
    real = dataset.load(ctx)
    for file in real.left_out:
        ctx.log.warning("left out: %s", file)
    tested = {"test": real.test, **_shifts(real)}
    _check_limit(config, real.train.num_classes)
    for name, images in {**({} if real.val is None else {"val": real.val}), **tested}.items():
        _check_alike(name, images, real.train)
    train, val, reserve = split(real.train, config, real.val)
    read = {name: _limited(images, config) for name, images in tested.items()}
    parts = {"train": train, "val": val, **read}
    if reserve is not None:
        parts["reserve"] = reserve
    for name, images in parts.items():
        (folder / name).mkdir()
        images.write(folder / name)
    mean_and_std = statistics(train)
    card = {
        "splits": {name: len(images) for name, images in parts.items()},
        "left_out": len(real.left_out),
        "class_names": list(real.train.class_names),
        "image_shape": list(real.train.image_shape),
        "mean": list(mean_and_std.mean),
        "std": list(mean_and_std.std),
        "shift_pixels": config.augment_shift_pixels,
        "flip": config.augment_flip,
    }
    if config.epoch_repeats != 1:  # else the card stays what it was before this could be chosen
        card["epoch_repeats"] = config.epoch_repeats
    write_card(card, folder)


def open_splits(artifact: Artifact) -> Splits:
    """Open what `write_splits` wrote."""
    card = read_card(artifact)
    mean_and_std = ImageStatistics(tuple(card["mean"]), tuple(card["std"]))
    facts = DatasetFacts(
        flip=card["flip"],
        shift_pixels=card["shift_pixels"],
        epoch_repeats=card.get("epoch_repeats", 1.0),
    )
    return Splits(_Opened(artifact.folder, tuple(card["splits"])), mean_and_std, facts)


class _Opened(Mapping[str, LabelledImages]):
    """Splits by name, each opened when it is first asked for: in a room, most may not be.

    Attributes:
        folder: Where a folder of each is.
    """

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.folder, self._names = folder, names
        self._images: dict[str, LabelledImages] = {}

    def __getitem__(self, name: str) -> LabelledImages:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._images:
            self._images[name] = open_images(self.folder / name)
        return self._images[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def split(
    images: LabelledImages, config: DatasetConfig, given_val: LabelledImages | None = None
) -> tuple[LabelledImages, LabelledImages, LabelledImages | None]:
    """Split training images into (train, val, reserve), stratified by class and drawn from names.

    Val is `val_fraction` of the images, raised to 1,000 where a fifth of them allows, or the owner's; the
    reserve comes next; `limit_train` limits what is left of train, and never val.
    """
    counts = images.class_counts()
    empty = [images.class_names[label] for label in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(f"classes without a training image: {', '.join(empty)}")
    total = len(images)
    rest = np.arange(total)
    val = rest[:0]
    if given_val is None:
        val, rest = _take(images, rest, config.val_images(total), "val", config.split_seed)
    reserve, rest = _take(images, rest, config.reserve, "reserve", config.split_seed)
    if config.limit_train is not None and config.limit_train < len(rest):
        rest, _ = _take(images, rest, config.limit_train, "limit", config.split_seed)
    if len(np.unique(images.labels[rest])) < images.num_classes:
        raise DataError(
            f"{len(rest)} training images are left after val ({len(val)}) and reserve ({len(reserve)}), "
            f"and some of the {images.num_classes} classes have none",
            hint="raise limit_train, or lower val_fraction or reserve",
        )
    own_val = Subset(images, val) if given_val is None else given_val
    return Subset(images, rest), own_val, Subset(images, reserve) if len(reserve) else None


def _check_alike(name: str, images: LabelledImages, train: LabelledImages) -> None:
    """Hold a split against train: a label must mean the same class in both."""
    if tuple(images.image_shape) != tuple(train.image_shape):
        raise DataError(
            f"{name} has images of {tuple(images.image_shape)}, and train of {tuple(train.image_shape)}",
            hint="every split needs images of one shape (channels, height, width)",
        )
    own, wanted = tuple(images.class_names), tuple(train.class_names)
    if own != wanted:
        pairs = enumerate(zip_longest(own, wanted, fillvalue="no class"))
        label, (here, there) = next((label, pair) for label, pair in pairs if pair[0] != pair[1])
        raise DataError(
            f"{name} has other classes than train: label {label} is {here!r} in {name}, and {there!r} in "
            "train",
            hint="every split needs the classes of train, in their order",
        )


def _check_limit(config: DatasetConfig, classes: int) -> None:
    """Refuse to leave fewer test images than there are classes: accuracy would leave some out."""
    if config.limit_test is not None and config.limit_test < classes:
        raise DataError(
            f"limit_test={config.limit_test} leaves some of the {classes} classes without a test image",
            hint=f"limit_test={classes} at least, or leave it out",
        )


def _limited(images: LabelledImages, config: DatasetConfig) -> LabelledImages:
    """Return what `limit_test` leaves of test or a shift: the images themselves where that is all."""
    rows = limited_rows(images.labels, images.num_classes, config.limit_test, config.split_seed)
    return images if len(rows) == len(images) else Subset(images, rows)


def _take(images: LabelledImages, rows: Any, wanted: int, purpose: str, split_seed: int) -> tuple[Any, Any]:
    """Take `wanted` of `rows`, stratified: (taken, left)."""
    if wanted >= len(rows):
        raise DataError(f"{purpose} asks for {wanted} images, and {len(rows)} are left of train")
    labels = images.labels[rows]
    counts = stratified_counts(np.bincount(labels, minlength=images.num_classes), wanted)
    taken, left = stratified_choice(labels, counts, "split", purpose, split_seed)
    return rows[taken], rows[left]


def _shifts(real: RealImages) -> dict[str, LabelledImages]:
    taken = {"train", "val", "test", "reserve"} & real.shifts.keys()
    if taken:
        raise DataError(f"a shift may not be called {', '.join(sorted(taken))}")
    return dict(real.shifts)
