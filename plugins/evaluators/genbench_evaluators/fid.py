"""`fid`: the Fréchet distance between features of synthetic and real images, with its floor.

Heusel et al., arXiv:1706.08500, Eq. 6. The value depends on the extractor and on n (Chong and Forsyth,
arXiv:1911.07023), so both are in the metric's name, and real train images are measured against val at the
same n. Images are neither resized nor compressed here: the extractor sees what is in the set. One pass over
fixed chunks: the value does not depend on a batch size.
"""

from collections.abc import Mapping

from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.records import Metric
from genbench_evaluators._feature_sets import Distances, distance_metrics, gather
from genbench_evaluators._frechet import fit_gaussian, frechet_distance, make_reference
from genbench_evaluators.configs import FidConfig

_TEMPLATE = Metric("fid", None, higher_is_better=False, bounds=(0, None), tolerance=1e-3)  # relative


class Fid(ImageEvaluator):
    """Compares synthetic images with train and with val."""

    def __init__(self, config: FidConfig) -> None:
        self._config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return `fid[...,train]`, `fid[...,val]` and `fid_floor[...,val]`.

        Raises:
            DataError: A set has fewer than two images, or a feature is NaN or infinite.
        """
        sets = gather("fid", synthetic, real, ctx)
        train = make_reference(fit_gaussian(sets.train))
        to_train = frechet_distance(train, fit_gaussian(sets.synthetic))
        ctx.progress(1, 3)
        val = make_reference(fit_gaussian(sets.few_val))
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
        return Evaluation(metrics, {"sizes": sets.sizes()})
