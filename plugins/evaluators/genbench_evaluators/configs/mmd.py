"""Options of `mmd`. Imports neither torch nor numpy."""

from typing import Annotated, Literal

from pydantic import Field

from genbench.protocols import EmbeddingConfig


class MmdConfig(EmbeddingConfig):
    """Options of `mmd`."""

    bandwidth: float | None = Field(
        default=None,
        gt=0,
        description="sigma of the RBF kernel, in units of the features; none is the median distance between "
        "real training images",
    )
    kernel: Literal["rbf", "polynomial"] = Field(
        default="rbf", description="Gaussian, or (x . y / D + 1)^3, which is KID's"
    )
    bandwidth_factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0,), min_length=1, description="rbf: the kernel is the mean over these multiples of sigma"
    )
    permutations: int = Field(
        default=200, ge=0, le=100_000, description="random splits behind the p value against val; 0 is none"
    )
