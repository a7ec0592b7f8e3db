"""What came out of an experiment: numbers and effects in every column, and their verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from genbench.digest import canonical_json
from genbench.records import Record
from genbench.registry import Registry
from genbench.replays.columns import Row, rows_of, values_of
from genbench.replays.experiment import Arm, Effect, Experiment, Reported
from genbench.store import Store

if TYPE_CHECKING:
    from genbench_leaderboard.replays import Agreement, Asked, Judged
    from genbench_leaderboard.statistics import Estimate

SCALED = "scaled"


@dataclass(frozen=True)
class Numbers:
    """A number of the source, or a row that only the replay has.

    Attributes:
        name: What it is.
        unit: Unit of all of them.
        reported: What the source printed; None for a row of ours alone.
        replayed: By the source's protocol; None where it was not run.
        verdict: Whether the two agree; None where nothing was reported.
        controlled: In the controlled version.
    """

    name: str
    unit: str
    reported: Reported | None
    replayed: "Estimate | None"
    verdict: "Agreement | None"
    controlled: "Estimate | None"


@dataclass(frozen=True)
class Conclusion:
    """A conclusion of the source; None for a column that does not have both arms."""

    effect: Effect
    replayed: "Judged | None"
    controlled: "Judged | None"


@dataclass(frozen=True)
class Outcome:
    """Everything that `genbench replay NAME` shows.

    Attributes:
        name: Of the experiment.
        experiment: As it was run: its scaled version, if that was.
        is_scaled: Whether it was.
        numbers: One per reported number, then rows of ours.
        conclusions: One per reported effect.
        seeds: Seeds that were measured, by column that was run.
        failed: Evaluations that failed, by column.
        unfound: Arms of which there are records, none of which has the number that is asked for, in words.
        commands: What repeats it.
    """

    name: str
    experiment: Experiment
    is_scaled: bool
    numbers: tuple[Numbers, ...]
    conclusions: tuple[Conclusion, ...]
    seeds: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unfound: tuple[str, ...] = ()
    command: str = ""


class _Measured:
    """The records of one column, by arm."""

    def __init__(self, rows: Mapping[str, Row], records: Sequence[Record]) -> None:
        from genbench_leaderboard.replays import Found

        good = [record for record in records if record.result.status == "ok"]
        self.rows = rows
        self._records = {name: [one for one in good if row.holds(one)] for name, row in rows.items()}
        self._found = Found(records)

    @property
    def alpha(self) -> float:
        """The level of the column's family of effects."""
        return self._found.alpha

    def values(self, arm: str) -> dict[int, tuple[float, int | None]]:
        """Return the arm's number by seed index, with its number of images."""
        return values_of(self.rows[arm], self._records[arm]) if arm in self.rows else {}

    def estimate(self, arm: str) -> "Estimate | None":
        """Return the arm's mean over seeds."""
        from genbench_leaderboard.statistics import estimate

        values = [value for value, _ in self.values(arm).values()]
        return estimate(values) if values else None

    def unfound(self) -> Iterator[str]:
        """Say of which arms the records do not have the number, and which numbers they have."""
        for name, row in self.rows.items():
            records = self._records[name]
            if records and not self.values(name):
                metrics = [one for record in records for one in record.result.metrics]
                alike = [one for one in metrics if (one.name, one.role) == (row.arm.metric, row.arm.role)]
                had = sorted({f"{one.name} of {one.split}" for one in alike} or {one.name for one in metrics})
                asked = f"{row.arm.metric} of {row.arm.split}"
                asked += f" against {row.arm.against}" if row.arm.against else ""
                known = ", ".join(had) or "no number"
                yield f"arm {name!r} asks for {asked} ({row.arm.role}); its records have {known}"

    def asked(self, effect: Effect, error: float, *, is_scaled: bool) -> "Asked":
        """Return a conclusion with the comparison of its arms; a size means nothing where all is smaller.

        Args:
            effect: The conclusion.
            error: How far its size may be off.
            is_scaled: Whether all is smaller.
        """
        from genbench_leaderboard.replays import Asked, difference

        arms = [self.rows[effect.of].arm, self.rows[effect.over].arm]
        if all((arm.metric, arm.split) == ("top1", "test") for arm in arms):
            found = self._found.compared(self._records[effect.of], self._records[effect.over])
        else:
            sides = [
                {index: value for index, (value, _) in self.values(arm).items()}
                for arm in (effect.of, effect.over)
            ]
            void = self._found.void(self._records[effect.of], self._records[effect.over])
            found = Asked(0, None, difference(*sides), void)
        contrast = canonical_json(sorted(self.rows[arm].measures for arm in (effect.of, effect.over)))
        size = None if is_scaled else effect.value
        return replace(
            found, sign=effect.sign, size=size, error=error, contrast=contrast, is_scaled=is_scaled
        )


def outcome_of(
    name: str,
    experiment: Experiment,
    records: Mapping[str, Sequence[Record]],
    registry: Registry,
    store: Store,
    *,
    is_scaled: bool = False,
    command: str = "",
) -> Outcome:
    """Hold what was measured against what was reported.

    Args:
        name: Of the experiment.
        experiment: As it was run.
        records: By column; a column that was not run is not there.
        registry: Where components are found.
        store: Where digests of files are remembered.
        is_scaled: Whether it is the scaled version: absolute numbers then mean nothing.
        command: What repeats it.

    Raises:
        UsageError: A component of a column that was run, or one of its options, is unknown.
    """
    measured = {
        column: _Measured(rows_of(experiment, experiment.columns[column], registry, store), found)
        for column, found in records.items()
    }
    numbers = [_number(one, experiment, measured, is_scaled) for one in experiment.reported]
    return Outcome(
        name,
        experiment,
        is_scaled,
        (*numbers, *_own_rows(experiment, measured)),
        _conclusions(experiment, measured, is_scaled),
        seeds={
            column: len({one.result.index for one in found if one.result.subject != "suite"})
            for column, found in records.items()
        },
        unfound=tuple(f"{column}: {told}" for column, found in measured.items() for told in found.unfound()),
        failed={
            column: len({one.result.key for one in found if one.result.status == "failed"})
            for column, found in records.items()
        },
        command=command,
    )


def stored_outcome(
    name: str, experiment: Experiment, values: Mapping[str, tuple[float, int]], command: str = ""
) -> Outcome:
    """Hold numbers that were computed again from published predictions against what was reported.

    Nothing is drawn: they agree where they differ by no more than the printed digits say.
    """
    from genbench_leaderboard.crossed import Interval
    from genbench_leaderboard.replays import Agreement
    from genbench_leaderboard.statistics import Estimate

    numbers = []
    for one in experiment.reported:
        if one.name not in values:
            numbers.append(_number(one, experiment, {}, is_scaled=False))
            continue
        value, _ = values[one.name]
        interval = Interval(value - one.error, value + one.error)
        agrees = abs(value - one.value) <= one.error + 1e-9
        verdict = Agreement("agrees" if agrees else "differs", interval)
        numbers.append(Numbers(one.name, one.unit, one, Estimate(value, 1, None, None), verdict, None))
    return Outcome(name, experiment, False, tuple(numbers), (), command=command)


def _number(
    reported: Reported, experiment: Experiment, measured: Mapping[str, _Measured], is_scaled: bool
) -> Numbers:
    from genbench_leaderboard.replays import Agreement, agreement

    own, other = measured.get("replayed"), measured.get("controlled")
    replayed = own.estimate(reported.arm) if own else None
    verdict = Agreement("not run")
    if reported.unanswered:
        verdict = Agreement("cannot be checked", why=reported.unanswered)
    elif is_scaled:
        verdict = Agreement("cannot be checked", why=SCALED) if replayed else verdict
    elif own is not None and replayed is not None:
        values = own.values(reported.arm)
        verdict = agreement(
            reported.value,
            [value for value, _ in values.values()],
            runs=reported.runs or 1,
            error=reported.error,
            images=_images(reported, [images for _, images in values.values()]),
        )
    controlled = other.estimate(reported.arm) if other else None
    return Numbers(reported.name, reported.unit, reported, replayed, verdict, controlled)


def _images(reported: Reported, ours: Sequence[int | None]) -> tuple[int | None, int | None] | None:
    """Return on how many images an accuracy was measured here and there; None where no such noise counts."""
    if reported.same_images or reported.unit != "%":
        return None
    return next((one for one in ours if one), None), reported.images


def _own_rows(experiment: Experiment, measured: Mapping[str, _Measured]) -> list[Numbers]:
    """Return the arms to which nothing was reported: the controls."""
    answered = {one.arm for one in experiment.reported}
    arms: dict[str, Arm] = {
        name: arm
        for column in experiment.columns.values()
        for name, arm in column.arms.items()
        if name not in answered
    }
    rows = []
    for name, arm in arms.items():
        replayed, controlled = (
            measured[column].estimate(name) if column in measured else None
            for column in ("replayed", "controlled")
        )
        unit = "%" if arm.metric == "top1" else ""
        rows.append(Numbers(arm.title or name, unit, None, replayed, None, controlled))
    return rows


def _conclusions(
    experiment: Experiment, measured: Mapping[str, _Measured], is_scaled: bool
) -> tuple[Conclusion, ...]:
    """Judge the effects of each column as one family: those of which it has both arms."""
    from genbench_leaderboard.replays import Judged, judge

    judged: dict[str, dict[int, Judged]] = {}
    for name, column in experiment.columns.items():
        there = [
            place
            for place, effect in enumerate(experiment.effects)
            if effect.of in column.arms and effect.over in column.arms
        ]
        if name in measured:
            effects = [experiment.effects[place] for place in there]
            asked = [
                measured[name].asked(one, experiment.error_of(one), is_scaled=is_scaled) for one in effects
            ]
            judged[name] = dict(zip(there, judge(asked, measured[name].alpha), strict=True))
        else:
            judged[name] = dict.fromkeys(there, Judged("not run"))
    return tuple(
        Conclusion(effect, judged.get("replayed", {}).get(place), judged.get("controlled", {}).get(place))
        for place, effect in enumerate(experiment.effects)
    )
