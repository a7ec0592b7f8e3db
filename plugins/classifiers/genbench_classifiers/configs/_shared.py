"""What presets of several classifiers share. Imports neither torch nor numpy.

Presets state every entry of the recipe in which they depart from `TrainRecipe`'s defaults: SGD with momentum
0.9, peak rate 0.1, weight decay 5e-4 on everything, cosine schedule, batches of 128, fp32. `paper` takes 200
passes over the training images; where a docstring names an accuracy, it is the source's, and none is ours.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from genbench.errors import UsageError

Width = Annotated[int, Field(ge=1, le=16384)]
ADAMW: Mapping[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "decay_norm_and_bias": False,
    "warmup_fraction": 0.1,
}
CLIPPED_ADAMW: Mapping[str, Any] = {**ADAMW, "clip_norm": 1.0}
PAPER: Mapping[str, Any] = {
    "epochs": 200,
    "nesterov": True,
    "warmup_fraction": 0.025,
    "precision": "bf16",
    "compile": True,
}
SMALL_STEPS: Mapping[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "epochs": 40,
    "batch_size_images": 32,
}


def check_size(component: str, image_shape: tuple[int, int, int], halvings: int, hint: str = "") -> None:
    """Refuse images that cannot be halved so often.

    Raises:
        UsageError: They are too small; the message says which sizes work.
    """
    check_smallest(f"{component} halves the image {halvings} times", image_shape, 2**halvings, hint)


def check_smallest(what: str, image_shape: tuple[int, int, int], smallest: int, hint: str = "") -> None:
    """Refuse images below `smallest` pixels in height or width.

    Raises:
        UsageError: They are; the message begins with `what`, the reason.
    """
    _, height, width = image_shape
    if min(height, width) < smallest:
        raise UsageError(
            f"{what}: it takes {smallest}x{smallest} pixels or more, found {height}x{width}",
            hint=hint or "choose a larger dataset option `size`, or the classifier mlp, which takes any size",
        )
