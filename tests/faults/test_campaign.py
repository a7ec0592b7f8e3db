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


@pytest.mark.parametrize("family", FORKING)
def test_nothing_is_lost_and_nothing_let_in_by_a_family_that_forks(family: str) -> None:
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(folder), "--short", family], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
