"""Family `markup`: what is hostile in one place of a record is text wherever it is shown.

Every payload is put into every text of a board's records, one place at a time and in all at once; the page
must have the same blocks as with a harmless word there. Then every function of `genbench.escaping` against
random pieces of payloads, read back by a renderer of its target.
"""

import contextlib
import copy
import csv
import io
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from faults.campaign import Size, Trial
from faults.hostile import (
    PAYLOADS,
    Body,
    assert_dead,
    assert_dead_csv,
    assert_dead_markdown,
    at,
    honest,
    inline_of,
    pictures_of,
    places,
    put,
    read,
    rendered,
    sealed,
    shape_of,
    tags_of,
)
from faults.hostile import Path as Place
from genbench import escaping, pictures
from genbench.cli import main
from genbench.records import Record

_PLAIN = "plain"
_TEXTS: dict[Size, int] = {"short": 1_500, "long": 200_000}


def trials(size: Size) -> Iterator[Trial]:
    """Yield payloads in places of records, and random texts for every target."""
    for number, payload in enumerate(PAYLOADS):
        yield Trial(f"everywhere: {payload[:20]!r}", _everywhere(payload), 1)
        if size == "long" or number == 0:
            some = _PLACES if size == "long" else _PLACES[::3]  # all of them together are in `everywhere`
            yield Trial(f"in every place: {payload[:20]!r}", _in_every_place(payload, some), len(some))
    names = PAYLOADS[:1] if size == "short" else PAYLOADS
    yield Trial("in every name", _in_every_name(names), len(names))
    for target, holds in _TARGETS.items():
        yield Trial(f"texts as {target}", _random_texts(holds, _TEXTS[size]), _TEXTS[size])
    yield Trial("pictures.md", _gallery, len(PAYLOADS))
    yield Trial("the terminal", _messages(PAYLOADS[::3] if size == "short" else PAYLOADS), len(PAYLOADS))


# ------------------------------------------------------------------------------------------------- records


#: Texts that have few values, or a form: what they may not say is refused, and no page's business.
_CLOSED = {
    *("subject", "status", "key", "fingerprint", "sha256", "correct_bits", "bits", "score", "family"),
    *("mode", "augment", "budget", "role", "average", "covers"),
}


def _places() -> list[Place]:
    """Return where the texts of records are that may say anything."""
    found: dict[Place, None] = {}
    for body in honest():
        for path in places(body):
            is_identifier = path[-1] == "name" and "metrics" in path
            is_text = isinstance(at(body, path), str) and path[-1] not in _CLOSED and not is_identifier
            if is_text and path[0] in {"result", "run"}:
                found[path] = None
    return list(found)


_PLACES = _places()


def _pages(changes: dict[Place, str]) -> dict[str, str]:
    """Render the board with texts changed in every record that takes them."""
    records: list[Record] = []
    for body in honest():
        record = _honest(body)
        for path, text in changes.items():
            if _has(body, path):
                before = at(body, path)
                put(body, path, text)
                changed = read(sealed(body))
                if changed is None:
                    put(body, path, before)
                record = changed or record
        records.append(record)
    return rendered(records)


def _honest(body: Body) -> Record:
    record = read(json.dumps(body))
    assert record is not None
    return record


def _has(body: Any, path: Place) -> bool:
    try:
        return isinstance(at(body, path), str)
    except (LookupError, TypeError):
        return False


def _everywhere(payload: str) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        records = []
        for body in honest():
            for path in _PLACES:
                is_shown = path[-1] not in {"use", "split", "unit"}
                belongs = path[-1] != "reason" or body["result"]["status"] == "failed"
                if is_shown and belongs and _has(body, path):
                    put(body, path, payload)
            records.append(_honest(json.loads(sealed(body))))
        pages = rendered(records)
        assert pages
        assert_dead(pages)

    return attempt


def _in_every_place(payload: str, some: list[Place]) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        for path in some:
            pages = _pages({path: payload})
            assert_dead(pages)
            if pages:
                assert shape_of(pages["md"]) == _plain_shape(path), path

    return attempt


@cache
def _plain_shape(path: Place) -> list[str]:
    return shape_of(_pages({path: _PLAIN})["md"])


def _in_every_name(payloads: tuple[str, ...]) -> Callable[[Path], None]:
    """Names of a dictionary's entries are texts as well: shifts, options, hardware, faults."""

    def attempt(_: Path) -> None:
        bodies = honest()
        records = [_honest(body) for body in bodies]
        kinds = {record.result.evaluator.use: number for number, record in enumerate(records)}
        for number in kinds.values():
            for path in [one for one in places(bodies[number]) if one[0] in {"result", "run"}]:
                if not isinstance(at(bodies[number], path), dict):
                    continue
                for payload in payloads:
                    changed = copy.deepcopy(bodies[number])
                    inner = at(changed, path)
                    inner[payload] = inner.pop(next(iter(inner))) if inner else 1
                    record = read(sealed(changed))
                    if record is not None:
                        assert_dead(rendered([*records[:number], record, *records[number + 1 :]]))

    return attempt


# ------------------------------------------------------------------------------------------------- targets


_PIECES = ("ddpm:timesteps=100", " ", "\\", "`", "[", "](", "|", "_", "<", "&#", "\n", "*", "@a", "1.", "~~")


def _random_text(rng: random.Random) -> str:
    """Return pieces of payloads and of ordinary labels, cut anywhere."""
    pieces = []
    for _ in range(rng.randint(1, 5)):
        piece = rng.choice([*PAYLOADS, *_PIECES])
        start = rng.randrange(len(piece))
        pieces.append(piece[start : start + rng.randint(1, len(piece))])
    return "".join(pieces)


def _random_texts(holds: Callable[[str], None], count: int) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        rng = random.Random("texts")
        for _ in range(count):
            text = _random_text(rng)
            try:
                holds(text)
            except AssertionError as problem:
                raise AssertionError(f"{text!r}: {problem}") from None

    return attempt


def _markdown(text: str) -> None:
    shown = escaping.markdown_text(text)
    page = f"{shown}\n\n- {shown}\n- b\n\n## {shown}\n\n| {shown} | b |\n| :-- | --: |\n| {shown} | c |\n"
    assert_dead_markdown(page)
    blocks = shape_of(page)
    counts = {tag: blocks.count(f"{tag}_open {tag[:2]}") for tag in ("th", "td")}
    assert counts == {"th": 2, "td": 2}
    assert blocks.count("list_item_open li") == 2
    assert blocks.count("heading_open h2") == 1


def _link(text: str) -> None:
    page = f"![{escaping.markdown_link(text)}](pictures/a.png)\n"
    assert_dead_markdown(page, pictures=1)
    assert shape_of(page) == ["paragraph_open p", "inline ", "paragraph_close p"]
    assert pictures_of(page) == ["pictures/a.png"]


def _span(text: str) -> None:
    shown = escaping.markdown_span(text)
    if shown.strip():
        assert inline_of(f"* x: {shown}\n") == ["text", "code_inline"], shown


def _block(text: str) -> None:
    page = f"before\n\n{escaping.markdown_block(text, 'sh')}\n\nafter\n"
    assert shape_of(page)[3:4] == ["fence code"]
    assert len(shape_of(page)) == 7


def _html(text: str) -> None:
    shown = escaping.html_text(text)
    assert tags_of(f'<p title="{shown}">{shown}</p>') == ["p", "title"]
    assert tags_of(f"<p title='{shown}'>{shown}</p>") == ["p", "title"]


def _csv(text: str) -> None:
    written = io.StringIO()
    csv.writer(written).writerow([escaping.csv_cell(text), escaping.csv_cell(-1.5)])
    assert_dead_csv(written.getvalue())
    assert written.getvalue().rstrip().endswith(",-1.5")


_LATEX_WORDS = r"\\(text\w+\{\}|[&%$#_{}])|\{[^{}\\]\}"


def _latex(text: str) -> None:
    bare = re.sub(_LATEX_WORDS, "", escaping.latex_text(text))
    assert not set(bare) & set("\\{}$&#^_~%[]<>|`"), bare


def _terminal(text: str) -> None:
    assert escaping.one_line(text).isprintable()
    assert escaping.terminal_text(text).replace("\n", "").isprintable()
    assert escaping.one_line(escaping.one_line(text)) == escaping.one_line(text)


def _json(text: str) -> None:
    plain = json.dumps({"a": [text]}, ensure_ascii=False, indent=1)
    shown = escaping.json_text(plain)
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown) == {"a": [text]}


def _file(text: str) -> None:
    name = escaping.file_name(text * 20)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert len(name) <= 120


_TARGETS: dict[str, Callable[[str], None]] = {
    "Markdown": _markdown,
    "a link": _link,
    "inline code": _span,
    "a fenced block": _block,
    "HTML": _html,
    "CSV": _csv,
    "LaTeX": _latex,
    "a terminal": _terminal,
    "JSON": _json,
    "a file name": _file,
}


# --------------------------------------------------------------------------------------------- other pages


def _gallery(folder: Path) -> None:
    """The page of pictures, with hostile labels and file names."""
    for number, payload in enumerate(PAYLOADS):
        file = folder / f"{number}.png"
        file.write_bytes(b"png")
        found = [pictures.Picture(payload, f"{payload}, {payload}", file)]
        found += [pictures.Picture("x" * 5_000, payload, file)]
        out = folder / f"out {number}"
        with patch.object(pictures, "find_pictures", lambda plan, store, found=found: iter(found)):
            nothing: Any = SimpleNamespace()
            assert pictures.write_gallery(nothing, nothing, out) == 2
        page = (out / "pictures.md").read_text(encoding="utf-8")
        assert_dead_markdown(page.replace("**", ""), pictures=1)
        assert all((out / source).is_file() for source in pictures_of(page))
        assert len(pictures_of(page)) == 2


def _messages(payloads: tuple[str, ...]) -> Callable[[Path], None]:
    """What the program says of hostile names, records and options has no escape sequence in it."""

    def attempt(folder: Path) -> None:
        for number, payload in enumerate(payloads):
            odd = folder / str(number)
            odd.mkdir()
            name = payload.replace("\0", "_")
            (odd / f"cell-{name.replace('/', '_')}.json").write_text(json.dumps({"schema_version": payload}))
            for arguments, code in (
                (["leaderboard", str(odd)], 3),
                (["leaderboard", str(odd / name)], 2),
                (["run", "-g", name, "-c", "cnn"], 2),
                (["run", name, "-c", "cnn"], 2),
                ([name], 2),
            ):
                _assert_says(arguments, code)

    return attempt


def _assert_says(arguments: list[str], code: int) -> None:
    said = io.StringIO()
    with (
        patch.object(sys, "argv", ["genbench", *arguments]),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ending,
    ):
        main()
    assert ending.value.code == code, (arguments, said.getvalue()[:300])
    assert said.getvalue().replace("\n", "").isprintable(), said.getvalue()[:300]
