"""`genbench leaderboard submit`."""

from pathlib import Path

import click

from genbench.cli._named import check_finished
from genbench.cli._options import (
    make_plan_of,
    make_registry,
    make_store,
    plugin_options,
    read_suite,
    store_option,
)
from genbench.cli._output import echo
from genbench.disk import writing_output
from genbench.errors import UsageError
from genbench.terminal import count

_RESULTS = Path("genbench-results")  # where `genbench run` puts its folders


@click.command("submit")
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option(
    "--run",
    "run_folder",
    type=click.Path(exists=True, path_type=Path),
    metavar="FOLDER",
    help="Folder of the run, or its suite.toml [default: the newest in genbench-results].",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder to write [default: <suite>-submission].",
)
@click.option(
    "--features",
    is_flag=True,
    help="Pack the networks' features, too: `activation_mmd` and `features` are recomputed from them.",
)
@store_option
@plugin_options
def command(
    cells: tuple[str, ...],
    run_folder: Path | None,
    out: Path | None,
    features: bool,
    store_folder: str | Path | None,
    plugin_files: tuple[str, ...],
    no_plugins: bool,
) -> None:
    """Pack records, predictions and the plan of a run, for others to verify.

    CELL is a name that `genbench plan` prints; without any, all cells of the run are packed. The folder holds
    numbers and JSON: no code, no pickle, no images, no path of this machine.

    \b
    genbench run my-suite.toml
    genbench leaderboard submit -o submissions/my-rows
    genbench leaderboard verify submissions/my-rows
    """
    from genbench.verification.packing import pack

    suite = read_suite(str(_suite_file(run_folder)), {})
    store = make_store(store_folder)
    plan = make_plan_of(make_registry(plugin_files, no_plugins), store, suite)
    folder = out if out is not None else Path(f"{suite.name}-submission")
    with writing_output(folder, "--out"):
        packed = pack(plan, suite, store, cells, folder, features=features)
    for name in packed.left_out:
        echo(f"left out {name}: it failed, or was not run", err=True)
    echo(
        f"{count(packed.records, 'record')} of {count(len(packed.cells), 'cell')}, "
        f"{count(packed.files, 'file')}, {packed.size_bytes / 2**20:.1f} MiB: {folder}"
    )
    echo(f"  check it as others will: genbench leaderboard verify {folder}")


def _suite_file(named: Path | None) -> Path:
    """Return the suite of a run: the named one, or the newest."""
    if named is not None:
        found = named / "suite.toml" if named.is_dir() else named
        if found.is_file():
            return found
        check_finished(found.parent)
        raise UsageError(f"{named} holds no suite.toml: no folder of a run", hint="genbench run writes one")
    suites = sorted(_RESULTS.glob("*/suite.toml"), key=lambda path: path.stat().st_mtime_ns)
    if not suites:
        raise UsageError(
            f"no run in {_RESULTS}: name its folder with --run", hint="genbench run -o FOLDER writes one"
        )
    return suites[-1]
