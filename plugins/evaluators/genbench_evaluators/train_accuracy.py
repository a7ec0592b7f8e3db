"""`train_accuracy`: how well a network fits the real images that it was trained on, beside test.

Not a measure of quality: it is here because one report (S4) published it as if it were test accuracy. The
images are shown as they are, without augmentation; the gap to test says how much was learned by heart.
"""

from collections.abc import Mapping

import torch
from torch import nn

from genbench.images import LabelledImages
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ModelEvaluator, RunContext
from genbench_evaluators.configs.train_accuracy import TrainAccuracyConfig

_BATCH_IMAGES = 512
_NOTE = "On real training images: says nothing about new ones."


class TrainAccuracy(ModelEvaluator):
    """Asks the network about train and test."""

    def __init__(self, config: TrainAccuracyConfig) -> None:
        self.config = config

    def evaluate(
        self, network: nn.Module, splits: Mapping[str, LabelledImages], ctx: RunContext
    ) -> Evaluation:
        """Return top-1 on train, and its gap to test in points."""
        train, test = (share_right(network, splits[name], ctx.device) for name in ("train", "test"))
        gap, count = 100 * (train - test), len(splits["train"])
        return Evaluation(
            [
                Metric("top1", 100 * train, "%", None, (0, 100), 1e-9, _NOTE, split="train", n=count),
                Metric("generalisation_gap", gap, "points", False, (-100, 100), 1e-9, split="test"),
            ]
        )


@torch.inference_mode()
def share_right(network: nn.Module, images: LabelledImages, device: str) -> float:
    """Return the share of images whose class has the largest logit."""
    right = 0
    for start in range(0, len(images), _BATCH_IMAGES):
        rows = range(start, min(start + _BATCH_IMAGES, len(images)))
        predicted = network(images.batch(list(rows)).to(device)).argmax(dim=1).cpu()
        right += int((predicted == torch.from_numpy(images.labels[rows.start : rows.stop])).sum())
    return right / len(images)
