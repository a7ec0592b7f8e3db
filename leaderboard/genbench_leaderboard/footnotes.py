"""The footnotes of a table: marks, what was planned, what verdicts leave open, what should warn a reader."""

from collections.abc import Callable, Iterable, Sequence

from genbench.digest import differences
from genbench.metrics import unlike_their_labels
from genbench.roles import CONTROLS
from genbench_leaderboard.crossed import ALPHA, POWER, Comparison
from genbench_leaderboard.group_headline import winning_lines, without
from genbench_leaderboard.rows import Contrast, Group, Row
from genbench_leaderboard.sentences import count, pairs_done, plain
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Verdict
from genbench_leaderboard.titles import short_titles
from genbench_leaderboard.wording import listed, named

MIXED, LIMITED, EXTERNAL = "†", "‡", "§"


Rows = Sequence[tuple[str, Row]]  #: by their shortest titles


def notes(group: Group) -> tuple[str, ...]:
    """Return the footnotes: marks first, then what was planned, then what verdicts leave open."""
    names = short_titles(group)
    rows = [(names[row.name], row) for row in group.rows]
    found = [
        *_mark_notes(group),
        *_plan_notes(group),
        *_reading_notes(group, rows),
        *_verdict_notes(group, rows),
        *_warnings(group, rows),
    ]
    found += _per_row("points gained per extra minute", rows, _gain)
    found += _per_row("synthetic images that are test images, pixel for pixel", rows, _copies)
    found += _per_row(
        "test images with near copies among the synthetic ones, and Δ without them", rows, _clean
    )
    return tuple(found)


def asides(group: Group) -> tuple[str, ...]:
    """Return what few readers look for: correlations and memory."""
    peaks = [
        row.cost.peak_memory_bytes / 2**30 for row in group.rows if row.cost and row.cost.peak_memory_bytes
    ]
    correlations = [one.correlation for one in _found(group)]
    return (*_range("correlation between paired seeds", correlations), *_range("peak memory in GiB", peaks))


def legend(group: Group) -> tuple[str, ...]:
    """Say what is this table's own of the terms: families, their levels, and ranks that separate nobody."""
    alpha = alpha_of(group)
    if alpha is None:
        return ()
    found = [f"p: {_adjusted(group)}; better, worse: p < {alpha:.3g}."]
    added = [one for row in group.rows for one in row.adds]
    if added:
        size = count(max(one.family for one in added), "contrast", "contrasts")
        found.append(f"Whether a row does more than what is simpler is a Holm family of its own, of {size}.")
    ranks = [row.rank for row in group.rows if row.rank is not None]
    pairs = count(group.ranked_pairs, "further pair", "further pairs")
    if len(set(ranks)) > 1:
        found.append(
            f"rank: 1 + the number of rows significantly better by the same test (Holm over {pairs})."
        )
    elif len(ranks) > 1 and group.ranked_pairs:
        found.append(
            f"No ranks: none of {len(ranks)} rows is significantly better than another (Holm over {pairs})."
        )
    return tuple(found)


def _mark_notes(group: Group) -> list[str]:
    found = []
    if any(row.mixed_environment for row in group.rows):
        usual, *others = group.environments
        left = {"hardware": dict(usual.hardware), "versions": dict(usual.versions)}
        changed: dict[str, None] = {}
        for other in others:
            right = {"hardware": dict(other.hardware), "versions": dict(other.versions)}
            for path, was, is_now in differences(left, right):
                changed[f"{path.partition('.')[2]} {plain(is_now)} instead of {plain(was)}"] = None
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
    alpha = alpha_of(group) or ALPHA
    if declared.looks:
        looks = [*declared.looks, declared.seeds]
        found.append(
            f"look {looks.index(declared.look) + 1} of {len(looks)} that were planned, after {declared.look} "
            f"of {declared.seeds} seeds: its families are held to {alpha:.3g}, all looks together to "
            f"{ALPHA:g}."
        )
    if group.unplanned_looks:
        before = listed([str(look) for look in group.unplanned_looks])
        seeds = "seed" if group.unplanned_looks == (1,) else "seeds"
        found.append(
            f"test was read before, after {before} {seeds}, which this suite had not planned: "
            f"its families are held to {alpha:.3g} instead."
        )
    return found


def _reading_notes(group: Group, rows: Rows) -> list[str]:
    """Say of which rows test was known when the suite was declared: they may have been chosen by it."""
    titles = {row.name: title for title, row in rows}
    here = group.declared.suite if group.declared else ""
    read = []
    for one in group.read_before:
        all_rows = len(one.rows) == len(rows)
        which = "all rows" if all_rows else named([titles[name] for name in one.rows])
        suite = f"an earlier form of {here}" if one.suite == here else f"the suite {one.suite}"
        read.append(f"of {which}, for {suite} ({count(one.seeds, 'seed', 'seeds')})")
    if not read:
        return []
    return [
        f"test was read before this suite was declared: {'; '.join(read)}. What was chosen by it, such as "
        "the number of steps, may favour what it was chosen by."
    ]


def _verdict_notes(group: Group, rows: Rows) -> list[str]:
    what = (
        f"cannot tell: effect in points that {POWER:.0%} power finds (in brackets: safe against a variance "
    )
    what = f"{what}estimated too small)".replace("%", " %")
    found = _per_row(what, rows, _detectable)
    blind = _with_verdict(rows, "cannot tell", _no_images)
    if blind:
        found.append(f"no results per test image, so no test: {blind}.")
    flat = _with_verdict(rows, "cannot tell", lambda row: _is_flat(row) and not _no_images(row))
    if flat:
        found.append(f"no spread between seeds or images, so no test: {flat}.")
    explored = _with_verdict(rows, "exploratory", lambda row: not row.is_baseline)
    if explored and group.budget_scale == 1:
        found.append(f"exploratory, since val chose another configuration of the generator: {explored}.")
    elif explored:
        found.append(f"exploratory, as the whole larger budget is: {explored}.")
    if _with_verdict(rows, "exploratory", lambda row: row.is_baseline and row.mix == "off"):
        found.append("no augmentation at all is diagnostic only, never a contender.")
    found += _per_row("void", rows, lambda row: row.contrast.void or None if row.contrast else None)
    found += _per_row(
        "not comparable", rows, lambda row: row.contrast.problem or None if row.contrast else None
    )
    few = _with_verdict(rows, "incomplete", lambda row: True)
    if few:
        found.append(f"incomplete, so no verdict: {few}.")
    return found


def _warnings(group: Group, rows: Rows) -> list[str]:
    """Say what should make a reader careful: controls that win, seeds that fell out, no room to gain."""
    found = []
    lines = winning_lines(group)
    winners = {row.name for row in lines}
    if winners:
        names = "; ".join(name for name, row in rows if row.name in winners)
        found.append(
            f"warning: better than real images alone {without(lines)}: {names}. Hold the gains of "
            "the others against it."
        )
    found += _per_row("warning: synthetic images of one colour", rows, _blank)
    found += _per_row(
        "warning: synthetic images that repeat another one, so that there is less to learn from than their "
        "number says",
        rows,
        _duplicates,
    )
    found += _per_row(
        "warning: synthetic images in which a network trained on real ones sees their class less than half "
        "as often as in real ones",
        rows,
        _unlike_their_labels,
    )
    found += [
        f"no room: not even a network without a mistake could be better than {name} here."
        for name, row in rows
        if row.name in group.hopeless
    ]
    perfect = [name for name, row in rows if row.top1 and row.top1.mean == 100 and row.top1.n > 1]
    if perfect:
        found.append(f"every test image right in every seed, which says little: {'; '.join(perfect)}.")
    found += [f"contradicted: {name}: {line}." for name, row in rows for line in row.contradictions]
    apart = [
        f"seed {one.index} of {name} ({one.top1:.2f} %, median {one.median:.2f} %)"
        for name, row in rows
        for one in row.outliers
    ]
    if apart:
        found.append(
            f"warning: seeds that stand apart: {'; '.join(apart)}. Where one seed in ten collapses, any such "
            "test errs more often than it says."
        )
    return found


def _with_verdict(rows: Rows, verdict: Verdict, also: Callable[[Row], bool]) -> str:
    names = [
        f"{name} ({pairs_done(row)} of {row.planned} seeds)" if verdict == "incomplete" else name
        for name, row in rows
        if row.contrast and row.contrast.verdict == verdict and also(row)
    ]
    return "; ".join(names)


def _per_row(what: str, rows: Rows, value: Callable[[Row], str | None]) -> list[str]:
    found = [(name, value(row)) for name, row in rows]
    cells = "; ".join(f"{text} ({name})" for name, text in found if text is not None)
    return [f"{what}: {cells}."] if cells else []


def _range(what: str, values: Iterable[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    if not known:
        return []
    low, high = f"{min(known):.2f}", f"{max(known):.2f}"
    return [f"{what}: {low if low == high else f'{low} to {high}'}."]


def alpha_of(group: Group) -> float | None:
    """Return the level of the group's families; None where no contrast has a verdict."""
    return next((one.alpha for one in _contrasts(group) if one.family), None)


def _contrasts(group: Group) -> list[Contrast]:
    return [row.contrast for row in group.rows if row.contrast is not None]


def _found(group: Group) -> list[Comparison]:
    return [one.found for one in _contrasts(group) if one.found is not None]


def _adjusted(group: Group) -> str:
    """Say for how many contrasts p values are adjusted, and who named these."""
    size = max((one.family for one in _contrasts(group)), default=0)
    if size == 1:
        return "of one contrast, nothing to adjust for"
    contrasts = count(size, "contrast", "contrasts")
    if group.declared is None:
        return f"Holm-adjusted over the {contrasts} of this table"
    if size > group.declared.helps:
        return f"Holm-adjusted over the {contrasts} that an earlier suite declared of these cells"
    return f"Holm-adjusted over the {contrasts} that the suite {group.declared.suite} declared"


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
    return f"{row.duplicates:,} of {row.of_images:,}" if row.duplicates and not is_meant else None


def _unlike_their_labels(row: Row) -> str | None:
    """Return how often images show the class of their label, and how often real ones do, if that is rare."""
    measures = (one.value for one in row.measures if not one.by)
    found = unlike_their_labels((one.identity.name, one.identity.role, one.value) for one in measures)
    return f"{found[0]:.0f} instead of {found[1]:.0f} %" if found else None


def _no_images(row: Row) -> bool:
    found = row.contrast.found if row.contrast else None
    return found is not None and not found.images


def _is_flat(row: Row) -> bool:
    found = row.contrast.found if row.contrast else None
    return found is not None and not found.standard_error
