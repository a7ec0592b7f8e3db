"""Two workers against one, and the harness's own share: `python perf/jobs.py` (about 8 min on two cores).

Runs the README's first command twice from an empty store, with one worker and with two. Targets: two workers
1.6 times as fast; overhead, wall time less the steps' own work spread over the workers, at most 4 % of the
wall; the whole command at most 4 minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import verdict

COMMAND = [sys.executable, "-m", "genbench.cli", "run", "--generator", "ddpm", "--classifier", "resnet32"]


def run(jobs: int) -> tuple[float, float]:
    """Return wall seconds of the command, and the summed seconds of its steps."""
    folder = Path(tempfile.mkdtemp())
    try:
        environment = {**os.environ, "GENBENCH_STORE": str(folder / "store")}
        arguments = ["--jobs", str(jobs), "--out", str(folder / "out"), "--quiet"]
        started = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        lines = (folder / "store" / "index.jsonl").read_text().splitlines()
        return wall, sum(json.loads(line)["seconds"] for line in lines)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    one, _ = run(1)
    two, busy = run(2)
    print(f"     --jobs 1: {one:.1f} s; --jobs 2: {two:.1f} s, in which steps worked {busy:.1f} s")
    reached = [
        verdict("--jobs 2 against --jobs 1", one / two, 1.6, at_least=True),
        verdict("overhead of the harness", 100 * (two - busy / 2) / two, 4, at_least=False, unit="%"),
        verdict("the first README command", two, 240, at_least=False, unit="s"),
    ]
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
