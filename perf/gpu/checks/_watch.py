"""Contexts that watch training steps from within, and the lines that checks print.

Everything goes through the plugin contract: a fit or training asks its context after every step whether a
checkpoint is due, and that is where a watch begins and ends. It depends on no internals of the engine.
"""

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _timing import note

from genbench.errors import Interrupted
from genbench.protocols import Checkpoint, RunContext
from genbench.testing import MemoryContext

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WARM_UP_STEPS = 21  # compiling and capturing are over, and so is the report of step 20
WATCHED_STEPS = 10
MANY_STEPS = 5_000  # of which a watched training takes the first: histories are written every hundredth
_SYNC = "synchronizing CUDA operation"


class _Listener(logging.Handler):
    """Adds what is logged to a list."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Add a message."""
        self._said.append(record.getMessage())


class WatchedSteps(RunContext):
    """Runs steps up to a certain one, between whose first and last a watch is on, and stops there.

    Args:
        folder: For scratch files.
        before: Steps before the watch.
        watched: Steps under it.

    Attributes:
        waits: Where steps under the watch made the host wait for the device.
        seconds: Of the steps under the watch, with the device's work done before and after.
        said: What was logged.
    """

    def __init__(self, folder: Path, before: int = WARM_UP_STEPS, watched: int = WATCHED_STEPS) -> None:
        self._inner = MemoryContext(folder, device=DEVICE)
        self.device, self.work, self.files = DEVICE, folder, self._inner.files
        self.inputs, self.log, self.dataset = {}, logging.Logger("watched"), self._inner.dataset
        self.said: list[str] = []
        self.log.addHandler(_Listener(self.said))
        self._first, self._last, self._steps = before, before + watched, 0
        self._watch = ExitStack()
        self.waits: list[str] = []
        self.seconds = 0.0

    def seed(self, *purpose: str | int) -> int:
        """Return a seed for a purpose."""
        return self._inner.seed(*purpose)

    def rng(self, *purpose: str | int) -> torch.Generator:
        """Return a fresh generator for a purpose."""
        return self._inner.rng(*purpose)

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Tell nobody."""

    def checkpoint_due(self) -> bool:
        """Begin or end the watch; say yes after its last step."""
        self._steps += 1
        if self._steps == self._first:
            self._watch.enter_context(self._watching())
        if self._steps == self._last:
            self._watch.close()
        return self._steps >= self._last

    def checkpoint(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Stop."""
        raise Interrupted("watched long enough")

    def restore(self) -> Checkpoint | None:
        """Begin afresh."""
        return None

    @contextmanager
    def _watching(self) -> Iterator[None]:
        wait()
        started = time.perf_counter()
        with waits_recorded(self.waits):
            yield
        wait()
        self.seconds = time.perf_counter() - started


@contextmanager
def waits_recorded(places: list[str]) -> Iterator[None]:
    """Note where the host waits for the device: on a GPU; on a CPU nothing can."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        usual = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any
        ) -> None:
            if _SYNC in str(message):
                places.append(f"{Path(filename).name}:{lineno}")
            else:
                usual(message, category, filename, lineno, *rest)

        warnings.showwarning = show
        _sync_debug_mode("warn")
        try:
            yield
        finally:
            _sync_debug_mode("default")


def take(
    work: Callable[[RunContext], object], before: int = WARM_UP_STEPS, watched: int = WATCHED_STEPS
) -> WatchedSteps:
    """Run a fit or training until its watched steps are over.

    Raises:
        AssertionError: It ended before.
    """
    with TemporaryDirectory() as folder:
        ctx = WatchedSteps(Path(folder), before, watched)
        try:
            work(ctx)
        except Interrupted:
            return ctx
    raise AssertionError(f"it ended before step {before + watched}")


class Checks:
    """Prints PASS or FAIL for each check, and goes on after one that fails."""

    def __init__(self) -> None:
        self._failed = 0

    def check(self, name: str, work: Callable[[], str]) -> None:
        """Run a check: it returns what it found, or raises."""
        started = time.perf_counter()
        try:
            found, ok = work(), True
        except Exception as problem:  # a check that fails must not stop the others
            traceback.print_exc()
            found, ok = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}", False
        seconds = time.perf_counter() - started
        self._failed += not ok
        print(f"{'PASS' if ok else 'FAIL'} {name}: {found}", flush=True)
        note(f"{name}: {found}", seconds, "s", ok=ok)

    def exit(self) -> None:
        """End the script: with 1 if a check failed."""
        sys.exit(1 if self._failed else 0)


def no_waits(ctx: WatchedSteps) -> str:
    """Return what a watch found.

    Raises:
        AssertionError: Steps made the host wait.
    """
    count = len(ctx.waits)
    assert count == 0, f"{count} waits in {WATCHED_STEPS} steps, at {', '.join(sorted(set(ctx.waits)))}"
    return "no step waits for the device" if DEVICE == "cuda" else "on a CPU nothing waits for a device"


def wait() -> None:
    """Wait until the device is done."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _sync_debug_mode(mode: str) -> None:
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode(mode)
