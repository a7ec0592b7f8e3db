"""Options of `adversarial`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench.protocols import EvaluatorConfig


class AdversarialConfig(EvaluatorConfig):
    """Options of `adversarial`."""

    reads_network: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"images": 16, "steps": 3},
        "paper": {"images": 2000, "steps": 40},
    }

    images: int = Field(
        default=500, ge=4, le=100_000, description="test images attacked, the same for all cells"
    )
    epsilon_linf_255: float = Field(
        default=8.0, gt=0, le=255, description="largest change of a value, in steps of 255 (L-inf)"
    )
    epsilon_l2: float = Field(default=0.5, gt=0, le=100, description="largest change in L2, pixels being 0-1")
    steps: int = Field(default=10, ge=1, le=1000, description="steps of PGD")
    step_fraction: float = Field(
        default=0.25,
        gt=0,
        le=2,
        description="length of a PGD step as a share of epsilon; at least 1/steps, to reach it",
    )
