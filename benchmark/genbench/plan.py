"""What a plan is made of: steps with keys, the cells that they serve, and the records that are due.

Pure data, without torch; `genbench.planner` makes it from a suite.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from genbench.digest import Digester, differences, digest
from genbench.documents import STAGES, Document, Stage
from genbench.errors import ProtocolError, UsageError, did_you_mean
from genbench.family import Family, trains
from genbench.metrics import Subject
from genbench.recipe import Mix
from genbench.records import Protocol
from genbench.spec import Parts, Resolved
from genbench.suite import BASELINE

__all__ = [
    "STAGES",
    "Arm",
    "Cell",
    "Guest",
    "Plan",
    "PlannedRecord",
    "Step",
    "cell_name",
    "check_comparable",
    "mix_label",
    "told_apart",
]

#: Where the documents of two compared training steps may differ: in their data, and nowhere else.
_DATA_ENTRIES = (
    "mix.ratio",
    "mix.mode",
    "mix.batch_fraction",
    "inputs.sample",
    "inputs.filter",
    "inputs.more",
)


_NO_COMPONENT: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Guest:
    """What a step that runs code of third parties may do; it runs in a process of its own.

    Attributes:
        plugins: Names of the plugins that are loaded there besides the built-in ones.
        places: Files and folders of their code.
        facts: Kind, name, version, distribution and digest of the step's own component, for its manifest;
            empty where a built-in component is confined on request.
        network: Whether its component declares that it needs the network.
        reserve: Whether it is handed the reserve.
        protected: Files and folders of the plan's datasets, which stay out of reach wherever they lie.
    """

    plugins: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    network: bool = False
    reserve: bool = False
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One node of the plan. Picklable, and complete: a worker needs nothing else.

    Attributes:
        key: Identity: digest of the document's JSON form.
        work: The document: everything that the result depends on.
        label: For people: `train resnet32 on digits + ddpm, seed 0`.
        location: Options that say where files are; not part of the identity.
        parts: The components whose code it runs.
        family: Digest of the document without component versions; empty until it is asked for
            (`Plan.order`).
        guest: What is known of third parties whose code it runs; None where it runs none, and until it is
            handed to a worker.
        lease: Token of the lease under which a run handed it to a worker; empty until then.
        attempt: Which attempt under that lease.
    """

    key: str
    work: Document
    label: str
    location: Mapping[str, Any] = field(default_factory=dict)
    parts: Parts = field(default_factory=Parts)
    family: str = ""
    guest: "Guest | None" = None
    lease: str = ""
    attempt: int = 1

    @property
    def stage(self) -> Stage:
        """Which kind of step."""
        return self.work.stage

    @property
    def named_paths(self) -> tuple[str, ...]:
        """Files and folders that the options of its components name."""
        return self.parts.paths + tuple(one for one in self.location.values() if isinstance(one, str))

    @property
    def seed(self) -> int:
        """Its own seed: that of its document, else one that depends on its key."""
        return int(getattr(self.work, "seed", int(self.key[:15], 16)))

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The JSON form of the document, as it is stored."""
        return self.work.content()

    @cached_property
    def inputs(self) -> Mapping[str, str]:
        """Keys of the steps it needs, by role."""
        return self.work.inputs.by_role()


@dataclass(frozen=True)
class Arm:
    """What a row of the table is about, for one seed index.

    Attributes:
        mix: None where nothing is trained.
        classifier: Likewise.
        ratio: Synthetic images per real training image.
    """

    dataset: Resolved
    generator: Resolved
    filter: Resolved
    mix: Mix | None
    classifier: Resolved | None
    index: int
    ratio: float = 0.0

    @property
    def is_baseline(self) -> bool:
        """Whether it has real images alone."""
        return self.generator.name == BASELINE

    @property
    def trains(self) -> bool:
        """Whether its network learns; weights that are evaluated as they are do not depend on a seed."""
        return self.classifier is None or trains(self.classifier)


@dataclass(frozen=True)
class PlannedRecord:
    """A record that the run will leave: one `evaluate` step and what it is about.

    Attributes:
        key: Key of the `evaluate` step.
        subject: What is evaluated.
        arm: Of which row.
        evaluator: With what.
        dataset: Key of the `dataset` step.
        costs: The steps whose cost is the cell's: fit, sample, filter, train.
        train: Key of the `train` step whose ledger belongs to the record, or empty.
    """

    key: str
    subject: Subject
    arm: Arm
    evaluator: Resolved
    dataset: str
    costs: tuple[str, ...] = ()
    train: str = ""


@dataclass(frozen=True)
class Cell:
    """One (dataset, generator, filter, mix, classifier, seed) and the steps that it consists of.

    Attributes:
        steps: All of them, its images' included, in an order in which each comes after its inputs.
        sample: Key of the step that makes its synthetic images, or empty.
        filter: Key of the step that filters them at last, or empty.
        more: Keys of the steps that make up for what the filter dropped, in order.
        train: Key of its training.
        marks: `#efb7` by kind of component, where another one of the plan has the same label.
    """

    name: str
    steps: tuple[str, ...]
    arm: Arm
    train: str
    sample: str = ""
    filter: str = ""
    more: tuple[str, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    """Steps in an order in which each comes after its inputs, the cells they serve, and the records due.

    Attributes:
        declared: What the suite says that it will compare; None for steps that no suite planned.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    records: dict[str, PlannedRecord] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    planned_indices: int = 0
    declared: Family | None = None
    _families: dict[str, str] = field(default_factory=dict, repr=False)
    _unversioned: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(
        default_factory=dict, repr=False
    )  # components without their version, by the object, which is kept so that its id stays its own
    _digester: Digester = field(default_factory=Digester, repr=False)

    def remarks(self, stages: Collection[str] = ("dataset", "fit")) -> list[str]:
        """Say what the options of datasets and generators mean for the files that there are.

        Args:
            stages: `dataset` for those of datasets, `fit` for those of generators.
        """
        arms = [cell.arm for cell in self.cells]
        named = [arm.dataset for arm in arms] if "dataset" in stages else []
        named += [arm.generator for arm in arms] if "fit" in stages else []
        once = {id(one): one for one in named}.values()
        return [f"{one.label}: {remark}" for one in once for remark in one.remarks]

    def family(self, key: str) -> str:
        """Return the digest of a step's document without component versions, its inputs' included.

        An artifact of a step's family under another key is *stale*. Only steps that are to be run, or looked
        at one by one, need it.
        """
        known = self._families.get(key)
        if known is None:
            content = self.steps[key].document
            component = self._without_version(content.get("component", _NO_COMPONENT))
            inputs = {role: self.family(needed) for role, needed in content["inputs"].items()}
            about = {**content, "component": component, "inputs": inputs, "key_version": None}
            known = self._families[key] = self._digester.digest(about, "component")
        return known

    def _without_version(self, component: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a component without its version: the same object for the same object, for the digester."""
        if id(component) not in self._unversioned:
            left = {name: one for name, one in component.items() if name != "version"}
            self._unversioned[id(component)] = (component, left)
        return self._unversioned[id(component)][1]

    def order(self, key: str, guest: Guest | None = None) -> Step:
        """Return a step as it is handed to a worker: with its family, and what is known of third parties."""
        return replace(self.steps[key], family=self.family(key), guest=guest)

    def find_cell(self, name: str) -> Cell:
        """Return a cell by its name.

        Raises:
            UsageError: There is none; the message names close ones.
        """
        found = next((cell for cell in self.cells if cell.name == name), None)
        if found is None:
            guess = did_you_mean(name, [cell.name for cell in self.cells][:12])
            hint = "`genbench plan`, with the same options, prints the names"
            raise UsageError(f"no cell {name!r} in this run. {guess}", hint=hint)
        return found


def check_comparable(arm: Document, baseline: Document) -> None:
    """Refuse to compare two training documents that differ in more than their data.

    Raises:
        ProtocolError: They do; the message names what differs.
    """
    for path, found, expected in differences(arm.content(), baseline.content()):
        if not path.startswith(_DATA_ENTRIES):
            raise ProtocolError(
                f"compared arms must share everything but their data: {path} is {found}, not {expected}"
            )


def cell_name(arm: Arm, marks: Mapping[str, str] | None = None) -> str:
    """`digits/ddpm/x1-append-standard/resnet32/0`: what `genbench why` takes.

    Args:
        arm: Of the cell.
        marks: What tells components with equal labels apart, by kind; with them, the name is unique within a
            plan (`told_apart`).
    """
    marked = {kind: label + (marks or {}).get(kind, "") for kind, label, _ in _named_parts(arm)}
    images = marked["generator"] + (f"+{marked['filter']}" if arm.filter.name != BASELINE else "")
    parts = [marked["dataset"], images, marked.get("mix", mix_label(arm))]
    if arm.classifier is not None:
        parts.append(marked["classifier"])
    return "/".join([*parts, str(arm.index)])


def told_apart(cells: Sequence[Cell]) -> list[Cell]:
    """Return cells whose names are unique: labels keep only the last part of a path, and may be equal.

    Components that share a label get the first digits of the digest of their identity, as on a board. Where
    no two cells share a name, nothing changes.
    """
    if len({cell.name for cell in cells}) == len(cells):
        return list(cells)
    sharing: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)  # digests by object, which cells share
    for cell in cells:
        for kind, label, part in _named_parts(cell.arm):
            known = sharing[kind, label]
            if id(part) not in known:
                identity = part.identity if isinstance(part, Resolved) else part.model_dump(mode="json")
                known[id(part)] = digest(identity)
    marks = {about: _marks(digests) for about, digests in sharing.items()}
    marked = []
    for cell in cells:
        parts = {kind: marks[kind, label][id(part)] for kind, label, part in _named_parts(cell.arm)}
        own = {kind: mark for kind, mark in parts.items() if mark}
        marked.append(replace(cell, name=cell_name(cell.arm, own), marks=own))
    return marked


def _named_parts(arm: Arm) -> Iterator[tuple[str, str, Resolved | Mix]]:
    """Yield what the name of an arm's cell is made of: kind, label, and what has that label."""
    yield "dataset", arm.dataset.label, arm.dataset
    yield "generator", arm.generator.label, arm.generator
    yield "filter", arm.filter.label, arm.filter
    if arm.classifier is not None:
        yield "classifier", arm.classifier.label, arm.classifier
    if arm.mix is not None:
        yield "mix", mix_label(arm), arm.mix


def _marks(digests: Mapping[int, str]) -> dict[int, str]:
    """Return as many digits of digests as tell them apart, four at least; nothing where there is only one."""
    different = set(digests.values())
    if len(different) < 2:
        return dict.fromkeys(digests, "")
    most = max(map(len, different))
    size = next((n for n in range(4, most) if len({one[:n] for one in different}) == len(different)), most)
    return {about: f"#{one[:size]}" for about, one in digests.items()}


def mix_label(arm: Arm) -> str:
    """Write ratio and mix in a few characters; what has its usual value is left out."""
    words, mix = [f"x{arm.ratio:g}"] if arm.ratio else [], arm.mix
    if mix is not None:
        words += [mix.mode] if mix.mode != "append" else []
        words += [f"p{mix.batch_fraction:g}"] if mix.batch_fraction else []
        words += [mix.augment]
        words += [mix.budget] if mix.budget != "steps" else []
        words += [f"T{mix.budget_scale:g}"] if mix.budget_scale != 1.0 else []
    return "-".join(words)
