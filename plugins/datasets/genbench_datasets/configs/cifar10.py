"""Options of `cifar10`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import ADDED_LATER, DeclaredImages
from genbench_datasets.configs._shifts import ShiftOptions

Cifar10Shift = Literal[
    "computed", "natural-shift-9", "cifar10.1-v4", "cifar10.1-v6", "cifar10.2", "cifar10-c"
]


class Cifar10Config(ShiftOptions):
    """Options of `cifar10`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"limit_train": 200}}

    size: Annotated[int, ADDED_LATER] = Field(
        default=32, ge=8, le=512, description="height and width in pixels of all images, shifts included"
    )
    shifts: tuple[Cifar10Shift, ...] = Field(  # type: ignore[assignment]
        default=(), description="out-of-distribution test sets, published or computed from test"
    )

    def declared_images(self) -> DeclaredImages | None:
        """Return what there is without shifts."""
        return None if self.shifts else DeclaredImages((3, self.size, self.size), 50_000, 10_000)

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of `uoft-cs/cifar10`, and those of the shifts."""
        patterns = ("plain_text/*.parquet", "data/*.parquet", "*.parquet")
        found = dict(hub.find("uoft-cs/cifar10", patterns, "dataset"))
        for shift in self.shifts:
            found |= shift_files(shift)
        return found


#: Where the files of a shift of CIFAR-10 are on the Hub, or in a mirror.
_FILES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "natural-shift-9": ("genbench/natural-shift-9", ("data/*.parquet",)),
    "cifar10.1-v4": ("modestyachts/CIFAR-10.1", ("datasets/cifar10.1_v4_*.npy",)),
    "cifar10.1-v6": ("modestyachts/CIFAR-10.1", ("datasets/cifar10.1_v6_*.npy",)),
    "cifar10.2": ("modestyachts/cifar-10.2", ("cifar102_test.npz", "*/cifar102_test.npz")),
    "cifar10-c": ("hendrycks/cifar-10-c", ("*.npy", "CIFAR-10-C/*.npy")),
}


_WANTED = {
    "cifar10.1-v4": ("cifar10.1_v4_data.npy", "cifar10.1_v4_labels.npy"),
    "cifar10.1-v6": ("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"),
    "cifar10.2": ("cifar102_test.npz",),
    "cifar10-c": ("labels.npy",),
}


def shift_files(shift: str) -> Mapping[str, Path]:
    """Return the files of a shift, as `SHIFT/FILE`.

    Raises:
        DataError: They cannot be had; the message names what is missing.
    """
    if shift not in _FILES:
        return {}
    where, patterns = _FILES[shift]
    files = {Path(name).name: path for name, path in hub.find(where, patterns, "dataset").items()}
    missing = [name for name in _WANTED.get(shift, ()) if name not in files]
    if missing:
        raise DataError(
            f"shift {shift!r} needs {', '.join(missing)}, and {where} holds {', '.join(files) or 'nothing'}",
            hint=f"put the published files into {where}/{patterns[0].rpartition('/')[0]} of the mirror",
        )
    return {f"{shift}/{name}": path for name, path in files.items()}
