"""`manifest.json`: what an artifact is, and whether its folder holds just that.

A manifest has the step's key, its document, size and digest of every file, facts of the attempt (`run`), and
a checksum of all this. The key is the digest of the document: an artifact in a wrong place, or one with an
edited document, gives itself away. There is no secret in it: whoever rewrites files, manifest and checksum
together is not found out.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genbench.digest import digest, file_digest
from genbench.disk import read_regular, sync_file, sync_folder, write_atomically
from genbench.errors import GenbenchError, PluginError, StoreError

MANIFEST = "manifest.json"
_MOST_BYTES = 64 * 2**20  # of a manifest
_KEY, _PLUGIN = re.compile(r"[0-9a-f]{64}"), frozenset({"kind", "name", "sha256"})
#: What reading a damaged file may raise. A file that may not be read is not damaged: see `unreadable`.
_GARBLED = (OSError, ValueError, RecursionError, GenbenchError)
_DAMAGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EIO})

Stamp = tuple[tuple[str, int, int, int], ...]


class DamagedError(Exception):
    """An artifact is not what its place and its manifest say; the message is the reason."""


def is_key(text: str) -> bool:
    """Say whether a name has the form of a key."""
    return _KEY.fullmatch(text) is not None


def write_manifest(
    folder: Path, key: str, document: Mapping[str, Any], run: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    """Flush every file and folder of an artifact and write its manifest, last of all; return its files."""
    files = {}
    folders = [folder]
    for name, state in entries(folder):
        path = folder / name
        if stat.S_ISDIR(state.st_mode):
            folders.append(path)
        elif stat.S_ISREG(state.st_mode):
            sync_file(path)
            files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        else:
            raise PluginError(f"a step left {name}, which is neither a file nor a folder")
    manifest = {"key": key, "document": document, "files": files, "run": run}
    text = json.dumps({**manifest, "checksum": _checksum(manifest)}, indent=1, sort_keys=True)
    for inner in folders[1:]:
        sync_folder(inner)
    write_atomically(folder / MANIFEST, text.encode())
    return files


def read_manifest(folder: Path, key: str) -> Mapping[str, Any]:
    """Read the manifest of the artifact `key`; its files are not looked at.

    Raises:
        DamagedError: It is missing, of a wrong shape, edited, or that of another artifact.
        StoreError: The machine does not let us read it.
    """
    try:
        content = read_regular(folder / MANIFEST, _MOST_BYTES, links=False)
    except _GARBLED as problem:
        raise unreadable(MANIFEST, problem) from problem
    return parse_manifest(content, key)


def parse_manifest(content: bytes, key: str) -> Mapping[str, Any]:
    """Return what a manifest says.

    Raises:
        DamagedError: It is of a wrong shape, edited, or that of another artifact.
    """
    try:
        manifest = json.loads(content)
        _check_shape(manifest)
        if _checksum(manifest) != manifest["checksum"]:
            raise DamagedError("manifest.json does not match its checksum")
        if manifest["key"] != key:
            raise DamagedError(f"it is another result, {manifest['key'][:16]}, in this one's place")
        if digest(manifest["document"]) != key:
            raise DamagedError("manifest.json: the document is not the one that the key was taken of")
    except _GARBLED as problem:
        raise unreadable(MANIFEST, problem) from problem
    found: Mapping[str, Any] = manifest
    return found


def check_files(folder: Path, manifest: Mapping[str, Any], *, partial: bool = False) -> None:
    """Compare the files of an artifact with its manifest: all of them, and no others.

    Args:
        folder: Where they are.
        manifest: What lists them.
        partial: Whether some may be missing: of a step in a submission, most stay at home.

    Raises:
        DamagedError: Something is missing, changed, or there though nobody listed it.
        StoreError: The machine does not let us read a file.
    """
    listed = manifest["files"]
    found = {}
    for name, state in _listed(folder):
        if stat.S_ISREG(state.st_mode):
            found[name] = state.st_size
        elif not stat.S_ISDIR(state.st_mode):
            raise DamagedError(f"{name}: neither a file nor a folder")
    for name in sorted(found.keys() - {MANIFEST} - listed.keys()):
        raise DamagedError(f"{name}: the manifest does not know this file")
    for name in sorted(listed.keys() & found.keys() if partial else listed.keys()):
        entry = listed[name]
        if name not in found:
            raise DamagedError(f"{name}: missing")
        if found[name] != entry["bytes"]:
            raise DamagedError(f"{name}: size differs from the manifest")
        try:
            content = file_digest(folder / name)
        except OSError as problem:
            raise unreadable(name, problem) from problem
        if content != entry["sha256"]:
            raise DamagedError(f"{name}: content differs from the manifest")


def stamp_of(folder: Path) -> Stamp:
    """Return name, time, size and number of everything in an artifact: equal while nobody touches it.

    Raises:
        DamagedError: It is a link, or cannot be listed.
        StoreError: The machine does not let us list it.
    """
    return tuple((name, state.st_mtime_ns, state.st_size, state.st_ino) for name, state in _listed(folder))


def unreadable(name: str, problem: Exception) -> DamagedError | StoreError:
    """Tell damage from a machine that refuses: no right to read, too many open files, no memory."""
    if isinstance(problem, OSError) and problem.errno not in _DAMAGED:
        return StoreError(
            f"cannot read the store: {problem.filename or name}: {problem.strerror}",
            hint="nothing was changed; make it readable and type the same command again",
        )
    return DamagedError(f"{name}: cannot be read: {problem!r}")


def _check_shape(manifest: Any) -> None:
    """Check that a manifest can be handled at all; what its values say is checked by others."""
    if not isinstance(manifest, dict):
        raise DamagedError("manifest.json is no JSON object")
    kinds = {"key": str, "checksum": str, "document": dict, "run": dict, "files": dict}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name), kind):
            raise DamagedError(f"manifest.json: {name} is missing or of a wrong kind")
    for name, entry in manifest["files"].items():
        if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or "sha256" not in entry:
            raise DamagedError(f"manifest.json: the entry of {name} is of a wrong kind")
    plugin = manifest["run"].get("plugin")
    if plugin is not None and not (isinstance(plugin, dict) and plugin.keys() >= _PLUGIN):
        raise DamagedError("manifest.json: run.plugin is of a wrong kind")


def _checksum(manifest: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in manifest.items() if name != "checksum"})


def _listed(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Return everything in an artifact's folder, which must be one: no link."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise DamagedError("it is no folder")
        return list(entries(folder))
    except OSError as problem:
        raise unreadable("its folder", problem) from problem


def entries(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything in a folder and below by its name, sorted; links are not followed."""
    with os.scandir(folder) as found:
        inside = sorted(found, key=lambda entry: entry.name)
    for entry in inside:
        name = f"{prefix}{entry.name}"
        state = entry.stat(follow_symlinks=False)
        yield name, state
        if stat.S_ISDIR(state.st_mode):
            yield from entries(folder / entry.name, f"{name}/")
