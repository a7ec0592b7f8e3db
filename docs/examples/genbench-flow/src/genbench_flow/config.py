"""Options of `flow`. Imports neither torch nor numpy: planning reads this alone."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench.protocols import GeneratorConfig


class FlowConfig(GeneratorConfig):
    """Options of `flow`."""

    sample_fields: ClassVar[frozenset[str]] = frozenset({"solver", "solver_steps"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"channels": 8, "iterations": 20, "solver_steps": 4},
        "paper": {
            "channels": 128,
            "iterations": 200_000,
            "batch_size_images": 128,
            "learning_rate": 2e-4,
            "ema_decay": 0.9999,
            "solver_steps": 50,
        },
    }

    channels: int = Field(default=32, ge=4, le=512, multiple_of=4, description="channels of the first level")
    iterations: int = Field(default=1500, ge=1, description="optimizer steps of the fit")
    batch_size_images: int = Field(default=64, ge=1, description="images per optimizer step")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="of Adam")
    ema_decay: float = Field(
        default=0.99, ge=0, lt=1, description="decay of the averaged weights that sample"
    )
    sigma_min: float = Field(
        default=1e-4, ge=0, lt=1, description="standard deviation around an image at the end of its path"
    )
    solver: Literal["euler", "heun"] = Field(default="heun", description="how the flow is integrated")
    solver_steps: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="steps from noise to image; heun calls the network twice in each",
    )
