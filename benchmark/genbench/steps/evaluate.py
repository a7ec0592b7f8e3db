"""The `evaluate` step: images, predictions, a network, or the records of a suite become metrics."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pydantic import ValidationError

from genbench.artifacts import write_evaluation
from genbench.documents import EvaluateDocument, Inputs, the
from genbench.errors import PluginError, StoreError
from genbench.images import LabelledImages, Subset
from genbench.protocols import (
    Evaluation,
    Evaluator,
    EvaluatorConfig,
    ImageEvaluator,
    ImageSet,
    ModelEvaluator,
    PredictionEvaluator,
    SuiteEvaluator,
)
from genbench.records import Record, explained, read_record
from genbench.steps.components import build, build_config, open_references, open_trained
from genbench.steps.dataset import Splits, open_splits
from genbench.steps.embed import open_features, open_summary
from genbench.steps.filtering import open_kept
from genbench.steps.predict import open_predictions
from genbench.steps.samples import open_drawn
from genbench.steps.workshop import Job, Workshop
from genbench.store import Artifact


def run(job: Job[EvaluateDocument]) -> None:
    """Call an evaluator with what its kind reads."""
    component, location = job.document.component, job.step.location
    evaluator: Evaluator = build(component, "evaluator", job.workshop, location)
    if isinstance(evaluator, SuiteEvaluator):
        with _its_mistakes(evaluator):
            found = evaluator.evaluate(job.records, job.ctx)
    else:
        config = build_config(component, "evaluator", job.workshop, location)
        found = _evaluated(job, evaluator, config)
    write_evaluation(found, job.ctx.files)


@contextmanager
def _its_mistakes(evaluator: Evaluator) -> Iterator[None]:
    """Name the evaluator when it makes a metric that cannot be: its mistake, not the user's."""
    try:
        yield
    except ValidationError as problem:
        name = type(evaluator).__name__
        raise PluginError(f"{name} returned an unusable metric: {explained(problem)}") from problem


def _evaluated(job: Job[EvaluateDocument], evaluator: Evaluator, config: object) -> Evaluation:
    """Evaluate a cell or an image set.

    Raises:
        PluginError: The evaluator is of no kind that a step can call.
    """
    given, ctx = job.given, job.ctx
    splits = open_splits(the(given.dataset))
    ctx.inputs = open_references(job, "evaluator", splits)
    if isinstance(evaluator, PredictionEvaluator):
        own = open_predictions(the(given.predict), splits)
        baseline = open_predictions(given.baseline, splits) if given.baseline else None
        if given.twin is not None:
            ctx.inputs = {**ctx.inputs, "twin": open_predictions(given.twin, splits)}
        with _its_mistakes(evaluator):
            return evaluator.evaluate(own, baseline, ctx)
    if isinstance(evaluator, ImageEvaluator):
        reads = job.workshop.registry.spec("evaluator", job.document.component["use"]).reads
        synthetic, real = _synthetic_set(given), _real_sets(given, splits, reads)
        with _its_mistakes(evaluator):
            return evaluator.evaluate(synthetic, real, ctx)
    if isinstance(evaluator, ModelEvaluator) and given.train is not None:
        network = open_trained(given.train, splits, job.workshop)
        wants_train = isinstance(config, EvaluatorConfig) and config.reads_train
        with_train = {"train": splits.train} if wants_train else {}
        with _its_mistakes(evaluator):
            return evaluator.evaluate(network, {**splits.evaluated, **with_train}, ctx)
    raise PluginError(
        f"{type(evaluator).__name__} must be an ImageEvaluator, PredictionEvaluator, SuiteEvaluator or "
        "ModelEvaluator (with `reads_network = True` in its config)"
    )


def suite_records(given: Inputs[Artifact], workshop: Workshop) -> list[Record]:
    """Read the records of the evaluations that a suite evaluator is given, in the order of their keys.

    The main process saves them before it submits the step: records hold names that no artifact knows.

    Raises:
        StoreError: One is missing.
    """
    files = workshop.store.record_files()
    found = []
    for key in sorted(given.records):
        path = files.get(key[:16])
        if path is None:
            raise StoreError(f"no record of {key[:12]} in the store", hint="run the same command again")
        found.append(read_record(path))
    return found


def _real_sets(given: Inputs[Artifact], splits: Splits, reads: Sequence[str]) -> Mapping[str, ImageSet]:
    wanted = list(given.real) or ["train", "val", *reads]  # without an extractor it sees pixels alone
    sets = {}
    for name in wanted:
        features = open_features(given.real[name]) if name in given.real else None
        summary = open_summary(given.summaries[name]) if name in given.summaries else None
        sets[name] = ImageSet(splits.named(name), features, summary)
    return sets


def _synthetic_set(given: Inputs[Artifact]) -> ImageSet:
    images: LabelledImages = open_drawn(given).images
    whole = ImageSet(images, open_features(given.synthetic) if given.synthetic else None)
    if given.filter is None:
        return whole
    kept = open_kept(given.filter)
    features = None if whole.features is None else whole.features[kept]
    return replace(whole, images=Subset(images, kept), features=features)
