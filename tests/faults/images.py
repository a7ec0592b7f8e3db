"""Hostile image files: every one becomes pixels or a DataError that names it, in bounded memory and time.

No other program is started for any of them, and no other file is opened.
"""

import io
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from faults.bounds import bounded
from faults.campaign import Size, Trial
from genbench.errors import DataError
from genbench.image_files import MOST_PIXELS
from genbench.images import ArrowImages, LabelledImages, read_square
from genbench.testing.context import MemoryContext
from genbench_datasets.configs.imagefolder import ImageFolderConfig
from genbench_datasets.imagefolder import ImageFolder

_MEBIBYTES = 2048  # the largest image that is allowed takes about 1,500, with an alpha channel
_SMALL_MEBIBYTES = 640  # what is refused by its header takes nothing; decoders map buffers


# --------------------------------------------------------------------------------------------- made images


def encoded(kind: str, mode: str = "RGB", side: int = 24, **options: Any) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (side, side + 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(pixels[..., 0].astype(np.float32))
    elif mode != "RGB":
        image = image.convert(mode)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


SOUND: Mapping[str, bytes] = {
    "PNG": encoded("png"),
    "PNG with palette": encoded("png", "P"),
    "PNG with alpha": encoded("png", "RGBA"),
    "PNG of 16 bits": encoded("png", "I;16"),
    "PNG of one bit": encoded("png", "1"),
    "PNG grey with alpha": encoded("png", "LA"),
    "PNG with a transparent colour": encoded("png", transparency=(1, 2, 3)),
    "JPEG": encoded("jpeg"),
    "JPEG progressive": encoded("jpeg", progressive=True),
    "JPEG grey": encoded("jpeg", "L"),
    "JPEG CMYK": encoded("jpeg", "CMYK"),
    "WEBP": encoded("webp"),
    "WEBP without loss": encoded("webp", "RGBA", lossless=True),
    "WEBP animated": encoded("webp", save_all=True, append_images=[Image.new("RGB", (29, 24), "red")]),
    "BMP": encoded("bmp"),
    "BMP with palette": encoded("bmp", "P"),
    "GIF": encoded("gif", "P"),
    "GIF animated": encoded("gif", "P", save_all=True, append_images=[Image.new("P", (29, 24), 3)]),
    "TIFF": encoded("tiff"),
    "TIFF deflated": encoded("tiff", compression="tiff_adobe_deflate"),
    "TIFF LZW": encoded("tiff", compression="tiff_lzw"),
    "TIFF as JPEG": encoded("tiff", compression="jpeg"),
    "TIFF of 16 bits": encoded("tiff", "I;16"),
    "TIFF of floats": encoded("tiff", "F"),
    "TIFF CMYK": encoded("tiff", "CMYK"),
    "TIFF LAB": encoded("tiff", "LAB"),
    "PPM": encoded("ppm"),
    "PGM": encoded("ppm", "L"),
}

FOREIGN: Mapping[str, bytes] = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(/etc/passwd) run\n",
    "EPS, binary": struct.pack("<4sIIIIII", b"\xc5\xd0\xd3\xc6", 32, 60, 0, 0, 0, 0) + b"\0%!PS-Adobe\n" * 9,
    "EPS after a blank": b"\n\n%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "PostScript": b"%!\n(x) print quit\n",
    "PDF": b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\n%%EOF\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "SVG with entities": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
    "WMF": struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 100, 100, 1440, 0, 0) + bytes(100),
    "EMF": struct.pack("<II8i8i4s", 1, 108, *range(16), b" EMF") + bytes(100),
    "FITS": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) * 35,
    "ICO": struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, 300, 22) + encoded("png"),
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(100),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(100),
    "HEIF": b"\0\0\0\x18ftypheic" + bytes(100),
    "DDS": b"DDS |" + bytes(200),
    "FLI": struct.pack("<IH", 200, 0xAF12) + bytes(200),
    "PCX": b"\n\5\1\x08" + struct.pack("<4H", 0, 0, 7, 7) + bytes(200),
    "TGA": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 8, 8, 24, 0) + bytes(192),
    "XPM": b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #fff", "a"};',
    "IM": b"Image type: RGB\r\nImage size (x*y): 8*8\r\n" + bytes(600),
    "SPIDER": struct.pack(">27f", *([1.0] * 27)) + bytes(2000),
    "MPEG": b"\0\0\1\xb3" + bytes(100),
    "GRIB": b"GRIB\0\0\0\1" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "zip": b"PK\3\4" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "HTML": b"<html><img src=http://127.0.0.1/x></html>",
    "a program": b"\x7fELF" + bytes(100),
    "a script": b"#!/bin/sh\ntouch /tmp/harm\n",
    "nothing": b"",
    "zeros": bytes(4096),
    "a pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
}  # fmt: skip


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes, width: int = 8, height: int = 8) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + _chunk(b"IEND", b"")


def _gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"," + struct.pack(
        "<HHHHB", 0, 0, width, height, 0
    ) + b"\x02\x02\x44\x01\x00;"  # fmt: skip


def _bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)
        + bytes(40)
    )


def _webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + size + encoded("webp")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int, *further: tuple[int, int, int]) -> bytes:
    tags = {256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8),
            277: (3, 1), 278: (4, height), 279: (4, 64)}  # fmt: skip
    tags |= {tag: (kind, value) for tag, kind, value in further}
    body = b"".join(
        struct.pack("<HHII", tag, kind, 1, value & 0xFFFFFFFF) for tag, (kind, value) in sorted(tags.items())
    )
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(tags)) + body + bytes(4)


def _jpeg(width: int, height: int) -> bytes:
    content = bytearray(encoded("jpeg"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    return bytes(content)


def _ppm(width: int, height: int) -> bytes:
    return f"P6\n{width} {height}\n255\n".encode() + bytes(64)


_SIZED: Mapping[
    str, tuple[Callable[[int, int], bytes], int]
] = {  # and the largest side that a header can say
    "PNG": (lambda width, height: png_with(width=width, height=height), 2**31 - 1),
    "GIF": (_gif, 2**16 - 1),
    "BMP": (_bmp, 2**31 - 1),
    "WEBP": (_webp, 2**24),
    "TIFF": (_tiff, 2**31 - 1),
    "JPEG": (_jpeg, 65_500),
    "PPM": (_ppm, 10**9),
}


def _metadata() -> Iterator[tuple[str, bytes]]:
    """Yield sound pixels behind absurd metadata: text that unpacks to much, EXIF of any shape."""
    bomb = zlib.compress(bytes(200 << 20), 9)
    yield "a packed text of 200 MiB", png_with(_chunk(b"zTXt", b"a\0\0" + bomb))
    yield "a packed note of 200 MiB", png_with(_chunk(b"iTXt", b"a\0\1\0\0\0" + bomb))
    yield "a packed profile of 200 MiB", png_with(_chunk(b"iCCP", b"a\0\0" + bomb))
    yield "a hundred thousand texts", png_with(*[_chunk(b"tEXt", b"a\0b")] * 100_000)
    yield (
        "ninety texts of a megabyte",
        png_with(*[_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))] * 90),
    )
    yield "a chunk that claims 2 GiB", png_with(struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(20))
    yield "EXIF of nothing but 0xFF", encoded("jpeg", exif=b"Exif\0\0II*\0" + b"\xff" * 4000)
    loop = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", 1)
        + struct.pack("<HHII", 0x8769, 4, 1, 8)
        + struct.pack("<I", 8)
    )
    yield "EXIF that leads to itself", encoded("jpeg", exif=loop)
    huge = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", 1)
        + struct.pack("<HHII", 0x0112, 5, 2**32 - 1, 0)
        + bytes(4)
    )
    yield "EXIF that claims 32 GiB", encoded("jpeg", exif=huge)
    yield "an orientation of 99", encoded("jpeg", exif=_orientation(99))
    yield "a profile of 4 MB", encoded("jpeg", icc_profile=bytes(4_000_000))
    yield (
        "XMP of a thousand brackets",
        png_with(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 100_000)),
    )
    yield "a comment of 10 MB", encoded("gif", "P", comment=bytes(10_000_000))


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def _tiffs() -> Iterator[tuple[str, bytes]]:
    yield (
        "TIFF in tiles of 3.6 gigapixels",
        _tiff(64, 64, (322, 4, 60_000), (323, 4, 60_000), (324, 4, 8), (325, 4, 8)),
    )
    yield "TIFF in tiles of nothing", _tiff(64, 64, (322, 4, 0), (323, 4, 0), (324, 4, 8), (325, 4, 8))
    yield "TIFF in tiles of text", _tiff(64, 64, (322, 2, 7), (323, 2, 7), (324, 4, 8), (325, 4, 8))
    yield "TIFF of 60,000 channels", _tiff(64, 64, (277, 3, 60_000))
    yield "TIFF of -1 rows in a strip", _tiff(64, 64, (278, 4, -1))
    yield "TIFF whose strip claims 4 GiB", _tiff(64, 64, (279, 4, -1))
    yield "TIFF whose strip lies outside", _tiff(64, 64, (273, 4, 2**31))
    for method in (2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34676, 34712, 34925, 50000, 50001, 65535):
        yield f"TIFF by method {method} around zeros", _tiff(64, 64, (259, 3, method))


# ------------------------------------------------------------------------------------------------- promises


def _pixels_or_refusal(contents: Sequence[bytes], name: str = "cat/1.jpg") -> int:
    """Read each; return how many became pixels."""
    read = 0
    started = mock.Mock(side_effect=AssertionError("another program was started"))
    with mock.patch.object(subprocess, "Popen", started), mock.patch("os.system", started):
        for content in contents:
            try:
                pixels = read_square(content, 8, name, as_photograph=True)
            except DataError as problem:
                refused = problem.message
                if not refused.startswith(f"{name} cannot be decoded as an image: ") or len(refused) > 400:
                    raise AssertionError(
                        f"a message that does not name it, or without an end: {refused}"
                    ) from None
            else:
                assert pixels.shape == (3, 8, 8)
                assert pixels.dtype == np.uint8
                read += 1
    assert not started.called
    return read


def _trial(
    name: str,
    count: int,
    make: Callable[[], Sequence[bytes]],
    *,
    read: bool | None = None,
    mebibytes: int = _MEBIBYTES,
) -> Trial:
    """Try `count` files; `read` says whether all of them, or none, must become pixels."""

    def attempt(folder: Path) -> None:
        contents = make()
        assert len(contents) == count

        def inside() -> None:
            found = _pixels_or_refusal(contents)
            assert read is None or found == (count if read else 0), f"{found} of {count} were read"

        bounded(inside, mebibytes=mebibytes, seconds=240)

    return Trial(name, attempt, count)


def _mutations(content: bytes, count: int, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    found = list[bytes]()
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 9))):
            at = int(rng.integers(0, min(len(changed), 200 if rng.random() < 0.6 else len(changed))))
            changed[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(0, 256))]))
        if rng.random() < 0.2:
            at = int(rng.integers(0, len(changed)))
            changed[at:at] = rng.bytes(int(rng.integers(1, 40)))
        found.append(bytes(changed))
    return found


# --------------------------------------------------------------------------------------------------- trials


def trials(size: Size) -> Iterator[Trial]:
    short = size == "short"
    yield _trial("sound images of every kind", len(SOUND), lambda: list(SOUND.values()), read=True)
    foreign = list(FOREIGN.values())
    yield _trial(
        "other formats called .jpg", len(foreign), lambda: foreign, read=False, mebibytes=_SMALL_MEBIBYTES
    )
    yield _trial("a line of a million pixels", 2, lambda: [_line(10**6, 1), _line(1, 10**6)], read=True)
    if not short:
        yield _trial("the largest image", 1, lambda: [_line(9459, 9459)], read=True)
    yield from _bombs(short=short)
    yield _trial("absurd metadata", 13, lambda: [content for _, content in _metadata()])
    yield _trial("TIFFs that claim anything", 22, lambda: [content for _, content in _tiffs()])
    for number, (name, content) in enumerate(SOUND.items()):
        step = 211 if short else 1 if len(content) < 3000 else 3
        places = range(0, len(content), step)
        yield _trial(f"{name}, cut off at every {step}th byte", len(places), partial(_cut, content, places))
        changed = 12 if short else 2000
        yield _trial(f"{name}, with changed bytes", changed, partial(_mutations, content, changed, number))
    yield Trial("one broken image in a folder is named", _named)
    yield Trial("a folder of large photographs is read one at a time", _photographs)
    yield Trial("paths in tables", _paths, count=len(_PATHS))


def _cut(content: bytes, places: Sequence[int]) -> list[bytes]:
    return [content[:at] for at in places]


def _line(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(content, "png", compress_level=1)
    return content.getvalue()


def _bombs(*, short: bool) -> Iterator[Trial]:
    for kind, (make, most) in _SIZED.items():
        sides = [
            (9460, 9460),
            (20_000, 20_000),
            (most, most),
            (most, 1 + MOST_PIXELS // most),
            (0, 5),
            (5, 0),
        ]
        sides = [(min(wide, most), min(high, most)) for wide, high in sides]
        if not short:
            sides += [(most, 2), (2, most), (65_535, 65_535), (46_341, 46_341), (32_768, 65_536)]
        sides = [side for side in sides if side[0] * side[1] > MOST_PIXELS or (0 in side and kind != "WEBP")]
        limit = (
            _MEBIBYTES if kind == "WEBP" else _SMALL_MEBIBYTES
        )  # libwebp maps a canvas, and does not touch it
        vast = partial(_made, make, sides)
        yield _trial(f"{kind} that claims to be vast", len(sides), vast, read=False, mebibytes=limit)


def _made(make: Callable[[int, int], bytes], sides: Sequence[tuple[int, int]]) -> list[bytes]:
    return [make(*side) for side in sides]


def _folder(root: Path, count: int) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(SOUND["PNG"])
    return root


def _load(root: Path, work: Path, mebibytes: str = "64") -> LabelledImages:
    with mock.patch.dict("os.environ", {"GENBENCH_RESIDENT_MIB": mebibytes}):
        return ImageFolder(ImageFolderConfig(path=root, size=8)).load(MemoryContext(work=work)).train


def _named(folder: Path) -> None:
    root = _folder(folder / "pets", 60)
    for content in (FOREIGN["EPS"], SOUND["JPEG"][:100], png_with(width=20_000, height=20_000), b""):
        (root / "dog" / "31.jpg").write_bytes(content)
        for resident in ("64", "0"):
            with pytest.raises(DataError, match=re.escape(str(root / "dog" / "31.jpg"))):
                _load(root, folder, resident).all()


def _photographs(folder: Path) -> None:
    """10 photographs of 12 megapixels, 480 MB decoded, in less memory than that."""
    root = folder / "pets"
    content = io.BytesIO()
    Image.new("RGB", (4000, 3000), "green").save(content, "jpeg")
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(5):
            (root / name / f"{number}.jpg").write_bytes(content.getvalue())
    bounded(lambda: _load(root, folder), mebibytes=256, seconds=240)
    bounded(lambda: _load(root, folder, "0").batch(range(8)), mebibytes=256, seconds=240)


_PATHS = ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/x.png", "hf://datasets/a/b/x.png",
          "zip://x.png::/tmp/a.zip", "../../x.png", "/dev/zero", "/proc/self/environ")  # fmt: skip


def _paths(folder: Path) -> None:
    import datasets

    for path in _PATHS:
        features = datasets.Features({"image": datasets.Image()})
        cells = [{"bytes": SOUND["PNG"], "path": path}, {"bytes": None, "path": path}]
        table = datasets.Dataset.from_dict({"image": cells}, features=features)
        with pytest.raises(DataError, match=re.escape(f"but the path {path!r} and no content")):
            ArrowImages(table, "image", np.zeros(2), ["a"], 8)
