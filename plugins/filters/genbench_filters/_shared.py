"""What several filters need: what a judge says about a set, and verdicts from reasons."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.protocols import Verdicts
from genbench.training import predict

Floats = npt.NDArray[np.float64]


def judged_logits(judge: Any, images: LabelledImages, device: str, who: str) -> Floats:
    """Return what a judge says about each image: logits `float64 [N, classes]`.

    Args:
        judge: A `ReferenceClassifier` as it arrives in `ctx.inputs`.
        images: The images.
        device: Where the judge is.
        who: The filter and its option, for messages.

    Raises:
        DataError: Logits are not finite.
    """
    return _finite(predict(judge, images, "fp32", device).logits, "logits", who)


def judged_features(judge: Any, images: LabelledImages, device: str, who: str) -> torch.Tensor:
    """Return a judge's penultimate features of each image, on the CPU: `float64 [N, D]`.

    Args:
        judge: A `ReferenceClassifier` as it arrives in `ctx.inputs`.
        images: The images.
        device: Where the judge is.
        who: The filter and its option, for messages.

    Raises:
        DataError: Features are not finite.
    """
    return torch.from_numpy(_finite(predict(judge, images, "fp32", device).features, "features", who))


def verdicts(reasons: Sequence[str]) -> Verdicts:
    """Return the verdicts of a filter that has a reason for each image it drops, and "" for the others."""
    return Verdicts(np.array([not reason for reason in reasons], dtype=bool), reasons)


def share_of(count: int, fraction: float) -> int:
    """Return how many of `count` images are a share of them, rounded up.

    >>> share_of(10, 0.7), share_of(3, 0.1)
    (7, 1)
    """
    return math.ceil(round(count * fraction, 9))  # 10 * 0.7 is 7.000000000000001


def _finite(values: npt.NDArray[np.float32], what: str, who: str) -> Floats:
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        raise DataError(
            f"{who} gave {what} that are not finite for {bad} of {len(values)} images",
            hint="its training diverged: lower its recipe.learning_rate",
        )
    return values.astype(np.float64)
