"""`genbench plugin`."""

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import make_registry, plugin_options
from genbench.cli._output import echo
from genbench.errors import ExitCode, UsageError, did_you_mean

if TYPE_CHECKING:
    from genbench.hookspecs import Kind
    from genbench.registry import Registry

_KINDS = ("generator", "filter", "classifier", "evaluator", "dataset")


@click.group("plugin")
def command() -> None:
    """Check a plugin against the contract, or write a new one."""


@command.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(_KINDS), help="What it is.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the new package [default: ./NAME].",
)
def new(name: str, kind: str, out: Path | None) -> None:
    """Write a package with a small plugin that works, to be edited.

    \b
    Example:
      genbench plugin new my-gen --kind generator
    """
    from genbench.hookspecs import KINDS
    from genbench.registry import Registry
    from genbench.scaffold import names_for, write_plugin

    names = names_for(name, next(known for known in KINDS if known == kind), Registry())
    folder = out or Path(names.distribution)
    files = write_plugin(names, folder)
    echo(
        f"{folder}/ holds {kind} {names.component!r} in {len(files)} files; it works, and is yours to change:"
    )
    for file in files:
        if file.suffix == ".py" and file.name != "__init__.py":
            echo(f"  {folder / file}")
    echo("Next:")
    place = shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")
    echo(f"  pip install -e {place} && genbench list {kind}s")
    if kind != "dataset":
        echo(f"  genbench plugin check {names.component}")
    echo(f"  genbench {names.trial}")
    echo(f"  pytest {place}")


@command.command("check")
@click.argument("component", metavar="NAME[:OPTION=VALUE,...]")
@click.option("--kind", help="Kind of the component, if several kinds have one of that name.")
@click.option(
    "-d",
    "--dataset",
    metavar="NAME[:...]",
    help="Dataset whose classes and images take the place of made-up ones.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Pixels of the made-up images.",
)
@plugin_options
def check(component: str, kind: str | None, dataset: str | None, image_size: int, **options: Any) -> None:
    """Run the conformance kit on one component; exit code 1 if a check fails."""
    from genbench.testing import checks_of, make_subject, outcomes

    registry = make_registry(options["plugin_files"], options["no_plugins"])
    chosen = _kind_of(registry, component.partition(":")[0], kind)
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(registry, chosen, component, Path(folder), image_size, dataset)
    found = []
    for outcome in outcomes(subject, checks_of(subject)):
        found.append(outcome.status)
        said = f": {outcome.message}" if outcome.message else ""
        echo(f"{outcome.status:4} {outcome.check.__name__}{said}")
    failed, skipped = found.count("FAIL"), found.count("skip")
    if failed:
        note = f"; {skipped} that rest on them were not asked" if skipped else ""
        echo(f"{failed} of {len(found)} checks failed{note}")
        sys.exit(ExitCode.CELLS_FAILED)
    echo(f"all {len(found)} checks passed")


def _kind_of(registry: "Registry", name: str, kind: str | None) -> "Kind":
    """Return the one kind that has a component of a name.

    Raises:
        UsageError: None has, or several have and none was chosen.
    """
    from genbench.hookspecs import KINDS
    from genbench.testing import CHECKS

    kinds: list[Kind] = [known for known in KINDS if any(spec.name == name for spec in registry.specs(known))]
    chosen: list[Kind] = [known for known in kinds if known in CHECKS and kind in (None, known)]
    if len(chosen) == 1:
        return chosen[0]
    every = [spec.name for known in KINDS for spec in registry.specs(known)]
    found = f"--kind must be one of {', '.join(kinds)}" if kinds else did_you_mean(name, every)
    raise UsageError(f"no single component {name!r}. {found}", hint="genbench list")
