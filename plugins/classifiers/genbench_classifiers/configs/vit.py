"""Options of `vit`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench_classifiers.configs._shared import ADAMW
from genbench_classifiers.configs._weights import WeightsConfig


class VitConfig(WeightsConfig):
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
        "source-s1": {
            "patch": 4,
            "dropout": 0.2,
            "embedding_dropout": 0.1,
            "token_std": 1.0,
            "recipe": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "epochs": 20},
        },
    }
