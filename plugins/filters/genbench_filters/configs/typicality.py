"""Options of `typicality`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.protocols import ComponentRef, FilterConfig, ReferenceClassifier


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
