"""The pluggy hooks through which components enter, and `ComponentSpec`, what they return.

Registration is data: a hook returns specs, a spec names its implementation as `"module:Class"`, and nothing
is imported before it is used. Built-in components come in through the same hooks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import pluggy

from genbench.errors import PluginError

if TYPE_CHECKING:
    import click

    from genbench.records import Record
    from genbench.telemetry import RunFacts, StepFacts

#: The version of the contract. A plugin module may say `genbench_api = 2`; it is loaded if we are that new.
#: 2: a metric says in fields what it is about, and `RunContext` has `dataset` and no `deadline`.
#: 3: an executor has options, and tasks that say what they need.
API_VERSION = 3

Kind = Literal["dataset", "generator", "filter", "classifier", "evaluator", "executor"]
KINDS: tuple[Kind, ...] = get_args(Kind)

hookspec = pluggy.HookspecMarker("genbench")
hookimpl = pluggy.HookimplMarker("genbench")


@dataclass(frozen=True)
class Resources:
    """What a component needs to run; `genbench show` prints it, `genbench doctor` says where it is missing.

    Attributes:
        gpu_memory_gib: GPU memory at the `paper` preset; 0 when a CPU is enough.
        network: Whether weights must be fetched (or be in `GENBENCH_HUB_MIRROR`).
        memory_gib: Memory of the machine at the `paper` preset; 0 when a few GiB are enough.
    """

    gpu_memory_gib: float = 0
    network: bool = False
    memory_gib: float = 0


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """One component, as data.

    Attributes:
        name: What users type: lower-case letters, digits, `_` and `-`.
        target: `"module:Class"`, the implementation; imported when a step needs it.
        config: `"module:Class"`, its options; imported without torch when a plan names it.
        version: Raise it when the same options give other results: old artifacts become stale.
        summary: One line for `genbench list`.
        paper: Where the method is published, for example `arXiv:2006.11239`.
        requires: Modules that its implementation imports; `genbench doctor` and the conformance kit look for
            them, without importing them.
        resources: What it needs to run.
        external_data: What it learned from beyond `train` (weights, captions, judges); such rows rank apart.
        needs_fit: Generators: whether `fit` must run before `sample`.
        has_stock: Generators: whether its images exist already (`StockGenerator`); with `needs_fit`.
        needs_reserve: `real_extra` alone: hand over the reserve of held-out real images instead of `train`.
        new_pixels: Generators: whether a model draws all of its images' pixels: no real image is in them,
            moved, recoloured, pasted or blended. Published boards show such images alone.
        reads: Evaluators: splits it reads besides `train` and `val`.
    """

    name: str
    target: str
    config: str
    summary: str
    version: int = 1
    paper: str = ""
    requires: tuple[str, ...] = ()
    resources: Resources = Resources()
    external_data: tuple[str, ...] = ()
    needs_fit: bool = False
    has_stock: bool = False
    needs_reserve: bool = False
    new_pixels: bool = False
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").replace("_", "").isalnum() or not self.name.islower():
            raise PluginError(
                f"component name {self.name!r}: use lower-case letters, digits, '_' and '-', with a letter"
            )
        for option in ("target", "config"):
            module, _, attribute = getattr(self, option).partition(":")
            if not module or not attribute.isidentifier():
                raise PluginError(f"component {self.name!r}: {option} must be 'module:Class'")
        if self.has_stock and not self.needs_fit:
            raise PluginError(
                f"component {self.name!r} says has_stock without needs_fit: its images are found in `fit`"
            )


RESERVE_OWNER = "real_extra"  #: the one generator whose images are real ones
#: The check for copies of test: the harness's own, part of every plan, and no plugin's to replace.
COPY_CHECK = ComponentSpec(
    name="copies",
    target="genbench.copies.evaluator:Copies",
    config="genbench.copies.config:CopiesConfig",
    summary="always added: copies of test, val and the reserve; blank images; duplicates",
    reads=("test",),
)

#: Where steps run: the harness's own, beside those that plugins bring.
EXECUTORS = (
    ComponentSpec(
        name="inline",
        target="genbench.executors.inline:InlineExecutor",
        config="genbench.executors.config:InlineConfig",
        summary="in this process, one step at a time (what --jobs 0 uses)",
    ),
    ComponentSpec(
        name="processes",
        target="genbench.executors.processes:ProcessExecutor",
        config="genbench.executors.config:ProcessesConfig",
        summary="in persistent worker processes on this machine (the default)",
    ),
    ComponentSpec(
        name="ray",
        target="genbench.executors.on_ray.executor:RayExecutor",
        config="genbench.executors.on_ray.config:RayConfig",
        summary="as tasks of a Ray cluster: on several machines, or on cores of this one",
        requires=("ray",),
    ),
    ComponentSpec(
        name="slurm",
        target="genbench.executors.slurm.engine:SlurmExecutor",
        config="genbench.executors.slurm.config:SlurmConfig",
        summary="in jobs of a SLURM cluster; `genbench submit` leaves the run there, too",
    ),
)


class Hooks:
    """Every hook; a plugin implements those it needs, marked with `@genbench.hookimpl`."""

    @hookspec
    def genbench_datasets(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return datasets: real images in train, test and named shifts."""

    @hookspec
    def genbench_generators(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return generators: what makes synthetic images for the classes of train."""

    @hookspec
    def genbench_filters(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return filters: what drops synthetic images of poor quality."""

    @hookspec
    def genbench_classifiers(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return classifiers: networks with their training recipes."""

    @hookspec
    def genbench_evaluators(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return evaluators: what turns images, predictions or a network into metrics."""

    @hookspec
    def genbench_executors(self) -> Sequence[ComponentSpec]:  # type: ignore[empty-body]
        """Return executors: where steps run."""

    @hookspec
    def genbench_commands(self) -> "Sequence[click.Command]":  # type: ignore[empty-body]
        """Return commands to add to the `genbench` program."""

    @hookspec
    def genbench_run_started(self, run: "RunFacts") -> None:
        """Observe: called in the main process before the first step of a run. What is returned is ignored."""

    @hookspec
    def genbench_step_finished(
        self, stage: str, key: str, status: str, seconds: float, step: "StepFacts", run: "RunFacts"
    ) -> None:
        """Observe: called in the main process after each step that ran, also where it failed."""

    @hookspec
    def genbench_run_finished(
        self, run: "RunFacts", status: str, reason: str, records: "Sequence[Record]"
    ) -> None:
        """Observe: called in the main process at the end of a run, however it ended (`RunEnd`)."""


HOOK_OF_KIND: dict[Kind, str] = {kind: f"genbench_{kind}s" for kind in KINDS}


def specs_of(plugin: Any, kind: Kind) -> Sequence[Any]:
    """Call one plugin's hook for `kind`; an empty list where it has none."""
    hook: Any = getattr(plugin, HOOK_OF_KIND[kind], None)
    return [] if hook is None else list(hook() or ())
