"""Run one step: open its inputs, build its component, call it, and put what it leaves into the store."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np

from genbench.errors import GenbenchError, StoreError, UsageError
from genbench.hookspecs import Kind
from genbench.plan import Step
from genbench.protocols import Classifier, EvaluatorConfig, Filter, Generator, SampleRequest
from genbench.registry import Registry, code_digest, import_target
from genbench.spec import reference_options
from genbench.steps import evaluation, extractors, network, real, synthetic
from genbench.steps.context import Clock, Report, StepContext
from genbench.steps.profiling import profiled
from genbench.steps.provenance import forget_peak_memory, hardware, peak_memory_bytes, versions
from genbench.store import Artifact, Store
from genbench.training import Trained
from genbench.training.data import resident_limit_bytes

_KIND_OF_STAGE: dict[str, Kind] = {
    "dataset": "dataset",
    "fit": "generator",
    "sample": "generator",
    "filter": "filter",
    "train": "classifier",
    "evaluate": "evaluator",
}


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
    bundle: dict[str, Step] = field(default_factory=dict)
    trained: dict[str, tuple[Trained | GenbenchError, float]] = field(default_factory=dict)

    def announce(self, steps: Sequence[Step]) -> None:
        """Note which trainings come next, and may run side by side."""
        self.trained.clear()
        self.bundle.clear()
        if len(steps) > 1:
            self.bundle.update({step.key: step for step in steps})


def execute(step: Step, workshop: Workshop, report: Report, deadline: float | None = None) -> None:
    """Run one step and store what it leaves.

    Raises:
        GenbenchError: The step cannot be done; the message is for the user.
        Exception: Whatever a plugin raises.
    """
    store = workshop.store
    artifacts = {role: _opened(store, key, step) for role, key in step.inputs.items()}
    with _logger(store.log_path(step.key)) as log:
        log.info("%s (%s)", step.label, step.key)

        def fill(folder: Path) -> Mapping[str, Any]:
            ctx = _context(step, workshop, folder, log, report, deadline)
            forget_peak_memory(workshop.device)
            extra = _STAGES[step.stage](step, artifacts, workshop, ctx) or {}
            return {"seconds": ctx.clock.seconds, **extra, **_provenance(step, workshop)}

        store.put(step.key, step.document, fill, step.family)
        log.info("done")


def sample_with_fixed_noise(step: Step, workshop: Workshop, columns: int, seed: int) -> Any:
    """Sample anew for a picture: seed k of `columns` for image k of every class (S3's way of showing them).

    Args:
        step: A `sample` step whose inputs are in the store.
        workshop: Where.
        columns: Images per class.
        seed: Seed of the noise.

    Returns:
        `uint8 [classes, columns, 3, H, W]`, a numpy array.

    Raises:
        UsageError: The generator starts from another one's images, which have no such seeds.
    """
    artifacts = {role: _opened(workshop.store, key, step) for role, key in step.inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        ctx = StepContext(
            step_seed=seed,
            device=workshop.device,
            work=Path(folder),
            files=Path(folder),
            log=logging.Logger("genbench.preview"),
            report=lambda done, total, metrics: None,
        )
        generator, request = _sampling(step, artifacts, workshop, ctx)
        if request.drafts:
            raise UsageError(f"{step.label}: cannot choose the noise of another generator's images")
        fixed = synthetic.fixed_noise_request(request, columns, seed)
        shard = synthetic.sample_whole(generator, fixed, ctx)
    return shard.reshape(-1, columns, *shard.shape[1:])


# ------------------------------------------------------------------------------------------- one per stage


def _dataset(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    dataset = _component(step.document["component"], "dataset", workshop, step.location)
    config = _config(step.document["component"], "dataset", workshop, step.location)
    real.write_splits(dataset, config, ctx, ctx.files)


def _fit(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    generator = cast(
        "Generator", _component(step.document["component"], "generator", workshop, step.location)
    )
    ctx.inputs = _references(step, artifacts, workshop)
    generator.fit(real.open_splits(artifacts["dataset"]).train, ctx)
    generator.save(ctx.files)


def _sample(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    generator, request = _sampling(step, artifacts, workshop, ctx)
    synthetic.write_sample(generator, request, ctx, ctx.files)
    splits = real.open_splits(artifacts["dataset"])
    synthetic.note_copies(ctx.files, {"train": splits.train, **splits.evaluated})


def _sampling(
    step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext
) -> tuple[Generator, SampleRequest]:
    """Open a `sample` step's generator, ready, and settle what it is asked for."""
    component = step.document["component"]
    generator = cast("Generator", _component(component, "generator", workshop, step.location))
    if "fit" in artifacts:
        generator.load(artifacts["fit"].folder)
    ctx.inputs = _references(step, artifacts, workshop)
    splits = real.open_splits(artifacts["dataset"])
    held_out = None
    if workshop.registry.spec("generator", component["use"]).needs_reserve:
        if splits.reserve is None:
            raise GenbenchError(
                f"{component['use']} needs held-out real images, and the dataset has no reserve",
                hint="--dataset NAME:reserve=N",
            )
        held_out = splits.reserve
    drafts = {
        role.removeprefix("draft:"): synthetic.open_sample(artifact).as_draft()
        for role, artifact in artifacts.items()
        if role.startswith("draft:")
    }
    asked = synthetic.Asked(**step.document["images"])
    return generator, synthetic.plan_request(splits.train, asked, ctx.step_seed, drafts, held_out)


def _filter(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    chosen = cast("Filter", _component(step.document["component"], "filter", workshop, step.location))
    ctx.inputs = _references(step, artifacts, workshop)
    train = real.open_splits(artifacts["dataset"]).train
    synthetic.write_verdicts(chosen, synthetic.open_sample(artifacts["sample"]), train, ctx, ctx.files)


def _train(
    step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext
) -> Mapping[str, Any]:
    if step.key in workshop.bundle:
        _train_bundle(workshop, ctx)
    recipe = _classifier(step.document["component"], workshop).recipe()
    if step.key in workshop.trained:
        trained, seconds = workshop.trained.pop(step.key)
        if isinstance(trained, GenbenchError):
            raise trained
        return {**network.write_training(trained, recipe, ctx.files), "seconds": seconds}
    if not workshop.profile:
        trained = _training(step, artifacts, workshop, ctx).alone()
    else:
        with profiled(ctx, step.label, workshop.store.log_path(step.key).with_suffix("")) as watched:
            trained = _training(step, artifacts, workshop, watched).alone()
    return network.write_training(trained, recipe, ctx.files)


def _training(
    step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext
) -> network.Training:
    """Make a `train` step ready to start."""
    splits = real.open_splits(artifacts["dataset"])
    images = None
    if "sample" in artifacts:
        images = synthetic.usable(
            synthetic.open_sample(artifacts["sample"]),
            artifacts.get("filter"),
            splits.train,
            step.document["mix"]["ratio"],
            int(step.document["seed"]),
        )
    classifier = _classifier(step.document["component"], workshop)
    return network.prepare_training(classifier, splits, images, step.document, ctx)


def _train_bundle(workshop: Workshop, ctx: StepContext) -> None:
    """Train all networks of the announced bundle side by side, if that can be and is wanted.

    What each left waits for its own step, with an equal share of the time.
    """
    steps = list(workshop.bundle.values())
    workshop.bundle.clear()
    started = time.perf_counter()
    ready, clocks, room = list[network.Training](), list[Clock](), resident_limit_bytes(workshop.device)
    for step in steps:
        artifacts = {role: _opened(workshop.store, key, step) for role, key in step.inputs.items()}
        own = _context(step, workshop, ctx.files, ctx.log, ctx.report, ctx.deadline)
        own.clock.share = 1 / len(steps)
        clocks.append(own.clock)
        ready.append(_training(step, artifacts, workshop, own))
        room -= ready[-1].run.data.resident_bytes
        if room < ready[-1].run.data.resident_bytes and step is not steps[-1]:
            ctx.log.info("%d trainings run one at a time: the images of all do not fit", len(steps))
            return
    found = network.train_bundle(ready, workshop.vectorize)
    share = (time.perf_counter() - started) / len(steps)
    for step, clock, trained in zip(steps, clocks, found or (), strict=False):
        workshop.trained[step.key] = (trained, clock.before + share)


def _predict(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    splits = real.open_splits(artifacts["dataset"])
    classifier = _classifier(artifacts["train"].document["component"], workshop)
    trained = network.open_network(classifier, splits, artifacts["train"], ctx.device)
    network.write_predictions(trained, splits, classifier.recipe(), ctx, ctx.files)


def _embed(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    if "features" in artifacts:
        spec = workshop.registry.spec("evaluator", step.document["summary"]["use"])
        summarise = import_target(spec.target, spec.name).summarise
        np.savez(
            ctx.files / "summary.npz", **summarise(np.load(artifacts["features"].folder / "features.npy"))
        )
        return
    splits = real.open_splits(artifacts["dataset"])
    split = step.document["split"]
    images = (
        synthetic.open_sample(artifacts["sample"]).images if split == "synthetic" else splits.named(split)
    )
    trained = None
    if "network" in artifacts:
        classifier = _classifier(artifacts["network"].document["component"], workshop)
        trained = network.open_network(classifier, splits, artifacts["network"], ctx.device)
    features = extractors.embed(step.document["component"]["use"], images, trained, ctx.device)
    np.save(ctx.files / "features.npy", features)


def _evaluate(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop, ctx: StepContext) -> None:
    evaluator = _component(step.document["component"], "evaluator", workshop, step.location)
    ctx.inputs = _references(step, artifacts, workshop)
    splits = real.open_splits(artifacts["dataset"])
    trained = None
    if "train" in artifacts:
        classifier = _classifier(artifacts["train"].document["component"], workshop)
        trained = network.open_network(classifier, splits, artifacts["train"], ctx.device)
    config = _config(step.document["component"], "evaluator", workshop, step.location)
    wants_train = isinstance(config, EvaluatorConfig) and config.reads_train
    found = evaluation.evaluate(evaluator, artifacts, splits, trained, ctx, wants_train=wants_train)
    evaluation.write_evaluation(found, ctx.files)


_STAGES: dict[
    str, Callable[[Step, Mapping[str, Artifact], Workshop, StepContext], Mapping[str, Any] | None]
] = {
    "dataset": _dataset,
    "fit": _fit,
    "sample": _sample,
    "filter": _filter,
    "train": _train,
    "predict": _predict,
    "embed": _embed,
    "evaluate": _evaluate,
}


# ------------------------------------------------------------------------------------------------- helpers


def _config(identity: Mapping[str, Any], kind: Kind, workshop: Workshop, location: Mapping[str, Any]) -> Any:
    """Build a component's config from its resolved identity and its locations."""
    spec = workshop.registry.spec(kind, identity["use"])
    schema = import_target(spec.config, spec.name)
    values = {name: _as_option(value) for name, value in identity["config"].items()}
    own = {name: value for name, value in location.items() if "/" not in name}
    return schema.model_validate({**values, **own})


def _as_option(value: Any) -> Any:
    """Turn a resolved component among the options back into a reference."""
    if isinstance(value, Mapping) and value.keys() >= {"use", "version", "config"}:
        return {"use": value["use"], "options": value["config"]}
    return value


def _component(
    identity: Mapping[str, Any], kind: Kind, workshop: Workshop, location: Mapping[str, Any] | None = None
) -> Any:
    """Build a component from its resolved identity."""
    spec = workshop.registry.spec(kind, identity["use"])
    return import_target(spec.target, spec.name)(_config(identity, kind, workshop, location or {}))


def _classifier(identity: Mapping[str, Any], workshop: Workshop) -> Classifier:
    return cast("Classifier", _component(identity, "classifier", workshop))


def _references(step: Step, artifacts: Mapping[str, Artifact], workshop: Workshop) -> dict[str, Any]:
    """Open what the `ComponentRef` options of a step's component hand over, by path."""
    kind = _KIND_OF_STAGE[step.stage]
    return dict(_handed_over(_Owner(step.document["component"], kind, step.location), artifacts, workshop))


@dataclass(frozen=True)
class _Owner:
    """A component whose options name others."""

    identity: Mapping[str, Any]
    kind: Kind
    location: Mapping[str, Any]
    path: str = ""


def _handed_over(
    owner: _Owner, artifacts: Mapping[str, Artifact], workshop: Workshop
) -> Iterator[tuple[str, Any]]:
    """Yield (path, fitted generator or trained network) of an owner's options, and of theirs.

    A fit knows nothing of how its generator samples: those options are the ones that this step was given.
    """
    spec = workshop.registry.spec(owner.kind, owner.identity["use"])
    for option, mark in reference_options(import_target(spec.config, spec.name)):
        identity, path = owner.identity["config"].get(option), f"{owner.path}{option}"
        artifact = artifacts.get(f"option:{path}")
        if mark.kind == "classifier" and artifact is not None:
            classifier = _classifier(artifact.document["component"], workshop)
            splits = real.open_splits(artifacts["dataset"])
            yield path, network.open_network(classifier, splits, artifact, workshop.device)
        elif mark.kind == "generator" and mark.stage == "fit" and identity is not None:
            location = {
                name.removeprefix(f"{option}/"): value
                for name, value in owner.location.items()
                if name.startswith(f"{option}/")
            }
            generator = _component(identity, "generator", workshop, location)
            if artifact is not None:
                generator.load(artifact.folder)
            yield path, generator
            inner = _Owner(identity, "generator", location, f"{path}/")
            yield from _handed_over(inner, artifacts, workshop)


def _context(
    step: Step,
    workshop: Workshop,
    files: Path,
    log: logging.Logger,
    report: Report,
    deadline: float | None,
) -> StepContext:
    work = workshop.store.work_folder(step.key)
    return StepContext(
        step_seed=int(step.document.get("seed", int(step.key[:15], 16))),
        device=workshop.device,
        work=work,
        files=files,
        log=log,
        report=report,
        must_stop=workshop.must_stop,
        checkpoint_seconds=workshop.checkpoint_seconds,
        deadline=deadline,
        clock=Clock.resumed(work),
    )


def _opened(store: Store, key: str, step: Step) -> Artifact:
    artifact = store.open(key)
    if artifact is None:
        raise StoreError(
            f"{step.label}: an input is missing or damaged ({key[:12]})",
            hint="run the same command again: it is rebuilt",
        )
    return artifact


def _provenance(step: Step, workshop: Workshop) -> Mapping[str, Any]:
    facts: dict[str, Any] = {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(workshop.device),
        "versions": versions(),
        "peak_memory_bytes": peak_memory_bytes(workshop.device),
    }
    kind = _KIND_OF_STAGE.get(step.stage)
    if kind is not None:
        name = step.document["component"]["use"]
        facts["code"] = {f"{kind} {name}": code_digest(workshop.registry.spec(kind, name).target)}
    return facts


@contextlib.contextmanager
def _logger(path: Path) -> Iterator[logging.Logger]:
    """A logger that writes to the step's log file alone."""
    log = logging.Logger(f"genbench.step.{path.stem[:12]}", level=logging.INFO)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()
