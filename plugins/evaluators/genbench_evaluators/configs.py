"""Options of the built-in evaluators. Imports neither torch nor numpy."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from genbench.protocols import EmbeddingConfig, EvaluatorConfig


class AccuracyConfig(EvaluatorConfig):
    """`accuracy` has no options: it reports every split that was predicted."""


class FidConfig(EmbeddingConfig):
    """Options of `fid`."""

    summarises: ClassVar[tuple[str, ...]] = ("train", "val")

    per_class: bool = Field(
        default=False, description="also the distance of each class's images to its train images"
    )
    extrapolate: bool = Field(
        default=False, description="also FID-infinity: the distance that endlessly many images would have"
    )


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
