"""`genbench status`."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._durations import duration
from genbench.cli._options import make_store, store_option
from genbench.cli._output import Styled, echo
from genbench.errors import UsageError
from genbench.terminal import as_wide, count, plain_table

if TYPE_CHECKING:
    from genbench.detached import Standing
    from genbench.journals import State, StepNews, Story

_SHOWN = 12  #: steps of a list


@click.command("status")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--all", "show_all", is_flag=True, help="List every step, however many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
@store_option
def command(run: str | None, show_all: bool, as_json: bool, store_folder: Path | None) -> None:
    """Show how many steps of a run wait, run, are done and failed; where each runs, and why each failed.

    RUN is its name, its folder, or the number of the job that `genbench submit` printed; without it, the
    newest run is shown. Works from every machine that sees the store, with every executor.

    \b
    genbench status
    genbench status digits-ddpm-resnet32
    """
    from genbench.detached import standing_of, standings, whole

    usual = Path("genbench-results")
    folders = [usual] if usual.is_dir() else []
    store = make_store(store_folder)
    if run is not None:
        chosen, others = standing_of(store, run, folders), []
    else:
        known = standings(store, folders)
        if not known:
            raise UsageError("no runs found", hint="genbench run --generator ddpm --classifier resnet32")
        chosen = whole(store, known[0])
        others = [one for one in known[1:] if one.state in {"queued", "running"}]
    if as_json:
        echo(json.dumps(_as_json(chosen), indent=1))
        return
    most = len(chosen.story.steps) if show_all and chosen.story else _SHOWN
    echo(Styled(chosen.name, bold=True), f"  {_state(chosen)}")
    for line in _lines(chosen, most):
        echo(line)
    for one in others:
        echo(f"also {one.state}: genbench status {one.name}")


def _state(one: "Standing") -> str:
    """Say in a line how a run stands."""
    job = f" (job {one.submitted.job}" if one.submitted else ""
    if one.state == "queued" and one.controller is not None:
        reason = one.controller.reason
        return f"waits in SLURM's queue{job}{f': {reason}' if reason else ''})"
    where = one.story.host if one.story else (one.controller.node if one.controller else "")
    said = {"running": "runs", "queued": "waits", "stopped": "stopped", "done": "is done"}[one.state]
    if job:
        return f"{said}{job}{f' on {where}' if where else ''})"
    place = f" on {where} (PID {one.story.pid})" if one.story and one.state == "running" else ""
    return f"{said}{place}"


def _lines(one: "Standing", most: int) -> Iterator[str]:
    if one.story is not None:
        if one.state == "running":
            now = time.time()
            began, told = duration(now - one.story.began), duration(now - one.story.told)
            yield f"began {began} ago, last news {told} ago"
            if not one.is_certain:
                yield "  from here it cannot be seen whether its process lives: trust the last news"
        yield from _of_story(one.story, most, runs=one.state == "running")
    elif one.state == "done" or not one.submitted:
        yield "nothing is known of its steps: it ran before genbench kept a journal, or with another store"
    if one.log:
        yield "the end of its output:"
        yield from (f"  {line}" for line in one.log.splitlines()[-8:])
    if one.submitted is not None and one.state != "done":
        yield f"output: {one.submitted.log}"
    if one.state == "stopped":
        yield f"the same command resumes it: genbench {'submit' if one.submitted else 'run'} ..."
    yield f"folder: {one.folder}"


def _of_story(story: "Story", most: int, *, runs: bool) -> Iterator[str]:
    from genbench.journals import STATES

    yield ""
    yield _table(story, STATES)
    if story.cached:
        yield f"{count(story.cached, 'step')} were done before, or not needed"
    for title, steps in (
        ("running", story.in_state("running") if runs else []),
        ("queued", story.in_state("queued") if runs else []),
        ("failed", story.in_state("failed")),
    ):
        if steps:
            yield ""
            yield f"{title}:"
            yield from (as_wide(f"  {_told(step)}") for step in steps[:most])
            if len(steps) > most:
                yield f"  and {len(steps) - most} more (--all lists them)"


def _table(story: "Story", states: "tuple[State, ...]") -> str:
    stages = list(dict.fromkeys(step.stage for step in story.steps.values()))
    rows = []
    for stage in stages:
        found = Counter(step.state for step in story.steps.values() if step.stage == stage)
        rows.append([stage, *(str(found[state] or "-") for state in states)])
    total = Counter(step.state for step in story.steps.values())
    rows.append(["all", *(str(total[state] or "-") for state in states)])
    return plain_table(["step", *states], rows, right=range(1, len(states) + 1))


def _told(step: "StepNews") -> str:
    """Say what is known of one step."""
    facts = []
    if step.state == "running":
        facts.append(f"on {step.host or 'a worker'} since {duration(max(0.0, time.time() - step.since))}")
    elif step.state == "failed":
        facts.append(f"{step.kind}{f' on {step.host}' if step.host else ''}: {step.why}")
    elif step.note:
        facts.append(step.note)
    if step.attempt > 1:
        before = f" (before: {step.why})" if step.state != "failed" and step.why else ""
        facts.append(f"attempt {step.attempt}{before}")
    return f"{step.label}: {', '.join(facts)}" if facts else step.label


def _as_json(one: "Standing") -> dict[str, Any]:
    story = one.story
    return {
        "name": one.name,
        "state": one.state,
        "folder": str(one.folder),
        "job": one.submitted.job if one.submitted else None,
        "reason": one.controller.reason if one.controller else "",
        "log": one.submitted.log if one.submitted else None,
        "host": story.host if story else "",
        "pid": story.pid if story else 0,
        "steps": {key: asdict(step) for key, step in story.steps.items()} if story else {},
    }
