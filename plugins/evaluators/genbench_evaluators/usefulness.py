"""`usefulness`: does a cheap metric of the images predict what training on them gains?

Across the rows of a suite, for each metric of an image set (FID, MMD, precision, share of copies, ...), the
rank correlation (Spearman, Am. J. Psychol. 15, 1904) of its value with the gain in test top-1 over the paired
baseline, both means over seeds; one correlation per classifier. The interval is a percentile bootstrap over
rows, which are few: read it as an indication. A metric that predicts nothing has a correlation about 0,
whatever its unit; the sign says which direction is the better one.

Rows of one suite share their real images, and several may share one generator: they are not independent, and
the interval does not know that.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from genbench.protocols import Evaluation, RunContext, SuiteEvaluator
from genbench.records import Metric, Record
from genbench_evaluators._rows import SuiteRow, images_key, suite_rows
from genbench_evaluators.suite_configs import UsefulnessConfig

_TOLERANCE = 1e-9  # against scipy.stats.spearmanr
#: Numbers that say nothing of the synthetic images: floors, real images' own, p values, the dataset's.
_NOT_OF_IMAGES = re.compile(r"_floor\[|_real\[|_p\[|^dataset_")
Floats = npt.NDArray[np.float64]


class Usefulness(SuiteEvaluator):
    """Reads the records of image sets and of cells."""

    def __init__(self, config: UsefulnessConfig) -> None:
        self.config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Return one correlation per metric and classifier, and the pairs behind each."""
        cheap = _image_metrics(records)
        metrics, tables = [], {}
        for classifier, name, pairs in _pairs(suite_rows(records), cheap):
            title = f"spearman[{name}][{classifier}]"
            values, gains = (np.array(column) for column in zip(*[pair[1:] for pair in pairs], strict=True))
            metrics.append(self._metric(title, values, gains, np.random.default_rng(ctx.seed(title))))
            tables[title] = [{"row": row, "value": value, "gain": gain} for row, value, gain in pairs]
        return Evaluation(metrics, tables)

    def _metric(self, name: str, values: Floats, gains: Floats, rng: np.random.Generator) -> Metric:
        count = len(values)
        if count < self.config.fewest_rows:
            have = "1 row has" if count == 1 else f"{count} rows have"
            note = f"only {have} both; {self.config.fewest_rows} are needed"
            return Metric(name, None, bounds=(-1, 1), tolerance=_TOLERANCE, note=note)
        found = spearman(values, gains)
        if found is None:
            note = f"all {count} rows have the same value"
            return Metric(name, None, bounds=(-1, 1), tolerance=_TOLERANCE, note=note)
        low, high = interval(values, gains, self.config.resamples, rng)
        note = f"with the gain, {count} rows; 95 % bootstrap interval over rows {low:.2f} to {high:.2f}"
        return Metric(name, found, bounds=(-1, 1), tolerance=_TOLERANCE, note=note)


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
    """Return each metric's mean over seeds by image set: metric name, then `images_key`."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.result.subject == "image_set":
            for metric in record.result.metrics:
                if metric.value is not None and not _NOT_OF_IMAGES.search(metric.name):
                    values[metric.name][images_key(record)].append(metric.value)
    return {
        name: {key: float(np.mean(found)) for key, found in sets.items()} for name, sets in values.items()
    }


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
