"""Options for shifts, and where their files are. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import DatasetConfig

Severity = Annotated[int, Field(ge=1, le=5)]
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


class ShiftOptions(DatasetConfig):
    """Options of a dataset whose test images can be corrupted."""

    shifts: tuple[Literal["computed"], ...] = Field(
        default=(), description="out-of-distribution test sets: `computed` corruptions of test"
    )
    severities: tuple[Severity, ...] = Field(
        default=(3,), min_length=1, description="severities of corruptions, 1 to 5"
    )


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
