"""Options of the built-in datasets, and where their files are. Imports neither torch nor numpy."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import DatasetConfig
from genbench_datasets.shift_configs import ShiftOptions, shift_files

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)


class DigitsConfig(ShiftOptions):
    """Options of `digits`."""

    size: int = Field(default=8, ge=8, le=64, description="height and width in pixels, resized from 8")
    test_fraction: float = Field(
        default=0.25, gt=0, lt=0.9, description="share of the 1,797 images that is the test split"
    )
    augment_shift_pixels: int = Field(
        default=1, ge=0, description="largest shift of the standard augmentation"
    )
    augment_flip: bool = Field(default=False, description="mirroring would change what a digit means")

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"limit_train": 200}}

    def source_files(self) -> Mapping[str, Path]:
        """Return scikit-learn's data file."""
        package = find_spec("sklearn")
        folder = Path(package.origin).parent if package and package.origin else Path()
        file = folder / "datasets" / "data" / "digits.csv.gz"
        if not file.is_file():
            raise DataError(
                "digits comes with scikit-learn, which is not installed", hint="pip install scikit-learn"
            )
        return {"digits.csv.gz": file}


Cifar10Shift = Literal[
    "computed", "natural-shift-9", "cifar10.1-v4", "cifar10.1-v6", "cifar10.2", "cifar10-c"
]


class Cifar10Config(ShiftOptions):
    """Options of `cifar10`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"limit_train": 200}}

    shifts: tuple[Cifar10Shift, ...] = Field(  # type: ignore[assignment]
        default=(), description="out-of-distribution test sets, published or computed from test"
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of `uoft-cs/cifar10`, and those of the shifts."""
        patterns = ("plain_text/*.parquet", "data/*.parquet", "*.parquet")
        found = dict(hub.find("uoft-cs/cifar10", patterns, "dataset"))
        for shift in self.shifts:
            found |= shift_files(shift)
        return found


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
