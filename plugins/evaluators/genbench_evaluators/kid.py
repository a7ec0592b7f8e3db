"""`kid`: the kernel inception distance, with its floor.

Binkowski et al., arXiv:1801.01401, Sec. 3: the unbiased squared MMD with the kernel (x . y / D + 1)^3. The
paper averages it over subsets of 1,000; here it is computed once on all images, which is what that average
estimates. Unlike FID it has no bias that depends on n. It may be negative.
"""

from collections.abc import Mapping

from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench_evaluators._feature_sets import Distances, distance_metrics, gather
from genbench_evaluators._kernels import Kernel, mean_between, mean_within, mmd2
from genbench_evaluators.configs.kid import KidConfig

_TEMPLATE = Metric("kid", None, higher_is_better=False, tolerance=1e-3)  # relative, against torchmetrics


class Kid(ImageEvaluator):
    """Compares synthetic images with train and with val."""

    def __init__(self, config: KidConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the distance to train, the distance to val, and its floor.

        Raises:
            DataError: A set has fewer than two images, or a feature is NaN or infinite.
        """
        sets = gather("kid", synthetic, real).on(ctx.device)
        kernel = Kernel("polynomial", degree=3, scale=1 / sets.dimensions, offset=1.0)
        within = {name: mean_within(getattr(sets, name), kernel) for name in sets._fields}
        ctx.progress(1, 2)

        def between(left: str, right: str) -> float:
            return mean_between(getattr(sets, left), getattr(sets, right), kernel)

        def distance(left: str, right: str) -> float:
            return mmd2(within[left], within[right], between(left, right))

        distances = Distances(
            distance("synthetic", "train"),
            distance("few_synthetic", "few_val"),
            distance("few_train", "few_val"),
        )
        ctx.progress(2, 2)
        metrics = distance_metrics(_TEMPLATE, self.config.extractor, distances, sets, lambda _: "")
        return Evaluation(metrics, {"sizes": sets.sizes()})
