"""Options of `class_fid`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.protocols import ComponentRef, FilterConfig, ReferenceClassifier


class ClassFidConfig(FilterConfig):
    """Options of `class_fid`."""

    primary: ClassVar[str | None] = "keep"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"),
        description="the classifier, trained on real images, whose features are compared",
    )
    keep: float = Field(
        default=0.5, gt=0, le=1, description="share of each class that stays even if fewer would be closer"
    )
    batch_fraction: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="largest share of a class that is dropped before the distance is measured again",
    )

    def first_draw(self) -> float:
        """Return as many images as leave enough where the share `keep` of them stays."""
        return max(self.oversample, 1 / self.keep)
