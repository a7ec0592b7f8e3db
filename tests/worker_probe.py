"""What a worker process sees, for tests/core/test_workers.py: workers import it by name."""

import json
import os
from collections.abc import Sequence
from typing import Any

from genbench.errors import GenbenchError
from genbench.executors import Task


class Probe:
    """Answers every payload with the worker's environment, as the reason of a failure; `die` kills it."""

    def __call__(self, task: Task, report: Any) -> None:
        import torch

        if task.payload == "die":
            os._exit(1)
        seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
        raise GenbenchError(json.dumps({**seen, "threads": torch.get_num_threads()}))

    def announce(self, tasks: Sequence[Task]) -> None:
        """Nothing is shared."""


def make_probe(must_stop: Any) -> Probe:
    import torch  # noqa: F401 - as the function of real workers does, before threads are set

    return Probe()
