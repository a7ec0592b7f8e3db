"""`genbench export-images`."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from genbench.cli._named import named_argument, named_cells, row_name, with_images
from genbench.cli._options import plugin_options, store_option, suite_options
from genbench.cli._output import echo
from genbench.disk import check_output, writing_output
from genbench.errors import GenbenchError, UsageError


@click.command("export-images")
@named_argument
@suite_options
@click.option(
    "--to",
    "form",
    type=click.Choice(["imagefolder", "parquet"]),
    default="imagefolder",
    show_default=True,
    help="A folder of PNGs, or parquet; `datasets` loads both.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new folder [default: named after the cell]."
)
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Write the synthetic images of a cell or row, with their manifest and a data card.

    FOLDER is one that `genbench run` wrote, followed by the name of a row if it has several; RECORD is a file
    of a run's `records`; CELL is a name that `genbench plan` prints, or that of a row, and the other options
    are then those of the run.

    \b
    genbench export-images genbench-results/digits-ddpm-resnet32 ddpm
    genbench export-images ddpm -g ddpm -c resnet32 --to parquet
    """
    from genbench.export import cell_images, export_images

    if options["output"]:  # before the plan, for which files are read
        check_output(options["output"], "--output", folders=("train",))
    named = named_cells(options["what"], options)
    cells = with_images(named.cells)
    if len(cells) != 1:
        rows = ", ".join(repr(row_name(cell)) for cell in cells) or "none: these are baselines"
        raise UsageError(
            f"{options['what']} has {len(cells)} rows with synthetic images: {rows}",
            hint=f"genbench export-images {options['what']} ROW",
        )
    cell = cells[0]
    folder = options["output"] or Path(cell.name.replace("/", "-").replace(":", "-"))
    check_output(folder, "--output", folders=("train",))
    try:
        found = cell_images(named.plan, named.store, cell.name)
    except GenbenchError as problem:
        raise GenbenchError(problem.message, hint=f"{named.command}   makes them") from problem
    arm = cell.arm
    card = {
        "generator": arm.generator.label,
        "dataset": arm.dataset.label,
        "seed index": str(arm.index),
        "external data": ", ".join(arm.generator.external_data),
        "made by": f"genbench {shlex.join(sys.argv[1:])}",
    }
    with writing_output(folder, "--output"):
        count = export_images(found, options["form"], folder, card)
    echo(f"{count} image{'s' * (count != 1)} in {folder}")
    how = f'"imagefolder", data_dir="{folder}"' if options["form"] == "imagefolder" else f'"{folder}"'
    echo(f"datasets.load_dataset({how}) reads them")
