"""The short form of the campaign, one test for each trial."""

from pathlib import Path

import pytest

from faults.campaign import FAMILIES, Trial, trials_of

SHORT = [
    pytest.param(trial, id=f"{family}: {trial.name}")
    for family in FAMILIES
    for trial in trials_of(family, "short")
]


@pytest.mark.parametrize("trial", SHORT)
def test_nothing_is_lost_and_nothing_let_in(trial: Trial, tmp_path: Path) -> None:
    folder = tmp_path / "fault"
    folder.mkdir()
    trial.attempt(folder)
