"""Family `records`: records that somebody tampered with are refused in one line, or never break a board.

Half of the mutations carry the right digests, as somebody makes them who knows how; then files that are no
records, files that are no files, and records that are valid and unreasonable.
"""

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.campaign import Size, Trial
from faults.hostile import Body, assert_clear, assert_dead, honest, mutated, put, read, rendered, sealed
from genbench.errors import DataError
from genbench.records import MOST_BYTES, Record, read_records

_AT_ONCE = 500
_HOW_MANY: dict[Size, int] = {"short": 1_000, "long": 100_000}
_SECONDS = 20  # for one unreasonable record: reading, the board and its four forms


def trials(size: Size) -> Iterator[Trial]:
    """Yield mutations by the hundred, then every odd file and every unreasonable record."""
    for start in range(0, _HOW_MANY[size], _AT_ONCE):
        attempt = _mutations(range(start, start + _AT_ONCE))
        yield Trial(f"mutations from {start}", attempt, _AT_ONCE)
    for start in range(0, _HOW_MANY[size] // 2, _AT_ONCE):
        yield Trial(f"damaged bytes from {start}", _damage(range(start, start + _AT_ONCE)), _AT_ONCE)
    for name, odd in _ODD_FILES.items():
        yield Trial(name, _as_file(odd))
    for name, edit in _UNREASONABLE.items():
        yield Trial(name, _unreasonable(edit))
    yield Trial("links", _links)


def _mutations(seeds: range) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        bodies = honest()
        good = [_honest(body) for body in bodies]
        for seed in seeds:
            rng = random.Random(seed)
            place = rng.randrange(len(bodies))
            record = read(sealed(mutated(bodies[place], bodies, rng)))
            if record is not None:
                assert_dead(rendered([*good[:place], record, *good[place + 1 :]]))

    return attempt


def _damage(seeds: range) -> Callable[[Path], None]:
    """Change the bytes of records and leave their digests: only white space can change and be read."""

    def attempt(folder: Path) -> None:
        texts = [json.dumps(body).encode() for body in honest()]
        file = folder / "cell-damaged.json"
        for seed in seeds:
            rng = random.Random(f"damage {seed}")
            text = rng.choice(texts)
            start, gone = rng.randrange(len(text)), rng.choice([0, 1, 1, 2, 50, 5_000])
            file.write_bytes(text[:start] + rng.randbytes(rng.choice([0, 1, 2, 8])) + text[start + gone :])
            for record in _read_folder(folder):
                assert json.loads(file.read_bytes()) == json.loads(text), record.file_name

    return attempt


def _honest(body: Body) -> Record:
    record = read(json.dumps(body))
    assert record is not None
    return record


def _read_folder(folder: Path) -> list[Record]:
    """Read a folder; what is refused is refused by name, and quickly."""
    began = time.monotonic()
    try:
        return list(read_records([folder]))
    except DataError as problem:
        assert_clear(problem, str(folder))
        return []
    finally:
        assert time.monotonic() - began < _SECONDS


# --------------------------------------------------------------------------------------------- odd files


def _text(content: str | bytes) -> Callable[[Path], object]:
    whole = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda file: file.write_bytes(whole)


def _valid() -> str:
    return json.dumps(honest()[0])


def _sparse(size: int) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        file.touch()
        os.truncate(file, size)

    return make


def _socket(file: Path) -> None:
    here = os.getcwd()
    os.chdir(file.parent)  # a socket's path is short, a temporary folder's need not be
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(file.name)
    finally:
        os.chdir(here)


_ODD_FILES: dict[str, Callable[[Path], object]] = {
    "an empty file": _text(""),
    "white space": _text(" \n" * 1_000),
    "UTF-16": _text(_valid().encode("utf-16")),
    "UTF-32 without a mark": _text(_valid().encode("utf-32-be")),
    "Latin-1": _text(_valid().replace("ddpm", "d\xe9pm").encode("latin-1")),
    "a byte order mark": _text("\ufeff" + _valid()),
    "half a surrogate pair": _text(_valid().replace("digits", "\ud800")),
    "NUL bytes": _text(_valid().replace(" ", "\0")),
    "a gzip": _text(b"\x1f\x8b\x08" + bytes(100)),
    "a name twice": _text(_valid().replace('"run": {', '"run": {}, "run": {', 1)),
    "a name twice, deep": _text(_valid().replace('"value":', '"value": 1.0, "value":', 1)),
    "a number beyond floats": _text(_valid().replace('"index": 0', '"index": 1e999', 1)),
    "a number of 5,000 digits": _text(_valid().replace('"index": 0', f'"index": {"1" * 5_000}', 1)),
    "a number of 4,000 digits": _text(_valid().replace('"index": 0', f'"index": {"1" * 4_000}', 1)),
    "a million digits of a fraction": _text(_valid().replace('"index": 0', f'"index": 0.{"1" * 10**6}', 1)),
    "NaN": _text(_valid().replace('"index": 0', '"index": NaN', 1)),
    "a hundred thousand lists": _text("[" * 100_000),
    "ten million lists": _text("[" * 10**7),
    "a hundred thousand closed dictionaries": _text('{"a":' * 100_000 + "1" + "}" * 100_000),
    "three million empty lists": _text("[" + "[]," * 3_000_000 + "[]]"),
    "five million texts": _text("[" + '"",' * 5_000_000 + '""]'),
    "five million numbers": _text(b"[" + b"0," * 5_000_000 + b"0]"),
    "a text of 50 MB": _text('{"schema_version": "' + "x" * 50_000_000 + '"}'),
    "a list as schema version": _text(json.dumps({"schema_version": [0] * 100_000})),
    "too large a file": _sparse(MOST_BYTES + 1),
    "a sparse terabyte": _sparse(2**40),
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a folder": lambda file: file.mkdir(),
    "a link to a device": lambda file: file.symlink_to("/dev/zero"),
    "a link to a terminal": lambda file: file.symlink_to("/dev/tty"),
    "a link out of the folder": lambda file: file.symlink_to("/etc/hostname"),
    "a link to itself": lambda file: file.symlink_to(file.name),
    "a link to nothing": lambda file: file.symlink_to("gone.json"),
    "a link into /proc": lambda file: file.symlink_to("/proc/self/environ"),
    "a file nobody may read": lambda file: (file.write_text("{}"), file.chmod(0)),
}


def _as_file(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def attempt(folder: Path) -> None:
        inner = folder / "submission"
        inner.mkdir()
        make(inner / "cell-0.json")
        assert _read_folder(inner) == []
        assert _read_folder(inner / "cell-0.json") == []  # named by the user, a link may lead anywhere

    return attempt


def _links(folder: Path) -> None:
    """A link within the folder counts; one that leads out of it does not, and is not walked either."""
    inner, other = folder / "submission", folder / "elsewhere"
    inner.mkdir()
    other.mkdir()
    (inner / "cell-1.json").write_text(_valid())
    (other / "cell-2.json").write_text(_valid())
    (inner / "cell-3.json").symlink_to("cell-1.json")
    (inner / "more").symlink_to(other, target_is_directory=True)
    (inner / "again").symlink_to(inner, target_is_directory=True)
    assert len(list(read_records([inner]))) == 2
    (inner / "cell-4.json").symlink_to(other / "cell-2.json")
    with pytest.raises(
        DataError, match=r"cell-4\.json: cannot be read \(a link that leads out of the folder"
    ):
        list(read_records([inner]))


# --------------------------------------------------------------------------------- valid and unreasonable

_TOP1 = ("result", "metrics", 0)


def _deep(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"deep": [value]}
    return value


def _many_metrics(body: Body, count: int) -> None:
    metric = body["result"]["metrics"][3]
    body["result"]["metrics"] += [{**metric, "name": f"metric_{number}"} for number in range(count)]


def _many_shifts(body: Body, count: int) -> None:
    top1 = body["result"]["metrics"][2]
    body["result"]["metrics"] += [{**top1, "split": f"shift-{number}"} for number in range(count)]


def _old_name(body: Body) -> None:
    """A record of schema 1 whose metric has a name of a megabyte, which a pattern reads."""
    body["schema_version"] = 1
    body["result"]["metrics"] = [{"name": "fid[" + "," * 10**6, "value": 1.0}]


_UNREASONABLE: dict[str, Callable[[Body], object]] = {
    "a label of 10 MB": lambda body: put(body, ("result", "generator", "label"), "x" * 10**7),
    "a label of 10 MB of commas": lambda body: put(body, ("result", "dataset", "label"), ", " * 5 * 10**6),
    "a label of escape sequences": lambda body: put(
        body, ("result", "generator", "label"), "\x1b[2J" * 10**5
    ),
    "a class of 1 MB": lambda body: put(
        body, ("result", "tables", "test", "per_class", 0, "class"), "y" * 10**6
    ),
    "a note of 10 MB": lambda body: put(body, ("result", "metrics", 3, "note"), "x " * 5 * 10**6),
    "a command of 10 MB": lambda body: put(body, ("run", "command"), "`" * 10**7),
    "hardware of 50,000 entries": lambda body: put(
        body, ("run", "hardware"), {f"name {number}": number for number in range(50_000)}
    ),
    "hardware nested 40 deep": lambda body: put(body, ("run", "hardware", "flags"), _deep(20)),
    "tables nested 40 deep": lambda body: put(body, ("result", "tables", "test", "more"), _deep(20)),
    "tables nested 400 deep": lambda body: put(body, ("result", "tables", "test", "more"), _deep(200)),
    "9,000 metrics": lambda body: _many_metrics(body, 9_000),
    "200,000 metrics": lambda body: _many_metrics(body, 200_000),
    "5,000 shifts": lambda body: _many_shifts(body, 5_000),
    "one metric 5,000 times": lambda body: body["result"].update(metrics=body["result"]["metrics"] * 5_000),
    "10,000 costs": lambda body: body["run"].update(costs=body["run"]["costs"] * 10_000),
    "costs of 1e308 seconds": lambda body: put(body, ("run", "costs", 0, "seconds"), 1e308),
    "a metric of 1e308": lambda body: put(body, ("result", "metrics", 3, "value"), 1e308),
    "a top-1 of 1,700 within its tolerance": lambda body: (
        put(body, (*_TOP1, "value"), 1700.0), put(body, (*_TOP1, "tolerance"), 1e9),
        put(body, ("result", "tables"), {}),
    ),
    "a top-1 without a unit": lambda body: put(body, (*_TOP1, "unit"), ""),
    "images beyond memory": lambda body: put(body, ("result", "tables", "test", "n"), 2**50),
    "planned indices beyond floats": lambda body: put(body, ("result", "planned_indices"), 10**60),
    "a base seed of 60 digits": lambda body: put(body, ("result", "protocol", "base_seed"), 10**60),
    "a key that is a path": lambda body: put(body, ("result", "key"), "../../../x"),
    "another class in every record": lambda body: put(
        body, ("result", "tables", "test", "per_class", 0, "class"), "a dog"
    ),
    "other test images than the baseline's": lambda body: put(body, ("result", "data", "test"), 41),
    "a metric's name in a pattern": _old_name,
    "half a million external data": lambda body: put(
        body, ("result", "generator", "external_data"), [f"d{number}" for number in range(500_000)]
    ),
}  # fmt: skip


def _unreasonable(edit: Callable[[Body], object]) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        bodies = honest()
        good = [_honest(body) for body in bodies]
        edit(bodies[1])
        began = time.monotonic()
        record = read(sealed(bodies[1]))
        if record is not None:
            pages = rendered([good[0], record, *good[2:]])
            assert_dead({form: page for form, page in pages.items() if form in {"csv", "json"}})
            for form in {"md", "txt"} & pages.keys():
                assert len(pages[form]) < 500_000, f"{form} has {len(pages[form]):,} characters"
                assert pages[form].replace("\n", "").isprintable()
        assert time.monotonic() - began < _SECONDS

    return attempt
