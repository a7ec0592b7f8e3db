"""Finding plugins: a small loader over entry points in which one broken plugin never hides the others.

A plugin is a module of hooks. Each ends in a state (`ok`, `failed`, `conflict`, `disabled`) with a reason
that `genbench plugins` prints. Nothing here imports what a component is made of.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, cast

import pluggy

from genbench import watch
from genbench.digest import digest, file_digest
from genbench.errors import PluginError, UsageError, did_you_mean
from genbench.escaping import exception_text
from genbench.hookspecs import (
    API_VERSION,
    COPY_CHECK,
    EXECUTORS,
    KINDS,
    RESERVE_OWNER,
    ComponentSpec,
    Hooks,
    Kind,
    specs_of,
)
from genbench.options import ComponentConfig

ENTRY_POINT_GROUP = "genbench"
OWN_DISTRIBUTION = "genbench"
State = Literal["ok", "failed", "conflict", "disabled"]


@dataclass
class Plugin:
    """One plugin and what became of it.

    Attributes:
        name: Entry-point name, or the file's name for `--plugin`.
        origin: Distribution and version, or the path of a single-file plugin.
        builtin: Whether it came with genbench: built-ins win a contested name.
        is_installed: Whether a distribution brought it; a single-file plugin is named by its path.
        state: `ok`, `failed`, `conflict` or `disabled`.
        reason: Why it is not `ok`.
        components: What it registered, as (kind, name).
        module: Name of its module.
    """

    name: str
    origin: str
    builtin: bool = False
    is_installed: bool = True
    state: State = "ok"
    reason: str = ""
    components: list[tuple[Kind, str]] = field(default_factory=list)
    module: str = ""


def _disabled() -> frozenset[str]:
    """Return what the environment names, when it is asked."""
    return frozenset(filter(None, os.environ.get("GENBENCH_DISABLE", "").split(",")))


@dataclass(frozen=True)
class PluginSource:
    """Which plugins to load: enough to load the same ones in another process.

    Attributes:
        files: Single-file plugins (`--plugin path.py`).
        third_party: Whether other distributions' entry points are loaded (`--no-plugins` says no).
        disabled: Entry-point names to leave out (`GENBENCH_DISABLE`, comma-separated).
        only: If given, the only plugins to load besides the built-in ones.
    """

    files: tuple[str, ...] = ()
    third_party: bool = True
    disabled: frozenset[str] = field(default_factory=_disabled)
    only: frozenset[str] | None = None

    def limited_to(self, plugins: Iterable[str]) -> "PluginSource":
        """Return the same source with these plugins and the built-in ones alone."""
        return replace(self, only=frozenset(plugins))


class Registry:
    """All components by kind and name, and the state of every plugin."""

    def __init__(self, source: PluginSource | None = None) -> None:
        self.source = source = source or PluginSource()
        self.plugins: list[Plugin] = []
        self._specs: dict[Kind, dict[str, ComponentSpec]] = {kind: {} for kind in KINDS}
        self._owners: dict[tuple[Kind, str], Plugin] = {}
        self._silenced: set[str] = set()  # plugins whose observers failed
        self._called: set[tuple[str, str]] = set()  # plugins and the hooks of theirs that were called
        self._manager = pluggy.PluginManager("genbench")
        self._manager.add_hookspecs(Hooks)
        self._enter_own()
        for plugin, load in _candidates(source):
            if plugin.builtin or source.only is None or plugin.name in source.only:
                self._enter(plugin, load)

    def specs(self, kind: Kind) -> Sequence[ComponentSpec]:
        """Return the components of one kind, by name."""
        return [self._specs[kind][name] for name in sorted(self._specs[kind])]

    def spec(self, kind: Kind, name: str) -> ComponentSpec:
        """Return one component.

        Raises:
            UsageError: There is none of that name; says which are near, and which plugins failed to load.
        """
        found = self._specs[kind].get(name)
        if found is None:
            broken = [plugin.name for plugin in self.plugins if plugin.state in {"failed", "conflict"}]
            note = (
                f" Plugins that did not load: {', '.join(broken)} (see `genbench plugins`)." if broken else ""
            )
            raise UsageError(
                f"unknown {kind} {name!r}. {did_you_mean(name, self._specs[kind])}{note}",
                hint=f"genbench list {kind}s",
            )
        return found

    def check_files(self) -> None:
        """Refuse to go on without a plugin that somebody named by its file (`--plugin`).

        Raises:
            UsageError: One does not exist, did not load, or claims a name that is taken.
        """
        for plugin in self.plugins:
            if not plugin.is_installed and plugin.state in {"failed", "conflict"}:
                reason = plugin.reason.removeprefix("UsageError: ").removeprefix("PluginError: ")
                raise UsageError(
                    f"--plugin {plugin.origin}: {reason}",
                    hint="genbench plugins --plugin FILE says what became of every plugin",
                )

    def owner(self, kind: Kind, name: str) -> Plugin:
        """Return the plugin that registered a component."""
        return self._owners[kind, name]

    def code(self, kind: Kind, name: str) -> "Code":
        """Return where a component's code comes from, and its digest."""
        plugin, target = self.owner(kind, name), self.spec(kind, name).target
        origin = plugin.origin if plugin.is_installed else Path(plugin.origin).name
        return Code(origin, package_digest(target.partition(":")[0]))

    @contextlib.contextmanager
    def importing(self, plugin: Plugin, doing: str = "imported") -> Iterator[None]:
        """Let a plugin's code be imported, and put back what it replaced in genbench.

        It runs in the process where plans are made and records composed.

        Args:
            plugin: Whose code.
            doing: What is done with it, for the message.

        Raises:
            PluginError: It replaced something.
        """
        if plugin.builtin:
            yield
            return
        before, touched = watch.harness(), []
        try:
            yield
        finally:  # it may have raised after it replaced something
            loaded = sys.modules.get(plugin.module)
            place = Path(getattr(loaded, "__file__", None) or plugin.origin)
            touched = watch.restore_harness(before, place.parent if place.name == "__init__.py" else place)
        if touched:
            raise PluginError(
                f"it replaces {', '.join(touched[:3])} when it is {doing}: genbench is not its to change"
            )

    def schema(self, spec: ComponentSpec, kind: Kind) -> type[ComponentConfig]:
        """Import the options of a component.

        Raises:
            PluginError: They cannot be imported, or are none.
        """
        with self.importing(self.owner(kind, spec.name)):
            schema = import_target(spec.config, spec.name)
        if not (isinstance(schema, type) and issubclass(schema, ComponentConfig)):
            raise PluginError(
                f"{kind} {spec.name!r}: {spec.config} must be a ComponentConfig, found {schema!r}"
            )
        return schema

    def commands(self) -> Iterator[Any]:
        """Yield the commands that plugins add to the program."""
        for hook in self._manager.hook.genbench_commands.get_hookimpls():
            try:
                yield from cast("Iterable[Any]", hook.function())
            except (Exception, SystemExit):  # `genbench plugins` is where plugins are judged
                continue

    def heard(self, hook: str) -> frozenset[str]:
        """Return the arguments that observers of a hook take; empty where nobody observes."""
        return frozenset(name for observer in self._observers(hook) for name in observer.argnames)

    def tell(self, hook: str, facts: Mapping[str, Any]) -> list[str]:
        """Tell every observer of a hook what happened; return what is to be said of those that failed.

        An observer that fails is told nothing more; neither is one that replaces something in genbench when
        it is called for the first time, which is put back: to look after every call takes 10 ms.

        Args:
            hook: Name of the hook.
            facts: Values of its arguments, of those at least that are `heard`.
        """
        said = []
        for observer in self._observers(hook):
            name = observer.plugin_name
            is_first = (name, hook) not in self._called
            self._called.add((name, hook))
            plugin = next(one for one in self.plugins if one.name == name)
            try:
                with self.importing(plugin, "called") if is_first else contextlib.nullcontext():
                    observer.function(*(facts[argument] for argument in observer.argnames))
            except (Exception, SystemExit) as problem:
                self._silenced.add(name)
                said.append(
                    f"plugin {name!r} no longer observes this run: its observer raised "
                    f"{exception_text(problem, 200)}"
                )
        return said

    def _observers(self, hook: str) -> list[Any]:
        found = getattr(self._manager.hook, hook).get_hookimpls()
        return [one for one in found if one.plugin_name not in self._silenced]

    def _enter_own(self) -> None:
        """Enter what is the harness's own: it comes before every plugin, and nothing switches it off."""
        version = importlib.metadata.version(OWN_DISTRIBUTION)
        own = Plugin(OWN_DISTRIBUTION, f"{OWN_DISTRIBUTION} {version}", builtin=True, module="genbench")
        self.plugins.append(own)
        self._claim(own, "evaluator", COPY_CHECK)
        for spec in EXECUTORS:
            self._claim(own, "executor", spec)

    def _enter(self, plugin: Plugin, load: Any) -> None:
        """Load one plugin, whatever it does, and note what became of it."""
        self.plugins.append(plugin)
        if plugin.name in self.source.disabled:
            plugin.state, plugin.reason = "disabled", "named in GENBENCH_DISABLE"
            return
        try:
            with self.importing(plugin):
                specs = list(self._register(plugin, load()))
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # a stranger's code may raise anything, and must not stop the others
            plugin.state, plugin.reason = "failed", exception_text(problem)
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            return
        for kind, spec in specs:
            self._claim(plugin, kind, spec)

    def _register(self, plugin: Plugin, module: ModuleType) -> Iterator[tuple[Kind, ComponentSpec]]:
        wanted = getattr(module, "genbench_api", API_VERSION)
        if wanted > API_VERSION:
            raise PluginError(
                f"asks for plugin API {wanted}; this genbench has API {API_VERSION}: upgrade it"
            )
        self._manager.register(module, name=plugin.name)
        _refuse_unknown_hooks(module)
        for kind in KINDS:
            for spec in specs_of(module, kind):
                if not isinstance(spec, ComponentSpec):
                    raise PluginError(f"genbench_{kind}s must return ComponentSpecs, found {spec!r}")
                if spec.needs_reserve and not (plugin.builtin and spec.name == RESERVE_OWNER):
                    raise PluginError(
                        f"{kind} {spec.name!r} says needs_reserve: the reserve is handed to the built-in "
                        f"generator {RESERVE_OWNER!r} alone, the ceiling that others are held against"
                    )
                yield kind, spec

    def _claim(self, plugin: Plugin, kind: Kind, spec: ComponentSpec) -> None:
        holder = self._owners.get((kind, spec.name))
        if holder is None:
            self._owners[kind, spec.name] = plugin
            self._specs[kind][spec.name] = spec
            plugin.components.append((kind, spec.name))
            return
        plugin.state = "conflict"
        plugin.reason = f"{kind} {spec.name!r} is already registered by plugin {holder.name!r}"
        if not holder.builtin:  # two strangers claim one name: neither is trusted with it
            holder.state = "conflict"
            holder.reason = f"{kind} {spec.name!r} is also claimed by plugin {plugin.name!r}"
            self._specs[kind].pop(spec.name, None)


def import_target(target: str, component: str) -> Any:
    """Import `"module:Class"`.

    Raises:
        PluginError: The module or the class does not exist, or importing it fails.
    """
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as problem:
        unknown = isinstance(problem, AttributeError)
        raise PluginError(
            f"component {component!r}: cannot import {target} ({type(problem).__name__}: {problem})",
            hint=f"define {attribute} in {module_name}, or correct the spec" if unknown else "",
        ) from problem


def missing_modules(spec: ComponentSpec) -> tuple[str, ...]:
    """Return those of `spec.requires` that are not installed; only parent packages are imported."""
    return tuple(name for name in spec.requires if not _can_be_found(name))


def _can_be_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class Code(NamedTuple):
    """The code of a component.

    Attributes:
        distribution: What installed it, with its version; the file's name for a single-file plugin.
        sha256: Digest of its whole package, or of its file; empty where it cannot be read.
    """

    distribution: str
    sha256: str


@cache
def package_digest(module: str) -> str:
    """Return the digest of everything in a module's top-level package, without importing it.

    A component is more than the file that defines it: helpers beside it change its results, too.
    """
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    origin = Path(spec.origin) if spec and spec.origin else None
    if origin is None or not origin.is_file():
        return ""
    if origin.name != "__init__.py":
        return file_digest(origin)
    root = origin.parent
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return digest({path.relative_to(root).as_posix(): file_digest(path) for path in files})


def _candidates(source: PluginSource) -> Iterator[tuple[Plugin, Any]]:
    """Yield every plugin with a function that loads its module: built-ins first, then by name."""
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    ranked = sorted(entries, key=lambda entry: (not _is_own(entry), entry.name, entry.value))
    seen: set[tuple[str, str]] = set()
    for entry in ranked:
        if (entry.name, entry.value) in seen or not (source.third_party or _is_own(entry)):
            continue
        seen.add((entry.name, entry.value))
        distribution = entry.dist
        origin = f"{distribution.name} {distribution.version}" if distribution else entry.value
        yield Plugin(entry.name, origin, builtin=_is_own(entry), module=entry.module), entry.load
    for file in source.files:
        plugin = Plugin(Path(file).stem, file, is_installed=False, module=Path(file).stem)
        yield plugin, lambda file=file: _load_file(Path(file))


def _is_own(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == OWN_DISTRIBUTION


def _load_file(path: Path) -> ModuleType:
    """Import a single-file plugin under its own stem, so that `"my_plugin:Class"` targets resolve."""
    if not path.is_file():
        raise UsageError(f"plugin file {path} does not exist")
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) != str(path):
        raise PluginError(f"a module named {path.stem!r} is already imported: rename {path.name}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _refuse_unknown_hooks(module: ModuleType) -> None:
    """Name a misspelt hook: pluggy would only call it never."""
    known = [name for name in dir(Hooks) if name.startswith("genbench_")]
    for name in dir(module):
        if name.startswith("genbench_") and name != "genbench_api" and name not in known:
            raise PluginError(f"unknown hook {name!r}. {did_you_mean(name, known)}")


def plugin_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Return absolute paths, in the order given, each once."""
    return tuple(dict.fromkeys(str(Path(path).resolve()) for path in paths))


def check_no_folder(registry: Registry, name: str, place: Any) -> None:
    """Say what to type to whoever names a folder of images, or a dataset, where a generator is wanted.

    Args:
        registry: The components.
        name: What was named: no generator, perhaps.
        place: The bare value behind it (`imagefolder:PLACE`), or None.

    Raises:
        UsageError: It is no generator, but one of these.
    """
    if any(spec.name == name for spec in registry.specs("generator")):
        return
    if place and any(spec.name == name for spec in registry.specs("dataset")):
        where = f"hub:{place}" if name == "hub" else place
        raise UsageError(
            f"{name!r} is a dataset: it brings real images. For images that somebody generated there is the "
            "generator 'folder'",
            hint=f"--generator folder:{where}",
        )
    if os.path.exists(os.path.expanduser(name)):  # which takes any text
        raise UsageError(
            f"generator {name!r} is a file or folder, not a generator. If it holds generated images, the "
            "generator 'folder' hands them out",
            hint=f"--generator folder:{name}",
        )


def check_no_photos(registry: Registry, name: str) -> None:
    """Say what to type to whoever names a folder of images where a dataset is wanted.

    Raises:
        UsageError: It is no dataset, but a file or folder that there is.
    """
    if any(spec.name == name for spec in registry.specs("dataset")):
        return
    if os.path.exists(os.path.expanduser(name)):
        raise UsageError(
            f"dataset {name!r} is a file or folder, not a dataset. If it holds images, the dataset "
            "'imagefolder' reads them",
            hint=f"--dataset imagefolder:{name}",
        )
