"""`precision_recall`: are the images real enough, and do they cover what is real?

Improved precision and recall (Kynkaanniemi et al., arXiv:1904.06991, Sec. 2): precision is the share of
synthetic images inside the union of balls around real images that reach their k-th nearest real neighbour;
recall the same with the roles swapped. Density and coverage (Naeem et al., arXiv:2002.09797, Eq. 3 and 4) are
less moved by outliers: density counts in how many real balls a synthetic image lies, over k; coverage is the
share of real balls that hold a synthetic image. All on equally many synthetic and train images; beside them
val against train, what real images score. Features are centred on train's mean first, which changes no
distance: float32 is coarse far from 0.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from genbench.errors import DataError
from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.seeding import generator
from genbench_evaluators._feature_sets import gather
from genbench_evaluators._neighbours import inside, nearest, radii
from genbench_evaluators.configs.precision_recall import PrecisionRecallConfig

_TOLERANCE = 1e-6  # against the definitions in float64
_BOUNDED = {"precision": 1.0, "recall": 1.0, "coverage": 1.0, "density": None}


class PrecisionRecall(ImageEvaluator):
    """Compares synthetic images with train."""

    def __init__(self, config: PrecisionRecallConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the four numbers, for the set and (at val's size) for real images.

        Raises:
            DataError: A set has no more images than neighbours are asked for, or a feature is not finite.
        """
        sets = gather("precision_recall", synthetic, real).centred().on(ctx.device)
        count = min(len(sets.synthetic), len(sets.train), self.config.most_images)
        pairs: dict[Role, tuple[torch.Tensor, torch.Tensor]] = {
            "score": (_some(sets.synthetic, count, "synthetic"), _some(sets.train, count, "train")),
            "floor": (sets.few_val, sets.few_train),
        }
        metrics = []
        for position, (role, (made, train)) in enumerate(pairs.items()):
            self._check(made, train)
            found = manifold(made, train, self.config.neighbours, self.config.density_neighbours)
            metrics += [self._metric(name, value, role, len(made)) for name, value in found._asdict().items()]
            ctx.progress(position + 1, len(pairs))
        return Evaluation(metrics, {"sizes": sets.sizes()})

    def _metric(self, name: str, value: float, role: Role, n: int) -> Metric:
        k = self.config.neighbours if name in {"precision", "recall"} else self.config.density_neighbours
        split = "synthetic" if role == "score" else "val"
        return Metric(
            name, value, "", True, (0, _BOUNDED[name]), _TOLERANCE,
            split=split, against="train", extractor=self.config.extractor, n=n, role=role,
            qualifiers=(f"k={k}",),
        )  # fmt: skip

    def _check(self, made: torch.Tensor, train: torch.Tensor) -> None:
        most = max(self.config.neighbours, self.config.density_neighbours)
        if min(len(made), len(train)) <= most:
            raise DataError(
                f"precision_recall: {most} neighbours among {len(made)} synthetic and {len(train)} real",
                hint="lower neighbours and density_neighbours, or raise ratio",
            )


class Manifold(NamedTuple):
    """Shares, 0-1; density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(made: torch.Tensor, real: torch.Tensor, k: int, density_k: int) -> Manifold:
    """Return the four numbers of `float32 [n, D]` synthetic and `float32 [m, D]` real features."""
    precision = (inside(made, real, radii(real, k)) > 0).double().mean()
    recall = (inside(real, made, radii(made, k)) > 0).double().mean()
    balls = radii(real, density_k)
    density = inside(made, real, balls).double().mean() / density_k
    # a real ball holds a synthetic image where the nearest one is inside its radius
    coverage = (nearest(real, made).distance <= balls).double().mean()
    return Manifold(float(precision), float(recall), float(density), float(coverage))


def _some(features: torch.Tensor, count: int, name: str) -> torch.Tensor:
    order = torch.randperm(len(features), generator=generator("precision_recall", name))
    return features[order[:count].sort().values.to(features.device)]
