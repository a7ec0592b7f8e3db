"""Hostile archives, folders, arrays and tables: each is refused with a message, in bounded memory and time.

Nothing is written outside the step's work folder, and no file outside of what was given is read: a canary
beside it stays unread and unchanged.
"""

import gzip
import io
import json
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults.bounds import bounded
from faults.campaign import Size, Trial
from faults.images import FOREIGN, SOUND, png_with
from genbench.arrays import load_array, load_arrays
from genbench.errors import DataError
from genbench.parquet import ParquetRows
from genbench.testing.context import MemoryContext
from genbench_datasets._archives import class_folders
from genbench_datasets._tables import Reading, read_parquet, with_labels
from genbench_datasets.configs.imagefolder import ImageFolderConfig
from genbench_datasets.imagefolder import ImageFolder
from odd_files import make_pipe, make_socket

_MEBIBYTES = 384  # 64 for the largest file that is allowed, some copies of it, and threads' stacks
_SECONDS = 240
_PICTURE = SOUND["PNG"]
_CLASS = "n01440764"
_BLOCK = 512
_SECOND = 2 * _BLOCK + len(_PICTURE) // _BLOCK * _BLOCK + 5  # a byte of the second file's header
_ZEROS = gzip.compress(bytes(64 << 20), 9)  # 64 MiB in 64 kB: as many of them as one likes are one stream


# ------------------------------------------------------------------------------------------------ made tars


def _tar(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.GNU_FORMAT, **options: Any) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", format=kind, compresslevel=1, **options) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return content.getvalue()


def _member(
    name: str = f"{_CLASS}/1.png", body: bytes = _PICTURE, **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, body


def _special(kind: bytes, link: str = "") -> bytes:
    return _tar(_member(), _member(f"{_CLASS}/2.png", b"", type=kind, linkname=link))


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _grown(head: bytes, gibibytes: int) -> bytes:
    """A header and as many zeros, in a few kilobytes per GiB."""
    return gzip.compress(head) + _ZEROS * (gibibytes * 16)


def _extended(size: int, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return _grown(_header("facts", size, kind), -(-size >> 30))


def _facts(**facts: str) -> bytes:
    return _tar(_member(pax_headers=facts), kind=tarfile.PAX_FORMAT)


def _raw_tar(*pieces: bytes) -> bytes:
    padded = [piece + bytes(-len(piece) % _BLOCK) for piece in pieces]
    return gzip.compress(b"".join(padded) + bytes(2 * _BLOCK))


def _flipped(content: bytes, at: int) -> bytes:
    plain = bytearray(gzip.decompress(content))
    plain[at] ^= 1
    return gzip.compress(bytes(plain))


def _shared_facts() -> bytes:
    """Facts that hold for all files, of a kilobyte each, under ever new names."""
    pieces = list[bytes]()
    for number in range(3000):
        body = f" {number:06d}={'x' * 1000}\n".encode()
        body = str(len(body) + 4).encode() + body
        pieces += [_header("g", len(body), tarfile.XGLTYPE), body]
    return _raw_tar(*pieces, _header(f"{_CLASS}/1.png", len(_PICTURE)), _PICTURE)


TARS: Mapping[str, Callable[[], bytes]] = {
    "a file of 9 GiB": lambda: _grown(_header(f"{_CLASS}/1.png", 9 << 30), 9),
    "a hidden file of 9 GiB": lambda: _grown(_header(f"{_CLASS}/.1.png", 9 << 30), 9),
    "a file that claims 8 EiB": lambda: _grown(_header(f"{_CLASS}/1.png", 1 << 62), 0),
    "a file of -1 bytes": lambda: _grown(_header(f"{_CLASS}/1.png", -1), 0),
    "many files of 60 MiB": lambda: b"".join(
        gzip.compress(_header(f"{_CLASS}/.{number}", 60 << 20) + bytes(60 << 20), 1) for number in range(20)
    ),
    "zeros after the end": lambda: gzip.compress(bytes(2 * _BLOCK)) + _ZEROS * 40,
    "a long name of 3 GiB": lambda: _extended(3 << 30, tarfile.GNUTYPE_LONGNAME),
    "a long link of 3 GiB": lambda: _extended(3 << 30, tarfile.GNUTYPE_LONGLINK),
    "facts of 3 GiB": lambda: _extended(3 << 30),
    "shared facts of 3 GiB": lambda: _extended(3 << 30, tarfile.XGLTYPE),
    "shared facts in pieces": _shared_facts,
    "facts that say another size": lambda: _facts(size=str(9 << 30)),
    "facts that say a size of letters": lambda: _facts(size="abc"),
    "facts that say sparse": lambda: _facts(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                                               "GNU.sparse.name": "x", "GNU.sparse.realsize": "9" * 15}),
    "an old sparse file": lambda: _special(tarfile.GNUTYPE_SPARSE),
    "long names without end": lambda: _raw_tar(*[_header("x", 5, tarfile.GNUTYPE_LONGNAME), b"name\0"] * 999),
    "a link to a file": lambda: _special(tarfile.SYMTYPE, "/etc/passwd"),
    "a link out": lambda: _special(tarfile.SYMTYPE, "../../../canary"),
    "a hard link": lambda: _special(tarfile.LNKTYPE, "/etc/passwd"),
    "a hard link inside": lambda: _special(tarfile.LNKTYPE, f"{_CLASS}/1.png"),
    "a pipe": lambda: _special(tarfile.FIFOTYPE),
    "a device": lambda: _special(tarfile.CHRTYPE),
    "a disk": lambda: _special(tarfile.BLKTYPE),
    "a kind that nobody knows": lambda: _special(b"Z"),
    "an absolute name": lambda: _tar(_member(f"/tmp/{_CLASS}/1.png")),
    "a name that climbs": lambda: _tar(_member(f"../../{_CLASS}/1.png")),
    "a name that climbs later": lambda: _tar(_member(f"a/../../{_CLASS}/1.png")),
    "a name of another system": lambda: _tar(_member(f"{_CLASS}\\1.png")),
    "a name with a drive": lambda: _tar(_member(f"C:/{_CLASS}/1.png")),
    "a name that comes twice": lambda: _tar(_member(), _member()),
    "a name that is not UTF-8": lambda: _tar(_member(f"{_CLASS}/caf\u00e9.png"), encoding="latin-1"),
    "a name that clears the screen": lambda: _tar(_member(f"{_CLASS}/\x1b[2J.png")),
    "a name with a line break": lambda: _tar(_member(f"{_CLASS}/a\nb.png")),
    "a name that reads backwards": lambda: _tar(_member(f"{_CLASS}/\u202egnp.exe"), encoding="utf-8"),
    "an empty name": lambda: _tar(_member("")),
    "no class folder": lambda: _tar(_member("1.png")),
    "an archive in an archive": lambda: _tar(_member(f"{_CLASS}/1.png", _tar(_member()))),
    "PostScript": lambda: _tar(_member(body=FOREIGN["EPS"])),
    "a picture that claims 400 megapixels": lambda: _tar(_member(body=png_with(width=20_000, height=20_000))),
    "a header that breaks inside": lambda: _flipped(_tar(_member(), _member(f"{_CLASS}/2.png")), _SECOND),
    "a checksum that is wrong": lambda: _tar(_member())[:-8] + bytes(8),
    "no end": lambda: _tar(_member(), _member(f"{_CLASS}/2.png"))[:-200],
    "text": lambda: b"hello",
    "nothing": lambda: b"",
    "a packed text": lambda: gzip.compress(b"hello" * 1000),
    "a tar that is not packed": lambda: gzip.decompress(_tar(_member())),
    "gzip in gzip": lambda: gzip.compress(_tar(_member())),
    "a header of gzip without end": lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (4 << 20),
    "300,000 files": lambda: gzip.compress(b"".join(
        tarfile.TarInfo(f"{_CLASS}/.{number}").tobuf() for number in range(300_000)), 1),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ made zips


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return content.getvalue()


def _patched(content: bytes, local: int, central: int, value: bytes) -> bytes:
    """Change a field of the first file, in its own header and in the table of contents."""
    found = bytearray(content)
    for start, offset in ((0, local), (content.index(b"PK\x01\x02"), central)):
        found[start + offset : start + offset + len(value)] = value
    return bytes(found)


def _picture_zip() -> bytes:
    return _zip((f"{_CLASS}/1.png", _PICTURE))


def _zeros_zip(gibibytes: int, *, claimed: int | None = None) -> bytes:
    """A file of zeros, deflated: a block of them is repeated in the stream."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = block.compress(bytes(64 << 20)) + block.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    packed = piece * (gibibytes * 16) + end
    size = (gibibytes << 30) if claimed is None else claimed
    name = f"{_CLASS}/1.png".encode()
    head = struct.pack(
        "<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, 0, len(packed), size & 0xFFFFFFFF, len(name), 0
    )
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 0, 0, len(packed),
                        size & 0xFFFFFFFF, len(name), 0, 0, 0, 0, 0, 0)  # fmt: skip
    body = head + name + packed
    end_of_zip = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry + name), len(body), 0)
    return body + entry + name + end_of_zip


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def _overlapping() -> bytes:
    """Many entries that are all the same 60 MiB."""
    whole = _zip((f"{_CLASS}/0.png", bytes(60 << 20)))
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = whole[start:end]
    entries = b"".join(
        entry.replace(b"/0.png", f"/{number}.png".encode()[:6].ljust(6, b"x")) for number in range(60)
    )
    return (
        whole[:start] + entries + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 60, 60, len(entries), start, 0)
    )


def _contents_of(size: int) -> bytes:
    return struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 9, 9, size, 0, 0)


ZIPS: Mapping[str, Callable[[], bytes]] = {
    "a file of 3 GiB": lambda: _zeros_zip(3),
    "a file of 1 GiB that claims a kilobyte": lambda: _zeros_zip(1, claimed=1000),
    "a file that claims 4 GiB": lambda: _zeros_zip(0, claimed=0xFFFFFFFF),
    "many files of 60 MiB": lambda: _zip(*[(f"{_CLASS}/{number}", bytes(60 << 20)) for number in range(20)]),
    "files over one another": _overlapping,
    "an encrypted file": lambda: _patched(_picture_zip(), 6, 8, b"\x01\0"),
    "a strongly encrypted file": lambda: _patched(_picture_zip(), 6, 8, b"\x41\0"),
    "method 99": lambda: _patched(_picture_zip(), 8, 10, b"\x63\0"),
    "method bzip2": lambda: _zip((f"{_CLASS}/1.png", bytes(1 << 20)), method=zipfile.ZIP_BZIP2),
    "method LZMA": lambda: _zip((f"{_CLASS}/1.png", bytes(1 << 20)), method=zipfile.ZIP_LZMA),
    "version 255": lambda: _patched(_picture_zip(), 4, 6, b"\xff\0"),
    "patches": lambda: _patched(_picture_zip(), 6, 8, b"\x20\0"),
    "a wrong checksum": lambda: _patched(_picture_zip(), 14, 16, b"\1\2\3\4"),
    "a larger size": lambda: _patched(_picture_zip(), 22, 24, b"\xff\xff\0\0"),
    "a place outside": lambda: _patched(_picture_zip(), 0, 42, b"PK\x03\x7f"),
    "a link": lambda: _zip((_info(f"{_CLASS}/1.png", 0o120777), b"/etc/passwd")),
    "a device": lambda: _zip((_info(f"{_CLASS}/1.png", 0o020666), b"")),
    "an absolute name": lambda: _zip((f"/tmp/{_CLASS}/1.png", _PICTURE)),
    "a name that climbs": lambda: _zip((f"../{_CLASS}/1.png", _PICTURE)),
    "a name of another system": lambda: _zip((f"..\\{_CLASS}\\1.png", _PICTURE)),
    "a name with a nought": lambda: _zip((f"{_CLASS}/1?png", _PICTURE)).replace(b"1?png", b"1\0png"),
    "a name that clears the screen": lambda: _zip((f"{_CLASS}/\x1b[2J.png", _PICTURE)),
    "names not in UTF-8": lambda: _zip((f"{_CLASS}/\u00e9", _PICTURE)).replace(b"\xc3\xa9", b"\xff\xfe"),
    "no class folder": lambda: _zip(("1.png", _PICTURE)),
    "an archive in an archive": lambda: _zip((f"{_CLASS}/1.png", _picture_zip())),
    "PostScript": lambda: _zip((f"{_CLASS}/1.png", FOREIGN["EPS"])),
    "400 megapixels": lambda: _zip((f"{_CLASS}/1.png", png_with(width=20_000, height=20_000))),
    "contents that claim 4 GiB": lambda: _contents_of(0xFFFFFFFE),
    "contents that claim what is not there": lambda: _contents_of(100_000),
    "half": lambda: _picture_zip()[:-30],
    "text": lambda: b"hello",
    "nothing": lambda: b"",
    "nothing in it": _zip,
    "300,000 files": lambda: _many_entries(300_000),
}  # fmt: skip


def _many_entries(count: int) -> bytes:
    names = [f"{_CLASS}/.{number:06d}".encode() for number in range(count)]
    entries = b"".join(
        struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0
        )
        + name
        for name in names
    )
    return entries + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entries), 0, 0)


# ---------------------------------------------------------------------------------------------- made folders


def _bombs_of_links(root: Path) -> None:
    """Folders that link to the next one ten times: ten to the power of ten paths."""
    for level in range(10):
        (root / f"level{level}").mkdir()
    for level in range(9):
        for number in range(10):
            (root / f"level{level}" / f"l{number}").symlink_to(root / f"level{level + 1}")
    (root / "level9" / "x.png").write_bytes(_PICTURE)


FOLDERS: Mapping[str, Callable[[Path], object]] = {
    "a link to a file outside": lambda root: (root / "cat" / "x.png").symlink_to(root.parent / "canary.png"),
    "a link to a folder outside": lambda root: (root / "fox").symlink_to(root.parent / "outside"),
    "a link to a link outside": lambda root: [
        (root.parent / "hop").symlink_to("canary.png"), (root / "cat" / "x.png").symlink_to("../../hop")],
    "a link to the root": lambda root: (root / "cat" / "x").symlink_to("/"),
    "a link to /proc": lambda root: (root / "cat" / "x.png").symlink_to("/proc/self/environ"),
    "a link to a device": lambda root: (root / "cat" / "x.png").symlink_to("/dev/zero"),
    "a link to itself": lambda root: (root / "cat" / "x.png").symlink_to("x.png"),
    "a link to the folder above": lambda root: (root / "cat" / "x").symlink_to(".."),
    "two folders that link to one another": lambda root: [
        (root / "cat" / "x").symlink_to("../dog"), (root / "dog" / "y").symlink_to("../cat")],
    "a link to nothing": lambda root: (root / "cat" / "x.png").symlink_to("gone.png"),
    "links to links to links": _bombs_of_links,
    "a pipe": lambda root: make_pipe(root / "cat" / "x.png"),
    "a socket": lambda root: make_socket(root / "cat" / "x.png"),
    "a pipe as class": lambda root: make_pipe(root / "fox"),
    "a name that is not UTF-8": lambda root: (root / "cat" / os.fsdecode(b"\xff.png")).write_bytes(_PICTURE),
    "a folder that is not UTF-8": lambda root: (root / os.fsdecode(b"\xff")).mkdir(),
    "a name with a line break": lambda root: (root / "cat" / "a\nb.txt").write_bytes(b"x"),
    "a name for an archive": lambda root: (root / "cat" / "zip:::x.png").write_bytes(_PICTURE),
    "a text": lambda root: (root / "cat" / "notes.txt").write_bytes(b"x"),
    "PostScript": lambda root: (root / "cat" / "x.jpg").write_bytes(FOREIGN["EPS"]),
    "a PDF": lambda root: (root / "cat" / "x.jpg").write_bytes(FOREIGN["PDF"]),
    "400 megapixels": lambda root: (root / "cat" / "x.png").write_bytes(png_with(width=20000, height=20000)),
    "nothing": lambda root: (root / "cat" / "x.png").write_bytes(b""),
    "half an image": lambda root: (root / "cat" / "x.png").write_bytes(_PICTURE[:90]),
    "a file of 9 GB with holes": lambda root: _sparse(root / "cat" / "x.webp", 9 << 30),
    "an archive": lambda root: (root / "cat" / "x.png").write_bytes(_picture_zip()),
    "a class without images": lambda root: (root / "fox").mkdir(),
}  # fmt: skip


def _sparse(path: Path, size: int) -> None:
    path.write_bytes(SOUND["WEBP"])
    os.truncate(path, size)


# ------------------------------------------------------------------------------------- made arrays and tables


def _npy(shape: str, dtype: str = "|u1", body: bytes = bytes(64), version: bytes = b"\1\0") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


ARRAYS: Mapping[str, bytes] = {
    "a million million numbers": _npy("(1000000000000,)"),
    "more than there are addresses": _npy("(99999999999999999999999,)"),
    "a product that turns around": _npy("(4294967296, 4294967297)"),
    "less than nothing": _npy("(-1, -64)"),
    "fewer than there are": _npy("(3,)"),
    "a shape of text": _npy("('a',)"),
    "a shape of floats": _npy("(64.0,)"),
    "a shape without end": _npy("(" + "1," * 9000 + ")"),
    "nested brackets": _npy("(" * 500 + ")" * 500),
    "a call": _npy("__import__('os').system('true')"),
    "objects": _npy("(8,)", "|O"),
    "text": _npy("(16,)", "<U1"),
    "a record": _npy("(8,)", "V8"),
    "dates": _npy("(8,)", "<M8[s]"),
    "version 9": _npy("(64,)", version=b"\x09\0"),
    "a pickle": FOREIGN["a pickle"],
    "half a header": _npy("(64,)")[:40],
    "a header of 4 GB": b"\x93NUMPY\2\0" + b"\xff\xff\xff\xff" + b"{" * 1000,
    "hello": b"hello",
    "nothing": b"",
}


def _parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    content = io.BytesIO()
    note = options.pop("note", None)
    table = pa.table(columns)
    if note is not None:
        table = table.replace_schema_metadata({"huggingface": note})
    pq.write_table(table, content, **options)
    return content.getvalue()


def _cells(*cells: Any) -> bytes:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()  # not written by `datasets`, which would open the paths
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    pq.write_table(pa.Table.from_pylist([{"image": cell} for cell in cells], schema=schema), content)
    return content.getvalue()


def _many_rows() -> bytes:
    import pyarrow as pa

    return _parquet({"image": pa.nulls(40_000_000, pa.int8())})


def _packed_column() -> bytes:
    return _parquet({"image": [bytes(1 << 20)] * 300}, compression="zstd", use_dictionary=False)


def _note(content: Any) -> bytes:
    return _parquet({"image": [1]}, note=content if isinstance(content, str) else json.dumps(content))


TABLES: Mapping[str, Callable[[], bytes]] = {
    "40 million rows of nothing": _many_rows,
    "300 MB of zeros": _packed_column,
    "a note that is no JSON": lambda: _note("{"),
    "a note of brackets": lambda: _note("[" * 100_000),
    "a note of a number": lambda: _note(3),
    "a type that nobody knows": lambda: _note({"info": {"features": {"image": {"_type": "System"}}}}),
    "a type of a list": lambda: _note({"info": {"features": {"image": {"_type": []}}}}),
    "no image column": lambda: _parquet({"image": ["a"]}),
    "a path": lambda: _cells({"bytes": None, "path": "/etc/passwd"}),
    "an address": lambda: _cells({"bytes": None, "path": "http://127.0.0.1:9/x.png"}),
    "nothing in a cell": lambda: _cells(None),
    "PostScript in a cell": lambda: _cells({"bytes": FOREIGN["EPS"], "path": "x.jpg"}),
    "400 megapixels in a cell": lambda: _cells(
        {"bytes": png_with(width=20_000, height=20_000), "path": None}
    ),
    "text": lambda: b"hello",
    "nothing": lambda: b"",
    "two marks": lambda: b"PAR1PAR1",
    "a foot of 2 GiB": lambda: b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
}


# --------------------------------------------------------------------------------------------------- trials

_SLOW = {
    "many files of 60 MiB",
    "300,000 files",
    "40 million rows of nothing",
}  # to make, more than to refuse


def trials(size: Size) -> Iterator[Trial]:
    short = size == "short"
    for name, make in _some(TARS, short, 4):
        yield Trial(f"tar: {name}", partial(_refused_archive, "a.tar.gz", make))
    for name, make in _some(ZIPS, short, 4):
        yield Trial(f"zip: {name}", partial(_refused_archive, "a.zip", make))
    for name, spoil in _some(FOLDERS, short, 2):
        yield Trial(f"folder: {name}", partial(_refused_folder, spoil))
    yield Trial("arrays that claim anything", _refused_arrays, count=2 * len(ARRAYS))
    for name, make in _some(TABLES, short, 3):
        yield Trial(f"table: {name}", partial(_refused_table, make))
    for kind in ("tar.gz", "zip", "parquet"):
        yield Trial(
            f"{kind}: cut off and changed",
            partial(_damaged, kind, 12 if short else 400),
            24 if short else 800,
        )
    yield Trial("sound ones are read", _sound)


def _some(every: Mapping[str, Any], short: bool, step: int) -> list[tuple[str, Any]]:
    found = [(name, made) for name, made in every.items() if not (short and name in _SLOW)]
    return found[::step] if short else found


def _canary(folder: Path) -> None:
    import datasets  # noqa: F401 - once, and not in every child

    (folder / "canary.png").write_bytes(_PICTURE)
    (folder / "outside").mkdir()
    (folder / "outside" / "canary.png").write_bytes(_PICTURE)


def _read_archive(file: Path, work: Path) -> Any:
    ctx = MemoryContext(work=work)
    table = class_folders("shift 'x'", {file.name: file}, [_CLASS], ctx)
    return with_labels(table, "image", np.asarray(table["label"]), [_CLASS], Reading(8), ctx)


def _refused_archive(name: str, make: Callable[[], bytes], folder: Path) -> None:
    _canary(folder)
    file, work = folder / name, folder / "work"
    file.write_bytes(make())
    work.mkdir()
    before = _listed(folder)

    def inside() -> None:
        with pytest.raises(DataError, match=r"^(shift 'x': |the image in row )") as caught:
            _read_archive(file, work)
        _readable(caught.value)

    bounded(inside, mebibytes=_MEBIBYTES, seconds=_SECONDS)
    assert {path for path in _listed(folder) if not path.startswith("work")} == before - {"work"}


def _refused_folder(spoil: Callable[[Path], object], folder: Path) -> None:
    _canary(folder)
    root = folder / "pets"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(5):
            (root / name / f"{number}.png").write_bytes(_PICTURE)
    spoil(root)

    def inside() -> None:
        with pytest.raises(DataError) as caught:
            _read_folder(root, folder)
        _readable(caught.value)

    bounded(inside, mebibytes=_MEBIBYTES, seconds=_SECONDS)


def _read_folder(root: Path, work: Path) -> None:
    config = ImageFolderConfig(path=root, size=8)
    config.source_files()
    ImageFolder(config).load(MemoryContext(work=work))


def _refused_arrays(folder: Path) -> None:
    def inside() -> None:
        for name, content in ARRAYS.items():
            plain, packed = folder / "a.npy", folder / "a.npz"
            plain.write_bytes(content)
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("a.npy", content)
            for read in (lambda: load_array(plain), lambda: load_arrays(packed, "a")):  # noqa: B023 - called at once
                with pytest.raises(DataError, match="cannot be read as an array") as caught:
                    read()
                _readable(caught.value)
            assert name

    bounded(inside, mebibytes=_MEBIBYTES, seconds=_SECONDS)


def _read_table(file: Path, work: Path, *, whole: bool) -> None:
    ctx = MemoryContext(work=work)
    rows = read_parquet([file], ctx) if whole else ParquetRows([file], work / "arrow")
    table = rows if whole else rows.select(np.arange(min(len(rows), 16)))
    with_labels(table, "image", np.zeros(len(table), dtype=np.int64), ["a"], Reading(8), ctx)


def _refused_table(make: Callable[[], bytes], folder: Path) -> None:
    import datasets  # noqa: F401 - once, and not in every child

    file = folder / "t.parquet"
    file.write_bytes(make())

    def inside(*, whole: bool) -> None:
        with pytest.raises(DataError) as caught:
            _read_table(file, folder, whole=whole)
        _readable(caught.value)

    for whole in (False, True):
        bounded(partial(inside, whole=whole), mebibytes=2 * _MEBIBYTES, seconds=_SECONDS)


def _damaged(kind: str, count: int, folder: Path) -> None:
    """Cut an archive off anywhere, and change bytes of it: a DataError, or the images as they were."""
    file = folder / f"a.{kind}"
    content = _sound_bytes(kind)
    rng = np.random.default_rng(len(content))

    def attempt(number: int) -> None:
        changed = bytearray(content)
        if number % 2:
            del changed[int(rng.integers(0, len(content))) :]
        else:
            for _ in range(int(rng.integers(1, 5))):
                changed[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
        file.write_bytes(changed)
        (work := folder / str(number)).mkdir()
        try:
            _read_table(file, work, whole=bool(number % 4 < 2)) if kind == "parquet" else _read_archive(
                file, work
            )
        except DataError as problem:
            _readable(problem)

    def inside() -> None:
        for number in range(2 * count):
            attempt(number)

    bounded(inside, mebibytes=4 * _MEBIBYTES, seconds=_SECONDS)


def _sound_bytes(kind: str) -> bytes:
    if kind == "parquet":
        return _cells(*[{"bytes": content, "path": None} for content in SOUND.values()])
    names = [(f"a/{_CLASS}/{number}.img", content) for number, content in enumerate(SOUND.values())]
    return _zip(*names) if kind == "zip" else _tar(*[_member(name, body) for name, body in names])


def _sound(folder: Path) -> None:
    for kind in ("tar.gz", "zip"):
        file, work = folder / f"a.{kind}", folder / kind
        file.write_bytes(_sound_bytes(kind))
        work.mkdir()
        assert len(_read_archive(file, work)) == len(SOUND)
    file = folder / "t.parquet"
    file.write_bytes(_sound_bytes("parquet"))
    _read_table(file, folder, whole=False)
    _read_table(file, folder, whole=True)


def _readable(problem: DataError) -> None:
    """A message can be printed, and has an end."""
    assert len(problem.message) < 1000, "a message without an end"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", problem.message), (
        "it cannot be printed"
    )


def _listed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
