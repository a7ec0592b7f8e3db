"""Options of `cnn`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from genbench_classifiers.configs._shared import PAPER, SMALL_STEPS, Width, check_size, check_smallest
from genbench_classifiers.configs._weights import WeightsConfig


class CnnConfig(WeightsConfig):
    """Options of `cnn`.

    `source-s4` is kyritzb/Synthetic-Data-Classification-Experiment: Keras' Adam, 900 updates of 32 of 601
    images. `source-s3` is the WPI report "Dreaming Data": 40 epochs; it describes neither its CNN (54 % on
    CIFAR-10) nor the rest of its recipe, which is taken from its sister report (`mlp:preset=source-s2`).
    """

    architecture: Literal["pooled", "s3", "s4"] = Field(
        default="pooled",
        description="`pooled`: batch norm and global pooling, any size; `s3`: five layers in LeNet's manner, "
        "from 16x16 pixels; `s4`: three valid convolutions and a wide dense layer, from 22x22 pixels",
    )
    widths: tuple[Width, ...] = Field(
        default=(32, 64, 128),
        min_length=1,
        max_length=8,
        description="`pooled`: output channels of each block; every block but the last halves the image",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="`pooled`: dropout before the last layer")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {"epochs": 3, "batch_size_images": 32, "learning_rate": 0.05}},
        "quick": {  # rate and decay were searched on val of CIFAR-10: docs/tuning/README.md
            "tuning_trials": 8,
            "recipe": {
                "epochs": 30,
                "warmup_fraction": 0.1,
                "learning_rate": 0.356,
                "weight_decay": 0.000116,
            },
        },
        "paper": {"recipe": PAPER},
        "source-s3": {"architecture": "s3", "recipe": SMALL_STEPS},
        "source-s4": {
            "architecture": "s4",
            "recipe": {**SMALL_STEPS, "learning_rate": 1e-3, "epochs": 900 * 32 / 601},
        },
    }

    @model_validator(mode="after")
    def _of_the_architecture(self) -> "CnnConfig":
        fields = type(self).model_fields
        idle = [name for name in ("widths", "dropout") if getattr(self, name) != fields[name].default]
        if self.architecture != "pooled" and idle:
            raise ValueError(f"architecture {self.architecture!r} is fixed: it does not take {idle[0]!r}")
        return self

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse images that the architecture would shrink to nothing."""
        if self.architecture == "pooled":
            what, hint = f"cnn with {len(self.widths)} widths", "cnn:widths=[32] takes any size"
            check_size(what, image_shape, len(self.widths) - 1, hint)
        elif self.architecture == "s3":
            check_smallest(
                "cnn with architecture s3 has two 5x5 convolutions without padding", image_shape, 16
            )
        else:
            what = "cnn with architecture s4 has three 3x3 convolutions without padding"
            check_smallest(what, image_shape, 22)
