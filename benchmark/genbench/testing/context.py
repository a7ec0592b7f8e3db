"""`MemoryContext`: a run context for tests, with checkpoints in memory."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from genbench.errors import Interrupted
from genbench.protocols import Checkpoint, DatasetFacts, RunContext
from genbench.seeding import derive_seed


@dataclass
class MemoryContext(RunContext):
    """Runs a plugin without a harness.

    Args:
        work: Scratch folder.
        step_seed: Seed of the step.
        stop_after: Ask for a checkpoint at the n-th question, and stop there; None never does.
        inputs: Artifacts of `ComponentRef` options.
        questions: How often `checkpoint_due` was asked so far.
        reports: How often progress was reported.
    """

    work: Path
    step_seed: int = 1
    stop_after: int | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    dataset: DatasetFacts = field(default_factory=DatasetFacts)
    saved: Checkpoint | None = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("genbench.testing"))
    questions: int = 0
    reports: int = 0

    def __post_init__(self) -> None:
        self.files = self.work / "files"
        self.files.mkdir(parents=True, exist_ok=True)

    def seed(self, *purpose: str | int) -> int:
        """Return a seed for a purpose."""
        return derive_seed(self.step_seed, *purpose)

    def rng(self, *purpose: str | int) -> torch.Generator:
        """Return a fresh generator for a purpose."""
        return torch.Generator().manual_seed(self.seed(*purpose))

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Check the numbers, and tell nobody."""
        self.reports += 1
        if not 0 <= done <= total:
            raise AssertionError(f"progress {done} of {total}: must lie between 0 and the total")

    def checkpoint_due(self) -> bool:
        """Say yes at question `stop_after`."""
        self.questions += 1
        return self.stop_after is not None and self.questions >= self.stop_after

    def checkpoint(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Keep a copy, as it would come back from a file, and stop.

        Raises:
            TypeError: `meta` is no JSON.
        """
        copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        self.saved = Checkpoint(copies, json.loads(json.dumps(dict(meta))))
        raise Interrupted("stopped")

    def restore(self) -> Checkpoint | None:
        """Return what was kept."""
        return self.saved
