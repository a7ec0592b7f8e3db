"""How often the intervals of `exchange_rate` hold the truth: `python perf/exchange_rate.py`.

Draws suites whose rate is known and asks the evaluator's own arithmetic. The world is that of
`operating_characteristics.py`, a probit model: the network of cell c and seed s is wrong on image j where
mu_c + b_j + b_cj + S_cs + e_sj > 0, with errors on the curve 0.08 + 3 n^-0.28 (65 % at 500 images, 36 % at
5,000), image effects of a cell of its own b_cj with variance 0.05, and seed effects that move the accuracy by
about 0.7 points. Sizes and ratios are those of the suite cifar10-scaling; five seeds. The curve is not
a power law: what interpolation errs by is part of what is measured.

Beside it stands what a percentile bootstrap over the five seeds would have said of the pooled rate.
About 15 minutes on a core; `--short`, one.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from genbench_evaluators._crossed import CrossedCells
from genbench_evaluators._exchange import Cell, Exchange

SIZES = (125, 250, 500, 1000, 2000, 5000, 10_000, 25_000)
OF, RATIOS, SEEDS = (500, 1000, 5000), (0.5, 1.0, 2.0, 4.0), 5
RESAMPLES = 100
OWN_IMAGES, SEED_EFFECT = 0.05, 0.03  # variance; standard deviation

Wrong = dict[Cell, dict[int, npt.NDArray[np.uint8]]]


def error(real: float) -> float:
    """Share of wrong answers after training on so many real images."""
    return float(0.08 + 3.0 * real**-0.28)


def drawn(rate: float, images: int, rng: np.random.Generator) -> tuple[list[Cell], list[Cell], Wrong]:
    """Draw a suite: the points of the curve, the cells, and what is wrong."""
    curve = [Cell("none", real) for real in SIZES]
    cells = [Cell("g", real, ratio, round(real * ratio)) for real in OF for ratio in RATIOS]
    total = np.sqrt(2 + OWN_IMAGES + SEED_EFFECT**2)
    shared, wrong = rng.normal(size=images), {}
    for cell in (*curve, *cells):
        fixed = ndtri(error(cell.real + rate * cell.synthetic)) * total + shared
        fixed = fixed + OWN_IMAGES**0.5 * rng.normal(size=images)
        effects = SEED_EFFECT * rng.normal(size=(SEEDS, 1))
        answers = fixed + effects + rng.normal(size=(SEEDS, images)) > 0
        wrong[cell] = dict(enumerate(answers.astype(np.uint8)))
    return curve, cells, wrong


def resampled(curve: list[Cell], cells: list[Cell], wrong: Wrong, rng: np.random.Generator) -> list[float]:
    """Return the pooled rate of suites whose seeds are drawn with replacement."""
    found = []
    for _ in range(RESAMPLES):
        seeds = rng.integers(SEEDS, size=SEEDS)
        again = {cell: {at: own[int(seed)] for at, seed in enumerate(seeds)} for cell, own in wrong.items()}
        value = Exchange(CrossedCells(again), curve, cells).estimate()
        found += [] if value is None else [value]
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="fewer suites")
    short, started = parser.parse_args().short, time.monotonic()
    columns = ("rate", "test images", "suites", "pooled holds it", "its width", "cells hold it")
    columns += ("left-out cells inside", "not constant", "bootstrap holds it")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for rate, images in ((0.0, 1000), (0.3, 1000), (1.0, 1000), (-0.1, 1000), (0.3, 10_000)):
        suites = 20 if short else 200 if images == 1000 else 50
        rng = np.random.default_rng(0)
        hold, widths, single, inside, rejected, boot = [], [], [], [], [], []
        for number in range(suites):
            curve, cells, wrong = drawn(rate, images, rng)
            exchange = Exchange(CrossedCells(wrong), curve, cells)
            pooled = exchange.rate()
            hold.append(not pooled.excludes(rate))
            if pooled.low is not None and pooled.high is not None:
                widths.append(pooled.high - pooled.low)
            single += [not exchange.rate([at]).excludes(rate) for at in range(len(cells))]
            inside += [one.is_inside for at in range(len(cells)) if (one := exchange.without(at)) is not None]
            if pooled.value is not None:
                rejected.append(exchange.constancy(pooled).is_rejected)
            if number < suites // 4:
                low, high = np.quantile(resampled(curve, cells, wrong, rng), [0.025, 0.975])
                boot.append(low <= rate <= high)
        shares = [f"{100 * np.mean(one):.1f} %" for one in (hold, single, inside, rejected, boot)]
        shares.insert(1, f"{np.median(widths):.2f}")
        print(f"| {rate:g} | {images:,} | {suites} | {' | '.join(shares)} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
