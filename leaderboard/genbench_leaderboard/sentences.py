"""The words around a table: what was run, what the columns mean, and what a reader must know about a row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genbench.digest import canonical_json, differences
from genbench.escaping import LONGEST_LABEL, one_line
from genbench.roles import CEILING, CONTROLS
from genbench_leaderboard.crossed import ALPHA, POWER, SEEDS_FOR_INTERVAL, Comparison
from genbench_leaderboard.rows import Board, Contrast, Environment, Failure, Group, Provenance, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Verdict

MIXED, LIMITED, EXTERNAL = "†", "‡", "§"

DISTANCES_LEGEND = (
    "Means over seeds of the distance to train and to val; floor is the distance between real images and val "
    "at equal n. The extractor reference is this board's own network, so its distances are not comparable "
    "with published ones. Nothing is ranked by a distance."
)
CLASSES_LEGEND = (
    "Difference of each class's recall on test to none, in points, paired by seed; ±: half a 95 % t "
    "interval over seeds, for these test images, unadjusted; *: p < 0.05, Holm-adjusted over the classes of "
    "the row. Exploratory: no verdict "
    "rests on it."
)
SHIFTS_LEGEND = (
    "Top-1 on out-of-distribution test sets, in %, mean over seeds; in brackets, the difference to none in "
    "points, paired by seed and image; ±: half a 95 % interval for new seeds and images, unadjusted. "
    "Exploratory."
)
BOOKS_LEGEND = (
    "Images in the training set, and how many entered gradient steps, mean over seeds. each: how often a "
    "real image was seen. Where every row takes the same steps, synthetic images take the place of real ones."
)
CHECKED_LEGEND = (
    "checked: reported: as its author says. recomputed: the numbers follow from the predictions, with labels "
    "that the verifier loaded, and agree with plan and steps; whoever made up predictions is not found out. "
    "reproduced: recomputed, and so many of its cells were run again with the same result. Cost, date and "
    "hardware are reported, whatever the level. No row is checked further than what it is held against."
)
MEASURES_LEGEND = "Means over seeds, of image sets and of cells. Exploratory: nothing is ranked by them."
FINDINGS_LEGEND = "Over all rows of a dataset together. Exploratory."
_SHOWN_NAMES = 3  # of rows that failed alike


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


def failure_lines(failures: Iterable[Failure]) -> list[str]:
    """Write failed records, those with the same cause in one line.

    A reason begins with the step that failed, which is another one for every seed.
    """
    causes: dict[str, list[Failure]] = {}
    for failure in failures:
        _, _, cause = failure.reason.partition(": ")
        causes.setdefault(cause or failure.reason, []).append(failure)
    lines = []
    for first, *others in causes.values():
        rest = f"; and {count(len(others), 'other', 'others')} alike" if others else ""
        names = list(dict.fromkeys(one.name for one in others if one.name != first.name))
        more = ", ..." if len(names) > _SHOWN_NAMES else ""
        of = f" (of {', '.join(names[:_SHOWN_NAMES])}{more})" if names else ""
        lines.append(f"{failure_line(first)}{rest}{of}")
    return lines


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


def legend(group: Group, *, verified: bool = False) -> tuple[str, ...]:
    """Say in a few short sentences what the columns mean."""
    return (*_legend(group), *([CHECKED_LEGEND] if verified else []))


def _legend(group: Group) -> tuple[str, ...]:
    free = any(row.is_baseline and row.contrast for row in group.rows)
    measured = (
        "top-1: accuracy on test, mean over n seeds; ±: half a 95 % t interval over seeds. "
        "Δ: difference in points to none with the same augmentation"
        f"{' (none itself: to none, standard)' if free else ''}, paired by seed and test image; ±: half a "
        "95 % interval for new seeds and new test images, unadjusted. cost: fit, filter, sample and train of "
        "one seed."
    )
    if not any(row.planned >= SEEDS_FOR_VERDICT for row in group.rows):
        return (measured,)
    alpha = _alpha_of(group)
    if alpha is None:
        return (measured, "reference: a line to hold others against; it has no verdict.")
    judged = (
        f"p: two-sided, from the same interval, Holm-adjusted over {_family_of(group)} (one that failed "
        f"counts as p = 1). better, worse: p < {alpha:.3g}. reference: a line to hold the others against; it "
        "has no verdict."
    )
    if group.ranked_pairs:
        pairs = count(group.ranked_pairs, "pair", "pairs")
        judged += f" rank: 1 + the number of rows significantly better by the same test (Holm over {pairs})."
    return (measured, judged)


def additions_legend(group: Group) -> str:
    """Say what the second family asks."""
    found = [one for row in group.rows for one in row.adds]
    size = max((one.family for one in found), default=0)
    return (
        "Whether generated images do more than frozen augmented copies of the real ones (classical), and "
        "more than strong augmentation without any further image (none, strong). Δ, ± and p as above; a Holm "
        f"family of its own, of {count(size, 'contrast', 'contrasts')}."
    )


def notes(group: Group) -> tuple[str, ...]:
    """Return the footnotes: marks first, then what was planned, then what verdicts leave open."""
    found = [*_mark_notes(group), *_plan_notes(group), *_verdict_notes(group), *_warnings(group)]
    found += _per_row("points gained per extra minute", group.rows, _gain)
    found += _per_row("synthetic images that are test images, pixel for pixel", group.rows, _copies)
    found += _per_row(
        "test images with near copies among the synthetic ones, and Δ without them", group.rows, _clean
    )
    found += _range("correlation between paired seeds", [one.correlation for one in _found(group)])
    peaks = [
        row.cost.peak_memory_bytes / 2**30 for row in group.rows if row.cost and row.cost.peak_memory_bytes
    ]
    found += _range("peak memory in GiB", peaks)
    return tuple(found)


def provenance(found: Provenance) -> str:
    """Say where the records of a group come from."""
    parts = [f"Protocol {found.protocol}"]
    parts += [f"measured {' to '.join(found.created)}"] if found.created else []
    parts += [f"commit {', '.join(found.commits)}"] if found.commits else []
    parts.append(f"third-party code: {', '.join(found.plugins)}" if found.plugins else "built-in code alone")
    sentences = ["; ".join(parts) + "."]
    for data in found.data:
        reserve = f", {data.reserve:,} reserve" if data.reserve else ""
        left_out = f"; {count(data.left_out, 'file', 'files')} left out as unusable" if data.left_out else ""
        digits = f" (fingerprint {data.fingerprint[:12]})" if data.fingerprint else ""
        sentences.append(
            f"Images: {data.train:,} train, {data.val:,} val, {data.test:,} test{reserve}{left_out}{digits}."
        )
    if found.recipe:
        settings = ", ".join(f"{name} {_plain(found.recipe[name])}" for name in sorted(found.recipe))
        sentences.append(f"Recipe: {settings}; {count(found.tuning_trials, 'trial', 'trials')} of tuning.")
    return " ".join(sentences)


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
    if any(row.cost is not None and row.cost.seconds is None for row in group.rows):
        found.append("cost unknown: the images were there already, and nobody said what making them took.")
    return found


def _plan_notes(group: Group) -> list[str]:
    """Say what was settled before test was read, and what was not."""
    declared = group.declared
    if declared is None:
        judged = any(row.planned >= SEEDS_FOR_VERDICT for row in group.rows)
        undeclared = "these records declare no family of contrasts: p is adjusted over the rows of this table"
        return [f"{undeclared}."] if judged else []
    found = []
    if declared.choosing_seeds:
        first = count(declared.choosing_seeds, "seed", "seeds")
        found.append(
            f"the first {first} chose a configuration of each generator on val, and confirm nothing: top-1, "
            "Δ and p are of the other seeds."
        )
    alpha = _alpha_of(group) or ALPHA
    if declared.looks:
        looks = [*declared.looks, declared.seeds]
        found.append(
            f"look {looks.index(declared.look) + 1} of {len(looks)} that were planned, after {declared.look} "
            f"of {declared.seeds} seeds: its families are held to {alpha:.3g}, all looks together to "
            f"{ALPHA:g}."
        )
    if group.unplanned_looks:
        found.append(
            f"test was read before, after {_listed(group.unplanned_looks)} seeds, which this suite had not "
            f"planned: its families are held to {alpha:.3g} instead."
        )
    return found


def _verdict_notes(group: Group) -> list[str]:
    what = (
        f"cannot tell: effect in points that {POWER:.0%} power finds (in brackets: safe against a variance "
    )
    what = f"{what}estimated too small)".replace("%", " %")
    found = _per_row(what, group.rows, _detectable)
    blind = _with_verdict(group, "cannot tell", _no_images)
    if blind:
        found.append(f"no results per test image, so no test: {blind}.")
    flat = _with_verdict(group, "cannot tell", lambda row: _is_flat(row) and not _no_images(row))
    if flat:
        found.append(f"no spread between seeds or images, so no test: {flat}.")
    explored = _with_verdict(group, "exploratory", lambda row: not row.is_baseline)
    if explored and group.budget_scale == 1:
        found.append(f"exploratory, since val chose another configuration of the generator: {explored}.")
    elif explored:
        found.append(f"exploratory, as the whole larger budget is: {explored}.")
    if _with_verdict(group, "exploratory", lambda row: row.mix == "off"):
        found.append("none, off is diagnostic only, never a contender.")
    found += _per_row("void", group.rows, lambda row: row.contrast.void or None if row.contrast else None)
    found += _per_row(
        "not comparable", group.rows, lambda row: row.contrast.problem or None if row.contrast else None
    )
    few = _with_verdict(group, "incomplete", lambda row: True)
    if few:
        found.append(f"incomplete, so no verdict: {few}.")
    return found


def _warnings(group: Group) -> list[str]:
    """Say what should make a reader careful: controls that win, seeds that fell out, no room to gain."""
    found = []
    winners = [row.name for row in group.rows if _is_winning_control(row)]
    if winners:
        found.append(
            f"warning: better than none without any generated image: {'; '.join(winners)}. Hold the gains of "
            "the others against it."
        )
    found += _per_row("warning: synthetic images of one colour", group.rows, _blank)
    found += _per_row("warning: synthetic images that are there more than once", group.rows, _duplicates)
    for name in group.hopeless:
        found.append(
            f"no room: {name} is so good that not even a network without a mistake could be better here."
        )
    perfect = [row.name for row in group.rows if row.top1 and row.top1.mean == 100 and row.top1.n > 1]
    if perfect:
        found.append(f"every test image right in every seed, which says little: {'; '.join(perfect)}.")
    for row in group.rows:
        found += [f"contradicted: {row.name}: {line}." for line in row.contradictions]
    apart = [
        f"seed {one.index} of {row.name} ({one.top1:.2f} %, median {one.median:.2f} %)"
        for row in group.rows
        for one in row.outliers
    ]
    if apart:
        found.append(
            f"warning: seeds that stand apart: {'; '.join(apart)}. Where one seed in ten collapses, any such "
            "test errs more often than it says."
        )
    return found


def _is_winning_control(row: Row) -> bool:
    found = row.contrast.found if row.contrast and row.role == "control" else None
    wins = found is not None and found.interval is not None and found.interval.low > 0
    return wins and row.generator.partition(":")[0] != CEILING


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
    return row.contrast.found.n if row.contrast.found else 0


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


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _alpha_of(group: Group) -> float | None:
    """Return the level of the group's families; None where no contrast has a verdict."""
    return next((one.alpha for one in _contrasts(group) if one.family), None)


def _contrasts(group: Group) -> list[Contrast]:
    return [row.contrast for row in group.rows if row.contrast is not None]


def _found(group: Group) -> list[Comparison]:
    return [one.found for one in _contrasts(group) if one.found is not None]


def _family_of(group: Group) -> str:
    size = max((one.family for one in _contrasts(group)), default=0)
    contrasts = count(size, "contrast", "contrasts")
    if group.declared is None:
        return f"the {contrasts} of this table"
    if size > group.declared.helps:
        return f"the {contrasts} that an earlier suite declared of these cells"
    return f"the {contrasts} that the suite {group.declared.suite} declared"


def _detectable(row: Row) -> str | None:
    contrast = row.contrast
    if contrast is None or not contrast.detectable_points:
        return None
    guarded = f" ({contrast.guarded_points:.2f})" if contrast.guarded_points else ""
    return f"{contrast.detectable_points:.2f}{guarded}"


def _gain(row: Row) -> str | None:
    gain = row.contrast.points_per_minute if row.contrast else None
    return None if gain is None else f"{gain:,.0f}" if abs(gain) >= 100 else f"{gain:.3g}"


def _copies(row: Row) -> str | None:
    return str(row.test_copies) if row.test_copies else None


def _clean(row: Row) -> str | None:
    contrast = row.contrast
    if contrast is None or not contrast.copied_images:
        return None
    rest = contrast.without_copies
    return f"{contrast.copied_images}, {f'{rest.mean:+.2f}' if rest else 'nothing left'}"


def _blank(row: Row) -> str | None:
    return str(row.blank) if row.blank else None


def _duplicates(row: Row) -> str | None:
    is_meant = row.generator.partition(":")[0] in CONTROLS
    return str(row.duplicates) if row.duplicates and not is_meant else None


def _no_images(row: Row) -> bool:
    found = row.contrast.found if row.contrast else None
    return found is not None and not found.images


def _is_flat(row: Row) -> bool:
    found = row.contrast.found if row.contrast else None
    return found is not None and not found.standard_error


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return one_line(canonical_json(value), LONGEST_LABEL)
    return "nothing" if value is None else str(value)
