"""The numbers of the filters, against loops in plain Python."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from genbench_filters import _distances
from genbench_filters._distances import leave_one_out_distances, neighbour_distances, squared_distances
from genbench_filters._frechet import distance_and_influence, fit_target
from genbench_filters._shared import share_of
from genbench_filters.class_fid import select


def points(count: int, dimensions: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dimensions)))


# ------------------------------------------------------------------------------------------ distances


def test_squared_distances_of_pixels_are_exact() -> None:
    a, b = (torch.randint(0, 256, (9, 3072), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    expected = (a[:, None] - b).square().sum(dim=2)
    assert squared_distances(a.double(), b.double()).tolist() == expected.tolist()
    assert squared_distances(a.double(), a.double()).diagonal().tolist() == [0] * 9


@pytest.mark.parametrize("entries", [1, 50, 1 << 23])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_neighbour_distances_equal_a_loop(monkeypatch: pytest.MonkeyPatch, k: int, entries: int) -> None:
    monkeypatch.setattr(_distances, "_BLOCK_ENTRIES", entries)
    a, b = points(12), points(11, seed=1)
    expected = [sorted(math.dist(x, y) for y in b.tolist())[k - 1] for x in a.tolist()]
    assert neighbour_distances(a, b, k).tolist() == pytest.approx(expected, rel=1e-12)
    own = a.tolist()
    expected = [sorted(math.dist(x, y) for y in own[:i] + own[i + 1 :])[k - 1] for i, x in enumerate(own)]
    assert leave_one_out_distances(a, k).tolist() == pytest.approx(expected, rel=1e-12)


def test_leaving_one_out_leaves_out_one_of_two_equal_points() -> None:
    pair = torch.tensor([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]], dtype=torch.float64)
    assert leave_one_out_distances(pair, 1).tolist() == [0, 0, 5]


# --------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(10, 0.7, 7), (10, 0.71, 8), (3, 1e-3, 1), (7, 1, 7), (0, 0.5, 0)]
)
def test_shares_round_up_but_not_for_the_last_bit(count: int, fraction: float, expected: int) -> None:
    assert share_of(count, fraction) == expected


# ----------------------------------------------------------------------------------- Fréchet distance


def scipy_distance(real: torch.Tensor, made: torch.Tensor) -> float:
    """Eq. 6 as everybody computes it, with a matrix square root."""
    a, b = real.numpy(), made.numpy()
    product = np.cov(b, rowvar=False) @ np.cov(a, rowvar=False)
    traces = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False))
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(shift + traces - 2 * np.trace(sqrtm(product).real))


def without(made: torch.Tensor, row: int) -> torch.Tensor:
    return torch.cat([made[:row], made[row + 1 :]])


def test_distance_is_zero_to_itself_and_scipys_otherwise() -> None:
    real, made = points(80, 6), 1.3 * points(50, 6, seed=1) + 0.4
    target = fit_target(real)
    assert distance_and_influence(target, real).value < 1e-12
    assert distance_and_influence(target, made).value == pytest.approx(scipy_distance(real, made), rel=1e-10)


def test_distance_has_its_closed_form_in_one_dimension() -> None:
    real, made = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([[1.0], [5.0]]).double()
    # means 0 and 3; deviations sqrt(2) and sqrt(8): 9 + (sqrt(8) - sqrt(2))^2 = 11
    assert distance_and_influence(fit_target(real), made).value == pytest.approx(11, rel=1e-12)


def influence_error(repeats: int) -> float:
    """Return how far the influence of 60 points, each there so many times, is from leaving one out."""
    real, made = points(400, 3), (1.2 * points(60, 3, seed=1) + 0.3).repeat(repeats, 1)
    found = distance_and_influence(fit_target(real), made)
    falls = [(found.value - scipy_distance(real, without(made, row))) * (len(made) - 1) for row in range(60)]
    return float((found.influence[:60] - torch.tensor(falls)).abs().max() / found.influence.abs().max())


def test_influence_is_what_leaving_a_point_out_does_to_first_order() -> None:
    """What is left over is of second order: ten times the points, a tenth of the error."""
    few, many = influence_error(4), influence_error(40)
    assert many < 0.02
    assert few / many == pytest.approx(10, rel=0.2)


def test_influence_is_finite_with_fewer_points_than_dimensions() -> None:
    found = distance_and_influence(fit_target(points(5, 12)), points(4, 12, seed=1))
    assert found.value == pytest.approx(scipy_distance(points(5, 12), points(4, 12, seed=1)), rel=1e-6)
    assert found.influence.isfinite().all()


# ------------------------------------------------------------------------------------------ selection


def exact_greedy(real: torch.Tensor, made: torch.Tensor, fewest: int) -> list[int]:
    """Drop the one point whose removal, tried out, lowers the distance most, until none does."""
    left = list(range(len(made)))
    while len(left) > fewest:
        tried = {row: scipy_distance(real, made[[other for other in left if other != row]]) for row in left}
        best = min(tried, key=lambda row: tried[row])
        if tried[best] >= scipy_distance(real, made[left]):
            break
        left.remove(best)
    return left


def test_selection_comes_close_to_trying_every_removal() -> None:
    real, made = points(200, 3), 1.5 * points(40, 3, seed=1) + 0.5
    exact = exact_greedy(real, made, 20)
    found = select(fit_target(real), made, keep=0.5, batch_fraction=0.025)
    best = scipy_distance(real, made[exact])
    assert found.before == pytest.approx(scipy_distance(real, made), rel=1e-10)
    assert found.after == pytest.approx(scipy_distance(real, made[found.kept]), rel=1e-8)
    assert best <= found.after < best + 0.1 * (found.before - best)


def test_selection_never_raises_the_distance() -> None:
    for seed in range(5):
        found = select(fit_target(points(30, 5)), points(20, 5, seed=seed + 1), keep=0.1, batch_fraction=0.5)
        assert found.after <= found.before
        assert found.kept.sum() >= 2


def test_selection_leaves_a_perfect_set_alone() -> None:
    real = points(30, 3)
    assert select(fit_target(real), real, keep=0.1, batch_fraction=0.1).kept.sum() > 25


def test_the_inception_score_is_1_without_and_k_with_k_sure_classes() -> None:
    from genbench_filters.class_fid import inception_score

    assert inception_score(np.tile([1.0, 2.0, 0.5], (6, 1))) == pytest.approx(1)
    assert inception_score(np.eye(4).repeat(3, axis=0) * 1e3) == pytest.approx(4)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all")  # of torchmetrics
@pytest.mark.filterwarnings("ignore:std.*degrees")  # of its splits, and there is one
def test_the_inception_score_is_torchmetrics() -> None:
    from torchmetrics.image.inception import InceptionScore

    from genbench_filters.class_fid import inception_score

    logits = np.random.default_rng(0).normal(size=(60, 5)) * 3
    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(torch.from_numpy(logits))
    assert inception_score(logits) == pytest.approx(float(theirs.compute()[0]), rel=1e-6)
