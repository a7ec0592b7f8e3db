"""`confidence`: keeps the images in which a classifier sees their label most clearly.

He et al., "Is synthetic data from generative models ready for image recognition?", arXiv:2210.07574, whose
CLIP Filter drops the images of lowest confidence. Departures: the judge is a classifier trained by the
harness on real train images, in place of CLIP with a prompt per class; the share is taken class by class, so
that a class which the judge finds hard is not thinned out; and the judge may be asked to agree, too.
"""

import numpy as np
import numpy.typing as npt

from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._shared import Floats, judged_logits, share_of, verdicts
from genbench_filters.configs.confidence import ConfidenceConfig


class Confidence(Filter):
    """Ranks the images of each class by the probability that the judge gives to their label."""

    def __init__(self, config: ConfidenceConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep an image if the judge agrees, and is confident enough: by rank or by `threshold`."""
        config, labels = self.config, synthetic.labels
        who = f"confidence: judge {config.judge.use!r}"
        logits = judged_logits(ctx.inputs["judge"], synthetic, ctx.device, who)
        probability = label_probability(logits, labels)
        confident = top_of_class(probability, labels, config.keep)
        if config.threshold is not None:
            confident |= probability >= config.threshold
        guesses = logits.argmax(axis=1)
        reasons = []
        for row, (guess, label) in enumerate(zip(guesses, labels, strict=True)):
            if config.agree and guess != label:
                reasons.append(f"judged {synthetic.class_names[guess]}")
            else:
                reasons.append("" if confident[row] else f"confidence {probability[row]:.3f}")
        return verdicts(reasons)


def label_probability(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Return the softmax probability of each image's label: `float64 [N]`.

    Args:
        logits: `float64 [N, classes]`.
        labels: `int64 [N]`.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    chosen: Floats = shifted[np.arange(len(labels)), labels] / shifted.sum(axis=1)
    return chosen


def top_of_class(scores: Floats, labels: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.bool_]:
    """Say which images are among the highest `fraction` of their class, rounded up; ties go to the first.

    Args:
        scores: `float64 [N]`.
        labels: `int64 [N]`.
        fraction: In (0, 1].
    """
    top = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = np.argsort(-scores[rows], kind="stable")
        top[rows[order[: share_of(len(rows), fraction)]]] = True
    return top
