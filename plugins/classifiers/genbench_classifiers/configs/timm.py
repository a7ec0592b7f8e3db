"""Options of `timm`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench.protocols import TrainRecipe
from genbench_classifiers.configs._shared import CLIPPED_ADAMW
from genbench_classifiers.configs._weights import WeightsConfig


class TimmConfig(WeightsConfig):
    """Options of `timm`: any architecture of timm, with fresh weights."""

    primary: ClassVar[str | None] = "model"

    model: str = Field(
        default="resnet18",
        min_length=1,
        pattern=r"^[a-z0-9_]+$",
        description="name of the architecture, as timm.list_models() gives it",
    )
    input_size_pixels: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="side that images are resized to, inside the network; none leaves them as they are",
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="dropout before the last layer; none is the model's own"
    )
    drop_path: float | None = Field(
        default=None, ge=0, lt=1, description="stochastic depth at the last block; none is the model's own"
    )
    recipe: TrainRecipe = Field(default=TrainRecipe(**CLIPPED_ADAMW), description="how it is trained")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {**CLIPPED_ADAMW, "epochs": 2, "batch_size_images": 32}},
        "quick": {"recipe": {**CLIPPED_ADAMW, "epochs": 20}},
        "paper": {
            "recipe": {
                **CLIPPED_ADAMW,
                "epochs": 200,
                "warmup_fraction": 0.05,
                "label_smoothing": 0.1,
                "precision": "bf16",
                "compile": True,
            }
        },
    }
