"""Options and presets of the built-in classifiers. Imports neither torch nor numpy.

Presets state every entry of the recipe in which they depart from `TrainRecipe`'s defaults: SGD with momentum
0.9, peak rate 0.1, weight decay 5e-4 on everything, cosine schedule, batches of 128, fp32.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from genbench.protocols import ClassifierConfig

Width = Annotated[int, Field(ge=1, le=16384)]
_ADAMW: Mapping[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "decay_norm_and_bias": False,
    "warmup_fraction": 0.1,
}
_PAPER: Mapping[str, Any] = {
    "epochs": 200,
    "nesterov": True,
    "warmup_fraction": 0.025,
    "precision": "bf16",
    "compile": True,
}


class MlpConfig(ClassifierConfig):
    """Options of `mlp`."""

    hidden_widths: tuple[Width, ...] = Field(
        default=(512, 512),
        max_length=32,
        description="width of each hidden layer; none is a linear classifier",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout after every hidden layer")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {**_ADAMW, "epochs": 3, "batch_size_images": 32}},
        "quick": {"recipe": {**_ADAMW, "epochs": 40}},
        "paper": {
            "dropout": 0.1,
            "recipe": {**_ADAMW, "epochs": 200, "precision": "bf16", "warmup_fraction": 0.025},
        },
    }


class CnnConfig(ClassifierConfig):
    """Options of `cnn`."""

    widths: tuple[Width, ...] = Field(
        default=(32, 64, 128),
        min_length=1,
        max_length=8,
        description="output channels of each block; every block but the last halves the image",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the last layer")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {"epochs": 3, "batch_size_images": 32, "learning_rate": 0.05}},
        "quick": {"recipe": {"epochs": 30, "warmup_fraction": 0.1}},
        "paper": {"recipe": _PAPER},
    }


class ResNet32Config(ClassifierConfig):
    """Options of `resnet32`.

    `paper` is the recipe of chenyaofo/pytorch-cifar-models (93.5 % on CIFAR-10 with batches of 256) at
    He et al.'s batch size, with a short warm-up. `source-he2016` is Sec. 4.2 of arXiv:1512.03385, 64,000
    steps on 45,000 images (92.5 %). `source-s1` is the best run of DALISA-2025/CS7643-final-project, with
    its batches of 128 and 20 epochs (87.5 %).
    """

    depth: Literal[20, 32, 44, 56, 110] = Field(
        default=32, description="weighted layers, 6n + 2: three stages of n blocks of two convolutions"
    )
    shortcut: Literal["A", "B"] = Field(
        default="A",
        description="where the width changes: `A` subsamples and pads with zeros, `B` is a 1x1 convolution",
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {"epochs": 2, "batch_size_images": 32, "learning_rate": 0.05}},
        "quick": {"recipe": {"epochs": 25, "warmup_fraction": 0.1}},
        "paper": {"recipe": _PAPER},
        "source-he2016": {
            "recipe": {
                "epochs": 64_000 * 128 / 45_000,
                "weight_decay": 1e-4,
                "schedule": "multistep",
                "milestones": (0.5, 0.75),
                "gamma": 0.1,
            }
        },
        "source-s1": {
            "shortcut": "B",
            "recipe": {
                "epochs": 20,
                "weight_decay": 1e-4,
                "schedule": "multistep",
                "milestones": (0.5, 0.75),
                "gamma": 0.1,
            },
        },
    }
