"""`genbench store`."""

import sys
from pathlib import Path

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo
from genbench.errors import ExitCode


@click.group("store")
def command() -> None:
    """List, verify and clean up stored results."""


@command.command("ls")
@store_option
def list_artifacts(store_folder: Path | None) -> None:
    """List what is stored, by stage: how many results, how large."""
    store = make_store(store_folder)
    sizes: dict[str, list[int]] = {}
    for key in store.finished():
        manifest = store.manifest(key)
        stage = manifest["document"]["stage"] if manifest else "damaged"
        size = sum(entry["bytes"] for entry in manifest["files"].values()) if manifest else 0
        sizes.setdefault(stage, []).append(size)
    echo(f"store {store.root}")
    for stage, found in sorted(sizes.items()):
        echo(f"  {stage:9} {len(found):6} results {sum(found) / 2**20:10.1f} MiB")
    if not sizes:
        echo("  empty")
    failed = store.failed_keys()
    if failed:
        echo(f"  {len(failed)} failed steps (genbench retry forgets them)")


@command.command("verify")
@store_option
def verify(store_folder: Path | None) -> None:
    """Read every file and compare it with its digest; exit code 4 if anything is damaged."""
    store = make_store(store_folder)
    damaged = list(store.verify())
    for damage in damaged:
        echo(f"damaged {damage.key[:16]}: {damage.reason}", err=True)
    echo(f"{sum(1 for _ in store.finished())} results read, {len(damaged)} damaged")
    if damaged:
        echo("the next run rebuilds damaged results", err=True)
        sys.exit(ExitCode.STORE)


@command.command("gc")
@click.option(
    "--stage", "stages", multiple=True, help="Also remove results of this stage (they can be made again)."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@store_option
def collect(stages: tuple[str, ...], dry_run: bool, store_folder: Path | None) -> None:
    """Remove leftovers: unfinished work and damaged results. Records and logs stay.

    \b
    genbench store gc --stage train --stage embed     also frees weights and features
    """
    from genbench.store import collect_garbage

    store = make_store(store_folder)
    freed, removed = collect_garbage(store, frozenset(stages), dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    echo(f"{verb} {freed / 2**20:.1f} MiB from {removed} places in {store.root}")
