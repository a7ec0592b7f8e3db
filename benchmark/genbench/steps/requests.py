"""Which images a `sample` step is asked for: classes as in train, and a seed and a source image each."""

import math
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


class Supply(NamedTuple):
    """Images that are there, and of which each is handed out once at most.

    Attributes:
        images: All of them.
        is_reserve: Whether they are the dataset's reserve, which is handed over instead of train; else they
            are a generator's stock.
        is_whole: Whether all are wanted, in their order and as many of each class as there are.
    """

    images: LabelledImages
    is_reserve: bool = False
    is_whole: bool = False


class Judged(NamedTuple):
    """What a filter left of the images drawn so far, by class: `int64 [classes]` each."""

    drawn: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]


def plan_request(
    train: LabelledImages,
    asked: Asked,
    seed: int,
    drafts: Mapping[str, Draft] | None = None,
    supply: Supply | None = None,
    judged: Judged | None = None,
) -> SampleRequest:
    """Settle which images to make: labels in train's proportions, one seed and one source image each.

    Args:
        train: The training images.
        asked: How many.
        seed: Seed of the step.
        drafts: What other generators made for the same classes; where one has fewer images of a class (some
            could not be made), so has the request.
        supply: The images that are handed out, for a generator that makes none.
        judged: Of a top-up, what a filter left so far: what is missing is asked for, if anything is, with
            seeds of its own and from where the source images of the earlier steps end.

    Raises:
        GenbenchError: The supply has too few images of a class, or other than all were asked for.
    """
    if supply is not None and supply.is_whole:
        return _all_of(supply.images, train, asked, seed)
    wanted = stratified_counts(train.class_counts(), round(asked.ratio * len(train)))
    counts = np.ceil(wanted * asked.oversample).astype(np.int64)
    started = np.zeros_like(counts)
    if judged is not None:
        counts, started = further(wanted, judged, np.ceil(counts * asked.most).astype(np.int64)), judged.drawn
    for draft in (drafts or {}).values():
        counts = np.minimum(counts, draft.images.class_counts())
    pool = train
    if supply is not None:
        pool = supply.images
        if judged is None:
            _check_supply(supply, counts if supply.is_reserve else wanted)
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
    handed_over = pool if supply is not None and supply.is_reserve else train
    return SampleRequest(labels, seeds, sources, handed_over, aligned)


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


def _all_of(images: LabelledImages, train: LabelledImages, asked: Asked, seed: int) -> SampleRequest:
    """Ask for every image, in order, whatever the classes of train are.

    Raises:
        GenbenchError: The ratio says another number, or a filter is to choose among them.
    """
    problem = whole_problem(len(images), len(train), asked)
    if problem:
        raise problem
    seeds = counter_bits(seed, torch.arange(len(images))).numpy()
    return SampleRequest(images.labels, seeds, np.arange(len(images)), train)


def whole_problem(there: int, train_images: int, asked: Asked) -> GenbenchError | None:
    """Say why a stock of so many images cannot be used whole; None where it can."""
    if asked.top_up or asked.oversample > 1:
        return GenbenchError(
            "draw=whole uses every image, and a filter leaves fewer",
            hint="leave out draw=whole, and name a --ratio: what is filtered out is then drawn again",
        )
    wanted = round(asked.ratio * train_images)
    if wanted == there:
        return None
    return GenbenchError(
        f"draw=whole uses all {there:,} images, and --ratio {asked.ratio:g} asks for {wanted:,}: "
        f"{asked.ratio:g} times {train_images:,} training images",
        hint=f"--ratio {ratio_of(there, train_images)}, or leave out draw=whole",
    )


def ratio_of(images: int, train_images: int) -> str:
    """Return the shortest ratio that means so many images.

    >>> ratio_of(115, 300), ratio_of(1437, 1437), ratio_of(1, 100000)
    ('0.383', '1', '0.00001')
    """
    for digits in range(12):
        text = f"{images / train_images:.{digits}f}"
        if round(float(text) * train_images) == images:
            return text
    return repr(images / train_images)


def largest_ratio(train_counts: npt.NDArray[np.int64], there: npt.NDArray[np.int64]) -> str:
    """Return the largest ratio for which a supply has enough images of every class; empty if none has.

    >>> largest_ratio(np.array([100, 100]), np.array([38, 80]))
    '0.38'
    """
    total = int(train_counts.sum())
    most = min(
        math.ceil((there[label] + 1) * total / train_counts[label]) for label in np.flatnonzero(train_counts)
    )
    # Largest remainders do not grow evenly: what is too much by a few images is found by trying.
    for wanted in range(min(most, int(there.sum())), 0, -1):
        if (stratified_counts(train_counts, wanted) <= there).all():
            return ratio_of(wanted, total)
    return ""


def _check_supply(supply: Supply, wanted: npt.NDArray[np.int64]) -> None:
    names, there = supply.images.class_names, supply.images.class_counts()
    short = [
        f"class {names[label]!r}: {there[label]} of {wanted[label]}"
        for label in np.flatnonzero(there < wanted)
    ]
    if not short:
        return
    if supply.is_reserve:
        raise GenbenchError(
            f"the reserve has too few held-out images: {', '.join(short)}",
            hint=f"--dataset NAME:reserve=N with N of at least {int(wanted.sum())}, or a lower --ratio",
        )
    raise GenbenchError(f"too few images are there: {', '.join(short)}", hint="a lower --ratio")
