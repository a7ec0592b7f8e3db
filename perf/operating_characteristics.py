"""How often the board errs, and what it finds: `python perf/operating_characteristics.py`.

Draws boards whose truth is known, judges them by the code that judges real ones
(`genbench_leaderboard.crossed` and `.statistics`), and prints Markdown tables: error of one contrast,
family-wise error of four and eight, coverage, width, power of the detectable effects that a board prints,
looks at test, and configurations chosen on val. `docs/operating-characteristics.md` holds the output.
About 40 minutes on two cores; `--short`, one.

The worlds are probit models: the network of arm a and seed s is right on image j where

    mu_a + b_aj + S_as + e_asj > 0,    e ~ N(0, 1), b ~ N(0, tau^2), S: seed effect

with accuracy 70 %, and 15 % of the images answered differently by two seeds of one arm. `r` is the ratio of
the image variance of a contrast to its residual variance, at a mean difference of 0: how far arms differ in
*which* images they get right (0.05 to 0.5 in what was measured; 0 where arms are exchangeable).
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, owens_t, stdtrit

from genbench_leaderboard.crossed import ALPHA, Answers, Comparison, compare
from genbench_leaderboard.statistics import holm, level_of_look, ranks

ACCURACY, FLIPS = 0.70, 0.15
SEEDS = (5, 8, 10, 20)
CONTRASTS = (1, 4, 8)
LOOKS = (5, 10, 20)
GATE = 0.065  #: of the family-wise error, at 2,000 boards

Floats = npt.NDArray[np.float64]


def both_right(threshold: float, correlation: float) -> float:
    """Return P(X < h, Y < h) of standard normals (Owen, Ann. Math. Statist. 27, 1956)."""
    below = math.sqrt((1 - correlation) / (1 + correlation))
    return float(ndtr(threshold) - 2 * owens_t(threshold, below))


@dataclass(frozen=True)
class World:
    """A truth from which boards are drawn: all arms have the same accuracy in the mean over seeds and images.

    Attributes:
        name: For the table.
        ratio: r, the image variance of a contrast over its residual variance.
        seed_points: Standard deviation of an arm's accuracy over seeds by their effect alone, in points.
        seeds: `normal` effects; `shared` by all rows of a board; left-`skewed`; one in ten that `collapse`s.
    """

    name: str
    ratio: float = 0.0
    seed_points: float = 0.3
    seeds: Literal["normal", "shared", "skewed", "collapse"] = "normal"

    @property
    def threshold(self) -> float:
        """Accuracy, as a quantile of the normal distribution."""
        return float(ndtri(ACCURACY))

    @property
    def same_arm(self) -> float:
        """Correlation of two seeds of one arm on an image."""
        a = self.threshold
        return float(brentq(lambda rho: 2 * (ACCURACY - both_right(a, rho)) - FLIPS, 0.01, 0.99999))

    @property
    def shared(self) -> float:
        """Share of the image effects' variance that two arms have in common."""
        if not self.ratio:
            return 1.0
        a, rho = self.threshold, self.same_arm
        top = both_right(a, rho)
        return float(brentq(lambda c: 2 * (top - both_right(a, c * rho)) - self.ratio * FLIPS, 0.0, 1.0))


class Draws:
    """Boards of a world: answers of one baseline and some rows, on the same seeds and images."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._rng = world, np.random.Generator(np.random.SFC64(seed))
        rho, a = world.same_arm, world.threshold
        self._tau = math.sqrt(rho / (1 - rho))
        self._spread = math.sqrt(1 + self._tau**2)
        density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        self._latent = world.seed_points / 100 / (density / self._spread)
        self._shared, self._odd = world.shared, world.seeds in {"skewed", "collapse"}
        self._base_mean = a * self._spread
        # Odd seeds befall the rows alone; their mean accuracy is brought back to the baseline's.
        self._row_mean = self._without_bias() if self._odd else self._base_mean

    def board(self, n: int, images: int, rows: int) -> tuple[Answers, list[Answers]]:
        """Draw a baseline and some rows."""
        rng, single = self._rng, np.float32
        common = rng.standard_normal(images, dtype=single) * single(self._tau * math.sqrt(self._shared))
        together = self._seeds(n) if self._world.seeds == "shared" else None
        base = self._arm(common, self._base_mean, np.zeros(n, single) if self._odd else self._seeds(n))
        return base, [
            self._arm(common, self._row_mean, self._seeds(n) if together is None else together)
            for _ in range(rows)
        ]

    def _arm(self, common: Any, mean: float, seeds: Any) -> Answers:
        rng, images = self._rng, len(common)
        own = np.float32(self._tau * math.sqrt(1 - self._shared))
        effects = common + rng.standard_normal(images, dtype=np.float32) * own if own else common
        noise = rng.standard_normal((len(seeds), images), dtype=np.float32)
        right = noise > -(np.float32(mean) + effects[None, :] + seeds[:, None])
        return Answers(dict(enumerate(np.packbits(right, axis=1))), images)

    def _seeds(self, n: int) -> Any:
        """Draw seed effects of mean 0 and standard deviation 1, times their size."""
        rng = self._rng
        if self._world.seeds == "skewed":
            drawn = 1 - rng.exponential(size=n)  # skewness -2
        elif self._world.seeds == "collapse":
            drawn = np.where(rng.random(n) < 0.1, -3.0, 1 / 3)
        else:
            drawn = rng.standard_normal(n)
        return (drawn * self._latent).astype(np.float32)

    def _without_bias(self) -> float:
        if self._world.seeds == "collapse":
            effects, weights = np.array([-3.0, 1 / 3]), np.array([0.1, 0.9])
        else:
            shares = (np.arange(4000) + 0.5) / 4000
            effects, weights = 1 + np.log1p(-shares), np.full(4000, 1 / 4000)

        def bias(mean: float) -> float:
            return float(weights @ ndtr((mean + self._latent * effects) / self._spread)) - ACCURACY

        return float(brentq(bias, self._base_mean - 5, self._base_mean + 5))


# ------------------------------------------------------------------------------------- errors and coverage


@dataclass(frozen=True)
class Line:
    """What boards of one world, size and number of seeds showed."""

    world: str
    images: int
    n: int
    boards: int
    errors: dict[int, float]
    coverage: float
    width: float
    guarded_power: float


def errors(world: World, images: int, boards: int, seed: int) -> list[Line]:
    """Judge boards on which nothing differs: every verdict is an error."""
    draws, largest = Draws(world, seed), max(CONTRASTS)
    found: dict[int, list[list[Comparison]]] = {n: [] for n in SEEDS}
    for _ in range(boards):
        base, rows = draws.board(max(SEEDS), images, largest)
        for n in SEEDS:
            judged = [compare(row, base, range(n)) for row in rows]
            found[n].append([one for one in judged if one is not None])
    return [_line(world, images, n, found[n]) for n in SEEDS]


def _line(world: World, images: int, n: int, found: Sequence[Sequence[Comparison]]) -> Line:
    wrong = {m: _share(any(s.adjusted_p < ALPHA for s in holm([c.p for c in row[:m]])) for row in found)
             for m in CONTRASTS}  # fmt: skip
    flat = [one for row in found for one in row]
    means = np.array([one.mean for one in flat])
    halves = np.array([one.half_width or 0.0 for one in flat])
    wrong[1] = _share(one.p is not None and one.p < ALPHA for one in flat)  # every contrast is one of its own
    return Line(
        world.name, images, n, len(found), wrong,
        coverage=float(np.mean(np.abs(means) <= halves)),
        width=float(halves.mean() / (1.96 * means.std())),
        guarded_power=_guarded_power(found),
    )  # fmt: skip


def _guarded_power(found: Sequence[Sequence[Comparison]]) -> float:
    """Return the share of boards whose guarded effect is really found with 80 % power or more.

    What is found of an effect is read from all contrasts: their means, shifted by it either way, against
    their own limits. The effects are those of each board's first row.
    """
    level, flat = ALPHA / max(CONTRASTS), [one for row in found for one in row]
    means = np.array([one.mean for one in flat])
    limits = np.array([one.standard_error for one in flat])
    limits *= -stdtrit(np.array([one.degrees_of_freedom for one in flat]), level / 2)
    effects = np.array([row[0].guarded(level) or 0.0 for row in found])
    grid = np.linspace(0, effects.max(), 200)
    power = [np.mean([np.abs(means + shift) > limits, np.abs(means - shift) > limits]) for shift in grid]
    return float(np.mean(np.interp(effects, grid, power) >= 0.8))


def _share(wrong: Iterator[bool] | Any) -> float:
    return float(np.mean(list(wrong)))


# ------------------------------------------------------------------------------------------- looks at test


def looks(world: World, images: int, boards: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return, by way of looking, the share of boards with a wrong verdict at any look, and the mean seeds."""
    draws = Draws(world, seed)
    every = tuple(range(LOOKS[0], LOOKS[-1] + 1))
    planned = [level_of_look([look / LOOKS[-1] for look in LOOKS[: k + 1]], 0) for k in range(len(LOOKS))]
    ways = {
        "once, at 20 seeds": ((LOOKS[-1],), [ALPHA]),
        "planned, at 5, 10 and 20": (LOOKS, planned),
        "unplanned, at 5, 10 and 20": (LOOKS, [level_of_look([1.0], k) for k in range(len(LOOKS))]),
        "unplanned, after every seed from 5": (every, [level_of_look([1.0], k) for k in range(len(every))]),
        "at 5, 10 and 20, unpunished": (LOOKS, [ALPHA] * len(LOOKS)),
        "after every seed from 5, unpunished": (every, [ALPHA] * len(every)),
    }
    stops: dict[str, list[tuple[bool, int]]] = {name: [] for name in ways}
    for _ in range(boards):
        base, (row,) = draws.board(LOOKS[-1], images, 1)
        p = {n: one.p for n in every if (one := compare(row, base, range(n))) is not None}
        for name, (at, levels) in ways.items():
            first = next((n for n, level in zip(at, levels, strict=True) if (p[n] or 0) < level), None)
            stops[name].append((first is not None, first or at[-1]))
    return {
        name: (float(np.mean([wrong for wrong, _ in found])), float(np.mean([n for _, n in found])))
        for name, found in stops.items()
    }


# ------------------------------------------------------------------------------------------ choosing on val


def choosing(world: World, images: int, boards: int, seed: int, rows: int = 10) -> dict[str, float]:
    """Return how often the best of some configurations on val is *better* on test, where none is.

    Five seeds choose, and the same or five others confirm. Val is half as large as test.
    """
    draws, val = Draws(world, seed), images // 2
    keep = np.arange(images + val) >= val
    wrong: dict[str, list[bool]] = {"on the networks that chose": [], "on five other seeds": []}
    for _ in range(boards):
        base, made = draws.board(10, images + val, rows)
        on_val = [np.mean([row.kept(~keep).shares[s] for s in range(5)]) for row in made]
        best, test_base = made[int(np.argmax(on_val))].kept(keep), base.kept(keep)
        for name, seeds in zip(wrong, (range(5), range(5, 10)), strict=True):
            one = compare(best, test_base, seeds)
            wrong[name].append(one is not None and one.p is not None and one.p < ALPHA and one.mean > 0)
    return {name: float(np.mean(found)) for name, found in wrong.items()}


# ------------------------------------------------------------------------------------------------------- cost


def board_seconds(contrasts: int = 10, n: int = 20, images: int = 10_000) -> float:
    """Return the median seconds that the statistics of a board take: contrasts, effects, Holm and ranks."""
    base, rows = Draws(World("", 0.2), 9).board(n, images, contrasts)
    times = []
    for _ in range(5):
        fresh = [Answers(one.packed, one.images) for one in (base, *rows)]  # without what they remember
        started = time.perf_counter()
        found = [one for row in fresh[1:] if (one := compare(row, fresh[0])) is not None]
        holm([one.p for one in found])
        for one in found:
            one.detectable(ALPHA / contrasts)
            one.guarded(ALPHA / contrasts)
        ranks(fresh)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


# --------------------------------------------------------------------------------------------------- printing


WORLDS = (
    *(World(f"exchangeable, seeds {points:g}", 0.0, points) for points in (0.0, 0.3, 0.6)),
    *(World(f"r = {ratio:g}, seeds {points:g}", ratio, points)
      for ratio in (0.05, 0.2, 0.5) for points in (0.0, 0.3, 0.6)),
    World("r = 0.2, seed effects shared by the rows", 0.2, 0.3, "shared"),
)  # fmt: skip
ODD_WORLDS = (
    World("skewed seeds (skewness -2), 0.6", 0.2, 0.6, "skewed"),
    World("one seed in ten collapses, 1.0", 0.2, 1.0, "collapse"),
)


def main() -> int:
    """Print the tables; fail where the family-wise error of a usual world is above its gate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="few small boards: a minute")
    parser.add_argument("--boards", type=int, help="boards of each world")
    parser.add_argument("--jobs", type=int, default=2, help="processes [default: 2]")
    chosen = parser.parse_args()
    boards = chosen.boards or (200 if chosen.short else 2000)
    sizes = (400, 1000) if chosen.short else (400, 1000, 10_000)
    worlds = (WORLDS[1], WORLDS[7], *ODD_WORLDS[1:]) if chosen.short else (*WORLDS, *ODD_WORLDS)
    with ProcessPoolExecutor(chosen.jobs) as pool:
        tasks = [pool.submit(errors, world, size, boards, 1000 * at + size)
                 for at, world in enumerate(worlds) for size in sizes]  # fmt: skip
        at_looks = pool.submit(looks, WORLDS[1], sizes[-1], boards, 7)
        chosen_on_val = pool.submit(choosing, World("chosen", 0.0, 0.6), sizes[-1], boards, 8)
        lines = [line for task in tasks for line in task.result()]
        _print_errors(lines)
        _print_looks(at_looks.result(), sizes[-1])
        _print_choosing(chosen_on_val.result(), sizes[-1])
    print(f"\nstatistics of a board of ten contrasts, 20 seeds, 10,000 images: {board_seconds():.3f} s")
    usual = [line for line in lines if line.world not in {world.name for world in ODD_WORLDS}]
    return _verdict(usual, boards)


def _print_errors(lines: Sequence[Line]) -> None:
    print("| world | images | seeds | boards | error, m = 1 | m = 4 | m = 8 | coverage | width | guarded |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |")
    for line in lines:
        wrong = " | ".join(f"{100 * line.errors[m]:.1f} %" for m in CONTRASTS)
        print(
            f"| {line.world} | {line.images:,} | {line.n} | {line.boards:,} | {wrong} | "
            f"{100 * line.coverage:.1f} % | {line.width:.2f} | {100 * line.guarded_power:.0f} % |"
        )


def _print_looks(found: dict[str, tuple[float, float]], images: int) -> None:
    print(
        f"\n| looks at test ({images:,} images, nothing differs) | error | mean seeds |\n| --- | --: | --: |"
    )
    for name, (wrong, seeds) in found.items():
        print(f"| {name} | {100 * wrong:.1f} % | {seeds:.1f} |")


def _print_choosing(found: dict[str, float], images: int) -> None:
    print(f"\n| best of ten on val, five seeds, {images:,} test images | *better* |\n| --- | --: |")
    for name, wrong in found.items():
        print(f"| {name} | {100 * wrong:.1f} % |")


def _verdict(lines: Sequence[Line], boards: int) -> int:
    """Hold the error rates to the gate, with three standard errors of their own where boards are few."""
    slack = 3 * math.sqrt(0.05 * 0.95 / boards) if boards < 2000 else 0.0
    worst = max(error for line in lines for error in line.errors.values())
    print(f"\nlargest error of the usual worlds: {100 * worst:.1f} % (gate {100 * (GATE + slack):.1f} %)")
    return int(worst > GATE + slack)


if __name__ == "__main__":
    sys.exit(main())
