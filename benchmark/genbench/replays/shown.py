"""What is shown of an experiment: a table of numbers and one of effects, and what explains them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genbench import terminal
from genbench.escaping import markdown_span, markdown_text
from genbench.replays.experiment import replaced
from genbench.replays.outcome import Conclusion, Numbers, Outcome
from genbench.replays.planned import PlannedReplay, plan_entry, plan_lines, plan_points
from genbench.replays.tables import Table, markdown, plain
from genbench.replays.words import (
    NOT_RUN,
    WIDE,
    doubt_of,
    headline,
    in_words,
    legend,
    printed,
    verdict_of,
    was_run,
)

if TYPE_CHECKING:
    from genbench_leaderboard.replays import Judged
    from genbench_leaderboard.statistics import Estimate

_NOTHING = "-"
_ADDRESS = re.compile(r"https://[\w./~-]+")  # with nothing in it that Markdown or HTML would read otherwise
#: How an effect is written that was reported in words alone: of an accuracy, and of any other number.
_SIGNS = {1: "better", 0: "no different", -1: "worse"}
_SIZES = {1: "larger", 0: "no different", -1: "smaller"}


def numbers_table(outcome: Outcome) -> Table:
    """Return the numbers: reported, replayed, whether they agree, controlled; columns that say nothing go."""
    header = ("", "reported", "replayed", "verdict", "controlled")
    is_stored = outcome.experiment.stored is not None
    rows = tuple(
        (
            one.name,
            _reported(one),
            _estimate(one.replayed, one.unit),
            _agreement(one, is_stored=is_stored),
            _estimate(one.controlled, one.unit),
        )
        for one in sorted(outcome.numbers, key=_is_doubtful)
        if one.reported or was_run(outcome)
    )
    return _saying(header, rows, (1, 2, 4))


def _is_doubtful(one: Numbers) -> bool:
    """Say whether nobody read a number in its source: those that somebody did come first."""
    return bool(one.reported and doubt_of(one.reported))


def effects_table(outcome: Outcome) -> Table:
    """Return the effects: reported, and in each column with a verdict; columns that say nothing go."""
    header = ("effect", "reported", "replayed", "verdict", "controlled", "verdict")
    rows = tuple(
        (
            one.effect.name,
            reported_effect(one),
            difference_text(one.replayed, one.effect.unit),
            _judged(one.replayed),
            difference_text(one.controlled, one.effect.unit),
            _judged(one.controlled),
        )
        for one in outcome.conclusions
    )
    return _saying(header, rows, (1, 2, 4))


def _tables(outcome: Outcome) -> list[Table]:
    """Return the tables that have rows: what was reported in words alone has no numbers before a run."""
    return [table for table in (numbers_table(outcome), effects_table(outcome)) if table.rows]


def _saying(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...], right: tuple[int, ...]) -> Table:
    """Return a table without the columns in which no row says anything."""
    kept = [
        place
        for place in range(len(header))
        if not place or not {row[place] for row in rows} <= {_NOTHING, NOT_RUN}
    ]
    return Table(
        tuple(header[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in rows),
        tuple(new for new, place in enumerate(kept) if place in right),
    )


def remarks(outcome: Outcome) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what a reader must know, by heading."""
    experiment = outcome.experiment
    holes = [f"{one.name}: {hole}" for one in experiment.reported for hole in one.holes]
    yield "left open by the source", (*experiment.holes, *holes)
    yield "done otherwise here", experiment.departures
    yield "what a run would need", () if outcome.is_scaled else experiment.needs
    failures = [f"{name}: {terminal.count(n, 'evaluation')}" for name, n in outcome.failed.items() if n]
    yield "failed", failures
    yield "asked for and not found", outcome.unfound


def as_text(outcome: Outcome, plan: PlannedReplay | None = None) -> str:
    """Return an outcome for a terminal; of a dry run, with what it would have run."""
    title, *lines = headline(outcome, is_planned=plan is not None)
    blocks = ["\n".join(terminal.filled(line) for line in (title, *lines))]
    blocks += plan_lines(plan) if plan else ()
    blocks += [plain(table) for table in _tables(outcome)]
    blocks += [
        f"{heading}\n" + "\n".join(terminal.filled(one, "    ", "  * ") for one in entries)
        for heading, entries in remarks(outcome)
        if entries
    ]
    blocks += [terminal.filled(line) for line in legend(outcome)]
    if outcome.command and plan is None:
        blocks.append(f"Repeat with:\n  {outcome.command}")
    return "\n\n".join(blocks) + "\n"


def as_markdown(outcome: Outcome, plan: PlannedReplay | None = None) -> str:
    """Return an outcome as Markdown; of a dry run, with what it would have run."""
    address = outcome.experiment.url
    is_link = bool(_ADDRESS.fullmatch(address))
    title, *lines = headline(outcome, is_planned=plan is not None, has_address=not is_link)
    blocks = [f"# {markdown_text(title)}", *([f"<{address}>"] if is_link else []), *map(markdown_text, lines)]
    if plan:
        blocks.append("\n".join(f"* {markdown_text(point)}" for point in plan_points(plan)))
    blocks += [markdown(table) for table in _tables(outcome)]
    blocks += [
        f"**{heading[0].upper()}{heading[1:]}**\n\n" + "\n".join(f"* {markdown_text(one)}" for one in entries)
        for heading, entries in remarks(outcome)
        if entries
    ]
    blocks += [f"**Where the numbers stand**\n\n{markdown(_places(outcome))}"]
    blocks += map(markdown_text, legend(outcome))
    if outcome.command:
        blocks.append(f"{'Run it' if plan else 'Repeat'} with {markdown_span(outcome.command)}")
    return "\n\n".join(blocks) + "\n"


def as_json(outcome: Outcome, plan: PlannedReplay | None = None) -> str:
    """Return an outcome as JSON: everything that the tables say, unrounded; of a dry run, its plan, too."""
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
        "unfound": list(outcome.unfound),
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
    if plan is not None:
        content["plan"] = plan_entry(plan)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


RENDERED = {"text": as_text, "markdown": as_markdown, "json": as_json}


# ------------------------------------------------------------------------------------------------- the cells


def _number_entry(one: Numbers) -> dict[str, Any]:
    return {
        "name": one.name,
        "unit": one.unit,
        "reported": one.reported.model_dump(mode="json") if one.reported else None,
        "replayed": asdict(one.replayed) if one.replayed else None,
        "verdict": {**asdict(one.verdict), "word": in_words(*verdict_of(one))} if one.verdict else None,
        "controlled": asdict(one.controlled) if one.controlled else None,
    }


def _places(outcome: Outcome) -> Table:
    rows = []
    for one in outcome.experiment.reported:
        images = f"{one.images:,} images" if one.images else "images not told"
        runs = terminal.count(one.runs, "run") if one.runs else "runs not told"
        rows.append((one.name, printed(one), f"{one.split}, {images}, {runs}", one.where))
    rows += [
        (one.effect.name, reported_effect(one), "effect", one.effect.where) for one in outcome.conclusions
    ]
    return Table(("number", "value", "measured on", "where"), tuple(rows), ())


def _digits(value: float, unit: str) -> str:
    if unit in ("%", "points"):
        return f"{value:.2f}"
    return f"{value:.3g}"


def _reported(one: Numbers) -> str:
    if one.reported is None:
        return _NOTHING
    doubt = "" if one.replayed else doubt_of(one.reported)
    return in_words(printed(one.reported), doubt)


def _estimate(found: "Estimate | None", unit: str) -> str:
    if found is None:
        return _NOTHING
    half = f" ±{_digits(found.half_width, unit)}" if found.half_width is not None else ""
    few = f" (n = {found.n})" if 1 < found.n < 5 else ""
    return f"{_digits(found.mean, unit)}{half}{few}"


def _agreement(one: Numbers, *, is_stored: bool) -> str:
    """Write a verdict on a number; predictions that are counted again have no interval but rounding."""
    verdict = one.verdict
    if verdict is None:
        return _NOTHING
    word, interval = in_words(*verdict_of(one)), verdict.interval
    if verdict.why:
        return f"{word} ({verdict.why})"
    if is_stored or interval is None or interval.high - interval.low <= WIDE:
        return word
    return f"{word} [{interval.low:.4g}, {interval.high:.4g}]"


def reported_effect(one: Conclusion) -> str:
    """Write an effect as its source reports it: its size, or its direction in a word."""
    effect = one.effect
    if effect.value is None:
        return (_SIGNS if effect.unit == "points" else _SIZES)[effect.sign]
    return f"{effect.value:+g}"


def difference_text(judged: "Judged | None", unit: str) -> str:
    """Write a difference of two arms with the half-width of its interval."""
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
