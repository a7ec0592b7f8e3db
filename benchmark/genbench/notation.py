"""How components and their options are written on a command line: `name:option=value,option.entry=value`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genbench.errors import UsageError
from genbench.escaping import file_name, one_line
from genbench.options import ComponentRef
from genbench.untrusted import parse_json, read_text

BARE = ""  #: the value of `name:VALUE`, until the config says which option that is
_OUTER_COMMA = re.compile(r",(?![^\[]*\])(?![^{]*\})")  # a comma that is not inside [...] or {...}
LONGEST_REFERENCE = 4_000  #: characters of `name:option=value,...`
_MOST_RUN_BYTES, _MOST_RUN_DEPTH = 64 * 2**20, 10  #: of a run.json
DEEPEST_OPTION = 10  #: dots of an option, and lists in lists of a value; components use two


def parse_reference(text: str) -> ComponentRef:
    """Parse `name`, `name:VALUE` and `name:option=value,option=value`.

    >>> parse_reference("ddpm:timesteps=100,recipe.epochs=3").options
    {'timesteps': 100, 'recipe': {'epochs': 3}}
    """
    if len(text) > LONGEST_REFERENCE:
        raise UsageError(
            f"component {one_line(text, 40)!r} is too long: at most {LONGEST_REFERENCE:,} characters",
            hint="a suite (TOML) takes options as tables",
        )
    name, colon, rest = text.partition(":")
    if not name or (colon and not rest):
        raise UsageError(f"cannot read component {text!r}: use NAME, NAME:VALUE or NAME:OPTION=VALUE,...")
    options: dict[str, Any] = {}
    for position, piece in enumerate(_OUTER_COMMA.split(rest) if rest else []):
        option, equals, value = piece.partition("=")
        if not equals and position == 0:
            options[BARE] = piece
        elif not equals or not option:
            raise UsageError(f"cannot read option {piece!r} of {name!r}: use OPTION=VALUE")
        else:
            _set_dotted(options, option.strip(), scalar(value.strip()), name)
    return ComponentRef(use=name, options=options)


def flattened(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield options with dotted names: `recipe.epochs`, 5."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _set_dotted(options: dict[str, Any], option: str, value: Any, name: str) -> None:
    *parents, last = option.split(".")
    if len(parents) > DEEPEST_OPTION:
        raise UsageError(
            f"option {one_line(option, 40)!r} of {name!r}: at most {DEEPEST_OPTION} dots are read",
            hint="genbench list   (then: genbench show KIND NAME)",
        )
    for parent in parents:
        if isinstance(
            options.get(parent), str
        ):  # `base=ddpm,base.schedule=cosine` names a component, then sets it
            options[parent] = {"use": options[parent]}
        options = options.setdefault(parent, {})
        if not isinstance(options, dict):
            raise UsageError(
                f"option {option!r} of {name!r}: {parent!r} is {one_line(repr(options), 40)} already, "
                "and has no options"
            )
    options[last] = value


def scalar(text: str) -> Any:
    """Read a command-line value as JSON where it is JSON (numbers, true, lists), else as text.

    >>> scalar("[1,2]"), scalar("[computed,cifar10.1-v6]"), scalar("adam")
    ([1, 2], ['computed', 'cifar10.1-v6'], 'adam')
    """
    try:
        return parse_json(text, DEEPEST_OPTION)
    except ValueError:
        if len(text) - len(text.lstrip("[")) > DEEPEST_OPTION:
            raise UsageError(
                f"value {one_line(text, 40)!r}: at most {DEEPEST_OPTION} lists in lists are read"
            ) from None
        if text.startswith("[") and text.endswith("]"):  # words need no quotes
            return [scalar(word.strip()) for word in text[1:-1].split(",")]
        return text


def paths_begin_in(file: Path) -> Path | None:
    """Return the folder in which the relative paths of a run's suite begin: where the run was typed.

    Args:
        file: The `suite.toml` in the folder of a run.

    Returns:
        None for the current folder: for other suites, and where that folder is gone.
    """
    try:
        run = parse_json(read_text(file.with_name("run.json"), _MOST_RUN_BYTES), _MOST_RUN_DEPTH)
        base = (file.parent.resolve() / (run.get("paths_from") or run["typed_in"] or "?")).resolve()
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return base if base.is_dir() and base != Path.cwd() else None


def label_of(name: str, options: Mapping[str, Any]) -> str:
    """Return what users typed, for tables: the name with the options that they set."""
    label = ",".join(f"{option}={_short(value)}" for option, value in flattened(options))
    return f"{name}:{label}" if label else name


def _short(value: Any) -> str:
    """Write a value for a label; a path is its name: labels say nothing about somebody's disk."""
    if isinstance(value, list | tuple):
        return f"[{','.join(_short(one) for one in value)}]"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", ".", "~")) else text


# ------------------------------------------------------------------------------------------ names of suites

_NAME = re.compile(r"\w(?:[\w .,+=()-]*[\w+=()-])?")
LONGEST_NAME_BYTES = 200
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)


def is_suite_name(text: str) -> bool:
    """Say whether a text names a folder, on any system, and leads nowhere else."""
    is_device = text.partition(".")[0].strip().lower() in _DEVICES
    return bool(_NAME.fullmatch(text)) and not is_device and len(text.encode()) <= LONGEST_NAME_BYTES


def as_suite_name(text: str) -> str:
    """Return a text as the name of a suite: as it is if it is one, else what is left of it."""
    if is_suite_name(text):
        return text
    name = file_name(text)
    return name if is_suite_name(name) else f"suite-{name}"
