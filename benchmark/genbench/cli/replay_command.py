"""`genbench replay`."""

import sys
from pathlib import Path
from typing import Any

import click

from genbench.cli._logs import tell
from genbench.cli._options import (
    device_option,
    jobs_option,
    log_format_option,
    make_registry,
    make_store,
    plugin_options,
    store_option,
    timeout_option,
)
from genbench.cli._output import echo
from genbench.errors import DataError, ExitCode
from genbench.request import shell_line

_RESULTS = Path("genbench-results")


@click.command("replay")
@click.argument("name", required=False)
@click.option(
    "--scale", is_flag=True, help="The CPU-sized version: the same comparison with smaller components."
)
@click.option(
    "--only",
    type=click.Choice(["replayed", "controlled"]),
    help="Run this column alone; the other one is shown as far as it was run before.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Run nothing: show what would be run, what was reported, and what earlier runs left.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds of both columns [default: 5].")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_RESULTS,
    show_default=True,
    help="Folder of results; each experiment has a folder of its own in it.",
)
@jobs_option
@device_option
@timeout_option
@click.option("-q", "--quiet", is_flag=True, help="Print failures and the tables only.")
@log_format_option
@store_option
@plugin_options
def command(name: str | None, form: str, **options: Any) -> None:
    """Run a source's experiment: what it reported, the same settings replayed, and the controlled version.

    Without NAME: all experiments, how much of their settings is known, and what they take. NAME may be a
    file of yours.
    What the store already holds is not done again: after Ctrl-C, the same command resumes.

    \b
    genbench replay
    genbench replay recht-c10.1
    genbench replay s3-ddpm-cnn --scale
    """
    from genbench.replays.experiment import load_experiment
    from genbench.replays.runs import How, replay
    from genbench.replays.shown import RENDERED

    if name is None:
        _list_all(form, options["out"])
        return
    stem, experiment = load_experiment(name)
    only = (options["only"],) if options["only"] else None
    how = How(
        registry=make_registry(options["plugin_files"], options["no_plugins"]),
        store=make_store(options["store_folder"]),
        out=options["out"],
        command=shell_line(["genbench", *(word for word in sys.argv[1:] if word != "--dry-run")]),
        is_scaled=options["scale"],
        seeds=options["seeds"],
        columns=() if options["dry_run"] else only,
        planned_columns=only,
        passed_on={
            "device": options["device"],
            "jobs": options["jobs"],
            "step_timeout": options["step_timeout"],
            "store": options["store_folder"],
            "plugins": options["plugin_files"],
            "no_plugins": options["no_plugins"] or None,
        },
    )
    outcome = replay(stem, experiment, how, lambda: _progress(quiet=options["quiet"]))
    if not options["dry_run"]:
        folder = str(how.folder(stem))
        tell("written", f"results are in {folder}", folder=folder, records=None, headline="")
    echo(RENDERED[form](outcome.found, outcome.plan).rstrip("\n"))
    for line in outcome.lines:
        echo(line, err=form != "text")
    if options["dry_run"]:
        return
    if any(outcome.found.failed.values()):
        echo(
            f"some evaluations failed; `genbench retry` clears failures, logs are in {how.store.root}/logs",
            err=True,
        )
        sys.exit(ExitCode.CELLS_FAILED)
    if outcome.found.unfound:
        hint = "genbench docs replay   (metric, split, role and against of an arm, evaluators of a column)"
        raise DataError(f"{stem}: {'; '.join(outcome.found.unfound)}", hint=hint)


def _progress(*, quiet: bool) -> Any:
    from genbench.cli._progress import make_progress

    return make_progress(quiet=quiet)


def _list_all(form: str, out: Path) -> None:
    """Print all experiments."""
    from genbench.replays import conclusions as ended
    from genbench.replays.experiment import experiments, load_experiment
    from genbench.replays.listed import list_json, list_markdown, list_text

    found = {name: load_experiment(name)[1] for name in experiments()}
    results = ended.concluded(out, list(found))
    states = ended.states(results)
    if form == "json":
        echo(list_json(found, states, ended.conclusions_entries(results)))
        return
    if form == "markdown":
        blocks = [ended.conclusions_markdown(results, out), list_markdown(found, states)]
    else:
        blocks = [list_text(found, states), ended.conclusions_text(results)]
    echo("\n\n".join(block for block in blocks if block))
    if form == "text":
        echo("\ngenbench replay NAME runs one, with --scale in minutes on a CPU (genbench docs replay)")
