"""The words around a table: what was run, what the columns mean, and what a reader must know about a row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genbench.digest import canonical_json, differences
from genbench.escaping import LONGEST_LABEL, one_line
from genbench_leaderboard.rows import Board, Environment, Failure, Group, Row
from genbench_leaderboard.statistics import ALPHA, POWER, SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT, Verdict

MIXED, LIMITED, EXTERNAL = "†", "‡", "§"

DISTANCES_LEGEND = (
    "Means over seeds of the distance to train and to val; floor is the distance between real images and val "
    "at equal n. The extractor reference is this board's own network, so its distances are not comparable "
    "with published ones. Nothing is ranked by a distance."
)
CLASSES_LEGEND = (
    "Difference of each class's recall on test to none, in points, paired by seed; ±: half a 95 % t "
    "interval, unadjusted; *: p < 0.05, Holm-adjusted over the classes of the row. Exploratory: no verdict "
    "rests on it."
)
SHIFTS_LEGEND = (
    "Top-1 on out-of-distribution test sets, in %, mean over seeds; in brackets, the difference to none in "
    "points, paired by seed; ±: half a 95 % t interval, unadjusted. Exploratory."
)
MEASURES_LEGEND = "Means over seeds, of image sets and of cells. Exploratory: nothing is ranked by them."
FINDINGS_LEGEND = "Over all rows of a dataset together. Exploratory."


def count(number: int, one: str, many: str) -> str:
    """Write a number with its noun."""
    return f"{number} {one if number == 1 else many}"


def summary(board: Board) -> str:
    """Say in one line what was counted."""
    failures = [one for group in board.groups for one in group.failures] + list(board.failures)
    parts = [count(board.cells, "cell measured", "cells measured")]
    failed = len({(one.name, one.index) for one in failures})
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts) + "."


def failure_line(failure: Failure) -> str:
    """Write a failed record in one line."""
    log = f" (log: {failure.log})" if failure.log else ""
    return f"failed: {failure.name}, seed {failure.index}: {failure.reason}{log}"


def intro(group: Group) -> str:
    """Say what all rows share, and what so few seeds cannot say."""
    planned = sorted({row.planned for row in group.rows})
    settings = [f"Preset {group.protocol.preset}"] if group.protocol.preset else []
    settings.append(f"base seed {group.protocol.base_seed}")
    if group.budget == "steps":
        budget = "Every row takes the same optimizer steps"
        budget += f", {group.budget_scale:g} times the usual number" if group.budget_scale != 1 else ""
    else:
        budget = "Every row takes the same epochs, a replay: rows with more images take more steps"
    sentences = [budget, ", ".join(settings)]
    if planned and planned[-1] < SEEDS_FOR_INTERVAL:
        sentences.append(f"{count(planned[-1], 'seed', 'seeds')}: no interval, no verdict, no rank")
    elif planned and planned[-1] < SEEDS_FOR_VERDICT:
        sentences.append(
            f"{planned[-1]} seeds: intervals, but no verdict and no rank before {SEEDS_FOR_VERDICT}"
        )
    return ". ".join(sentences) + "."


def legend(group: Group, board: Board) -> tuple[str, ...]:
    """Say in a few short sentences what the columns mean."""
    free = any(row.is_baseline and row.contrast for row in group.rows)
    measured = (
        "top-1: accuracy on test, mean over n seeds. "
        "Δ: difference in points to none with the same augmentation"
        f"{' (none itself: to none, standard)' if free else ''}, paired by seed. "
        "±: half a 95 % t interval over seeds, unadjusted. cost: fit, filter, sample and train of one seed."
    )
    if not any(row.planned >= SEEDS_FOR_VERDICT for row in group.rows):
        return (measured,)
    judged = (
        f"p: two-sided paired t-test of the primary metric, {board.primary_metric}, Holm-adjusted over the "
        f"{count(board.family_size, 'confirmatory contrast', 'confirmatory contrasts')} of this board (a "
        f"failed one counts as p = 1). better, worse: p < {ALPHA:g} "
        "and the bootstrap over test images excludes 0."
    )
    if group.ranked_pairs:
        pairs = count(group.ranked_pairs, "pair", "pairs")
        judged += f" rank: 1 + the number of rows significantly better (Holm over {pairs})."
    return (measured, judged)


def notes(group: Group) -> tuple[str, ...]:
    """Return the footnotes: marks first, then what verdicts leave open."""
    found = [*_mark_notes(group), *_verdict_notes(group)]
    found += _per_row("points gained per extra minute", group.rows, _gain)
    found += _per_row("synthetic images that are test images, pixel for pixel", group.rows, _copies)
    found += _per_row(
        "test images with near copies among the synthetic ones, and Δ without them", group.rows, _clean
    )
    tests = [row.contrast.test for row in group.rows if row.contrast and row.contrast.test]
    found += _range("correlation within pairs", [test.correlation for test in tests])
    peaks = [
        row.cost.peak_memory_bytes / 2**30 for row in group.rows if row.cost and row.cost.peak_memory_bytes
    ]
    found += _range("peak memory in GiB", peaks)
    return tuple(found)


def environment(environments: Sequence[Environment]) -> str:
    """Describe the usual environment of a group."""
    if not environments:
        return ""
    usual = environments[0]
    hardware = ", ".join(
        f"{name.replace('_', ' ')} {_plain(usual.hardware[name])}" for name in sorted(usual.hardware)
    )
    versions = ", ".join(f"{name} {usual.versions[name]}" for name in sorted(usual.versions))
    parts = [f"Hardware: {hardware}." if hardware else "", f"Versions: {versions}." if versions else ""]
    return " ".join(part for part in parts if part)


def _mark_notes(group: Group) -> list[str]:
    found = []
    if any(row.mixed_environment for row in group.rows):
        usual, *others = group.environments
        left = {"hardware": dict(usual.hardware), "versions": dict(usual.versions)}
        changed: dict[str, None] = {}
        for other in others:
            right = {"hardware": dict(other.hardware), "versions": dict(other.versions)}
            for path, was, is_now in differences(left, right):
                changed[f"{path.partition('.')[2]} {_plain(is_now)} instead of {_plain(was)}"] = None
        found.append(
            f"{MIXED} mixed environments: {sum(other.records for other in others)} of "
            f"{sum(one.records for one in group.environments)} cells come from {'; '.join(changed)}."
        )
    for limit in sorted({row.budget_limited for row in group.rows if row.budget_limited}):
        found.append(
            f"{LIMITED} budget-limited: at {limit.scale:g} times the budget, val top-1 of none rises by "
            f"{limit.val_rise:.2f} points, so part of the difference may be too short a training."
        )
    if any(row.external_data for row in group.rows):
        data = sorted({one for row in group.rows for one in row.external_data})
        found.append(f"{EXTERNAL} external data, ranked apart: {', '.join(data)}.")
    return found


def _verdict_notes(group: Group) -> list[str]:
    what = f"cannot tell: smallest effect detectable with {POWER:.0%} power (points)".replace("%", " %")
    found = _per_row(what, group.rows, _detectable)
    flat = _with_verdict(group, "cannot tell", lambda row: _detectable(row) is None and not _no_images(row))
    if flat:
        found.append(f"no spread between seeds, so no test: {flat}.")
    blind = _with_verdict(group, "cannot tell", _no_images)
    if blind:
        found.append(f"no per-image results, so no bootstrap over test images: {blind}.")
    split = _with_verdict(group, "cannot tell", _seeds_alone)
    if split:
        found.append(f"significant over seeds, but the bootstrap over test images includes 0: {split}.")
    explored = _with_verdict(group, "exploratory", lambda row: row.mix != "off")
    if explored:
        found.append(
            f"exploratory, since val top-1 chose another configuration of the generator: {explored}."
        )
    if _with_verdict(group, "exploratory", lambda row: row.mix == "off"):
        found.append("none, off is diagnostic only, never a contender.")
    void = _with_verdict(group, "void", lambda row: True)
    if void:
        found.append(f"void, since the verdict changes without the copied test images: {void}.")
    few = _with_verdict(group, "incomplete", lambda row: True)
    if few:
        found.append(f"incomplete, so no verdict: {few}.")
    return found


def _with_verdict(group: Group, verdict: Verdict, also: Callable[[Row], bool]) -> str:
    names = [
        f"{row.name} ({pairs_done(row)} of {row.planned} seeds)" if verdict == "incomplete" else row.name
        for row in group.rows
        if row.contrast and row.contrast.verdict == verdict and also(row)
    ]
    return "; ".join(names)


def pairs_done(row: Row) -> int:
    """Return how many seeds a row's numbers rest on: its pairs where it has a baseline."""
    if row.contrast is None:
        return row.top1.n if row.top1 else 0
    return row.contrast.test.difference.n if row.contrast.test else 0


def _per_row(what: str, rows: Iterable[Row], value: Callable[[Row], str | None]) -> list[str]:
    found = [(row.name, value(row)) for row in rows]
    cells = "; ".join(f"{text} ({name})" for name, text in found if text is not None)
    return [f"{what}: {cells}."] if cells else []


def _range(what: str, values: Iterable[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    if not known:
        return []
    low, high = f"{min(known):.2f}", f"{max(known):.2f}"
    return [f"{what}: {low if low == high else f'{low} to {high}'}."]


def _detectable(row: Row) -> str | None:
    points = row.contrast.minimum_detectable_points if row.contrast else None
    return None if points is None else f"{points:.2f}"


def _gain(row: Row) -> str | None:
    gain = row.contrast.points_per_minute if row.contrast else None
    return None if gain is None else f"{gain:.3g}"


def _copies(row: Row) -> str | None:
    return str(row.test_copies) if row.test_copies else None


def _clean(row: Row) -> str | None:
    contrast = row.contrast
    if contrast is None or not contrast.copied_images:
        return None
    test = contrast.without_copies
    return f"{contrast.copied_images}, {f'{test.difference.mean:+.2f}' if test else 'nothing left'}"


def _no_images(row: Row) -> bool:
    return row.contrast is not None and row.contrast.images is None


def _seeds_alone(row: Row) -> bool:
    contrast = row.contrast
    if contrast is None or contrast.adjusted_p is None or contrast.images is None:
        return False
    return contrast.adjusted_p < ALPHA and not contrast.images.excludes_zero


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return one_line(canonical_json(value), LONGEST_LABEL)
    return "nothing" if value is None else str(value)
