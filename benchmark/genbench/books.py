"""The books of a record: which images were sampled, kept and consumed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from genbench.counts import Count
from genbench.metrics import STRICT


@dataclass(frozen=True, config=STRICT)
class Source:
    """Images of one source in a training.

    Attributes:
        available_images: In the training set.
        distinct_images: That entered a gradient step at least once.
        consumed_images: Images in all gradient steps together.
    """

    available_images: Count
    distinct_images: Count
    consumed_images: Count

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.distinct_images <= min(self.available_images, self.consumed_images):
            raise ValueError(
                f"{self.distinct_images} distinct images of {self.available_images} available in "
                f"{self.consumed_images} consumed"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class Sampled:
    """What a `sample` step says of its images.

    Attributes:
        asked_images: Asked for.
        attempts: Made in all, blank and failed ones included.
        made_images: Usable ones.
        faults: Attempts that could not be used, by reason.
        copies: Distinct images that are, pixel for pixel, an image of a split, by split.
        kept_images: Images that the filter left; None where no filter was asked.
        more_images: Of those asked for: in top-ups, because the filter had left too few.
    """

    asked_images: Count
    attempts: Count
    made_images: Count
    faults: Mapping[str, Count] = field(default_factory=dict)
    copies: Mapping[str, Count] = field(default_factory=dict)
    kept_images: Count | None = None
    more_images: Count = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.made_images > self.asked_images or self.attempts != self.made_images + sum(
            self.faults.values()
        ):
            raise ValueError(
                f"{self.made_images} images made of {self.asked_images} asked for, in {self.attempts} "
                f"attempts with {sum(self.faults.values())} faults"
            )
        if (self.kept_images or 0) > self.made_images or any(
            n > self.made_images for n in self.copies.values()
        ):
            raise ValueError(f"more images kept or copied than the {self.made_images} that were made")
        return self


def together(parts: Sequence[Sampled]) -> Sampled:
    """Add up what several `sample` steps say: a first one and its top-ups.

    A real image that several of them copy counts for each.
    """
    faults, copies = Counter[str](), Counter[str]()
    for one in parts:
        faults.update(one.faults)
        copies.update(one.copies)
    return Sampled(
        sum(one.asked_images for one in parts),
        sum(one.attempts for one in parts),
        sum(one.made_images for one in parts),
        dict(faults),
        dict(copies),
        more_images=sum(one.more_images for one in parts),
    )


@dataclass(frozen=True, config=STRICT)
class Ledger:
    """Which images became what: sampled, kept, consumed.

    Attributes:
        real: Real images of the training; None where nothing was trained.
        synthetic: Its synthetic images; likewise.
        images: What the generator made; None for the baseline.
        steps: Optimizer steps of the training; None where nothing was trained, or in records of schema 1.
    """

    real: Source | None = None
    synthetic: Source | None = None
    images: Sampled | None = None
    steps: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        used = self.synthetic.available_images if self.synthetic else 0
        made, kept = (self.images.made_images, self.images.kept_images) if self.images else (None, None)
        if made is not None and used > made:
            raise ValueError(f"{used} synthetic images in the training set, and {made} were made")
        if kept is not None and used > kept:
            raise ValueError(f"{used} synthetic images in the training set, and the filter kept {kept}")
        return self
