"""The short form of `perf/operating_characteristics.py`: error rates on worlds whose truth is known."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).parents[2] / "perf" / "operating_characteristics.py"
BOARDS = 250
#: Three standard errors of a share of 5 % above the goal of 6 %: what so few boards can show.
LARGEST = 0.06 + 3 * (0.05 * 0.95 / BOARDS) ** 0.5


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("operating_characteristics", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made  # its dataclasses look themselves up
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_boards_without_any_effect_rarely_err(script: ModuleType, ratio: float) -> None:
    lines = script.errors(script.World("", ratio, 0.3), 400, BOARDS, seed=3)
    assert [line.n for line in lines] == [5, 8, 10, 20]
    for line in lines:
        assert all(share <= LARGEST for share in line.errors.values()), line
        assert 1 - LARGEST <= line.coverage < 1
        assert line.errors[8] > 0 or line.n == 5, "the simulation draws boards that can err"


def test_the_simulation_can_tell_a_wrong_rule(script: ModuleType) -> None:
    """A t-test over seeds answers for its own test images only, and the worlds show it."""
    draws = script.Draws(script.World("", 0.5, 0.0), seed=5)
    wrong = []
    for _ in range(150):
        base, (row,) = draws.board(10, 400, 1)
        shares = ([one.shares[index] for index in range(10)] for one in (row, base))
        wrong.append(stats.ttest_rel(*shares).pvalue < 0.05)
    assert np.mean(wrong) > 0.15


def test_worlds_are_what_they_say(script: ModuleType) -> None:
    world = script.World("", 0.2, 0.6)
    draws = script.Draws(world, seed=1)
    shares, flips, ratios = [], [], []
    for _ in range(40):
        base, (row,) = draws.board(20, 2000, 1)
        shares += [np.mean(list(base.shares.values())), np.mean(list(row.shares.values()))]
        bits = [np.unpackbits(base.packed[index], count=2000) for index in range(20)]
        flips.append(np.mean(bits[0] != bits[1]))
        squares = script.compare(row, base).squares
        ratios.append((squares.image - squares.rest) / 20 / squares.rest)
    assert np.mean(shares) == pytest.approx(0.70, abs=0.005)
    assert np.mean(flips) == pytest.approx(0.15, abs=0.01)
    assert np.mean(ratios) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", ["skewed", "collapse"])
def test_odd_seeds_change_no_mean(script: ModuleType, kind: str) -> None:
    draws = script.Draws(script.World("", 0.0, 2.0, kind), seed=2)
    means = []
    for _ in range(150):
        base, (row,) = draws.board(40, 300, 1)
        means.append(script.compare(row, base).mean)
    assert np.mean(means) == pytest.approx(0, abs=3 * np.std(means) / np.sqrt(len(means)))
    assert np.std([row.shares[index] for index in range(40)]) > 0.01, "seeds differ"
