"""What a slot leaves to be copied home, within the limits, and the table that it prints."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _cargo import cargo
from _freight import CargoError, Room, pack, write_json
from _machine import FILE_NAME, LIMITS, Limits
from _state import State

_LIST_BYTES = 4 << 20  # what the JSON file may take of the room for all


class Delivery(NamedTuple):
    """What was written: files, their bytes, and what had to stay behind."""

    files: int
    size: int
    left_bytes: int
    left: list[str]


def deliver(work: Path, out: Path, state: State, report: dict[str, Any], limits: Limits = LIMITS) -> Delivery:
    """Write `slot-NN.json` and tars of everything that was not sent yet into `out`, replacing what is there.

    The files are made elsewhere and moved, the list last: a slot that is killed while it delivers leaves the
    delivery before or this one.

    Args:
        work: The folder of the lease on the machine.
        out: What comes back.
        state: Of the lease; its list of what was sent grows.
        report: Hardware, versions and figures.
        limits: Of the machine.
    """
    prefix = f"slot-{state.slots:02}"
    fresh = work / "outgoing"
    shutil.rmtree(fresh, ignore_errors=True)
    sent = set(state.sent)
    pieces = [
        piece for group in cargo(work, set(state.spent)) for piece in group.pieces() if piece.name not in sent
    ]
    room = Room(limits.files - 1, limits.file_bytes, limits.returned_bytes - _LIST_BYTES)
    packed = pack(work, pieces, fresh, f"{prefix}-", room)
    state.sent += [piece.name for piece in packed.sent]
    left = sum(piece.size for piece in packed.left)
    content = {
        **report,
        "slot": state.slots,
        "state": state.to_json(),
        "shipment": packed.shipment,
        "left_bytes": left,
    }
    write_json(fresh / f"{prefix}.json", content)
    size = check_limits(fresh, limits)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(f"{prefix}*"):
        old.unlink()
    for file in sorted(fresh.iterdir(), key=lambda file: (file.suffix == ".json", file.name)):
        shutil.move(file, out / file.name)
    return Delivery(len(packed.shipment["tars"]) + 1, size, left, _places(packed.left))


def check_limits(folder: Path, limits: Limits = LIMITS) -> int:
    """Return the bytes of all files of a folder.

    Raises:
        CargoError: There are too many files, too large ones, or names that do not come back.
    """
    files = [file for file in folder.rglob("*") if file.is_file()]
    sizes = {file.name: file.stat().st_size for file in files}
    problems = [f"{len(files)} files, {limits.files} come back"] if len(files) > limits.files else []
    problems += [
        f"{name}: {size:,} bytes of at most {limits.file_bytes:,}"
        for name, size in sizes.items()
        if size > limits.file_bytes
    ]
    problems += [
        f"{name!r} is not of letters, digits, '.', '_', '-'"
        for name in sizes
        if not FILE_NAME.fullmatch(name)
    ]
    if sum(sizes.values()) > limits.returned_bytes:
        problems.append(f"{sum(sizes.values()):,} bytes together, of at most {limits.returned_bytes:,}")
    if problems:
        raise CargoError(f"{folder} would not come back whole: {'; '.join(problems)}")
    return sum(sizes.values())


def figures(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the figures of every task: what `_timing.note` wrote."""
    found = {}
    for file in sorted(results.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        found[file.stem] = [json.loads(line) for line in lines if line.endswith("}")]
    return found


def table(state: State, found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the summary: every task that was tried, and below it its figures."""
    for name, ended in state.tasks.items():
        note = f"  ({ended.note})" if ended.note else ""
        mark = {"passed": "PASS", "failed": "FAIL", "unfinished": "...."}[ended.status]
        yield f"{mark} {name:26} slot {ended.slot:2}  {ended.seconds:7.1f} s{note}"
        for figure in found.get(name, []):
            ok = {True: "ok  ", False: "FAIL", None: "    "}[figure["ok"]]
            target = f" (target {figure['target']})" if figure.get("target") else ""
            yield f"     {ok} {figure['name']}: {figure['value']:g} {figure['unit']}{target}"


def _places(pieces: list[Any]) -> list[str]:
    return sorted({piece.group.place for piece in pieces})
