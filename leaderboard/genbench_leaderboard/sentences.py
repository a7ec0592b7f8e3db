"""The words around a table: what was counted, what all rows share, what failed, where numbers come from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from genbench.digest import canonical_json
from genbench.escaping import LONGEST_LABEL, one_line
from genbench_leaderboard.crossed import SEEDS_FOR_INTERVAL
from genbench_leaderboard.rows import Board, Environment, Failure, Group, Provenance, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT
from genbench_leaderboard.titles import row_title, with_augmentation
from genbench_leaderboard.wording import capital, failures_counted

MIXED, LIMITED, EXTERNAL = "†", "‡", "§"

FINDINGS_LEGEND = "over all rows of one dataset, or of several, together. Exploratory."
_SHOWN_NAMES = 3  # of rows that failed alike


def count(number: int, one: str, many: str) -> str:
    """Write a number with its noun."""
    return f"{number} {one if number == 1 else many}"


_UNVERIFIED = "Nobody verified these records: every row is as its author reported it."


def summary(board: Board, *, is_own: bool = True) -> str:
    """Say in one line what was counted; of records of others that nobody verified, that, too."""
    parts = [count(board.cells, "cell measured", "cells measured")]
    failed = failures_counted(*(group.failures for group in board.groups), board.failures)
    parts += [f"{failed} failed"] if failed else []
    unverified = not (board.verified or is_own)
    return ", ".join(parts) + "." + (f" {_UNVERIFIED}" if unverified else "")


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


class Shared(NamedTuple):
    """What all rows of a group have in common, which needs no column; None where they differ.

    Attributes:
        mix: `1 synthetic image per real one`; empty where there are real images alone.
        augment: `standard`.
        seeds: Planned and done.
    """

    mix: str | None
    augment: str | None
    seeds: int | None


def shared(group: Group) -> Shared:
    """Return what all rows of a group have in common."""
    titles = [row_title(row) for row in group.rows]
    mixes = {title.mix for row, title in zip(group.rows, titles, strict=True) if not row.is_baseline}
    augments = {title.augment for title in titles}
    done = {row.planned if seeds_done(row) >= row.planned else -1 for row in group.rows}
    return Shared(
        min(mixes or {""}) if len(mixes) <= 1 else None,
        min(augments) if len(augments) == 1 else None,
        min(done) if len(done) == 1 and done != {-1} else None,
    )


def seeds_done(row: Row) -> int:
    """Return how many seeds a row's numbers rest on: its pairs, where it has a baseline that was measured."""
    lacks_baseline = row.contrast is not None and row.contrast.found is None and row.top1 is not None
    return row.top1.n if lacks_baseline and row.top1 else pairs_done(row)


def pairs_done(row: Row) -> int:
    """Return how many seeds a row shares with its baseline; for the baseline itself, how many it has."""
    if row.contrast is None:
        return row.top1.n if row.top1 else 0
    return row.contrast.found.n if row.contrast.found else 0


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
    sentences = [budget, capital(", ".join(settings)), *_said_once(shared(group), planned)]
    if planned and planned[-1] < SEEDS_FOR_INTERVAL:
        sentences.append(f"{count(planned[-1], 'seed', 'seeds')}: no interval, no verdict, no rank")
    elif planned and planned[-1] < SEEDS_FOR_VERDICT:
        sentences.append(
            f"{planned[-1]} seeds: intervals, but no verdict and no rank before {SEEDS_FOR_VERDICT}"
        )
    return ". ".join(sentences) + "."


def _said_once(common: Shared, planned: Sequence[int]) -> list[str]:
    """Say of all rows what needs no column of its own."""
    parts = [with_augmentation(common.augment)] if common.augment else []
    few = bool(planned) and planned[-1] < SEEDS_FOR_VERDICT  # which has a sentence of its own
    parts += [f"{common.seeds} seeds"] if common.seeds and not few else []
    found = [capital(common.mix)] if common.mix else []
    return [*found, *([f"All rows: {', '.join(parts)}"] if parts else [])]


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
        idle = {"epochs"} if found.recipe.get("steps") else set()  # steps stand in their place
        settings = ", ".join(
            f"{name} {plain(found.recipe[name])}" for name in sorted(found.recipe.keys() - idle)
        )
        sentences.append(f"Recipe: {settings}; {count(found.tuning_trials, 'trial', 'trials')} of tuning.")
    return " ".join(sentences)


def environment(environments: Sequence[Environment]) -> str:
    """Describe the usual environment of a group."""
    if not environments:
        return ""
    usual = environments[0]
    hardware = ", ".join(
        f"{name.replace('_', ' ')} {plain(usual.hardware[name])}" for name in sorted(usual.hardware)
    )
    versions = ", ".join(f"{name} {usual.versions[name]}" for name in sorted(usual.versions))
    parts = [f"Hardware: {hardware}." if hardware else "", f"Versions: {versions}." if versions else ""]
    return " ".join(part for part in parts if part)


def plain(value: Any) -> str:
    """Write a value of an option, or of a machine, as one line."""
    if isinstance(value, Mapping | list | tuple):
        return one_line(canonical_json(value), LONGEST_LABEL)
    return "nothing" if value is None else str(value)
