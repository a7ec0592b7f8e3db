"""`exchange_rate`: one synthetic image is worth r real ones here.

A suite measures real images alone at several training-set sizes (datasets that differ in `limit_train`, and
`baseline_datasets`), and generators at one or more of them, at one or more ratios. The rate r of n real and k
synthetic images is where

    accuracy(n real, k synthetic) = accuracy(n + r k real).

Between measured sizes the error of real images follows a power law from point to point; beyond them nothing
is said but *more than* or *less than*. r is negative where synthetic images harm. Intervals are about new
seeds and new test images (protocol rule 7), with these training images; `_exchange.py` has the formulas,
`perf/exchange_rate.py` how often they err.

One rate per generator is reported where one rate explains all of its cells: trends over the ratio and over
the training set, and each cell, are held against it. Every cell is also predicted from the others.

The answer checks itself. `real_extra` takes other real images and must come out at 1, `copies` takes the same
again and must come out at 0; where the interval of one excludes that, no rate here is to be relied on. The
budget decides that, too: with the same number of `epochs`, more real images are also more optimizer steps,
and n + k real images beat n and k others by these. `recipe.steps` gives every size the same number.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from genbench.metrics import Metric
from genbench.protocols import Evaluation, RunContext, SuiteEvaluator
from genbench.records import Record
from genbench_evaluators._crossed import FEWEST_SEEDS, Bits, CrossedCells
from genbench_evaluators._exchange import Cell, Constancy, Exchange, Predicted, Rate, accuracy_of
from genbench_evaluators._sized_rows import SizedRow, sized_rows
from genbench_evaluators.configs.exchange_rate import ExchangeRateConfig

#: What each control is worth, if the measurement is sound.
CONTROLS: Mapping[str, float] = {"real_extra": 1.0, "copies": 0.0}
_TOLERANCE = 1e-9  # against a curve and cells that are a power law
_EQUAL_STEPS = 1.01  # numbers of steps that differ by less than this factor are the same
Row = dict[str, Any]


@dataclass
class _Family:
    """Cells that differ in their training images alone.

    Attributes:
        name: Of what they share, for people.
        wrong: What their networks get wrong, by cell and seed.
        controls: The generators among them that are controls, with what they must be worth.
        used_controls: The components that these are.
        shown_curve: The points of the curve as their table has them.
        steps: Numbers of optimizer steps that were taken.
    """

    name: str
    wrong: dict[Cell, Mapping[int, Bits]] = field(default_factory=dict)
    controls: dict[str, float] = field(default_factory=dict)
    used_controls: set[str] = field(default_factory=set)
    shown_curve: list[Row] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)

    @property
    def curve(self) -> list[Cell]:
        """Real images alone, the smallest set first."""
        return sorted((one for one in self.wrong if not one.synthetic), key=lambda one: one.real)

    @property
    def generators(self) -> dict[str, list[Cell]]:
        """The other cells, by generator."""
        found: dict[str, list[Cell]] = defaultdict(list)
        for one in sorted(self.wrong, key=lambda one: (one.generator, one.real, one.ratio)):
            if one.synthetic:
                found[one.generator].append(one)
        return dict(found)

    def crossed(self, cells: Sequence[Cell]) -> CrossedCells | None:
        """Return some cells on the seeds that all have; None where there is none."""
        shared = set.intersection(*(set(self.wrong[one]) for one in cells)) if cells else set[int]()
        return CrossedCells({one: self.wrong[one] for one in cells}) if shared else None


class _Found(NamedTuple):
    """What was found of one generator."""

    exchange: Exchange
    seeds: int
    pooled: Rate
    constancy: Constancy
    rates: list[Rate]
    predicted: list[Predicted | None]


class ExchangeRate(SuiteEvaluator):
    """Reads the accuracies of a suite, dataset by dataset size."""

    def __init__(self, config: ExchangeRateConfig) -> None:
        self.config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Return a rate per generator, checks of it, and the rate of every cell as a table."""
        metrics: list[Metric] = []
        tables: dict[str, list[Row]] = {"real_images": [], "cells": []}
        for family in _families(sized_rows(records)):
            curve = family.curve
            if len(curve) < self.config.fewest_sizes:
                have = ", ".join(f"{one.real:,}" for one in curve) or "none"
                note = (
                    f"the curve of real images needs {self.config.fewest_sizes} training-set sizes, and has "
                    f"{have}: name others in baseline_datasets"
                )
                metrics.append(_metric((family.name,), None, note))
                continue
            family.shown_curve = list(_curve_rows(family, curve))
            tables["real_images"] += family.shown_curve
            found = {
                name: one for name, cells in family.generators.items() if (one := _find(family, curve, cells))
            }
            warnings = _warnings(family, found)
            for name, one in found.items():
                metrics += _metrics(family, name, one, warnings)
                tables["cells"] += list(_cell_rows(family, name, one))
            if family.controls:
                metrics.append(_violations(family, found))
        return Evaluation(metrics, tables)


# ---------------------------------------------------------------------------------------------- from records


def _families(rows: Sequence[SizedRow]) -> list[_Family]:
    """Sort rows into families; cells with too few of the seeds that others have are left out."""
    found: dict[str, _Family] = {}
    for row in rows:
        family = found.setdefault(row.family, _Family(row.family))
        cell = Cell(row.generator, row.real, row.ratio, row.synthetic)
        if row.use in CONTROLS:
            family.controls[row.generator] = CONTROLS[row.use]
            family.used_controls.add(row.use)
        family.wrong[cell] = row.wrong
        family.steps |= row.steps
    for family in found.values():
        most = max(len(by_seed) for by_seed in family.wrong.values())
        fewest = min(FEWEST_SEEDS, most)
        images = max(len(bits) for by_seed in family.wrong.values() for bits in by_seed.values())
        family.wrong = {
            cell: by_seed
            for cell, by_seed in family.wrong.items()
            if len(by_seed) >= fewest and {len(bits) for bits in by_seed.values()} == {images}
        }
    return list(found.values())


def _find(family: _Family, curve: Sequence[Cell], cells: Sequence[Cell]) -> _Found | None:
    crossed = family.crossed([*curve, *cells])
    if crossed is None:
        return None
    exchange = Exchange(crossed, curve, cells)
    pooled = exchange.rate()
    constancy = exchange.constancy(pooled)
    every = range(len(cells))
    rates = [exchange.rate([one]) for one in every]
    return _Found(exchange, crossed.seeds, pooled, constancy, rates, [exchange.without(one) for one in every])


# ------------------------------------------------------------------------------------------------- in words


def _warnings(family: _Family, found: Mapping[str, _Found]) -> str:
    """Say why the rates of a family are not to be relied on; empty where nothing is known against them."""
    said = [
        f"{name} comes out at {_interval(found[name].pooled)}, and is {expected:g}"
        for name, expected in family.controls.items()
        if name in found and found[name].pooled.excludes(expected)
    ]
    words = f"do not rely on it: {'; '.join(said)}. " if said else ""
    steps = sorted(family.steps)
    if steps and steps[-1] > _EQUAL_STEPS * steps[0]:
        words += (
            f"Part of what more images do is more training: {steps[0]:,} to {steps[-1]:,} optimizer steps "
            "(recipe.steps=N makes them equal). "
        )
    points = [one for one in family.shown_curve if one["seeds"] >= FEWEST_SEEDS]
    falls = [
        f"{left['real']:,} to {right['real']:,}"
        for left, right in pairwise(points)
        if left["accuracy"] > right["accuracy"]
    ]
    if falls:
        words += f"Real images alone do worse from {' and '.join(falls)}: rates there are not unique. "
    return words


def _metrics(family: _Family, name: str, found: _Found, warnings: str) -> Iterator[Metric]:
    expected = family.controls.get(name)
    constant = found.constancy
    off = {*constant.beyond, *constant.below} if not constant.is_rejected else set[int]()
    cells = [cell for at, cell in enumerate(found.exchange.cells) if at not in off]
    about = (
        f"{_counted(len(cells), 'cell')} of {_counted(len({one.real for one in cells}), 'size')} and "
        f"{_counted(len({one.ratio for one in cells}), 'ratio')}, {_counted(found.seeds, 'seed')}"
    )
    missing = sorted(CONTROLS.keys() - family.used_controls)
    about += f", not checked by {' and '.join(missing)}" if missing else ""
    about += _left_out(found) if off else ""
    interval, value = _interval(found.pooled), found.pooled.value
    if found.seeds < FEWEST_SEEDS:
        interval = f"no interval: {FEWEST_SEEDS} seeds are needed"
    if expected is not None:
        note = f"expected {expected:g}: {_outcome(found.pooled, expected)}; {interval}; {about}"
    elif constant.is_rejected:
        value, note = None, f"{warnings}not one rate (p = {constant.p:.2g}): {_spread(found)}; {about}"
    else:
        is_told = constant.p is not None and value is not None
        agree = f"; constant as far as can be told (p = {constant.p:.2g})" if is_told else ""
        note = f"{warnings}{interval}; {about}{agree}"
    if value is None:  # tables put metrics without a value together, and leave their names out
        note = f"{name}: {note}"
    yield _metric((name, family.name), value, note, check=expected is not None)
    known = [one for one in found.predicted if one is not None]
    if known:
        inside = [one.is_inside for one in known if one.is_inside is not None]
        note = f"{_counted(len(known), 'cell')} left out in turn, and predicted from the others' rate"
        note += (
            f"; {sum(inside)} of {len(inside)} within the 95 % interval of the difference" if inside else ""
        )
        rmse = 100 * float(np.sqrt(np.mean([one.error**2 for one in known])))
        yield Metric(
            "exchange_prediction_rmse", rmse, "points", False, (0, 100), _TOLERANCE, note,
            qualifiers=(name, family.name), role="check", average="none",
        )  # fmt: skip


def _metric(qualifiers: tuple[str, ...], value: float | None, note: str, *, check: bool = False) -> Metric:
    return Metric(
        "exchange_rate", value, "real images per synthetic one", None if check or value is None else True,
        tolerance=_TOLERANCE, note=note, qualifiers=qualifiers, role="check" if check else "score",
        average="none",
    )  # fmt: skip


def _violations(family: _Family, found: Mapping[str, _Found]) -> Metric:
    outcomes = {
        name: _outcome(found[name].pooled, expected)
        for name, expected in sorted(family.controls.items())
        if name in found
    }
    note = "; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items())
    return Metric(
        "exchange_controls_failed", float(list(outcomes.values()).count("fails")), "controls", False,
        (0, None), 0.0, note, qualifiers=(family.name,), role="check", average="none",
    )  # fmt: skip


def _outcome(rate: Rate, expected: float) -> str:
    """Say what a control shows: nothing where any rate within the measured sizes fits."""
    if rate.low is None and rate.high is None:
        return "cannot be told"
    return "fails" if rate.excludes(expected) else "holds"


def _interval(rate: Rate) -> str:
    """Write an interval: `95 % interval 0.05 to 0.2`, `more than 1.3`."""
    low, high = (None if one is None else f"{one:.2g}" for one in (rate.low, rate.high))
    if low is None and high is None:
        return "any rate within the measured sizes fits"
    if rate.value is None and (low is None or high is None):
        return f"less than {high}" if low is None else f"more than {low}"
    if low is None:
        return f"95 % interval up to {high}, no lower bound within the measured sizes"
    if high is None:
        return f"95 % interval from {low}, no upper bound within the measured sizes"
    return f"95 % interval {low} to {high}"


def _spread(found: _Found) -> str:
    """Say where a rate is not constant: along a trend, or from the lowest to the highest cell."""
    trends = [name for name, (p, _) in found.constancy.trends.items() if p < 0.05]
    words = [f"it {'falls' if found.constancy.trends[one][1] else 'rises'} with the {one}" for one in trends]
    known = [(rate, cell) for rate, cell in zip(found.rates, found.exchange.cells, strict=True)
             if any(one is not None for one in (rate.value, rate.low, rate.high))]  # fmt: skip
    if len(known) > 1:
        ends = (min(known, key=lambda one: _place(one[0])), max(known, key=lambda one: _place(one[0])))
        words += [f"{_rate(rate)} at {_cell(cell)}" for rate, cell in ends]
    return ", ".join(words)


def _place(rate: Rate) -> float:
    """Return where a rate stands among others: bounds are beyond all."""
    if rate.value is not None:
        return rate.value
    return math.inf if rate.high is None else -math.inf


def _rate(rate: Rate) -> str:
    return f"{rate.value:.2g}" if rate.value is not None else _interval(rate)


def _cell(cell: Cell) -> str:
    return f"{cell.real:,} + {cell.ratio:g}x"


def _left_out(found: _Found) -> str:
    """Name the cells that a rate puts off the curve of real images: the rate is that of the others."""
    said = []
    for where, cells in (("more", found.constancy.beyond), ("fewer", found.constancy.below)):
        if cells:
            named = ", ".join(_cell(found.exchange.cells[at]) for at in cells)
            said.append(f"{named} (worth {where} real images than the curve has)")
    return f"; without {' and '.join(said)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


# --------------------------------------------------------------------------------------------------- tables


def _curve_rows(family: _Family, curve: Sequence[Cell]) -> Iterator[Row]:
    """Yield the points of the curve of real images (docs/evaluators.md has the columns)."""
    crossed = family.crossed(curve)
    for cell in curve if crossed is not None else ():
        assert crossed is not None
        accuracy, half = accuracy_of(crossed, cell)
        yield {"family": family.name, "real": cell.real, "seeds": crossed.seeds, **_percent(accuracy, half)}


def _cell_rows(family: _Family, name: str, found: _Found) -> Iterator[Row]:
    """Yield the cells of a generator."""
    for at, (cell, rate, predicted) in enumerate(
        zip(found.exchange.cells, found.rates, found.predicted, strict=True)
    ):
        worth = rate.times(cell.synthetic, cell.real)
        yield {
            "family": family.name,
            "generator": name,
            "expected_rate": family.controls.get(name),
            "real": cell.real,
            "ratio": cell.ratio,
            "synthetic": cell.synthetic,
            "seeds": found.seeds,
            **_percent(*found.exchange.accuracy(at)),
            "rate": rate.value,
            "rate_low": rate.low,
            "rate_high": rate.high,
            "worth": worth.value,
            "worth_low": worth.low,
            "worth_high": worth.high,
            "left_out": None
            if predicted is None
            else {
                "rate": predicted.rate,
                "accuracy": 100 * predicted.accuracy,
                "error_points": 100 * predicted.error,
                "half_width_points": None if predicted.half_width is None else 100 * predicted.half_width,
                "inside": predicted.is_inside,
            },
        }


def _percent(accuracy: float, half: float | None) -> Row:
    low, high = (None, None) if half is None else (100 * (accuracy - half), 100 * (accuracy + half))
    return {"accuracy": 100 * accuracy, "accuracy_low": low, "accuracy_high": high}
