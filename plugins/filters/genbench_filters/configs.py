"""Options of the built-in filters. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench.errors import DataError
from genbench.protocols import ComponentRef, FilterConfig, ReferenceClassifier


class NoFilterConfig(FilterConfig):
    """Options of `none`: those that every filter has."""


class ConfidenceConfig(FilterConfig):
    """Options of `confidence`."""

    primary: ClassVar[str | None] = "keep"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"), description="the classifier, trained on real images, that judges"
    )
    agree: bool = Field(
        default=True, description="whether the judge's first guess must be the image's label, too"
    )
    keep: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of each class that stays, the most confident first (counted before `agree`)",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="probability of the label from which an image stays whatever its rank in the class",
    )


class TypicalityConfig(FilterConfig):
    """Options of `typicality`."""

    primary: ClassVar[str | None] = "quantile"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"),
        description="the classifier, trained on real images, whose features are compared",
    )
    neighbours: int = Field(
        default=5, ge=1, le=1000, description="the distance to this nearest real image of the class counts"
    )
    quantile: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="share of the real images of a class that would stay, each judged by the others",
    )


class NearDuplicatesConfig(FilterConfig):
    """Options of `near_duplicates`."""

    primary: ClassVar[str | None] = "quantile"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "smoke": {"calibration_images": 200},
        "paper": {"calibration_images": 10_000},
    }

    quantile: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the real images that would count as copies of another real image",
    )
    max_distance: float | None = Field(
        default=None,
        ge=0,
        le=255,
        description="root mean square difference, in grey levels 0-255, up to which an image is a copy; "
        "takes the place of `quantile`; 0 finds exact copies alone",
    )
    calibration_images: int = Field(
        default=2000,
        ge=2,
        description="real images whose nearest neighbour is sought for `quantile`: all, if there are fewer",
    )
    of_training: bool = Field(default=True, description="whether copies of training images are dropped")
    within_set: bool = Field(default=True, description="whether copies within the set are dropped")


class FidelityConfig(FilterConfig):
    """Options of `fidelity`."""

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="mlp"),
        description="the classifier, trained on real images, that must see the label: take another than the "
        "one under test",
    )


class ClassFidConfig(FilterConfig):
    """Options of `class_fid`."""

    primary: ClassVar[str | None] = "keep"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"),
        description="the classifier, trained on real images, whose features are compared",
    )
    keep: float = Field(
        default=0.5, gt=0, le=1, description="share of each class that stays even if fewer would be closer"
    )
    batch_fraction: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="largest share of a class that is dropped before the distance is measured again",
    )


class CullListConfig(FilterConfig):
    """Options of `cull_list`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path"})

    path: Path = Field(
        description="text file with the rows of the images to drop, from 0, one a line; # starts a comment"
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the list."""
        file = self.path.expanduser()
        if not file.is_file():
            raise DataError(f"cull_list: {str(self.path)!r} is not a file", hint="--filter cull_list:PATH")
        return {"cull_list": file}
