"""The Fréchet distance against zero, the closed form, scipy's matrix root and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch

from genbench_evaluators._frechet import Gaussian, fit_gaussian, frechet_distance, make_reference


def features(n: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features: `float32 [n, dimensions]`."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=draw) / dimensions**0.5
    return torch.randn(n, dimensions, generator=draw) @ mixing + shift


def distance(real: torch.Tensor, synthetic: torch.Tensor) -> float:
    return frechet_distance(make_reference(fit_gaussian(real)), fit_gaussian(synthetic))


def with_sqrtm(real: torch.Tensor, synthetic: torch.Tensor) -> float:
    """Eq. 6 of arXiv:1706.08500, literally."""
    left, right = real.double().numpy(), synthetic.double().numpy()
    c, c_w = np.cov(left, rowvar=False), np.cov(right, rowvar=False)
    root = scipy.linalg.sqrtm(c @ c_w).real
    return float(((left.mean(0) - right.mean(0)) ** 2).sum() + np.trace(c + c_w - 2 * root))


@pytest.mark.parametrize(("n", "dimensions"), [(500, 16), (500, 64), (20, 64), (2, 8)])
def test_a_set_is_at_distance_zero_from_itself_even_with_fewer_images_than_dimensions(
    n: int, dimensions: int
) -> None:
    real = features(n, dimensions, seed=0)
    scale = float(fit_gaussian(real).covariance.trace())
    assert distance(real, real) == pytest.approx(0, abs=1e-7 * scale)


def test_closed_form_of_two_diagonal_gaussians() -> None:
    """With commuting covariances: |m - m_w|^2 + sum (sqrt(c) - sqrt(c_w))^2."""
    c, c_w = torch.tensor([4.0, 9.0, 0.0]).double(), torch.tensor([1.0, 16.0, 25.0]).double()
    left = Gaussian(torch.tensor([1.0, 2.0, 3.0]).double(), torch.diag(c))
    right = Gaussian(torch.tensor([0.0, 2.0, 5.0]).double(), torch.diag(c_w))
    assert frechet_distance(make_reference(left), right) == pytest.approx(5 + 1 + 1 + 25, rel=1e-12)


def test_closed_form_does_not_depend_on_the_axes() -> None:
    turn = torch.linalg.qr(features(3, 3, seed=5).double()).Q
    c, c_w = (
        torch.diag(torch.tensor([4.0, 9.0, 1.0]).double()),
        torch.diag(torch.tensor([1.0, 16.0, 25.0]).double()),
    )
    zero = torch.zeros(3).double()
    left, right = Gaussian(zero, turn @ c @ turn.T), Gaussian(zero, turn @ c_w @ turn.T)
    assert frechet_distance(make_reference(left), right) == pytest.approx(1 + 1 + 16, rel=1e-12)


def test_no_spread_leaves_the_squared_shift() -> None:
    assert distance(torch.ones(5, 3), torch.full((4, 3), 3.0)) == pytest.approx(12)


def test_matches_scipys_matrix_root_at_64_dimensions() -> None:
    real, synthetic = features(1000, 64, seed=1), features(800, 64, seed=2, shift=0.3)
    assert distance(real, synthetic) == pytest.approx(with_sqrtm(real, synthetic), rel=1e-9)


def test_is_symmetric() -> None:
    real, synthetic = features(300, 32, seed=1), features(20, 32, seed=2)
    assert distance(real, synthetic) == pytest.approx(distance(synthetic, real), rel=1e-9)


def test_unusable_trick_of_an_unsymmetrised_product_would_have_been_noticed() -> None:
    """`eigvalsh(C C_w)` reads one triangle only: a known trap, and another number."""
    real, synthetic = features(300, 16, seed=1), features(300, 16, seed=2)
    left, right = fit_gaussian(real), fit_gaussian(synthetic)
    trap = torch.linalg.eigvalsh(left.covariance @ right.covariance).clamp(min=0).sqrt().sum()
    traces = (left.covariance + right.covariance).trace() + (left.mean - right.mean).square().sum()
    assert abs(float(traces - 2 * trap) - distance(real, synthetic)) > 1e-3


def test_statistics_are_numpys_and_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = features(257, 8, seed=3, shift=100.0)
    whole = fit_gaussian(real)
    monkeypatch.setattr("genbench_evaluators._frechet._ROWS", 10)
    chunked = fit_gaussian(real)
    np.testing.assert_allclose(whole.covariance, np.cov(real.double().numpy(), rowvar=False), rtol=1e-10)
    np.testing.assert_allclose(chunked.covariance, whole.covariance, rtol=1e-10)
    np.testing.assert_allclose(chunked.mean, whole.mean, rtol=1e-13)


def test_matches_torchmetrics_on_the_same_features() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = 32

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    real, synthetic = features(400, 32, seed=1), features(300, 32, seed=2, shift=0.2)
    metric = FrechetInceptionDistance(feature=Same())
    metric.set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(synthetic.double(), real=False)
    assert distance(real, synthetic) == pytest.approx(float(metric.compute()), rel=1e-3)
