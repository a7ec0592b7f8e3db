"""Options of `near_duplicates`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from genbench.protocols import FilterConfig


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
