"""Options of `precision_recall`. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import EmbeddingConfig


class PrecisionRecallConfig(EmbeddingConfig):
    """Options of `precision_recall`."""

    neighbours: int = Field(default=3, ge=1, le=100, description="k of improved precision and recall")
    density_neighbours: int = Field(default=5, ge=1, le=100, description="k of density and coverage")
    most_images: int = Field(
        default=10_000, ge=10, le=200_000, description="images of each set, drawn by a fixed seed"
    )
