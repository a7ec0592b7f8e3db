"""Archives that others made, read a file at a time; nothing is written, and no name in them is a path here.

What an archive says of itself is checked before anything is unpacked, and what really comes is counted,
since headers may lie. Images hardly compress: an archive that grows to many times its size is no set of
images. Only plain files are read; links, devices and sparse files, names that lead elsewhere or come twice,
encrypted files and other methods than those of the published archives are refused.
"""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from genbench.errors import DataError
from genbench.files import open_regular, said, shown

MOST_FILES = 200_000  #: in an archive: ImageNet-Sketch has 50,889
MOST_FILE_BYTES = 64 << 20  #: of a file in an archive; the largest image of ImageNet fills 16 MB
MOST_GROWTH = 20  #: how many times its size an archive may fill unpacked
SMALLEST_LIMIT_BYTES = 1 << 30  #: what any archive may fill unpacked
_LOCAL_HEADER_BYTES = 30  # before the name of a file in a zip
_MOST_HEADER_BYTES = 64 << 10  # of one file's long name and further facts in a tar
_MOST_SHARED_BYTES = 1 << 20  # of all facts in a tar that hold for several files: they stay in memory
_MOST_CONTENTS_BYTES = 64 << 20  # of a zip's table of contents, which is read whole
_HEADERS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: encrypted, strongly encrypted, with a masked table of contents


class Unpacked(NamedTuple):
    """A file of an archive."""

    name: PurePosixPath
    content: bytes


def unpacked(archive: Path) -> Iterator[Unpacked]:
    """Yield an archive's files, hidden ones left out.

    Raises:
        DataError: It is broken, or is refused: what was found and what is allowed is said.
    """
    try:
        with open_regular(archive) as file:
            yield from _zip_files(file) if archive.suffix == ".zip" else _tar_files(file)
    except DataError as problem:
        raise DataError(f"{archive} cannot be read: {problem.message}", hint=problem.hint) from None
    except Exception as problem:  # on broken archives, the standard library raises nearly every kind
        raise DataError(f"{archive} cannot be read: {said(problem)} ({type(problem).__name__})") from problem


def zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, most_bytes: int) -> bytes:
    """Read a file of a zip.

    Raises:
        DataError: It is larger than `most_bytes`, encrypted, or packed by another method than deflation.
    """
    name = _readable(info)
    _check_bytes(name, info.file_size, most_bytes)
    with packed.open(info) as content:
        found = content.read(most_bytes + 1)
    if len(found) != info.file_size:
        raise DataError(f"{name} claims {info.file_size:,} bytes, and holds {len(found):,}")
    return found


def unpack_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, most_bytes: int) -> None:
    """Write a file of a zip to `place`, a megabyte in memory at a time.

    Raises:
        DataError: It is larger than `most_bytes`, encrypted, or packed by another method than deflation.
    """
    name, written = _readable(info), 0
    _check_bytes(name, info.file_size, most_bytes)
    place.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(info) as content, place.open("wb") as file:
        while part := content.read(1 << 20):
            written += len(part)
            _check_bytes(name, written, info.file_size)
            file.write(part)
    if written != info.file_size:
        raise DataError(f"{name} claims {info.file_size:,} bytes, and holds {written:,}")


def stored_at(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where the content of a file begins that a zip stores as it is.

    Raises:
        DataError: It is encrypted, or not where the table of contents says.
    """
    name = _readable(info)
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
        raise DataError(f"{name} is not where the table of contents says")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER_BYTES + int(name_bytes) + int(extra_bytes)


def zip_images(packed: zipfile.ZipFile, file: IO[bytes]) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by name, hidden ones left out, after checks of what it says of itself.

    Raises:
        DataError: It is refused, as `unpacked` would.
    """
    found = {}
    for name, info in _zip_members(packed, file):
        if not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in name.parts):
            found[name.as_posix()] = info
    return found


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip; a table of contents that would fill the memory is refused."""
    return zipfile.ZipFile(_SmallReads(file))


def _readable(info: zipfile.ZipInfo) -> str:
    """Return a zip's file's name, for messages, if it can be read."""
    name = shown(info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise DataError(f"{name} is encrypted", hint="unpack it with its password, and use the folder")
    if info.compress_type not in _METHODS:
        allowed = ", ".join(f"{method} ({number})" for number, method in _METHODS.items())
        raise DataError(f"{name} is packed by method {info.compress_type}; allowed: {allowed}")
    return name


def _zip_files(file: IO[bytes]) -> Iterator[Unpacked]:
    with open_zip(file) as packed:
        for name, info in _zip_members(packed, file):
            if not info.is_dir() and not name.name.startswith("."):
                yield Unpacked(name, zip_member(packed, info, MOST_FILE_BYTES))


def _zip_members(packed: zipfile.ZipFile, file: IO[bytes]) -> Iterator[tuple[PurePosixPath, zipfile.ZipInfo]]:
    """Yield what a zip holds, folders included, each after its name and kind were checked."""
    names, infos, allowed = _Names(), packed.infolist(), most_growth_of(file)
    claimed = sum(info.file_size for info in infos)
    if claimed > allowed:
        raise _grown(claimed, allowed)
    for info in infos:
        name = names.checked(info.orig_filename, is_folder=info.is_dir())
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise DataError(f"{shown(info.filename)} is no plain file: links and devices are not read")
        yield name, info


def _tar_files(file: IO[bytes]) -> Iterator[Unpacked]:
    names, allowed = _Names(), most_growth_of(file)
    with gzip.open(file) as packed:
        content = _Counted(packed, allowed)
        with tarfile.open(fileobj=content, mode="r|", tarinfo=_checked_headers()) as stream:
            while (member := stream.next()) is not None:
                stream.members.clear()  # type: ignore[attr-defined] # they would all stay in memory
                name = names.checked(member.name, is_folder=member.isdir())
                found = None if member.isdir() else _tar_file(stream, member)
                if found is not None and not name.name.startswith("."):
                    yield Unpacked(name, found)
        while content.read(1 << 20):
            """Reach the checksum: tarfile takes an archive that ends between two files for a whole one."""


def _tar_file(stream: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    name = shown(member.name)
    if not member.isreg() or member.issparse():
        kind = "sparse" if member.issparse() else "no plain file"
        raise DataError(f"{name} is {kind}: links, devices and sparse files are not read")
    # Again: further facts may have replaced a header's claim.
    _check_bytes(name, member.size, MOST_FILE_BYTES)
    content = stream.extractfile(member)
    found = content.read(MOST_FILE_BYTES + 1) if content is not None else b""
    if len(found) != member.size:
        raise DataError(f"{name} breaks off")
    return found


class _Names:
    """The names in an archive; a file's may come once, and none may lead elsewhere."""

    def __init__(self) -> None:
        self._seen = set[str]()

    def checked(self, name: str, *, is_folder: bool) -> PurePosixPath:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":":
            raise DataError(f"the name {shown(name)!r} leads out of the archive")
        if not name.isascii() and shown(name) != name:
            raise DataError(f"the name {shown(name)!r} is not UTF-8, or holds what cannot be printed")
        if not name.isprintable():
            raise DataError(f"the name {shown(name)!r} holds what cannot be printed")
        if path.as_posix() in self._seen and not is_folder:
            raise DataError(f"the name {shown(name)!r} comes twice")
        self._seen.add(path.as_posix())
        if len(self._seen) > MOST_FILES:
            raise DataError(f"it holds more than the {MOST_FILES:,} files that are allowed")
        return path


def _checked_headers() -> type[tarfile.TarInfo]:
    """Return what reads one archive's headers, and refuses those that claim too much.

    Long names and further facts are read whole by `tarfile`, whatever size they claim, and a broken header
    inside an archive ends it there in silence.
    """

    class Header(tarfile.TarInfo):
        shared_bytes = 0

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
            try:
                header = super().frombuf(buf, encoding, errors)
            except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as problem:  # type: ignore[attr-defined]
                raise DataError(f"a header is broken: {problem}") from None
            if header.size < 0:
                raise DataError(f"{shown(header.name)} claims {header.size} bytes")
            if header.type in _HEADERS:
                if header.type == tarfile.XGLTYPE:
                    cls.shared_bytes += header.size
                _check_bytes("a long name", header.size, _MOST_HEADER_BYTES)
                _check_bytes("what holds for all files", cls.shared_bytes, _MOST_SHARED_BYTES)
            elif header.isreg():
                _check_bytes(shown(header.name), header.size, MOST_FILE_BYTES)
            return header

    return Header


class _Counted(io.RawIOBase):
    """What comes out of a stream, up to a limit."""

    def __init__(self, stream: gzip.GzipFile, most_bytes: int) -> None:
        self._stream, self._most, self._count = stream, most_bytes, 0

    def read(self, size: int = -1) -> bytes:
        found = self._stream.read(size)
        self._count += len(found)
        if self._count > self._most:
            raise _grown(self._count, self._most)
        return found


class _SmallReads(io.RawIOBase):
    """A file that is read in small pieces: `zipfile` takes a table of contents in one, whatever it claims."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_CONTENTS_BYTES:
            raise DataError(
                f"its table of contents claims {size:,} bytes; allowed are {_MOST_CONTENTS_BYTES:,}"
            )
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def most_growth_of(file: IO[bytes]) -> int:
    """Return how many bytes an archive may fill unpacked."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return max(SMALLEST_LIMIT_BYTES, MOST_GROWTH * size)


def _grown(found: int, allowed: int) -> DataError:
    return DataError(f"it fills {found:,} bytes or more unpacked, and {allowed:,} are allowed for its size")


def _check_bytes(what: str, found: int, allowed: int) -> None:
    if found > allowed:
        raise DataError(f"{what} claims {found:,} bytes, and {allowed:,} are allowed")
