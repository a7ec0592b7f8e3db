"""The program as a process of its own, and the command line of a small run of toys."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TOY_PLUGIN = Path(__file__).parent / "toy_plugin.py"
TOYS = ["-d", "toy-data", "-c", "toy-net", "--reference", "toy-net", "--plugin", str(TOY_PLUGIN)]
RUN_OF_TOYS = ("run", *TOYS, "--seeds", "2", "-o", "out", "-g", "toy")

Program = Callable[..., subprocess.CompletedProcess[str]]


def command(folder: Path, *arguments: str, store: str = "store") -> tuple[list[str], dict[str, str]]:
    """Return a command line of the program and its environment, with the store inside the folder."""
    environment = {**os.environ, "GENBENCH_STORE": str(folder / store), "OMP_NUM_THREADS": "1"}
    return [sys.executable, "-m", "genbench.cli", *arguments], environment


def called(
    folder: Path, *arguments: str, store: str = "store", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `genbench ARGUMENTS` in a folder, as a process of its own."""
    line, environment = command(folder, *arguments, store=store)
    return subprocess.run(
        line, env=environment | more, cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
