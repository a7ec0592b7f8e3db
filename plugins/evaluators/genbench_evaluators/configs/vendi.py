"""Options of `vendi`. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import EmbeddingConfig


class VendiConfig(EmbeddingConfig):
    """Options of `vendi`."""

    most_images: int = Field(
        default=10_000, ge=2, le=200_000, description="images of each set, drawn by a fixed seed"
    )
