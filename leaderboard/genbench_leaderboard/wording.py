"""How sentences about rows put numbers and names: differences, accuracies, lists. Plain text."""

from collections.abc import Iterable, Sequence

from genbench_leaderboard.crossed import POWER, Comparison
from genbench_leaderboard.rows import Contrast, Cost, Failure, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Estimate

_SMALL = 0.2  #: points: what is smaller is written with two decimals
_BRIEF = 1.0  #: seconds: of two costs below it, what a process does besides is most
_MOST_SPREAD = (
    2.0  #: times: costs whose quartiles are further apart say little of what another seed will cost
)


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Write a list: `a, b and c`.

    >>> listed(["a", "b", "c"]), listed(["a"], "or")
    ('a, b and c', 'a')
    """
    *first, end = parts or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def named(names: Sequence[str], most: int = 3) -> str:
    """Write the first names, and how many more there are.

    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 others'
    """
    rest = len(names) - most
    others = [f"{rest} {'other' if rest == 1 else 'others'}"] if rest > 0 else []
    return listed([*names[:most], *others])


def capital(text: str) -> str:
    """Begin a sentence, whatever else is upper case in it."""
    return text[:1].upper() + text[1:]


def short(points: float) -> str:
    """Write points with one decimal, small ones with two.

    >>> short(0.94), short(0.04), short(-0.0001)
    ('0.9', '0.04', '0.00')
    """
    text = f"{points:.2f}" if abs(points) < _SMALL else f"{points:.1f}"
    return text.lstrip("-") if not float(text) else text


def points(found: Comparison | None) -> str:
    """Write a difference with half its interval: `-0.3 ± 0.5 points`.

    >>> points(Comparison(-0.31, 2, 100)), points(None)
    ('-0.3 points', 'no difference known')
    """
    if found is None:
        return "no difference known"
    half = found.half_width
    decimals = 2 if (abs(found.mean) if half is None else half) < _SMALL else 1
    mean = f"{found.mean + 0.0:+.{decimals}f}"
    mean = mean.lstrip("+-") if not float(mean) else mean
    return f"{mean} points" if half is None else f"{mean} ± {half:.{decimals}f} points"


def accuracy(top1: Estimate) -> str:
    """Write an accuracy: `80.2 % (± 0.5, 3 seeds)`."""
    seeds = f"{top1.n} {'seed' if top1.n == 1 else 'seeds'}"
    half = top1.half_width
    return f"{top1.mean:.1f} % ({seeds})" if half is None else f"{top1.mean:.1f} % (± {half:.1f}, {seeds})"


def times_the_cost(row: Row, base: Row | None, called: str = "the baseline's cost") -> str:
    """Say how many times the baseline's cost a row took; nothing where the two cannot be compared.

    Where a table has several baselines, `called` names the cost of this one.

    They cannot where a cost was not recorded, across devices and environments, where both are below a second,
    and where the upper quartile of either row's seeds is more than twice the lower one.
    """
    if row.is_baseline or base is None or row.cost is None or base.cost is None:
        return ""
    if row.cost.seconds is None:
        return " at unknown cost"
    same = len(row.cost.devices) <= 1 and row.cost.devices == base.cost.devices
    if not same or row.mixed_environment or base.mixed_environment or not base.cost.seconds:
        return ""
    is_brief = max(row.cost.seconds, base.cost.seconds) < _BRIEF
    if is_brief or _is_spread(row.cost) or _is_spread(base.cost):
        return ""
    times = row.cost.seconds / base.cost.seconds
    if 0.8 < times < 1.25:
        return f" at about {called}"
    return f" at {f'{times:,.0f}' if times >= 10 else f'{times:.1f}'} times {called}"


def _is_spread(cost: Cost) -> bool:
    low, high = cost.quartiles or (0.0, 0.0)
    return high > _MOST_SPREAD * low


def excludes_zero(found: Comparison | None) -> bool:
    """Say whether the unadjusted interval of a difference excludes zero."""
    interval = found.interval if found else None
    return interval is not None and not interval.low <= 0 <= interval.high


def why_no_verdict(row: Row) -> str:
    """Say why a row that was to be judged has no verdict."""
    contrast = row.contrast
    if contrast is None:
        return "no baseline"
    if contrast.void or contrast.problem:
        return contrast.void or contrast.problem
    if contrast.verdict == "too few seeds":
        return f"{row.planned} of {SEEDS_FOR_VERDICT} seeds"
    if contrast.verdict == "incomplete":
        return f"{_pairs(contrast)} of {row.planned} seeds"
    return contrast.verdict


def _pairs(contrast: Contrast) -> int:
    return contrast.found.n if contrast.found else 0


def failures_counted(*failures: Iterable[Failure]) -> int:
    """Count runs that failed: cells, whatever evaluators failed on them, of each group on its own."""
    return sum(len({(one.name, one.index) for one in some}) for some in failures)


def failed_runs(*failures: Iterable[Failure]) -> str:
    """Say how many runs failed, of each group: `2 runs failed`; empty where none did."""
    count = failures_counted(*failures)
    return "" if not count else "1 run failed" if count == 1 else f"{count} runs failed"


def is_sound(row: Row) -> bool:
    """Say whether a row's difference may be given as a number: it is not void, and no seed is missing."""
    contrast = row.contrast
    found = contrast.found if contrast else None
    if contrast is None or found is None or contrast.void or contrast.problem:
        return False
    return contrast.verdict != "void" and found.n >= row.planned


def unbeaten_by(row: Row) -> list[Contrast]:
    """Return what is simpler, and what a row was not shown to do more than."""
    return [one for one in row.adds if one.verdict != "better"]


def power_sentence(known: Sequence[float], begin: str = "An") -> str:
    """Say how small an effect would have been found, of the effects of some rows, in points."""
    share = f"{POWER:.0%}".replace("%", " %")
    least, most = short(min(known)), short(max(known))
    size = most if least == most else f"{least} to {most}"
    by_row = ", depending on the row," if least != most else ""
    return f"{begin} effect of {size} points{by_row} would have been found with {share} power."
