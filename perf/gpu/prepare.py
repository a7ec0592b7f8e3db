"""At home, once: `python perf/gpu prepare` gathers what the machine lacks, in folders of one command each.

Downloads the wheels that `wheels.txt` names for the machine's Python, builds genbench's own, cuts CIFAR-10
into parts, and lays all of it into `.gpu/call-1`, `.gpu/call-2`, ..., which git ignores. The data come from a
folder laid out as on the Hub (`--hub`, else `GENBENCH_HUB_MIRROR`), else from the Hub.
"""

import argparse
import email
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from _freight import LIST, CargoError, Group, Room, make_group, pack, write_json
from _machine import LIMITS, MIB, PART_BYTES, TREE, carried_packages, held_packages, normalised

PYTHON = "3.12"
_PLATFORMS = (
    "manylinux1",
    "manylinux2014",
    *(f"manylinux_2_{minor}" for minor in (5, 12, 17, 24, 26, 27, 28, 31, 34, 35)),
)
_CIFAR10 = "uoft-cs/cifar10"
SPARE_BYTES = MIB  #: of every command: for `state-0`, and for what the tree gains in the meantime


def main(arguments: list[str]) -> int:
    """Make the folders, and say which command carries which."""
    options = _options(arguments)
    staging = options.to / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    for old in options.to.glob("call-*"):
        shutil.rmtree(old)
    fetch_wheels(staging / "wheels")
    check_requirements(staging / "wheels")
    link_data(options.hub, staging / "hub" / _CIFAR10)
    groups = [make_group(staging, "wheels"), make_group(staging, f"hub/{_CIFAR10}")]
    tree = tree_bytes()
    print(f"the tree: {tree / MIB:.1f} MiB of the {LIMITS.carried_bytes / MIB:.0f} that a command may carry")
    for number, size in enumerate(
        lay_out(staging, groups, options.to, LIMITS.carried_bytes - tree - SPARE_BYTES), 1
    ):
        print(f"command {number} carries .gpu/call-{number}: {size / MIB:.1f} MiB")
    shutil.rmtree(staging)
    return 0


def fetch_wheels(folder: Path) -> None:
    """Download the wheels at the versions of constraints.txt, and build genbench's own.

    Raises:
        CargoError: pip could not.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    target = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:"]
    target += [
        f"--platform={name}_x86_64" for name in _PLATFORMS
    ]  # pip compares these by name: one is not enough
    names = [f"{name}=={version}" for name, version in carried_packages().items()]
    folder.mkdir(parents=True)
    for command in (
        [*pip, "download", "--quiet", "--no-deps", *target, "--dest", str(folder), *names],
        [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(TREE)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise CargoError(f"{' '.join(command[2:5])} failed:\n{done.stderr.strip()}")
    found = sorted(folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in found)
    print(f"wheels: {len(found) - 1} for Python {PYTHON} and genbench's own, {size / 1e6:.1f} MB")


def check_requirements(folder: Path) -> None:
    """Hold what every wheel requires against what is carried and what the machine is taken to hold.

    Raises:
        CargoError: A package is in neither, or in a version that is not wanted.
    """
    carried = {
        normalised(wheel.name.split("-")[0]): wheel.name.split("-")[1] for wheel in folder.glob("*.whl")
    }
    problems, unknown = [], set()
    for wheel, line in _requirements(folder):
        problem = unmet(line, carried, held_packages(), unknown)
        if problem:
            problems.append(f"{wheel} requires {line}: {problem}")
    if problems:
        raise CargoError("add to perf/gpu/wheels.txt or machine.txt: " + "; ".join(problems))
    print(f"requirements: carried or held; not compared, for lack of a version: {', '.join(sorted(unknown))}")


def unmet(line: str, carried: dict[str, str], held: dict[str, str], unknown: set[str]) -> str:
    """Say what is wrong with a requirement, or nothing; what cannot be compared is added to `unknown`."""
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    on_machine = {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.3",
        "sys_platform": "linux",
        "extra": "",
    }
    if wanted.marker is not None and not wanted.marker.evaluate(on_machine):
        return ""
    name = normalised(wanted.name)
    if name not in carried and name not in held:
        return "neither carried nor held"
    version = carried.get(name) or held[name]
    if not version and wanted.specifier:
        unknown.add(name)
    if version and not wanted.specifier.contains(version, prereleases=True):
        return f"there it is {version}"
    return ""


def link_data(hub: Path | None, folder: Path) -> None:
    """Lay CIFAR-10's files into a folder as on the Hub.

    Raises:
        CargoError: They are nowhere.
    """
    if hub is None:
        from genbench.hub import find

        found = dict(find(_CIFAR10, ("**/*.parquet",), "dataset"))
    else:
        found = {
            file.relative_to(hub / _CIFAR10).as_posix(): file for file in (hub / _CIFAR10).rglob("*.parquet")
        }
    if not found:
        raise CargoError(
            f"no {_CIFAR10}/**/*.parquet in {hub}: name a folder laid out as on the Hub with --hub"
        )
    for name, file in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(file.resolve())


def lay_out(root: Path, groups: list[Group], to: Path, room_bytes: int, kind: str = "call") -> Iterator[int]:
    """Write shipments `to/call-1`, `to/call-2`, ... of at most `room_bytes` each; yield their bytes."""
    left = [piece for group in groups for piece in group.pieces()]
    number = 0
    while left:
        number += 1
        folder = to / f"{kind}-{number}"
        packed = pack(root, left, folder, "part-", Room(100, PART_BYTES, room_bytes - MIB // 4))
        if not packed.sent:
            raise CargoError(
                f"there is no room for anything beside the tree: {room_bytes:,} bytes are left for it"
            )
        write_json(folder / LIST, packed.shipment)
        left = packed.left
        yield sum(file.stat().st_size for file in folder.iterdir())


def tree_files() -> list[str]:
    """Return the files that travel with every command: tracked, or untracked and not ignored."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=TREE, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (TREE / name).is_file()]


def tree_bytes() -> int:
    """Return their bytes."""
    return sum((TREE / name).stat().st_size for name in tree_files())


def _requirements(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (wheel, requirement) of all wheels."""
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as content:
            name = next(one for one in content.namelist() if one.endswith(".dist-info/METADATA"))
            for line in email.message_from_bytes(content.read(name)).get_all("Requires-Dist", []):
                yield wheel.name.split("-")[0], line


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python perf/gpu prepare", description=__doc__)
    mirror = os.environ.get("GENBENCH_HUB_MIRROR")
    parser.add_argument(
        "--hub", type=Path, default=mirror and Path(mirror), help="folder laid out as on the Hub"
    )
    parser.add_argument("--to", type=Path, default=TREE / ".gpu", help="where the folders go (default: .gpu)")
    return parser.parse_args(arguments)
