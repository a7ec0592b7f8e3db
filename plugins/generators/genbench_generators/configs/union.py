"""Options of `union`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from genbench.protocols import (
    ComponentRef,
    GeneratorConfig,
    OptionalSampledGenerator,
    SampledGenerator,
)
from genbench_generators.configs._source_s4 import STYLED, VARIATIONS

PARTS = ("first", "second", "third", "fourth")
Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class UnionConfig(GeneratorConfig):
    """Options of `union`.

    `source-s4` is what the code of kyritzb/Synthetic-Data-Classification-Experiment meant to train on: 795
    variations of the training images and 5,122 stylised ones, of the originals alone (its paper, and
    `chain:preset=source-s4`, style the variations, too). With its 601 originals, that is a `ratio` of 9.85.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source-s4": {"first": VARIATIONS, "second": STYLED, "shares": (795, 5122)},
    }

    first: SampledGenerator = Field(default=ComponentRef(use="copies"), description="a generator")
    second: SampledGenerator = Field(default=ComponentRef(use="classical"), description="another one")
    third: OptionalSampledGenerator = Field(default=None, description="a third one")
    fourth: OptionalSampledGenerator = Field(default=None, description="a fourth one")
    shares: tuple[Share, ...] = Field(
        default=(),
        max_length=len(PARTS),
        description="share of each part, in any unit: [795,5122], or 795+5122; without them, all are alike",
    )

    @model_validator(mode="before")
    @classmethod
    def _sums_are_lists(cls, values: Any) -> Any:
        """Read `795+5122` as `[795, 5122]`."""
        if isinstance(values, Mapping) and isinstance(values.get("shares"), str):
            return {**values, "shares": values["shares"].split("+")}
        return values

    @model_validator(mode="after")
    def _one_share_per_part(self) -> Self:
        parts = [name for name in PARTS if getattr(self, name) is not None]
        if self.shares and len(self.shares) != len(parts):
            raise ValueError(f"{len(self.shares)} shares for {len(parts)} parts ({', '.join(parts)})")
        return self
