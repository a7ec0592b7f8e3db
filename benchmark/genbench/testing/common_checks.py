"""What is asked of every kind of component."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from genbench import protocols
from genbench.executors import Executor
from genbench.protocols import ComponentConfig
from genbench.registry import import_target, missing_modules
from genbench.suite import STANDARD_PRESETS
from genbench.testing.subject import Subject


def options_are_documented(subject: Subject) -> None:
    """Every option has a description."""
    for name, entry in type(subject.resolved.config).model_fields.items():
        assert entry.description, f"option {name!r} has no description: Field(..., description='...')"


def requirements_are_installed(subject: Subject) -> None:
    """Every module that the spec says it requires can be found, without importing it."""
    missing = missing_modules(subject.resolved.spec)
    assert not missing, (
        f"requires {', '.join(missing)}, which cannot be found: install it or correct the spec"
    )


def config_imports_without_torch(subject: Subject) -> None:
    """Planning imports the options alone, and must not wait for torch; a single file is one module."""
    module = subject.resolved.spec.config.partition(":")[0]
    if any(Path(file).stem == module for file in subject.registry.source.files):
        return
    folders = [str(Path(file).parent) for file in subject.registry.source.files]
    code = f"import sys; sys.path[:] = {sys.path + folders!r}; import {module}\n"
    code += "sys.exit(3 if 'torch' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode != 3, (
        f"importing {module} imports torch: keep the options in a module that imports pydantic and "
        "genbench.protocols alone, and leave its package's __init__.py empty"
    )
    assert done.returncode == 0, f"importing {module} fails: {done.stderr[-300:]}"


def presets_are_usable(subject: Subject) -> None:
    """Every preset gives valid options."""
    schema: type[ComponentConfig] = type(subject.resolved.config)
    required = {
        name: getattr(subject.resolved.config, name)
        for name, entry in schema.model_fields.items()
        if entry.is_required()
    }
    for preset in dict.fromkeys([*STANDARD_PRESETS, *schema.presets]):
        try:
            schema.model_validate({**required, **schema.presets.get(preset, {})})
        except ValueError as problem:
            raise AssertionError(f"preset {preset!r} gives no valid options: {problem}") from problem


def paths_stay_out_of_keys(subject: Subject) -> None:
    """No path of a machine enters a key: what lies there does, by `source_files()`."""
    config = subject.resolved.config
    fields = type(config).model_fields.items()
    paths = {name for name, entry in fields if Path in _types_in(entry.annotation)} - config.location_fields
    paths |= {name for name, value in subject.resolved.identity["config"].items() if _is_absolute(value)}
    assert not paths, (
        f"option {', '.join(sorted(paths))} is a path, and enters the key: name it in location_fields, and "
        "its files in source_files()"
    )
    named = [name for name in config.source_files() if Path(name).is_absolute()]
    assert not named, (
        f"source_files() calls a file {named[0]!r}: use names that do not depend on where it lies"
    )


def target_is_of_its_kind(subject: Subject) -> None:
    """The target can be built with its options, and is a subclass of what its kind is called."""
    kind = subject.resolved.kind
    wanted = Executor if kind == "executor" else getattr(protocols, kind.capitalize())
    target = import_target(subject.resolved.spec.target, subject.resolved.name)
    assert wanted in getattr(target, "__mro__", ()), (
        f"{subject.resolved.spec.target} must be a subclass of {wanted.__module__}.{wanted.__name__}"
    )
    if kind != "executor":  # which starts workers: the checks that need some build one
        subject.build()


def _types_in(annotation: Any) -> Iterator[Any]:
    """Yield a type and those inside it: `Path | None` has `Path`."""
    yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)


def _is_absolute(value: Any) -> bool:
    if isinstance(value, str):
        return Path(value).is_absolute() and len(Path(value).parts) > 1
    if isinstance(value, Mapping):
        return any(map(_is_absolute, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_absolute, value))
