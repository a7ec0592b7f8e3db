"""Options of `features`. Imports neither torch nor numpy."""

from typing import ClassVar, Literal

from pydantic import Field

from genbench.protocols import EvaluatorConfig


class FeaturesConfig(EvaluatorConfig):
    """Options of `features`."""

    reads_baseline: ClassVar[bool] = True
    reads_twin: ClassVar[bool] = True

    method: Literal["pca", "umap"] = Field(
        default="pca", description="projection of the picture: principal components, or UMAP if installed"
    )
    shown_images: int = Field(
        default=1000, ge=10, le=100_000, description="test images in picture and data, the same for all cells"
    )
