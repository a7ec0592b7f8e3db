"""`inception_score`: are images recognised for sure, and are all classes among them?

Salimans et al., arXiv:1606.03498, Sec. 4: exp E KL(p(y | x) || p(y)), from 1 to the number of classes, with a
classifier of the dataset's own classes, trained here on real images, in the place of Inception; computed once
on all images, not on ten parts. none of its values is comparable with published ones. Per class (S5) it is
the same over the images of one intended class, where 1 is perfect: every other value is disagreement.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax

from genbench.images import LabelledImages
from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench_evaluators._judges import Floats, judged_logits
from genbench_evaluators.configs.inception_score import InceptionScoreConfig

_TOLERANCE = 1e-6  # relative, against torchmetrics


class InceptionScore(ImageEvaluator):
    """Asks a classifier about every image."""

    def __init__(self, config: InceptionScoreConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the score of the set and of real val images, and a table per class.

        Raises:
            DataError: The judge's logits are not finite.
        """
        judge, who = ctx.inputs["judge"], f"inception_score: judge {self.config.judge.use!r}"
        metrics, tables = [], {}
        for name, images in (("synthetic", synthetic.images), ("val", real["val"].images)):
            logits = judged_logits(judge, images, ctx.device, who)
            score, bounds = inception_score(logits), (1.0, float(images.num_classes))
            role: Role = "score" if name == "synthetic" else "floor"
            metrics.append(
                Metric(
                    "inception_score", min(score, bounds[1]), "", role == "score" or None, bounds, _TOLERANCE,
                    split=name, extractor=self.config.judge.use, n=len(images), role=role,
                )
            )  # fmt: skip
            tables[name] = per_class(logits, images)
        return Evaluation(metrics, tables)


def inception_score(logits: Floats) -> float:
    """Return exp E KL(p(y | x) || p(y)) of logits `float64 [n, classes]`."""
    log_p = log_softmax(logits, axis=1)
    p = np.exp(log_p)
    log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return float(max(1.0, np.exp((p * (log_p - log_mean)).sum(axis=1).mean())))


def per_class(logits: Floats, images: LabelledImages) -> list[dict[str, object]]:
    """Return the score over the images of each intended class; None for a class without images."""
    rows = []
    for label, name in enumerate(images.class_names):
        own = logits[images.labels == label]
        rows.append({"class": name, "n": len(own), "score": inception_score(own) if len(own) else None})
    return rows
