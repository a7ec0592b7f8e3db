"""`genbench submit`."""

import sys
from pathlib import Path
from typing import Any

import click

from genbench.cli._options import make_registry, make_store, read_suite, suite_path
from genbench.cli._output import echo
from genbench.cli.run_command import command as run_command
from genbench.cli.run_command import folder_of_runs
from genbench.errors import UsageError
from genbench.request import settled, shell_line
from genbench.terminal import count


def _submit(**options: Any) -> None:
    """Hand a run to a SLURM cluster and return at once; arguments and options are those of `genbench run`.

    One job of the cluster then does what `genbench run` would do, and hands in further jobs for the steps.
    `genbench status` shows how the run stands, `genbench cancel` stops it.

    \b
    genbench submit -g ddpm -c resnet32 --executor slurm:profile=cluster.toml
    genbench submit suite.toml --executor slurm:cluster.toml
    genbench docs slurm      (says what a profile holds)
    """
    from genbench.detached import submit
    from genbench.publish import Publication, check_results

    if not options["executor"].startswith("slurm"):
        raise UsageError(
            f"--executor {options['executor']}: only slurm takes a run that goes on without us",
            hint="genbench submit ... --executor slurm:profile=FILE   (genbench docs slurm)",
        )
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    asked = read_suite(options["suite"], options)
    out = options["out"] or folder_of_runs(options["suite"])
    check_results(out, asked)
    plan, suite, _ = settled(registry, store, asked)
    words = sys.argv[sys.argv.index("submit") + 1 :]
    named = options["name"] is not None
    file = suite_path(options["suite"]) if options["suite"] else None
    publication = Publication.prepared(
        plan, suite, store, out, shell_line(["genbench", "run", *words]), named=named, suite_file=file
    )
    one = submit(plan, store, registry, options["executor"], words, publication.place.folder)
    much = f"{count(len(plan.cells), 'cell')}, {count(one.steps, 'step')} to run"
    echo(f"{one.name}: submitted as job {one.job}, {much}")
    echo(f"  genbench status {one.name}   says what waits, runs and failed")
    echo(f"  genbench cancel {one.name}   lets steps save their work, and ends it")
    echo(f"its output: {one.log}")
    echo(f"its folder: {Path(one.folder)}")


command = click.Command("submit", params=run_command.params, callback=_submit, help=_submit.__doc__)
