"""Read a submission without trust: every file once, bounded, into a store of its own; then it is looked at.

Whatever holds what has no place in a submission is refused as a whole: a link, a pipe, a file that nobody
expects. A file that belongs there, and is not what the list of files says, is a contradiction, and named.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from genbench.disk import kind_of, read_regular
from genbench.errors import DataError
from genbench.escaping import LONGEST_SENTENCE, one_line
from genbench.records import Record
from genbench.store import Store
from genbench.suite import MOST_SUITE_BYTES
from genbench.untrusted import parse_json
from genbench.verification import layout

_DEEPEST = 3  # steps/<key>/<file>
_HINT = "genbench leaderboard submit writes a folder that can be verified"


@dataclass
class Submission:
    """A submission that was taken in.

    Attributes:
        store: Its steps.
        suite: Its suite, as text.
        records: Its records, by the name of their file.
        digest: SHA-256 of its list of files.
        faults: What is wrong with single files, by name: content that is not as listed, no record, ...
    """

    store: Store
    suite: str
    digest: str
    records: dict[str, Record] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def faults_of_step(self, key: str) -> list[str]:
        """Return what is wrong with the files of a step."""
        prefix = f"{layout.STEPS}/{key}/"
        return [f"{name}: {why}" for name, why in sorted(self.faults.items()) if name.startswith(prefix)]

    @property
    def other_faults(self) -> list[str]:
        """Return what is wrong with files that belong to no step and to no record that could be read."""
        own = {f"{layout.RECORDS}/{name}" for name in self.records}
        steps = f"{layout.STEPS}/"
        return [
            f"{name}: {why}"
            for name, why in sorted(self.faults.items())
            if name not in own and not name.startswith(steps)
        ]


def take_in(folder: Path, place: Path) -> Submission:
    """Copy a submission into `place`, file by file, and read what is data of it.

    Args:
        folder: A stranger's.
        place: A new folder of ours.

    Raises:
        DataError: It is no submission, or holds what has no place in one.
    """
    names = dict(_listed(folder))
    listed, list_digest = _read_list(folder, names)
    found = Submission(Store(place, partial=True), "", list_digest)
    for name in sorted(listed.keys() - names.keys()):
        found.faults[name] = f"missing, though {layout.LIST} lists it"
    for name in sorted(names.keys() - {layout.LIST}):
        content = _read(folder, name)
        if name not in listed:
            found.faults[name] = f"{layout.LIST} does not list it"
        elif sha256(content).hexdigest() != listed[name]:
            found.faults[name] = f"its content is not what {layout.LIST} says"
        _take(found, name, content)
    if not found.suite:
        raise DataError(f"{_said(folder)}: no submission: {layout.SUITE} is missing", hint=_HINT)
    return found


def _take(found: Submission, name: str, content: bytes) -> None:
    """Put one file where it belongs."""
    head, _, rest = name.partition("/")
    if name == layout.SUITE:
        found.suite = content.decode("utf-8", "replace")
    elif head == layout.RECORDS:
        _take_record(found, rest, content)
    else:
        key, _, inner = rest.partition("/")
        if inner.endswith(".json"):
            try:
                parse_json(content.decode("utf-8"), layout.MOST_DEPTH)  # what reads it later need not be wary
            except ValueError as problem:
                found.faults[name] = one_line(f"unusable: {problem}", LONGEST_SENTENCE)
                return
        target = found.store.folder(key)
        target.mkdir(parents=True, exist_ok=True)
        (target / inner).write_bytes(content)


def _take_record(found: Submission, name: str, content: bytes) -> None:
    try:
        record = Record.from_json(content.decode("utf-8"), name)
    except (DataError, UnicodeDecodeError) as problem:
        found.faults[f"{layout.RECORDS}/{name}"] = one_line(str(problem), LONGEST_SENTENCE)
        return
    if record.file_name != name:
        found.faults[f"{layout.RECORDS}/{name}"] = f"by its content it is {record.file_name}"
    found.records[name] = record


# ------------------------------------------------------------------------------------------------- the folder


def _read_list(folder: Path, names: Mapping[str, int]) -> tuple[dict[str, str], str]:
    """Return the digests that a submission lists, and the digest of the list."""
    if layout.LIST not in names:
        raise DataError(f"{_said(folder)}: no submission: {layout.LIST} is missing", hint=_HINT)
    content = _read(folder, layout.LIST)
    try:
        body = parse_json(content.decode("utf-8"), layout.MOST_DEPTH)
    except ValueError as problem:
        raise _refused(folder, layout.LIST, str(problem)) from None
    version = body.get("schema_version") if isinstance(body, dict) else None
    if version != layout.SCHEMA_VERSION:
        raise _refused(folder, layout.LIST, f"schema_version is {version!r}, not {layout.SCHEMA_VERSION}")
    files = body.get("files")
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise _refused(folder, layout.LIST, "`files` is no list of digests by name")
    return files, sha256(content).hexdigest()


def _listed(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield name and size of every file, after all are known to be ordinary and few.

    Raises:
        DataError: One is not, or has no place in a submission.
    """
    if not folder.is_dir():
        raise DataError(f"{_said(folder)}: no folder", hint=_HINT)
    found: dict[str, int] = {}
    total = 0
    for name, state in _entries(folder):
        if not stat.S_ISREG(state.st_mode):
            raise _refused(folder, name, f"{kind_of(state.st_mode)}, and only plain files are read")
        why = _out_of_place(name, state.st_size)
        if why:
            raise _refused(folder, name, why)
        found[name] = state.st_size
        total += state.st_size
        if len(found) > layout.MOST_FILES or total > layout.MOST_BYTES:
            most = f"{layout.MOST_FILES:,} files of {layout.MOST_BYTES / 2**30:.0f} GiB"
            raise DataError(f"{_said(folder)}: too much: at most {most} are read", hint=_HINT)
    yield from found.items()


def _entries(folder: Path, prefix: str = "", depth: int = 1) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as inside:
        entries = sorted(inside, key=lambda entry: entry.name)
    for entry in entries:
        name, state = f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode) and depth < _DEEPEST:
            yield from _entries(folder / entry.name, f"{name}/", depth + 1)
        else:
            yield name, state


def _out_of_place(name: str, size: int) -> str:
    """Say why a file has no place in a submission; empty where it has one."""
    parts = name.split("/")
    most = {layout.LIST: layout.MOST_JSON_BYTES, layout.SUITE: MOST_SUITE_BYTES}.get(name)
    if parts[0] == layout.RECORDS and len(parts) == 2 and layout.RECORD_NAME.fullmatch(parts[1]):
        most = layout.MOST_JSON_BYTES
    if parts[0] == layout.STEPS and len(parts) == 3 and layout.STEP_NAME.fullmatch(parts[1]):
        if parts[2] in layout.STEP_FILES:
            most = layout.MOST_JSON_BYTES
        elif layout.ARRAY_NAME.fullmatch(parts[2]):
            most = layout.MOST_ARRAY_BYTES
    if most is None:
        return "no part of a submission"
    return f"{size:,} bytes, of at most {most:,}" if size > most else ""


def _read(folder: Path, name: str) -> bytes:
    """Read a file once; it may have become something else since it was listed."""
    most = layout.MOST_ARRAY_BYTES if name.endswith(".npy") else layout.MOST_JSON_BYTES
    try:
        return read_regular(folder / name, most, links=False)
    except (OSError, ValueError) as problem:
        raise _refused(folder, name, str(problem)) from None


def _refused(folder: Path, name: str, why: str) -> DataError:
    text = one_line(f"{folder}: {name}: {why}", LONGEST_SENTENCE)
    return DataError(text, hint="nothing of it was verified; " + _HINT)


def _said(folder: Path) -> str:
    return one_line(str(folder))
