"""Options of `resnet32`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench_classifiers.configs._shared import PAPER, check_size
from genbench_classifiers.configs._weights import WeightsConfig


class ResNet32Config(WeightsConfig):
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
        "paper": {"recipe": PAPER},
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

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse images below 4x4 pixels: the second and third stage halve them."""
        check_size("resnet32", image_shape, halvings=2)
