"""Files that travel in pieces: packed into tars within limits, checked, and joined on the other side.

A *group* is a set of files that becomes visible together: a data set, or an artifact of the store. Its files
are cut into pieces; a *shipment* is a folder of tars full of pieces and the list of what they belong to. The
pieces of a group may arrive in several shipments and in any order: they wait in `incoming/` until all are
there and every file has its SHA-256, and only then move to their place.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PIECE_BYTES = 4 << 20
LIST = "shipment.json"
_LAST = "manifest.json"  # an artifact of the store exists when its manifest does
_TAR_END_BYTES = 10_240
_HEADER_BYTES = 2_048  # of one member, with a name of any length


class CargoError(Exception):
    """Something that travelled is damaged, or does not fit."""


class FileMark(NamedTuple):
    """What a file must be when it has arrived."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Group:
    """Files that become visible together.

    Attributes:
        place: Their folder, relative to the root on either side.
        files: Their marks by path in that folder.
    """

    place: str
    files: Mapping[str, FileMark]

    @property
    def id(self) -> str:
        """Identity: the same place with other contents is another group."""
        content = json.dumps([self.place, sorted(self.files.items())])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(mark.size for mark in self.files.values())

    def pieces(self) -> Iterator["Piece"]:
        """Cut the files, the manifest last."""
        for path in _in_order(self.files):
            for offset in range(0, max(1, self.files[path].size), PIECE_BYTES):
                yield Piece(self, path, offset, min(PIECE_BYTES, self.files[path].size - offset))


class Piece(NamedTuple):
    """Consecutive bytes of a file of a group."""

    group: Group
    path: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """The name of the tar member, by which both sides know the piece."""
        return f"{self.group.id}/{self.path}@{self.offset}"


class Room(NamedTuple):
    """How much a shipment may hold: tars, bytes of each, bytes of all."""

    files: int
    file_bytes: int
    all_bytes: int


class Packed(NamedTuple):
    """A shipment that was written, and the pieces for which there was no room."""

    shipment: dict[str, Any]
    sent: list[Piece]
    left: list[Piece]


class Arrived(NamedTuple):
    """Places of the groups that are complete, and bytes that are missing of the others."""

    complete: list[str]
    missing_bytes: dict[str, int]


def make_group(root: Path, place: str, paths: Iterable[str] | None = None) -> Group:
    """Describe files under `root/place`: those named, or all."""
    folder = root / place
    found = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    chosen = sorted(found) if paths is None else sorted(paths)
    return Group(
        place, {path: FileMark((folder / path).stat().st_size, sha256(folder / path)) for path in chosen}
    )


def pack(root: Path, pieces: Iterable[Piece], folder: Path, prefix: str, room: Room) -> Packed:
    """Write tars `prefix0.tar`, `prefix1.tar`, ... into `folder`: pieces in order, while there is room."""
    bins, left = _fill(pieces, room)
    folder.mkdir(parents=True, exist_ok=True)
    tars, groups = {}, {}
    for number, pieces_of_tar in enumerate(bins):
        file = folder / f"{prefix}{number}.tar"
        with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
            for piece in pieces_of_tar:
                groups[piece.group.id] = {"place": piece.group.place, "files": dict(piece.group.files)}
                tar.addfile(_member(piece), io.BytesIO(_read(root, piece)))
        tars[file.name] = FileMark(file.stat().st_size, sha256(file))
    return Packed({"tars": tars, "groups": groups}, [piece for one in bins for piece in one], left)


def unpack(folder: Path, shipment: Mapping[str, Any], root: Path) -> Arrived:
    """Take a shipment in; groups that it completes move to their place under `root`.

    Raises:
        CargoError: A tar is missing or damaged, or a joined file is not what was sent; nothing of it is used.
    """
    groups = {name: read_group(entry) for name, entry in shipment["groups"].items()}
    for name, (size, expected) in shipment["tars"].items():
        _check(folder / name, FileMark(size, expected))
    awaited = {name for name, group in groups.items() if not has_arrived(root, group)}
    for name in shipment["tars"] if awaited else ():
        with tarfile.open(folder / name) as tar:
            for member in tar:
                if member.name.partition("/")[0] in awaited:
                    content = tar.extractfile(member)
                    assert content is not None
                    _receive(root, groups, member.name, content.read())
    return _settle(root, groups, awaited)


def has_arrived(root: Path, group: Group) -> bool:
    """Say whether all files of a group lie in their place, with the right content."""
    places = ((root / group.place / path, mark) for path, mark in group.files.items())
    return all(
        file.is_file() and file.stat().st_size == mark.size and sha256(file) == mark.sha256
        for file, mark in places
    )


def read_shipment(folder: Path) -> dict[str, Any]:
    """Read the list of a shipment that was carried in.

    Raises:
        CargoError: The folder holds none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise CargoError(
            f"{folder}: no readable {LIST}; make it again with: python perf/gpu prepare"
        ) from problem
    return found


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file in one step: a reader sees the old or the new content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)


def _fill(pieces: Iterable[Piece], room: Room) -> tuple[list[list[Piece]], list[Piece]]:
    """Lay pieces into tars one after the other: (pieces of each tar, pieces left)."""
    bins: list[list[Piece]] = []
    here = total = 0
    queue = list(pieces)
    for place, piece in enumerate(queue):
        cost = _HEADER_BYTES + -(-piece.size // 512) * 512
        fresh = not bins or here + cost > room.file_bytes
        more = cost + (_TAR_END_BYTES if fresh else 0)
        if total + more > room.all_bytes or (fresh and (len(bins) == room.files or more > room.file_bytes)):
            return bins, queue[place:]
        if fresh:
            bins.append([])
            here = _TAR_END_BYTES
        bins[-1].append(piece)
        here, total = here + cost, total + more
    return bins, []


def _member(piece: Piece) -> tarfile.TarInfo:
    member = tarfile.TarInfo(piece.name)
    member.size = piece.size
    return member


def _read(root: Path, piece: Piece) -> bytes:
    with (root / piece.group.place / piece.path).open("rb") as stream:
        stream.seek(piece.offset)
        return stream.read(piece.size)


def _check(file: Path, mark: FileMark) -> None:
    if not file.is_file():
        raise CargoError(f"{file} is missing: carry its folder again, with all its files")
    found = FileMark(file.stat().st_size, sha256(file))
    if found != mark:
        raise CargoError(
            f"{file} is damaged: {found.size} bytes with SHA-256 {found.sha256[:12]}, "
            f"sent were {mark.size} with {mark.sha256[:12]}; carry its folder again"
        )


def _receive(root: Path, groups: Mapping[str, Group], member: str, content: bytes) -> None:
    """Write a piece to its offset in `incoming/`.

    Raises:
        CargoError: The list of the shipment does not name its file.
    """
    name, _, rest = member.partition("/")
    path, _, offset = rest.rpartition("@")
    if path not in groups[name].files:
        raise CargoError(f"{member} is in a tar, but not in the list of its shipment; carry the folder again")
    file = root / "incoming" / name / "files" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("r+b" if file.exists() else "w+b") as stream:
        stream.seek(int(offset))
        stream.write(content)
    with (root / "incoming" / name / "received").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps([path, int(offset), len(content)]) + "\n")


def _settle(root: Path, groups: Mapping[str, Group], awaited: Collection[str]) -> Arrived:
    """Move complete groups to their place; count what is missing of the others."""
    complete, missing = [], {}
    for name, group in groups.items():
        received = _received(root, group)
        lacking = [piece for piece in group.pieces() if piece[1:] not in received] if name in awaited else []
        if lacking:
            missing[group.place] = sum(piece.size for piece in lacking)
            continue
        if name in awaited:
            _move(root, group)
        complete.append(group.place)
    return Arrived(complete, missing)


def _received(root: Path, group: Group) -> set[tuple[str, int, int]]:
    """Return path, offset and size of the pieces that wait in `incoming/`."""
    found: set[tuple[str, int, int]] = set()
    with contextlib.suppress(FileNotFoundError):
        lines = (root / "incoming" / group.id / "received").read_text(encoding="utf-8").splitlines()
        found = {(path, offset, size) for path, offset, size in map(json.loads, lines)}
    return found


def _move(root: Path, group: Group) -> None:
    """Put a complete group in its place, after checking every joined file."""
    waiting = root / "incoming" / group.id
    for path, mark in group.files.items():
        found = sha256(waiting / "files" / path)
        if found != mark.sha256:
            shutil.rmtree(waiting)
            raise CargoError(
                f"{group.place}/{path} was joined from its pieces, but is damaged: SHA-256 {found[:12]}, "
                f"sent was {mark.sha256[:12]}; carry its pieces again"
            )
    for path in _in_order(group.files):
        target = root / group.place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(waiting / "files" / path, target)
    shutil.rmtree(waiting)


def read_group(entry: Mapping[str, Any]) -> Group:
    """Read what a shipment's list says of a group."""
    return Group(entry["place"], {path: FileMark(*mark) for path, mark in entry["files"].items()})


def _in_order(paths: Iterable[str]) -> Sequence[str]:
    return sorted(paths, key=lambda path: (path.rpartition("/")[2] == _LAST, path))
