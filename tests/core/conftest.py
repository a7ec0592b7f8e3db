"""Buckets to order, for the tests of stores that are kept in one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bucket_stores import at
from genbench.remote import leases
from s3_server import Behind, Front, Memory, moto, serving
from still_clock import Clock


@pytest.fixture(scope="module")
def referee() -> Iterator[Behind]:
    with moto() as found:
        yield found


@pytest.fixture(params=["ours", "moto"])
def front(
    request: pytest.FixtureRequest, referee: Behind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Front]:
    with serving(Memory() if request.param == "ours" else referee) as found:
        at(found, monkeypatch, tmp_path)
        yield found


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with serving(Memory()) as found:
        at(found, monkeypatch, tmp_path)
        yield found


@pytest.fixture
def bucket_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(leases, "_now", made)
    monkeypatch.setattr(leases, "_awake", made)
    return made
