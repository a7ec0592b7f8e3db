"""Options of `fid`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.protocols import EmbeddingConfig


class FidConfig(EmbeddingConfig):
    """Options of `fid`."""

    summarises: ClassVar[tuple[str, ...]] = ("train", "val")

    per_class: bool = Field(
        default=False, description="also the distance of each class's images to its train images"
    )
    extrapolate: bool = Field(
        default=False, description="also FID-infinity: the distance that endlessly many images would have"
    )
