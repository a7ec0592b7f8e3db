"""Options of `imagefolder`. Imports neither torch nor numpy."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from genbench.errors import DataError, unusable_path
from genbench_datasets.configs._label_file import Columns, by_table
from genbench_datasets.configs._layout import Found, Layout, by_folders, folder_files, remarks, usable
from genbench_datasets.configs._photographs import PhotographOptions

_TABLE = "(labels)"  # how the table is called among the source files: no file in the folder is


class ImageFolderConfig(PhotographOptions):
    """Options of `imagefolder`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path", "labels", "follow_links"})
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16, "limit_train": 200}}

    path: Path = Field(
        description="folder of class folders, of train/ and test/ with class folders inside, or of images",
        examples=["photos"],
    )
    layout: Layout = Field(
        default="auto",
        description="`splits`: train/, test/ and val/ hold class folders; `flat`: every folder is a class; "
        "`auto`: splits where train/ holds folders, else flat",
    )
    labels: Path | None = Field(
        default=None,
        description="table with the class of each image, CSV with a header: filename,label or "
        "filename,label,split; sought in the folder, then from here",
    )
    file_column: str = Field(
        default="", description="column of file names; empty finds `filename` and the like"
    )
    label_column: str = Field(default="", description="column of classes; empty finds `label` and the like")
    split_column: str = Field(
        default="", description="column of train, test or val; empty finds `split`, or has none"
    )
    size: int = Field(
        default=32, ge=8, le=1024, description="height and width in pixels that images are brought to"
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=0.9, description="share that is the test split, where none is given"
    )

    follow_links: bool = Field(
        default=False, description="read what links inside the folder lead to outside of it, too"
    )

    @model_validator(mode="after")
    def _table_is_found_once(self) -> Self:
        """Look for the table once: what is hashed, and what a step elsewhere reads, is one file."""
        if self.labels is not None and not self.labels.expanduser().is_absolute():
            places = [self.path.expanduser() / self.labels, self.labels]
            found = next((place for place in places if place.is_file()), None)
            if found is not None:
                object.__setattr__(self, "labels", found.absolute())
        return self

    @property
    def root(self) -> Path:
        """The folder."""
        return self.path.expanduser()

    def source_files(self) -> Mapping[str, Path]:
        """Return every file that is not hidden, by its path inside the folder, and the table of labels.

        Raises:
            DataError: It is no folder, holds no files, or something in it cannot be followed or opened.
        """
        found = {path.relative_to(self.root).as_posix(): path for path in self._files()}
        table = self._table()
        return {**found, _TABLE: table} if table else found

    def check_files(self, image_problem: Callable[[Path], str]) -> None:
        """Refuse files that cannot be used, all at once.

        Raises:
            DataError: As `found`.
        """
        self.found(image_problem)

    def remarks(self, image_problem: Callable[[Path], str]) -> Sequence[str]:
        """Say which layout it is, and what follows from it."""
        return tuple(remarks(self.found(image_problem), self.val_fraction, self.test_fraction))

    def found(self, image_problem: Callable[[Path], str]) -> Found:
        """Return the images that can be used, by class and split.

        Raises:
            DataError: The layout is not clear, classes differ between splits, or files cannot be used.
        """
        files, table = self._files(), self._table()
        if table is None:
            found = by_folders(self.root, files, self.layout)
        else:
            images = [path for path in files if path != table]
            found = by_table(
                self.root, images, table, Columns(self.file_column, self.label_column, self.split_column)
            )
        return usable(found, image_problem, root=self.root, skip_broken=self.skip_broken)

    def _files(self) -> list[Path]:
        if not self.root.is_dir():
            raise unusable_path(
                self.path,
                f"imagefolder: {str(self.path)!r} is not a folder",
                hint="--dataset imagefolder:PATH",
            )
        files = folder_files(self.root, follow_links=self.follow_links)
        if not files:
            raise DataError(f"imagefolder: {str(self.path)!r} holds no files")
        return files

    def _table(self) -> Path | None:
        if self.labels is None:
            return None
        places = [self.root / self.labels, self.labels.expanduser()]
        for place in places:
            if place.is_file():
                return place
        raise unusable_path(
            places[0] if places[0].exists() else places[1],
            f"imagefolder: no file labels={str(self.labels)!r}, neither in {str(self.path)!r} nor from here",
            hint="imagefolder:PATH,labels=labels.csv with the columns filename,label",
        )
