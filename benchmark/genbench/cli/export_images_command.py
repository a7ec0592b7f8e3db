"""`genbench export-images`."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from genbench.cli._options import planned, plugin_options, store_option, suite_options
from genbench.cli._output import echo
from genbench.disk import check_output, writing_output


@click.command("export-images")
@click.argument("cell")
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
    """Write the synthetic images of a cell, with their manifest and a data card.

    CELL is a name that `genbench plan` prints; the other options are those of the run.

    \b
    genbench export-images digits/ddpm/x1-standard/resnet32/0 -g ddpm -c resnet32 --to parquet
    """
    from genbench.export import cell_images, export_images

    folder = options["output"] or Path(options["cell"].replace("/", "-").replace(":", "-"))
    check_output(folder, "--output", folders=("train",))
    _, store, plan = planned(options)
    found = cell_images(plan, store, options["cell"])
    arm = plan.find_cell(options["cell"]).arm
    card = {
        "generator": arm.generator.label,
        "dataset": arm.dataset.label,
        "seed index": str(arm.index),
        "external data": ", ".join(arm.generator.external_data),
        "made by": f"genbench {shlex.join(sys.argv[1:])}",
    }
    with writing_output(folder, "--output"):
        count = export_images(found, options["form"], folder, card)
    echo(f"{count} images in {folder}")
    how = f'"imagefolder", data_dir="{folder}"' if options["form"] == "imagefolder" else f'"{folder}"'
    echo(f"datasets.load_dataset({how}) reads them")
