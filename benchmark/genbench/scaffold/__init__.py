"""`genbench plugin new`: a package with a small plugin that works, to be edited.

The templates are files of the package that is written, with `__NAMES__` to be filled in. They are data: tests
write a package of each kind and run its tests, ruff and mypy.
"""

import importlib.metadata
import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from genbench.errors import OutputError, UsageError
from genbench.hookspecs import Kind
from genbench.registry import Registry

#: Kinds that can be written, each with a command that tries it and what its registration says besides.
TRIALS: dict[Kind, str] = {
    "generator": "run -g {0} -c cnn --preset smoke --seeds 1",
    "filter": "run -g classical -f {0} -c cnn --preset smoke --seeds 1",
    "classifier": "run -g classical -c {0} --preset smoke --seeds 1",
    "evaluator": "run -g classical -c mlp -e accuracy -e {0} --preset smoke --seeds 1",
    "dataset": "run -d {0}:FILE.npz -g classical -c cnn --preset smoke --seeds 1",
}
_FACTS: dict[Kind, str] = {"generator": "needs_fit=True,  # call fit before sample"}
_PREFIX = "genbench-"  # which a distribution may have, and its component goes without
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST_NAME = 30
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Names:
    """What the parts of a plugin are called.

    Attributes:
        kind: Kind of component.
        distribution: What `pip install` calls it.
        component: What users of genbench type.
    """

    kind: Kind
    distribution: str
    component: str

    @property
    def package(self) -> str:
        """The Python package, and the name of its entry point."""
        return self.distribution.replace("-", "_")

    @property
    def stem(self) -> str:
        """The first part of its classes' names: none that the template means something else by."""
        stem = "".join(part.capitalize() for part in re.split("[-_]", self.component))
        words = (path.read_text(encoding="utf-8") for path in sorted((_TEMPLATES / self.kind).iterdir()))
        is_used = any(re.search(rf"\b{stem}\b", text) for text in words)
        return f"{stem}{self.kind.capitalize()}" if is_used else stem

    @property
    def trial(self) -> str:
        """The arguments of `genbench` that try it."""
        return TRIALS[self.kind].format(self.component)


def names_for(name: str, kind: Kind, registry: Registry) -> Names:
    """Return what a new plugin is called.

    Raises:
        UsageError: It is no name of a distribution and a package, or it is taken.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"{name!r} names no plugin: use lower-case letters and digits, with - between words, beginning "
            f"with a letter, up to {_LONGEST_NAME} characters",
            hint=f"genbench plugin new my-{kind} --kind {kind}",
        )
    distribution = name.replace("_", "-")
    names = Names(kind, distribution, distribution.removeprefix(_PREFIX))
    taken = _taken(names, registry)
    if taken:
        raise UsageError(taken, hint=f"genbench plugin new my-{names.component} --kind {kind}")
    return names


def _taken(names: Names, registry: Registry) -> str:
    """Say why a name cannot be had, or return an empty string."""
    package, component = names.package, names.component
    if keyword.iskeyword(package) or package in {*sys.stdlib_module_names, "src", "tests"}:
        return f"{package!r} is a name of Python's own or of its folders: a package cannot be called so"
    if any(spec.name == component for spec in registry.specs(names.kind)):
        owner = registry.owner(names.kind, component).origin
        return f"{names.kind} {component!r} exists already, in {owner}"
    if any(plugin.name == package for plugin in registry.plugins):
        return f"a plugin {package!r} exists already"
    found = importlib.util.find_spec(package)  # without an origin, it is any folder of that name
    if (found is not None and found.origin is not None) or names.distribution in _distributions():
        return f"a package {package!r} is installed already"
    return ""


def _distributions() -> set[str]:
    """Return the names of installed distributions, as registries compare them."""
    found = (distribution.metadata["Name"] for distribution in importlib.metadata.distributions())
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found if name}


def write_plugin(names: Names, folder: Path) -> list[Path]:
    """Write the package; return its files, relative to the folder.

    Raises:
        UsageError: The folder exists and holds something.
        OutputError: It cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} exists already, and nothing is overwritten", hint="--out ANOTHER_FOLDER")
    written = []
    for place, template in sorted(_files(names).items()):
        path = folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template.read_text(encoding="utf-8"), names), encoding="utf-8")
        except OSError as problem:
            raise OutputError(
                f"cannot write {path}: {problem.strerror}", hint="--out ANOTHER_FOLDER"
            ) from problem
        written.append(Path(place))
    return written


def _files(names: Names) -> dict[str, Path]:
    """Return the template of each file, by its place in the package."""
    source = f"src/{names.package}"
    shared = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": "LICENSE",
        ".gitignore": "gitignore",
        ".github/workflows/ci.yml": "ci.yml",
        f"{source}/__init__.py": "init.py",
        f"{source}/plugin.py": "plugin.py",
        f"tests/test_{names.package}.py": "test.py",
    }
    files = {place: _TEMPLATES / "shared" / f"{name}.template" for place, name in shared.items()}
    of_kind = _TEMPLATES / names.kind
    files |= {f"{source}/{name}": of_kind / f"{name}.template" for name in ("config.py", f"{names.kind}.py")}
    if (of_kind / "test.py.template").is_file():  # one that needs files
        files[f"tests/test_{names.package}.py"] = of_kind / "test.py.template"
    return {**files, f"{source}/py.typed": _TEMPLATES / "shared" / "py.typed.template"}


def _filled(text: str, names: Names) -> str:
    facts = _FACTS.get(names.kind, "")
    for mark, value in {
        "__FACTS__": f"            {facts}\n" if facts else "",
        "__DISTRIBUTION__": names.distribution,
        "__PACKAGE__": names.package,
        "__COMPONENT__": names.component,
        "__METRIC__": names.component.replace("-", "_"),
        "__CLASS__": names.stem,
        "__SUITE__": f"{names.kind.capitalize()}Conformance",
        "__KIND__": names.kind,
        "__TRY__": names.trial,
    }.items():
        text = text.replace(mark, value)
    return text
