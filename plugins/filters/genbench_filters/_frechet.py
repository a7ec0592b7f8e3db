"""The Fréchet distance between two Gaussians in float64, and what each point of a set adds to it.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", arXiv:1706.08500, Eq. 6; Dowson and Landau,
J. Multivariate Analysis 12, 1982.
"""

from typing import NamedTuple

import torch


class Target(NamedTuple):
    """The Gaussian that a set is brought close to.

    Attributes:
        mean: m_w: `float64 [D]`.
        covariance: C_w, unbiased: `float64 [D, D]`.
        root: C_w^(1/2): `float64 [D, D]`.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    root: torch.Tensor


class Distance(NamedTuple):
    """A distance, and its slope.

    Attributes:
        value: |m - m_w|^2 + Tr(C + C_w - 2 (C C_w)^(1/2)) (Eq. 6); rounding below 0 is 0.
        influence: To first order, (n - 1) times by how much the value falls when a point is left out:
            `float64 [n]`.
    """

    value: float
    influence: torch.Tensor


def fit_target(points: torch.Tensor) -> Target:
    """Compute the statistics of `float64 [n, D]`, n >= 2."""
    covariance = points.T.cov().reshape(points.shape[1], points.shape[1])
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return Target(points.mean(dim=0), covariance, root)


def distance_and_influence(target: Target, points: torch.Tensor) -> Distance:
    """Measure the distance of `float64 [n, D]`, n >= 2, to a target, and what each point adds to it.

    The distance's gradients are 2 (m - m_w) by the mean and I - T by the covariance, where
    T = C_w^(1/2) (C_w^(1/2) C C_w^(1/2))^(-1/2) C_w^(1/2) is the optimal transport map from C to C_w.
    Leaving out x moves the mean by -(x - m) / (n - 1) and the covariance, to first order in 1/n, by
    -((x - m)(x - m)^T - C) / (n - 1). Where the product has no full rank, the inverse is the pseudo-inverse.
    """
    m, C = points.mean(dim=0), points.T.cov().reshape(points.shape[1], points.shape[1])  # noqa: N806 - Eq. 6
    values, vectors = torch.linalg.eigh(target.root @ C @ target.root)
    smallest = max(float(values.max()), 0.0) * len(values) * torch.finfo(torch.float64).eps
    positive = values > smallest
    roots, vectors = values[positive].sqrt(), vectors[:, positive]
    half = target.root @ vectors
    slope = torch.eye(len(C), dtype=torch.float64) - (half / roots) @ half.T
    shift = m - target.mean
    value = float(shift.square().sum() + C.trace() + target.covariance.trace() - 2 * roots.sum())
    centred = points - m
    quadratic = ((centred @ slope) * centred).sum(dim=1) - (slope * C).sum()
    return Distance(max(value, 0.0), 2 * centred @ shift + quadratic)
