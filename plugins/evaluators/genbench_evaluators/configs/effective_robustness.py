"""Options of `effective_robustness`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import EvaluatorConfig


class EffectiveRobustnessConfig(EvaluatorConfig):
    """Options of `effective_robustness`; the defaults are protocol rule 9's."""

    subject: ClassVar[Subject] = "suite"

    fewest_models: int = Field(default=10, ge=3, description="real-only models that the line needs")
    fewest_families: int = Field(default=3, ge=1, description="classifiers that they come from")
    narrowest_span_points: float = Field(
        default=10.0, ge=0, le=100, description="span of their test accuracies, in points"
    )
    resamples: int = Field(default=1000, ge=100, le=100_000, description="bootstrap resamples of the models")
