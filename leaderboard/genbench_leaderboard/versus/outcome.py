"""Which rows two sides share, and whether their gains can be told apart.

Where both used the same base seed and the same splits, seed s and test image j are the same on both sides,
and the difference of two gains is a mean of `d[s, j]`, from -2 to 2: the crossed layout of `crossed.py` holds
for it as for one gain. Elsewhere the two gains are taken as independent, with Welch's variance and degrees of
freedom: on the safe side where they have images or seeds in common, whose effects would partly cancel.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from genbench.digest import differences
from genbench.two_way import MeanSquares
from genbench_leaderboard.crossed import (
    ALPHA,
    CONFIDENCE,
    SEEDS_FOR_INTERVAL,
    Answers,
    effect,
    p_value,
)
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, holm
from genbench_leaderboard.versus.axes import (
    alike_but_for,
    axes_of_groups,
    axes_of_rows,
    parts_apart,
    set_apart,
)
from genbench_leaderboard.versus.sides import Gain, Side, SideGroup, SideRow, Tree

T = TypeVar("T", SideGroup, SideRow)
Differences = npt.NDArray[np.int64]  #: `int64 [seeds, images]`


@dataclass(frozen=True)
class Difference:
    """What differs in configuration: an option's path and its two values."""

    path: str
    a: object
    b: object


@dataclass(frozen=True)
class Outcome:
    """A row that both sides have.

    Attributes:
        a: The row of A; so is `b` that of B.
        of: `gain`, or `top-1` for rows of real images alone.
        mean: B less A, in points; None where nothing can be compared.
        half_width: Half of its 95 % interval, unadjusted.
        n: Seeds that it rests on: the fewer of the two sides where they are not paired.
        paired: Whether seeds and test images are the same.
        p: Two-sided; `adjusted_p` after Holm over the rows of this comparison.
        verdict: `B is higher`, `B is lower`, `cannot tell`, `the same cells`, or why there is none, such as
            `void` with the reason: a row that tells nothing on its board tells nothing here.
        standard_error: Of the mean, in points; with `degrees_of_freedom`.
        detectable_points: What a *cannot tell* would have found with 80 % power.
        but_for: What the two rows do not share (`ratio`), since no row of one side has what
            those of the other have; empty where they are the same row.
    """

    a: SideRow
    b: SideRow
    of: str
    differences: tuple[Difference, ...] = ()
    mean: float | None = None
    half_width: float | None = None
    n: int = 0
    paired: bool = False
    p: float | None = None
    adjusted_p: float | None = None
    verdict: str = "not comparable"
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    detectable_points: float | None = None
    but_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupVersus:
    """Two groups that were compared.

    Attributes:
        differences: In what all rows share, and in what is varied over all rows (`ratio`: 1, and 1 and 2).
        why_unpaired: Why seeds and images are not paired; empty where they are.
    """

    a: SideGroup
    b: SideGroup
    differences: tuple[Difference, ...]
    outcomes: tuple[Outcome, ...]
    only_a: tuple[SideRow, ...]
    only_b: tuple[SideRow, ...]
    why_unpaired: str


@dataclass(frozen=True)
class Versus:
    """Everything that was found.

    Attributes:
        differences: Over all groups, where one side has groups that the other lacks: datasets, classifiers,
            budgets, presets, seeds.
    """

    a: str
    b: str
    groups: tuple[GroupVersus, ...]
    only_a: tuple[SideGroup, ...]
    only_b: tuple[SideGroup, ...]
    differences: tuple[Difference, ...] = ()


def compare_sides(a: Side, b: Side) -> Versus:
    """Compare two sides, group by group and row by row."""
    ways: Sequence[Callable[[SideGroup], str]] = (
        lambda one: one.kin,
        lambda one: f"{one.likeness}, {one.said['budget']}",
        lambda one: one.likeness,
    )
    pairs, only_a, only_b = _matched(a.groups, b.groups, ways)
    if len(only_a) == len(only_b) == 1:  # what else could be meant
        pairs, only_a, only_b = [*pairs, (only_a[0], only_b[0])], [], []
    apart = axes_of_groups(a.groups, b.groups) if only_a or only_b else ()
    return Versus(
        a.name,
        b.name,
        tuple(_compared(*pair) for pair in pairs),
        tuple(only_a),
        tuple(only_b),
        tuple(Difference(*one) for one in apart),
    )


def _matched(
    left: Sequence[T], right: Sequence[T], ways: Iterable[Callable[[T], str]]
) -> tuple[list[tuple[T, T]], list[T], list[T]]:
    """Pair what has the same mark, by the first way that tells: all but the first only if it is one's own."""
    pairs: list[tuple[T, T]] = []
    rest_left, rest_right = list(left), list(right)
    for place, mark in enumerate(ways):
        for one in list(rest_left):
            alike = [other for other in rest_right if mark(one) and mark(other) == mark(one)]
            rivals = sum(mark(other) == mark(one) for other in rest_left)
            if alike and (place == 0 or (len(alike), rivals) == (1, 1)):
                pairs.append((one, alike[0]))
                rest_left.remove(one)
                rest_right.remove(alike[0])
    order = {id(one): number for number, one in enumerate(left)}
    return sorted(pairs, key=lambda pair: order[id(pair[0])]), rest_left, rest_right


def _compared(a: SideGroup, b: SideGroup) -> GroupVersus:
    ways: Sequence[Callable[[SideRow], str]] = (
        lambda one: one.identity,
        lambda one: one.name,
        lambda one: one.likeness,
    )
    pairs, only_a, only_b = _matched(a.rows, b.rows, ways)
    apart = set_apart(a.rows, b.rows)
    others: list[tuple[SideRow, SideRow]] = []
    if apart:  # the first way, which need not be unique, marks nothing here
        others, only_a, only_b = _matched(only_a, only_b, (lambda _: "", *alike_but_for(apart)))
    why = _why_unpaired(a, b)
    found = [_outcome(*pair, paired=not why) for pair in pairs]
    found += [replace(_outcome(*pair, paired=not why), but_for=parts_apart(*pair, apart)) for pair in others]
    told = [Difference(*one) for one in axes_of_rows(a.rows, b.rows)]
    return GroupVersus(
        a,
        b,
        (*_differences(*_configurations(a, b)), *told),
        tuple(_judged(found)),
        tuple(only_a),
        tuple(only_b),
        why,
    )


def _configurations(a: SideGroup, b: SideGroup) -> tuple[Tree, Tree]:
    """Return what both sides know of how they came to be; of code, that of components which both used."""
    if not (a.config and b.config):
        return a.said, b.said
    shared = a.config["code"].keys() & b.config["code"].keys()
    mine, theirs = (
        {**one.config, "code": {name: one.config["code"][name] for name in shared}} for one in (a, b)
    )
    return mine, theirs


def _why_unpaired(a: SideGroup, b: SideGroup) -> str:
    if not (a.kin and b.kin):
        return "the JSON of a board does not say which test images were right; records do"
    if a.base_seed != b.base_seed:
        return f"base seeds {a.base_seed} and {b.base_seed}"
    if not a.data or a.data != b.data:
        return "other images, or other splits of them"
    return ""


def _differences(a: object, b: object) -> tuple[Difference, ...]:
    if not a or not b:
        return ()  # a side that knows nothing, as a board's JSON of options, differs in nothing that is known
    return tuple(Difference(*one) for one in differences(_plain(a), _plain(b)))


def _plain(value: object) -> object:
    """Return mappings as dictionaries, whose differences are found entry by entry."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


# -------------------------------------------------------------------------------------------------- one row


def _outcome(a: SideRow, b: SideRow, *, paired: bool) -> Outcome:
    of = "top-1" if a.is_baseline and b.is_baseline and a.gain is None and b.gain is None else "gain"
    made = Outcome(a, b, of, _differences(a.config, b.config))
    if a.void or b.void:
        return replace(made, verdict=f"void ({_why_void(a.void, b.void)})")
    shared = sorted(a.keys.keys() & b.keys.keys())
    if shared and a.keys == b.keys and a.gain == b.gain:
        return replace(made, mean=0.0, n=len(shared), paired=True, verdict="the same cells")
    squares = _of_pairs(a, b, of) if paired else None
    return _as_independent(made) if squares is None else _as_paired(made, squares)


def _why_void(a: str, b: str) -> str:
    if a == b:
        return f"A and B: {a}"
    return "; ".join(f"{name}: {reason}" for name, reason in (("A", a), ("B", b)) if reason)


def _as_paired(made: Outcome, squares: MeanSquares) -> Outcome:
    mean, n = 100 * squares.mean, squares.n
    if n < 2:
        return replace(made, mean=mean, n=n, paired=True, verdict="too few seeds")
    error, df = 100 * math.sqrt(squares.variance), squares.degrees_of_freedom()
    return _with_spread(replace(made, paired=True), mean, n, error, df, p_value(squares))


def _as_independent(made: Outcome) -> Outcome:
    a, b, of = made.a, made.b, made.of
    if of == "gain" and a.gain is not None and b.gain is not None:
        return _independent(made, a.gain, b.gain)
    if of == "top-1" and a.answers is not None and b.answers is not None:
        return _independent(made, _level(a.answers), _level(b.answers))
    if of == "top-1" and a.top1 is not None and b.top1 is not None:
        return replace(made, mean=b.top1 - a.top1)
    return made


def _level(answers: Answers) -> Gain:
    """Return an accuracy with its spread over new seeds and new images, as if it were a gain."""
    squares = squares_of(_unpacked(answers, sorted(answers.indices)))
    if squares.n < 2:
        return Gain(100 * squares.mean, squares.n, None, None, None)
    error, df = 100 * math.sqrt(squares.variance), squares.degrees_of_freedom()
    return Gain(100 * squares.mean, squares.n, error, df, None)


def _of_pairs(a: SideRow, b: SideRow, of: str) -> MeanSquares | None:
    """Return the mean squares of B less A over the seeds and images that both have."""
    needed = [a.answers, b.answers] + ([a.base, b.base] if of == "gain" else [])
    there = [one for one in needed if one is not None]
    if len(there) < len(needed) or len({one.images for one in there}) > 1:
        return None
    seeds = sorted(frozenset.intersection(*(one.indices for one in there)))
    if not seeds:
        return None
    mine, theirs, *bases = (_unpacked(one, seeds) for one in there)
    d = theirs - mine
    return squares_of(d - (bases[1] - bases[0]) if bases else d)


def _unpacked(answers: Answers, seeds: Sequence[int]) -> Differences:
    bits = np.unpackbits(answers.stack(tuple(seeds)), axis=1)[:, : answers.images]
    return bits.astype(np.int64)


def squares_of(d: Differences) -> MeanSquares:
    """Return the mean squares of the crossed layout of whole numbers, `int64 [seeds, images]`.

    It equals `crossed.mean_squares` where d is one difference.
    """
    n, images = d.shape
    squares, by_seed, by_image = (int((one * one).sum()) for one in (d, d.sum(axis=1), d.sum(axis=0)))
    return MeanSquares.of_sums(n, images, int(d.sum()), squares, by_seed, by_image)


def _independent(made: Outcome, a: Gain, b: Gain) -> Outcome:
    """Compare two gains as independent ones, by Welch's test."""
    mean, n = b.mean - a.mean, min(a.n, b.n)
    errors = [one.standard_error for one in (a, b)]
    freedoms = [one.degrees_of_freedom for one in (a, b)]
    known = [error for error in errors if error is not None]
    if len(known) < 2 or None in freedoms:
        return replace(made, mean=mean, n=n, verdict="too few seeds" if n < 2 else "not comparable")
    squares = [error**2 for error in known]
    error = math.sqrt(sum(squares))
    below = sum(one**2 / df for one, df in zip(squares, freedoms, strict=True) if df)
    df = sum(squares) ** 2 / below if below else float(n - 1)
    p = 2 * float(stdtr(df, -abs(mean) / error)) if error else 1.0
    return _with_spread(made, mean, n, error, df, p)


def _with_spread(made: Outcome, mean: float, n: int, error: float, df: float, p: float) -> Outcome:
    half = error * float(stdtrit(df, (1 + CONFIDENCE) / 2)) if n >= SEEDS_FOR_INTERVAL and error else None
    found = replace(made, mean=mean, n=n, half_width=half, p=p, verdict="cannot tell")
    return replace(found, standard_error=error, degrees_of_freedom=df)


def _with_power(one: Outcome, level: float) -> Outcome:
    """Add what would have been found, at the level that the first of Holm's order is held to."""
    if not one.standard_error or one.degrees_of_freedom is None:
        return one
    found = effect((one.standard_error / 100) ** 2, one.degrees_of_freedom, level)
    return replace(one, detectable_points=found)


def _judged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Give every row its verdict: all rows of the comparison are one Holm family."""
    enough = [one.p is not None and one.n >= SEEDS_FOR_VERDICT for one in outcomes]
    members = [place for place, is_member in enumerate(enough) if is_member]
    steps = dict(zip(members, holm([outcomes[place].p for place in members]), strict=True))
    judged = []
    for place, one in enumerate(outcomes):
        if place in steps:
            told = steps[place].adjusted_p < ALPHA
            higher = "B is higher" if (one.mean or 0) > 0 else "B is lower"
            found = replace(one, adjusted_p=steps[place].adjusted_p, verdict=higher if told else one.verdict)
            judged.append(found if told else _with_power(found, ALPHA / len(members)))
        elif one.p is not None:
            judged.append(replace(one, verdict="too few seeds"))
        else:
            judged.append(one)
    return judged
