"""What is shown of an experiment: a table of numbers and one of effects; the list of all experiments."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from genbench import terminal
from genbench.escaping import markdown_span, markdown_text
from genbench.replays.experiment import Experiment, Reported, replaced
from genbench.replays.outcome import SCALED, Conclusion, Numbers, Outcome

if TYPE_CHECKING:
    from genbench_leaderboard.replays import Agreement, Judged
    from genbench_leaderboard.statistics import Estimate

_NOTHING = "-"
_KNOWN = {"replayable": "replayable", "partly": "partly replayable", "claim only": "a claim only"}
_ROUNDING, _MOST_PLACES = 1e-9, 6
_WIDE = 0.2  #: an interval of more points than this is printed beside its verdict
#: How an effect is written that was reported in words alone: of an accuracy, and of any other number.
_SIGNS = {1: "better", 0: "no different", -1: "worse"}
_SIZES = {1: "larger", 0: "no different", -1: "smaller"}
_HOW = (
    "replayed: the source's own protocol, as far as it is known, over several seeds. controlled: equal "
    "optimizer steps, last weights, test read once, with controls. ± is the half-width of the 95 % interval "
    "of the mean over seeds, for effects over new seeds and new test images."
)
_NUMBERS = (
    "agrees: the reported number lies within the 95 % prediction interval of as many runs like ours (in "
    "brackets), which a wide interval makes easy; differs: it does not. cannot be checked: the reason is "
    "beside it."
)
_EFFECTS = (
    "stands, reversed: a significant difference of the reported sign, or the other one (Holm over the "
    "contrasts of the column); stands, smaller than reported: and one as large as reported is excluded, "
    "whatever it was rounded or read from; does not stand: no significant difference, and one as large as "
    "reported is excluded; cannot tell: neither, or fewer than five seeds, or copies of test."
)


@dataclass(frozen=True)
class Table:
    """A table: a header, its rows, and which columns are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...]


def numbers_table(outcome: Outcome) -> Table:
    """Return the numbers: reported, replayed, whether they agree, controlled."""
    header = ("", "reported", "replayed", "verdict", "controlled")
    rows = tuple(
        (
            one.name,
            _reported(one),
            _estimate(one.replayed, one.unit),
            _agreement(one.verdict),
            _estimate(one.controlled, one.unit),
        )
        for one in outcome.numbers
    )
    return Table(header, rows, (1, 2, 4))


def effects_table(outcome: Outcome) -> Table:
    """Return the effects: reported, and in each column with a verdict."""
    header = ("effect", "reported", "replayed", "verdict", "controlled", "verdict")
    rows = tuple(
        (
            one.effect.name,
            _reported_effect(one),
            _difference(one.replayed, one.effect.unit),
            _judged(one.replayed),
            _difference(one.controlled, one.effect.unit),
            _judged(one.controlled),
        )
        for one in outcome.conclusions
    )
    return Table(header, rows, (1, 2, 4))


def remarks(outcome: Outcome) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what a reader must know, by heading."""
    experiment = outcome.experiment
    holes = [f"{one.name}: {hole}" for one in experiment.reported for hole in one.holes]
    yield "left open by the source", (*experiment.holes, *holes)
    yield "done otherwise here", experiment.departures
    yield "what a run would need", () if outcome.is_scaled else experiment.needs
    failures = [f"{name}: {terminal.count(n, 'evaluation')}" for name, n in outcome.failed.items() if n]
    yield "failed", failures


def headline(outcome: Outcome) -> Iterator[str]:
    """Yield the lines that stand above the tables."""
    experiment = outcome.experiment
    yield f"{outcome.name}: {experiment.title}"
    place = f" ({experiment.url})" if experiment.url else ""
    yield f"Source {experiment.source}: {experiment.paper}{place}. As published: {_KNOWN[experiment.known]}."
    if outcome.is_scaled and experiment.scale:
        yield (
            f"{SCALED}: {'; '.join(experiment.scale.changes)}. Absolute numbers are not compared, the "
            "direction of an effect is."
        )
    if outcome.seeds:
        yield "Seeds: " + ", ".join(f"{n} {name}" for name, n in outcome.seeds.items()) + "."
    yield _summary(outcome)


def _summary(outcome: Outcome) -> str:
    """Count the verdicts, in a sentence for numbers and one for each column's effects."""
    verdicts = [one.verdict.word for one in outcome.numbers if one.verdict]
    said = [_counted("Reported numbers", verdicts)] if verdicts else ["No number was reported."]
    for column in ("replayed", "controlled"):
        words = [judged.word for one in outcome.conclusions if (judged := getattr(one, column))]
        said += [_counted(f"Effects {column}", words)] if words else []
    return " ".join(said)


def _counted(what: str, words: Sequence[str]) -> str:
    between = "; " if any("," in word for word in words) else ", "
    return f"{what}: {between.join(f'{n} {word}' for word, n in Counter(words).items())}."


def as_text(outcome: Outcome) -> str:
    """Return an outcome for a terminal."""
    title, *lines = headline(outcome)
    blocks = [title + "\n" + "\n".join(terminal.filled(line) for line in lines)]
    blocks.append(_plain(numbers_table(outcome)))
    if outcome.conclusions:
        blocks.append(_plain(effects_table(outcome)))
    blocks += [
        f"{heading}\n" + "\n".join(terminal.filled(one, "    ", "  * ") for one in entries)
        for heading, entries in remarks(outcome)
        if entries
    ]
    blocks += [terminal.filled(line) for line in _legend(outcome)]
    if outcome.command:
        blocks.append(f"Repeat with:\n  {outcome.command}")
    return "\n\n".join(blocks) + "\n"


def as_markdown(outcome: Outcome) -> str:
    """Return an outcome as Markdown."""
    title, *lines = headline(outcome)
    blocks = [f"# {markdown_text(title)}", *map(markdown_text, lines), _markdown(numbers_table(outcome))]
    if outcome.conclusions:
        blocks.append(_markdown(effects_table(outcome)))
    blocks += [
        f"**{heading[0].upper()}{heading[1:]}**\n\n" + "\n".join(f"* {markdown_text(one)}" for one in entries)
        for heading, entries in remarks(outcome)
        if entries
    ]
    blocks += [f"**Where the numbers stand**\n\n{_markdown(_places(outcome))}"]
    blocks += map(markdown_text, _legend(outcome))
    if outcome.command:
        blocks.append(f"Repeat with {markdown_span(outcome.command)}")
    return "\n\n".join(blocks) + "\n"


def as_json(outcome: Outcome) -> str:
    """Return an outcome as JSON: everything that the tables say, unrounded."""
    experiment = outcome.experiment
    scale = experiment.scale if outcome.is_scaled else None
    content: dict[str, Any] = {
        "name": outcome.name,
        "title": experiment.title,
        "source": experiment.source,
        "paper": experiment.paper,
        "url": experiment.url,
        "known": experiment.known,
        "scaled": list(scale.changes) if scale else None,
        "replaced": {what: small.model_dump(mode="json") for what, _, small in replaced(experiment)}
        if scale
        else {},
        "seeds": dict(outcome.seeds),
        "failed": dict(outcome.failed),
        "numbers": [_number_entry(one) for one in outcome.numbers],
        "effects": [
            {
                **one.effect.model_dump(mode="json"),
                "error": experiment.error_of(one.effect),
                "replayed": asdict(one.replayed) if one.replayed else None,
                "controlled": asdict(one.controlled) if one.controlled else None,
            }
            for one in outcome.conclusions
        ],
        "holes": list(experiment.holes),
        "departures": list(experiment.departures),
        "needs": list(experiment.needs),
        "command": outcome.command,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


RENDERED = {"text": as_text, "markdown": as_markdown, "json": as_json}


def list_table(found: Mapping[str, Experiment], states: Mapping[str, str]) -> Table:
    """Return all experiments: what is known of their settings, what can be run here, and what was."""
    header = ("experiment", "source", "settings", "on this machine", "results")
    rows = tuple(
        (name, one.source, one.known, where_it_runs(one), states.get(name, "not run"))
        for name, one in found.items()
    )
    return Table(header, rows, ())


def docs_rows(found: Mapping[str, Experiment]) -> list[str]:
    """Return the lines of the table in docs/replay.md; a test holds the page to them."""
    return [
        f"| `{name}` | {one.source} | {one.title} | {one.known} | {where_it_runs(one)} |"
        for name, one in found.items()
    ]


def where_it_runs(experiment: Experiment) -> str:
    """Say in a few words what it takes to run an experiment."""
    if not experiment.runs_here:
        return "cannot be run: " + "; ".join(experiment.needs[:1])
    if experiment.stored is not None:
        return "seconds, from published predictions"
    full = experiment.full_hours or "a GPU"
    scale = experiment.scale
    return f"{full}; --scale: {scale.core_minutes:g} core-minutes" if scale else full


def list_text(table: Table) -> str:
    """Return the list for a terminal."""
    return _plain(table)


def list_markdown(table: Table) -> str:
    """Return the list as Markdown."""
    return _markdown(table)


def list_json(table: Table) -> str:
    """Return the list as JSON."""
    return json.dumps([dict(zip(table.header, row, strict=True)) for row in table.rows], indent=1)


# ------------------------------------------------------------------------------------------------- the cells


def _number_entry(one: Numbers) -> dict[str, Any]:
    return {
        "name": one.name,
        "unit": one.unit,
        "reported": one.reported.model_dump(mode="json") if one.reported else None,
        "replayed": asdict(one.replayed) if one.replayed else None,
        "verdict": asdict(one.verdict) if one.verdict else None,
        "controlled": asdict(one.controlled) if one.controlled else None,
    }


def _places(outcome: Outcome) -> Table:
    rows = []
    for one in outcome.experiment.reported:
        images = f"{one.images:,} images" if one.images else "images not told"
        runs = terminal.count(one.runs, "run") if one.runs else "runs not told"
        rows.append((one.name, _printed(one), f"{one.split}, {images}, {runs}", one.where))
    rows += [
        (one.effect.name, _reported_effect(one), "effect", one.effect.where) for one in outcome.conclusions
    ]
    return Table(("number", "value", "measured on", "where"), tuple(rows), ())


def _digits(value: float, unit: str) -> str:
    if unit in ("%", "points"):
        return f"{value:.2f}"
    return f"{value:.3g}"


def _reported(one: Numbers) -> str:
    return _NOTHING if one.reported is None else _printed(one.reported)


def _printed(one: Reported) -> str:
    """Write a number with the digits that its source printed, as far as its rounding tells them."""
    places = -math.log10(2 * one.error) if one.error else -1.0
    is_rounding = abs(places - round(places)) < _ROUNDING and 0 <= places <= _MOST_PLACES
    number = f"{one.value:.{round(places)}f}" if is_rounding else f"{one.value:g}"
    return f"{number} {one.unit}".rstrip()


def _estimate(found: "Estimate | None", unit: str) -> str:
    if found is None:
        return _NOTHING
    half = f" ±{_digits(found.half_width, unit)}" if found.half_width is not None else ""
    few = f" (n = {found.n})" if 1 < found.n < 5 else ""
    return f"{_digits(found.mean, unit)}{half}{few}"


def _agreement(verdict: "Agreement | None") -> str:
    if verdict is None:
        return _NOTHING
    if verdict.why:
        return f"{verdict.word} ({verdict.why})"
    if verdict.interval is None or verdict.interval.high - verdict.interval.low <= _WIDE:
        return verdict.word
    return f"{verdict.word} [{verdict.interval.low:.4g}, {verdict.interval.high:.4g}]"


def _reported_effect(one: Conclusion) -> str:
    effect = one.effect
    if effect.value is None:
        return (_SIGNS if effect.unit == "points" else _SIZES)[effect.sign]
    return f"{effect.value:+g}"


def _difference(judged: "Judged | None", unit: str) -> str:
    found = judged.found if judged else None
    if found is None:
        return _NOTHING
    sign = "+" if found.mean >= 0 else "-"
    half = f" ±{_digits(found.half_width, unit)}" if found.half_width is not None else ""
    return f"{sign}{_digits(abs(found.mean), unit)}{half}"


def _judged(judged: "Judged | None") -> str:
    if judged is None:
        return _NOTHING
    p = f", p {_p(judged.adjusted_p)}" if judged.adjusted_p is not None else ""
    return f"{judged.word} ({judged.why})" if judged.why else f"{judged.word}{p}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".", 1)


def _legend(outcome: Outcome) -> Iterator[str]:
    if outcome.experiment.stored is not None:
        yield (
            "replayed: computed again from the predictions that the source published, no network is trained. "
            "agrees: equal in the digits that were printed."
        )
        return
    if outcome.experiment.runs_here:
        yield _HOW
        if not outcome.is_scaled:
            yield _NUMBERS
    if outcome.conclusions:
        yield _EFFECTS


def _plain(table: Table) -> str:
    return terminal.plain_table(table.header, table.rows, table.right)


def _markdown(table: Table) -> str:
    rule = ["---:" if place in table.right else "---" for place in range(len(table.header))]
    lines = [table.header, rule, *table.rows]
    return "\n".join(
        f"| {' | '.join(cell if line is rule else markdown_text(cell) for cell in line)} |" for line in lines
    )
