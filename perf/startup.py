"""Start-up and planning: `python perf/startup.py` (about a minute on two cores).

Targets: `genbench --help` 0.10 s, `genbench list` 0.20 s, a plan of 1,000 cells 0.5 s, a fully cached re-run
of a 100-cell suite 2 s. Medians of 5 after one warm-up, whole processes but for the plan, which is timed
inside one process (its imports are those of `genbench list` and pydantic).
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

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
    from genbench.spec import make_suite, resolve_suite

    generators = [f"classical:shift_fraction={0.1 + position / 100}" for position in range(9)]
    classifiers = [f"cnn:recipe.epochs={epochs}" for epochs in range(1, 1 + cells // 50)]
    suite = make_suite({"generators": generators, "classifiers": classifiers, "seeds": 5}, "perf")
    registry = Registry()
    found = []
    for _ in range(6):
        started = time.perf_counter()
        plan = make_plan(resolve_suite(registry, suite, file_digest))
        found.append(time.perf_counter() - started)
        assert len(plan.cells) == cells, len(plan.cells)
    return statistics.median(found[1:])


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    reached = [
        verdict("genbench --help", seconds(["--help"]), 0.10, at_least=False, unit="s"),
        verdict("genbench list", seconds(["list"]), 0.20, at_least=False, unit="s"),
        verdict("plan of 1,000 cells", plan_seconds(1000), 0.5, at_least=False, unit="s"),
    ]
    folder = tempfile.mkdtemp()
    try:
        os.environ["GENBENCH_STORE"] = f"{folder}/store"
        suite = ["run", "-g", "copies", "--seeds", "25", "--preset", "smoke", "-q", "-o", f"{folder}/out"]
        suite += ["-c", "mlp:recipe.epochs=0.2", "-c", "mlp:recipe.epochs=0.4"]
        seconds(suite, runs=1)  # fills the store
        reached.append(verdict("cached re-run of 100 cells", seconds(suite), 2.0, at_least=False, unit="s"))
    finally:
        shutil.rmtree(folder)
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
