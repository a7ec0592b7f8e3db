"""Which store a name means: a folder, or a bucket with a folder as its cache."""

import os
import re
from pathlib import Path

from genbench.digest import digest
from genbench.errors import UsageError
from genbench.remote.backend import LAYOUT, BucketBackend
from genbench.remote.buckets import is_address, open_bucket
from genbench.store import Store

__all__ = ["CACHE_VARIABLE", "cache_of", "default_address", "default_root", "is_address", "open_store"]

CACHE_VARIABLE = "GENBENCH_STORE_CACHE"  #: the folder of caches of buckets
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")


def open_store(address: str | Path, *, check: bool = False) -> Store:
    """Open the store of a folder, or of an address such as `s3://bucket/prefix`.

    Args:
        address: Which. Nothing of a folder is touched until something is read or written.
        check: Whether the server of a bucket is asked at once if it is there, and lets us in.

    Raises:
        UsageError: It is no address that genbench knows; the bucket does not exist; there are no credentials;
            or obstore is not installed.
        RemoteError: The server cannot be reached, or refuses.
    """
    if isinstance(address, Path) or not is_address(address):
        return Store(Path(address))
    bucket = open_bucket(address)
    if check:
        bucket.check(LAYOUT)
    root = cache_of(bucket.address)
    return Store(root, elsewhere=BucketBackend(root, bucket))


def cache_of(address: str) -> Path:
    """Return the folder where the artifacts of a bucket are kept on this machine.

    Buckets of one name on two servers have two.
    """
    server = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    name = re.sub(r"[^\w.-]+", "-", address)[:80]
    return _caches() / f"{name}-{digest([address, server])[:8]}"


def default_address() -> str | Path:
    """Return the store that nobody named: `GENBENCH_STORE`, else a folder in the user's cache folder.

    Raises:
        UsageError: The user has no home folder.
    """
    named = os.environ.get("GENBENCH_STORE", "")
    return named if is_address(named) else default_root()


def default_root() -> Path:
    """Return the folder of the store that nobody named: `GENBENCH_STORE`, else `genbench` in a cache folder.

    Raises:
        UsageError: The user has no home folder.
    """
    named = os.environ.get("GENBENCH_STORE")
    try:
        if named:
            return Path(named).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "genbench"
    except RuntimeError as problem:
        raise UsageError(
            f"no folder for the store: {problem}", hint="name one with --store DIR or GENBENCH_STORE"
        ) from problem


def _caches() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genbench-buckets"
    except RuntimeError as problem:
        raise UsageError(
            f"no folder for the cache of a bucket: {problem}", hint=f"name one in {CACHE_VARIABLE}"
        ) from problem
