"""What messages, help texts and pages tell people to type can be typed; the pages that they name exist."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from genbench.cli import COMMANDS, program
from genbench.cli.docs_command import documentation

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = [ROOT / one for one in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A command ends where an explanation begins: after several spaces, or with the sign that closes it.
ENDS = re.compile(r"\s{2,}|[`;|#)]|&&|\n| -- ")
CONTEXT = click.Context(program, info_name="genbench")


def strings(file: Path) -> Iterator[str]:
    """Yield every text in a source file; what is filled in is `X`."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


@cache
def texts() -> list[tuple[str, str]]:
    """Return (place, text) of everything that a user reads."""
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for package in SOURCES:
        for file in sorted(package.rglob("*.py")):
            for text in strings(file):
                yield file.relative_to(ROOT).as_posix(), text
        for suite in sorted(package.rglob("*.toml")):
            yield suite.relative_to(ROOT).as_posix(), suite.read_text()
    for page in PAGES:
        yield page.relative_to(ROOT).as_posix(), page.read_text()


def commands() -> list[tuple[str, str]]:
    """Return (place, words after `genbench`) of every command that is named."""
    found = []
    for place, text in texts():
        for begin in re.finditer(r"(?<![\w./@\"'-])genbench (?=[a-z-])", text):
            is_code = re.search(r"(?:^|[`$(]|\n)\s*(?:[A-Z_]+=\S+ )*$|   $|: $", text[: begin.start()])
            line = ENDS.split(text[begin.end() :], maxsplit=1)[0].strip()
            if is_code and line:
                found.append((place, line))
    return found


def check(line: str) -> str:
    """Return what is wrong with a command, or nothing."""
    words = line.rstrip(".,:").split()
    group: click.Group = program
    ctx, command = CONTEXT, None
    while words:
        command = group.get_command(ctx, words[0]) if words[0] in group.list_commands(ctx) else None
        if command is None:
            break
        words.pop(0)
        if not isinstance(command, click.Group):
            break
        group = command
    if command is None and group is program:
        if line.startswith("--"):
            return "" if words[0] in {"--help", "--version"} else f"no option {words[0]}"
        return f"no command {words[0]!r}"
    known: set[str] = {"-h", "--help"}
    for one in (command or group).params:
        known |= {*one.opts, *one.secondary_opts}
    for word in words:
        option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
        if option and option[1] not in known and option[1][:2] not in known:
            return f"no option {option[1]}"
    return ""


def is_prose(line: str) -> bool:
    """Say whether `genbench` begins a sentence rather than a command."""
    return line.split(maxsplit=1)[0].rstrip(".,:") not in COMMANDS and not line.startswith("--")


def test_every_command_that_is_named_exists_with_its_options() -> None:
    found = commands()
    assert len(found) > 150
    wrong = [(place, line, check(line)) for place, line in found if not is_prose(line) and check(line)]
    assert wrong == []


def test_in_backticks_nothing_but_a_command_follows_the_name_of_the_program() -> None:
    spans = [(place, one) for place, text in texts() for one in re.findall(r"`genbench ([^`\n]+)`", text)]
    assert len(spans) > 100
    named = {"COMMAND", "ARGUMENTS", "commands"}
    assert [(place, one) for place, one in spans if is_prose(one) and one.split()[0] not in named] == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("rnu -g ddpm", "no command 'rnu'"),
        ("run --generatr ddpm", "no option --generatr"),
        ("store gc --stages train", "no option --stages"),
        ("store gc --stage train", ""),
        ("leaderboard submit x --no-such", "no option --no-such"),
        ("run -g ddpm -c cnn -j0", ""),
    ],
)
def test_the_check_sees_what_is_wrong(line: str, says: str) -> None:
    assert check(line) == says


def test_a_page_that_is_named_is_one_that_an_installed_user_finds() -> None:
    pages = documentation()
    for place, text in texts():
        for name in re.findall(r"genbench docs ([a-z][\w/-]*)", text):
            assert name in pages, f"{place} names the page {name}"
        if place.endswith(".py"):
            for name in re.findall(r"\bdocs/([\w/-]+)\.md", text):
                assert name in pages, f"{place} names docs/{name}.md"
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"] == {"docs": "share/doc/genbench"}
    page = CliRunner().invoke(program, ["docs", "docs/protocol.md"], catch_exceptions=False).output
    assert page == (ROOT / "docs" / "protocol.md").read_text()
    listed = CliRunner().invoke(program, ["docs"], catch_exceptions=False).output
    assert re.search(r"^  protocol +The protocol$", listed, re.MULTILINE)
    assert set(pages) == set(re.findall(r"^  ([\w/-]+)", listed, re.MULTILINE))


def test_messages_name_pages_by_a_command() -> None:
    """A path in the checkout is of no use to who installed a wheel."""
    for package in SOURCES:
        for file in package.rglob("*.py"):
            calls = [one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.Call)]
            said = [one for call in calls for one in ast.walk(call) if isinstance(one, ast.Constant)]
            assert [one.value for one in said if re.search(r"\bdocs/\w+\.md", str(one.value))] == [], file


def test_extras_and_tools_that_are_named_exist() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for place, text in texts():
        for name in re.findall(r"genbench\[([a-z-]+)\]", text):
            assert name in extras, f"{place} names the extra {name}"
        assert "huggingface-cli" not in text, f"{place}: the tool is called hf"
    assert entry_points(group="console_scripts", name="hf")
