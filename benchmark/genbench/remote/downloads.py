"""Bringing artifacts from a bucket into a folder, and reading them there without keeping anything."""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from genbench.digest import file_digest
from genbench.disk import make_folder, move_folder, set_aside, writing_store
from genbench.manifests import (
    MANIFEST,
    DamagedError,
    Stamp,
    check_files,
    is_key,
    parse_manifest,
    stamp_of,
)
from genbench.remote.objects import Found, Objects

_FILES_AT_ONCE = 4


def manifest_name(key: str) -> str:
    """Return the name of an artifact's manifest."""
    return f"manifests/{key}.json"


def file_name(key: str, sha256: str) -> str:
    """Return the name of a file of an artifact."""
    return f"files/{key}/{sha256}"


def fetch_artifact(objects: Objects, root: Path, key: str, found: Found, folder: Path) -> Stamp:
    """Download an artifact beside its place, check it, and move it there; return the stamp of that.

    Args:
        objects: The bucket.
        root: The store's folder.
        key: Of the artifact.
        found: Its manifest.
        folder: Its place.

    Raises:
        DamagedError: It is not what its manifest says.
    """
    manifest = parse_manifest(found.content, key)
    wanted = _wanted(manifest)
    temporary = folder.with_name(f".{key}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with writing_store(root):
        make_folder(folder.parent)
        temporary.mkdir()
        for name in wanted:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool, writing_store(root):
            places = [
                (file_name(key, sha256), temporary / name, size) for name, (sha256, size) in wanted.items()
            ]
            for name, is_there in zip(wanted, pool.map(lambda one: objects.fetch(*one), places), strict=True):
                if not is_there:
                    raise DamagedError(f"{name}: missing in the bucket")
            write_cached(temporary / MANIFEST, found.content)
            _set_time(temporary / MANIFEST, found.modified)
        stamp = stamp_of(temporary)
        check_files(temporary, manifest)
        with writing_store(root):
            if not move_folder(temporary, folder) and not has_manifest(folder, found.content):
                set_aside(folder, temporary.with_name(f"{temporary.name}.removed.tmp"))
                move_folder(temporary, folder)
        return stamp
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _wanted(manifest: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return digest and size of every file that a manifest lists, by its name.

    Raises:
        DamagedError: A name leads out of the artifact's folder, or a digest is none.
    """
    wanted = {name: (str(entry["sha256"]), entry["bytes"]) for name, entry in manifest["files"].items()}
    for name, (sha256, _) in wanted.items():
        if not _is_inside(name) or not is_key(sha256):
            raise DamagedError(f"{name!r}: no name of a file")
    return wanted


def has_manifest(folder: Path, manifest: bytes) -> bool:
    """Say whether a folder has just this artifact, as far as its manifest tells."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest
    except OSError:
        return False


def audit_artifact(objects: Objects, root: Path, key: str) -> bool:
    """Read all of an artifact in the bucket; nothing is kept. False if there is none.

    Raises:
        DamagedError: It is not what its manifest says.
        StoreUnwritableError: It cannot be kept in the store's folder for as long as that takes.
    """
    found = objects.get(manifest_name(key))
    if found is None:
        return False
    manifest = parse_manifest(found.content, key)
    with writing_store(root), tempfile.TemporaryDirectory(dir=make_folder(root), prefix=".audit-") as folder:
        for name, (sha256, size) in _wanted(manifest).items():
            place = Path(folder) / "file"
            if not objects.fetch(file_name(key, sha256), place, size):
                raise DamagedError(f"{name}: missing")
            if place.stat().st_size != size or file_digest(place) != sha256:
                raise DamagedError(f"{name}: content differs from the manifest")
    return True


def _is_inside(name: str) -> bool:
    """Say whether a name in a manifest, which anybody may have written, stays in the artifact's folder."""
    path = PurePosixPath(name)
    is_plain = re.fullmatch(r"[^\\\0:]+", name) is not None and str(path) == name
    return is_plain and not path.is_absolute() and ".." not in path.parts and name != MANIFEST


def write_cached(path: Path, content: bytes) -> None:
    """Write a file of the cache: a half one is found out, and brought again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _set_time(path: Path, modified: datetime) -> None:
    os.utime(path, (modified.timestamp(), modified.timestamp()))
