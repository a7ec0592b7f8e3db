"""`genbench store`."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genbench.cli._options import make_store, store_option
from genbench.cli._output import echo
from genbench.errors import ExitCode
from genbench.terminal import count

if TYPE_CHECKING:
    from genbench.store import Store
    from genbench.transfers import Way
    from genbench.upkeep import Garbage, Place

_TELLING_SECONDS = 2.0  # between two lines about a transfer


@click.group("store")
def command() -> None:
    """List, verify, clean up and copy stored results."""


@command.command("ls")
@store_option
def list_artifacts(store_folder: str | Path | None) -> None:
    """List what is stored, by stage: how many results, how large."""
    store = make_store(store_folder)
    sizes: dict[str, list[int]] = {}
    for _, manifest in store.manifests():
        stage = str(manifest["document"].get("stage")) if manifest else "damaged"
        size = sum(entry["bytes"] for entry in manifest["files"].values()) if manifest else 0
        sizes.setdefault(stage, []).append(size)
    echo(f"store {store.address}")
    for stage, found in sorted(sizes.items()):
        echo(f"  {stage:9} {len(found):6} results {sum(found) / 2**20:10.1f} MiB")
    if not sizes:
        echo("  empty")
    failed = store.failures.keys()
    if failed:
        echo(f"  {count(len(failed), 'failed step')} (genbench retry forgets them)")


@command.command("verify")
@click.option("--repair", is_flag=True, help="Mend what is found; the next run makes lost results again.")
@store_option
def verify(repair: bool, store_folder: str | Path | None) -> None:
    """Read every file and compare it with its digest; exit code 4 if anything is damaged.

    With --repair, damaged results are moved aside, so that the next run that needs them makes them again;
    damaged caches are written anew and what a crash left is removed. What a running genbench is at stays.
    """
    store = make_store(store_folder)
    read = sum(1 for _ in store.finished())
    damaged = _repaired(store) if repair else _damaged(store)
    found = count(damaged, "repair") if repair else f"{damaged} damaged"
    echo(f"{count(read, 'result')} read, {found}")
    if damaged and not repair:
        echo(
            "a run makes again what it needs; `genbench store verify --repair` moves the damaged away",
            err=True,
        )
        sys.exit(ExitCode.STORE)


def _damaged(store: "Store") -> int:
    """Name what is damaged; return how much that is."""
    from genbench.upkeep import saved_records

    found = [f"{damage.key[:16]}: {damage.reason}" for damage in store.verify()]
    found += [f"records/{path.name}: {one}" for path, one in saved_records(store) if isinstance(one, str)]
    for line in found:
        echo(f"damaged {line}", err=True)
    return len(found)


def _repaired(store: "Store") -> int:
    """Mend the store and say what was done; return how many things that were."""
    from genbench.upkeep import repair

    count = 0
    for line in repair(store):
        echo(line, err=True)
        count += 1
    return count


@command.command("gc")
@click.option(
    "--stage", "stages", multiple=True, help="Also remove results of this stage (they can be made again)."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed, and what is spared.")
@store_option
def collect(stages: tuple[str, ...], dry_run: bool, store_folder: str | Path | None) -> None:
    """Remove leftovers: unfinished work and damaged results. Records and logs stay.

    Whatever a running genbench is at or still needs is spared, in whatever stage. The checkpoints of a run
    that was stopped are unfinished work: without them it starts those steps again.

    \b
    genbench store gc --dry-run                       says what, and how much
    genbench store gc --stage train --stage embed     also frees weights and features
    """
    from genbench.upkeep import find_garbage, remove_garbage

    _check_stages(stages)
    store = make_store(store_folder)
    _say_remarks(store)
    garbage = find_garbage(store, frozenset(stages))
    removed = garbage.places if dry_run else remove_garbage(store, garbage)
    for kind, places in _by_kind(removed).items():
        echo(f"  {kind:24} {len(places):6} {_mebibytes(places)}")
    for reason, places in _spared(garbage).items():
        echo(f"  spared: {reason:16} {len(places):6} {_mebibytes(places)}")
    verb = "would free" if dry_run else "freed"
    echo(f"{verb} {_mebibytes(removed).strip()} from {count(len(removed), 'place')} in {store.address}")


def _between_stores(function: Callable[..., None]) -> Callable[..., None]:
    """Add what all copying takes: an address, `--dry-run` and `--store`."""
    dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
    return click.argument("address", metavar="URL")(dry_run(store_option(function)))


@command.command("push")
@_between_stores
def push(address: str, dry_run: bool, store_folder: str | Path | None) -> None:
    """Copy results and records from a folder to a bucket, s3://BUCKET/PREFIX.

    Complete results that the bucket lacks are checked and copied; what the bucket has is not replaced.
    After Ctrl-C or a lost network, the same command goes on where it stopped.
    """
    _transfer(address, ["push"], dry_run, store_folder)


@command.command("pull")
@_between_stores
def pull(address: str, dry_run: bool, store_folder: str | Path | None) -> None:
    """Copy results and records from a bucket, s3://BUCKET/PREFIX, to a folder.

    Each result is checked when it has arrived. What the folder has is not replaced.
    """
    _transfer(address, ["pull"], dry_run, store_folder)


@command.command("sync")
@_between_stores
def sync(address: str, dry_run: bool, store_folder: str | Path | None) -> None:
    """Push and pull: afterwards a folder and a bucket have the same results."""
    _transfer(address, ["push", "pull"], dry_run, store_folder)


def _transfer(address: str, ways: "list[Way]", dry_run: bool, store_folder: str | Path | None) -> None:
    """Copy what is lacking, and say how much that was; exit code 4 if anything was damaged."""
    from genbench.transfers import Transfer

    store = make_store(store_folder)
    transfer = Transfer(store, address)
    parcels = list(transfer.lacking(frozenset(ways)))
    total = sum(parcel.size_bytes for parcel in parcels)
    if not parcels:
        echo(f"nothing to copy between {store.root} and {address}")
        return
    if dry_run:
        for way in ways:
            results, records = (
                sum(one.way == way and one.is_record == kind for one in parcels) for kind in (False, True)
            )
            echo(f"would {way} {count(results, 'result')} and {count(records, 'record')}")
        echo(f"{total / 2**20:.1f} MiB between {store.root} and {address}")
        return
    said = time.monotonic()

    def tell(done: int, size_bytes: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _TELLING_SECONDS:
            said = time.monotonic()
            echo(f"  {done} of {len(parcels)}, {size_bytes / 2**20:.1f} of {total / 2**20:.1f} MiB", err=True)

    copied = transfer.copy(parcels, tell)
    for way in ways:
        results, records = copied.results[way], copied.records[way]
        echo(f"{way}ed {count(results, 'result')} and {count(records, 'record')}")
    echo(f"{copied.size_bytes / 2**20:.1f} MiB between {store.root} and {address}")
    for problem in copied.damaged:
        echo(f"not copied: {problem}", err=True)
    if copied.damaged:
        sys.exit(ExitCode.STORE)


def _say_remarks(store: "Store") -> None:
    """Say what whoever cleans up should know: whether it can be seen who is at work."""
    store.leases.all()
    for remark in store.backend.remarks():
        echo(f"{remark}; what a run is at cannot be spared", err=True)


def _check_stages(stages: Iterable[str]) -> None:
    """Refuse a stage that does not exist: nothing would be removed, and nobody told."""
    from genbench.documents import STAGES
    from genbench.errors import UsageError, did_you_mean

    for stage in stages:
        if stage not in STAGES:
            raise UsageError(f"no stage {stage!r}. {did_you_mean(stage, STAGES)}")


def _by_kind(places: "Iterable[Place]") -> "dict[str, list[Place]]":
    found: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        found[place.kind].append(place)
    return found


def _spared(garbage: "Garbage") -> "dict[str, list[Place]]":
    found: dict[str, list[Place]] = defaultdict(list)
    for place, holder in garbage.spared:
        found[f"{place.kind}, needed by {holder.label}"].append(place)
    return found


def _mebibytes(places: "Iterable[Place]") -> str:
    return f"{sum(place.size_bytes for place in places) / 2**20:10.1f} MiB"
