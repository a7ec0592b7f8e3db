"""`genbench preview`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._named import Named, named_argument, named_cells, with_images
from genbench.cli._options import plugin_options, store_option, suite_options
from genbench.cli._output import echo
from genbench.disk import check_output, writing_output
from genbench.errors import GenbenchError, UsageError

if TYPE_CHECKING:
    from genbench.export import CellImages
    from genbench.plan import Cell
    from genbench.preview import Tile


@click.command("preview")
@named_argument
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
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A PNG file, or a folder for several [default: named after the cell; `previews` in a run's folder].",
)
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Draw synthetic images, a row per class: of a cell, a row, a record, or a whole run.

    FOLDER is one that `genbench run` wrote; the name of a row may follow it, as the board prints it.
    RECORD is a file of a run's `records`. CELL is a name that `genbench plan` prints, or that of a row; the
    other options are then those of the run.

    \b
    genbench preview genbench-results/digits-ddpm-resnet32
    genbench preview genbench-results/digits-ddpm-resnet32 "ddpm, +1.0x standard"
    genbench preview ddpm -g ddpm -c resnet32 --fixed-noise 12
    """
    if options["output"] and not options["output"].is_dir():  # before the plan, for which files are read
        check_output(options["output"], "--output")
    named = named_cells(options["what"], options)
    cells = with_images(named.cells)
    if not cells:
        raise UsageError(f"{named.cells[0].name} is a baseline: it has no synthetic images")
    for cell in cells:
        path = _path(cell, named, options["output"], alone=len(cells) == 1)
        check_output(path, "--output")
        _draw(cell, named, path, options)


def _path(cell: "Cell", named: Named, output: Path | None, *, alone: bool) -> Path:
    name = cell.name.replace("/", "-").replace(":", "-") + ".png"
    if output is not None:
        return output if alone and not output.is_dir() else output / name
    folder = named.folder / "previews" if named.folder is not None else Path()
    return folder / name


def _draw(cell: "Cell", named: Named, path: Path, options: dict[str, Any]) -> None:
    """Draw the images of one cell.

    Raises:
        GenbenchError: They are not in the store; the message says what makes them.
    """
    from genbench.export import cell_images
    from genbench.preview import draw_grid
    from genbench.steps import Workshop, sample_with_fixed_noise

    try:
        found = cell_images(named.plan, named.store, cell.name)
    except GenbenchError as problem:
        raise GenbenchError(problem.message, hint=f"{named.command}   makes them") from problem
    images, columns = found.made.images, options["columns"]
    if options["noise_seed"] is None:
        rows = _stored(found, named.store, columns, options["sources"])
        kept, asked = len(found.kept), found.made.counts.asked_images
        shown = sum(tile is not None for row in rows for tile in row) // (1 + options["sources"])
        dropped = f" that were kept of {asked}" if kept != asked else ""
        title = f"{cell.name}: {shown} of {kept} images{dropped}"
    else:
        workshop = Workshop(named.store, named.registry)
        tiles = sample_with_fixed_noise(found.step, workshop, columns, options["noise_seed"])
        rows = [list(tiles[label]) for label in range(images.num_classes)]
        title = f"{cell.name}: noise {options['noise_seed']}, one per column"
    with writing_output(path, "--output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_grid(rows, images.class_names, title, path)
    classes = f"{len(rows)} class{'es' * (len(rows) != 1)}"
    echo(f"{path}: {classes}, up to {columns} images each")


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
