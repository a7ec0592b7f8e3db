"""`genbench plugin`."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click

from genbench.cli._options import make_registry, plugin_options
from genbench.cli._output import echo
from genbench.errors import ExitCode, UsageError, did_you_mean


@click.group("plugin")
def command() -> None:
    """Check a plugin against the contract."""


@command.command("check")
@click.argument("component", metavar="NAME[:OPTION=VALUE,...]")
@click.option("--kind", help="Kind of the component, if several kinds have one of that name.")
@click.option(
    "--image-size",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Pixels of the made-up images.",
)
@plugin_options
def check(component: str, kind: str | None, image_size: int, **options: Any) -> None:
    """Run the conformance kit on one component; exit code 1 if a check fails."""
    from genbench.hookspecs import KINDS
    from genbench.testing import CHECKS, checks_of, make_subject

    registry = make_registry(options["plugin_files"], options["no_plugins"])
    name = component.partition(":")[0]
    kinds = [known for known in KINDS if any(spec.name == name for spec in registry.specs(known))]
    chosen = [known for known in kinds if known in CHECKS and kind in (None, known)]
    if len(chosen) != 1:
        every = [spec.name for known in KINDS for spec in registry.specs(known)]
        found = f"--kind must be one of {', '.join(kinds)}" if kinds else did_you_mean(name, every)
        raise UsageError(f"no single component {name!r}. {found}", hint="genbench list")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(registry, cast("Any", chosen[0]), component, Path(folder), image_size)
    for conforms in checks_of(subject):
        with tempfile.TemporaryDirectory() as folder:
            try:
                conforms(replace(subject, work=Path(folder)))
            except Exception as problem:  # a check tells by raising, and a plugin may raise anything
                failed += 1
                echo(f"FAIL {conforms.__name__}: {type(problem).__name__}: {problem}")
            else:
                echo(f"ok   {conforms.__name__}")
    if failed:
        sys.exit(ExitCode.CELLS_FAILED)
