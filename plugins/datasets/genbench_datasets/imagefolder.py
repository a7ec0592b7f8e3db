"""`imagefolder`: anybody's images, by class folders or with a table of labels.

PATH/cat/*.jpg  PATH/dog/*.jpg                split here, stratified
PATH/train/cat/*.jpg  PATH/test/cat/*.jpg     split by the owner; val/ likewise
PATH/*.jpg  PATH/labels.csv                   labels=labels.csv: filename,label or filename,label,split
PATH/shifts/NAME/cat/*.jpg                    named shifts, with either layout of folders

It is split by the owner where train/ holds folders; `layout=` says otherwise. Splits must have the same
classes, shifts some of them. Everything below a class folder is of that class. A given val is val:
val_fraction is not used then, and limit_train does not limit it; limit_test limits test and shifts.

Every image becomes RGB of `size` pixels, whatever it was. Photographs are turned as their EXIF data say.
What is not square is cut to its centre (fit=crop), padded (pad) or stretched (squash). Transparent pixels are
blended with `background`; grey becomes three equal channels, a palette its colours, CMYK is converted without
a profile; the brightest level of a 16-bit image becomes white. Of an animated image, the first frame counts.

Broken files are named, all of them, before anything runs; skip_broken=true leaves them out and counts them.
Hidden files and folders are not read. PATH itself may be a link. A link in it that stays inside is followed;
one that leads out is an error that names it, unless `follow_links` is set: else whoever made the folder
decides what is read from this machine.
"""

from collections.abc import Sequence

import numpy as np

from genbench.image_files import image_problem
from genbench.images import (
    ArrowImages,
    LabelledImages,
    RealImages,
    Subset,
    stratified_choice,
    stratified_counts,
)
from genbench.protocols import Dataset, RunContext
from genbench_datasets._tables import Reading, held_if_small
from genbench_datasets.configs._layout import Labelled, remarks
from genbench_datasets.configs.imagefolder import ImageFolderConfig


class ImageFolder(Dataset):
    """Class folders or labelled files, read through the `datasets` library."""

    def __init__(self, config: ImageFolderConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return the images, brought to `size`.

        Raises:
            DataError: A class is empty, splits have different classes, or files are not images.
        """
        config = self._config
        found = config.found(image_problem)
        for remark in remarks(found, config.val_fraction, config.test_fraction):
            ctx.log.info("%s", remark)
        reading = Reading(
            config.size,
            config.framing,
            config.skip_broken,
            left_out=[f"{name} {reason}" for name, reason in found.left_out.items()],
        )

        def read(files: Sequence[Labelled]) -> LabelledImages:
            labels = np.array([file.label for file in files], dtype=np.int64)
            table = _table([str(file.path.absolute()) for file in files])
            images = ArrowImages(
                table, "image", labels, found.classes, config.size, framing=config.framing, own_files=True
            )
            return held_if_small(images, ctx, reading)

        parts = {name: read(files) for name, files in found.splits.items()}
        shifts = {name: read(files) for name, files in found.shifts.items()}
        reading.refuse_broken(str(config.path))
        train, test = parts["train"], parts.get("test")
        if test is None:
            counts = stratified_counts(train.class_counts(), round(config.test_fraction * len(train)))
            test_rows, train_rows = stratified_choice(train.labels, counts, "imagefolder", "test")
            train, test = Subset(train, train_rows), Subset(train, test_rows)
        return RealImages(train, test, shifts, parts.get("val"), tuple(reading.left_out))


def _table(paths: Sequence[str]) -> object:
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    return datasets.Dataset.from_dict({"image": paths}, features=features)
