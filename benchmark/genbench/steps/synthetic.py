"""The `fit`, `sample` and `filter` steps: from real images to the synthetic images that an arm may use."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import GenbenchError, PluginError, ProtocolError
from genbench.images import (
    LabelledImages,
    Subset,
    open_images,
    stratified_choice,
    stratified_counts,
    write_images,
)
from genbench.protocols import Filter, Generator, RunContext, SampleRequest, SyntheticBatch
from genbench.seeding import counter_bits
from genbench.steps.context import StepContext
from genbench.store import Artifact, write_atomically

SHARD_IMAGES = 512  #: a killed `sample` loses at most this many images


@dataclass(frozen=True)
class SyntheticSet:
    """A sampled set and the manifest of its images.

    Attributes:
        images: Pixels and labels.
        seeds: Seed of each image: `int64 [N]`.
        sources: Training image that each was made from, or -1: `int64 [N]`.
    """

    images: LabelledImages
    seeds: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]


def write_sample(
    generator: Generator,
    train: LabelledImages,
    ratio: float,
    oversample: float,
    ctx: StepContext,
    folder: Path,
) -> None:
    """Ask a generator for `ratio` x N images, class by class, shard by shard, and write them.

    A shard that is done lies in `ctx.work` and is not made again.

    Raises:
        PluginError: The generator returned other images than it was asked for.
    """
    request = plan_request(train, ratio, oversample, ctx.step_seed)
    shards = []
    for start in range(0, len(request), SHARD_IMAGES):
        shard = ctx.work / f"shard-{start:07d}.npy"
        part = slice_request(request, start, start + SHARD_IMAGES)
        if not shard.is_file():
            _write_shard(shard, _sampled(generator, part, ctx, start, len(request)))
            ctx.stop_if_asked()
        shards.append(shard)
        ctx.progress(start + len(part), len(request))
    pixels = (torch.from_numpy(np.load(shard)) for shard in shards)
    write_images(folder, pixels, request.labels, train.class_names)
    np.save(folder / "seeds.npy", request.seeds)
    np.save(folder / "sources.npy", request.source_indices)
    counts = {"asked_images": len(request), "made_images": len(request)}
    (folder / "counts.json").write_text(json.dumps(counts))


def open_sample(artifact: Artifact) -> SyntheticSet:
    """Open what `write_sample` wrote."""
    folder = artifact.folder
    return SyntheticSet(open_images(folder), np.load(folder / "seeds.npy"), np.load(folder / "sources.npy"))


def plan_request(train: LabelledImages, ratio: float, oversample: float, seed: int) -> SampleRequest:
    """Settle which images to make: labels in train's proportions, one seed and one source image each."""
    counts = np.ceil(stratified_counts(train.class_counts(), round(ratio * len(train))) * oversample).astype(
        np.int64
    )
    labels = np.repeat(np.arange(train.num_classes), counts)
    seeds = counter_bits(seed, torch.arange(len(labels))).numpy()
    sources = np.empty(len(labels), dtype=np.int64)
    for label in range(train.num_classes):
        rows = np.flatnonzero(train.labels == label)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed ^ label)).numpy()
        sources[labels == label] = rows[order][np.arange(counts[label]) % len(rows)]
    return SampleRequest(labels, seeds, sources, train)


def slice_request(request: SampleRequest, start: int, stop: int) -> SampleRequest:
    """Return a part of a request."""
    return SampleRequest(
        request.labels[start:stop],
        request.seeds[start:stop],
        request.source_indices[start:stop],
        request.train,
    )


def write_verdicts(
    chosen: Filter, synthetic: SyntheticSet, train: LabelledImages, ctx: RunContext, folder: Path
) -> None:
    """Ask a filter about every image; write who stays and why the others do not.

    Raises:
        PluginError: The filter did not judge every image.
        ProtocolError: A class lost every image.
    """
    verdicts = chosen.keep(synthetic.images, train, ctx)
    keep = np.asarray(verdicts.keep, dtype=bool)
    if len(keep) != len(synthetic.images) or len(verdicts.reasons) != len(keep):
        raise PluginError(f"{type(chosen).__name__} judged {len(keep)} of {len(synthetic.images)} images")
    before = synthetic.images.class_counts()
    after = np.bincount(synthetic.images.labels[keep], minlength=len(before))
    lost = [synthetic.images.class_names[label] for label in np.flatnonzero((before > 0) & (after == 0))]
    if lost:
        raise ProtocolError(
            f"{type(chosen).__name__} dropped every image of: {', '.join(lost)} (of {before.tolist()})"
        )
    np.save(folder / "keep.npy", keep)
    report = {"reasons": list(verdicts.reasons), "before": before.tolist(), "after": after.tolist()}
    (folder / "filter.json").write_text(json.dumps(report))


def usable(
    synthetic: SyntheticSet, verdicts: Artifact | None, train: LabelledImages, ratio: float, seed: int
) -> Subset:
    """Return the M = round(ratio x N) synthetic images of an arm, class-stratified, counted after filtering.

    Raises:
        ProtocolError: A class has fewer images than the arm needs.
    """
    kept = np.arange(len(synthetic.images))
    if verdicts is not None:
        kept = kept[np.load(verdicts.folder / "keep.npy")]
    labels = synthetic.images.labels[kept]
    wanted = stratified_counts(train.class_counts(), round(ratio * len(train)))
    there = np.bincount(labels, minlength=train.num_classes)
    short = [
        f"{train.class_names[label]} {there[label]} of {wanted[label]}"
        for label in np.flatnonzero(there < wanted)
    ]
    if short:
        raise ProtocolError(
            f"too few synthetic images are left after filtering: {', '.join(short)}",
            hint="raise the filter's oversample option",
        )
    chosen, _ = stratified_choice(labels, wanted, "usable", seed)
    return Subset(synthetic.images, kept[chosen])


def _sampled(
    generator: Generator, request: SampleRequest, ctx: StepContext, start: int, total: int
) -> Iterator[torch.Tensor]:
    """Yield one shard's images, and check that they are what was asked for."""
    done = 0
    for batch in generator.sample(request, ctx):
        _check_batch(generator, batch, request, done)
        done += len(batch.labels)
        ctx.progress(start + done, total)
        yield batch.images
    if done != len(request):
        raise PluginError(f"{type(generator).__name__} made {done} of {len(request)} images")


def _check_batch(generator: Generator, batch: SyntheticBatch, request: SampleRequest, done: int) -> None:
    name = type(generator).__name__
    expected = (len(batch.labels), *request.train.image_shape)
    if batch.images.dtype != torch.uint8 or tuple(batch.images.shape) != expected:
        found = f"{batch.images.dtype} {list(batch.images.shape)}"
        raise PluginError(f"{name} must yield uint8 {list(expected)}, found {found}")
    if not np.array_equal(batch.labels, request.labels[done : done + len(batch.labels)]):
        raise PluginError(f"{name} changed the labels it was asked for")


def _write_shard(path: Path, batches: Iterator[torch.Tensor]) -> None:
    pixels = torch.cat(list(batches)).numpy()
    if not pixels.size:
        raise GenbenchError("no image was asked for: raise ratio")
    content = io.BytesIO()
    np.save(content, pixels)
    write_atomically(path, content.getvalue())
