"""Options of `usefulness`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import EvaluatorConfig


class UsefulnessConfig(EvaluatorConfig):
    """Options of `usefulness`."""

    subject: ClassVar[Subject] = "suite"
    spans_datasets: ClassVar[bool] = True

    fewest_rows: int = Field(
        default=5, ge=3, le=1000, description="rows below which no correlation is reported"
    )
    controls: bool = Field(
        default=False,
        description="also rows of real images (more of them, or copies), which are near to real ones by "
        "construction",
    )
    resamples: int = Field(
        default=1000, ge=100, le=100_000, description="bootstrap resamples of the generators"
    )
