"""`imagefolder`: anybody's folder of class folders.

PATH/cat/*.jpg  PATH/dog/*.jpg                        split here, stratified
PATH/train/cat/*.jpg  PATH/test/cat/*.jpg             split by the owner
PATH/shifts/NAME/cat/*.jpg                            named shifts, with either layout

PATH itself may be a link. A link in it that stays inside is followed; one that leads out is an error that
names it, unless `follow_links` is set: else whoever made the folder decides what is read from this machine.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genbench.errors import DataError
from genbench.files import shown, tree_files
from genbench.image_files import SUFFIXES, check_image
from genbench.images import (
    ArrowImages,
    LabelledImages,
    RealImages,
    Subset,
    stratified_choice,
    stratified_counts,
)
from genbench.protocols import Dataset, RunContext
from genbench_datasets._tables import held_if_small
from genbench_datasets.configs.imagefolder import ImageFolderConfig

_SHIFTS = "shifts"


class ImageFolder(Dataset):
    """Class folders, read through the `datasets` library."""

    def __init__(self, config: ImageFolderConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return the images, brought to `size`.

        Raises:
            DataError: A class is empty, a file is not an image, or train and test have different classes.
        """
        root = self._config.path.expanduser()
        names = {path.name for path in _folders(root)}
        train_root = root / "train" if "train" in names else root
        classes = _classes(train_root, leave_out={"test", _SHIFTS} if train_root == root else set())
        train = self._read(train_root, classes, ctx)
        shifts = {path.name: self._read(path, classes, ctx) for path in _folders(root / _SHIFTS)}
        if "test" in names:
            return RealImages(train, self._read(root / "test", classes, ctx), shifts)
        counts = stratified_counts(train.class_counts(), round(self._config.test_fraction * len(train)))
        test_rows, train_rows = stratified_choice(train.labels, counts, "imagefolder", "test")
        return RealImages(Subset(train, train_rows), Subset(train, test_rows), shifts)

    def _read(self, folder: Path, classes: tuple[str, ...], ctx: RunContext) -> LabelledImages:
        found = {path.name for path in _folders(folder)} - (
            {_SHIFTS} if folder == self._config.path else set()
        )
        if not set(classes) >= found:
            raise DataError(f"{folder}: classes {', '.join(sorted(found - set(classes)))} are not in train")
        config, root = self._config, self._config.path.expanduser()
        files = list[tuple[str, int]]()
        for label, name in enumerate(classes):
            if (folder / name).is_dir():
                own = tree_files(folder / name, top=root, follow_links=config.follow_links)
                files += [(str(path.absolute()), label) for path in _checked(own, folder / name)]
        labels = np.array([label for _, label in files], dtype=np.int64)
        table = _table([path for path, _ in files])
        images = ArrowImages(table, "image", labels, classes, config.size, own_files=True)
        return held_if_small(images, ctx)


def _table(paths: Sequence[str]) -> object:
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    return datasets.Dataset.from_dict({"image": paths}, features=features)


def _classes(folder: Path, leave_out: set[str]) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(folder) if path.name not in leave_out)
    if len(names) < 2:
        raise DataError(
            f"{folder} needs at least two class folders, found {len(names)}: {', '.join(names) or 'none'}",
            hint="put the images of each class into a folder of its own: PATH/cat/1.jpg PATH/dog/1.jpg",
        )
    return names


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _checked(files: Sequence[Path], folder: Path) -> Sequence[Path]:
    """Return a class's images; anything else in the folder is an error that names it."""
    strange = [path for path in files if path.suffix.lower() not in SUFFIXES]
    if strange:
        raise DataError(
            f"{shown(strange[0])} is not an image ({len(strange)} such files). "
            f"Known: {', '.join(sorted(SUFFIXES))}",
            hint="move files that are not images out of the class folders",
        )
    chained = [path for path in files if "::" in str(path)]
    if chained:  # the `datasets` library takes such a name for a file inside an archive
        raise DataError(f"{shown(chained[0])}: '::' cannot be part of an image's path", hint="rename it")
    if not files:
        raise DataError(f"class {folder.name!r} is empty: {folder} holds no image")
    problems = [problem for path in files if (problem := _problem(path))]
    if problems:
        more = f" ({len(problems)} such files)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more, hint="replace them, or take them out of the folder")
    return files


def _problem(path: Path) -> str:
    try:
        check_image(path, str(path))
    except DataError as problem:
        return problem.message
    return ""
