"""Boards of many records: `python perf/boards.py [--records 100000]` (minutes; most of it makes the records).

Targets, for 100,000 records whose index is there: 20 s of CPU and 1 GiB, in every form. Each board is a whole
process: *cold* without an index of the records, *stale* after five of their files were written again, *warm*
after that. CPU seconds, of user and system together, since they say the same on a machine that is busy.
"""

import argparse
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from _records import make_records
from _timing import note, verdict

FORMS = ("text", "markdown", "html", "latex", "csv", "json")
STALE_FILES = 5


class Taken(NamedTuple):
    """What a process took: CPU seconds, its peak of memory in MiB, and the size of what it wrote in MB."""

    seconds: float
    mebibytes: float
    megabytes: float


def board(records: Path, form: str, index: Path) -> Taken:
    """Make a board in a process of its own."""
    out = records.parent / f"board.{form}"
    arguments = ["leaderboard", str(records), "--format", form, "-o", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-m", "genbench.cli", *arguments],
        env={**os.environ, "GENBENCH_INDEX": str(index)},
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"genbench {' '.join(arguments)} ended with {child.returncode}")
    return Taken(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10, out.stat().st_size / 1e6)


def write_again(records: Path) -> None:
    """Write some of the files again, as they are."""
    for path in sorted(records.rglob("*.json"))[:STALE_FILES]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


def profiled(records: Path, form: str) -> None:
    """Print where a board's time goes, by function."""
    from genbench.cli.leaderboard_command import command

    profile = cProfile.Profile()
    arguments = [str(records), "--format", form, "-o", f"{records}.{form}"]
    profile.runcall(command, arguments, standalone_mode=False)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000], help="how many")
    parser.add_argument("--arms", type=int, default=12, help="contenders in each group")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="which forms of the board")
    parser.add_argument("--folder", type=Path, help="keep the records here, and use those that are there")
    parser.add_argument("--profile", action="store_true", help="print where the time of the first form goes")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    reached = []
    try:
        for count in options.records:
            records = folder / f"{count}x{options.arms}" / "records"
            index = records.parent / "index"
            if not records.is_dir():
                make_records(records, count, options.arms)
            if options.profile:
                os.environ["GENBENCH_INDEX"] = str(index)
                profiled(records, options.forms[0])
                continue
            shutil.rmtree(index, ignore_errors=True)
            for state in ("cold", "stale"):
                if state == "stale":
                    write_again(records)
                told(
                    f"{count:,} records, {state}, {options.forms[0]}", board(records, options.forms[0], index)
                )
            for form in options.forms:
                name, taken = f"{count:,} records, warm, {form}", board(records, form, index)
                told(name, taken)
                reached.append(verdict(name, taken.seconds, 20, at_least=False, unit="s"))
                reached.append(verdict(name, taken.mebibytes, 1024, at_least=False, unit="MiB"))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    sys.exit(0 if all(reached) else 1)


def told(name: str, taken: Taken) -> None:
    """Print what a board took."""
    print(
        f"     {name:40} {taken.seconds:8.1f} s CPU {taken.mebibytes:8.0f} MiB {taken.megabytes:8.1f} MB",
        flush=True,
    )
    note(name, taken.seconds, "s")


if __name__ == "__main__":
    main()
