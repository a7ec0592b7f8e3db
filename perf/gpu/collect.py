"""At home, after every slot: `python perf/gpu collect FOLDER` takes in what came back.

Checks every digest, adds to what is here (`.gpu/home`), publishes records under `leaderboard/records/` once
all their seeds are done, and lays `.gpu/state-1`, ... for a fresh machine, which continues from there.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from _cargo import CHANGING, cargo
from _delivery import figures, table
from _freight import LIST, CargoError, read_group, unpack, write_json
from _machine import LIMITS, MIB, TREE
from _state import State
from _tasks import SEEDS, SUITES
from prepare import SPARE_BYTES, lay_out, tree_bytes
from slot import tree_digest

_RENDER = "genbench leaderboard leaderboard/records --format markdown -o leaderboard/README.md"


def main(arguments: list[str]) -> int:
    """Take in a slot, and say what the next commands carry."""
    options = _options(arguments)
    home = options.to / "home"
    lists = sorted(options.folder.glob("slot-*.json"))
    if not lists:
        raise CargoError(f"no slot-*.json in {options.folder}: name the folder that came back from a slot")
    for file in lists:
        state = take_in(file, home)
    print("\n".join(table(state, figures(home / "results"))))
    published = publish(home, options.records, options.seeds)
    sizes = lay_state(home, state, options.to)
    print("the same machine, still warm: the next slot carries nothing but the tree")
    calls = len(list(options.to.glob("call-*")))
    names = [
        *(f".gpu/call-{number}" for number in range(1, calls + 1)),
        *(f".gpu/state-{number}" for number in range(1, len(sizes) + 1)),
    ]
    print(f"a fresh machine: .gpu/state-0 with its first command, and as they fit: {', '.join(names)}")
    for number, size in enumerate(sizes, 1):
        print(f"  .gpu/state-{number}: {size / MIB:.1f} MiB")
    for line in published:
        print(line)
    return 0


def take_in(file: Path, home: Path) -> State:
    """Check and unpack one slot; return its state.

    Raises:
        CargoError: A file is missing or damaged.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    kept, state = State.read(home / "state.json"), State.from_json(content["state"])
    if kept.slots > state.slots:
        print(
            f"{file.name} was collected late, or its machine had not been sent .gpu/state-0: of its results, "
            f"boards, logs and traces nothing is taken, since home knows of slot {kept.slots}"
        )
        groups = content["shipment"]["groups"]
        content["shipment"]["groups"] = {
            name: entry for name, entry in groups.items() if entry["place"] not in CHANGING
        }
    unpack(file.parent, content["shipment"], home)
    for group in map(read_group, content["shipment"]["groups"].values()):
        if group.place == "boards":  # a record that was made again has another name
            for found in (home / "boards").rglob("*"):
                if found.is_file() and found.relative_to(home / "boards").as_posix() not in group.files:
                    found.unlink()
    same = content["tree"] == tree_digest()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=TREE, capture_output=True, text=True, check=False
    )
    about = {name: content[name] for name in ("slot", "facts", "figures", "tree")}
    about["commit"] = commit.stdout.strip() if same else "a tree that differs from the one at home"
    about["files"] = content["shipment"]["tars"]
    write_json(home / "slots" / file.name, about)
    if kept.slots > state.slots:
        return kept
    state.write(home / "state.json")
    return state


def lay_state(home: Path, state: State, to: Path) -> list[int]:
    """Write what a fresh machine needs: state to `to/state-0`, files to `to/state-1`, ...: their bytes."""
    for old in to.glob("state-*"):
        shutil.rmtree(old)
    groups = [group for group in cargo(home, set(state.spent)) if group.place not in {"logs", "traces"}]
    carried = {**state.to_json(), "carried": sorted(group.place for group in groups)}
    room = LIMITS.carried_bytes - tree_bytes() - SPARE_BYTES
    write_json(to / "state-0" / LIST, {"tars": {}, "groups": {}, "state": carried})
    return list(lay_out(home, groups, to, room, kind="state"))


def publish(home: Path, records: Path, seeds: int) -> list[str]:
    """Copy the records of finished suites, with where they come from; return what to do next."""
    lines = []
    for suite in SUITES:
        found = home / "boards" / f"records-{seeds}" / suite / "records"
        if not found.is_dir():
            lines.append(f"{suite}: not all {seeds} seeds are done; nothing is published")
            continue
        target = records / suite
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(found, target)
        write_json(target / "provenance.json", _provenance(home))
        lines.append(f"{suite}: {len(list(found.glob('*.json')))} records in {target}; next: {_RENDER}")
    return lines


def _provenance(home: Path) -> dict[str, Any]:
    """Return which slots made the records, on what, from which code."""
    slots = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((home / "slots").glob("*.json"))]
    return {
        "slots": [
            {name: slot[name] for name in ("slot", "commit", "tree", "facts", "files")} for slot in slots
        ]
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python perf/gpu collect", description=__doc__)
    parser.add_argument("folder", type=Path, help="what came back from a slot")
    parser.add_argument("--to", type=Path, default=TREE / ".gpu", help="the folder that `prepare` made")
    parser.add_argument(
        "--records", type=Path, default=TREE / "leaderboard" / "records", help="where records go"
    )
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="seeds of a finished suite (default: %(default)s)"
    )
    return parser.parse_args(arguments)
