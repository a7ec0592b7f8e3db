"""Image files that come from others: the one place where they are opened.

Raster formats alone are tried, whatever a file is called: Pillow would hand PostScript to Ghostscript. How
many pixels an image has is known from its header, and one with too many is refused before a pixel is decoded.
Of an animated image, the first frame counts. Whatever Pillow's decoders raise becomes a DataError.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from genbench.errors import DataError
from genbench.files import open_regular, said, shown

if TYPE_CHECKING:
    from PIL import Image

#: What is tried, as Pillow calls it: formats of pixels that need no other program and no other file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

#: How such files are called.
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)

#: A quarter of a GiB as RGB, which is where Pillow warns. A photograph of 61 megapixels is read.
MOST_PIXELS = (1 << 28) // 3

#: What `MOST_PIXELS` fill uncompressed with transparency, and room for metadata.
MOST_BYTES = 384 << 20


_STARTS = {
    b"\x89PNG": "a broken PNG",
    b"\xff\xd8\xff": "a broken JPEG",
    b"GIF8": "a broken GIF",
    b"RIFF": "a broken WEBP, or a film",
    b"BM": "a broken BMP",
    b"II*\x00": "a broken TIFF",
    b"MM\x00*": "a broken TIFF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"<!DOC": "HTML",
    b"<html": "HTML",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip",
    b"SIMPLE": "FITS",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "a Photoshop document",
    b"\x00\x00\x01\x00": "an icon",
}
_LONGEST_FOLDER = 100  # characters of a class's name
_TAIL_BYTES = 1024  # of a JPEG: some cameras fill its last block with zeros
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF


@contextmanager
def open_image(source: bytes | Path, name: str) -> Iterator["Image.Image"]:
    """Open and decode an image. What goes wrong with it inside the context is refused in the same way.

    Args:
        source: The encoded image, or the file that holds it.
        name: What messages call it: "pets/cat/1.jpg", "the image in row 7".

    Raises:
        DataError: It is none of `FORMATS`, is broken, or has more than `MOST_PIXELS`; it is named.
    """
    with _opened(source, name) as image:
        image.load()
        yield image


def check_image(source: bytes | Path, name: str) -> None:
    """Read an image's header, and a PNG's checksums, without decoding any pixel.

    Raises:
        DataError: As `open_image`, as far as can be known from that.
    """
    with _opened(source, name) as image:
        image.verify()


def folder_names(classes: Sequence[str]) -> list[str]:
    """Name a folder per class, safe on any disk: readers number classes in the order of their folders."""
    safe = [re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_LONGEST_FOLDER] for name in classes]
    if safe == sorted(set(safe)) and all(name.strip(".") for name in safe):  # `..` is no folder of its own
        return safe
    width = len(str(len(safe) - 1))
    return [f"{label:0{width}d}-{name}" for label, name in enumerate(safe)]


def numbers_mislead(class_names: Sequence[str]) -> bool:
    """Say whether a bare number could mean either a class's place or another class's name.

    >>> numbers_mislead(["0", "1", "2"]), numbers_mislead(["1", "10", "2"]), numbers_mislead(["cat", "dog"])
    (False, True, False)
    """
    numbers = {place: int(name) for place, name in enumerate(class_names) if re.fullmatch("[0-9]+", name)}
    moved = [number for place, number in numbers.items() if number != place]
    return bool(moved) and (len(numbers) == len(class_names) or min(moved) < len(class_names))


def image_problem(path: Path) -> str:
    """Say what is wrong with an image file, or nothing: quick enough for every file of a large folder.

    Headers and a PNG's checksums are read. A file whose end is not where its format has it, as of a download
    that broke off, is decoded, and so are the formats that do not say where they end.

    Returns:
        What follows the file's name in a sentence: "cannot be decoded as an image: it is empty".
    """
    if path.suffix.lower() not in SUFFIXES:
        return "is not an image, by its name: these end in " + " ".join(sorted(SUFFIXES))
    try:
        check_image(path, "")
        if not _ends_well(path):
            with open_image(path, ""):
                pass
    except DataError as problem:
        return problem.message.removeprefix(shown(path)).strip()
    return ""


def _ends_well(path: Path) -> bool:
    """Say whether a file ends as its format does; a file of another format is not known to."""
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = file.read(12)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if start.startswith(b"\x89PNG"):  # its checksums were read to the end
        return True
    if start.startswith(b"\xff\xd8"):
        return tail.rstrip(b"\x00").endswith(b"\xff\xd9")
    return start[:4] == b"RIFF" and int.from_bytes(start[4:8], "little") + 8 <= size


def upright(image: "Image.Image") -> "Image.Image":
    """Turn a photograph as its EXIF data say; those that cannot be read say nothing."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(Base.Orientation, 0))
    except Exception:  # metadata of any shape: the pixels are there, and lie as they are stored
        return image
    return image if turn is None else image.transpose(turn)


@contextmanager
def _opened(source: bytes | Path, name: str) -> Iterator["Image.Image"]:
    """Read the header, and refuse what is too large; the image is not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        _check_bytes(file, name)
        try:
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(image, name)
                yield image
        except DataError:
            raise
        except UnidentifiedImageError:
            raise _unknown(file, name) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
            raise _refused(name, f"it is too large: {problem}") from None
        except Exception as problem:  # on broken files, Pillow's decoders raise nearly every kind
            raise _refused(name, f"{problem} ({type(problem).__name__})") from problem


def _check_bytes(file: BinaryIO, name: str) -> None:
    """Refuse a file that is larger than any honest image: some decoders read the whole of it first."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > MOST_BYTES:
        raise _refused(name, f"it fills {size:,} bytes, and {MOST_BYTES:,} are allowed")


def _check_pixels(image: "Image.Image", name: str) -> None:
    """Refuse what would be too large in memory; a tile of a TIFF may be larger than its image."""
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
    for what, (wide, high) in {"has": (width, height), "is in tiles of": tile}.items():
        if wide * high > MOST_PIXELS:
            raise _refused(
                name, f"it {what} {wide} x {high} pixels, {wide * high:,}, and {MOST_PIXELS:,} are allowed"
            )


def _unknown(file: BinaryIO, name: str) -> DataError:
    file.seek(0)
    start = file.read(16)
    known = next((kind for mark, kind in _STARTS.items() if start.lstrip().startswith(mark)), "")
    found = f"it looks like {known}" if known else f"it begins with {start!r}" if start else "it is empty"
    return _refused(name, f"{found}; allowed: {', '.join(FORMATS)}")


def _refused(name: str, reason: str) -> DataError:
    return DataError(f"{shown(name)} cannot be decoded as an image: {said(reason)}")
