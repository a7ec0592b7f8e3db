"""Stores in a bucket of a server that tests run, and what tests put there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.digest import digest
from genbench.holders import new_holder
from genbench.remote import buckets, leases
from genbench.remote.backend import BucketBackend
from genbench.remote.buckets import open_bucket
from genbench.remote.leases import BucketLeases
from genbench.store import Store
from s3_server import Fault, Front

ADDRESS = "s3://bucket/some/prefix"
DOCUMENT = {"stage": "fit", "seed": 1}
KEY = digest(DOCUMENT)
CONTENT = {"weights.bin": b"w" * 100_000, "inner/report.json": b"{}", "empty": b""}


FAULTS = {
    "lost connections": Fault("lost", share=0.25),
    "lost answers": Fault("answer", share=0.25),
    "half uploads and downloads": Fault("half", share=0.25),
    "slow answers": Fault("slow", times=5),
}


def at(front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {"ENDPOINT_URL": front.address, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, value in {**said, "ACCESS_KEY_ID": "one", "SECRET_ACCESS_KEY": "two"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("GENBENCH_STORE_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 5.0)


def opened(folder: Path, prefix: str = "") -> Store:
    """Open the store in the bucket, with this folder as its cache; of each test its own."""
    address = f"{ADDRESS}/{prefix or folder.parent.name}"
    return Store(folder, elsewhere=BucketBackend(folder, open_bucket(address)))


def put(store: Store, content: Mapping[str, bytes] = CONTENT, document: Any = DOCUMENT) -> Path:
    def fill(folder: Path) -> Mapping[str, object]:
        for name, part in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(part)
        return {"seconds": 1.5}

    return store.put(digest(document), document, fill, family="f").folder


def read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in CONTENT}


def never(folder: Path) -> Mapping[str, object]:
    raise AssertionError("the step runs again")


def holder_at(folder: Path) -> BucketLeases:
    return BucketLeases(open_bucket(f"{ADDRESS}/{folder.name}"))


def leave_behind(folder: Path, key: str = KEY, **changes: Any) -> None:
    """Write the lease of a process elsewhere, which never beats."""
    other = replace(new_holder("other"), **{"host": "node7", "boot": "another", **changes})
    open_bucket(f"{ADDRESS}/{folder.name}").put(f"leases/{key}.json", leases._content(other))
