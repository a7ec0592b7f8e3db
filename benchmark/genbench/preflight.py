"""What can be known before a run is known before it: one message instead of a failure of every cell.

`check` raises what a run would founder on; `would_fail` lists it for `genbench plan`. A component says what
it needs where it says everything else: in `ComponentSpec.requires` and `needs_reserve`, and in its options'
`check_machine`, `check_images` and `check_classes`. Nothing here imports torch or a component's
implementation; what is asked of a stock, and whether a model of others fits, is looked up by
`genbench.stocks` and `genbench.foreign_models`, which do.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from genbench.artifacts import read_card
from genbench.disk import make_folder, probe
from genbench.documents import TrainDocument
from genbench.errors import (
    GenbenchError,
    PluginError,
    StoreUnwritableError,
    UsageError,
    together,
)
from genbench.escaping import exception_text
from genbench.executors.making import check_engine, engine_named
from genbench.hookspecs import Kind
from genbench.plan import Arm, Cell, Plan, Step
from genbench.protocols import ClassifierConfig, DatasetConfig
from genbench.registry import Registry, missing_modules
from genbench.spec import Resolved
from genbench.store import Store
from genbench.suite import BASELINE, STANDARD_PRESETS

#: Of the store's disk, below which nothing starts: a checkpoint of a small network has 5 MiB, a step a few.
LEAST_FREE_BYTES = 100 * 2**20
LITTLE_FREE_BYTES = 2**30  #: below which a run says so


def check(
    plan: Plan, missing: Sequence[str], store: Store, registry: Registry, executor: str = "processes"
) -> None:
    """Refuse to run what could not succeed.

    Args:
        plan: What would be run.
        missing: Keys of the steps that the store lacks.
        store: Where results go.
        registry: The components.
        executor: Where steps would run, with its options.

    Raises:
        GenbenchError: Something is wrong; with several findings, all of them in one message.
    """
    found = [*_of_engine(registry, executor), *would_fail(plan, missing, store, registry)]
    if found:
        raise together(found)
    if missing:
        check_store(store)


def would_fail(
    plan: Plan, missing: Sequence[str], store: Store, registry: Registry
) -> Iterator[GenbenchError]:
    """Yield every reason why a plan, or cells of it, could not be run here, each once."""
    found = [*_of_modules(plan, missing, registry), *_of_machine(plan, missing)]
    for cell in _rows(plan, missing):
        found += _of_data(cell, store)
    for dataset, trainings in _trainings(plan, missing).items():
        found += _of_batches(trainings, dataset, store)
    found += _of_stocks(plan, missing, store, registry)
    yield from {str(finding): finding for finding in found}.values()


def _of_stocks(
    plan: Plan, missing: Sequence[str], store: Store, registry: Registry
) -> Iterator[GenbenchError]:
    """Yield what is asked in vain of images that exist already."""
    parts = {part for key in missing for part in plan.steps[key].parts.components}
    if any(registry.spec(kind, name).has_stock for kind, name in parts):
        from genbench.stocks import problems_of_stocks  # imports torch, which other plans do without

        yield from problems_of_stocks(plan, store, registry)


class Datasets:
    """What a plan wants of each of its datasets; the plan is looked through once, however many there are.

    Args:
        plan: What is run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Of the steps that load them."""
        return tuple(key for key, step in self._plan.steps.items() if step.stage == "dataset")

    def check(self, key: str, store: Store) -> None:
        """Refuse what a dataset, now that it is there, turns out too small for.

        Args:
            key: Of the dataset's step, which is done.
            store: Where its result is.

        Raises:
            GenbenchError: Its images or its reserve are too few or too small for a component, or for a batch.
        """
        found = {str(problem): problem for cell in self._rows[key] for problem in _of_data(cell, store)}
        found |= {str(one): one for one in _of_batches(self._trainings.get(key, ()), key, store)}
        if found:
            raise together(list(found.values()))

    @cached_property
    def _rows(self) -> Mapping[str, Sequence[Cell]]:
        found: dict[str, list[Cell]] = defaultdict(list)
        for cell in _rows(self._plan, self.keys):
            found[_dataset_of(cell)].append(cell)
        return found

    @cached_property
    def _trainings(self) -> Mapping[str, Sequence[Step]]:
        return _trainings(self._plan, tuple(self._plan.steps))


def check_store(store: Store) -> None:
    """Refuse a store that cannot be written, or whose disk is nearly full.

    Raises:
        StoreUnwritableError: It is.
    """
    with store.writing():
        make_folder(store.root)
        probe(store.root)
    free = shutil.disk_usage(store.root).free
    if free < LEAST_FREE_BYTES:
        raise StoreUnwritableError(
            f"{free / 2**20:.0f} MiB are free where the store is ({store.root}): a run needs "
            f"{LEAST_FREE_BYTES / 2**20:.0f} MiB to begin with",
            hint="make room there, or name another folder with --store DIR; `genbench store gc --dry-run` "
            "lists what the store could do without",
        )


def remarks(plan: Plan, missing: Sequence[str], store: Store, registry: Registry) -> Iterator[str]:
    """Yield what a run should say before it starts, and what does not keep it from running."""
    for plugin in registry.plugins:
        if plugin.is_installed and plugin.state in {"failed", "conflict"}:
            yield f"plugin {plugin.name!r} ({plugin.origin}) did not load: {plugin.reason}"
    preset = plan.protocol.preset
    without = [
        component.name
        for component in _components(plan)
        if component.kind != "evaluator"
        and component.name != BASELINE
        and preset not in component.config.presets
    ]
    if preset not in STANDARD_PRESETS and without:
        yield f"preset {preset!r} is unknown to {', '.join(dict.fromkeys(without))}: defaults are used there"
    if missing and LEAST_FREE_BYTES <= shutil.disk_usage(_nearest(store.root)).free < LITTLE_FREE_BYTES:
        free = shutil.disk_usage(_nearest(store.root)).free
        yield f"{free / 2**20:.0f} MiB are free where the store is ({store.root})"


# ------------------------------------------------------------------------------------------- what is checked


def _of_engine(registry: Registry, executor: str) -> Iterator[GenbenchError]:
    """Look at the executor, even where nothing is left for it to do."""
    try:
        check_engine(registry, engine_named(registry, executor))
    except GenbenchError as problem:
        yield problem


def _of_modules(plan: Plan, missing: Sequence[str], registry: Registry) -> Iterator[GenbenchError]:
    """Find modules that a step to be run imports and that are not installed."""
    users: dict[str, dict[str, None]] = {}
    parts: dict[tuple[Kind, str], None] = {
        part: None for key in missing for part in plan.steps[key].parts.components
    }
    for kind, name in parts:
        for module in missing_modules(registry.spec(kind, name)):
            users.setdefault(module, {})[f"{kind} {name}"] = None
    for module, names in users.items():
        yield UsageError(
            f"{', '.join(names)}: needs the Python module {module!r}, which is not installed",
            hint=f"pip install {module.partition('.')[0]}",
        )


def _of_machine(plan: Plan, missing: Sequence[str]) -> Iterator[GenbenchError]:
    """Ask the components of steps to be run whether this machine has what they need."""
    used = {part for key in missing for part in plan.steps[key].parts.components}
    for component in _components(plan):
        if (component.kind, component.name) in used:
            yield from _refusals(component, component.config.check_machine)


def _of_data(cell: Cell, store: Store) -> Iterator[GenbenchError]:
    """Hold what a row wants against its dataset: its options and, where it was loaded before, its images."""
    artifact = store.open(_dataset_of(cell))
    card = read_card(artifact) if artifact is not None else {}
    yield from _of_reserve(cell.arm, card.get("splits", {}))
    users = [cell.arm.generator, cell.arm.filter, cell.arm.classifier]
    for one in (inner for component in users if component is not None for inner in _with_inner(component)):
        if "image_shape" in card:
            channels, height, width = card["image_shape"]
            yield from _refusals(one, partial(one.config.check_images, (channels, height, width)))
        if "class_names" in card:
            yield from _refusals(one, partial(one.config.check_classes, card["class_names"]))
    classifier = cell.arm.classifier
    if artifact is not None and classifier is not None and _names_a_model(classifier):
        from genbench.foreign_models import check_model  # imports torch, which other plans do without

        yield from _refusals(classifier, partial(check_model, classifier, artifact))


def _of_batches(trainings: Sequence[Step], dataset: str, store: Store) -> Iterator[GenbenchError]:
    """Find networks whose batch is larger than the smallest training set that a dataset has for them."""
    artifact = store.open(dataset)
    real = read_card(artifact).get("splits", {}).get("train") if artifact is not None else None
    if not real:
        return
    smallest: dict[tuple[str, int, str], tuple[int, str]] = {}
    for step in trainings:
        work = step.work
        assert isinstance(work, TrainDocument)
        recipe = work.component["config"].get("recipe", {})
        size = recipe.get("batch_size_images", 0)
        added = round(work.mix.ratio * real)
        images = {"append": real + added, "replace": real, "synthetic-only": added}[work.mix.mode]
        if recipe.get("epochs") and size > images:
            option = "--reference" if step.label.startswith("train reference ") else "--classifier"
            about = (work.component["use"], size, option)
            smallest[about] = min(smallest.get(about, (images, step.label)), (images, step.label))
    for (name, size, option), (images, label) in smallest.items():
        fits = 2 ** (images.bit_length() - 1) if images else 1
        yield UsageError(
            f"{label}: recipe.batch_size_images is {size}, but this training set has {images} images",
            hint=f"{option} {name}:recipe.batch_size_images={fits}   (the same in all arms)",
        )


def _trainings(plan: Plan, keys: Sequence[str]) -> Mapping[str, Sequence[Step]]:
    """Return those of some steps that train a network, by the key of their dataset."""
    found: dict[str, list[Step]] = defaultdict(list)
    for step in (plan.steps[key] for key in keys):
        if isinstance(step.work, TrainDocument):
            found[step.inputs["dataset"]].append(step)
    return found


def _of_reserve(arm: Arm, sizes: Mapping[str, int]) -> Iterator[GenbenchError]:
    """Find a generator of held-out real images whose dataset holds out too few."""
    config = arm.dataset.config
    greedy = next((one for one in _with_inner(arm.generator) if one.spec.needs_reserve), None)
    if greedy is None or not arm.ratio or not isinstance(config, DatasetConfig):
        return
    train = sizes.get("train", config.limit_train)
    wanted = round(arm.ratio * train) if train else None
    if config.reserve and (wanted is None or config.reserve >= wanted):
        return
    amount = f"N of at least {wanted:,}" if wanted else "N of at least --ratio times the training images"
    there = (
        f"{config.reserve:,} of the {wanted:,} that ratio {arm.ratio:g} takes" if config.reserve else "none"
    )
    yield UsageError(
        f"{greedy.name} hands over held-out real images, and {arm.dataset.label} holds out {there}",
        hint=f"--dataset {arm.dataset.name}:...,reserve=N with {amount}",
    )


# ------------------------------------------------------------------------------------------------- helpers


def _names_a_model(classifier: Resolved) -> bool:
    config = classifier.config
    return isinstance(config, ClassifierConfig) and config.names_a_model


def _refusals(component: Resolved, check: Callable[[], None]) -> Iterator[GenbenchError]:
    """Yield what a component's check raises; of a third party's, that may be anything."""
    try:
        check()
    except GenbenchError as problem:
        yield problem
    except (Exception, SystemExit) as problem:
        said = exception_text(problem)
        yield PluginError(f"{component.kind} {component.name!r}: its options raise {said}")


def _components(plan: Plan) -> Iterator[Resolved]:
    """Yield the components of a plan, those among their options included, each once."""
    seen: set[int] = set()
    for top in _named(plan):
        for component in _with_inner(top):
            if id(component) not in seen:
                seen.add(id(component))
                yield component


def _named(plan: Plan) -> Iterator[Resolved]:
    for arm in (cell.arm for cell in plan.cells):
        yield from (one for one in (arm.dataset, arm.generator, arm.filter, arm.classifier) if one)
    for planned in plan.records.values():
        yield planned.evaluator


def _with_inner(component: Resolved) -> Iterator[Resolved]:
    yield component
    for _, inner in component.references.values():
        yield from _with_inner(inner)


def _rows(plan: Plan, missing: Sequence[str]) -> list[Cell]:
    """Return a cell of every row that has steps to run: its seeds differ in nothing that is looked at."""
    todo, found = set(missing), dict[tuple[object, ...], Cell]()
    for cell in plan.cells:
        arm = cell.arm
        parts = (arm.dataset, arm.generator, arm.filter, arm.classifier)
        if not todo.isdisjoint(cell.steps):
            found.setdefault((*map(id, parts), arm.ratio), cell)
    return list(found.values())


def _dataset_of(cell: Cell) -> str:
    """Return the key of the step that loads a cell's dataset: the first of its steps."""
    return cell.steps[0]


def _nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
