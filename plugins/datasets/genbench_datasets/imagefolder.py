"""`imagefolder`: anybody's folder of class folders.

PATH/cat/*.jpg  PATH/dog/*.jpg                        split here, stratified
PATH/train/cat/*.jpg  PATH/test/cat/*.jpg             split by the owner
PATH/shifts/NAME/cat/*.jpg                            named shifts, with either layout
"""

from collections.abc import Mapping
from pathlib import Path

from genbench.errors import DataError
from genbench.images import (
    LabelledImages,
    RealImages,
    Subset,
    stratified_choice,
    stratified_counts,
)
from genbench.protocols import Dataset, RunContext
from genbench_datasets._tables import labelled
from genbench_datasets.configs.imagefolder import IMAGE_SUFFIXES, ImageFolderConfig

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
        files = {name: _image_files(folder / name) for name in classes if (folder / name).is_dir()}
        return labelled(_table(files, classes), "image", "label", classes, self._config.size, ctx)


def _table(files: Mapping[str, list[Path]], classes: tuple[str, ...]) -> object:
    import datasets

    rows = [(str(path), classes.index(name)) for name, paths in files.items() for path in paths]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
    )
    columns = {"image": [path for path, _ in rows], "label": [label for _, label in rows]}
    return datasets.Dataset.from_dict(columns, features=features)


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


def _image_files(folder: Path) -> list[Path]:
    """Return a class's images; anything else in the folder is an error that names it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    strange = [path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]
    if strange:
        raise DataError(
            f"{strange[0]} is not an image ({len(strange)} such files). "
            f"Known: {', '.join(sorted(IMAGE_SUFFIXES))}",
            hint="move files that are not images out of the class folders",
        )
    if not files:
        raise DataError(f"class {folder.name!r} is empty: {folder} holds no image")
    broken = [path for path in files if not _opens(path)]
    if broken:
        raise DataError(f"{broken[0]} cannot be decoded as an image ({len(broken)} such files)")
    return files


def _opens(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with path.open("rb") as file, Image.open(file) as image:  # PIL's verify forgets to close files
            image.verify()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False
    return True
