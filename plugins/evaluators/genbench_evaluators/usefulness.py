"""`usefulness`: does a cheap metric of the images predict what training on them gains?

For each metric of an image set (FID, MMD, precision, share of copies, ...), the rank correlation (Spearman,
Am. J. Psychol. 15, 1904) of its value with the gain in test top-1 over the paired baseline, both means over
seeds. Ranks are taken among rows that share a baseline (dataset, classifier, augmentation and budget), since
neither gains nor distances of different datasets are on one scale; the correlations of these groups are
averaged, weighted by their number of rows less one, the inverse of their variance under independence. A
metric that predicts nothing has a correlation about 0; the sign says which direction is the better one.

Rows are not independent: one generator makes the images of several ratios, datasets and classifiers, and its
rows rise and fall together. What varies independently is the generator (with its filter), and of these there
are few. The interval is therefore the wider, at each end, of two: a percentile bootstrap that draws
generators with all their rows, which is too narrow where they are few, and that of Bonett and Wright
(Psychometrika 65:23-28, 2000) for as many independent pairs as there are generators,
tanh(artanh(r) +- 1.96 sqrt((1 + r^2 / 2) / (m - 3))). Below four there is none. That formula has no width for
a perfect correlation, which few pairs have by chance: |r| is taken to be 1 - 6 / (m^3 - m) at most, half way
to that of two swapped neighbours.

Rows that are void for copies of test (protocol rule 5) gain by them: they are left out, and counted. Rows of
real images, more of them or copies, are left out, too: they lie at the real end of every distance by
construction, and it is generated images that a metric is to tell apart (`controls=true` takes them in).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from genbench.metrics import INTERVALS, Metric, average
from genbench.protocols import Evaluation, RunContext, SuiteEvaluator
from genbench.records import Record
from genbench_evaluators._rows import SuiteRow, images_key, suite_rows, void_images
from genbench_evaluators.configs.usefulness import UsefulnessConfig

_TOLERANCE = 1e-9  # against scipy.stats.spearmanr
_FEWEST_OF_GROUP = 3  # two rows have a correlation of 1 or -1, whatever they are
_FEWEST_MAKERS = 4  # below which the interval's formula has no value
_Z = 1.959964  # of the normal distribution, two-sided 5 %
Floats = npt.NDArray[np.float64]


class Pairs(NamedTuple):
    """The rows of one baseline that have both: `[rows]` each.

    Attributes:
        group: For people.
        labels: Of the rows.
        makers: What made their images, numbered over all groups: `int64`.
        values: Of the metric.
        gains: In points.
    """

    group: str
    labels: Sequence[str]
    makers: npt.NDArray[np.int64]
    values: Floats
    gains: Floats


class Usefulness(SuiteEvaluator):
    """Reads the records of image sets and of cells."""

    def __init__(self, config: UsefulnessConfig) -> None:
        self.config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Return one correlation per metric, those of each baseline, and the pairs behind them."""
        cheap = _image_metrics(records)
        void = void_images(records)
        every = suite_rows(records)
        asked = [row for row in every if self.config.controls or not row.is_control]
        rows = [row for row in asked if row.images not in void]
        gone = [row for row in asked if row.images in void]
        metrics, tables = [], dict[str, Any]()
        intervals: dict[str, list[float]] = {}
        for label in sorted(cheap):
            groups = _groups(rows, cheap[label])
            left_out = _size(_groups(gone, cheap[label]))
            if not groups and not left_out:
                continue
            found, note, ends = self._correlated(groups, np.random.default_rng(ctx.seed(label)))
            note += f"; without {_counted(left_out, 'row')} void for copies of test" if left_out else ""
            sizes = _size(groups)
            metrics.append(
                Metric(
                    "spearman", found, "", None, (-1, 1), _TOLERANCE, note, n=sizes, qualifiers=(label,),
                    average="none",
                )
            )  # fmt: skip
            tables[metrics[-1].label] = [_table(one) for one in groups]
            intervals |= {metrics[-1].label: list(ends)} if ends else {}
        return Evaluation(metrics, {**tables, INTERVALS: intervals})

    def _correlated(
        self, groups: Sequence[Pairs], rng: np.random.Generator
    ) -> tuple[float | None, str, tuple[float, float] | None]:
        """Return the correlation, or None, what a reader must know of it, and its interval, if it has one."""
        count = _size(groups)
        if count < self.config.fewest_rows:
            have = "1 row has" if count == 1 else f"{count} rows have"
            return None, f"only {have} both; {self.config.fewest_rows} are needed", None
        usable = [one for one in groups if len(one.gains) >= _FEWEST_OF_GROUP]
        if not usable:
            return None, f"no baseline has {_FEWEST_OF_GROUP} rows that have both", None
        found = pooled(usable)
        if found is None:
            return None, f"all {count} rows have the same value", None
        makers = len({int(one) for group in usable for one in group.makers})
        rows = sum(len(one.gains) for one in usable)
        about = f"with the gain, {rows} rows of {_counted(makers, 'generator')}"
        about += f", within {len(usable)} baselines" if len(usable) > 1 else ""
        if makers < _FEWEST_MAKERS:
            return found, f"{about}; no interval: {_FEWEST_MAKERS} generators are needed", None
        low, high = interval(usable, found, makers, self.config.resamples, rng)
        return found, f"{about}; 95 % interval over generators {low:.2f} to {high:.2f}", (low, high)


def spearman(left: Floats, right: Floats) -> float | None:
    """Return the rank correlation, ties sharing their mean rank; None where a side has no spread."""
    a, b = (rankdata(side) - (len(side) + 1) / 2 for side in (left, right))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / spread, -1, 1)) if spread > 0 else None


def pooled(groups: Sequence[Pairs]) -> float | None:
    """Return the mean of the groups' rank correlations, weighted by their rows less one.

    Groups without spread on a side say nothing; None where none says anything.
    """
    found = [(len(one.gains) - 1, spearman(one.values, one.gains)) for one in groups if len(one.gains) > 1]
    known = [(weight, value) for weight, value in found if value is not None]
    total = sum(weight for weight, _ in known)
    return math.fsum(weight * value for weight, value in known) / total if total else None


def interval(
    groups: Sequence[Pairs], found: float, makers: int, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return a 95 % interval of the pooled correlation for other generators: see the module.

    Args:
        groups: The rows.
        found: Their correlation.
        makers: How many generators there are: four at least.
        resamples: Of the bootstrap; those without spread are left out.
        rng: Of the bootstrap.
    """
    names = sorted({int(one) for group in groups for one in group.makers})
    drawn = [pooled(_resampled(groups, rng.choice(names, size=makers))) for _ in range(resamples)]
    values = [one for one in drawn if one is not None] or [found]
    low, high = (float(one) for one in np.quantile(values, [0.025, 0.975]))
    most = 1 - 6 / (makers**3 - makers)  # of a perfect one
    r = max(-most, min(most, found))
    z, half = math.atanh(r), _Z * math.sqrt((1 + r**2 / 2) / (makers - 3))
    return min(low, math.tanh(z - half)), max(high, math.tanh(z + half))


def _resampled(groups: Sequence[Pairs], drawn: npt.NDArray[np.int64]) -> list[Pairs]:
    """Return groups with the rows of the drawn makers, as often as these were drawn."""
    found = []
    for one in groups:
        rows = np.concatenate([np.flatnonzero(one.makers == maker) for maker in drawn])
        found.append(one._replace(makers=one.makers[rows], values=one.values[rows], gains=one.gains[rows]))
    return found


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


def _groups(rows: Sequence[SuiteRow], values: Mapping[str, float]) -> list[Pairs]:
    """Return the rows that have both a value and a gain, by what they share with their baseline."""
    numbers: dict[str, int] = {}
    sorted_rows: dict[str, list[SuiteRow]] = defaultdict(list)
    for row in rows:
        if row.gain is not None and row.images in values:
            numbers.setdefault(row.maker, len(numbers))
            sorted_rows[row.pair].append(row)
    return [
        Pairs(
            own[0].group,
            [row.label for row in own],
            np.array([numbers[row.maker] for row in own]),
            np.array([values[row.images] for row in own]),
            np.array([row.gain for row in own], dtype=np.float64),
        )
        for own in sorted_rows.values()
    ]


def _size(groups: Sequence[Pairs]) -> int:
    """Return the number of rows of all groups."""
    return sum(len(one.gains) for one in groups)


def _table(group: Pairs) -> dict[str, Any]:
    columns = zip(group.labels, group.makers, group.values, group.gains, strict=True)
    return {
        "group": group.group,
        "spearman": spearman(group.values, group.gains) if len(group.gains) > 1 else None,
        "rows": [
            {"row": row, "generator": int(maker), "value": float(value), "gain": float(gain)}
            for row, maker, value, gain in columns
        ],
    }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
