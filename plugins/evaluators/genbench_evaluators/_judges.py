"""What a `ReferenceClassifier` says about a set of images."""

from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.training import predict

Floats = npt.NDArray[np.float64]


def judged_logits(judge: Any, images: LabelledImages, device: str, who: str) -> Floats:
    """Return a judge's logits: `float64 [n, classes]`.

    Raises:
        DataError: They are not finite.
    """
    logits = predict(judge, images, "fp32", device).logits.astype(np.float64)
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise DataError(
            f"{who} gave logits that are not finite for {bad} of {len(logits)} images",
            hint="its training diverged: lower its recipe.learning_rate",
        )
    return logits
