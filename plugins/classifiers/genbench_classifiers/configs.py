"""Options and presets of `mlp`, `cnn`, `resnet32` and `vit`. Imports neither torch nor numpy.

Presets state every entry of the recipe in which they depart from `TrainRecipe`'s defaults: SGD with momentum
0.9, peak rate 0.1, weight decay 5e-4 on everything, cosine schedule, batches of 128, fp32. `paper` takes 200
passes over the training images; where a docstring names an accuracy, it is the source's, and none is ours.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

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
_SMALL_STEPS: Mapping[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "epochs": 40,
    "batch_size_images": 32,
}


class MlpConfig(ClassifierConfig):
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
        "smoke": {"recipe": {**_ADAMW, "epochs": 3, "batch_size_images": 32}},
        "quick": {"recipe": {**_ADAMW, "epochs": 40}},
        "paper": {
            "dropout": 0.1,
            "recipe": {**_ADAMW, "epochs": 200, "precision": "bf16", "warmup_fraction": 0.025},
        },
        "source-s2": {"recipe": _SMALL_STEPS},
    }


class CnnConfig(ClassifierConfig):
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
        "quick": {"recipe": {"epochs": 30, "warmup_fraction": 0.1}},
        "paper": {"recipe": _PAPER},
        "source-s3": {"architecture": "s3", "recipe": _SMALL_STEPS},
        "source-s4": {
            "architecture": "s4",
            "recipe": {**_SMALL_STEPS, "learning_rate": 1e-3, "epochs": 900 * 32 / 601},
        },
    }

    @model_validator(mode="after")
    def _of_the_architecture(self) -> "CnnConfig":
        fields = type(self).model_fields
        idle = [name for name in ("widths", "dropout") if getattr(self, name) != fields[name].default]
        if self.architecture != "pooled" and idle:
            raise ValueError(f"architecture {self.architecture!r} is fixed: it does not take {idle[0]!r}")
        return self


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


class VitConfig(ClassifierConfig):
    """Options of `vit`.

    `source-s1` is DALISA-2025/CS7643-final-project: Adam at 1e-3 without decay, batches of 128, cosine, 20
    epochs for `tiny` (65.7 % on its 1,000 validation images) and `small`, 40 for `medium`, 60 for `large`:
    set `recipe.epochs`. It subtracted the mean image from pixels of 0 to 255 and did not augment (our mix
    `augment = "off"`); here the harness normalises. `paper` is the common recipe for small images (AdamW,
    warm-up, label smoothing, clipped gradients; after Steiner et al., arXiv:2106.10270, Sec. 3.3).
    """

    primary: ClassVar[str | None] = "size"

    size: Literal["tiny", "small", "medium", "large"] = Field(
        default="tiny", description="blocks, and heads of each: 2, 4, 8 or 16, at width 256"
    )
    patch: Literal["auto", 1, 2, 4, 8, 16, 32] = Field(
        default="auto",
        description="side of a patch in pixels, which must divide the image; `auto`: the largest of 16 and 8 "
        "that leaves 7 patches across, else 4 where it divides the image (32 pixels, and 8), else 2 or 1",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout in attention and MLP")
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout after the positions")
    token_std: float = Field(
        default=0.3,
        gt=0,
        le=10,
        description="spread of the initial class token and positions, beside patches of spread 1",
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {**_ADAMW, "epochs": 3, "batch_size_images": 32}},
        "quick": {"recipe": {**_ADAMW, "epochs": 40, "batch_size_images": 64, "clip_norm": 1.0}},
        "paper": {
            "dropout": 0.1,
            "recipe": {
                **_ADAMW,
                "epochs": 200,
                "warmup_fraction": 0.05,
                "label_smoothing": 0.1,
                "clip_norm": 1.0,
                "precision": "bf16",
                "compile": True,
            },
        },
        "source-s1": {
            "patch": 4,
            "dropout": 0.2,
            "embedding_dropout": 0.1,
            "token_std": 1.0,
            "recipe": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "epochs": 20},
        },
    }
