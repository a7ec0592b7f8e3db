"""Options of `mlp`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench_classifiers.configs._shared import ADAMW, SMALL_STEPS, Width
from genbench_classifiers.configs._weights import WeightsConfig


class MlpConfig(WeightsConfig):
    """Options of `mlp`.

    `source-s2` is what the DDPM report of WPI RBE474X says of its "custom MLP": rate 1e-4, 40 epochs, batches
    of 32 (44.05 % on CIFAR-10). It names neither widths, optimizer nor schedule: ours are 512, 512, Adam at a
    constant rate.
    """

    hidden_widths: tuple[Width, ...] = Field(
        default=(512, 512),
        max_length=32,
        description="width of each hidden layer; none is a linear classifier",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout after every hidden layer")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {**ADAMW, "epochs": 3, "batch_size_images": 32}},
        "quick": {"recipe": {**ADAMW, "epochs": 40}},
        "paper": {
            "dropout": 0.1,
            "recipe": {**ADAMW, "epochs": 200, "precision": "bf16", "warmup_fraction": 0.025},
        },
        "source-s2": {"recipe": SMALL_STEPS},
    }
