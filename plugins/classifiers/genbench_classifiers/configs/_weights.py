"""Options that the built-in classifiers share: a checkpoint to start from. Imports no torch, no numpy."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from genbench.errors import DataError, unusable_path
from genbench.files import open_regular
from genbench.protocols import ADDED_LATER, ClassifierConfig

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".th", ".tar")
#: Mean and standard deviation per channel, in units of 0-1, by the name of what published weights expect.
STATISTICS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10-kuangliu": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_CHANNELS = 3
_LENGTH_BYTES = 8  # at the start of a safetensors file: how long its header is
Six = Annotated[tuple[float, ...], Field(min_length=2 * _CHANNELS, max_length=2 * _CHANNELS)]
Normalisation = Literal["train", "cifar10", "cifar10-kuangliu", "imagenet"] | Six
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class WeightsConfig(ClassifierConfig):
    """A checkpoint, what its pixels looked like, and whether its last layer is kept."""

    location_fields: ClassVar[frozenset[str]] = frozenset({"weights"})

    weights: Path | None = Field(
        default=None,
        description="checkpoint to start from: safetensors, or a .pt or .pth that torch's weights-only "
        "loader reads. Its content enters every key, its path none; say its `normalisation`, too",
    )
    normalisation: Annotated[Normalisation | None, ADDED_LATER] = Field(
        default=None,
        description="what the weights expect of pixels: `train`, mean and spread of this dataset's train "
        "images (the default without weights); published ones by name; or six numbers in units of 0-1, means "
        "then spreads: [0.5,0.5,0.5,0.5,0.5,0.5]",
    )
    fresh_head: Annotated[bool, ADDED_LATER] = Field(
        default=False,
        description="draw the last layer anew and take the rest from `weights`: for other classes",
    )

    @field_validator("weights")
    @classmethod
    def _where_it_lies(cls, value: Path | None) -> Path | None:
        """Name the file so that it is found from any folder: steps run elsewhere."""
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="before")
    @classmethod
    def _train_goes_without_saying(cls, values: Any) -> Any:
        """Leave `normalisation=train` out where nothing else is meant without it: one network, one key."""
        if not isinstance(values, Mapping) or values.get("weights") is not None:
            return values
        return {
            name: one for name, one in values.items() if name != "normalisation" or one not in ("train", None)
        }

    @field_validator("normalisation")
    @classmethod
    def _by_name(cls, value: Normalisation | None) -> Normalisation | None:
        """Return the name of numbers that have one."""
        named: Any = next((name for name, (mean, std) in STATISTICS.items() if (*mean, *std) == value), value)
        return cast("Normalisation | None", named)

    @model_validator(mode="after")
    def _is_told_what_weights_expect(self) -> Self:
        if self.weights is not None and self.normalisation is None:
            raise ValueError(
                "weights=... needs normalisation=..., what they were trained with: a wrong one is no error, "
                f"and costs accuracy. Allowed: train, {', '.join(STATISTICS)}, or six numbers"
            )
        if isinstance(self.normalisation, tuple) and min(self.normalisation[_CHANNELS:]) <= 0:
            raise ValueError("normalisation=[...]: the last three numbers are spreads, and above 0")
        if self.fresh_head and not self.recipe.epochs:
            raise ValueError(
                "fresh_head needs recipe.epochs > 0: its last layer would be evaluated untrained"
            )
        return self

    @property
    def names_a_model(self) -> bool:
        """They do where there is a checkpoint."""
        return self.weights is not None

    def source_files(self) -> Mapping[str, Path]:
        """Return the checkpoint.

        Raises:
            DataError: It is not there, or is of no form that is read.
        """
        if self.weights is None:
            return {}
        if not self.weights.is_file():
            raise unusable_path(
                self.weights, f"weights: there is no file {str(self.weights)!r}", hint="weights=FILE"
            )
        if self.weights.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"weights={self.weights.name}: unknown form; these are read: {', '.join(SUFFIXES)}"
            )
        return {"weights": self.weights}

    def check_files(self, image_problem: Callable[[Path], str]) -> None:
        """Look at the head of the checkpoint; what it holds is read when there is a dataset.

        Raises:
            DataError: It is empty, torn, or of another form than its name says.
        """
        if self.weights is not None:
            problem = _head_problem(self.weights)
            if problem:
                raise DataError(
                    f"weights={self.weights.name} cannot be read: {problem}", hint="download or save it again"
                )

    def external_data(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """A network that starts from a checkpoint knows what that was trained on."""
        return declared if self.weights is not None else ()

    @property
    def statistics(self) -> Statistics | None:
        """Mean and standard deviation per channel, or None for those of train."""
        if self.normalisation is None or self.normalisation == "train":
            return None
        if isinstance(self.normalisation, str):
            return STATISTICS[self.normalisation]
        return self.normalisation[:_CHANNELS], self.normalisation[_CHANNELS:]


def _head_problem(path: Path) -> str:
    """Say what is wrong with the form of a checkpoint, as far as its first bytes tell; or nothing."""
    size = path.stat().st_size
    with open_regular(path) as file:
        head = file.read(_LENGTH_BYTES)
        if not head:
            return "it is empty"
        if path.suffix.lower() != ".safetensors":
            # A zip since torch 1.6; before, a pickle (0x80), or in a .tar a tar archive.
            torn = head.startswith(b"PK") and not zipfile.is_zipfile(file)
            return "it is torn: the end of its zip archive is missing" if torn else ""
        length = int.from_bytes(head, "little")
        if len(head) < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            return "it is no safetensors file, or torn"
        try:
            entries = dict(json.loads(file.read(length)))
            ends = [one["data_offsets"][1] for name, one in entries.items() if name != "__metadata__"]
            holds = max(ends, default=0)
        except (ValueError, TypeError, KeyError, LookupError):
            return "its safetensors header is damaged"
    missing = _LENGTH_BYTES + length + holds - size
    return f"it is torn: {missing:,} bytes are missing" if missing > 0 else ""
