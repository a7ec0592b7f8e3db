"""`genbench run`."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._devices import choose_workers
from genbench.cli._options import (
    device_option,
    make_plan_of,
    make_registry,
    make_store,
    plugin_options,
    read_suite,
    store_option,
    suite_options,
    timeout_option,
)
from genbench.cli._output import echo
from genbench.disk import check_output, write_output, writing_output
from genbench.errors import ExitCode

if TYPE_CHECKING:
    from genbench.plan import Plan

#: What a run writes into its folder, besides records and pictures.
_WRITTEN = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "pictures.md", "suite.toml")


@click.command("run")
@suite_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=0),
    help="Worker processes; 0 runs in this process [default: cores, or the number of GPUs].",
)
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
    "--executor", default="processes", show_default=True, help="Where steps run (`genbench list executors`)."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("genbench-results"),
    show_default=True,
    help="Folder for the leaderboard; records go to <out>/<suite>/records.",
)
@click.option(
    "--max-memory",
    "max_memory_gib",
    type=click.FloatRange(min=0.5),
    metavar="GIB",
    help="Memory limit per worker; a batch is split where that changes nothing, or the step fails.",
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
    help="Which files and networks code of plugins may reach: its inputs alone, where this machine can "
    "confine it; require: or fail; all: built-in components, too.",
)
@click.option("--profile", is_flag=True, help="Trace trainings, and print where their time goes.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures and the leaderboard only.")
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Run a suite, or the cells that options name, and print the leaderboard.

    SUITE is a TOML file or the name of a ready suite (`genbench list suites`); options override its entries.
    What the store already holds is not done again: after Ctrl-C or a crash, the same command resumes.

    \b
    genbench run --generator ddpm --classifier resnet32
    genbench run -d cifar10 -g ddpm:schedule=linear -g classical -c cnn --seeds 10
    genbench run -d imagefolder:photos -g ddpm -c resnet32 --ratio 0.5 --ratio 2
    """
    from genbench.cli._progress import make_progress
    from genbench.runner import run
    from genbench.verification.layout import suite_text
    from genbench.worker import RunOptions

    if options["quiet"]:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    suite = read_suite(options["suite"], options)
    folder = options["out"] / suite.name
    check_output(folder, "--out", folders=("records", "pictures"), files=_WRITTEN)
    plan = make_plan_of(registry, store, suite)
    workers = choose_workers(options["device"], options["jobs"])
    run_options = RunOptions(
        **workers._asdict(),
        step_timeout_seconds=options["step_timeout"],
        checkpoint_seconds=options["checkpoint_every"],
        executor=options["executor"],
        command=shlex.join(["genbench", *sys.argv[1:]]),
        profile=options["profile"],
        max_memory_gib=options["max_memory_gib"],
        vectorize=options["vectorize"],
        confine=options["confine"],
    )
    began = time.time()
    with make_progress(quiet=options["quiet"]) as progress:
        summary = run(plan, store, registry, run_options, progress.observer)
    with writing_output(folder, "--out", kept="every result is in the store, and nothing is run again"):
        said = _publish(plan, summary.records, folder, store)
        write_output(folder / "suite.toml", suite_text(suite).encode())  # what `submit` plans again
    echo(said)
    if options["profile"]:
        echo("\n".join(_profile_lines(store.root / "logs", began)))
    count = len({record.result.key for record in summary.records if record.result.status == "failed"})
    if summary.failed or count:
        echo(
            f"{count} evaluation{'s' * (count != 1)} failed; `genbench retry` clears failures, "
            f"logs are in {store.root}/logs",
            err=True,
        )
        sys.exit(ExitCode.CELLS_FAILED)


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


def _rendered(records: list[Any], family: str, store: Any) -> dict[str, str]:
    """Return the board in every form, by suffix; from the store, where it was rendered before.

    What a board says depends on the records and on the code that renders them, and on nothing else.
    """
    from genbench import terminal
    from genbench.digest import digest
    from genbench.registry import package_digest

    code = [package_digest("genbench"), package_digest("genbench_leaderboard")]
    key = digest(
        [
            *code,
            family,
            terminal.width(),
            sorted([record.result_digest, record.run_digest] for record in records),
        ]
    )
    known: dict[str, str] | None = store.boards.find(key)
    if known is None:
        from genbench_leaderboard.board import build_board
        from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

        board = build_board(records, family=family)
        renders = {"txt": render_terminal, "md": render_markdown, "csv": render_csv, "json": render_json}
        known = {suffix: render(board) for suffix, render in renders.items()}
        store.boards.keep(key, known)
    return known


def _publish(plan: "Plan", records: list[Any], folder: Path, store: Any) -> str:
    """Write the leaderboard with its records and a link to the pictures; return what to print."""
    from genbench import terminal
    from genbench.pictures import write_gallery

    pictures = write_gallery(plan, store, folder)
    board = _rendered(records, plan.declared.declaration.family if plan.declared else "", store)
    text = board.pop("txt")
    (folder / "records").mkdir(parents=True, exist_ok=True)
    for record in records:
        path, content = folder / "records" / record.file_name, record.to_json().encode()
        if not path.is_file() or path.read_bytes() != content:  # a crash may have left half of it
            write_output(path, content)
    board["md"] += f"\n[{pictures} pictures of these cells](pictures.md)\n" if pictures else ""
    for suffix, form in board.items():
        write_output(folder / f"leaderboard.{suffix}", form.encode())
    lines = [
        text,
        f"written: {folder}/leaderboard.md (and .csv, .json), "
        f"{terminal.count(len(records), 'record')} in {folder}/records",
    ]
    if pictures:
        lines.append(f"pictures: {pictures}, shown in {folder}/pictures.md")
    return "\n".join(lines)
