"""`genbench preview`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import planned, plugin_options, store_option, suite_options
from genbench.cli._output import echo
from genbench.disk import check_output, writing_output

if TYPE_CHECKING:
    from genbench.export import CellImages
    from genbench.preview import Tile


@click.command("preview")
@click.argument("cell")
@suite_options
@click.option(
    "--columns", type=click.IntRange(1, 100), default=10, show_default=True, help="Images per class."
)
@click.option("--sources", is_flag=True, help="Show the training image that each was made from beside it.")
@click.option(
    "--fixed-noise",
    "noise_seed",
    type=click.IntRange(0),
    metavar="SEED",
    help="Sample anew, with the same noise for every class: one noise per column.",
)
@click.option("--output", type=click.Path(path_type=Path), help="A PNG file [default: named after the cell].")
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Draw the synthetic images of a cell: a row per class.

    CELL is a name that `genbench plan` prints; the other options are those of the run.

    \b
    genbench preview digits/ddpm/x1-standard/resnet32/0 -g ddpm -c resnet32
    genbench preview digits/ddpm/x1-standard/resnet32/0 -g ddpm -c resnet32 --fixed-noise 12
    """
    from genbench.export import cell_images
    from genbench.preview import draw_grid
    from genbench.steps import Workshop, sample_with_fixed_noise

    path = options["output"] or Path(options["cell"].replace("/", "-").replace(":", "-") + ".png")
    check_output(path, "--output")
    registry, store, plan = planned(options)
    found = cell_images(plan, store, options["cell"])
    images = found.made.images
    if options["noise_seed"] is None:
        rows = _stored(found, store, options["columns"], options["sources"])
        title = f"{options['cell']}: {len(found.kept)} of {found.made.counts.asked_images} images"
    else:
        tiles = sample_with_fixed_noise(
            found.step, Workshop(store, registry), options["columns"], options["noise_seed"]
        )
        rows = [list(tiles[label]) for label in range(images.num_classes)]
        title = f"{options['cell']}: noise {options['noise_seed']}, one per column"
    with writing_output(path, "--output"):
        draw_grid(rows, images.class_names, title, path)
    echo(f"{path}: {len(rows)} classes, {options['columns']} images each")


def _stored(found: "CellImages", store: Any, columns: int, sources: bool) -> "list[list[Tile | None]]":
    """Return the first images of every class, each after its source if wanted."""
    from genbench.export import class_rows
    from genbench.steps.dataset import open_splits

    images = found.made.images
    train = open_splits(store.open(found.step.inputs["dataset"])).train if sources else None
    rows: list[list[Tile | None]] = []
    for numbers in class_rows(images, found.kept, columns).tolist():
        line: list[Tile | None] = []
        for number in numbers:
            if train is not None:
                source = int(found.made.sources[number]) if number >= 0 else -1
                line.append(train.batch([source])[0].numpy() if source >= 0 else None)
            line.append(images.batch([number])[0].numpy() if number >= 0 else None)
        rows.append(line)
    return rows
