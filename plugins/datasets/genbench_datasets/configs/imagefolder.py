"""Options of `imagefolder`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench.errors import DataError
from genbench.protocols import DatasetConfig

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)


class ImageFolderConfig(DatasetConfig):
    """Options of `imagefolder`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path"})
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

    def source_files(self) -> Mapping[str, Path]:
        """Return every image file, by its path inside the folder."""
        folder = self.path.expanduser()
        if not folder.is_dir():
            raise DataError(
                f"imagefolder: {str(self.path)!r} is not a folder", hint="--dataset imagefolder:PATH"
            )
        files = {
            path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
        }
        images = {name: path for name, path in files.items() if not Path(name).name.startswith(".")}
        if not images:
            raise DataError(f"imagefolder: {str(self.path)!r} holds no files")
        return images
