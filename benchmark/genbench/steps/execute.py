"""Run one step: open its inputs, hand it to its stage, and put what it leaves into the store."""

import contextlib
import logging
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from genbench.attempts import Attempt
from genbench.errors import SupersededError
from genbench.hookspecs import Kind
from genbench.plan import Step
from genbench.steps import sample
from genbench.steps.context import Clock, Report, StepContext
from genbench.steps.evaluate import suite_records
from genbench.steps.provenance import commit, forget_peak_memory, hardware, peak_memory_bytes, versions
from genbench.steps.remarks import noted_in
from genbench.steps.stages import STAGES
from genbench.steps.visits import SHARED, visit, watched
from genbench.steps.workshop import Facts, Job, Workshop
from genbench.store import Store

_KIND_OF_STAGE: Mapping[str, Kind] = {
    "dataset": "dataset",
    "fit": "generator",
    "sample": "generator",
    "filter": "filter",
    "train": "classifier",
    "evaluate": "evaluator",
}
_LEARNING = frozenset({"fit", "train"})  #: the stages that build an optimizer


def execute(step: Step, workshop: Workshop, report: Report) -> None:
    """Run one step and store what it leaves.

    A step with a guest, which is code of a third party, is done in a room; what only the harness may do is
    done here, where no foreign module was ever imported.

    Raises:
        GenbenchError: The step cannot be done; the message is for the user.
        GuestError: Whatever a third party's code raised in its room.
        Exception: Whatever a plugin raises in this process.
    """
    if step.guest is None and step.stage in _LEARNING:
        import_module("torch._dynamo")  # the first optimizer imports it, which is not this step's cost
    store = workshop.store
    given = workshop.open_inputs(step)
    records = suite_records(given, workshop) if given.records else []
    with _logger(store, step.key) as log, noted_in(log):
        log.info("%s (%s)", step.label, step.key)

        def fill(folder: Path) -> Mapping[str, Any]:
            if step.attempt > 1:
                log.info("attempt %d, on %s", step.attempt, socket.gethostname())
            ctx = make_context(step, workshop, folder, log, report)
            forget_peak_memory(_device(step, workshop))
            job: Job[Any] = Job(step, step.work, given, workshop, ctx, records)
            done = _done(job)
            facts = {**_provenance(step, workshop), **done}
            if step.stage == "sample":
                sample.finish(job)
            ctx.check_ours()
            return {"seconds": ctx.clock.seconds, **facts}

        with _owning(workshop.attempt(step)):
            store.put(step.key, step.document, fill, step.family)
        while store.notes:
            log.info(store.notes.pop())
        log.info("done")


@contextlib.contextmanager
def _owning(attempt: Attempt | None) -> Iterator[None]:
    """Give the scratch folder back however a step ends; what was done without it was another attempt's.

    Raises:
        SupersededError: Another attempt has taken the step over.
    """
    if attempt is None:
        yield
        return
    try:
        yield
        attempt.remove()
    except SupersededError:
        raise
    except Exception:
        attempt.check_files()  # an error of a step whose files were taken away is not its own
        raise
    finally:
        attempt.give_back()


def _done(job: Job[Any]) -> Facts:
    """Do a step where it belongs: in a room, or here."""
    if job.step.guest is not None and job.workshop.rooms is not None:
        return visit(job, job.workshop.rooms)
    if job.step.guest is None:
        return STAGES[job.step.stage](job) or {}
    with watched(job):
        return STAGES[job.step.stage](job) or {}


def make_context(
    step: Step, workshop: Workshop, files: Path, log: logging.Logger, report: Report
) -> StepContext:
    """Return the context of a step: its seed, its folders, and the time of its stopped attempts."""
    work, attempt = workshop.scratch(step), workshop.attempt(step)
    return StepContext(
        step_seed=step.seed,
        device=workshop.device,
        work=work,
        files=files,
        log=log,
        report=report,
        must_stop=workshop.must_stop,
        checkpoint_seconds=workshop.checkpoint_seconds,
        clock=Clock.resumed(work),
        check_ours=attempt.check if attempt is not None else _nothing,
    )


def _nothing() -> None:
    """Of a step that no run handed out there is one attempt."""


def _device(step: Step, workshop: Workshop) -> str:
    """Return where a step computes: loading a dataset needs no GPU, and opens no context on one."""
    return "cpu" if step.stage == "dataset" else workshop.device


def _provenance(step: Step, workshop: Workshop) -> Mapping[str, Any]:
    device = _device(step, workshop)
    facts: dict[str, Any] = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(device),
        "versions": versions(),
        "commit": commit(),
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    kind = _KIND_OF_STAGE.get(step.stage)
    if step.guest is not None and step.guest.facts:
        facts["plugin"] = {**step.guest.facts, "confined": SHARED}
    elif kind is not None:
        name = step.document["component"]["use"]
        version = workshop.registry.spec(kind, name).version
        code = workshop.registry.code(kind, name)
        facts["plugin"] = {"kind": kind, "name": name, "version": version, **code._asdict()}
    return facts


class _LogFile(logging.FileHandler):
    """A log file that loses lines rather than a step: a full disk is found out by what must be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Print nothing."""


@contextlib.contextmanager
def _logger(store: Store, key: str) -> Iterator[logging.Logger]:
    """A logger that writes to the step's log file alone."""
    log = logging.Logger(f"genbench.step.{key[:12]}", level=logging.INFO)
    with store.writing():
        handler = _LogFile(store.log_path(key), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        with contextlib.suppress(OSError):  # as above
            handler.close()
