"""`usefulness`: does a cheap metric of the images predict what training on them gains?

Across the rows of a suite, for each metric of an image set (FID, MMD, precision, share of copies, ...), the
rank correlation (Spearman, Am. J. Psychol. 15, 1904) of its value with the gain in test top-1 over the paired
baseline, both means over seeds; one correlation per classifier. The interval is a percentile bootstrap over
rows, which are few: read it as an indication. A metric that predicts nothing has a correlation about 0,
whatever its unit; the sign says which direction is the better one.

Rows of one suite share their real images, and several may share one generator: they are not independent, and
the interval does not know that.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from genbench.metrics import Metric, average
from genbench.protocols import Evaluation, RunContext, SuiteEvaluator
from genbench.records import Record
from genbench_evaluators._rows import SuiteRow, images_key, suite_rows
from genbench_evaluators.configs.usefulness import UsefulnessConfig

_TOLERANCE = 1e-9  # against scipy.stats.spearmanr
Floats = npt.NDArray[np.float64]


class Usefulness(SuiteEvaluator):
    """Reads the records of image sets and of cells."""

    def __init__(self, config: UsefulnessConfig) -> None:
        self.config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Return one correlation per metric and classifier, and the pairs behind each."""
        cheap = _image_metrics(records)
        metrics, tables = [], {}
        for classifier, label, pairs in _pairs(suite_rows(records), cheap):
            values, gains = (np.array(column) for column in zip(*[pair[1:] for pair in pairs], strict=True))
            rng = np.random.default_rng(ctx.seed(label, classifier))
            found, note = self._correlated(values, gains, rng)
            about = (label, classifier)
            metrics.append(
                Metric(
                    "spearman", found, "", None, (-1, 1), _TOLERANCE, note, n=len(values), qualifiers=about,
                    average="none",
                )
            )  # fmt: skip
            tables[metrics[-1].label] = [
                {"row": row, "value": value, "gain": gain} for row, value, gain in pairs
            ]
        return Evaluation(metrics, tables)

    def _correlated(
        self, values: Floats, gains: Floats, rng: np.random.Generator
    ) -> tuple[float | None, str]:
        """Return the correlation, or None, and what a reader must know of it."""
        count = len(values)
        if count < self.config.fewest_rows:
            have = "1 row has" if count == 1 else f"{count} rows have"
            return None, f"only {have} both; {self.config.fewest_rows} are needed"
        found = spearman(values, gains)
        if found is None:
            return None, f"all {count} rows have the same value"
        low, high = interval(values, gains, self.config.resamples, rng)
        note = f"with the gain, {count} rows; 95 % bootstrap interval over rows {low:.2f} to {high:.2f}"
        return found, note


def spearman(left: Floats, right: Floats) -> float | None:
    """Return the rank correlation, ties sharing their mean rank; None where a side has no spread."""
    a, b = (rankdata(side) - (len(side) + 1) / 2 for side in (left, right))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / spread, -1, 1)) if spread > 0 else None


def interval(left: Floats, right: Floats, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile interval under resampling of rows; resamples without spread are left out."""
    found = []
    for _ in range(resamples):
        rows = rng.integers(len(left), size=len(left))
        value = spearman(left[rows], right[rows])
        if value is not None:
            found.append(value)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _image_metrics(records: Sequence[Record]) -> Mapping[str, Mapping[str, float]]:
    """Return each score of an image set, averaged over seeds as it declares: label, then `images_key`.

    Only scores say something about the synthetic images: floors, p values and checks do not.
    """
    by_set: dict[str, dict[int, list[Metric]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.result.subject == "image_set":
            scores = [metric for metric in record.result.metrics if metric.role == "score"]
            by_set[images_key(record)][record.result.index] += scores
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for key, by_seed in by_set.items():
        for averaged in average(by_seed):
            found[averaged.identity.label][key] = averaged.value
    return found


def _pairs(
    rows: Sequence[SuiteRow], cheap: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, str, list[tuple[str, Any, Any]]]]:
    """Yield (classifier, metric, [(row, value, gain)]), for those that have any."""
    for classifier in sorted({row.classifier for row in rows}):
        for name in sorted(cheap):
            pairs = [
                (row.label, cheap[name][row.images], row.gain)
                for row in rows
                if row.classifier == classifier and row.gain is not None and row.images in cheap[name]
            ]
            if pairs:
                yield classifier, name, pairs
