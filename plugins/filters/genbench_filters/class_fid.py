"""`class_fid`: drops, class by class, the images that hold the class's Fréchet distance up.

Filtering per class by FID is one of the capabilities that are named for Azizi et al., "Synthetic Data from
Diffusion Models Improves ImageNet Classification", arXiv:2304.08466; no algorithm comes with it, and the
greedy selection here is ours. From all images of a class, the batch whose removal lowers the distance most
is dropped, again and again, until `keep` of them are left or nothing lowers it. Which batch that is, is
approximated: removals are taken one by one and to first order (`_frechet.distance_and_influence`): one
eigendecomposition for all, where trying them out would take one each. What a drop really does is then
measured, and a batch that does not help is halved.

The inception score of each class (arXiv:1606.03498, the judge in the place of Inception) is written to the
log before and after. It is not what is selected by: within a class it rises with every image of another one.

A set has a larger distance the smaller it is, the more so the more features there are: with as many
features as images, selection ends early. The distance that is lowered is of the judge's features and of
this very set: it says nothing any more about how good the set is, and a leaderboard's `fid[reference]` of a
set chosen so is flattered, too.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._frechet import Target, distance_and_influence, fit_target
from genbench_filters._shared import Floats, judged_features, judged_logits, share_of, verdicts
from genbench_filters.configs.class_fid import ClassFidConfig

_FEWEST = 2  # images for which a covariance is defined


class Selection(NamedTuple):
    """What was selected of one class.

    Attributes:
        kept: `bool [n]`.
        before: Distance of all n images.
        after: Distance of those kept.
    """

    kept: torch.Tensor
    before: float
    after: float


class ClassFid(Filter):
    """Selects greedily, backwards."""

    def __init__(self, config: ClassFidConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep the images selected in each class; a class of fewer than three keeps all of them.

        Raises:
            DataError: A class has fewer than two real images, or features are not finite.
        """
        who = f"class_fid: judge {self.config.judge.use!r}"
        real = judged_features(ctx.inputs["judge"], train, ctx.device, who)
        made = judged_features(ctx.inputs["judge"], synthetic, ctx.device, who)
        logits = judged_logits(ctx.inputs["judge"], synthetic, ctx.device, who)
        reasons = [""] * len(synthetic)
        labels = np.unique(synthetic.labels)
        for position, label in enumerate(labels):
            name = train.class_names[label]
            rows = np.flatnonzero(synthetic.labels == label)
            own = real[np.flatnonzero(train.labels == label)]
            if len(own) < _FEWEST:
                raise DataError(
                    f"class_fid: class {name!r} has {len(own)} real images, and a covariance needs {_FEWEST}"
                )
            if len(rows) > _FEWEST:
                chosen = select(fit_target(own), made[rows], self.config.keep, self.config.batch_fraction)
                for row in rows[~chosen.kept.numpy()]:
                    reasons[row] = "raises its class's distance"
                count = int(chosen.kept.sum())
                scores = inception_score(logits[rows]), inception_score(logits[rows[chosen.kept.numpy()]])
                ctx.log.info(
                    "class_fid: %s: %d images, %d kept: distance %.4f before, %.4f after; "
                    "inception score %.4f before, %.4f after",
                    *(name, len(rows), count, chosen.before, chosen.after, *scores),
                )
            ctx.progress(position + 1, len(labels))
        return verdicts(reasons)


def inception_score(logits: Floats) -> float:
    """Return exp E KL(p(y | x) || p(y)), from 1 to the number of classes (arXiv:1606.03498, Sec. 4).

    Args:
        logits: `float64 [n, classes]`.
    """
    log_p = log_softmax(logits, axis=1)
    p = np.exp(log_p)
    log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return float(np.exp((p * (log_p - log_mean)).sum(axis=1).mean()))


def select(target: Target, points: torch.Tensor, keep: float, batch_fraction: float) -> Selection:
    """Drop points, a batch at a time, as long as that brings the others closer to a target.

    Args:
        target: Statistics of the real features of the class.
        points: Features of its synthetic images: `float64 [n, D]`, n >= 2.
        keep: Share of the points that stays at least, rounded up, and two points in any case.
        batch_fraction: Largest batch, as a share of the points; one point at least.
    """
    fewest = max(_FEWEST, share_of(len(points), keep))
    left = torch.arange(len(points))
    now = distance_and_influence(target, points)
    before, batch = now.value, share_of(len(points), batch_fraction)
    while batch and len(left) > fewest:
        size = min(batch, len(left) - fewest)
        order = torch.argsort(now.influence, descending=True, stable=True)
        remaining = left[order[size:].sort().values]
        then = distance_and_influence(target, points[remaining])
        if then.value < now.value:
            left, now = remaining, then
        else:
            batch = size // 2
    kept = torch.zeros(len(points), dtype=torch.bool)
    kept[left] = True
    return Selection(kept, before, now.value)
