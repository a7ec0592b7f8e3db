"""A sampled set: how it is made, shard by shard, how it is stored, and how it is opened."""

import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from genbench.artifacts import read_counts, write_counts
from genbench.caches import read_json
from genbench.digest import digest, file_digest
from genbench.disk import write_atomically
from genbench.documents import Inputs, the
from genbench.errors import GenbenchError, PluginError
from genbench.images import (
    JoinedImages,
    LabelledImages,
    ShardImages,
    fingerprints,
    memory_limit_bytes,
    write_images,
)
from genbench.protocols import Draft, Generator, SampleRequest, SyntheticBatch
from genbench.records import Sampled, together
from genbench.seeding import counter_bits, derive_seed
from genbench.steps.context import StepContext
from genbench.store import Artifact

SHARD_IMAGES = 512  #: a killed `sample` loses at most this many images
AGAIN_ROUNDS = 3  #: how often an image that came out blank or failed is asked for again
_USELESS_SHARE = 0.5  # of a set: more faults than this, and asking again would not help
NO_FAULT = ""
_BATCH_IMAGES = 512
_WHOLE = "whole.json"
_EMPTY_BATCHES = 1000  # in a row: a generator that yields more will never end


@dataclass(frozen=True)
class SyntheticSet:
    """A sampled set and the manifest of its images.

    Attributes:
        images: Pixels and labels.
        seeds: Seed of each image: `int64 [N]`.
        sources: Training image that each was made from, or -1: `int64 [N]`.
        prompts: Text that each was made with, or an empty string.
        counts: Images asked for, attempts, usable images, faults, and copies of real ones.
        is_whole: Whether they are all images of a stock, as many of each class as there are: all are used.
    """

    images: LabelledImages
    seeds: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    prompts: Sequence[str]
    counts: Sampled
    is_whole: bool = False

    def as_draft(self) -> Draft:
        """Return the set as another generator sees it."""
        return Draft(self.images, self.sources, self.prompts)


def open_sample(artifact: Artifact) -> SyntheticSet:
    """Open what `write_sample` wrote."""
    folder = artifact.folder
    texts, of = json.loads((folder / "prompts.json").read_text(encoding="utf-8")).values()
    return SyntheticSet(
        images=ShardImages(folder),
        seeds=np.load(folder / "seeds.npy"),
        sources=np.load(folder / "sources.npy"),
        prompts=[texts[number] for number in of] if of else [""] * len(np.load(folder / "seeds.npy")),
        counts=read_counts(artifact.folder),
        is_whole=(folder / _WHOLE).is_file(),
    )


def mark_whole(folder: Path) -> None:
    """Note of a written set that it is a whole stock."""
    (folder / _WHOLE).write_text("{}")


def open_drawn(given: Inputs[Artifact]) -> SyntheticSet:
    """Open all images that were drawn for a set: the first ones and, after them, those of its top-ups."""
    first, *others = (open_sample(one) for one in (the(given.sample), *given.more.values()))
    more = [one for one in others if len(one.images)]
    if not more:
        return first
    parts = [first, *more]
    return SyntheticSet(
        images=JoinedImages([one.images for one in parts]),
        seeds=np.concatenate([one.seeds for one in parts]),
        sources=np.concatenate([one.sources for one in parts]),
        prompts=[prompt for one in parts for prompt in one.prompts],
        counts=together([one.counts for one in parts]),
    )


def note_copies(folder: Path, train: LabelledImages, splits: Mapping[str, LabelledImages]) -> None:
    """Count the images of a written set that are, pixel for pixel, an image of a split, and note it there.

    Distinct images are counted, whether train has them, too, or not: what follows, and near copies, are the
    business of the check for copies (`genbench.copies`). Splits larger than memory are not read for it, and
    left out.

    Args:
        folder: What `write_sample` wrote.
        train: The training images, whose shape and classes the set must have.
        splits: Real images by split.

    Raises:
        PluginError: The set is not what was asked for.
    """
    made = _checked(folder, train)
    known = _fingerprints(made)
    copies = {}
    for name, images in splits.items() if len(made) else ():
        if len(images) * math.prod(images.image_shape) <= memory_limit_bytes():
            copies[name] = len(np.intersect1d(known, _fingerprints(images)))
    write_counts(replace(read_counts(folder), made_images=len(made), copies=copies), folder)


def _checked(folder: Path, train: LabelledImages) -> LabelledImages:
    """Open a set that a step wrote, and see whether it is one."""
    images = ShardImages(folder)
    counts = [len(images), *(len(np.load(folder / name)) for name in ("seeds.npy", "sources.npy"))]
    found, expected = (*images.image_shape, *images.class_names), (*train.image_shape, *train.class_names)
    if len(set(counts)) != 1 or found != expected:
        raise PluginError(
            f"a set of {counts} images, seeds and sources of {list(images.image_shape)} was left where "
            f"images of {list(train.image_shape)} in {train.num_classes} classes were asked for"
        )
    return images


def _fingerprints(images: LabelledImages) -> npt.NDArray[np.uint64]:
    none = np.empty(0, dtype=np.uint64)  # of no image: a top-up of which none was asked
    return np.concatenate([none, *(fingerprints(batch) for batch in images.batches(_BATCH_IMAGES))])


# ------------------------------------------------------------------------------------------- the sampling


class Helping(Protocol):
    """Who makes a share of the shards (`genbench.steps.helpers`)."""

    @property
    def parts(self) -> int:
        """How many shares there are, the step's own included."""
        ...

    def join(self) -> None:
        """Wait until the others are made."""
        ...


def shards_of(request: SampleRequest) -> int:
    """Return in how many shards a request is made."""
    return math.ceil(len(request) / SHARD_IMAGES)


class _Shard(NamedTuple):
    """Some sampled images and what is known of each."""

    pixels: npt.NDArray[np.uint8]
    sources: list[int]
    prompts: list[str]
    faults: list[str]


def write_sample(
    generator: Generator,
    request: SampleRequest,
    ctx: StepContext,
    folder: Path,
    top_up: int = 0,
    helpers: Helping | None = None,
) -> None:
    """Ask a generator for images, class by class and shard by shard, and write those that can be used.

    A shard that is done is kept in `ctx.work` and not made again. Images that are blank or failed are
    asked for again with other seeds, a few times; images that stay faulty are left out, and counted.

    Args:
        generator: What makes them.
        request: Which.
        ctx: Its scratch folder.
        folder: Where to.
        top_up: Number of the top-up, or 0: faulty images of each have seeds of their own.
        helpers: Who makes a share of the shards.

    Raises:
        PluginError: The generator returned other images than it was asked for.
        GenbenchError: Most images could not be made, or none was asked for.
    """
    if not len(request):
        raise GenbenchError("no image was asked for: raise ratio")
    sampler = Sampler(generator, request, ctx, top_up)
    if helpers is not None and helpers.parts > 1:
        sampler.make_share(0, helpers.parts)
        helpers.join()  # what they made is found below
    faults = sampler.make_all()
    found = Counter(faults[faults != NO_FAULT].tolist())
    attempts = len(request)
    for again in range(1, AGAIN_ROUNDS + 1):
        rows = np.flatnonzero(faults != NO_FAULT)
        if len(rows):
            faults[rows] = sampler.make_again(rows, again)
            found.update(faults[rows][faults[rows] != NO_FAULT].tolist())
            attempts += len(rows)
    kept = np.flatnonzero(faults == NO_FAULT)
    write_images(folder, sampler.pixels(kept), request.labels[kept], request.train.class_names)
    np.save(folder / "seeds.npy", sampler.seeds[kept])
    np.save(folder / "sources.npy", sampler.sources[kept])
    (folder / "prompts.json").write_text(json.dumps(_shared_texts([sampler.prompts[row] for row in kept])))
    more = len(request) if top_up else 0
    write_counts(Sampled(len(request), attempts, len(kept), dict(found), more_images=more), folder)


def write_empty(request: SampleRequest, folder: Path) -> None:
    """Write a set of no images: that of a top-up where nothing is missing."""
    nothing = torch.empty(0, *request.train.image_shape, dtype=torch.uint8)
    write_images(folder, [nothing], request.labels, request.train.class_names)
    np.save(folder / "seeds.npy", request.seeds)
    np.save(folder / "sources.npy", request.source_indices)
    (folder / "prompts.json").write_text(json.dumps(_shared_texts([])))
    write_counts(Sampled(0, 0, 0), folder)


def sample_whole(generator: Generator, request: SampleRequest, ctx: StepContext) -> npt.NDArray[np.uint8]:
    """Make a small request at once, faults and all: `uint8 [n, 3, H, W]`."""
    return _sampled(generator, request, ctx, 0, len(request)).pixels


class Sampler:
    """One request on its way: which file holds the newest attempt at each image.

    Attributes:
        seeds: Seed of the newest attempt at each image.
        sources: Training image of each, or -1.
        prompts: Prompt of each image.
    """

    def __init__(self, generator: Generator, request: SampleRequest, ctx: StepContext, top_up: int) -> None:
        self._generator, self._request, self._ctx = generator, request, ctx
        self._attempts_before = top_up * AGAIN_ROUNDS
        self.seeds = request.seeds.copy()
        self.sources = request.source_indices.copy()
        self.prompts = [""] * len(request)
        self._where: list[tuple[Path, int]] = [(Path(), 0)] * len(request)

    def make_all(self) -> npt.NDArray[np.object_]:
        """Make every image once; return the fault of each, or an empty string."""
        faults: list[str] = []
        paths = []
        for start in range(0, len(self._request), SHARD_IMAGES):
            path, found = self._make_shard(start)
            paths.append(path)
            faults += found
        share = sum(fault != NO_FAULT for fault in faults) / len(faults)
        if share > _USELESS_SHARE:
            for path in paths:  # a later run asks again
                path.unlink(missing_ok=True)
            numbers = ", ".join(f"{n} {fault}" for fault, n in Counter(faults).items() if fault)
            raise GenbenchError(
                f"{type(self._generator).__name__}: of {len(faults)} images {numbers}: nothing is kept",
                hint="the step's log says why; the same command tries again",
            )
        return np.array(faults, dtype=object)

    def make_share(self, part: int, parts: int) -> None:
        """Make every n-th shard and leave it where `make_all` finds it."""
        for number, start in enumerate(range(0, len(self._request), SHARD_IMAGES)):
            if number % parts == part:
                self._make_shard(start)

    def _make_shard(self, start: int) -> tuple[Path, list[str]]:
        """Make the shard that begins at a row; return where it is, and the fault of each image."""
        rows = np.arange(start, min(start + SHARD_IMAGES, len(self._request)))
        path = self._ctx.work / f"shard-{start:07d}.npy"
        return path, self._make(path, rows, self._request.part(rows), start)

    def make_again(self, rows: npt.NDArray[np.int64], again: int) -> list[str]:
        """Make some images again with other seeds; return the fault of each."""
        request = self._request.part(rows)
        own_seed = derive_seed(self._ctx.step_seed, "again", self._attempts_before + again)
        seeds = counter_bits(own_seed, torch.from_numpy(rows)).numpy()
        self.seeds[rows] = seeds
        path = self._ctx.work / f"again-{again}.npy"
        return self._make(path, rows, replace(request, seeds=seeds), len(self._request) - len(rows))

    def pixels(self, rows: npt.NDArray[np.int64]) -> Iterator[torch.Tensor]:
        """Yield images in order, a shard in memory at a time: `uint8 [n, 3, H, W]`."""
        for start in range(0, len(rows), SHARD_IMAGES):
            here = [self._where[row] for row in rows[start : start + SHARD_IMAGES]]
            files = {path: np.load(path, mmap_mode="r") for path, _ in here}
            yield torch.from_numpy(np.stack([files[path][place] for path, place in here]))

    def _make(self, path: Path, rows: npt.NDArray[np.int64], request: SampleRequest, done: int) -> list[str]:
        """Make one shard unless it exists, and note where its images are."""
        facts = _kept_shard(path)
        if facts is None:
            shard = _sampled(self._generator, request, self._ctx, done, len(self._request))
            content = io.BytesIO()
            np.save(content, shard.pixels)
            facts = [shard.sources, shard.prompts, shard.faults]
            write_atomically(path, content.getvalue())
            note = {"facts": facts, "sha256": digest([facts, file_digest(path)])}
            write_atomically(path.with_suffix(".json"), json.dumps(note).encode())  # last: the shard is whole
            self._ctx.stop_if_asked()
        sources, prompts, faults = facts
        for place, row in enumerate(rows.tolist()):
            self._where[row] = (path, place)
            self.prompts[row] = prompts[place]
        self.sources[rows] = sources
        self._ctx.progress(done + len(rows), len(self._request))
        return list(faults)


def _kept_shard(path: Path) -> list[Any] | None:
    """Return sources, prompts and faults of a shard that an earlier attempt made; None if it is damaged."""
    note = read_json(path.with_suffix(".json"))
    try:
        facts: list[Any] = note["facts"]
        is_whole = bool(note["sha256"] == digest([facts, file_digest(path)]))
    except (OSError, KeyError, TypeError, GenbenchError):  # None, too, if there is no note
        return None
    return facts if is_whole else None


def _sampled(
    generator: Generator, request: SampleRequest, ctx: StepContext, start: int, total: int
) -> _Shard:
    """Make one shard, and check that it is what was asked for."""
    shard = _Shard(np.empty((len(request), *request.train.image_shape), dtype=np.uint8), [], [], [])
    done = empty = 0
    for batch in generator.sample(request, ctx):
        _check_batch(generator, batch, request, done)
        count = len(batch.labels)
        empty = empty + 1 if not count else 0
        if empty > _EMPTY_BATCHES:
            raise PluginError(f"{type(generator).__name__} yields empty batches without end")
        shard.pixels[done : done + count] = batch.images.numpy()
        shard.sources.extend(int(source) for source in batch.source_indices)
        shard.prompts.extend(batch.prompts or [""] * count)
        shard.faults.extend(batch.faults or [NO_FAULT] * count)
        done += count
        ctx.progress(start + done, total)
    if done != len(request):
        raise PluginError(f"{type(generator).__name__} made {done} of {len(request)} images")
    return shard


def _check_batch(generator: Generator, batch: SyntheticBatch, request: SampleRequest, done: int) -> None:
    name, count = type(generator).__name__, len(batch.labels)
    expected = (count, *request.train.image_shape)
    if batch.images.dtype != torch.uint8 or tuple(batch.images.shape) != expected:
        found = f"{batch.images.dtype} {list(batch.images.shape)}"
        raise PluginError(f"{name} must yield uint8 {list(expected)}, found {found}")
    if not np.array_equal(batch.labels, request.labels[done : done + count]):
        raise PluginError(f"{name} changed the labels it was asked for")
    for entry in ("source_indices", "prompts", "faults"):
        values = getattr(batch, entry)
        if values is not None and len(values) != count:
            raise PluginError(f"{name} yields {len(values)} {entry} for {count} images")


def _shared_texts(texts: Sequence[str]) -> Mapping[str, Any]:
    """Write equal texts once: `of[i]` is the number of text i; nothing where all are empty."""
    if not any(texts):
        return {"texts": [], "of": []}
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return {"texts": list(numbers), "of": [numbers[text] for text in texts]}
