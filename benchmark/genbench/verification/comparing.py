"""Two forms of what should be one record, compared field by field, in words."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from genbench.escaping import one_line
from genbench.metrics import Metric
from genbench.protocols import Evaluation
from genbench.records import Record

MOST_LINES = 50  #: of contradictions of one record: a forged table may differ everywhere
_LONGEST_VALUE = 120
_ROUNDING = 1e-9  # by which a sum of floats may differ from machine to machine, relative to its size
_METRIC, _ABSENT = TypeAdapter(Metric), object()


def unequal(claimed: Record, composed: Record, *, run: bool = True) -> list[str]:
    """Name every field in which a record is not what it should be.

    What it declares is left out: it also remembers looks at test that other plans took.

    Args:
        claimed: The record.
        composed: What plan and steps say that it should be.
        run: Whether the parts about the attempt are compared, too.
    """
    left, right = (json.loads(one.to_json()) for one in (claimed, composed))
    found = [*_differences(_named(left["result"]), _named(right["result"]), "result")]
    if run:
        own, other = ({**one["run"], "declared": []} for one in (left, right))
        found += _differences(own, other, "run")
    return found[:MOST_LINES]


def undeclared(claimed: Record, composed: Record) -> list[str]:
    """Say so where a record does not hold what its suite declares, or a family of another size."""
    own = composed.run.declared
    if all(one in claimed.run.declared for one in own):
        return []
    families = [one.family[:12] for one in claimed.run.declared] or ["nothing"]
    return [
        f"run.declared is of {', '.join(families[:3])}, and the submitted suite declares "
        f"{own[-1].family[:12]}: {own[-1].helps} contrasts with none, {own[-1].adds} with what is simpler, "
        f"{own[-1].seeds} seeds"
    ]


def recounted(claimed: Record, recomputed: Evaluation) -> list[str]:
    """Name every metric, and every table entry of `accuracy`, that predictions and labels do not give.

    Numbers may differ by the tolerance that the built-in evaluator gives its metric, never by that which the
    record gives itself; facts about them may not differ at all. Tables of other evaluators are points of a
    picture: rounded, and no comparison rests on them.
    """
    found = []
    own = {metric.label: metric for metric in claimed.result.metrics}
    for metric in recomputed.metrics:
        known = own.pop(metric.label, None)
        if known is None:
            found.append(f"metric {metric.label} is missing: it is {_said(metric.value)}")
        elif not _close(known.value, metric.value, metric.tolerance):
            found.append(
                f"metric {metric.label} is {_said(known.value)}, and recomputed {_said(metric.value)}"
            )
        else:
            facts, expected = (
                {**_METRIC.dump_python(one, mode="json"), "value": None} for one in (known, metric)
            )
            found += _differences(facts, expected, f"metric {metric.label}")
    found += [f"metric {label} is no metric of {claimed.result.evaluator.use}" for label in own]
    if claimed.result.evaluator.use == "accuracy":
        tables, expected = (
            json.loads(json.dumps(one)) for one in (dict(claimed.result.tables), recomputed.tables)
        )
        found += _differences(tables, expected, "tables")
    return found[:MOST_LINES]


def _close(claimed: float | None, found: float | None, tolerance: float) -> bool:
    """Say whether two values are equal, but for rounding; None, NaN and infinity are no value."""
    usable = [one for one in (claimed, found) if one is not None and math.isfinite(one)]
    if len(usable) < 2:
        return not usable
    return abs(usable[0] - usable[1]) <= max(tolerance, _ROUNDING * abs(usable[1]))


def _named(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return `result` with its metrics by what they are about, so that each is named."""
    metrics = {_METRIC.validate_python(one).label: one for one in result["metrics"]}
    return {**result, "metrics": metrics}


def _differences(claimed: Any, found: Any, path: str) -> Iterator[str]:
    """Yield where two JSON values differ; floats may differ by rounding."""
    if isinstance(claimed, dict) and isinstance(found, dict):
        for name in sorted(claimed.keys() | found.keys()):
            yield from _differences(claimed.get(name, _ABSENT), found.get(name, _ABSENT), f"{path}.{name}")
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        for place, (one, other) in enumerate(zip(claimed, found, strict=True)):
            yield from _differences(one, other, f"{path}.{place}")
    elif not _same(claimed, found):
        yield f"{one_line(path, _LONGEST_VALUE)} is {_said(claimed)}, and should be {_said(found)}"


def _same(claimed: Any, found: Any) -> bool:
    if type(claimed) is float and type(found) in {int, float}:
        return math.isclose(claimed, found, rel_tol=_ROUNDING, abs_tol=1e-12)
    return type(claimed) is type(found) and bool(claimed == found)


def _said(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    text = json.dumps(value) if not isinstance(value, float) else f"{value:.10g}"
    return one_line(text, _LONGEST_VALUE)
