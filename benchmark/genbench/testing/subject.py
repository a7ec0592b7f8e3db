"""`Subject`: the component under test, and what the checks hand to it."""

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from genbench.digest import digest, file_digest
from genbench.errors import UsageError
from genbench.hookspecs import Kind
from genbench.images import LabelledImages, TensorImages, statistics
from genbench.notation import parse_reference
from genbench.protocols import Predictions
from genbench.registry import Registry, import_target
from genbench.spec import Resolved, resolve
from genbench.testing.context import MemoryContext
from genbench.training import NormalisedNetwork

IMAGES_PER_CLASS = 8
_CLASSES = 3  # of the made-up images
_MOST_CLASSES = 10  # whose images are taken from a dataset
_FEATURES = 6
_JUDGE_STEPS, _JUDGE_RATE, _JUDGE_SMOOTHING = 30, 3e-3, 0.2
_MADE: WeakKeyDictionary[Registry, dict[str, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Subject:
    """A component under test.

    Attributes:
        registry: Where it was found.
        resolved: It, with its options.
        work: Scratch folder.
        image_size: Height and width of the made-up images.
        real: Images of a dataset, by draw, in place of made-up ones; empty without one.
    """

    registry: Registry
    resolved: Resolved
    work: Path
    image_size: int = 8
    real: tuple[TensorImages, ...] = ()

    def build(self) -> Any:
        """Return a fresh instance."""
        return import_target(self.resolved.spec.target, self.resolved.name)(self.resolved.config)

    def images(self, seed: int = 0) -> TensorImages:
        """Return images that nobody else holds: each seed gives others of the same kind.

        Made-up ones are classes in turn, each around a brightness of its own.
        """
        if self.real:
            drawn = self.real[seed % len(self.real)]
            return TensorImages(drawn.all().clone(), drawn.labels.copy(), drawn.class_names)
        names = self._class_names()
        labels = np.arange(IMAGES_PER_CLASS * len(names), dtype=np.int64) % len(names)
        shape = (len(labels), 3, self.image_size, self.image_size)
        noise = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(seed))
        level = torch.from_numpy(labels % _CLASSES * 70)[:, None, None, None]
        return TensorImages((noise + level).byte(), labels, names)

    def _class_names(self) -> list[str]:
        """Return the classes of the made-up images: those of the stock, for a generator that has one."""
        if self.resolved.spec.has_stock:
            names = list(self.build().class_names())
            assert len(names) > 1, "class_names() must name the classes of the stock, two at least"
            return names
        return [f"class{label}" for label in range(_CLASSES)]

    def features(self, seed: int) -> Any:
        """Return made-up features of `images(seed)`: `float32 [N, D]`."""
        shape = (len(self.images(seed)), _FEATURES)
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def predictions(self, seed: int) -> Predictions:
        """Return made-up predictions for `images(seed)`, better than chance."""
        images = self.images(seed)
        shape = (len(images), images.num_classes)
        logits = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        logits[np.arange(len(images)), images.labels] += 1
        return Predictions(logits, self.features(seed), images.labels, images.class_names)

    def context(self, **fields: Any) -> MemoryContext:
        """Return a context; components among the options are built and fitted."""
        inputs = dict(self._handed_over())
        if getattr(type(self.resolved.config), "reads_twin", False):
            inputs["twin"] = {"val": self.predictions(4), "test": self.predictions(5)}
        return MemoryContext(work=self.work, inputs=inputs, **fields)

    def other(self, part: Resolved) -> "Subject":
        """Return a component among the options as a subject of its own."""
        return Subject(self.registry, part, self.work, self.image_size, self.real)

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """Return what `make` makes: the same object for all checks of this component, made at the first."""
        known = _MADE.setdefault(self.registry, {})
        key = f"{what} {digest([self.resolved.kind, self.resolved.identity])} {content_of(self.images())}"
        if key not in known:
            known[key] = make()
        return known[key]

    def _handed_over(self, path: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what the options hand over, by path, as the harness does."""
        for option, (mark, part) in self.resolved.references.items():
            if mark.stage != "sample":
                yield f"{path}{option}", self._input(mark.stage, part)
                yield from self.other(part)._handed_over(f"{path}{option}/")

    def _input(self, stage: str, part: Resolved) -> Any:
        other = self.other(part)
        if stage == "train":
            return other.once("judge", other._judge)
        if stage == "fit" and part.spec.needs_fit:
            return other.once("base", other._fitted)
        return other.build()

    def _judge(self) -> NormalisedNetwork:
        """Return a network that learned the images, and is never quite sure: of equal logits none is best."""
        images = self.images()
        labels = torch.from_numpy(images.labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = self.build().build(images.num_classes, images.image_shape)
            judge = NormalisedNetwork(network, statistics(images)).train()
            optimizer = torch.optim.Adam(judge.parameters(), _JUDGE_RATE)
            for _ in range(_JUDGE_STEPS):
                optimizer.zero_grad()
                logits = judge(images.all())
                loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=_JUDGE_SMOOTHING)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return judge.eval().requires_grad_(False)

    def _fitted(self) -> Any:
        made = self.build()
        with same_chance():
            made.fit(self.images(), self.context())
        return made


def make_subject(
    registry: Registry,
    kind: Kind,
    text: str,
    work: Path,
    image_size: int = 8,
    dataset: str | None = None,
) -> Subject:
    """Settle a component at `smoke`, for its checks.

    Args:
        registry: Where it is found.
        kind: Its kind.
        text: `name` or `name:option=value,...`.
        work: Scratch folder.
        image_size: Height and width of the made-up images.
        dataset: A dataset, as it is named on the command line, whose images and classes take their place.

    Raises:
        UsageError: A component or an option is unknown, or a dataset is to be checked on another one.
    """
    resolved = _resolved(registry, kind, text)
    if dataset is None:
        return Subject(registry, resolved, work, image_size)
    if kind == "dataset":
        raise UsageError(
            f"dataset {resolved.name!r} is checked on its own images", hint="leave out --dataset"
        )
    source = Subject(registry, _resolved(registry, "dataset", dataset), work)
    return Subject(
        registry, resolved, work, image_size, real=_draws(source.build().load(source.context()).train)
    )


def _resolved(registry: Registry, kind: Kind, text: str) -> Resolved:
    return resolve(registry, kind, parse_reference(text), "smoke", file_digest)


def _draws(train: LabelledImages) -> tuple[TensorImages, ...]:
    """Return three sets of a few images of each class; of a large number of classes, of the first ones."""
    of_class = [
        np.flatnonzero(train.labels == label) for label in range(min(train.num_classes, _MOST_CLASSES))
    ]
    sets = []
    for draw in range(3):
        places = np.arange(draw * IMAGES_PER_CLASS, (draw + 1) * IMAGES_PER_CLASS)
        rows = np.stack([some[places % len(some)] for some in of_class if len(some)], axis=1).reshape(-1)
        sets.append(TensorImages(train.batch(rows).clone(), train.labels[rows], train.class_names))
    return tuple(sets)


@contextlib.contextmanager
def same_chance() -> Iterator[None]:
    """Set every global generator to one state, and put back what it was.

    Who uses them is found by the check for that alone: every other check sees the same numbers each time.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def global_generators_untouched() -> Iterator[None]:
    """Raise AssertionError if a global generator moves.

    Raises:
        AssertionError: One did; says which.
    """
    before = _global_states()
    yield
    moved = [name for name, state in _global_states().items() if state != before[name]]
    assert not moved, (
        f"the global generator of {' and '.join(moved)} was used: it is everybody's, so draw from "
        "torch.Generator().manual_seed(seed) of each image, or from ctx.rng(purpose)"
    )


def _global_states() -> Mapping[str, Any]:
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "numpy": (numpy[1].tobytes(), *numpy[2:]),
        "Python": random.getstate(),
    }


def content_of(images: LabelledImages) -> str:
    """Return a digest of pixels and labels."""
    content = hashlib.sha256(np.asarray(images.labels).tobytes())
    for batch in images.batches(512):
        content.update(batch.contiguous().numpy().tobytes())
    return content.hexdigest()
