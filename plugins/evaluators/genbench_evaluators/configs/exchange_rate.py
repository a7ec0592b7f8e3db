"""Options of `exchange_rate`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import EvaluatorConfig


class ExchangeRateConfig(EvaluatorConfig):
    """Options of `exchange_rate`."""

    subject: ClassVar[Subject] = "suite"
    spans_datasets: ClassVar[bool] = True

    fewest_sizes: int = Field(
        default=3, ge=2, le=1000, description="training-set sizes that the curve of real images needs"
    )
