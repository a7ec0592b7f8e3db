"""`label_fidelity`: does an image show what its label says?

The share of synthetic images whose intended class an independent classifier predicts, per class with counts,
beside the same on real val images: no image set can be expected to score above that. The classifier is
trained here on real train images alone and is another one than the board's reference and a filter's judge by
default. A generator that only makes easy images scores above the real ones; it is not better for it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from genbench.images import LabelledImages
from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench_evaluators._judges import judged_logits
from genbench_evaluators.configs.label_fidelity import LabelFidelityConfig


class LabelFidelity(ImageEvaluator):
    """Asks a classifier for the class of every image."""

    def __init__(self, config: LabelFidelityConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the agreement on synthetic and on val images, and a table per class.

        Raises:
            DataError: The judge's logits are not finite.
        """
        judge, name = ctx.inputs["judge"], self.config.judge.use
        metrics, tables = [], {}
        sides: tuple[tuple[str, Role, LabelledImages], ...] = (
            ("synthetic", "score", synthetic.images),
            ("val", "floor", real["val"].images),
        )
        for split, role, images in sides:
            logits = judged_logits(judge, images, ctx.device, f"label_fidelity: judge {name!r}")
            agrees = logits.argmax(axis=1) == images.labels
            value = 100 * float(agrees.mean())
            metrics.append(
                Metric(
                    "label_fidelity", value, "%", True, (0, 100), 1e-9,
                    split=split, extractor=name, n=len(images), role=role, average="pooled",
                )
            )  # fmt: skip
            tables[split] = by_class(agrees, images)
        return Evaluation(metrics, tables)


def by_class(agrees: npt.NDArray[np.bool_], images: LabelledImages) -> list[dict[str, object]]:
    """Return counts and agreement per intended class; None for a class without images."""
    rows = []
    for label, name in enumerate(images.class_names):
        own = agrees[images.labels == label]
        share = 100 * float(own.mean()) if len(own) else None
        rows.append({"class": name, "n": len(own), "agree": int(own.sum()), "percent": share})
    return rows
