"""Options of `digits`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench.errors import DataError
from genbench.protocols import DeclaredImages
from genbench_datasets.configs._shifts import ShiftOptions

_IMAGES = 1797


class DigitsConfig(ShiftOptions):
    """Options of `digits`.

    By default a quarter of the images is the test split, and all others are there to train on: networks are
    then right on 99.4 % of the test images, and nothing can be better. `few` leaves room for a gain: 150
    training images, three fifths of all images to test on, and the optimizer steps that all training images
    would have (docs/tuning). It is what a run takes that names no dataset.
    """

    size: int = Field(default=8, ge=8, le=64, description="height and width in pixels, resized from 8")
    test_fraction: float = Field(
        default=0.25, gt=0, lt=0.9, description="share of the 1,797 images that is the test split"
    )
    augment_shift_pixels: int = Field(
        default=1, ge=0, description="largest shift of the standard augmentation"
    )
    augment_flip: bool = Field(default=False, description="mirroring would change what a digit means")

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "smoke": {"limit_train": 200},
        "few": {"limit_train": 150, "test_fraction": 0.6, "epoch_repeats": 7.0},
    }

    def declared_images(self) -> DeclaredImages | None:
        """Return what there is without shifts."""
        test = round(self.test_fraction * _IMAGES)
        return None if self.shifts else DeclaredImages((3, self.size, self.size), _IMAGES - test, test)

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
