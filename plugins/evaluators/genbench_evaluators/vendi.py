"""`vendi`: how many different images are in a set, effectively?

The Vendi score (Friedman and Dieng, arXiv:2210.02410, Def. 3.1): exp of the entropy of the eigenvalues of K /
n, K the cosine similarities of features; from 1 (all alike) to n (all orthogonal). The eigenvalues are taken
of the D x D matrix where that is smaller: they are the same. It grows with n, which is in its name; beside it
equally many train images.
"""

from collections.abc import Mapping

import torch

from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.seeding import generator
from genbench_evaluators._feature_sets import gather
from genbench_evaluators.configs.vendi import VendiConfig


class Vendi(ImageEvaluator):
    """Looks at the synthetic images, and at train for comparison."""

    def __init__(self, config: VendiConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the score of the set, and of as many train images.

        Raises:
            DataError: A set has fewer than two images, or a feature is not finite.
        """
        sets = gather("vendi", synthetic, real)
        count = min(len(sets.synthetic), len(sets.train), self.config.most_images)
        metrics = []
        roles: dict[str, Role] = {"synthetic": "score", "train": "floor"}
        for split, role in roles.items():
            features = getattr(sets, split)
            stream = "vendi" if role == "score" else "vendi_real"
            order = torch.randperm(len(features), generator=generator("vendi", stream))[:count]
            value = min(vendi_score(features[order.sort().values]), count)
            metrics.append(
                Metric(
                    "vendi", value, "images", True, (1, count), 1e-6,
                    split=split, extractor=self.config.extractor, n=count, role=role,
                )
            )  # fmt: skip
        return Evaluation(metrics)


def vendi_score(features: torch.Tensor) -> float:
    """Return exp(-sum l log l) of the eigenvalues l of K / n, for features `float [n, D]`.

    Features of length 0 are alike to each other and to nothing else.
    """
    x = features.double()
    norms = x.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        x = torch.cat([x, (norms == 0).double()], dim=1)
        norms = x.norm(dim=1, keepdim=True)
    x = x / norms
    matrix = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    values = torch.linalg.eigvalsh(matrix / len(x)).clamp(min=0)
    values = values[values > 0]
    return float(torch.exp(-(values * values.log()).sum()))
