"""`genbench run`."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from genbench import terminal
from genbench.cli._logs import tell
from genbench.cli._options import (
    device_option,
    jobs_option,
    log_format_option,
    make_registry,
    make_store,
    on_the_dataset,
    plugin_options,
    read_suite,
    records_option,
    store_option,
    suite_options,
    suite_path,
    timeout_option,
)
from genbench.cli._output import echo, warn
from genbench.devices import choose_workers
from genbench.errors import ExitCode, UsageError
from genbench.request import settled, shell_line


@click.command("run")
@suite_options
@jobs_option
@device_option
@timeout_option
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between checkpoints of a long step.",
)
@click.option(
    "--executor",
    default="processes",
    show_default=True,
    metavar="NAME[:...]",
    help="Where steps run (`genbench list executors`).",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    metavar="TIMES",
    help="How often a step is begun again when its worker is lost; one that fails by itself never is "
    "[default: 0; with ray, 3].",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of results; each run has a folder of its own in it [default: genbench-results].",
)
@click.option(
    "--name",
    help="Name of the run and of its folder; an error if that holds another run [default: what it runs].",
)
@click.option(
    "--max-memory",
    "max_memory_gib",
    type=click.FloatRange(min=0.5),
    metavar="GIB",
    help="Memory limit per worker. What needs more fails, unless smaller batches give the same result.",
)
@click.option(
    "--vectorize",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Train several seeds side by side; auto: on a GPU, where a probe says that it is faster.",
)
@click.option(
    "--confine",
    type=click.Choice(["auto", "require", "off", "all"]),
    default="auto",
    show_default=True,
    help="Keep code of plugins from all files and networks but its inputs. auto: where this machine can; "
    "require: fail where it cannot; all: like require, for built-in components, too; off: no limits.",
)
@records_option
@click.option("--profile", is_flag=True, help="Trace trainings, and print where their time goes.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures and the leaderboard only.")
@log_format_option
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Run a suite, or the cells that options name, and print the leaderboard.

    SUITE is a TOML file or the name of a ready suite (`genbench list suites`); options override its entries.
    What the store already holds is not done again: after Ctrl-C or a crash, the same command resumes.
    A run that compares something else gets a folder of its own: no board is overwritten (`genbench runs`).

    \b
    genbench run --generator ddpm --classifier resnet32
    genbench run -d cifar10 -g ddpm:schedule=linear -g classical -c cnn --seeds 10
    genbench run -d imagefolder:photos -g ddpm -c resnet32 --ratio 0.5 --ratio 2
    """
    if options["quiet"]:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _run(options)


def _run(options: dict[str, Any]) -> None:
    """Run what the options name; once more, in smaller batches, if the dataset turns out not to fill them."""
    from genbench.adoption import adopt
    from genbench.cli._ending import ending
    from genbench.cli._progress import make_progress
    from genbench.executors.making import engine_named, jobs_elsewhere
    from genbench.publish import Publication, check_results
    from genbench.runner import run
    from genbench.worker import RunOptions

    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    asked = read_suite(options["suite"], options)
    out = options["out"] or folder_of_runs(options["suite"])
    check_results(out, asked)  # before the plan, for which files are read and hashed
    plan, suite, changes = settled(registry, store, asked)
    adopted = adopt(plan, store, options["adopted"]).remark if options["adopted"] else ""
    elsewhere = jobs_elsewhere(engine_named(registry, options["executor"]))
    workers = choose_workers(options["device"], options["jobs"], warn, elsewhere=elsewhere)
    publication = Publication.prepared(
        plan,
        suite,
        store,
        out,
        shell_line(["genbench", *sys.argv[1:]]),
        named=options["name"] is not None,
        suite_file=suite_path(options["suite"]) if options["suite"] else None,
    )
    run_options = RunOptions(
        **workers._asdict(),
        step_timeout_seconds=options["step_timeout"],
        checkpoint_seconds=options["checkpoint_every"],
        executor=options["executor"],
        retries=options["retries"],
        command=publication.run.command,
        profile=options["profile"],
        max_memory_gib=options["max_memory_gib"],
        vectorize=options["vectorize"],
        confine=options["confine"],
    )
    began = time.time()
    try:
        with publication.claimed(), make_progress(quiet=options["quiet"]) as progress:
            for remark in filter(None, (on_the_dataset(options, suite), *changes, adopted)):
                progress.notice(remark)
            summary = run(plan, store, registry, run_options, publication.watched(progress.observer))
    except UsageError:
        if settled(registry, store, asked).changes == changes:
            raise
        _run(options)  # how many images there are was not known before
        return
    published = publication.publish(summary)
    tell(
        "written",
        f"results are in {published.folder}",
        folder=str(published.folder),
        records=len(summary.records),
        headline=published.run.headline,
    )
    if published.board:
        echo(published.board)
    if publication.place.notice:
        echo(publication.place.notice)
    for paragraph in ending(published, is_default=bool(on_the_dataset(options, suite))):
        echo(f"{paragraph}\n")
    if options["profile"]:
        echo("\n".join(_profile_lines(store.root / "logs", began)))
    count = len({record.result.key for record in summary.records if record.result.status == "failed"})
    if summary.failed or count:
        echo(
            f"{terminal.count(count, 'evaluation')} failed; `genbench retry` clears failures, "
            f"logs are in {store.root}/logs",
            err=True,
        )
        sys.exit(ExitCode.CELLS_FAILED)


def folder_of_runs(suite: str | None) -> Path:
    """Return where the folder of this run goes: to where it is, if it is repeated by the suite in it."""
    from genbench.runs import FILE

    place = suite_path(suite).parent if suite else None
    if place is not None and (place / FILE).is_file():
        return place.resolve().parent
    return Path("genbench-results")


def _profile_lines(logs: Path, began: float) -> Iterator[str]:
    """Yield where the time of this run's trainings went, one training per classifier and arm."""
    files = [file for file in sorted(logs.glob("*.profile.json")) if file.stat().st_mtime >= began]
    if not files:
        yield "nothing to profile: no training ran long enough, or every one is cached"
    seen: set[str] = set()
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        what = found["label"].rpartition(", seed")[0]
        if what not in seen:
            seen.add(what)
            phases = ", ".join(f"{name} {share:.0f} %" for name, share in found["phases"].items())
            yield f"profile: {what}: {phases}"
            for name, share in found["operators"].items():
                yield f"  {share:5.1f} % of {found['of']}  {name}"
            yield f"  trace (chrome://tracing): {file.with_name(file.name.replace('.profile.', '.trace.'))}"
