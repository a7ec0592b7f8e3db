"""The unbiased squared MMD against a plain double loop, and what makes it unbiased."""

import math
import statistics

import pytest
import torch

from genbench_evaluators._kernels import (
    Kernel,
    mean_between,
    mean_within,
    median_distance,
    mmd2,
    permutation_p,
)


def rows(n: int, dimensions: int = 5, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def estimate(x: torch.Tensor, y: torch.Tensor, bandwidth: float, chunk_rows: int = 1024) -> float:
    kernel = Kernel("rbf", (bandwidth,))
    within = mean_within(x, kernel, chunk_rows), mean_within(y, kernel, chunk_rows)
    return mmd2(*within, mean_between(x, y, kernel, chunk_rows))


def double_loop(x: torch.Tensor, y: torch.Tensor, bandwidth: float) -> float:
    """Eq. 3 of Gretton et al. 2012, literally."""

    def k(a: list[float], b: list[float]) -> float:
        return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * bandwidth**2))

    xs, ys = x.double().tolist(), y.double().tolist()
    m, n = len(xs), len(ys)
    own = math.fsum(k(xs[i], xs[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = math.fsum(k(ys[i], ys[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return own + other - 2 * math.fsum(k(a, b) for a in xs for b in ys) / (m * n)


@pytest.mark.parametrize("shift", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("bandwidth", [0.5, 3.0])
def test_is_eq_3_written_out(shift: float, bandwidth: float) -> None:
    x, y = rows(40, seed=1), rows(31, seed=2, shift=shift)
    assert estimate(x, y, bandwidth) == pytest.approx(double_loop(x, y, bandwidth), abs=1e-6)
    in_float64 = estimate(x.double(), y.double(), bandwidth)
    assert in_float64 == pytest.approx(double_loop(x, y, bandwidth), abs=1e-13)


@pytest.mark.parametrize("chunk_rows", [1, 7, 64, 200])
def test_chunks_change_nothing(chunk_rows: int) -> None:
    x, y = rows(200, 20, seed=1).double(), rows(150, 20, seed=2, shift=0.1).double()
    assert estimate(x, y, 4.0, chunk_rows) == pytest.approx(estimate(x, y, 4.0), abs=1e-14)


def test_is_zero_on_average_for_one_distribution_and_negative_as_often_as_not() -> None:
    values = [estimate(rows(30, seed=2 * k), rows(30, seed=2 * k + 1), 2.0) for k in range(300)]
    error = statistics.stdev(values) / math.sqrt(len(values))
    assert abs(statistics.mean(values)) < 4 * error
    assert any(value < 0 for value in values)
    assert any(value > 0 for value in values)


def test_grows_with_the_shift_towards_two_separate_sets() -> None:
    x, y = rows(200, seed=1).double(), rows(200, seed=2).double()
    found = [estimate(x, y + shift, 2.0) for shift in (0.0, 0.5, 1.0, 50.0)]
    assert found == sorted(found)
    within = mean_within(x, Kernel("rbf", (2.0,))) + mean_within(y, Kernel("rbf", (2.0,)))
    assert found[-1] == pytest.approx(within)  # nothing of one set is near the other


def test_bandwidth_takes_effect() -> None:
    x, y = rows(50, seed=1), rows(50, seed=2, shift=0.5)
    assert estimate(x, y, 0.5) != pytest.approx(estimate(x, y, 5.0), rel=0.1)
    assert mean_within(x, Kernel("rbf", (1e6,))) == pytest.approx(1)
    assert mean_within(x, Kernel("rbf", (1e-3,))) == pytest.approx(0)


def test_float32_products_agree_with_float64_at_2048_dimensions() -> None:
    x, y = rows(300, 2048, seed=1), rows(300, 2048, seed=2, shift=0.05)
    bandwidth = median_distance(x)
    assert estimate(x, y, bandwidth) == pytest.approx(estimate(x.double(), y.double(), bandwidth), abs=1e-6)


def test_median_distance() -> None:
    assert median_distance(torch.tensor([[0.0], [3.0], [10.0]])) == pytest.approx(7)
    assert median_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(5)
    x = rows(60)
    assert median_distance(x) == pytest.approx(float(torch.nn.functional.pdist(x).median()), rel=1e-5)


def test_several_bandwidths_are_averaged_and_a_polynomial_is_one() -> None:
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.randn(20, 4)
    wide, narrow = (Kernel("rbf", (one,))(x, y) for one in (0.5, 2.0))
    torch.testing.assert_close(Kernel("rbf", (0.5, 2.0))(x, y), (wide + narrow) / 2)
    expected = (x.double() @ y.double().T / 4 + 1) ** 3
    torch.testing.assert_close(
        Kernel("polynomial", scale=1 / 4)(x, y).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_the_permutation_p_is_that_of_all_splits_by_hand() -> None:
    """Against the definition: every split is computed with the plain estimator."""
    rng = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 2, generator=rng), torch.randn(12, 2, generator=rng) + 0.7
    kernel = Kernel("rbf", (1.0,))

    def plain(a: torch.Tensor, b: torch.Tensor) -> float:
        return mmd2(mean_within(a, kernel), mean_within(b, kernel), mean_between(a, b, kernel))

    together, observed, hits = torch.cat([x, y]), plain(x, y), 0
    same = torch.Generator().manual_seed(5)
    for _ in range(99):
        chosen = torch.zeros(24, dtype=torch.bool)
        chosen[torch.randperm(24, generator=same)[:12]] = True
        hits += plain(together[chosen], together[~chosen]) >= observed
    p = permutation_p(x, y, kernel, 99, torch.Generator().manual_seed(5))
    assert p == pytest.approx((1 + hits) / 100)


def test_p_is_uniform_for_equal_sets_and_small_for_others() -> None:
    kernel, found = Kernel("rbf", (1.5,)), []
    for seed in range(60):
        rng = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 20, 2, generator=rng)
        found.append(permutation_p(x, y, kernel, 39, rng))
    assert 0.35 < sum(found) / 60 < 0.65
    assert sum(p <= 0.25 for p in found) / 60 < 0.45
    far = permutation_p(x, y + 5, kernel, 39, torch.Generator().manual_seed(0))
    assert far == pytest.approx(1 / 40)
