"""The checks, by kind of component. Each raises AssertionError with a message that says what to correct."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.digest import file_digest
from genbench.errors import Interrupted
from genbench.hookspecs import Kind
from genbench.images import LabelledImages, TensorImages, statistics
from genbench.protocols import ComponentConfig, Draft, Predictions, SampleRequest, TrainRecipe
from genbench.registry import Registry, import_target, missing_modules
from genbench.spec import BASELINE, STANDARD_PRESETS, Resolved, parse_reference, resolve
from genbench.testing.context import MemoryContext
from genbench.training import NormalisedNetwork

_IMAGES = 24
_CLASSES = 3
_CHECKS_OF_ALL_KINDS = 4  # the first of every kind


@dataclass(frozen=True)
class Subject:
    """A component under test.

    Attributes:
        registry: Where it was found.
        resolved: It, with its options.
        work: Scratch folder.
        image_size: Height and width of the made-up images.
    """

    registry: Registry
    resolved: Resolved
    work: Path
    image_size: int = 8

    def build(self) -> Any:
        """Return a fresh instance."""
        return import_target(self.resolved.spec.target, self.resolved.name)(self.resolved.config)

    def images(self, seed: int = 0) -> LabelledImages:
        """Return made-up images: classes in turn, each around a brightness of its own."""
        names = self._class_names()
        count = max(_IMAGES, 2 * len(names))
        labels = np.arange(count, dtype=np.int64) % len(names)
        shape = (count, 3, self.image_size, self.image_size)
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

    def context(self, **fields: Any) -> MemoryContext:
        """Return a context; components among the options are built and fitted."""
        inputs = dict(self._handed_over())
        if getattr(type(self.resolved.config), "reads_twin", False):
            inputs["twin"] = {"val": _predictions(4), "test": _predictions(5)}
        return MemoryContext(work=self.work, inputs=inputs, **fields)

    def _handed_over(self, path: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what the options hand over, by path, as the harness does."""
        for option, (mark, part) in self.resolved.references.items():
            if mark.stage != "sample":
                yield f"{path}{option}", self._input(mark.stage, part)
                yield from self.other(part)._handed_over(f"{path}{option}/")

    def other(self, part: Resolved) -> "Subject":
        """Return a component among the options as a subject of its own."""
        return Subject(self.registry, part, self.work, self.image_size)

    def _input(self, stage: str, part: Resolved) -> Any:
        other = self.other(part)
        made = other.build()
        if stage == "train":
            with torch.random.fork_rng(devices=[]):  # the same judge each time it is asked for
                torch.manual_seed(0)
                network = made.build(_CLASSES, (3, self.image_size, self.image_size))
            return NormalisedNetwork(network, statistics(self.images())).eval()
        if stage == "fit" and part.spec.needs_fit:
            made.fit(self.images(), other.context())
        return made


Check = Callable[[Subject], None]


def make_subject(registry: Registry, kind: Kind, text: str, work: Path, image_size: int = 8) -> Subject:
    """Settle a component at `smoke`, for its checks."""
    return Subject(
        registry, resolve(registry, kind, parse_reference(text), "smoke", file_digest), work, image_size
    )


# ----------------------------------------------------------------------------------------------- all kinds


def options_are_documented(subject: Subject) -> None:
    """Every option has a description."""
    for name, entry in type(subject.resolved.config).model_fields.items():
        assert entry.description, f"option {name!r} has no description"


def requirements_are_installed(subject: Subject) -> None:
    """Every module that the spec says it requires can be found, without importing it."""
    missing = missing_modules(subject.resolved.spec)
    assert not missing, (
        f"requires {', '.join(missing)}, which cannot be found: install it or correct the spec"
    )


def config_imports_without_torch(subject: Subject) -> None:
    """Planning imports the config alone, and must not wait for torch."""
    module = subject.resolved.spec.config.partition(":")[0]
    folders = [str(Path(file).parent) for file in subject.registry.source.files]
    code = f"import sys; sys.path += {folders!r}; import {module}; sys.exit('torch' in sys.modules)"
    single_file = any(Path(file).stem == module for file in subject.registry.source.files)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert single_file or done.returncode == 0, (
        f"importing {module} imports torch, or fails: {done.stderr[-300:]}"
    )


def presets_are_usable(subject: Subject) -> None:
    """Every preset gives valid options."""
    schema: type[ComponentConfig] = type(subject.resolved.config)
    required = {
        name: getattr(subject.resolved.config, name)
        for name, entry in schema.model_fields.items()
        if entry.is_required()
    }
    for preset in dict.fromkeys([*STANDARD_PRESETS, *schema.presets]):
        schema.model_validate({**required, **schema.presets.get(preset, {})})


# ---------------------------------------------------------------------------------------------- generators


def samples_are_what_was_asked_for(subject: Subject) -> None:
    """Images are uint8 of train's size, labels come back in order, sources are rows of train or -1."""
    train = subject.images()
    request = _request(subject)
    for start, batch in _batches(subject, _fitted(subject), request):
        count = len(batch.labels)
        assert batch.images.dtype == torch.uint8, f"images are {batch.images.dtype}, not uint8"
        assert tuple(batch.images.shape) == (count, *train.image_shape), (
            f"images are {list(batch.images.shape)}"
        )
        assert np.array_equal(batch.labels, request.labels[start : start + count]), "labels changed"
        sources = np.asarray(batch.source_indices)
        assert ((sources >= -1) & (sources < len(train))).all(), "a source index is no row of train"
    assert len(_sampled(subject, _fitted(subject), request)) == len(request), "not every image was made"


def samples_do_not_depend_on_the_split(subject: Subject) -> None:
    """Image i depends on its label, seed and source alone, however the request is split."""
    generator, request = _fitted(subject), _request(subject)
    whole = _sampled(subject, generator, request)
    parts = torch.cat(
        [_sampled(subject, generator, _slice(request, *ends)) for ends in ((0, 5), (5, 6), (6, 12))]
    )
    assert torch.equal(whole, parts), (
        "image i changes with the split: use request.seeds[i] and a padded micro-batch"
    )


def samples_repeat(subject: Subject) -> None:
    """The same request gives the same images."""
    generator, request = _fitted(subject), _request(subject)
    same = torch.equal(_sampled(subject, generator, request), _sampled(subject, generator, request))
    assert same, "the same request gives other images: draw randomness from request.seeds"


def saved_state_is_complete(subject: Subject) -> None:
    """A generator that was saved and loaded makes the same images; nothing is pickled."""
    if not subject.resolved.spec.needs_fit:
        return
    generator, request = _fitted(subject), _request(subject)
    folder = subject.work / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    generator.save(folder)
    pickles = [
        path.name for path in folder.rglob("*") if path.suffix in {".pt", ".pth", ".pkl", ".bin", ".ckpt"}
    ]
    assert not pickles, f"saved state must be safetensors and JSON, found {pickles}"
    loaded = subject.build()
    loaded.load(folder)
    same = torch.equal(_sampled(subject, generator, request), _sampled(subject, loaded, request))
    assert same, "a loaded generator makes other images than the one that was saved"


def fit_can_be_stopped(subject: Subject) -> None:
    """A fit that was stopped at a checkpoint and resumed equals the one that was not, bit for bit."""
    if not subject.resolved.spec.needs_fit:
        return
    stopped = subject.context(stop_after=3)
    try:
        subject.build().fit(subject.images(), stopped)
    except Interrupted:
        resumed = subject.build()
        resumed.fit(subject.images(), subject.context(saved=stopped.saved))
        request = _request(subject)
        same = torch.equal(_sampled(subject, resumed, request), _sampled(subject, _fitted(subject), request))
        assert same, "a resumed fit differs: seed each iteration by ctx.seed(purpose, iteration)"
        return
    if subject.resolved.spec.has_stock:  # a few images are read at once
        return
    raise AssertionError("fit asked ctx.checkpoint_due() fewer than three times: it cannot be stopped")


def random_state_is_left_alone(subject: Subject) -> None:
    """Global random state is nobody's: a plugin that uses it changes the next one's numbers."""
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index]
    _sampled(subject, _fitted(subject), _request(subject))
    assert torch.equal(before, torch.random.get_rng_state()), (
        "torch's global generator was used: use ctx.rng(...)"
    )
    assert np.array_equal(numpy_before, np.random.get_state()[1]), "numpy's global generator was used"  # type: ignore[index]


# --------------------------------------------------------------------------------------- other kinds


def filter_judges_every_image(subject: Subject) -> None:
    """One verdict per image, a reason for each that is dropped, and the same verdicts again."""
    synthetic, train = subject.images(seed=1), subject.images()
    first = subject.build().keep(synthetic, train, subject.context())
    second = subject.build().keep(synthetic, train, subject.context())
    keep = np.asarray(first.keep)
    assert keep.dtype == bool, f"keep must be bool, found {keep.dtype}"
    assert len(keep) == len(first.reasons) == len(synthetic), "not every image was judged"
    assert all(reason for stays, reason in zip(keep, first.reasons, strict=True) if not stays), (
        "a drop has no reason"
    )
    assert np.array_equal(keep, np.asarray(second.keep)), "the same images were judged differently"


def network_has_the_expected_face(subject: Subject) -> None:
    """Logits and penultimate features come out as the contract says, and the recipe is a TrainRecipe."""
    classifier = subject.build()
    assert isinstance(classifier.recipe(), TrainRecipe), "recipe() must return a TrainRecipe"
    torch.manual_seed(0)
    network = classifier.build(_CLASSES, (3, subject.image_size, subject.image_size)).eval()
    pixels = subject.images().all().float() / 255
    with torch.no_grad():
        logits, maps = network(pixels), network.forward_features(pixels)
        features = network.forward_head(maps, pre_logits=True)
        again = network.forward_head(maps)
    assert tuple(logits.shape) == (_IMAGES, _CLASSES), f"logits are {list(logits.shape)}"
    assert features.ndim == 2, f"pre_logits features are {list(features.shape)}, not [n, D]"
    assert torch.allclose(logits, again, atol=1e-5), "forward differs from forward_head(forward_features)"


def network_learns(subject: Subject) -> None:
    """Gradients reach every parameter, and a few steps lower the loss."""
    torch.manual_seed(0)
    network = subject.build().build(_CLASSES, (3, subject.image_size, subject.image_size)).train()
    images = subject.images()
    pixels, labels = images.all().float() / 255 - 0.5, torch.from_numpy(images.labels)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(pixels), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        optimizer.step()
    stuck = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not stuck, f"no gradient reaches {', '.join(stuck[:5])}"
    assert losses[-1] < losses[0], f"the loss does not fall: {losses[0]:.3f} to {losses[-1]:.3f}"


def dataset_loads_twice_the_same(subject: Subject) -> None:
    """Files are named, pixels and labels come out the same each time, and every class has train images."""
    assert subject.resolved.fingerprint, "config.source_files() names no file: the data's identity is unknown"
    first, second = (subject.build().load(subject.context()) for _ in range(2))
    assert (first.train.class_counts() > 0).all(), "a class has no training image"
    for split in ("train", "test"):
        one, two = getattr(first, split), getattr(second, split)
        assert _pixel_digest(one) == _pixel_digest(two), f"{split} differs between two loads"
        assert one.class_names == first.train.class_names, f"{split} has other classes than train"


def metrics_are_well_formed(subject: Subject) -> None:
    """Metrics can be told apart, say why they are None, and repeat; their bounds they check themselves."""
    first, second = (_evaluated(subject) for _ in range(2))
    labels = [metric.label for metric in first]
    assert labels, "no metric was returned"
    assert len(set(labels)) == len(labels), (
        f"metrics cannot be told apart: {labels} (split, against, extractor and qualifiers are fields)"
    )
    for metric in first:
        assert metric.value is not None or metric.note, f"{metric.label} is None and does not say why"
    assert [metric.value for metric in first] == [metric.value for metric in second], "metrics do not repeat"


CHECKS: Mapping[str, tuple[Check, ...]] = {
    "dataset": (
        options_are_documented,
        requirements_are_installed,
        config_imports_without_torch,
        presets_are_usable,
        dataset_loads_twice_the_same,
    ),
    "generator": (
        options_are_documented,
        requirements_are_installed,
        config_imports_without_torch,
        presets_are_usable,
        samples_are_what_was_asked_for,
        samples_repeat,
        samples_do_not_depend_on_the_split,
        saved_state_is_complete,
        fit_can_be_stopped,
        random_state_is_left_alone,
    ),
    "filter": (
        options_are_documented,
        requirements_are_installed,
        config_imports_without_torch,
        presets_are_usable,
        filter_judges_every_image,
    ),
    "classifier": (
        options_are_documented,
        requirements_are_installed,
        config_imports_without_torch,
        presets_are_usable,
        network_has_the_expected_face,
        network_learns,
    ),
    "evaluator": (
        options_are_documented,
        requirements_are_installed,
        config_imports_without_torch,
        presets_are_usable,
        metrics_are_well_formed,
    ),
}


def checks_of(subject: Subject) -> tuple[Check, ...]:
    """Return the checks of a component; the baseline generator makes no images, and none is asked of it."""
    every = CHECKS[subject.resolved.kind]
    is_baseline = subject.resolved.kind == "generator" and subject.resolved.name == BASELINE
    return every[:_CHECKS_OF_ALL_KINDS] if is_baseline else every


# ----------------------------------------------------------------------------------------------- helpers


def _fitted(subject: Subject) -> Any:
    generator = subject.build()
    if subject.resolved.spec.needs_fit:
        generator.fit(subject.images(), subject.context())
    return generator


def _request(subject: Subject) -> SampleRequest:
    train = subject.images()
    sources = np.arange(12, dtype=np.int64)
    drafts = {
        option: _draft(subject.other(part))
        for option, (mark, part) in subject.resolved.references.items()
        if mark.stage == "sample"
    }
    labels = train.labels[sources]
    if subject.resolved.spec.has_stock:
        labels = _fitted(subject).stock().labels[:12]
        sources = np.arange(len(labels), dtype=np.int64)
    return SampleRequest(labels, np.arange(len(labels), dtype=np.int64) + 1000, sources, train, drafts)


def _draft(subject: Subject) -> Draft:
    """Return what a generator among the options makes of the same request."""
    request = _request(subject)
    batches = [batch for _, batch in _batches(subject, _fitted(subject), request)]
    images = torch.cat([batch.images for batch in batches])
    sources = np.concatenate([batch.source_indices for batch in batches])
    prompts = [prompt for batch in batches for prompt in batch.prompts or [""] * len(batch.labels)]
    return Draft(TensorImages(images, request.labels, request.train.class_names), sources, prompts)


def _slice(request: SampleRequest, start: int, stop: int) -> SampleRequest:
    return request.part(np.arange(start, stop))


def _batches(subject: Subject, generator: Any, request: SampleRequest) -> Iterator[tuple[int, Any]]:
    start = 0
    for batch in generator.sample(request, subject.context()):
        yield start, batch
        start += len(batch.labels)


def _sampled(subject: Subject, generator: Any, request: SampleRequest) -> torch.Tensor:
    return torch.cat([batch.images for _, batch in _batches(subject, generator, request)])


def _pixel_digest(images: LabelledImages) -> str:
    content = hashlib.sha256(images.labels.tobytes())
    for batch in images.batches(512):
        content.update(batch.numpy().tobytes())
    return content.hexdigest()


def _evaluated(subject: Subject) -> Any:
    """Call an evaluator of any kind on made-up data."""
    from genbench.protocols import ImageEvaluator, ImageSet, ModelEvaluator, PredictionEvaluator

    evaluator = subject.build()
    if isinstance(evaluator, PredictionEvaluator):
        return evaluator.evaluate(
            {"val": _predictions(0), "test": _predictions(1)}, _baseline(subject), subject.context()
        ).metrics
    if isinstance(evaluator, ImageEvaluator):
        sets = [ImageSet(subject.images(seed), _features(seed)) for seed in range(3)]
        return evaluator.evaluate(sets[0], {"train": sets[1], "val": sets[2]}, subject.context()).metrics
    assert isinstance(evaluator, ModelEvaluator), f"{type(evaluator).__name__} is of no known kind"
    network = torch.nn.Sequential(_Scaled(), torch.nn.Flatten(), _linear(3 * subject.image_size**2))
    return evaluator.evaluate(
        network.eval(), {"val": subject.images(0), "test": subject.images(1)}, subject.context()
    ).metrics


class _Scaled(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float() / 255


def _linear(inputs: int) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(inputs, _CLASSES)


def _baseline(subject: Subject) -> Mapping[str, Predictions] | None:
    wants = getattr(type(subject.resolved.config), "reads_baseline", False)
    return {"val": _predictions(2), "test": _predictions(3)} if wants else None


def _predictions(seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(_IMAGES, dtype=np.int64) % _CLASSES
    logits = rng.normal(size=(_IMAGES, _CLASSES)).astype(np.float32)
    logits[np.arange(_IMAGES), labels] += 1
    return Predictions(logits, _features(seed), labels, tuple(f"class{label}" for label in range(_CLASSES)))


def _features(seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(_IMAGES, 6)).astype(np.float32)
