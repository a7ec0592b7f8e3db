"""The short form of the campaign: a test for each trial, or for each family that forks."""

import subprocess
import sys
from pathlib import Path

import pytest

from faults.campaign import FAMILIES, FORKING, Trial, trials_of

SHORT = [
    pytest.param(trial, id=f"{family}: {trial.name}")
    for family in FAMILIES
    if family not in FORKING
    for trial in trials_of(family, "short")
]


@pytest.mark.parametrize("trial", SHORT)
def test_nothing_is_lost_and_nothing_let_in(trial: Trial, tmp_path: Path) -> None:
    folder = tmp_path / "fault"
    folder.mkdir()
    trial.attempt(folder)


@pytest.mark.timeout(900)
@pytest.mark.slow(reason="some fifty small runs")
@pytest.mark.parametrize("families", [FORKING[::2], FORKING[1::2]], ids=" and ".join)
def test_nothing_is_lost_and_nothing_let_in_by_families_that_fork(families: tuple[str, ...]) -> None:
    """Two processes for all of them: each begins with the imports and the runs that others are held to."""
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(folder), "--short", *families], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
