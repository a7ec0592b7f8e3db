"""Where steps are executed, and what a stage is handed: its document, its opened inputs, its context."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from genbench.attempts import Attempt
from genbench.documents import Document, Inputs
from genbench.errors import GenbenchError, StoreError
from genbench.plan import Step
from genbench.records import Record
from genbench.registry import PluginSource, Registry
from genbench.steps.context import StepContext
from genbench.store import Artifact, Store
from genbench.training import Trained

D = TypeVar("D", bound=Document)
Facts = Mapping[str, Any]  #: of an attempt, for the manifest; no part of the result


@dataclass(frozen=True)
class Rooms:
    """How code of third parties is kept apart from everything else.

    Attributes:
        source: Where plugins are found, in the rooms alone.
        confine: Whether a room gives up its rights: `auto`, where this machine can; `off`: never.
        max_memory_gib: Memory limit of a room, or None.
    """

    source: PluginSource
    confine: str = "auto"
    max_memory_gib: float | None = None


@dataclass(frozen=True)
class Workshop:
    """Where steps are executed.

    Attributes:
        store: Inputs come from here, results go there.
        registry: Where components are found.
        device: `"cpu"` or `"cuda"`.
        must_stop: Says whether the run was asked to stop.
        checkpoint_seconds: Time between the checkpoints of a long step.
        profile: Whether trainings leave a trace and the shares of their time beside their logs.
        vectorize: Whether trainings of a bundle run side by side: `off`, `on`, or `auto`, if that is faster.
        rooms: How code of third parties is kept apart; None: it runs in this process.
        helpers: Variables of a process on each further device of this worker (`genbench.steps.helpers`).
        bundle: The steps that were announced together, by key.
        trained: What trainings of the bundle left, until their own step takes it.
    """

    store: Store
    registry: Registry
    device: str = "cpu"
    must_stop: Callable[[], bool] = field(default=lambda: False)
    checkpoint_seconds: float = 30.0
    profile: bool = False
    vectorize: str = "off"
    rooms: Rooms | None = None
    helpers: Sequence[Mapping[str, str]] = ()
    bundle: dict[str, Step] = field(default_factory=dict)
    trained: dict[str, tuple[Trained | GenbenchError, float]] = field(default_factory=dict)

    def announce(self, steps: Sequence[Step]) -> None:
        """Note which trainings come next, and may run side by side."""
        self.trained.clear()
        self.bundle.clear()
        if len(steps) > 1:
            self.bundle.update({step.key: step for step in steps})

    def attempt(self, step: Step) -> Attempt | None:
        """Return the attempt that a run handed out; None of a step that no run did."""
        if not step.lease:
            return None
        return Attempt(self.store.root, self.store.leases, step.key, step.lease, step.attempt)

    def scratch(self, step: Step) -> Path:
        """Return the folder for checkpoints and scratch of a step.

        Raises:
            SupersededError: A newer attempt has taken the step over.
        """
        attempt = self.attempt(step)
        return attempt.begin() if attempt is not None else self.store.work_folder(step.key)

    def open_inputs(self, step: Step) -> Inputs[Artifact]:
        """Open what a step needs.

        Raises:
            StoreError: An input is missing or damaged.
        """

        def opened(key: str) -> Artifact:
            artifact = self.store.open(key)
            if artifact is None:
                raise StoreError(
                    f"{step.label}: an input is missing or damaged ({key[:12]})",
                    hint="run the same command again: it is rebuilt",
                )
            return artifact

        return step.work.inputs.map(opened)


@dataclass(frozen=True)
class Job(Generic[D]):
    """One step on its way.

    Attributes:
        step: The step.
        document: Its document, of the class that its stage has.
        given: Its inputs.
        workshop: Where it is executed.
        ctx: What plugins are handed.
        records: What a suite evaluator reads.
    """

    step: Step
    document: D
    given: Inputs[Artifact]
    workshop: Workshop
    ctx: StepContext
    records: Sequence[Record] = ()
