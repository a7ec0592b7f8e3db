"""`genbench show`."""

import ast
import importlib.util
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

import click

from genbench import terminal
from genbench.cli._options import make_registry, plugin_options, suite_path
from genbench.cli._output import Styled, echo
from genbench.hookspecs import KINDS
from genbench.terminal import filled

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from genbench.hookspecs import ComponentSpec
    from genbench.protocols import ComponentConfig
    from genbench.registry import Registry


@click.command("show")
@click.argument("kind", type=click.Choice([*KINDS, "suite"]))
@click.argument("name")
@plugin_options
def command(kind: Any, name: str, plugin_files: tuple[str, ...], no_plugins: bool) -> None:
    """Show one component or suite: what it does, its options, presets and paper.

    Of a suite: what it declares, its rows, and how large it is; NAME may be a file. `genbench plan` says
    what it would cost.

    \b
    genbench show generator ddpm
    genbench show suite digits-quick
    """
    from genbench.registry import import_target

    registry = make_registry(plugin_files, no_plugins)
    if kind == "suite":
        echo("\n".join(_suite_lines(registry, name)))
        return
    spec = registry.spec(kind, name)
    schema = cast("type[ComponentConfig]", import_target(spec.config, name))
    owner = registry.owner(kind, name)
    for line in _described(kind, spec, schema, f"{owner.name} ({owner.origin})"):
        echo(*([line] if isinstance(line, str) else line))


def _suite_lines(registry: "Registry", name: str) -> Iterator[str]:
    """Yield what a suite says of itself, and what it comes to; no data are looked for."""
    from genbench.cli._suite_page import suite_page

    yield from suite_page(registry, suite_path(name))


def _described(
    kind: str, spec: "ComponentSpec", schema: "type[ComponentConfig]", owner: str
) -> Iterator[str | tuple[Styled, str]]:
    """Yield the page, line by line; a line that begins in bold as two parts."""
    yield Styled(f"{kind} {spec.name}", bold=True), f"  (version {spec.version})"
    yield filled(spec.summary, "  ")
    facts = {
        "plugin": owner,
        "paper": spec.paper,
        "requires": ", ".join(spec.requires),
        "external data": ", ".join(spec.external_data),
        "GPU memory at `paper`": f"{spec.resources.gpu_memory_gib:g} GiB"
        if spec.resources.gpu_memory_gib
        else "",
        "memory at `paper`": f"{spec.resources.memory_gib:g} GiB" if spec.resources.memory_gib else "",
        "implementation": spec.target,
    }
    for title, fact in facts.items():
        if fact:
            yield filled(f"{title}: {fact}", "    ", "  ")
    yield ""
    method = _method(spec.target.partition(":")[0])
    if method:
        yield Styled("method", bold=True), ""
        yield from _paragraphs(method)
    primary = f"  ({spec.name}:VALUE sets {schema.primary})" if schema.primary else ""
    yield Styled("options", bold=True), primary
    rows = sorted(_option_rows(schema), key=lambda row: row[0].count("."))  # the recipe's come last
    width = max((len(row[0]) for row in rows), default=0)
    default_width = max((len(row[1]) for row in rows), default=0)
    for option, default, allowed, description in rows:
        bounds = f"  [{allowed}]" if allowed else ""
        yield terminal.entry("  ", [(option, width), (default, default_width)], description + bounds)
    yield ""
    if kind != "executor":
        yield from _presets(schema)
    reserve = " -d digits:reserve=300" if spec.needs_reserve else ""
    yield f"example: genbench run {example(kind, spec.name, schema)}{reserve}"


def _presets(schema: "type[ComponentConfig]") -> Iterator[str | tuple[Styled, str]]:
    """Yield what each preset sets."""
    yield Styled("presets", bold=True), ""
    for preset in dict.fromkeys(("smoke", "quick", "paper", *schema.presets)):
        values = schema.presets.get(preset)
        yield filled(f"{preset}: " + (", ".join(_flat(values)) if values else "the defaults"), "    ", "  ")
    yield ""


#: What a run needs besides a component of a kind.
_BESIDE = {
    "dataset": "-c cnn",
    "generator": "-c cnn",
    "filter": "-g classical -c cnn",
    "classifier": "",
    "evaluator": "-g classical -c cnn",
    "executor": "-c cnn",
}


def example(kind: str, name: str, schema: "type[ComponentConfig]") -> str:
    """Return options of `genbench run` that can be typed: with all that is required, or else one option.

    A value that depends on the user (a folder) is the example that the option gives.
    """
    entries = schema.model_fields
    needed = {
        option: _example_of(option, entry)
        for option, entry in entries.items()
        if entry.is_required() or (option == schema.primary and entry.examples)
    }
    bare = [value for option, value in needed.items() if option == schema.primary]
    options = [f"{option}={value}" for option, value in needed.items() if option != schema.primary]
    if not needed:
        rows = sorted(_option_rows(schema), key=lambda row: row[0].count("."))
        own = schema.__annotations__  # what sets this component apart, before what every one has
        rows.sort(key=lambda row: row[0].partition(".")[0] not in own)
        options = [f"{row[0]}={row[1]}" for row in rows if _can_be_typed(row[1])][:1]
    example = ":".join([name, ",".join([*bare, *options])]) if bare or options else name
    return f"--{kind} {example} {_BESIDE[kind]}".rstrip()


def _can_be_typed(default: str) -> bool:
    return default not in {"none", ""} and not set(default) & set(" []{}")


def _example_of(option: str, entry: "FieldInfo") -> str:
    """Return a value of an option that must be given: its own example, or its name in capitals."""
    return str(entry.examples[0]) if entry.examples else option.upper()


def _paragraphs(text: str) -> Iterator[str]:
    """Yield documentation as wide as the terminal; what is indented (a formula, a list) keeps its lines."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        is_prose = not any(line.startswith((" ", "* ", "- ")) or "  " in line.strip() for line in lines)
        yield filled(" ".join(lines), "  ") if is_prose else textwrap.indent(paragraph, "  ")
        yield ""


def _method(module: str) -> str:
    """Return the documentation of a component's module, read from its source: nothing is imported."""
    try:
        found = importlib.util.find_spec(module)
        source = found.origin if found else None
        return (
            (ast.get_docstring(ast.parse(Path(source).read_text(encoding="utf-8"))) or "") if source else ""
        )
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""


def _option_rows(schema: "type[BaseModel]", prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (option, default, allowed values, description), nested options with their dots."""
    from pydantic import BaseModel

    from genbench.protocols import ComponentRef

    for name, entry in schema.model_fields.items():
        inner = entry.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not ComponentRef:
            yield from _option_rows(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _default(entry), _allowed(entry), entry.description or ""


def _default(entry: "FieldInfo") -> str:
    from genbench.protocols import ComponentRef

    if entry.is_required():
        return "required"
    value = entry.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ComponentRef):
        return value.use
    return str(list(value)).replace("'", "") if isinstance(value, tuple) else str(value)


def _allowed(entry: "FieldInfo") -> str:
    """Write bounds and choices as people do: `1..100`, `> 0`, `linear | cosine`."""
    for annotation in (entry.annotation, *_members(entry.annotation)):
        if get_origin(annotation) is Literal:
            return " | ".join(str(choice) for choice in get_args(annotation))
    signs = {"Gt": ">", "Ge": ">=", "Lt": "<", "Le": "<="}
    bounds = [
        f"{sign} {getattr(mark, kind.lower()):g}"
        for kind, sign in signs.items()
        for mark in entry.metadata
        if type(mark).__name__ == kind
    ]
    return ", ".join(bounds)


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, types.UnionType) else ()


def _flat(values: Any, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={value:.6g}" if isinstance(value, float) else f"{prefix}{name}={value}"
