"""Files of others: what is no regular file of bounded, unambiguous text is refused with what was found."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from genbench.untrusted import MOST_CONTAINERS, files_below, parse_json, parse_toml, read_text


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.write_text("ä", encoding="utf-8")
    link.symlink_to("a")
    assert read_text(file, 2) == read_text(link, 2) == read_text(link, 2, tmp_path.resolve()) == "ä"


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "no regular file but a pipe"),
    "a folder": (lambda file: file.mkdir(), "no regular file but a folder"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), "no regular file but a device"),
    "nothing": (lambda file: None, "No such file or directory"),
    "a circle": (lambda file: file.symlink_to(file), "a link that leads to itself"),
    "too large": (lambda file: file.write_bytes(bytes(11)), "11 bytes, of at most 10"),
    "no UTF-8": (lambda file: file.write_bytes(b"ab\xff"), "no UTF-8: byte 2 is 0xff"),
    "a mark": (lambda file: file.write_bytes(b"\xef\xbb\xbf1"), "byte order mark"),
    "a link out": (lambda file: file.symlink_to("/etc/hostname"), "a link that leads out of the folder"),
}


@pytest.mark.parametrize("case", ODD)
def test_anything_else_is_refused_at_once(case: str, tmp_path: Path) -> None:
    make, reason = ODD[case]
    make(tmp_path / "odd")
    with pytest.raises(ValueError, match=reason):
        read_text(tmp_path / "odd", 10, tmp_path.resolve() if case == "a link out" else None)


def test_what_does_not_say_how_large_it_is_is_bounded_while_it_is_read() -> None:
    """Files of /proc are regular, and have no size."""
    assert Path("/proc/self/maps").stat().st_size == 0
    with pytest.raises(ValueError, match="more bytes, of at most 100"):
        read_text(Path("/proc/self/maps"), 100)


def test_links_to_folders_are_not_walked(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "cell-1.json").touch()
    (tmp_path / "notes.json").touch()
    (inner / "back").symlink_to(tmp_path)
    assert list(files_below(inner, ("cell-",), ".json")) == []
    assert list(files_below(tmp_path, ("cell-",), ".json")) == [tmp_path / "cell-1.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' stands there twice"),
        ("[" * 6 + "]" * 6, "nested deeper than 5"),
        ("[" * 100_000, "nested deeper than 5"),
        ("[NaN]", "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("1" * 5_000, "thousands of digits"),
        ("[" + "{}," * MOST_CONTAINERS + "1]", "lists and dictionaries: too many"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_ambiguous_or_boundless_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text, 5)
    assert parse_json("[[[[[1]]]]]", 5) == [[[[[1]]]]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 3_000, "nested deeper than 5"),
        ("a.b.c.d.e.f = 1", "nested deeper than 5"),
        ("a = " + "1" * 5_000, "thousands of digits"),
        ("a = 1\na = 2", "Cannot overwrite"),
    ],
)
def test_toml_is_bounded_alike(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_toml(text, 5)
    assert parse_toml("a.b = 1", 5) == {"a": {"b": 1}}


def test_a_pipe_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keep = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(keep, b"{}")
        with pytest.raises(ValueError, match="pipe"):
            read_text(pipe, 10)
    finally:
        os.close(keep)
