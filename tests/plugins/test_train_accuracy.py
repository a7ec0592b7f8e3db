"""`train_accuracy`: against counting by hand, and through a run."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from genbench.images import TensorImages
from genbench.plan import Plan
from genbench.protocols import RunContext
from genbench.runner import RunSummary
from genbench_evaluators.configs.train_accuracy import TrainAccuracyConfig
from genbench_evaluators.train_accuracy import TrainAccuracy

RunCells = Callable[..., tuple[Plan, RunSummary]]


class Brightness(torch.nn.Module):
    """Calls an image by the level that its first pixel shows."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(pixels[:, 0, 0, 0].long(), 4).float()


def shown(levels: list[int], labels: list[int]) -> TensorImages:
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return TensorImages(pixels.contiguous(), np.array(labels, dtype=np.int64), "abcd")


def test_counts_train_and_test(ctx: RunContext) -> None:
    train = shown([0, 1, 2, 3] * 300, [0, 1, 2, 0] * 300)  # more than one batch; three of four are right
    test = shown([0, 1], [0, 3])
    found = TrainAccuracy(TrainAccuracyConfig()).evaluate(Brightness(), {"train": train, "test": test}, ctx)
    assert {one.label: one.value for one in found.metrics} == {"train_top1": 75.0, "generalisation_gap": 25.0}


def test_a_run_hands_over_train(run_cells: RunCells) -> None:
    _, outcome = run_cells(evaluators=["accuracy", "train_accuracy"])
    assert outcome.failed == {}
    metrics = {one.label: one.value for record in outcome.records for one in record.result.metrics}
    assert metrics["train_top1"] - metrics["top1"] == pytest.approx(metrics["generalisation_gap"])
