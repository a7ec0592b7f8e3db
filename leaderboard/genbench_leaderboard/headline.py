"""A whole board in a few sentences, none of which the headlines of its groups would take back.

Plain text, in one line, not yet escaped for Markdown, HTML or LaTeX.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from genbench.digest import digest
from genbench.escaping import one_line
from genbench.roles import CEILING
from genbench_leaderboard.group_headline import (
    JUDGED,
    Said,
    group_headline,
    is_judged,
    winning_lines,
    without,
)
from genbench_leaderboard.rows import Board, Group, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT, Verdict
from genbench_leaderboard.titles import group_title, group_titles
from genbench_leaderboard.wording import (
    capital,
    failed_runs,
    listed,
    named,
    power_sentence,
    unbeaten_by,
    why_no_verdict,
)

_REASONS = 2  #: why rows have no verdict: so many different ones are told
_NOTHING = 0.05  #: points: what is smaller is written without a sign
NOTHING_MEASURED = "Nothing was measured yet."


def headline(board: Board) -> str:
    """Say in a few sentences what a whole board found.

    Of a board with a single group that was measured, or has verdicts, it is that group's headline, and what
    is missing of the others.
    """
    if len(board.groups) == 1:
        return group_headline(board.groups[0])
    return one_line(" ".join(part for part in _sentences(board) if part))


def _sentences(board: Board) -> Iterator[str]:
    told = [_Told(Said(group), title) for group, title in zip(board.groups, group_titles(board), strict=True)]
    measured = [one for one in told if one.said.is_measured]
    speaking = [one for one in told if any(map(is_judged, one.said.asked))] or measured
    alone = speaking[0] if len(speaking) == 1 else None
    if not measured:
        yield NOTHING_MEASURED
    elif alone is not None:
        yield group_headline(alone.said.group)
    elif not any(map(is_judged, speaking[0].said.asked)):
        yield (
            f"None of the {len(measured)} comparisons on this board has a verdict yet: that takes "
            f"{SEEDS_FOR_VERDICT} seeds, real images alone, and something to hold against them."
        )
    else:
        yield from _Judged(speaking, measured).sentences()
    rest = [one for one in told if one is not alone]
    if measured:
        yield _without_verdict(rest, elsewhere=alone is not None)
    failed = failed_runs(*(one.said.group.failures for one in rest), board.failures)
    where = " in other comparisons" if alone is not None else ""
    yield f"{capital(failed)}{where}." if failed else ""


@dataclass(frozen=True)
class _Told:
    """What is said of a group, and its title on this board."""

    said: Said
    title: str


def _without_verdict(told: Iterable[_Told], *, elsewhere: bool) -> str:
    """Count contenders that have no verdict, and say why."""
    rows = [row for one in told for row in one.said.unjudged]
    if not rows:
        return ""
    reasons = list(dict.fromkeys(map(why_no_verdict, rows)))
    why = "; ".join([*reasons[:_REASONS], *(["and more"] if len(reasons) > _REASONS else [])])
    count = "1 contender" if len(rows) == 1 else f"{len(rows)} contenders"
    return f"No verdict on {count}{' in other comparisons' if elsewhere else ''} ({why})."


@dataclass(frozen=True)
class _Judged:
    """What is said of several groups that have verdicts; `measured` are these and all that were measured."""

    told: Sequence[_Told]
    measured: Sequence[_Told]

    def sentences(self) -> Iterator[str]:
        """Yield what was found, then what keeps a reader from making too much of it."""
        yield self._counted()
        yield from self._contradictions()
        yield from self._gains()
        yield from self._simpler()
        yield self._more_real_images()
        yield self._power()
        yield self._doubts()

    @cached_property
    def better(self) -> list[tuple[_Told, Row]]:
        """The rows that helped, those that gained most first."""
        found = [(one, row) for one in self.told for row in one.said.with_verdict("better")]
        return sorted(found, key=lambda pair: -_mean(pair[1]))

    @cached_property
    def winners(self) -> list[_Told]:
        """The groups in which a reference line helped."""
        return [one for one in self.told if winning_lines(one.said.group)]

    def _counted(self) -> str:
        """Count the verdicts: `Of 12 contenders in 3 comparisons, 1 helped, 2 hurt, and ...`."""
        better, worse, open_ = (self._contenders(verdict) for verdict in JUDGED)
        asked = better + worse + open_
        rows = sum(len(one.said.with_verdict(verdict)) for one in self.told for verdict in JUDGED)
        once = " (what several suites measured counts once)" if rows > asked else ""
        what = f"{asked} contenders with a verdict{once}, in {_places(self.told)} comparisons"
        parts = [
            f"{better} helped" if better else "none was shown to help" + ("" if worse else " or to hurt")
        ]
        parts += [f"{worse} hurt"] if worse else []
        parts += [f"for {open_} the data cannot tell"] if open_ and better + worse else []
        return f"Of {what}, {listed(parts)}."

    def _contenders(self, verdict: Verdict) -> int:
        """Count the contenders with a verdict; one that several suites judge alike counts once."""
        return len(
            {
                (_question(one.said.group, row), one.said.group.protocol.base_seed)
                for one in self.told
                for row in one.said.with_verdict(verdict)
            }
        )

    def _contradictions(self) -> Iterator[str]:
        """Name what was asked more than once, as with several base seeds, with different verdicts."""
        asked: dict[str, list[tuple[str, Verdict]]] = {}
        for one in self.told:
            for row in filter(is_judged, one.said.asked):
                name = f"{one.said.titles[row.name]} on {group_title(one.said.group)}"
                assert row.contrast is not None
                asked.setdefault(_question(one.said.group, row), []).append((name, row.contrast.verdict))
        differing = []
        for answers in asked.values():
            times = Counter(verdict for _, verdict in answers)
            if len(times) > 1:
                verdicts = listed([f"{times[one]} {one}" for one in JUDGED if times[one]])
                differing.append(f"{answers[0][0]} ({verdicts})")
        if differing:
            yield f"The same question was asked more than once, with different verdicts: {named(differing)}."

    def _gains(self) -> Iterator[str]:
        """Name the largest gain, with what its group says beside it."""
        if not self.better:
            return
        told, row = self.better[0]
        lines = winning_lines(told.said.group)
        also = f"; there, {told.said.items(lines)} helped, too, {without(lines)}" if lines else ""
        gain = f"{told.said.titles[row.name]}, {told.said.numbers(row)} ({told.title})"
        yield f"The largest gain: {gain}{also}."
        others = [one for _, one in self.better[1:] if one.external_data]
        if others:
            what = (
                "one other that helped has" if len(others) == 1 else f"{len(others)} others that helped have"
            )
            yield f"{capital(what)} external data."

    def _simpler(self) -> Iterator[str]:
        """Say how much of it could be had without a generative model."""
        unbeaten = [pair for pair in self.better if unbeaten_by(pair[1])]
        if len(self.better) == 1:
            yield from self.better[0][0].said.more_than_simpler()
        elif unbeaten:
            were = "was" if len(unbeaten) == 1 else "were"
            yield (
                f"Of the {len(self.better)} that helped, {len(unbeaten)} {were} not shown to do more than "
                "frozen augmented copies or strong augmentation."
            )
        told = {self.better[0][0].title} if self.better else set()
        if any(one.title not in told for one in self.winners):
            lines = [row for one in self.winners for row in winning_lines(one.said.group)]
            yield (
                f"Reference lines {without(lines)} helped in {_places(self.winners)} of {_places(self.told)} "
                "comparisons."
            )

    def _more_real_images(self) -> str:
        """Say what more real images gained: where they gain nothing, generated ones could hardly."""
        found = {
            digest([_place(one.said.group), one.said.group.protocol.base_seed]): row.contrast.found
            for one in self.told
            for row in one.said.group.rows
            if row.generator == CEILING and row.contrast and row.contrast.found
        }
        means = sorted(one.mean for one in found.values())
        if not means:
            return ""
        open_ = sum(one.interval is None or one.interval.low <= 0 for one in found.values())
        low, high = (f"{mean:+.1f}" if abs(mean) >= _NOTHING else "0.0" for mean in (means[0], means[-1]))
        sizes = f"{low} to {high} points" if low != high else f"{low} points"
        places = "comparison" if len(means) == 1 else "comparisons"
        said = f"More real images instead, in {len(means)} {places}: {sizes}"
        if not open_:
            return f"{said}."
        where = "" if len(means) == 1 else f" in {open_} of them"
        return f"{said};{where} they were not shown to help either, so there is little to gain."

    def _power(self) -> str:
        known = [effect for one in self.told for effect in one.said.detectable()[0]]
        others = any(one.said.hopeless or one.said.detectable()[1] for one in self.told)
        return power_sentence(known, "Elsewhere, an" if others else "An") if known else ""

    def _doubts(self) -> str:
        """Count the comparisons that should make a reader careful."""
        doubts: dict[str, Callable[[Said], object]] = {
            "a baseline leaves no room to be better": lambda said: said.hopeless,
            "nothing could be tested for some rows": lambda said: said.detectable()[1],
            "some seeds stand apart from the others": lambda said: said.apart,
            "the training may be too short to judge": lambda said: said.limits,
        }
        parts = []
        for what, found in doubts.items():
            times = _places([one for one in self.told if found(one.said)])
            parts += [f"in {times} {what}"] if times else []
        untried = len({_network(one.said.group) for one in self.told} - self._tried_longer())
        parts += [f"in {untried} no longer training was tried"] if untried and self._tried_longer() else []
        return f"Of the {_places(self.told)} comparisons, {listed(parts)}." if parts else ""

    def _tried_longer(self) -> set[str]:
        """Return the networks and datasets for which there is a larger budget to look at."""
        return {_network(one.said.group) for one in self.measured if one.said.group.budget_scale > 1}


def _places(told: Sequence[_Told]) -> int:
    """Count groups; those of several suites with the same dataset, classifier, budget and seeds are one."""
    groups = [one.said.group for one in told]
    return len({(_place(group), group.protocol.base_seed) for group in groups})


def _mean(row: Row) -> float:
    found = row.contrast.found if row.contrast else None
    return found.mean if found else 0.0


def _place(group: Group) -> str:
    """Return what groups share that differ in base seed, suite and number of seeds alone."""
    parts = (group.dataset_component, group.classifier_component)
    rules = (group.protocol.version, group.protocol.preset, group.budget, group.budget_scale)
    return digest([[part.identity for part in parts], list(rules)])


def _network(group: Group) -> str:
    """Return what groups share that differ in base seed, suite, number of seeds and budget alone."""
    parts = (group.dataset_component, group.classifier_component)
    return digest([[part.identity for part in parts], group.protocol.version])


def _question(group: Group, row: Row) -> str:
    """Return what rows share that differ in base seed, suite and number of seeds alone."""
    parts = (row.generator_component, row.filter_component)
    return digest([_place(group), [part.identity for part in parts], dict(row.mix_values)])
