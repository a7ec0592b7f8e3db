"""`fid`: the Fréchet distance between features of synthetic and real images, with its floor.

Heusel et al., arXiv:1706.08500, Eq. 6. The value depends on the extractor and on n (Chong and Forsyth,
arXiv:1911.07023), so both are in the metric's name, and real train images are measured against val at the
same n. FID-infinity (there, Sec. 4) is the intercept of a line through the distances of random subsets
against 1 / n. It is a line only where n is well above D. Measured on two Gaussians at a distance of 0.2,
in D = 32, 128 and 384: with D images in the smallest subset the intercept is -1.0, -2.7 and -7.8; with 2
D 0.14, -0.38 and -0.95; with 5 D 0.19, 0.18 and -0.02 (where the distance at n itself is 0.9, 2.7 and
7.4). Below 5 D there is no value. Departures: ten sizes from n / 2 to n, where the authors begin at 5,000
images; and the bias that the real side has at its own n stays. Images are neither resized nor compressed
here: the extractor sees what is in the set. One pass over fixed chunks: the value does not depend on a
batch size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy import polyfit

from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench_evaluators._feature_sets import Distances, distance_metrics, gather
from genbench_evaluators._frechet import Gaussian, Reference, fit_gaussian, frechet_distance, make_reference
from genbench_evaluators.configs.fid import FidConfig

_TEMPLATE = Metric("fid", None, higher_is_better=False, bounds=(0, None), tolerance=1e-3)  # relative
_SUBSETS = 10  # sizes that FID-infinity is extrapolated from
_FEWEST_EXTRAPOLATED = 50
_FEWEST_PER_DIMENSION = 5  # images of the smallest subset over D: see above


class Fid(ImageEvaluator):
    """Compares synthetic images with train and with val."""

    def __init__(self, config: FidConfig) -> None:
        self._config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the distance to train, the distance to val, and its floor.

        Raises:
            DataError: A set has fewer than two images, or a feature is NaN or infinite.
        """
        sets = gather("fid", synthetic, real)
        train = _reference(real["train"], sets.train)
        to_train = frechet_distance(train, fit_gaussian(sets.synthetic))
        ctx.progress(1, 3)
        val = _reference(real["val"], sets.few_val)
        to_val = frechet_distance(val, fit_gaussian(sets.few_synthetic))
        ctx.progress(2, 3)
        floor = frechet_distance(val, fit_gaussian(sets.few_train))
        ctx.progress(3, 3)

        def caution(n: int) -> str:
            if n > sets.dimensions:
                return ""
            return f"n = {n} samples for D = {sets.dimensions} dimensions: biased upward."

        distances = Distances(to_train, to_val, floor)
        metrics = distance_metrics(_TEMPLATE, self._config.extractor, distances, sets, caution)
        tables: dict[str, Any] = {"sizes": sets.sizes()}
        if self._config.extrapolate:
            metrics.append(self._infinity(train, sets.synthetic, ctx))
        if self._config.per_class:
            labels = synthetic.images.labels, real["train"].images.labels
            names = real["train"].images.class_names
            tables["per_class"] = per_class(sets.synthetic, sets.train, labels, names)
            found = [row["fid"] for row in tables["per_class"] if row["fid"] is not None]
            note = f"Over {len(found)} of {len(names)} classes; the table has each with its n."
            value = fmean(found) if found else None
            metrics.append(replace(self._to_train("mean_class_fid", note), value=value))
        return Evaluation(metrics, tables)

    @staticmethod
    def summarise(features: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float64]]:
        """Return `mu`, `sigma` (the names that published statistics have) and a factor of `sigma`.

        Features that `evaluate` refuses have none.
        """
        if len(features) < 2 or not np.isfinite(features).all():
            return {}
        whole = torch.from_numpy(np.require(features, np.float32, ["C", "W"]))
        found = make_reference(fit_gaussian(whole))
        arrays = {"mu": found.gaussian.mean, "sigma": found.gaussian.covariance, "factor": found.factor}
        return {name: value.numpy() for name, value in arrays.items()}

    def _infinity(self, train: Reference, features: torch.Tensor, ctx: RunContext) -> Metric:
        """Extrapolate to endlessly many synthetic images."""
        count, dimensions = features.shape
        needed = 2 * max(_FEWEST_EXTRAPOLATED, _FEWEST_PER_DIMENSION * dimensions)
        if count < needed:
            note = f"{count} images, and {needed} are needed to extrapolate in D = {dimensions} dimensions."
            return replace(self._to_train("fid_infinity", note), n=count)
        rng = ctx.rng("infinity")
        sizes = torch.linspace(count // 2, count, _SUBSETS).long().tolist()
        values = [
            frechet_distance(train, fit_gaussian(features[torch.randperm(count, generator=rng)[:size]]))
            for size in sizes
        ]
        slope, intercept = polyfit([1 / size for size in sizes], values, 1)
        note = (
            f"From {_SUBSETS} subsets of {sizes[0]} to {sizes[-1]} images; slope {slope:.3g} per 1 / n. "
            "The bias of the real side, which has one n, stays."
        )
        unbounded = replace(self._to_train("fid_infinity", note), bounds=(None, None), n=count)
        return replace(unbounded, value=float(intercept))

    def _to_train(self, name: str, note: str) -> Metric:
        """Return a metric against train, without its value and its n."""
        extractor = self._config.extractor
        return replace(
            _TEMPLATE, name=name, note=note, split="synthetic", against="train", extractor=extractor
        )


def _reference(real: ImageSet, features: torch.Tensor) -> Reference:
    """Return the statistics of a real set, stored ones where the features are all of it."""
    if not real.summary or len(features) < len(real.images):
        return make_reference(fit_gaussian(features))
    mean, covariance, factor = (torch.from_numpy(real.summary[name]) for name in ("mu", "sigma", "factor"))
    return Reference(Gaussian(mean, covariance), factor)


def per_class(
    made: torch.Tensor,
    train: torch.Tensor,
    labels: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the distance of each class to its train images, with both n and what to doubt."""
    rows = []
    for label, name in enumerate(names):
        own, real = (torch.from_numpy(np.flatnonzero(side == label)) for side in labels)
        row: dict[str, Any] = {"class": name, "n": len(own), "n_train": len(real), "fid": None, "note": ""}
        fewest = min(len(own), len(real))
        if fewest < 2:
            row["note"] = "fewer than two images on one side"
        else:
            row["fid"] = frechet_distance(make_reference(fit_gaussian(train[real])), fit_gaussian(made[own]))
            if fewest <= made.shape[1]:
                row["note"] = f"{fewest} samples for {made.shape[1]} dimensions: biased upward"
        rows.append(row)
    return rows
