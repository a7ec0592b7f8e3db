"""Which images a `sample` step is asked for: classes as in train, and a seed and a source image each."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genbench.documents import Asked
from genbench.errors import GenbenchError
from genbench.images import LabelledImages, stratified_counts
from genbench.protocols import Draft, SampleRequest
from genbench.seeding import counter_bits, derive_seed


class Judged(NamedTuple):
    """What a filter left of the images drawn so far, by class: `int64 [classes]` each."""

    drawn: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]


def plan_request(
    train: LabelledImages,
    asked: Asked,
    seed: int,
    drafts: Mapping[str, Draft] | None = None,
    held_out: LabelledImages | None = None,
    judged: Judged | None = None,
) -> SampleRequest:
    """Settle which images to make: labels in train's proportions, one seed and one source image each.

    Args:
        train: The training images.
        asked: How many.
        seed: Seed of the step.
        drafts: What other generators made for the same classes; where one has fewer images of a class (some
            could not be made), so has the request.
        held_out: The reserve, for a generator that is handed it instead of `train`.
        judged: Of a top-up, what a filter left so far: what is missing is asked for, if anything is, with
            seeds of its own and from where the source images of the earlier steps end.

    Raises:
        GenbenchError: The reserve has too few images of a class.
    """
    wanted = stratified_counts(train.class_counts(), round(asked.ratio * len(train)))
    counts = np.ceil(wanted * asked.oversample).astype(np.int64)
    started = np.zeros_like(counts)
    if judged is not None:
        counts, started = further(wanted, judged, np.ceil(counts * asked.most).astype(np.int64)), judged.drawn
    for draft in (drafts or {}).values():
        counts = np.minimum(counts, draft.images.class_counts())
    pool = train
    if held_out is not None:
        pool = held_out
        if judged is None:
            _check_reserve(pool, counts)
        counts = np.minimum(counts, np.maximum(pool.class_counts() - started, 0))  # never an image twice
    labels = np.repeat(np.arange(train.num_classes), counts)
    own_seed = derive_seed(seed, "top-up", asked.top_up) if asked.top_up else seed
    seeds = counter_bits(own_seed, torch.arange(len(labels))).numpy()
    aligned = {option: _first_of_each_class(draft, counts) for option, draft in (drafts or {}).items()}
    sources = np.empty(len(labels), dtype=np.int64)
    for label in range(train.num_classes):
        rows = np.flatnonzero(pool.labels == label)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed ^ label)).numpy()
        sources[labels == label] = rows[order][(started[label] + np.arange(counts[label])) % len(rows)]
    for draft in list(aligned.values())[:1]:
        sources = np.where(draft.source_indices >= 0, draft.source_indices, sources)
    return SampleRequest(labels, seeds, sources, pool, aligned)


def further(
    wanted: npt.NDArray[np.int64], judged: Judged, most: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many more images of each class to draw, so that a filter probably leaves enough.

    The share that stays is estimated by (kept + 1) / (drawn + 2), Laplace's rule: it is never 0. With it,
    what is missing, and two standard deviations of a Poisson number more, is expected to stay.

    Args:
        wanted: Images wanted of each class, after filtering.
        judged: What became of those drawn so far.
        most: Images of each class that are drawn in all.

    Returns:
        `int64 [classes]`, 0 where enough stayed.

    >>> half = Judged(np.array([100, 100]), np.array([50, 100]))
    >>> further(np.array([100, 100]), half, np.array([400, 400])).tolist()
    [129, 0]
    """
    missing = np.maximum(wanted - judged.kept, 0)
    share = (judged.kept + 1) / (judged.drawn + 2)
    counts: npt.NDArray[np.int64] = np.ceil((missing + 2 * np.sqrt(missing)) / share).astype(np.int64)
    np.minimum(counts, np.maximum(most - judged.drawn, 0), out=counts)
    return counts


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
