"""Which images a `sample` step is asked for: classes as in train, and a seed and a source image each."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from genbench.documents import Asked
from genbench.errors import GenbenchError
from genbench.images import LabelledImages, stratified_counts
from genbench.protocols import Draft, SampleRequest
from genbench.seeding import counter_bits


def plan_request(
    train: LabelledImages,
    asked: Asked,
    seed: int,
    drafts: Mapping[str, Draft] | None = None,
    held_out: LabelledImages | None = None,
) -> SampleRequest:
    """Settle which images to make: labels in train's proportions, one seed and one source image each.

    Args:
        train: The training images.
        asked: How many.
        seed: Seed of the step.
        drafts: What other generators made for the same classes; where one has fewer images of a class (some
            could not be made), so has the request.
        held_out: The reserve, for a generator that is handed it instead of `train`.

    Raises:
        GenbenchError: The reserve has too few images of a class.
    """
    wanted = stratified_counts(train.class_counts(), round(asked.ratio * len(train)))
    counts = np.ceil(wanted * asked.oversample).astype(np.int64)
    for draft in (drafts or {}).values():
        counts = np.minimum(counts, draft.images.class_counts())
    pool = train
    if held_out is not None:
        pool = held_out
        _check_reserve(pool, counts)
    labels = np.repeat(np.arange(train.num_classes), counts)
    seeds = counter_bits(seed, torch.arange(len(labels))).numpy()
    aligned = {option: _first_of_each_class(draft, counts) for option, draft in (drafts or {}).items()}
    sources = np.empty(len(labels), dtype=np.int64)
    for label in range(train.num_classes):
        rows = np.flatnonzero(pool.labels == label)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed ^ label)).numpy()
        sources[labels == label] = rows[order][np.arange(counts[label]) % len(rows)]
    for draft in list(aligned.values())[:1]:
        sources = np.where(draft.source_indices >= 0, draft.source_indices, sources)
    return SampleRequest(labels, seeds, sources, pool, aligned)


def fixed_noise_request(request: SampleRequest, columns: int, seed: int) -> SampleRequest:
    """Return `columns` images per class, class by class, image k of each with the same k-th seed."""
    classes = np.arange(request.train.num_classes)
    sources = [np.resize(request.source_indices[request.labels == label], columns) for label in classes]
    seeds = np.tile(counter_bits(seed, torch.arange(columns)).numpy(), len(classes))
    return SampleRequest(np.repeat(classes, columns), seeds, np.concatenate(sources), request.train)


def _first_of_each_class(draft: Draft, counts: npt.NDArray[np.int64]) -> Draft:
    """Return as many images of each class as wanted, class by class, as a request has them."""
    rows = [
        np.flatnonzero(draft.images.labels == label)[:count] for label, count in enumerate(counts.tolist())
    ]
    return draft.part(np.concatenate(rows))


def _check_reserve(reserve: LabelledImages, wanted: npt.NDArray[np.int64]) -> None:
    there = reserve.class_counts()
    short = [
        f"class {reserve.class_names[label]!r}: {there[label]} of {wanted[label]}"
        for label in np.flatnonzero(there < wanted)
    ]
    if short:
        raise GenbenchError(
            f"the reserve has too few held-out images: {', '.join(short)}",
            hint=f"--dataset NAME:reserve=N with N of at least {int(wanted.sum())}, or a lower --ratio",
        )
