"""What is asked of an evaluator, of each of the four kinds."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from genbench.counts import pack_bits
from genbench.digest import digest
from genbench.images import LabelledImages
from genbench.metrics import Metric
from genbench.protocols import (
    EmbeddingConfig,
    Evaluation,
    ImageEvaluator,
    ImageSet,
    ModelEvaluator,
    PredictionEvaluator,
    Predictions,
    SuiteEvaluator,
)
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record, Result, Run
from genbench.testing.asking import after
from genbench.testing.common_checks import target_is_of_its_kind
from genbench.testing.subject import Subject, content_of, global_generators_untouched, same_chance

_SUBJECTS = {
    ImageEvaluator: "image_set",
    PredictionEvaluator: "cell",
    ModelEvaluator: "cell",
    SuiteEvaluator: "suite",
}
_SEEDS, _TEST_IMAGES = 5, 100  # of the made-up records


@after(target_is_of_its_kind)
def evaluator_is_what_its_options_say(subject: Subject) -> None:
    """It is one of the four kinds, and the class attributes of its options say which."""
    evaluator, config = subject.build(), type(subject.resolved.config)
    kinds = [kind for kind in _SUBJECTS if isinstance(evaluator, kind)]
    assert len(kinds) == 1, (
        f"{type(evaluator).__name__} must be an ImageEvaluator, PredictionEvaluator, ModelEvaluator or "
        "SuiteEvaluator"
    )
    said, wanted = getattr(config, "subject", ""), _SUBJECTS[kinds[0]]
    assert said == wanted, (
        f"{kinds[0].__name__} needs `subject: ClassVar[Subject] = {wanted!r}`, found {said!r}"
    )
    reads_network = getattr(config, "reads_network", False)
    assert reads_network == (kinds[0] is ModelEvaluator), (
        f"reads_network is {reads_network}, and it is a {kinds[0].__name__}: a ModelEvaluator alone says True"
    )


@after(evaluator_is_what_its_options_say)
def metrics_are_well_formed(subject: Subject) -> None:
    """Metrics lie within their bounds, can be told apart, and say why they are None."""
    with same_chance():
        found = _evaluated(subject, _inputs(subject))
    assert isinstance(found, Evaluation), f"evaluate must return an Evaluation, found {type(found).__name__}"
    labels = [metric.label for metric in found.metrics]
    is_of_suite = isinstance(subject.build(), SuiteEvaluator)  # which may find nothing to say of made-up ones
    assert labels or found.tables or is_of_suite, "no metric was returned"
    assert len(set(labels)) == len(labels), (
        f"metrics cannot be told apart: {labels} (split, against, extractor and qualifiers are fields)"
    )
    for metric in found.metrics:
        assert metric.value is not None or metric.note, f"{metric.label} is None and does not say why"
    digest(dict(found.tables))  # raises where they are no JSON


@after(metrics_are_well_formed)
def metrics_repeat(subject: Subject) -> None:
    """The same inputs give the same metrics."""
    with same_chance():
        first = [metric.value for metric in _evaluated(subject, _inputs(subject)).metrics]
    with same_chance():
        second = [metric.value for metric in _evaluated(subject, _inputs(subject)).metrics]
    assert first == second, "metrics do not repeat: draw randomness from ctx.rng(purpose)"


@after(metrics_are_well_formed)
def inputs_are_left_alone(subject: Subject) -> None:
    """What it is given is not changed: other evaluators read the same."""
    given = _inputs(subject)
    before = _contents(given)
    with same_chance():
        _evaluated(subject, given)
    assert _contents(given) == before, "evaluate changes what it was given: work on a copy"


@after(metrics_are_well_formed)
def random_state_is_left_alone(subject: Subject) -> None:
    """Global random state is nobody's: draw from `ctx.rng`."""
    given = _inputs(subject)
    with torch.random.fork_rng(devices=[]), global_generators_untouched():
        _evaluated(subject, given)


# ----------------------------------------------------------------------------------------------- helpers


def _inputs(subject: Subject) -> tuple[Any, ...]:
    """Return what an evaluator of this kind is called with, but for the context."""
    evaluator, config = subject.build(), type(subject.resolved.config)
    if isinstance(evaluator, SuiteEvaluator):
        return (made_up_records(),)
    if isinstance(evaluator, PredictionEvaluator):
        wants = getattr(config, "reads_baseline", False)
        baseline = {"val": subject.predictions(2), "test": subject.predictions(3)} if wants else None
        return {"val": subject.predictions(0), "test": subject.predictions(1)}, baseline
    if isinstance(evaluator, ImageEvaluator):
        names = dict.fromkeys(("train", "val", *subject.resolved.spec.reads))
        real = {name: _image_set(subject, seed, name) for seed, name in enumerate(names, start=1)}
        return _image_set(subject, 0, ""), real
    splits = {"val": subject.images(0), "test": subject.images(1)}
    if getattr(config, "reads_train", False):
        splits["train"] = subject.images(2)
    return _network(subject), splits


def _image_set(subject: Subject, seed: int, split: str) -> ImageSet:
    """Return a set with features and a summary, where the options ask for them."""
    config = subject.resolved.config
    if not isinstance(config, EmbeddingConfig):
        return ImageSet(subject.images(seed), None)
    features = subject.features(seed)
    summary = subject.build().summarise(features.copy()) if split in type(config).summarises else None
    return ImageSet(subject.images(seed), features, summary)


def _evaluated(subject: Subject, given: Sequence[Any]) -> Any:
    return subject.build().evaluate(*given, subject.context())


def _contents(given: Any) -> Any:
    """Return a copy of all numbers that an evaluator was given."""
    if isinstance(given, torch.nn.Module):
        state: Any = given.state_dict()
    elif isinstance(given, ImageSet | Predictions):
        state = vars(given)
    else:
        state = given
    if isinstance(state, LabelledImages):
        return content_of(state)
    if isinstance(state, np.ndarray | torch.Tensor):
        return np.asarray(state).tobytes()
    if isinstance(state, Mapping):
        return {name: _contents(value) for name, value in state.items()}
    return list(map(_contents, state)) if isinstance(state, tuple | list) else copy.deepcopy(state)


def _network(subject: Subject) -> torch.nn.Module:
    """Return a network as evaluators get it: pixels in, logits out, evaluation mode."""
    images = subject.images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = torch.nn.Linear(int(np.prod(images.image_shape)), images.num_classes)
    return torch.nn.Sequential(_Scaled(), torch.nn.Flatten(), head).eval()


class _Scaled(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float() / 255


def made_up_records() -> list[Record]:
    """Return the records of a small suite: real images alone, and one generator, over five seeds."""
    return [_record(generator, index) for generator in ("none", "made-up") for index in range(_SEEDS)]


def _record(generator: str, index: int) -> Record:
    right = 70 + index + 5 * (generator != "none")
    bits = [image < right for image in range(_TEST_IMAGES)]
    mix = Mix(ratio=0.0 if generator == "none" else 1.0)
    result = Result(
        subject="cell",
        status="ok",
        dataset=Component("made-up"),
        generator=Component(generator),
        filter=Component("none"),
        classifier=Component("cnn"),
        evaluator=Component("accuracy"),
        index=index,
        protocol=Protocol(),
        key=digest([generator, index]),
        planned_indices=_SEEDS,
        ratio=mix.ratio,
        mix=mix,
        metrics=(Metric("top1", float(right), "%", split="test"), Metric("top1", 70.0, "%", split="val")),
        tables={"test": {"n": _TEST_IMAGES, "correct_bits": pack_bits(bits)}},
    )
    return Record(result, Run("2026-01-01T00:00:00Z", "genbench plugin check"))
