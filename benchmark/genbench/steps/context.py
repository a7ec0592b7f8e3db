"""`StepContext`: what a step hands to the plugin it calls, and how a killed step resumes."""

import contextlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genbench.artifacts import CURVE_POINTS
from genbench.caches import read_json
from genbench.digest import digest, file_digest
from genbench.disk import sync_file, write_atomically
from genbench.errors import Interrupted
from genbench.escaping import exception_text
from genbench.protocols import Checkpoint, DatasetFacts, Draw, RunContext
from genbench.seeding import derive_seed
from genbench.steps import fit_samples

if TYPE_CHECKING:
    import torch

Report = Callable[[int, int, Mapping[str, float]], None]
_REPORT_SECONDS = 0.2  # progress is sent to the main process at most this often
_NOTE_SECONDS = 5.0  # and the time that a step took so far is written down
_CLOCK_FILE = "seconds.json"


@dataclass
class Clock:
    """What a step has cost: the time of this attempt, and of those that were stopped before it.

    Attributes:
        before: Seconds of earlier attempts, as the step's scratch folder tells.
        share: Fraction of this attempt's time that is charged to the step, where several are done together.
    """

    before: float = 0.0
    share: float = 1.0
    _started: float = field(default_factory=time.perf_counter)
    _noted: float = field(default_factory=time.monotonic)

    @classmethod
    def resumed(cls, work: Path, share: float = 1.0) -> "Clock":
        """Read what earlier attempts cost from the scratch folder of a stopped step."""
        before = read_json(work / _CLOCK_FILE)
        is_time = type(before) in {int, float} and 0 <= before < math.inf
        return cls(float(before) if is_time else 0.0, share)

    @property
    def seconds(self) -> float:
        """The time of all attempts."""
        return self.before + self.share * (time.perf_counter() - self._started)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do something that is charged to nobody."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._started += time.perf_counter() - began

    def note(self, work: Path, *, at_once: bool = False) -> None:
        """Leave the time in the scratch folder, if there is one, every few seconds."""
        if (at_once or time.monotonic() - self._noted >= _NOTE_SECONDS) and work.exists():
            self._noted = time.monotonic()
            write_atomically(work / _CLOCK_FILE, json.dumps(self.seconds).encode())


@dataclass
class StepContext(RunContext):
    """The context of one step.

    Args:
        step_seed: The step's own seed.
        device: `"cpu"` or `"cuda"`.
        work: Folder for checkpoints and scratch.
        files: Folder whose files become part of the artifact.
        inputs: Artifacts of `ComponentRef` options.
        report: Where progress goes.
        must_stop: Says whether the run was asked to stop.
        checkpoint_seconds: Time between checkpoints.
        clock: What the step has cost so far.
        dataset: What the dataset says of its images; of a step that has one.
        curve: What `progress` was told with numbers, thinned; rows since the last checkpoint are forgotten
            with it.
        pictures: Whether an evaluator's pictures are wanted.
        classes: Of the training images, where a fit may be watched; else 0.
    """

    step_seed: int
    device: str
    work: Path
    files: Path
    log: logging.Logger
    report: Report
    must_stop: Callable[[], bool] = lambda: False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_seconds: float = 30.0
    clock: Clock = field(default_factory=Clock)
    dataset: DatasetFacts = field(default_factory=DatasetFacts)
    curve: list[dict[str, float]] = field(default_factory=list)
    pictures: bool = True
    classes: int = 0
    _last_checkpoint: float = field(default_factory=time.monotonic)
    _last_report: float = 0.0

    def seed(self, *purpose: str | int) -> int:
        """Return a seed in [0, 2**63) for a purpose within this step."""
        return derive_seed(self.step_seed, *purpose)

    def rng(self, *purpose: str | int) -> "torch.Generator":
        """Return a fresh CPU generator with `seed(*purpose)`."""
        import torch

        return torch.Generator().manual_seed(self.seed(*purpose))

    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Pass progress on, a few times a second at most."""
        self._note(done, total, metrics)
        now = time.monotonic()
        if done >= total or now - self._last_report >= _REPORT_SECONDS:
            self._last_report = now
            self.report(done, total, metrics)
            self.clock.note(self.work)

    def _note(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Add a row to the curve wherever another `1 / CURVE_POINTS` of the whole is done.

        Which rows are kept depends on `done` alone, never on time: a repeated fit leaves the same curve.
        """
        last = int(self.curve[-1]["step"]) if self.curve else 0
        known = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        if known and (done * CURVE_POINTS // max(total, 1) > last * CURVE_POINTS // max(total, 1)):
            self.curve.append({"step": done, **known})

    def for_step(self, step_seed: int, work: Path, clock: Clock) -> "StepContext":
        """Return the context of another step that is done together with this one."""
        return replace(self, step_seed=step_seed, work=work, clock=clock, curve=[])

    def checkpoint_due(self) -> bool:
        """Say whether enough time has passed, or the run must stop."""
        return self.must_stop() or time.monotonic() - self._last_checkpoint >= self.checkpoint_seconds

    def checkpoint(self, tensors: "Mapping[str, torch.Tensor]", meta: Mapping[str, Any]) -> None:
        """Write a checkpoint beside the last one, switch to it, and stop if the run must stop."""
        from safetensors.torch import save_file

        self.work.mkdir(parents=True, exist_ok=True)
        name = f"checkpoint-{time.time_ns()}.safetensors"
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()}, self.work / name
        )
        sync_file(self.work / name)
        facts = json.dumps({"meta": dict(meta), "curve": self.curve})
        pointer = json.dumps({"file": name, "facts": facts, "sha256": _checksum(self.work / name, facts)})
        self.clock.note(self.work, at_once=True)  # first: a kill in between must not lose time that counts
        write_atomically(self.work / "checkpoint.json", pointer.encode())
        for old in self.work.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink()
        self._last_checkpoint = time.monotonic()
        self.stop_if_asked()

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None; one that is damaged is none."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        garbled = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)
        try:
            pointer = json.loads((self.work / "checkpoint.json").read_text(encoding="utf-8"))
            path = self.work / Path(pointer["file"]).name
            if _checksum(path, pointer["facts"]) != pointer["sha256"]:
                raise ValueError("it does not match its checksum")
            facts = json.loads(pointer["facts"])
            saved = Checkpoint(load_file(path), facts["meta"])
        except FileNotFoundError:
            return None
        except garbled as problem:
            self.log.warning("the checkpoint cannot be read (%r): starting again", problem)
            shutil.rmtree(self.work, ignore_errors=True)
            return None
        self.curve = facts["curve"]
        self.log.info("resumes from a checkpoint")
        return saved

    def watch(self, done: int, total: int, draw: Draw) -> None:
        """Keep a few samples for who looks at the run; their making costs the generator nothing.

        In a room it does: a stranger cannot stop the clock.
        """
        if not self.classes or not fit_samples.are_due(done, total):
            return
        import torch

        labels = fit_samples.labels_for(self.classes)
        seeds = np.array([self.seed("watch", int(label)) for label in labels], dtype=np.int64)
        devices = [self.device] if self.device.startswith("cuda") else []
        with self.clock.paused(), torch.random.fork_rng(devices=devices):
            try:
                pixels = draw(labels, seeds).detach().cpu().numpy()
                fit_samples.write(fit_samples.FitSamples(done, labels, pixels), self.work)
            except Exception as problem:  # whatever a half fitted generator raises: nobody asked for more
                self.log.warning("no samples after %d steps: %s", done, exception_text(problem))

    def stop_if_asked(self) -> None:
        """Raise `Interrupted` if the run was asked to stop; what was saved is kept."""
        if self.must_stop():
            raise Interrupted("stopped; the same command resumes from here")


def _checksum(path: Path, facts: str) -> str:
    """Return the digest of a checkpoint: nothing that a damaged one says may enter a result."""
    return digest([file_digest(path), facts])
