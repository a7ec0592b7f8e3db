"""Images and folders of others: what is opened, what is refused by name; nothing else opens images."""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from genbench.errors import DataError
from genbench.files import open_regular, read_regular, tree_files
from genbench.image_files import FORMATS, MOST_PIXELS, check_image, open_image
from genbench.images import ArrowImages, read_square, to_square
from odd_files import make_pipe, make_socket

ROOT = Path(__file__).parents[2]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def encoded(kind: str = "png", size: tuple[int, int] = (12, 9), **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header says a size; there are few pixels behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------ one opener


def test_images_are_opened_in_one_place_only() -> None:
    files = [path for name in ("benchmark", "plugins", "leaderboard") for path in (ROOT / name).rglob("*.py")]
    openers = {path.name for path in files if re.search(r"\bImage\.open\(", path.read_text())}
    assert len(files) > 100
    assert openers == {"image_files.py"}
    other = re.compile(r"torchvision\.io|read_image\(|imread\(|decode_example|from PIL\.Image import open")
    assert not [path.name for path in files if other.search(path.read_text())]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_the_pixels_are_pillows(kind: str, tmp_path: Path) -> None:
    content = encoded(kind)
    with Image.open(io.BytesIO(content)) as image:
        expected = to_square(image, 8)
    assert np.array_equal(read_square(content, 8, "it"), expected)
    (tmp_path / "it.any").write_bytes(content)
    assert np.array_equal(read_square(tmp_path / "it.any", 8, "it"), expected)
    check_image(content, "it")


@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_lie_as_the_datasets_library_turns_them(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded("jpeg", exif=exif)
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": content, "path": None}]}, features=datasets.Features({"image": datasets.Image()})
    )
    theirs = to_square(table[0]["image"], 9)
    ours = ArrowImages(table, "image", np.array([0]), ["a"], 9).batch([0])[0]
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POSTSCRIPT, f"it looks like PostScript; allowed: {', '.join(FORMATS)}"),
        (b"%PDF-1.7", "it looks like PDF"),
        (b"\n<svg xmlns='x'/>", "it looks like SVG"),
        (b"hello", r"it begins with b'hello'"),
        (b"", "it is empty"),
        (encoded()[:-40], "image file is truncated"),
        (
            png_of(20_000, 20_000),
            r"20000 x 20000 pixels, 400,000,000, and 89,478,485 are allowed|400000000 pix",
        ),
        (
            png_of(10_000, 9_000),
            r"has 10000 x 9000 pixels, 90,000,000, and 89,478,485 are allowed|90000000 pix",
        ),
        (png_of(0, 9), "it looks like a broken PNG"),
    ],
)
def test_what_is_refused_is_named(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^cat/1\.jpg cannot be decoded as an image: .*({message})"):
        read_square(content, 8, "cat/1.jpg")


def test_postscript_reaches_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was called"))
    with pytest.raises(DataError, match="PostScript"), open_image(POSTSCRIPT, "it"):
        pass


def test_a_tile_larger_than_its_image_is_refused() -> None:
    content = bytearray(encoded("tiff", size=(64, 64)))
    tags = struct.unpack("<I", content[4:8])[0]
    entries = [
        (256, 3, 64), (257, 3, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 60_000), (323, 4, 60_000), (324, 4, 8), (325, 4, 8),
    ]  # fmt: skip
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)
    with pytest.raises(DataError, match=r"is in tiles of 60000 x 60000 pixels"):
        read_square(bytes(content[:tags]) + body, 8, "it")


def test_images_of_any_shape_and_odd_numbers_are_read(tmp_path: Path) -> None:
    assert read_square(encoded(size=(1, 60_000)), 8, "it").shape == (3, 8, 8)
    odd = np.array([[np.nan, np.inf], [-5.0, 2.0]], dtype=np.float32)
    content = io.BytesIO()
    Image.fromarray(odd).save(content, "tiff")
    assert read_square(content.getvalue(), 2, "it")[0].tolist() == [[0, 0], [0, 255]]


def test_of_an_animated_image_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("gif", "webp", "png", "tiff"):
        content = io.BytesIO()
        frames[0].save(content, kind, save_all=True, append_images=frames[1:])
        red, _, blue = read_square(content.getvalue(), 8, "it")[:, 0, 0].tolist()
        assert red > 240, kind
        assert blue < 15, kind


@pytest.mark.filterwarnings("ignore:.*Corrupt EXIF")
def test_metadata_that_cannot_be_read_say_nothing() -> None:
    content = encoded("jpeg", exif=b"Exif\x00\x00II*\x00" + b"\xff" * 40, icc_profile=b"\x00" * 3000)
    expected = read_square(encoded("jpeg"), 8, "it")
    assert np.array_equal(read_square(content, 8, "it", as_photograph=True), expected)


# ------------------------------------------------------------------------------------------------- tables


def table_of(cells: list[Any]) -> Any:
    return datasets.Dataset.from_dict(
        {"image": cells}, features=datasets.Features({"image": datasets.Image()})
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:9/x.png", "hf://datasets/me/x.png"])
def test_a_path_in_a_table_is_never_opened(path: str) -> None:
    table = table_of([{"bytes": encoded(), "path": None}, {"bytes": None, "path": path}])
    with pytest.raises(DataError, match=rf"no image in row 1, but the path '{path}' and no content \(1 such"):
        ArrowImages(table, "image", np.array([0, 0]), ["a"], 8)
    with pytest.raises(DataError, match="no image in row 0, but nothing"):
        ArrowImages(table_of([None, {"bytes": encoded(), "path": path}]), "image", np.zeros(2), ["a"], 8)


def test_a_broken_image_in_a_table_is_named_by_row_and_file(tmp_path: Path) -> None:
    good, bad = {"bytes": encoded(), "path": None}, {"bytes": encoded()[:50], "path": "x/sad.png"}
    images = ArrowImages(table_of([good, good, bad]), "image", np.zeros(3), ["a"], 8)
    assert images.batch([1, 0]).shape == (2, 3, 8, 8)
    assert images.batch([]).shape == (0, 3, 8, 8)
    with pytest.raises(DataError, match=r"^the image in row 2 \(sad\.png\) cannot be decoded as an image"):
        images.batch([0, 2])
    table = datasets.Dataset.from_dict({"image": ["a"]})
    with pytest.raises(DataError, match="column 'image' holds no images"):
        ArrowImages(table, "image", np.zeros(1), ["a"], 8)


def test_the_datasets_library_decodes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = table_of([{"bytes": encoded(), "path": None}] * 3)
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *a, **k: pytest.fail("it was asked"))
    images = ArrowImages(table, "image", np.zeros(3), ["a"], 8)
    images.write(tmp_path)
    assert torch.equal(images.all()[0], images.batch([2])[0])


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name in ("cat/1.png", "cat/more/2.png", "dog/1.png", "cat/.hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded())
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.png").write_bytes(encoded())
    return folder


def names(folder: Path, **options: Any) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in tree_files(folder, **options)]


def test_a_tree_is_read_through_links_that_stay_inside(tree: Path, tmp_path: Path) -> None:
    (tree / "cat" / "again.png").symlink_to("1.png")
    (tree / "kitten").symlink_to("cat/more")
    (tree / "cat" / ".#lock").symlink_to("nobody@nowhere")  # as editors leave
    expected = ["cat/1.png", "cat/again.png", "cat/more/2.png", "dog/1.png", "kitten/2.png"]
    assert names(tree) == expected
    (tmp_path / "alias").symlink_to(tree)
    assert names(tmp_path / "alias") == expected, "the folder itself may be a link"


@pytest.mark.parametrize("link", ["cat/secret.png", "stolen"])
def test_a_link_out_of_the_tree_is_refused_or_asked_for(tree: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "private"
    (tree / link).symlink_to(outside / "secret.png" if link.endswith("png") else outside)
    with pytest.raises(DataError, match=rf"{link} is a link that leads out of .*set: .*private"):
        tree_files(tree)
    assert len(names(tree, follow_links=True)) == 4


@pytest.mark.parametrize("follow_links", [False, True])
def test_circles_of_links_end(tree: Path, follow_links: bool) -> None:
    (tree / "cat" / "more" / "up").symlink_to("..")
    with pytest.raises(DataError, match="up is a link to a folder that it lies in"):
        tree_files(tree, follow_links=follow_links)
    (tree / "cat" / "more" / "up").unlink()
    (tree / "cat" / "a").symlink_to("../dog")
    (tree / "dog" / "b").symlink_to("../cat")
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        tree_files(tree, follow_links=follow_links)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_pipe, "is a pipe, not a file"),
        (make_socket, "is a socket, not a file"),
        (lambda path: path.symlink_to("gone"), "is a link to nothing: gone"),
        (lambda path: path.symlink_to(path.name), "is a link to nothing"),
    ],
)
def test_what_is_no_file_is_named_and_not_opened(
    tree: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tree / "cat" / "9.png")
    with pytest.raises(DataError, match=rf"9\.png {message}"):
        tree_files(tree)
    with pytest.raises(DataError, match=r"9\.png (is a|cannot be read)"):
        open_regular(tree / "cat" / "9.png")
    with pytest.raises(DataError, match="device"):
        open_regular(Path("/dev/zero"))


def test_a_name_that_is_not_utf8_is_named(tree: Path) -> None:
    (tree / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded())
    with pytest.raises(DataError, match=r"caf\\udce9\.png: the file's name is not UTF-8"):
        tree_files(tree)


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(DataError, match="a cannot be read: 5 bytes, of at most 4"):
        read_regular(tmp_path / "a", 4)


def test_the_limit_of_pixels_is_pillows_own() -> None:
    assert MOST_PIXELS == 89_478_485 == 1024**3 // 4 // 3
