"""Every entry against what it is held against; then Holm over each declared family, verdicts and ranks."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from genbench.copy_judgement import CopyJudgement, judge_copies
from genbench.errors import ProtocolError
from genbench_leaderboard.crossed import ALPHA, Answers, compare
from genbench_leaderboard.groups import Entry, RawGroup, alpha_at, check_recipe, compared
from genbench_leaderboard.measures import ImageSets
from genbench_leaderboard.rows import Contrast, Cost, Outlier
from genbench_leaderboard.statistics import (
    SEEDS_FOR_VERDICT,
    HolmStep,
    decide,
    estimate,
    holm,
    median,
    outlying,
    quartiles,
    ranks,
)

_NO_TIME = 1e-9  #: seconds: no clock tells less, and a gain divided by it says nothing

_CHECKED_SINCE = 2  #: the version of the protocol from which on every image set is checked for copies

Question = Literal["helps", "adds"]


class Place(NamedTuple):
    """Where a contrast belongs: the group's position, the entry's key, the question, the other row's key."""

    group: int
    entry: str
    question: Question
    against: str


Contrasts = dict[Place, Contrast]
Judgements = Mapping[tuple[int, str], CopyJudgement]  #: by position of the group and key of the entry


@dataclass(frozen=True)
class Ranking:
    """Ranks by entry key, and how many pairs were compared."""

    by_entry: Mapping[str, int]
    pairs: int


def all_contrasts(groups: Sequence[RawGroup], judgements: Judgements) -> Contrasts:
    """Compare every entry with real images alone, and contenders with frozen copies and free augmentation.

    Where test images were copied, a row is compared a second time without them; a verdict that rests on them
    is void (protocol rule 5).

    Raises:
        ProtocolError: A pair differs in more than its images.
    """
    raw: Contrasts = {}
    clean: Contrasts = {}
    for position, group in enumerate(groups):
        confirming, undecided = _confirming(group)
        for entry in group.entries.values():
            copies = judgements[position, entry.key]
            for question, other in _pairs(entry, group, groups):
                place = Place(position, entry.key, question, other.key)
                raw[place] = _contrast(entry, other, question, entry.key in confirming, copies)
                if entry.key in undecided:
                    raw[place] = replace(
                        raw[place], problem="val of some of the seeds that choose is missing"
                    )
                if group.contradiction:
                    raw[place] = replace(raw[place], void=group.contradiction)
                if copies.flagged is not None:
                    clean[place] = _without(raw[place], entry, other, copies)
    # A contrast that changes without its copies may change the level of any other of its family: both
    # families are judged as a whole, and then compared contrast by contrast.
    judged = _judged(raw, groups, raw)
    for place, found in _judged({**raw, **clean}, groups, clean).items() if clean else ():
        judged[place] = _compared(judged[place], found)
    return {place: _complete(contrast, place, groups) for place, contrast in judged.items()}


def _pairs(entry: Entry, group: RawGroup, groups: Sequence[RawGroup]) -> Iterator[tuple[Question, Entry]]:
    """Yield what an entry is compared with, and which question that answers."""
    baseline = group.baseline_of(entry)
    if baseline is not None and not (entry.is_baseline and entry.role == "baseline"):
        yield "helps", baseline
    elif not entry.is_baseline:
        # Either nothing to compare with, or a baseline that differs in more than its images.
        check_recipe(entry, group, groups)
    if entry.role != "contender" or entry.is_baseline or not group.has_further_question(entry):
        return
    for other in group.simpler_than(entry):
        yield "adds", other


def rank_entries(group: RawGroup, contrasts: Mapping[str, Contrast]) -> Ranking:
    """Rank contenders and baselines that are complete; those that use external data among themselves."""
    by_entry: dict[str, int] = {}
    pairs = 0
    for external in (False, True):
        pool = {
            entry.key: answers
            for _, entry in sorted(group.entries.items())
            if bool(external_data(entry, group)) is external
            and _is_rankable(entry, contrasts.get(entry.key))
            and (answers := _answers(entry)) is not None
        }
        if len(pool) > 1 and len({answers.images for answers in pool.values()}) == 1:
            known = _known(list(pool), group, contrasts)
            by_entry |= dict(zip(pool, ranks(list(pool.values()), known, alpha_of(group)), strict=True))
            pairs += math.comb(len(pool), 2) - len(known)
    return Ranking(by_entry, pairs)


def _known(
    keys: Sequence[str], group: RawGroup, contrasts: Mapping[str, Contrast]
) -> dict[tuple[int, int], int]:
    """Return what verdicts say of pairs of rows, by their positions: 1, -1, or 0 where they cannot tell."""
    found = {}
    for place, key in enumerate(keys):
        baseline, contrast = group.baseline_of(group.entries[key]), contrasts.get(key)
        if contrast is not None and baseline is not None and baseline.key in keys:
            sign = {"better": 1, "worse": -1}.get(contrast.verdict, 0)
            found[place, keys.index(baseline.key)] = sign
    return found


def external_data(entry: Entry, group: RawGroup) -> tuple[str, ...]:
    """Return what the generator, the filter and the classifier know from elsewhere."""
    known = (entry.generator, entry.filter, group.classifier)
    return tuple(sorted({one for component in known for one in component.external_data}))


def cost_of(entry: Entry) -> Cost | None:
    """Add up the medians over seeds of what each stage took. Unknown, where a part is."""
    runs = [entry.measured[index].run.costs for index in sorted(entry.measured)]
    if not runs or not all(runs):
        return None
    peak = max(cost.peak_memory_bytes for costs in runs for cost in costs)
    devices = {cost.device for costs in runs for cost in costs if cost.device}
    made = Cost(None, peak, tuple(sorted(devices)))
    taken: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))  # by stage, of each seed
    for seed, costs in enumerate(runs):
        for cost in costs:
            if cost.seconds is None:
                return made
            taken[cost.stage][seed] += cost.seconds
    wholes = [math.fsum(stages) for stages in zip(*taken.values(), strict=True)]
    return replace(made, seconds=math.fsum(map(median, taken.values())), quartiles=quartiles(wholes))


def all_judgements(groups: Sequence[RawGroup], image_sets: ImageSets) -> Judgements:
    """Judge every entry by what was found of copies of test among its images."""
    return {
        (position, key): _judgement(entry, group, image_sets)
        for position, group in enumerate(groups)
        for key, entry in group.entries.items()
    }


def _judgement(entry: Entry, group: RawGroup, image_sets: ImageSets) -> CopyJudgement:
    if entry.is_baseline:
        return CopyJudgement()
    try:
        found = judge_copies(image_sets.of(entry, group), entry.measured)
    except ProtocolError as problem:
        return CopyJudgement(void=problem.message)
    if found.checked or found.void or group.protocol.version < _CHECKED_SINCE:
        return found
    return replace(found, void="its images were not checked for copies of test")


def mean_of(entry: Entry, split: str) -> float | None:
    """Return the mean top-1 on a split over the seeds that have it."""
    values = list(entry.scores(split).values())
    return estimate(values).mean if values else None


def outliers(entry: Entry) -> tuple[Outlier, ...]:
    """Return the seeds of an entry that are far from its median (see `statistics.outlying`)."""
    answers, scores = _answers(entry), entry.scores()
    if answers is None or len(scores) < SEEDS_FOR_VERDICT:
        return ()
    indices, values = list(scores), list(scores.values())
    middle = median(values)
    error = math.sqrt(middle * (100 - middle) / answers.images)
    return tuple(Outlier(indices[at], values[at], middle) for at in outlying(values, error))


def hopeless_baselines(group: RawGroup, contrasts: Mapping[str, Contrast]) -> tuple[str, ...]:
    """Return the baselines that not even a network without a mistake could be shown to be better than."""
    found: dict[str, bool] = {}
    for key, contrast in contrasts.items():
        entry = group.entries[key]
        baseline = group.baseline_of(entry) if entry.role == "contender" else None
        if baseline is None or baseline.label in found:
            continue
        answers = _answers(baseline)
        if answers is None or len(answers.packed) < SEEDS_FOR_VERDICT:
            continue
        best = compare(answers.all_right(), answers)
        assert best is not None
        level = contrast.alpha / max(contrast.family, 1)
        found[baseline.label] = bool(best.standard_error) and best.p is not None and best.p >= level
    return tuple(label for label, is_hopeless in found.items() if is_hopeless)


# ---------------------------------------------------------------------------------------------- one contrast


def _contrast(
    entry: Entry, other: Entry, question: Question, confirms: bool, copies: CopyJudgement
) -> Contrast:
    role = entry.role if confirms or entry.role != "contender" else "diagnostic"
    made = Contrast(other.label, None, question, role, void=copies.void)
    try:
        found = compared(entry, other)
    except ProtocolError as problem:
        return replace(made, problem=problem.message)
    copied = int(copies.flagged.sum()) if copies.flagged is not None else 0
    return replace(made, found=found, copied_images=copied)


def _without(whole: Contrast, entry: Entry, other: Entry, copies: CopyJudgement) -> Contrast:
    """Compare on the test images that were not copied; where no record says which were right, on none."""
    mine, theirs, flagged = _answers(entry), _answers(other), copies.flagged
    assert flagged is not None
    usable = mine is not None and theirs is not None and len(flagged) == mine.images == theirs.images
    if mine is None or theirs is None or not usable or flagged.all():
        return replace(whole, found=None)
    if not flagged.any():  # as of nearly all rows: it would be the same again
        return whole
    return replace(whole, found=compare(mine.kept(~flagged), theirs.kept(~flagged)))


def _compared(whole: Contrast, clean: Contrast) -> Contrast:
    """Note what is left of a contrast without the copied images; it is void if its verdict is not."""
    noted = replace(whole, without_copies=clean.found)
    decisive = {"better", "worse", "cannot tell"}
    if whole.verdict == clean.verdict or not {whole.verdict, clean.verdict} & decisive:
        return noted
    return replace(
        noted,
        verdict="void",
        void="the verdict changes without the copied test images",
    )


def _answers(entry: Entry) -> Answers | None:
    try:
        return entry.answers()
    except ProtocolError:
        return None


# ------------------------------------------------------------------------------------------------- families


def _confirming(group: RawGroup) -> tuple[set[str], set[str]]:
    """Return the keys of the contenders that are confirmed, and of those among which val could not choose.

    All are confirmed, or those that val chose on seeds that take no part in confirming. Where one of a
    generator's configurations lacks val of such a seed, none is chosen: who lacks it would choose the winner.
    Test is never looked at here.
    """
    contenders = {key: entry for key, entry in group.entries.items() if entry.role == "contender"}
    if group.declared is None or not group.declared.choosing_seeds:
        return set(contenders), set()
    candidates: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, entry in sorted(contenders.items()):
        candidates[entry.generator.use, entry.augment].append(key)
    chosen, undecided = set[str](), set[str]()
    for keys in candidates.values():
        val = {key: _chosen_on(contenders[key]) for key in keys}
        if any(len(values) < group.declared.choosing_seeds for values in val.values()):
            chosen |= set(keys)
            undecided |= set(keys)
        else:
            chosen.add(max(keys, key=lambda key: math.fsum(val[key])))
    return chosen, undecided


def _chosen_on(entry: Entry) -> list[float]:
    """Return val top-1 of the seeds that choose."""
    found = [one.result.metric("top1", "val") for one in entry.choosing.values()]
    return [one.value for one in found if one is not None and one.value is not None]


def _judged(contrasts: Contrasts, groups: Sequence[RawGroup], wanted: Collection[Place]) -> Contrasts:
    """Adjust the contrasts of each family together, and give those that are wanted their verdicts."""
    families: dict[tuple[str, Question], list[Place]] = defaultdict(list)
    for place in sorted(contrasts):
        group = groups[place.group]
        entry = group.entries[place.entry]
        if contrasts[place].role == "contender" and entry.planned >= SEEDS_FOR_VERDICT:
            name = group.declared.family if group.declared else f"undeclared {place.group}"
            families[name, place.question].append(place)
    judged: Contrasts = {}
    for (_, question), places in families.items():
        alpha = min(alpha_of(groups[place.group]) for place in places)
        planned = max(getattr(groups[place.group], question) for place in places)
        steps = holm([_p_value(contrasts[place], place, groups) for place in places], alpha, planned)
        size = max(planned, len(places))
        for place, step in zip(places, steps, strict=True):
            if place in wanted:
                judged[place] = _decided(contrasts[place], step, place, groups, alpha, size)
    for place in wanted:
        if place not in judged:
            judged[place] = _at_look(contrasts[place], place, groups)
    return judged


def _at_look(contrast: Contrast, place: Place, groups: Sequence[RawGroup]) -> Contrast:
    """Return a contrast of no family, as of a reference line: it is held to the level of its group."""
    group = groups[place.group]
    enough = group.entries[place.entry].planned >= SEEDS_FOR_VERDICT
    level = alpha_of(group) if enough else contrast.alpha
    return _decided(contrast, None, place, groups, level, contrast.family)


def alpha_of(group: RawGroup) -> float:
    """Return the level of a group's families at its look at test."""
    return alpha_at(group.declared, len(group.looks_before)) if group.declared else ALPHA


def _p_value(contrast: Contrast, place: Place, groups: Sequence[RawGroup]) -> float | None:
    """Return the p that enters Holm: None, which counts as 1, where a row is void or seeds are missing."""
    found, planned = contrast.found, groups[place.group].entries[place.entry].planned
    is_usable = found is not None and found.n >= planned and not contrast.void and not contrast.problem
    return found.p if found is not None and is_usable else None


def _decided(
    contrast: Contrast,
    step: HolmStep | None,
    place: Place,
    groups: Sequence[RawGroup],
    alpha: float,
    family: int,
) -> Contrast:
    entry = groups[place.group].entries[place.entry]
    found = contrast.found if not contrast.problem else None
    verdict = decide(found, entry.planned, step, alpha)
    if contrast.role == "control" and verdict in {"exploratory", "too few seeds"}:
        verdict = "reference"
    return replace(
        contrast,
        verdict="void" if contrast.void else verdict,
        adjusted_p=step.adjusted_p if step else None,
        level=step.level if step else None,
        alpha=alpha,
        family=family,
    )


def _complete(contrast: Contrast, place: Place, groups: Sequence[RawGroup]) -> Contrast:
    """Add what only some verdicts have: the detectable effect, and the gain per minute."""
    found = contrast.found
    if found is None or contrast.verdict == "void":
        return contrast
    if contrast.verdict == "cannot tell" and found.squares is not None:
        # A row with a real effect would stand first in Holm's order, and be held to alpha / m.
        level = contrast.alpha / contrast.family
        return replace(
            contrast, detectable_points=found.detectable(level), guarded_points=found.guarded(level)
        )
    if contrast.verdict != "better" or contrast.question != "helps":
        return contrast
    entries = groups[place.group].entries
    cost, base_cost = cost_of(entries[place.entry]), cost_of(entries[place.against])
    extra = 0.0
    if cost and base_cost and cost.seconds is not None and base_cost.seconds is not None:
        extra = cost.seconds - base_cost.seconds
    return replace(contrast, points_per_minute=found.mean / (extra / 60)) if extra > _NO_TIME else contrast


def _is_rankable(entry: Entry, contrast: Contrast | None) -> bool:
    complete = len(entry.scores()) >= max(entry.planned, SEEDS_FOR_VERDICT)
    if entry.role == "baseline":
        return complete
    return complete and contrast is not None and contrast.role == "contender" and contrast.verdict != "void"
