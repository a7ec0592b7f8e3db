"""Options of `confidence`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.protocols import ComponentRef, FilterConfig, ReferenceClassifier


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

    def first_draw(self) -> float:
        """Return as many images as leave enough where the share `keep` of them stays."""
        return max(self.oversample, 1 / self.keep)
