"""A step whose code is a stranger's, in a room: what is done inside, and what the room may read.

Outside stays what only the harness may do: opening and checking inputs, counting copies of test images,
handing over pixels without their labels, and writing the manifest.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.artifacts import CARD
from genbench.documents import EmbedDocument, Inputs
from genbench.errors import PluginError
from genbench.plan import Guest, Step
from genbench.records import Record
from genbench.registry import PluginSource, Registry
from genbench.rooms import guest as room
from genbench.rooms.landlock import Rights
from genbench.rooms.messages import Talk
from genbench.steps import predict
from genbench.steps.context import Clock, StepContext
from genbench.steps.limits import limit_memory
from genbench.steps.provenance import forget_peak_memory, peak_memory_bytes
from genbench.steps.stages import STAGES
from genbench.steps.workshop import Job, Workshop
from genbench.store import Artifact, Store

TARGET = "genbench.steps.guest:perform"


@dataclass(frozen=True)
class Visit:
    """What a room is handed to do a step.

    Attributes:
        step: The step.
        given: Its inputs, opened and checked outside.
        records: The records that a suite evaluator reads, as JSON.
        source: Plugins to load.
        files: Folder whose files become part of the artifact.
        work: Folder for checkpoints and scratch.
        device: `"cpu"` or `"cuda"`.
        checkpoint_seconds: Time between checkpoints.
        max_memory_gib: Memory limit, or None.
    """

    step: Step
    given: Inputs[Artifact]
    records: Sequence[str]
    source: PluginSource
    files: Path
    work: Path
    device: str
    checkpoint_seconds: float
    max_memory_gib: float | None


def perform(visit: Visit, talk: Talk) -> Mapping[str, Any]:
    """Do a step; called in a room, which ends with it."""
    if visit.max_memory_gib is not None:
        limit_memory(visit.max_memory_gib, visit.device)
    forget_peak_memory(visit.device)
    workshop = Workshop(Store(Path("nowhere")), _registry(visit.source), visit.device, room.stop.is_set)
    step = visit.step
    ctx = StepContext(
        step_seed=step.seed,
        device=visit.device,
        work=visit.work,
        files=visit.files,
        log=_log(),
        report=talk.report,
        must_stop=room.stop.is_set,
        checkpoint_seconds=visit.checkpoint_seconds,
        clock=Clock.resumed(visit.work),
    )
    records = [Record.from_json(text) for text in visit.records]
    job: Job[Any] = Job(step, step.work, visit.given, workshop, ctx, records)
    if step.stage == "predict":
        predict.answer(job, lambda: talk.ask(predict.PIXELS))
        facts: Mapping[str, Any] = {}
    else:
        facts = STAGES[step.stage](job) or {}
    return {**facts, "peak_memory_bytes": peak_memory_bytes(visit.device)}


def rights(step: Step, guest: Guest, given: Inputs[Artifact], own: Sequence[Path]) -> Rights:
    """Return what a step may read, and the folders of its own that it may write.

    A dataset may read everything: it is what brings the images. Everything else reads its inputs alone, of
    the dataset the split that it learns from; an evaluator all splits, labels included.
    """
    if step.stage == "dataset":
        return Rights(read=(Path("/"),), write=tuple(own))
    inputs = [artifact.folder for role, artifact in given.by_role().items() if role != "dataset"]
    named = [Path(path).absolute() for path in (*step.named_paths, *guest.places)]
    read = [*inputs, *(path.resolve() for path in named if path.exists())]
    if given.dataset is not None:
        folder = given.dataset.folder
        reserve = [folder / "reserve"] if guest.reserve else []
        is_judge = step.stage == "evaluate"
        # A stranger's reference network computes features of the split that it is asked about.
        embedded = [folder / step.work.split] if isinstance(step.work, EmbedDocument) else []
        read += [folder] if is_judge else [folder / CARD, folder / "train", *reserve, *embedded]
    repositories = [parent.parent for path in named for parent in path.parents if parent.name == "snapshots"]
    read += [repository / "refs" for repository in repositories]  # where the Hub's cache notes revisions
    listed = dict.fromkeys([*repositories, *(path.parent for path in named)])
    return Rights(read=tuple(read), write=tuple(own), listed=tuple(listed))


def _registry(source: PluginSource) -> Registry:
    """Load the plugins of this room.

    Raises:
        PluginError: One that loaded in the main process does not load here.
    """
    registry = Registry(source)
    for plugin in registry.plugins:
        if not plugin.builtin and plugin.state == "failed":
            raise PluginError(f"plugin {plugin.name!r} did not load in its own process: {plugin.reason}")
    return registry


def _log() -> logging.Logger:
    """Return a logger whose lines go where everything goes that is printed here: into the step's log."""
    log = logging.Logger("genbench.step", level=logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return log
