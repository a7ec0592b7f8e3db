"""`effective_robustness`: is a row more accurate under a shift than its test accuracy lets expect?

Accuracy under a shift rises with accuracy on test along one line, on logit axes, for models of all kinds
(Taori et al., arXiv:2007.00644; Miller et al., arXiv:2107.04649). The line is fitted through the models that
were trained on real images alone; effective robustness is the distance above it, in points:

    rho(f) = acc_shift(f) - beta(acc_test(f)),    logit beta(x) = a + b logit x    (arXiv:2007.00644, Sec. 3).

It is reported only where the line means something: at least ten real-only models from at
least three families, spanning at least ten points, none of them scored, nothing outside of the span scored.
The interval is a percentile bootstrap over the models of the line; the test images have no part in it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from genbench.metrics import Metric
from genbench.protocols import Evaluation, RunContext, SuiteEvaluator
from genbench.records import Record
from genbench_evaluators._rows import SuiteRow, suite_rows
from genbench_evaluators.configs.effective_robustness import EffectiveRobustnessConfig

_TOLERANCE = 1e-9  # points, against numpy.polyfit on the same logits
_EDGE = 1e-4  # accuracies of 0 and 1 have no logit
Floats = npt.NDArray[np.float64]


class EffectiveRobustness(SuiteEvaluator):
    """Reads the accuracies of a suite."""

    def __init__(self, config: EffectiveRobustnessConfig) -> None:
        self.config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Return a number per shift and row with synthetic images, or why there is none."""
        rows = suite_rows(records)
        metrics, tables = [], {}
        for shift in sorted({shift for row in rows for shift in row.shifts}):
            line = [
                row for row in rows if _is_real_only(row) and row.mean("test") and row.mean(shift) is not None
            ]
            problem = self._problem(line)
            if problem:
                metrics.append(_metric(shift, None, None, problem))
                continue
            rng = np.random.default_rng(ctx.seed(f"top1[{shift}]"))
            metrics += self._scored(shift, rows, line, rng)
            tables[shift] = [
                {
                    "model": f"{row.classifier}, {row.label}",
                    "test": row.mean("test"),
                    "shift": row.mean(shift),
                }
                for row in line
            ]
        return Evaluation(metrics, tables)

    def _problem(self, line: Sequence[SuiteRow]) -> str:
        """Say why there is no line, or return an empty string."""
        families = {row.family for row in line}
        tests = [row.mean("test") or 0.0 for row in line]
        span = max(tests) - min(tests) if tests else 0.0
        config = self.config
        enough = len(line) >= config.fewest_models and len(families) >= config.fewest_families
        if enough and span >= config.narrowest_span_points:
            return ""
        return (
            f"not reported: {len(line)} real-only models of {len(families)} families spanning {span:.1f} "
            f"points; {config.fewest_models}, {config.fewest_families} and "
            f"{config.narrowest_span_points:g} are needed"
        )

    def _scored(
        self,
        shift: str,
        rows: Sequence[SuiteRow],
        line: Sequence[SuiteRow],
        rng: np.random.Generator,
    ) -> Iterator[Metric]:
        x, y = (np.array([row.mean(score) for row in line], dtype=float) / 100 for score in ("test", shift))
        for row in rows:
            test, shifted = row.mean("test"), row.mean(shift)
            if _is_real_only(row) or test is None or shifted is None:
                continue
            if not x.min() <= test / 100 <= x.max():
                note = f"not reported: {test:.1f} % on test lies outside of the line's models"
                yield _metric(shift, row, None, note)
                continue
            draws = [rng.integers(len(x), size=len(x)) for _ in range(self.config.resamples)]
            spread = [above_line(x[draw], y[draw], test / 100, shifted / 100) for draw in draws]
            low, high = np.nanquantile([100 * one for one in spread], [0.025, 0.975])
            note = f"{len(line)} models; 95 % bootstrap interval over models {low:+.2f} to {high:+.2f}"
            value = 100 * above_line(x, y, test / 100, shifted / 100)
            yield _metric(shift, row, value, note)


def _is_real_only(row: SuiteRow) -> bool:
    """Say whether a row knows the real training images and nothing else: only such rows make the line.

    A classifier with pretrained weights has seen other images; it is scored, and is no part of the line.
    """
    return not row.images and not row.external_data


def _metric(shift: str, row: SuiteRow | None, value: float | None, note: str) -> Metric:
    qualifiers = (f"{row.label}, {row.classifier}",) if row else ()
    better = True if value is not None else None
    return Metric(
        "effective_robustness", value, "points", better,
        tolerance=_TOLERANCE, note=note, split=shift, qualifiers=qualifiers, average="none",
    )  # fmt: skip


def above_line(x: Floats, y: Floats, test: float, shifted: float) -> float:
    """Return how far (test, shifted) lies above the logit-logit line through (x, y); NaN without a line.

    Args:
        x: Accuracies on test of the line's models, 0-1: `float64 [n]`.
        y: Theirs under the shift.
        test: Accuracy on test, 0-1.
        shifted: Accuracy under the shift.
    """
    u, v = _logits(x), _logits(y)
    spread = ((u - u.mean()) ** 2).sum()
    if spread == 0:
        return float("nan")
    slope = ((u - u.mean()) * (v - v.mean())).sum() / spread
    expected = expit(v.mean() + slope * (_logits(np.array([test])) - u.mean()))
    return float(shifted - expected[0])


def _logits(accuracies: Floats) -> Floats:
    return np.asarray(logit(np.clip(accuracies, _EDGE, 1 - _EDGE)), dtype=np.float64)
