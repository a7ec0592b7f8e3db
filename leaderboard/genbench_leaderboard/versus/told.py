"""What a comparison of two boards found, as text for a terminal, Markdown, or JSON."""

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from genbench import terminal
from genbench.escaping import LONGEST_LABEL, json_text, markdown_text, one_line
from genbench_leaderboard.crossed import ALPHA
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT
from genbench_leaderboard.versus.outcome import Difference, GroupVersus, Outcome, Versus
from genbench_leaderboard.versus.sides import Gain, SideRow

SCHEMA_VERSION = 1
_ABSENT, _NOTHING = "-", "-"
_MOST_DIFFERENCES = 40  # of a group, in text and Markdown; JSON has all
_HEADS = ("row", "of", "A", "B", "B - A", "n", "p (Holm)", "told apart?")
_LEGEND = (
    "gain: difference in top-1 to real images alone with the same augmentation, in points; top-1: in %. "
    "B - A: in points, with half a 95 % interval, unadjusted; n: the seeds that it rests on. Told apart "
    "where p < {alpha:g} after Holm over the rows of this table; fewer than {seeds} seeds tell nothing, void "
    "rows neither: they are not among Holm's. Exploratory: no suite declared this comparison before test "
    "was read."
)


def _text(found: Versus) -> str:
    """Return it as plain text, as wide as the terminal."""
    width = terminal.width()
    blocks = [f"A: {one_line(found.a)}\nB: {one_line(found.b)}"]
    for group in found.groups:
        title = _title(group)
        blocks += [f"{title}\n{'=' * min(len(title), width)}", _filled(_configuration(group), width)]
        lines = _difference_lines(group)
        if lines:
            blocks.append("\n".join(textwrap.fill(line, width, subsequent_indent="      ") for line in lines))
        blocks += [_table(group, width), _filled(_legend(group), width)]
        blocks += [_filled(line, width) for line in _alone(group)]
    blocks += [_filled(line, width) for line in _groups_alone(found)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown(found: Versus) -> str:
    """Return it as GitHub shows it."""
    blocks = [f"# {_md(found.a)} and {_md(found.b)}", f"A: {_md(found.a)}. B: {_md(found.b)}."]
    for group in found.groups:
        blocks += [f"## {_md(_title(group))}", _md(_configuration(group))]
        lines = [f"* {_md(line.strip())}" for line in _difference_lines(group)]
        blocks += ["\n".join(lines)] if lines else []
        rows = [[_md(cell) for cell in _cells(one)] for one in group.outcomes]
        blocks += [tabulate(rows, _HEADS, tablefmt="github", disable_numparse=True)] if rows else []
        blocks += [_md(_legend(group)), *(_md(line) for line in _alone(group))]
    blocks += [_md(line) for line in _groups_alone(found)]
    return "\n\n".join(blocks) + "\n"


def _json(found: Versus) -> str:
    """Return everything that was found, with numbers that are not rounded."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "a": found.a,
        "b": found.b,
        "groups": [_group_as_json(group) for group in found.groups],
        "differences": _as_json(found.differences),
        "only_a": [group.title for group in found.only_a],
        "only_b": [group.title for group in found.only_b],
    }
    return json_text(json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False, default=str)) + "\n"


FORMS: Mapping[str, Callable[[Versus], str]] = {"text": _text, "markdown": _markdown, "json": _json}


def render(found: Versus, form: str) -> str:
    """Write what was found in one of `FORMS`."""
    return FORMS[form](found)


# --------------------------------------------------------------------------------------------------- words


def _title(group: GroupVersus) -> str:
    a, b = one_line(group.a.title, LONGEST_LABEL), one_line(group.b.title, LONGEST_LABEL)
    return a if a == b else f"A: {a}; B: {b}"


def _configuration(group: GroupVersus) -> str:
    count = len(group.differences) + sum(len(one.differences) for one in group.outcomes)
    told = "What differs in configuration:" if count else "Nothing differs in configuration that is known."
    if not count and (group.only_a or group.only_b):
        told = "What differs in configuration: rows that only one side has, which are named below."
    if not (group.a.config and group.b.config):
        told += " Of a board's JSON, options are known as far as its labels say them."
    return told


def _difference_lines(group: GroupVersus) -> list[str]:
    lines = [_line(one) for one in group.differences]
    for outcome in group.outcomes:
        known = set(outcome.but_for)
        rest = [one for one in outcome.differences if _part(one.path) not in known]
        lines += [_line(one, f"{outcome.a.name}: ") for one in rest]  # of all rows it is said already
    more = len(lines) - _MOST_DIFFERENCES
    return [*lines[:_MOST_DIFFERENCES], *([f"  and {more} more (--format json has all)"] if more > 0 else [])]


def _part(path: str) -> str:
    """Return the part of a row that a path lies in: `ratio` of `mix.ratio`, `generator` of its options."""
    return path.removeprefix("mix.").partition(".")[0]


def _line(one: Difference, of: str = "") -> str:
    return one_line(f"  {of}{one.path}: A {_value(one.a)}, B {_value(one.b)}", 4 * LONGEST_LABEL)


def _value(value: object) -> str:
    if isinstance(value, str):
        return value or _ABSENT
    return (
        json.dumps(value, default=str) if isinstance(value, int | float | list | dict | None) else str(value)
    )


def _legend(group: GroupVersus) -> str:
    told = _LEGEND.format(alpha=ALPHA, seeds=SEEDS_FOR_VERDICT)
    apart = dict.fromkeys(name for one in group.outcomes for name in one.but_for)
    if apart:
        told = (
            f"Rows with two names, (A) and (B), are alike but for {', '.join(apart)}, in which the two sides "
            f"differ throughout. {told}"
        )
    if not group.why_unpaired:
        return f"{_how_paired(group.outcomes)} {told}"
    return (
        f"Not paired ({group.why_unpaired}): the two sides are taken as independent runs, which is on the "
        f"safe side; n is that of the side with fewer. {told}"
    )


def _how_paired(outcomes: Iterable[Outcome]) -> str:
    """Say over which seeds the rows of a group are compared whose seeds and test images are the same."""
    compared = [one for one in outcomes if one.mean is not None]
    lines = []
    if any(one.paired and _is_partial(one) for one in compared):
        lines.append(
            "Paired by seeds and test images: B - A is over the n seeds that both have; A and B are over all "
            "their own."
        )
    elif all(one.paired for one in compared):
        return "Paired: both sides have the same seeds and test images."
    elif any(one.paired for one in compared):
        lines.append("Paired by seeds and test images.")
    if not all(one.paired for one in compared):
        alone = ", ".join(one_line(one.a.name) for one in compared if not one.paired)
        lines.append(f"Not paired, since no seed is known on both sides, but as independent runs: {alone}.")
    return " ".join(lines)


def _is_partial(one: Outcome) -> bool:
    """Say whether a side has seeds beside those that the comparison rests on."""
    return any(count > one.n for count in _seeds(one))


def _seeds(one: Outcome) -> tuple[int, int]:
    """Return the number of seeds behind the numbers of A and of B."""
    a, b = ((row.gain.n if row.gain is not None else len(row.keys)) for row in (one.a, one.b))
    return a, b


def _cells(one: Outcome) -> tuple[str, ...]:
    same = one.a.name == one.b.name
    name = one.a.name if same else f"{one.a.name} (A), {one.b.name} (B)"
    mean = _NOTHING if one.mean is None else f"{one.mean:+.2f}"
    half = "" if one.half_width is None else f" ±{one.half_width:.2f}"
    seeds = str(one.n or _NOTHING)
    if one.n and _is_partial(one):
        seeds += " (A {}, B {})".format(*_seeds(one))
    p = (
        _NOTHING
        if one.adjusted_p is None
        else "<0.001"
        if one.adjusted_p < 0.001
        else f"{one.adjusted_p:.3f}"
    )
    return (
        one_line(name),
        one.of,
        _side(one.a, one.of),
        _side(one.b, one.of),
        mean + half,
        seeds,
        p,
        _told(one),
    )


def _side(row: SideRow, of: str) -> str:
    if of == "top-1":
        return _NOTHING if row.top1 is None else f"{row.top1:.2f} %"
    return _NOTHING if row.gain is None else f"{_gain(row.gain)} ({row.verdict})"


def _gain(gain: Gain) -> str:
    half = "" if gain.half_width is None else f" ±{gain.half_width:.2f}"
    return f"{gain.mean:+.2f}{half}"


def _told(one: Outcome) -> str:
    if one.verdict == "cannot tell" and one.detectable_points is not None:
        return f"cannot tell (would have found {one.detectable_points:.2f})"
    return one.verdict


def _table(group: GroupVersus, width: int) -> str:
    rows = [_cells(one) for one in group.outcomes]
    if not rows:
        return "No row is on both sides."
    drawn = tabulate(rows, _HEADS, tablefmt="simple", disable_numparse=True)
    if max(map(len, drawn.splitlines())) <= width:
        return drawn
    return "\n".join(_as_list(row, width) for row in rows)  # what does not fit stands below its name


def _as_list(row: Sequence[str], width: int) -> str:
    lines = [textwrap.fill(row[0], width)]
    for head, cell in zip(_HEADS[1:], row[1:], strict=True):
        lines.append(textwrap.fill(f"  {head}: {cell}", width, subsequent_indent="    "))
    return "\n".join(lines)


def _alone(group: GroupVersus) -> Iterator[str]:
    for name, rows in (("A", group.only_a), ("B", group.only_b)):
        if rows:
            yield f"Only {name} has: {'; '.join(one_line(_row_alone(row)) for row in rows)}."


def _row_alone(row: SideRow) -> str:
    if row.gain is not None:
        return f"{row.name} (gain {_gain(row.gain)})"
    return row.name if row.top1 is None else f"{row.name} ({row.top1:.2f} %)"


def _groups_alone(found: Versus) -> Iterator[str]:
    if found.differences:
        named = "; ".join(_line(one).strip() for one in found.differences)
        yield f"Over all groups, what differs: {named}."
    for name, groups in (("A", found.only_a), ("B", found.only_b)):
        if groups:
            yield f"Only {name} has: {'; '.join(one_line(group.title) for group in groups)}."


def _filled(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _md(text: str) -> str:
    return markdown_text(text, 4 * LONGEST_LABEL)


# ---------------------------------------------------------------------------------------------------- JSON


def _group_as_json(group: GroupVersus) -> dict[str, Any]:
    return {
        "a": group.a.title,
        "b": group.b.title,
        "differences": _as_json(group.differences),
        "why_unpaired": group.why_unpaired,
        "rows": [_outcome_as_json(one) for one in group.outcomes],
        "only_a": [row.name for row in group.only_a],
        "only_b": [row.name for row in group.only_b],
    }


def _as_json(differences: Iterable[Difference]) -> list[dict[str, object]]:
    return [{"path": one.path, "a": _plain(one.a), "b": _plain(one.b)} for one in differences]


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)


def _outcome_as_json(one: Outcome) -> dict[str, Any]:
    numbers = ("of", "mean", "half_width", "n", "paired", "p", "adjusted_p", "verdict", "standard_error")
    return {
        "a": _row_as_json(one.a),
        "b": _row_as_json(one.b),
        "but_for": list(one.but_for),
        "differences": _as_json(one.differences),
        **{name: getattr(one, name) for name in (*numbers, "degrees_of_freedom", "detectable_points")},
    }


def _row_as_json(row: SideRow) -> dict[str, Any]:
    gain = None if row.gain is None else vars(row.gain)
    return {"name": row.name, "top1": row.top1, "gain": gain, "verdict": row.verdict, "void": row.void}
