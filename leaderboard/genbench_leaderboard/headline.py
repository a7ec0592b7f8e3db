"""A board in a sentence or two, in words that its numbers support: pure functions of `Board` and `Group`.

*Helped* and *hurt* stand for the verdicts *better* and *worse*, and for nothing else. A reference line is
said to help only where its p, times the number of reference lines of the table, is below alpha. Where there
is no verdict, the sentence says why, and gives differences as what they are: estimates.
Plain text, in one line, not yet escaped for Markdown, HTML or LaTeX.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from genbench.escaping import one_line
from genbench.roles import CEILING
from genbench_leaderboard.crossed import ALPHA, POWER, SEEDS_FOR_INTERVAL, Comparison
from genbench_leaderboard.rows import Board, Contrast, Group, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Verdict
from genbench_leaderboard.titles import (
    classifier_of,
    dataset_of,
    group_titles,
    short_titles,
    training_images,
)
from genbench_leaderboard.wording import (
    accuracy,
    capital,
    excludes_zero,
    listed,
    named,
    points,
    short,
    times_the_cost,
    why_no_verdict,
)

_NAMED = 3  #: rows that a sentence names; the others it counts
JUDGED: tuple[Verdict, ...] = ("better", "worse", "cannot tell")
NOTHING_MEASURED = "Nothing was measured yet."


def headline(board: Board) -> str:
    """Say in one or two sentences what a whole board found.

    Of a board with a single group that was measured, or has verdicts, it is that group's headline.
    """
    measured = [group for group in board.groups if any(row.top1 for row in group.rows)]
    if not board.groups:
        return NOTHING_MEASURED
    if len(board.groups) == 1 or len(measured) == 1:
        return group_headline((measured or board.groups)[0])
    if not measured:
        return NOTHING_MEASURED
    judged = [
        (group, title, row)
        for group, title in zip(board.groups, group_titles(board), strict=True)
        for row in group.rows
        if is_judged(row)
    ]
    if not judged:
        return (
            f"None of the {len(measured)} comparisons on this board has a verdict yet: that takes "
            f"{SEEDS_FOR_VERDICT} seeds, real images alone, and something to hold against them."
        )
    if all(group is judged[0][0] for group, _, _ in judged):
        return group_headline(judged[0][0])
    return one_line(" ".join([_counted(judged), *_largest_gain(judged)]))


def group_headline(group: Group) -> str:
    """Say in one or two sentences what a group found: what helped, what hurt, at which cost, how surely."""
    said = _Said(group)
    return one_line(" ".join(part for part in (said.finding(), *said.cautions()) if part))


def winning_lines(group: Group) -> list[Row]:
    """Return the reference lines without generated images that gain, adjusted over all such lines."""
    lines = [
        row
        for row in group.rows
        if row.role == "control" and _found(row) and row.generator_component.use != CEILING
    ]
    return [row for row in lines if _gains(row, len(lines))]


def is_judged(row: Row) -> bool:
    """Say whether a row has a verdict: better, worse, or cannot tell."""
    return row.contrast is not None and row.contrast.verdict in JUDGED


# ----------------------------------------------------------------------------------------------- one group


@dataclass(frozen=True)
class _Said:
    """What is said of a group."""

    group: Group

    @cached_property
    def titles(self) -> Mapping[str, str]:
        return short_titles(self.group)

    @cached_property
    def asked(self) -> list[Row]:
        """The rows that the group is about, but for configurations that val did not choose."""
        rows = [row for row in self.group.rows if row.role == "contender"]
        return [row for row in rows if row.contrast is None or row.contrast.role == "contender"]

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        return {row.name: row for row in self.group.rows}

    @property
    def is_measured(self) -> bool:
        return any(row.top1 for row in self.group.rows)

    @property
    def failed(self) -> str:
        count = len({(one.name, one.index) for one in self.group.failures})
        return "" if not count else "1 run failed" if count == 1 else f"{count} runs failed"

    @property
    def setting(self) -> str:
        """Where it was found: `On 5,000 CIFAR-10 images with the small CNN`."""
        group, images = self.group, training_images(self.group)
        count = f"{images:,} " if images else ""
        found = f"On {count}{dataset_of(group).phrase} with {classifier_of(group).phrase}"
        found += f", at {group.budget_scale:g} times the usual steps" if group.budget_scale != 1 else ""
        return found + (", at equal epochs" if group.budget != "steps" else "")

    def finding(self) -> str:
        """Return the first sentence."""
        if not self.is_measured:
            return f"{self.setting}, nothing was measured: {self.failed or 'there are no results'}."
        if not self.asked:
            return self._nothing_asked()
        return self._judged() if any(map(is_judged, self.asked)) else self._unjudged()

    def cautions(self) -> Iterator[str]:
        """Yield the sentences after it."""
        if not self.is_measured:
            return
        yield from self._more_than_simpler()
        yield self._power()
        yield self._ceiling()
        yield from self._doubts()
        missing = [row for row in self.asked if not is_judged(row)]
        if missing and len(missing) < len(self.asked):
            yield f"No verdict on {self._reasons(missing)}."
        if self.failed:
            yield f"{self.failed}."

    # ------------------------------------------------------------------------------- without a verdict

    def _nothing_asked(self) -> str:
        """Say what was measured where nothing was asked: a baseline alone, or reference lines."""
        held = [row for row in self.group.rows if row.contrast and row.contrast.found]
        if held:
            explored = self.group.budget_scale != 1
            what = (
                "this is exploratory and has no verdict"
                if explored
                else ("only reference lines were measured, which have no verdict")
            )
            return f"{self.setting}, {what}: {self._differences(held)}."
        row = next(row for row in self.group.rows if row.top1)
        assert row.top1 is not None
        images = "real images alone" if row.is_baseline else self.titles[row.name]
        lacks = "nothing is compared with them here" if row.is_baseline else "there is no baseline"
        return f"{self.setting}, {images} reach {accuracy(row.top1)}; {lacks}."

    def _unjudged(self) -> str:
        """Say why no row has a verdict, and what was seen so far where there are intervals."""
        few = [row for row in self.asked if row.contrast and row.contrast.verdict == "too few seeds"]
        if len(few) < len(self.asked):
            return f"{self.setting}, there is no verdict: {self._reasons(self.asked)}."
        seeds = max(row.planned for row in few)
        have = "1 seed allows" if seeds == 1 else f"{seeds} seeds allow"
        if seeds < SEEDS_FOR_INTERVAL:
            return f"{self.setting}, {have} no statement: a verdict takes {SEEDS_FOR_VERDICT}."
        so_far = self._differences(few)
        return f"{self.setting}, {have} no verdict, which takes {SEEDS_FOR_VERDICT}; so far, {so_far}."

    def _differences(self, rows: Sequence[Row]) -> str:
        """List rows with their differences, the largest first."""
        known = sorted((row for row in rows if _found(row)), key=lambda row: -abs(_mean(row)))
        parts = [f"{self.titles[row.name]} {points(_found(row))}" for row in known[:_NAMED]]
        against = "real images alone" if any(not row.is_baseline for row in known) else "the baseline"
        return (
            f"{_with_rest(parts, known)}, each against {against}"
            if len(known) > 1
            else (f"{_with_rest(parts, known)} against {against}")
        )

    def _reasons(self, rows: Iterable[Row]) -> str:
        """Say why rows have no verdict, those with the same reason together."""
        by_reason: dict[str, list[str]] = {}
        for row in rows:
            by_reason.setdefault(why_no_verdict(row), []).append(self.titles[row.name])
        return "; ".join(f"{named(names)} ({reason})" for reason, names in by_reason.items())

    # ---------------------------------------------------------------------------------- with a verdict

    def _judged(self) -> str:
        better, worse, open_ = (
            [row for row in self.asked if row.contrast and row.contrast.verdict == one] for one in JUDGED
        )
        parts = [self._helped(better, worse)]
        parts += [f"{self._items(worse)} hurt"] if worse else []
        parts += [f"for {self._items(open_)} the data cannot tell{_adjusted(open_)}"] if open_ else []
        return f"{self.setting}, {'; '.join(parts)}."

    def _helped(self, better: Sequence[Row], worse: Sequence[Row]) -> str:
        winners = winning_lines(self.group)
        if better:
            also = f", and so did {self._items(winners)} without any generated image" if winners else ""
            return f"{self._items(better)} helped{also}"
        if winners:
            return f"nothing was shown to help but {self._items(winners)}, without any generated image"
        return "nothing was shown to help" + ("" if worse else " or to hurt")

    def _items(self, rows: Sequence[Row]) -> str:
        """List rows with difference and cost: `DDPM (-0.3 ± 0.5 points at 40 times the baseline's cost)`."""
        ordered = sorted(rows, key=lambda row: -_mean(row))
        return _with_rest(
            [f"{self.titles[row.name]} ({self._numbers(row)})" for row in ordered[:_NAMED]], rows
        )

    def _numbers(self, row: Row) -> str:
        base = self.rows.get(row.contrast.against) if row.contrast else None
        known = ", with external data" if row.external_data else ""
        return f"{points(_found(row))}{times_the_cost(row, base)}{known}"

    # ------------------------------------------------------------------------------------- what follows

    def _more_than_simpler(self) -> Iterator[str]:
        """Say of rows that helped whether they did more than what is simpler."""
        together: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
        for row in self.asked:
            if row.contrast and row.contrast.verdict == "better" and row.adds:
                unbeaten = [one for one in row.adds if one.verdict != "better"]
                names = tuple(self._against(one) for one in unbeaten or row.adds)
                together.setdefault((not unbeaten, names), []).append(self.titles[row.name])
        for (beaten, names), rows in together.items():
            were = "was" if len(rows) == 1 else "were"
            more = f"{were} also shown to do more than" if beaten else f"{were} not shown to do more than"
            yield f"{capital(named(rows))} {more} {listed(names, 'and' if beaten else 'or')}."

    def _against(self, contrast: Contrast) -> str:
        return self.titles.get(contrast.against, contrast.against)

    def _power(self) -> str:
        """Say how small an effect would have been found where the data cannot tell."""
        open_ = [row.contrast for row in self.asked if row.contrast and row.contrast.verdict == "cannot tell"]
        if not open_:
            return ""
        hopeless = next((one.against for one in open_ if one.against in self.group.hopeless), None)
        if hopeless is not None:
            base = self.rows.get(hopeless)
            level = f" ({base.top1.mean:.1f} %)" if base and base.top1 else ""
            return (
                f"The baseline{level} leaves no room: not even a network without a mistake could be better."
            )
        known = [one.detectable_points for one in open_ if one.detectable_points]
        if len(known) < len(open_):
            return (
                "Without spread between seeds, or results per image, nothing could be tested for some rows."
            )
        share = f"{POWER:.0%}".replace("%", " %")
        least, most = short(min(known)), short(max(known))
        size = most if least == most else f"{least} to {most}"
        by_row = ", depending on the row," if least != most else ""
        return f"An effect of {size} points{by_row} would have been found with {share} power."

    def _ceiling(self) -> str:
        """Say what real images in place of generated ones did, where something was judged."""
        rows = [row for row in self.group.rows if row.generator_component.use == CEILING]
        found = _found(rows[0]) if len(rows) == 1 and any(map(is_judged, self.asked)) else None
        is_known = found is not None and found.interval is not None
        return f"More real images instead: {points(found)}." if is_known else ""

    def _doubts(self) -> Iterator[str]:
        """Yield what should make a reader of the first sentence careful."""
        apart = [row for row in self.group.rows if row.outliers and (row in self.asked or row.is_baseline)]
        if apart:
            names = named([self.titles[row.name] for row in apart])
            yield f"Some seeds of {names} stand apart from the others, which such a test does not expect."
        limits = [row.budget_limited for row in self.asked if row.budget_limited]
        if limits:
            largest = max(limits)
            yield (
                f"The training may be too short to judge: at {largest.scale:g} times the budget, the "
                f"baseline gains {short(largest.val_rise)} points on val."
            )


def _found(row: Row) -> Comparison | None:
    return row.contrast.found if row.contrast else None


def _mean(row: Row) -> float:
    found = _found(row)
    return found.mean if found else 0.0


def _gains(row: Row, lines: int) -> bool:
    found = _found(row)
    is_tested = found is not None and found.p is not None and found.n >= max(row.planned, SEEDS_FOR_VERDICT)
    is_usable = row.contrast is not None and not row.contrast.void and not row.contrast.problem
    return bool(is_tested and is_usable and found and found.mean > 0 and (found.p or 0.0) * lines < ALPHA)


def _adjusted(rows: Sequence[Row]) -> str:
    """Explain an interval that excludes zero beside a *cannot tell*."""
    size = max((row.contrast.family for row in rows if row.contrast), default=0)
    return (
        f" once {size} contrasts are accounted for" if any(excludes_zero(_found(row)) for row in rows) else ""
    )


def _with_rest(parts: Sequence[str], rows: Sequence[Row]) -> str:
    rest = len(rows) - len(parts)
    return listed([*parts, *([f"{rest} more"] if rest > 0 else [])])


# --------------------------------------------------------------------------------------------- whole boards


def _counted(judged: Sequence[tuple[Group, str, Row]]) -> str:
    """Count the verdicts of a board: `Of 12 contenders in 3 comparisons, 1 helped, 2 hurt, and ...`."""
    verdicts = [row.contrast.verdict for _, _, row in judged if row.contrast]
    better, worse, open_ = map(verdicts.count, JUDGED)
    groups = len({title for _, title, _ in judged})
    what = f"{len(judged)} contenders with a verdict, in {groups} comparisons"
    parts = [f"{better} helped" if better else "none was shown to help" + ("" if worse else " or to hurt")]
    parts += [f"{worse} hurt"] if worse else []
    parts += [f"for {open_} the data cannot tell"] if open_ and better + worse else []
    return f"Of {what}, {listed(parts)}."


def _largest_gain(judged: Sequence[tuple[Group, str, Row]]) -> Iterator[str]:
    better = [one for one in judged if one[2].contrast and one[2].contrast.verdict == "better"]
    if better:
        group, title, row = max(better, key=lambda one: _mean(one[2]))
        yield f"The largest gain: {short_titles(group)[row.name]}, {points(_found(row))} ({title})."
