"""The list of all experiments: what is known of their settings, and what it takes to run them here."""

import json
from collections.abc import Iterator, Mapping

from genbench import terminal
from genbench.replays.experiment import Experiment
from genbench.replays.tables import Table, markdown, plain


def entries(found: Mapping[str, Experiment], states: Mapping[str, str]) -> list[dict[str, str]]:
    """Return all experiments, those that can be run first.

    Args:
        found: By name.
        states: Which versions of them were run, in words.
    """
    return [
        {
            "experiment": name,
            "source": one.source,
            "settings": one.known,
            "on this machine": where_it_runs(one),
            "results": states.get(name, "not run"),
        }
        for name, one in _in_order(found).items()
    ]


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
    scale = experiment.scale
    return whole_takes(experiment) + (f"; --scale: {scale.core_minutes:g} core-minutes" if scale else "")


def whole_takes(experiment: Experiment) -> str:
    """Say what the whole of an experiment takes that can be run."""
    if experiment.stored is not None:
        return "seconds, from published predictions"
    return experiment.full_hours or "a GPU"


def list_text(found: Mapping[str, Experiment], states: Mapping[str, str]) -> str:
    """Return the list for a terminal: names in one piece, so that they can be copied."""
    blocks = [plain(_table(found, states))]
    lacking = {name: one for name, one in found.items() if not one.runs_here}
    if lacking:
        blocks.append("cannot be run here, and what it would need:\n" + "\n".join(_needs(lacking)))
    return "\n\n".join(blocks)


def list_markdown(found: Mapping[str, Experiment], states: Mapping[str, str]) -> str:
    """Return the list as Markdown."""
    rows = [tuple(one.values()) for one in entries(found, states)]
    return markdown(Table(tuple(entries(found, states)[0]), tuple(rows)))


def list_json(
    found: Mapping[str, Experiment],
    states: Mapping[str, str],
    effects: Mapping[str, list[dict[str, str]]],
) -> str:
    """Return the list as JSON; an experiment that was run has its `effects`, too."""
    rows = [{**row, "effects": effects.get(row["experiment"], [])} for row in entries(found, states)]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _in_order(found: Mapping[str, Experiment]) -> Mapping[str, Experiment]:
    return dict(sorted(found.items(), key=lambda one: not one[1].runs_here))


def _table(found: Mapping[str, Experiment], states: Mapping[str, str]) -> Table:
    """Return those that can be run; which were run is a column where any was."""
    some = any(states.get(name, "not run") != "not run" for name in found)
    header = ("experiment", "source", "settings", "takes", "--scale", *(["results"] if some else []))
    rows = tuple(
        (
            name,
            one.source,
            one.known,
            whole_takes(one),
            f"{one.scale.core_minutes:g} min" if one.scale else "",
            *([states.get(name, "not run")] if some else []),
        )
        for name, one in found.items()
        if one.runs_here
    )
    return Table(header, rows, right=(4,), whole=(0,))


def _needs(lacking: Mapping[str, Experiment]) -> Iterator[str]:
    for name, one in lacking.items():
        yield f"  {name} ({one.source}; {one.known})\n" + terminal.filled("; ".join(one.needs[:1]), "      ")
