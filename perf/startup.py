"""Start-up and planning: `python perf/startup.py` (two minutes on two cores; `--large` ten more).

Targets: `genbench --help` 0.10 s, `genbench list` 0.20 s, a plan of 1,000 cells 0.5 s and of 10,000 cells
3 s, a fully cached re-run of a 100-cell suite 1 s and of a 1,000-cell suite (`--large`) 5 s, the board of the
former 1 s. Medians of 5 after one warm-up: whole processes, but for plans and boards, which are timed inside
one process (a plan's imports are those of `genbench list` and pydantic).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import verdict

GENBENCH = [sys.executable, "-m", "genbench.cli"]


def seconds(arguments: list[str], runs: int = 5) -> float:
    """Return the median wall seconds of `genbench ARGUMENTS`."""
    found = []
    for turn in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(
            [*GENBENCH, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if turn:
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def plan_seconds(cells: int) -> float:
    """Return the median seconds to expand a suite of `cells` cells, in this process."""
    from genbench.digest import file_digest
    from genbench.planner import make_plan
    from genbench.registry import Registry
    from genbench.spec import resolve_suite
    from genbench.suite import make_suite

    generators = [f"classical:shift_fraction={0.1 + position / 100}" for position in range(9)]
    classifiers = [f"cnn:recipe.epochs={epochs}" for epochs in range(1, 1 + cells // 50)]
    suite = make_suite({"generators": generators, "classifiers": classifiers, "seeds": 5}, "perf")
    registry = Registry()
    found = []
    for _ in range(4 if cells > 1000 else 6):
        started = time.perf_counter()
        plan = make_plan(resolve_suite(registry, suite, file_digest))
        found.append(time.perf_counter() - started)
        assert len(plan.cells) == cells, len(plan.cells)
    return statistics.median(found[1:])


def rerun_seconds(seeds: int, folder: str) -> float:
    """Return the median seconds of a cached run of `4 * seeds` cells, whose store is filled first."""
    os.environ["GENBENCH_STORE"] = f"{folder}/store"
    suite = ["run", "-g", "copies", "--seeds", str(seeds), "--preset", "smoke", "-q", "-o", f"{folder}/out"]
    suite += ["-c", "mlp:recipe.epochs=0.2", "-c", "mlp:recipe.epochs=0.4"]
    seconds(suite, runs=1)
    return seconds(suite)


def board_seconds(folder: str) -> float:
    """Return the median seconds to compute and render the board of a run's records, in this process."""
    from genbench.records import read_records
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.tables import render_markdown

    records = list(read_records([Path(folder) / "store" / "records"]))
    found = []
    for _ in range(6):
        started = time.perf_counter()
        render_markdown(build_board(records))
        found.append(time.perf_counter() - started)
    print(f"     a board of {len(records)} records")
    return statistics.median(found[1:])


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also re-run 1,000 cells, which are run first")
    options = parser.parse_args()
    reached = [
        verdict("genbench --help", seconds(["--help"]), 0.10, at_least=False, unit="s"),
        verdict("genbench list", seconds(["list"]), 0.20, at_least=False, unit="s"),
        verdict("plan of 1,000 cells", plan_seconds(1000), 0.5, at_least=False, unit="s"),
        verdict("plan of 10,000 cells", plan_seconds(10_000), 3.0, at_least=False, unit="s"),
    ]
    folder = tempfile.mkdtemp()
    try:
        small = rerun_seconds(25, f"{folder}/small")
        reached.append(verdict("cached re-run of 100 cells", small, 1.0, at_least=False, unit="s"))
        board = board_seconds(f"{folder}/small")
        reached.append(verdict("their board", board, 1.0, at_least=False, unit="s"))
        if options.large:
            large = rerun_seconds(250, f"{folder}/large")
            reached.append(verdict("cached re-run of 1,000 cells", large, 5.0, at_least=False, unit="s"))
    finally:
        shutil.rmtree(folder)
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
