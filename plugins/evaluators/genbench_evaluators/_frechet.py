"""The Fréchet distance between two Gaussians, in float64 and apart from how their statistics came about.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", arXiv:1706.08500, Eq. 6; Dowson and Landau,
J. Multivariate Analysis 12, 1982. Departure: no matrix square root is taken. With C = F F^T the eigenvalues
of C C_w are those of the symmetric F^T C_w F, and the trace of the root is the sum of their roots.
"""

from typing import NamedTuple

import torch

_ROWS = 8192  # rows turned to float64 at a time


class Gaussian(NamedTuple):
    """Statistics of a set of features.

    Attributes:
        mean: `float64 [D]`.
        covariance: Unbiased, divided by n - 1: `float64 [D, D]`.
    """

    mean: torch.Tensor
    covariance: torch.Tensor


class Reference(NamedTuple):
    """What is computed once for a set that several others are compared with.

    Attributes:
        gaussian: Its statistics.
        factor: F with covariance = F F^T: `float64 [D, rank]`.
    """

    gaussian: Gaussian
    factor: torch.Tensor


def fit_gaussian(features: torch.Tensor) -> Gaussian:
    """Compute mean and covariance of `float [n, D]`, n >= 2, in float64."""
    chunks = torch.split(features, _ROWS)
    mean = torch.stack([chunk.double().sum(dim=0) for chunk in chunks]).sum(dim=0) / len(features)
    scatter = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for chunk in chunks:
        centred = chunk.double() - mean
        scatter.addmm_(centred.T, centred)
    return Gaussian(mean, scatter / (len(features) - 1))


def make_reference(gaussian: Gaussian) -> Reference:
    """Factorise a covariance; directions without variance are left out."""
    values, vectors = torch.linalg.eigh(gaussian.covariance)
    kept = values > _smallest(values)
    return Reference(gaussian, vectors[:, kept] * values[kept].sqrt())


def frechet_distance(reference: Reference, other: Gaussian) -> float:
    """Return |m - m_w|^2 + Tr(C + C_w - 2 (C C_w)^(1/2)) (Eq. 6); rounding below 0 is 0."""
    own = reference.gaussian
    product = reference.factor.T @ other.covariance @ reference.factor
    trace_of_root = 0.0
    if len(product):
        values = torch.linalg.eigvalsh((product + product.T) / 2)
        trace_of_root = float(values[values > _smallest(values)].sqrt().sum())
    shift = float((own.mean - other.mean).square().sum())
    traces = float(own.covariance.trace() + other.covariance.trace())
    return max(shift + traces - 2 * trace_of_root, 0.0)


def _smallest(eigenvalues: torch.Tensor) -> float:
    """Return below what an eigenvalue is rounding, whose root would not be small: 1e-16 becomes 1e-8.

    What is dropped with it is at most sqrt(D eps) of the largest root per direction: 7e-7 at D = 2048.
    """
    largest = max(float(eigenvalues.max()), 0.0)
    return largest * len(eigenvalues) * torch.finfo(torch.float64).eps
