"""Options of `noise`. Imports neither torch nor numpy: planning reads this alone."""

from typing import ClassVar

from pydantic import Field

from genbench.protocols import GeneratorConfig


class NoiseConfig(GeneratorConfig):
    """Options of `noise`."""

    sample_fields: ClassVar[frozenset[str]] = frozenset({"sigma"})  # one fit serves every sigma

    sigma: float = Field(
        default=0.1, ge=0, le=1, description="standard deviation of the noise, in units of 0-1"
    )
