"""What is asked of a generator."""

import pickletools
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.errors import Interrupted
from genbench.images import TensorImages
from genbench.protocols import Draft, SampleRequest
from genbench.testing.asking import after
from genbench.testing.common_checks import target_is_of_its_kind
from genbench.testing.subject import Subject, content_of, global_generators_untouched, same_chance

_IMAGES = 12
_SPLITS = ((0, 5), (5, 6), (6, 12))
_STOP_AT_QUESTION = 3
_SHORT_FIT_SECONDS = 5.0  # of one processor, at `smoke`: what is that short is made again sooner than resumed
_SHORT_FIT_REPORTS = 3  # of progress: a fit with that many iterations can stop between them
_PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"})


@after(target_is_of_its_kind)
def samples_are_what_was_asked_for(subject: Subject) -> None:
    """Images are uint8, 0-255, of train's size; labels are as asked for; sources are rows of train or -1."""
    train, request = subject.images(), request_of(subject)
    done, brightest = 0, 0
    for batch in _batches(subject, _fitted(subject), request):
        count = len(batch.labels)
        assert batch.images.dtype == torch.uint8, f"images are {batch.images.dtype}, not uint8"
        assert tuple(batch.images.shape) == (count, *train.image_shape), (
            f"images are {list(batch.images.shape)}, not {[count, *train.image_shape]}"
        )
        assert np.array_equal(batch.labels, request.labels[done : done + count]), (
            "labels are not those that were asked for: yield request.labels, in order"
        )
        sources = np.asarray(batch.source_indices)
        assert sources.shape == (count,), f"{sources.size} source_indices for {count} images"
        assert ((sources >= -1) & (sources < len(train))).all(), (
            "source_indices must be a row of train for each image, or -1"
        )
        for entry in ("prompts", "faults"):
            texts = getattr(batch, entry)
            assert texts is None or len(texts) == count, f"{len(texts)} {entry} for {count} images"
        done += count
        brightest = max([brightest, *batch.images.flatten().tolist()])
    assert done == len(request), f"{done} of {len(request)} images were made"
    assert brightest > 1, "no pixel is brighter than 1: pixels are 0-255, not 0-1"


@after(samples_are_what_was_asked_for)
def samples_repeat(subject: Subject) -> None:
    """The same request gives the same images."""
    generator = _fitted(subject)
    same = torch.equal(_sampled(subject, generator), _sampled(subject, generator))
    assert same, "the same request gives other images: draw randomness from request.seeds"


@after(samples_are_what_was_asked_for)
def random_state_is_left_alone(subject: Subject) -> None:
    """Global random state is nobody's: a plugin that uses it changes the next one's numbers."""
    generator, request, ctx = subject.build(), request_of(subject), subject.context()
    with torch.random.fork_rng(devices=[]), global_generators_untouched():
        if subject.resolved.spec.needs_fit:
            generator.fit(request.train, ctx)
        for _ in generator.sample(request, ctx):
            pass


@after(samples_repeat, random_state_is_left_alone)
def samples_do_not_depend_on_the_split(subject: Subject) -> None:
    """Image i depends on its label, seed and source alone, however the request is split."""
    generator = _fitted(subject)
    whole = _sampled(subject, generator)
    parts = torch.cat([_sampled(subject, generator, np.arange(*ends)) for ends in _SPLITS])
    assert torch.equal(whole, parts), (
        "image i changes with the split: use labels[i], seeds[i] and source_indices[i] of the request alone, "
        "and pad the last micro-batch to the size of the others"
    )


@after(samples_are_what_was_asked_for)
def inputs_are_left_alone(subject: Subject) -> None:
    """Neither train nor the request is changed: others hold the same arrays."""
    generator, request = subject.build(), request_of(subject)
    before = _contents(request)
    if subject.resolved.spec.needs_fit:
        with same_chance():
            generator.fit(request.train, subject.context())
        assert _contents(request)["train"] == before["train"], "fit changes train: work on a copy (.clone())"
    for _ in _batches(subject, generator, request):
        pass
    changed = [name for name, content in _contents(request).items() if content != before[name]]
    assert not changed, f"sample changes {', '.join(changed)} of its request: work on a copy (.clone())"


@after(samples_repeat)
def fits_repeat(subject: Subject) -> None:
    """A second fit with the same seed learns the same."""
    if not subject.resolved.spec.needs_fit:
        return
    same = torch.equal(_sampled(subject, _fitted(subject)), _sampled(subject, _fit(subject).generator))
    assert same, "a second fit differs: initial weights and every draw come from ctx.rng(purpose, iteration)"


@after(samples_are_what_was_asked_for)
def nothing_is_pickled(subject: Subject) -> None:
    """What `save` writes can be read without running anything: safetensors and JSON."""
    if not subject.resolved.spec.needs_fit:
        return
    _fitted(subject).save(_folder(subject))
    files = [path for path in sorted(_folder(subject).rglob("*")) if path.is_file()]
    assert files, "save wrote no file"
    pickles = [path.name for path in files if path.suffix in _PICKLES or _is_pickle(path)]
    assert not pickles, f"saved state must be safetensors and JSON, found pickles: {', '.join(pickles)}"


@after(samples_repeat, nothing_is_pickled)
def saved_state_is_complete(subject: Subject) -> None:
    """A generator that was saved and loaded makes the same images."""
    if not subject.resolved.spec.needs_fit:
        return
    generator, loaded = _fitted(subject), subject.build()
    generator.save(_folder(subject))
    loaded.load(_folder(subject))
    same = torch.equal(_sampled(subject, generator), _sampled(subject, loaded))
    assert same, "a loaded generator makes other images than the one that was saved"


@after(fits_repeat, random_state_is_left_alone)
def fit_can_be_stopped(subject: Subject) -> None:
    """A fit that was stopped at a checkpoint and resumed equals the one that was not, bit for bit.

    One that asks less often than three times is stopped at its last question; one that never asks must be
    short: a few seconds of one processor at `smoke`, without iterations that it reports progress of.
    """
    if not subject.resolved.spec.needs_fit:
        return
    whole: _Fit = subject.once("fit", lambda: _fit(subject))
    if not whole.questions:
        is_short = whole.seconds < _SHORT_FIT_SECONDS and whole.reports < _SHORT_FIT_REPORTS
        assert is_short, (
            f"fit takes {whole.seconds:.1f} s and reports progress {whole.reports} times, and never asks "
            "ctx.checkpoint_due(): it cannot be stopped"
        )
        return
    stopped = subject.context(stop_after=min(_STOP_AT_QUESTION, whole.questions))
    try:
        with same_chance():
            subject.build().fit(subject.images(), stopped)
    except Interrupted:
        pass
    assert stopped.saved, "ctx.checkpoint_due() said yes, and fit did not call ctx.checkpoint(tensors, meta)"
    resumed = subject.build()
    with same_chance():
        resumed.fit(subject.images(), subject.context(saved=stopped.saved))
    same = torch.equal(_sampled(subject, resumed), _sampled(subject, whole.generator))
    assert same, (
        "a resumed fit differs: save all that changes (weights, optimizer, averages), and seed each "
        "iteration by ctx.rng(purpose, iteration)"
    )


# ----------------------------------------------------------------------------------------------- helpers


def request_of(subject: Subject) -> SampleRequest:
    """Return a request that nobody else holds."""
    train = subject.images()
    sources = np.arange(_IMAGES, dtype=np.int64)
    labels = train.labels[sources]
    if subject.resolved.spec.has_stock:  # sources are rows of the stock
        stock = _fitted(subject).stock().labels
        sources %= len(stock)
        labels = stock[sources]
    drafts = {
        option: _draft(subject.other(part))
        for option, (mark, part) in subject.resolved.references.items()
        if mark.stage == "sample"
    }
    seeds = np.arange(_IMAGES, dtype=np.int64) + 1000
    return SampleRequest(labels, seeds, sources, train, drafts)


def _draft(subject: Subject) -> Draft:
    """Return what a generator among the options makes of the same request."""
    request = request_of(subject)
    batches = list(_batches(subject, _fitted(subject), request))
    images = torch.cat([batch.images for batch in batches])
    sources = np.concatenate([batch.source_indices for batch in batches])
    prompts = [prompt for batch in batches for prompt in batch.prompts or [""] * len(batch.labels)]
    return Draft(TensorImages(images, request.labels, request.train.class_names), sources, prompts)


@dataclass(frozen=True)
class _Fit:
    """A fitted generator, and what its fit took and told."""

    generator: Any
    seconds: float
    questions: int
    reports: int


def _fit(subject: Subject) -> _Fit:
    generator, ctx = subject.build(), subject.context()
    started = time.process_time()
    with same_chance():
        generator.fit(subject.images(), ctx)
    return _Fit(generator, time.process_time() - started, ctx.questions, ctx.reports)


def _fitted(subject: Subject) -> Any:
    """Return a generator that is ready: fits are long, so that most checks share one."""
    if not subject.resolved.spec.needs_fit:
        return subject.build()
    return subject.once("fit", lambda: _fit(subject)).generator


def _batches(subject: Subject, generator: Any, request: SampleRequest) -> Iterator[Any]:
    with same_chance():
        yield from list(generator.sample(request, subject.context()))


def _sampled(subject: Subject, generator: Any, rows: Any = None) -> torch.Tensor:
    """Sample the request, or some rows of it, afresh."""
    whole = request_of(subject)
    request = whole if rows is None else whole.part(rows)
    return torch.cat([batch.images for batch in _batches(subject, generator, request)])


def _contents(request: SampleRequest) -> dict[str, Any]:
    arrays = {name: getattr(request, name).tolist() for name in ("labels", "seeds", "source_indices")}
    drafts = {option: content_of(draft.images) for option, draft in request.drafts.items()}
    return {**arrays, **drafts, "train": content_of(request.train)}


def _folder(subject: Subject) -> Path:
    folder = subject.work / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_pickle(path: Path) -> bool:
    """Say whether a file holds a pickle, whatever it is called: bare, or inside what torch.save writes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    content = path.read_bytes()
    if content[:6] == b"\x93NUMPY":
        return b"'|O'" in content[:256]
    try:
        return content[:1] == b"\x80" and sum(1 for _ in pickletools.genops(content)) > 1
    except ValueError:
        return False
