"""Options of `memorization`. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import EmbeddingConfig


class MemorizationConfig(EmbeddingConfig):
    """Options of `memorization`."""

    quantile: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="an image is flagged where it is closer to a real one than this share of val is to train",
    )
    most_images: int = Field(
        default=10_000, ge=10, le=200_000, description="synthetic images looked at, drawn by a fixed seed"
    )
