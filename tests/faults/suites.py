"""Family `suites`: what somebody writes into a suite, a name or a component is refused in words, and quickly.

Every trial runs the program as a user does, in an empty folder, and demands exit code 2, one message without
a traceback, and that nothing was written but where `--out` says.
"""

import contextlib
import io
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from faults.campaign import Size, Trial
from faults.hostile import PAYLOADS
from genbench.cli import main
from genbench.errors import UsageError
from genbench.notation import as_suite_name, is_suite_name, parse_reference
from genbench.spec import load_suite

_SECONDS = 10  # for one refusal
_VALID = 'seeds = 2\nclassifiers = ["cnn"]\ngenerators = ["ddpm:timesteps=10"]\nmixes = [{ ratio = 1.0 }]\n'
_HOW_MANY: dict[Size, int] = {"short": 500, "long": 50_000}
_AT_ONCE = 250


def trials(size: Size) -> Iterator[Trial]:
    """Yield hostile files, names and arguments, then mutations of valid ones."""
    for name, content in _FILES.items():
        yield Trial(f"file: {name}", _refused_file(content))
    for name in _NAMES:
        yield Trial(f"name: {name[:30]!r}", _refused_name(name))
    for name, arguments in _ARGUMENTS.items():
        yield Trial(f"arguments: {name}", _refused(arguments))
    for name, make in _ODD_FILES.items():
        yield Trial(f"file: {name}", _odd_file(make))
    yield Trial("every payload as a name", _payloads, len(PAYLOADS))
    for start in range(0, _HOW_MANY[size], _AT_ONCE):
        yield Trial(f"mutated suites from {start}", _mutated(range(start, start + _AT_ONCE)), _AT_ONCE)
        yield Trial(f"components from {start}", _components(range(start, start + _AT_ONCE)), _AT_ONCE)


# ---------------------------------------------------------------------------------------------- what is tried

_FILES: dict[str, str | bytes] = {
    "empty": "",
    "no TOML": "{",
    "no UTF-8": b"name = '\xff'",
    "a byte order mark": "\ufeff" + _VALID,
    "NUL": _VALID + "\0",
    "lists in lists": "classifiers = " + "[" * 5_000 + "]" * 5_000,
    "tables in tables": "classifiers = ['cnn']\nx = " + "{a=" * 3_000 + "1" + "}" * 3_000,
    "dots in dots": "classifiers = ['cnn']\n" + "a." * 5_000 + "b = 1",
    "30 tables deep": 'classifiers = [{use = "cnn", x = ' + "{a=" * 30 + "1" + "}" * 31 + "]",
    "a number of 5,000 digits": _VALID.replace("seeds = 2", "seeds = " + "1" * 5_000),
    "a number of 4,000 digits": _VALID.replace("seeds = 2", "seeds = " + "1" * 4_000),
    "an impossible date": _VALID + "preset = 2026-13-45\n",
    "a date": _VALID + "preset = 2026-01-01\n",
    "a date as an option": 'classifiers = [{use = "cnn", preset = 2026-01-01}]',
    "a ratio that is none": _VALID.replace("1.0", "nan"),
    "an infinite ratio": _VALID.replace("1.0", "inf"),
    "a negative ratio": _VALID.replace("1.0", "-1.0"),
    "a ratio of 1e308": _VALID.replace("1.0", "1e308"),
    "no seeds": _VALID.replace("seeds = 2", "seeds = 0"),
    "a million seeds": _VALID.replace("seeds = 2", "seeds = 1000000"),
    "seeds as text": _VALID.replace("seeds = 2", "seeds = 'two'"),
    "an unknown entry": _VALID + "colour = 1\n",
    "a thousand unknown entries": _VALID + "".join(f"colour{n} = 1\n" for n in range(1_000)),
    "a name twice": _VALID + "seeds = 3\n",
    "a number as name": _VALID + "name = 5\n",
    "classifiers as text": 'classifiers = "cnn"\n',
    "classifiers as numbers": "classifiers = [1, 2]\n",
    "a component without a name": "classifiers = [{options = {}}]\n",
    "a component of two forms": 'classifiers = [{use = "cnn", options = {}, other = 1}]\n',
    "options as a list": 'classifiers = [{use = "cnn", options = [1]}]\n',
    "30,000 generators": _VALID + "filters = [" + '"none",' * 30_000 + "]\n",
    "30,000 mixes": 'classifiers = ["cnn"]\nmixes = [' + "{ratio=1}," * 30_000 + "]\n",
    "900 x 900 components": "".join(
        f"{kind} = [{','.join(f'{one!r}' for one in names)}]\n"
        for kind, names in {
            "classifiers": [f"cnn:recipe.epochs={n}" for n in range(1, 900)],
            "generators": [f"ddpm:timesteps={n}" for n in range(10, 900)],
        }.items()
    ),
    "3 MB of comments": "# x\n" * 800_000 + _VALID,
}

_NAMES = (
    "", ".", "..", "../x", "../../../../x", "a/b", "a\\b", "/tmp/x", "~", "~/x", ".hidden", "-x", "--out",
    " x", "x ", "x.", "a\nb", "a\0b", "a\x1b[2Jb", "\u202ex", "con", "NUL.txt", "com1", "x" * 201,
    "\u4e2d" * 100, "a:b", "a*b", "a|b", "<x>", "$(x)", "`x`", "%2e%2e", "a;b", "\u2215x", "..\u2044x",
)  # fmt: skip

_MANY = ",".join(f"option{number}=1" for number in range(1_000))
_ARGUMENTS: dict[str, Sequence[str]] = {
    "no name": ["-g", "", "-c", "cnn"],
    "a path as component": ["-g", "../../x", "-c", "cnn"],
    "an option without a name": ["-g", "ddpm:=1", "-c", "cnn"],
    "a thousand options": ["-g", f"ddpm:{_MANY}", "-c", "cnn"],
    "hundreds of options": ["-g", f"ddpm:{_MANY[: _MANY.index('option300') - 1]}", "-c", "cnn"],
    "dots": ["-g", f"ddpm:{'.'.join('b' * 900)}=1", "-c", "cnn"],
    "dots alone": ["-g", "ddpm:...=1", "-c", "cnn"],
    "an option of a number": ["-g", "ddpm:timesteps=1,timesteps.x=2", "-c", "cnn"],
    "lists in lists": ["-g", f"ddpm:timesteps={'[' * 1_500}{']' * 1_500}", "-c", "cnn"],
    "open lists": ["-g", f"ddpm:timesteps={'[' * 3_000}", "-c", "cnn"],
    "lists of words in lists": ["-g", f"ddpm:timesteps={'[' * 1_500}a{']' * 1_500}", "-c", "cnn"],
    "dictionaries in dictionaries": ["-g", "ddpm:timesteps=" + '{"a":' * 600 + "1" + "}" * 600, "-c", "cnn"],
    "a number of 5,000 digits": ["-g", "ddpm:timesteps=" + "1" * 5_000, "-c", "cnn"],
    "a number of 3,900 digits": ["-g", "ddpm:timesteps=" + "1" * 3_900, "-c", "cnn"],
    "1e999": ["-g", "ddpm:timesteps=1e999", "-c", "cnn"],
    "NaN": ["-g", "ddpm:timesteps=NaN", "-c", "cnn"],
    "a megabyte": ["-g", "ddpm:timesteps=" + "x" * 10**6, "-c", "cnn"],
    "commas": ["-g", "ddpm:" + "," * 3_900, "-c", "cnn"],
    "a ratio that is none": ["-c", "cnn", "-g", "ddpm", "--ratio", "nan"],
    "an infinite ratio": ["-c", "cnn", "-g", "ddpm", "--ratio", "inf"],
    "a negative ratio": ["-c", "cnn", "-g", "ddpm", "--ratio", "-1"],
    "a ratio of 1e308": ["-c", "cnn", "-g", "ddpm", "--ratio", "1e308"],
    "a budget of nothing": ["-c", "cnn", "-g", "ddpm", "--budget-scale", "0"],
    "a budget that is none": ["-c", "cnn", "-g", "ddpm", "--budget-scale", "nan"],
    "a batch of more than all": ["-c", "cnn", "-g", "ddpm", "--batch-fraction", "nan"],
    "100 million mixes": [
        *("-c", "cnn", "-g", "ddpm"),
        *(
            word
            for number in range(10_000)
            for word in ("--ratio", str(number), "--budget-scale", str(number))
        ),
    ],
    "too many seeds": ["-c", "cnn", "--seeds", "1001"],
    "seeds of 5,000 digits": ["-c", "cnn", "--seeds", "1" * 5_000],
    "a million cells": [
        *("-c", "cnn", "--seeds", "1000"),
        *(word for number in range(10, 1_000) for word in ("-g", f"ddpm:timesteps={number}")),
    ],
    "a million evaluations": [
        *("-c", "cnn", "--seeds", "1000", "-g", "ddpm"),
        *(word for number in range(1, 900) for word in ("-e", f"mmd:permutations={number}")),
    ],
    "2,000 generators": ["-c", "cnn", *(word for _ in range(2_000) for word in ("-g", "ddpm"))],
    "a suite of 5,000 characters": ["x" * 5_000],
    "a suite that is a folder": ["."],
    "a suite that is a device": ["/dev/zero"],
    "a limit of 5,000 digits": ["-c", "cnn", "--limit-train", "1" * 5_000],
    "an unknown preset": ["-c", "cnn:preset=" + "x" * 3_000],
}

_ODD_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": lambda file: file.mkdir(),
    "a link to a device": lambda file: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file: file.symlink_to(file.name),
    "a sparse gigabyte": lambda file: (file.touch(), os.truncate(file, 2**30)),
}


# -------------------------------------------------------------------------------------------- what must hold


def _refused(arguments: Sequence[str], folder: Path | None = None) -> Callable[[Path], None]:
    def attempt(work: Path) -> None:
        here = folder or work
        before = {path for path in here.rglob("*") if "store" not in path.parts}
        began, said = time.monotonic(), io.StringIO()
        with (
            contextlib.chdir(here),
            patch.object(sys, "argv", ["genbench", "plan", *arguments, "--store", str(work / "store")]),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
            pytest.raises(SystemExit) as ending,
        ):
            main()
        message = said.getvalue()
        assert ending.value.code == 2, message[:500]
        assert "Error: " in message
        assert message.replace("\n", "").isprintable(), message[:500]
        assert len(message) < 11_000
        assert {path for path in here.rglob("*") if "store" not in path.parts} == before
        assert time.monotonic() - began < _SECONDS

    return attempt


def _refused_file(content: str | bytes) -> Callable[[Path], None]:
    def attempt(folder: Path) -> None:
        file = folder / "odd.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        _refused([str(file)])(folder)

    return attempt


def _refused_name(name: str) -> Callable[[Path], None]:
    def attempt(folder: Path) -> None:
        assert not is_suite_name(name)
        text = name.encode("unicode_escape").decode().replace("\\x", "\\u00").replace('"', '\\"')
        text = text.replace("\\\\", "\\u005c")
        _refused_file(f'name = "{text}"\n{_VALID}')(folder)
        assert is_suite_name(as_suite_name(name))  # what is made of it where nobody named the suite

    return attempt


def _odd_file(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def attempt(folder: Path) -> None:
        make(folder / "odd.toml")
        _refused([str(folder / "odd.toml")])(folder)

    return attempt


def _payloads(folder: Path) -> None:
    for payload in PAYLOADS:
        name = as_suite_name(payload)
        assert is_suite_name(name)
        out = (folder / "out" / name).resolve()
        assert out.parent == (folder / "out").resolve()
        out.mkdir(parents=True, exist_ok=True)


def _mutated(seeds: range) -> Callable[[Path], None]:
    """Damaged suites are read or refused by `UsageError` alone."""

    def attempt(folder: Path) -> None:
        file = folder / "odd.toml"
        for seed in seeds:
            rng = random.Random(seed)
            text = _cut(_VALID + 'datasets = [{ use = "digits", size = 8 }]\nbase_seed = 3\n', rng)
            file.write_text(text, encoding="utf-8")
            with contextlib.suppress(UsageError):
                assert is_suite_name(load_suite(file).name)

    return attempt


def _components(seeds: range) -> Callable[[Path], None]:
    def attempt(_: Path) -> None:
        for seed in seeds:
            rng = random.Random(f"component {seed}")
            with contextlib.suppress(UsageError):
                parse_reference(
                    _cut('sdedit:base=ddpm,base.schedule=cosine,x=[1,[a,"b"]],y={"z":[1.5]}', rng)
                )

    return attempt


_PIECES = (
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "=",
    ",",
    ".",
    ":",
    "\n",
    "#",
    "nan",
    "1e999",
    "-",
    "x",
    "\0",
    "\\u0000",
    "[[",
)


def _cut(text: str, rng: random.Random) -> str:
    """Return a text with one to four pieces cut out, repeated or put in."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice([0, 0, 1, 5]))
        piece = rng.choice([*_PIECES, *PAYLOADS, text[start : start + 20] * rng.choice([1, 50])])
        text = text[:start] + piece + text[stop:]
    return text
