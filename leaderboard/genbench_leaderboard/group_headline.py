"""A group in a sentence or two, in words that its numbers support: pure functions of `Group`.

*Helped* and *hurt* stand for the verdicts *better* and *worse*, and for nothing else. A reference line is
said to help only where its p, times the number of reference lines of the table, is below the level of the
group's look at test.
Where there is no verdict, the sentence says why, and gives differences as what they are: estimates. What is
void has no number at all.
Plain text, in one line, not yet escaped for Markdown, HTML or LaTeX.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from genbench.escaping import one_line
from genbench.roles import CEILING
from genbench_leaderboard.crossed import SEEDS_FOR_INTERVAL, Comparison
from genbench_leaderboard.rows import BudgetLimit, Contrast, Group, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Verdict
from genbench_leaderboard.titles import (
    augmentation,
    classifier_of,
    dataset_of,
    short_titles,
    training_images,
    with_augmentation,
)
from genbench_leaderboard.wording import (
    accuracy,
    capital,
    excludes_zero,
    failed_runs,
    is_sound,
    listed,
    named,
    points,
    power_sentence,
    short,
    times_the_cost,
    unbeaten_by,
    why_no_verdict,
)

_NAMED = 3  #: rows that a sentence names; the others it counts
JUDGED: tuple[Verdict, ...] = ("better", "worse", "cannot tell")


def group_headline(group: Group) -> str:
    """Say in one or two sentences what a group found: what helped, what hurt, at which cost, how surely."""
    said = Said(group)
    return one_line(" ".join(part for part in (said.finding(), *said.cautions()) if part))


def winning_lines(group: Group) -> list[Row]:
    """Return the reference lines without a generative model that gain, adjusted over all such lines."""
    lines = [
        row
        for row in group.rows
        if row.role == "control" and _found(row) and row.generator_component.use != CEILING
    ]
    level = min((row.contrast.alpha for row in group.rows if row.contrast), default=0.0)
    return [row for row in lines if _gains(row, level / len(lines))]


def without(rows: Iterable[Row]) -> str:
    """Say what reference lines do without: copies of real images are synthetic images, too."""
    alone = all(row.is_baseline for row in rows)
    return "without any generated image" if alone else "without a generative model"


def is_judged(row: Row) -> bool:
    """Say whether a row has a verdict: better, worse, or cannot tell."""
    return row.contrast is not None and row.contrast.verdict in JUDGED


# ----------------------------------------------------------------------------------------------- one group


@dataclass(frozen=True)
class Said:
    """What is said of a group."""

    group: Group

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """What its rows are called, by `Row.name`."""
        return short_titles(self.group)

    @cached_property
    def asked(self) -> list[Row]:
        """The rows that the group is about, but for configurations that val did not choose."""
        rows = [row for row in self.group.rows if row.role == "contender"]
        return [row for row in rows if row.contrast is None or row.contrast.role == "contender"]

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """Its rows, by `Row.name`."""
        return {row.name: row for row in self.group.rows}

    @property
    def unjudged(self) -> list[Row]:
        """The rows that the group is about, and that have no verdict."""
        return [row for row in self.asked if not is_judged(row)]

    def with_verdict(self, verdict: Verdict) -> list[Row]:
        """Return the rows that have this verdict."""
        return [row for row in self.asked if row.contrast and row.contrast.verdict == verdict]

    @property
    def is_measured(self) -> bool:
        """Whether any row has a number."""
        return any(row.top1 for row in self.group.rows)

    @property
    def failed(self) -> str:
        """How many runs failed; empty where none did."""
        return failed_runs(self.group.failures)

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
        yield from self.more_than_simpler()
        yield from self._no_room()
        yield from self._power()
        yield self._ceiling()
        yield from self._doubts()
        if self.unjudged and len(self.unjudged) < len(self.asked):
            yield f"No verdict on {self._reasons(self.unjudged)}."
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
            return f"{self.setting}, {what}: {self._with_and_without(held)}."
        row = next(row for row in self.group.rows if row.top1)
        assert row.top1 is not None
        images = "real images alone" if row.is_baseline else self.titles[row.name]
        lacks = "nothing is compared with them here" if row.is_baseline else "there is no baseline"
        return f"{self.setting}, {images} reach {accuracy(row.top1)}; {lacks}."

    def _with_and_without(self, rows: Sequence[Row]) -> str:
        """List rows with their differences; those that are void, or lack seeds, with the reason instead."""
        sound = [row for row in rows if is_sound(row)]
        rest = [row for row in rows if not is_sound(row)]
        parts = [self._differences(sound)] if sound else []
        parts += [f"nothing can be said of {self._reasons(rest)}"] if rest else []
        return "; ".join(parts)

    def _unjudged(self) -> str:
        """Say why no row has a verdict, and what was seen so far where there are intervals."""
        few = [row for row in self.asked if _has_few_seeds(row)]
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
        better, worse, open_ = map(self.with_verdict, JUDGED)
        parts = [self._helped(better, worse)]
        parts += [f"{self.items(worse)} hurt"] if worse else []
        parts += [f"for {self.items(open_)} the data cannot tell{_adjusted(open_)}"] if open_ else []
        return f"{self.setting}, {'; '.join(parts)}."

    def _helped(self, better: Sequence[Row], worse: Sequence[Row]) -> str:
        winners = winning_lines(self.group)
        if better:
            also = f", and so did {self.items(winners)} {without(winners)}" if winners else ""
            return f"{self.items(better)} helped{also}"
        if winners:
            return f"nothing was shown to help but {self.items(winners)}, {without(winners)}"
        return "nothing was shown to help" + ("" if worse else " or to hurt")

    def items(self, rows: Sequence[Row]) -> str:
        """List rows with difference and cost: `DDPM (-0.3 ± 0.5 points at 40 times the baseline's cost)`."""
        ordered = sorted(rows, key=lambda row: -_mean(row))
        return _with_rest(
            [f"{self.titles[row.name]} ({self.numbers(row)})" for row in ordered[:_NAMED]], rows
        )

    def numbers(self, row: Row) -> str:
        """Write a difference with cost and external data."""
        base = self.rows.get(row.contrast.against) if row.contrast else None
        known = ", with external data" if row.external_data else ""
        held = {one.contrast.against for one in self.asked if one.contrast}
        plain = self.titles.get(base.name, "") if base and base.contrast and len(held) > 1 else ""
        cost = times_the_cost(row, base, f"the cost of {plain} alone" if plain else "the baseline's cost")
        return f"{points(_found(row))}{cost}{known}"

    # ------------------------------------------------------------------------------------- what follows

    def more_than_simpler(self) -> Iterator[str]:
        """Say of rows that helped whether they did more than what is simpler."""
        together: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
        for row in self.with_verdict("better"):
            if row.adds:
                unbeaten = unbeaten_by(row)
                names = tuple(self._against(one) for one in unbeaten or row.adds)
                together.setdefault((not unbeaten, names), []).append(self.titles[row.name])
        for (beaten, names), rows in together.items():
            were = "was" if len(rows) == 1 else "were"
            more = f"{were} also shown to do more than" if beaten else f"{were} not shown to do more than"
            yield f"{capital(named(rows))} {more} {listed(names, 'and' if beaten else 'or')}."

    def _against(self, contrast: Contrast) -> str:
        return self.titles.get(contrast.against, contrast.against)

    @cached_property
    def hopeless(self) -> list[Row]:
        """The baselines without room that something was held against, and not shown to be better than."""
        held = {
            row.contrast.against
            for row in [*self.with_verdict("worse"), *self.with_verdict("cannot tell")]
            if row.contrast
        }
        return [self.rows[name] for name in self.group.hopeless if name in held and name in self.rows]

    def _no_room(self) -> Iterator[str]:
        """Name the baselines that nothing could have been better than."""
        several = len({row.contrast.against for row in self.asked if row.contrast}) > 1
        for base in self.hopeless:
            which = f" with {with_augmentation(augmentation(base))}" if several else ""
            level = f" ({base.top1.mean:.1f} %)" if base.top1 else ""
            yield (
                f"The baseline{which}{level} leaves no room: not even a network without a mistake could be "
                "better."
            )

    def detectable(self) -> tuple[list[float], int]:
        """Return the effects, in points, that were large enough to be found, and how many rows have none.

        Of the rows for which the data cannot tell, where there was room.
        """
        no_room = {base.name for base in self.hopeless}
        open_ = [row.contrast for row in self.with_verdict("cannot tell") if row.contrast]
        tested = [one.detectable_points for one in open_ if one.against not in no_room]
        known = [one for one in tested if one]
        return known, len(tested) - len(known)

    def _power(self) -> Iterator[str]:
        """Say how small an effect would have been found where the data cannot tell."""
        known, untested = self.detectable()
        if untested:
            yield "Without spread between seeds, or results per image, nothing could be tested for some rows."
        if known:
            others = "For the other rows, an" if untested or self.hopeless else "An"
            yield power_sentence(known, others)

    def _ceiling(self) -> str:
        """Say what real images in place of generated ones did, where something was judged."""
        rows = [row for row in self.group.rows if row.generator_component.use == CEILING]
        if len(rows) != 1 or not any(map(is_judged, self.asked)) or not rows[0].contrast:
            return ""
        found = _found(rows[0])
        if not is_sound(rows[0]):
            return f"More real images instead: no result ({why_no_verdict(rows[0])})."
        is_known = found is not None and found.interval is not None
        return f"More real images instead: {points(found)}." if is_known else ""

    @property
    def apart(self) -> list[Row]:
        """The rows with seeds that stand apart from the others."""
        return [row for row in self.group.rows if row.outliers and (row in self.asked or row.is_baseline)]

    @property
    def limits(self) -> list[BudgetLimit]:
        """Why the training may be too short to judge."""
        return [row.budget_limited for row in self.asked if row.budget_limited]

    def _doubts(self) -> Iterator[str]:
        """Yield what should make a reader of the first sentence careful."""
        if self.apart:
            names = named([self.titles[row.name] for row in self.apart])
            yield f"Some seeds of {names} stand apart from the others, which such a test does not expect."
        if self.limits:
            largest = max(self.limits)
            yield (
                f"The training may be too short to judge: at {largest.scale:g} times the budget, the "
                f"baseline gains {short(largest.val_rise)} points on val."
            )


def _found(row: Row) -> Comparison | None:
    return row.contrast.found if row.contrast else None


def _mean(row: Row) -> float:
    found = _found(row)
    return found.mean if found else 0.0


def _has_few_seeds(row: Row) -> bool:
    contrast = row.contrast
    return contrast is not None and contrast.verdict == "too few seeds" and is_sound(row)


def _gains(row: Row, level: float) -> bool:
    found = _found(row)
    is_tested = found is not None and found.p is not None and found.n >= SEEDS_FOR_VERDICT
    return bool(is_tested and is_sound(row) and found and found.mean > 0 and (found.p or 0.0) < level)


def _adjusted(rows: Sequence[Row]) -> str:
    """Explain an interval that excludes zero beside a *cannot tell*."""
    size = max((row.contrast.family for row in rows if row.contrast), default=0)
    return (
        f" once {size} contrasts are accounted for" if any(excludes_zero(_found(row)) for row in rows) else ""
    )


def _with_rest(parts: Sequence[str], rows: Sequence[Row]) -> str:
    rest = len(rows) - len(parts)
    return listed([*parts, *([f"{rest} more"] if rest > 0 else [])])
