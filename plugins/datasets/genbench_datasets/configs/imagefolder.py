"""Options of `imagefolder`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench.errors import DataError
from genbench.files import tree_files
from genbench.protocols import DatasetConfig


class ImageFolderConfig(DatasetConfig):
    """Options of `imagefolder`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path", "follow_links"})
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16, "limit_train": 200}}

    path: Path = Field(
        description="folder of class folders, or of train/ and test/ with class folders inside"
    )
    size: int = Field(
        default=32, ge=8, le=1024, description="height and width in pixels that images are brought to"
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=0.9, description="share that is the test split, where there is no test/ folder"
    )

    follow_links: bool = Field(
        default=False, description="read what links inside the folder lead to outside of it, too"
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return every file that is not hidden, by its path inside the folder.

        Raises:
            DataError: It is no folder, holds no files, or something in it cannot be followed or opened.
        """
        folder = self.path.expanduser()
        if not folder.is_dir():
            raise DataError(
                f"imagefolder: {str(self.path)!r} is not a folder", hint="--dataset imagefolder:PATH"
            )
        hint = "imagefolder:PATH,follow_links=true to read it, or copy what it leads to: cp -rL PATH COPY"
        files = tree_files(folder, follow_links=self.follow_links, hint=hint)
        if not files:
            raise DataError(f"imagefolder: {str(self.path)!r} holds no files")
        return {path.relative_to(folder).as_posix(): path for path in files}
