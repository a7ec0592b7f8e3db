"""What is said of an experiment in words: its headline, its verdicts counted, and what the words mean."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from genbench import terminal
from genbench.replays.experiment import Reported
from genbench.replays.outcome import SCALED, Numbers, Outcome

NOT_RUN = "not run"
WIDE = 0.2  #: an interval of more than this is printed beside its verdict
_KNOWN = {"replayable": "replayable", "partly": "partly replayable", "claim only": "a claim only"}
_ROUNDING, _MOST_PLACES = 1e-9, 6
#: Verdicts as verbs of several numbers or effects; and of one, where the verdict itself is no verb.
_PLURAL = {
    "agrees": "agree",
    "differs": "differ",
    "stands": "stand",
    "does not stand": "do not stand",
    "stands, smaller than reported": "stand, smaller than reported",
    "same direction": "show the same direction",
    "other direction": "show the other direction",
    "a difference": "show a difference",
    "cannot tell": "cannot be told",
    NOT_RUN: "were not run",
}
_SINGULAR = {
    "same direction": "shows the same direction",
    "other direction": "shows the other direction",
    "a difference": "shows a difference",
    "cannot tell": "cannot be told",
    NOT_RUN: "was not run",
}
#: What is said beside a verdict on a number that nobody read in the source, and what that means.
_DOUBTS = {"quoted from memory": "unverified", "recounted": "recount"}
_DOUBTED = {
    "quoted from memory": "unverified: the number is quoted from memory, nobody looked it up in the source",
    "recounted": "recount: the source does not print it, another program counted the same predictions",
}
_HOW = (
    "replayed: {protocol}, as far as it is known, over several seeds. controlled: equal "
    "optimizer steps, last weights, test read once, with controls. ± is the half-width of the 95 % interval "
    "of the mean over seeds, for effects over new seeds and new test images."
)
_NUMBERS = (
    "agrees: the reported number lies within the 95 % prediction interval of as many runs like ours, which "
    f"a wide interval makes easy: one wider than {WIDE:g} is in brackets. differs: it does not. cannot be "
    "checked: the reason is beside it."
)
_RECOUNTED = (
    "replayed: computed again from the predictions that the source published; no network is trained. "
    "agrees: the two differ by no more than rounding explains, which is half a unit of the last printed "
    "digit, or the ± beside the reported number. differs: by more."
)
_MAY_BE_OFF = "± beside a reported number: how far it may be off, by rounding or by reading a plot."
_EFFECTS = (
    "stands, reversed: a significant difference of the reported sign, or the other one (Holm over the "
    "contrasts of the column); stands, smaller than reported: and one as large as reported is excluded, "
    "whatever it was rounded or read from; does not stand: no significant difference, and one as large as "
    "reported is excluded; cannot tell: neither, or fewer than five seeds, or copies of test."
)
_DIRECTIONS = (
    "same direction, other direction: a significant difference of the reported sign, or of the other one "
    "(Holm over the contrasts of the column); a difference: a significant one where none was reported; "
    "cannot tell: no significant one, or fewer than five seeds, or copies of test. Nothing this small "
    "confirms or refutes the source: sizes are not compared, and a direction may change with size."
)


def was_run(outcome: Outcome) -> bool:
    """Say whether anything of an experiment was measured."""
    judged = [column for one in outcome.conclusions for column in (one.replayed, one.controlled)]
    return any(one.replayed or one.controlled for one in outcome.numbers) or any(
        one is not None and one.found is not None for one in judged
    )


def headline(outcome: Outcome, *, is_planned: bool = False, has_address: bool = True) -> Iterator[str]:
    """Yield the lines that stand above the tables; a plan says itself what is scaled.

    Args:
        outcome: What came out.
        is_planned: Whether it is a plan.
        has_address: Whether the source's address is part of a line, and not beside it as a link.
    """
    experiment = outcome.experiment
    yield f"{outcome.name}: {experiment.title}"
    place = f" ({experiment.url})" if experiment.url and has_address else ""
    yield f"Source {experiment.source}: {experiment.paper}{place}. As published: {_KNOWN[experiment.known]}."
    if outcome.is_scaled and experiment.scale and not is_planned:
        yield (
            f"{SCALED}: {'; '.join(experiment.scale.changes)}. Absolute numbers are not compared, the "
            "direction of an effect is."
        )
    if outcome.seeds and was_run(outcome):
        yield "Seeds: " + ", ".join(f"{n} {name}" for name, n in outcome.seeds.items()) + "."
    yield from _summary(outcome)


def _summary(outcome: Outcome) -> Iterator[str]:
    """Count the verdicts, in a sentence for numbers and one for each column's effects."""
    reported = [one for one in outcome.numbers if one.reported]
    if not was_run(outcome):
        effects = terminal.count(len(outcome.conclusions), "effect")
        so_far = "Nothing was run yet."
        if any(outcome.failed.values()):
            so_far = "It was run, and failed."
        elif outcome.unfound:
            so_far = "It was run, and no record has a number that an arm asks for."
        yield f"Reported: {terminal.count(len(reported), 'number')}, {effects}. {so_far}"
        return
    words = [verdict_of(one) for one in reported]
    models = {one.reported.stored.model for one in reported if one.reported and one.reported.stored}
    of = f" ({len(reported)}, of {terminal.count(len(models), 'model')})" if models else ""
    said = [counted(f"Reported numbers{of}", words)] if words else ["No number was reported."]
    for column in ("replayed", "controlled"):
        judged = [one.word for each in outcome.conclusions if (one := getattr(each, column))]
        said += [counted(f"Effects {column}", [(word, "") for word in judged])] if judged else []
    yield " ".join(said)
    doubts = [text for source, text in _DOUBTED.items() if any(one[1] == _DOUBTS[source] for one in words)]
    if doubts:
        yield "; ".join(doubts)[0].upper() + "; ".join(doubts)[1:] + "."


def verdict_of(one: Numbers) -> tuple[str, str]:
    """Return the verdict on a number, and what is to be said beside it where nobody read the number."""
    word = one.verdict.word if one.verdict else NOT_RUN
    doubt = doubt_of(one.reported) if one.reported else ""
    return word, doubt if word in ("agrees", "differs") else ""


def doubt_of(reported: Reported) -> str:
    """Return what is said beside a number that nobody read in its source; nothing where somebody did."""
    return _DOUBTS.get(reported.source, "")


def in_words(word: str, doubt: str) -> str:
    """Write a verdict or a number with the doubt about what it is compared with."""
    return f"{word} ({doubt})" if doubt else word


def counted(what: str, words: Sequence[tuple[str, str]]) -> str:
    """Count verdicts, those on numbers that were looked up first."""
    counts = sorted(Counter(words).items(), key=lambda one: bool(one[0][1]))
    said = [
        f"{n} {in_words((_SINGULAR if n == 1 else _PLURAL).get(word, word), doubt)}"
        for (word, doubt), n in counts
    ]
    return f"{what}: {', '.join(said)}."


def printed(one: Reported) -> str:
    """Write a number with the digits that its source printed, or with how far it may be off."""
    places = -math.log10(2 * one.error) if one.error else -1.0
    is_rounding = abs(places - round(places)) < _ROUNDING and 0 <= places <= _MOST_PLACES
    off = f" ±{one.error:g}" if one.error else ""
    number = f"{one.value:.{round(places)}f}" if is_rounding else f"{one.value:g}{off}"
    return f"{number} {one.unit}".rstrip()


def legend(outcome: Outcome) -> Iterator[str]:
    """Explain the words that the tables use; an experiment of which nothing was run uses none."""
    is_stored = outcome.experiment.stored is not None
    if not is_stored and any("±" in printed(one) for one in outcome.experiment.reported):
        yield _MAY_BE_OFF
    if not was_run(outcome):
        return
    if is_stored:
        yield _RECOUNTED
        return
    in_small = "the source's own protocol, made smaller" if outcome.is_scaled else "the source's own protocol"
    yield _HOW.format(protocol=in_small)
    if not outcome.is_scaled:
        yield _NUMBERS
    if outcome.conclusions:
        yield _DIRECTIONS if outcome.is_scaled else _EFFECTS
