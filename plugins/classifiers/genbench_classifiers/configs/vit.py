"""Options of `vit`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench.errors import UsageError
from genbench_classifiers.configs._shared import ADAMW
from genbench_classifiers.configs._weights import WeightsConfig

_PATCHES = (1, 2, 4, 8, 16, 32)
_USUAL_PATCH = 4  # what `auto` takes unless a larger one leaves enough patches
_FEWEST_ACROSS = 7  # patches across the shorter side
_MOST_PATCHES = 4096  # attention's cost is quadratic: more would be a mistake
_SOURCE_S1: Mapping[str, Any] = {
    "patch": 4,
    "dropout": 0.2,
    "embedding_dropout": 0.1,
    "token_std": 1.0,
    "recipe": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "epochs": 20},
}


class VitConfig(WeightsConfig):
    """Options of `vit`.

    `source-s1` is DALISA-2025/CS7643-final-project: Adam at 1e-3 without decay, batches of 128, cosine, 20
    epochs for `tiny` (65.7 % on its 1,000 validation images) and `small`; `source-s1-medium` and
    `source-s1-large` have 40 and 60. Dropout is that of its one published setting. It subtracted the mean
    image from pixels of 0 to 255 and did not augment (our mix `augment = "off"`); here the harness
    normalises. `paper` is the common recipe for small images (AdamW, warm-up, label smoothing, clipped
    gradients; after Steiner et al., arXiv:2106.10270, Sec. 3.3).
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
        "smoke": {"recipe": {**ADAMW, "epochs": 3, "batch_size_images": 32}},
        "quick": {"recipe": {**ADAMW, "epochs": 40, "batch_size_images": 64, "clip_norm": 1.0}},
        "paper": {
            "dropout": 0.1,
            "recipe": {
                **ADAMW,
                "epochs": 200,
                "warmup_fraction": 0.05,
                "label_smoothing": 0.1,
                "clip_norm": 1.0,
                "precision": "bf16",
                "compile": True,
            },
        },
        "source-s1": _SOURCE_S1,
        "source-s1-medium": {
            **_SOURCE_S1,
            "size": "medium",
            "recipe": {**_SOURCE_S1["recipe"], "epochs": 40},
        },
        "source-s1-large": {
            **_SOURCE_S1,
            "size": "large",
            "recipe": {**_SOURCE_S1["recipe"], "epochs": 60},
        },
    }

    def patch_of(self, image_shape: tuple[int, int, int]) -> int:
        """Return the side of a patch, in pixels, for images of this shape."""
        return choose_patch(image_shape[1:]) if self.patch == "auto" else self.patch

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse images that the patch does not divide, or cuts into too many."""
        _check_patch(self.patch_of(image_shape), image_shape)


def choose_patch(sides: tuple[int, int]) -> int:
    """Return the patch of `auto` for images of this height and width.

    >>> choose_patch((32, 32)), choose_patch((8, 8)), choose_patch((224, 224))
    (4, 4, 16)
    """
    dividing = [patch for patch in _PATCHES if all(side % patch == 0 for side in sides)]
    small = [patch for patch in dividing if patch <= _USUAL_PATCH]
    fine = [patch for patch in dividing if patch <= 16 and min(sides) // patch >= _FEWEST_ACROSS]
    return max(small + fine)


def _check_patch(patch: int, image_shape: tuple[int, int, int]) -> None:
    _, height, width = image_shape
    if height % patch or width % patch:
        fitting = [str(other) for other in _PATCHES if height % other == 0 and width % other == 0]
        raise UsageError(
            f"vit cuts images into patches of {patch}x{patch}, which do not fill {height}x{width} pixels: "
            f"height and width must be multiples of {patch}; these work here: {', '.join(fitting)}",
            hint="--classifier vit:patch=auto, or a dataset option `size` that the patch divides",
        )
    patches = (height // patch) * (width // patch)
    if patches > _MOST_PATCHES:
        raise UsageError(
            f"vit would cut {height}x{width} pixels into {patches} patches of {patch}x{patch}: at most "
            f"{_MOST_PATCHES} are taken",
            hint="a larger vit:patch=..., or images whose height and width are multiples of 16",
        )
