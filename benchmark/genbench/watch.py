"""What a plugin changed for everybody else in its process: torch's defaults, attributes, environment.

A snapshot is taken before a plugin's code runs and compared afterwards. It is a guard against mistakes: what
wants to hide can. Other components are safe because they run in other processes (`genbench.rooms`).

In the main process, which imports plugins and their options, only genbench itself is watched, and what a
plugin replaced there is put back.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

#: Packages of our own distribution alone: those of others may well be called `genbench_...`, too.
_OWN = r"genbench(?:_(?:leaderboard|datasets|generators|filters|classifiers|evaluators))?"
#: Modules whose attributes are compared: what networks and plugins use, not what compilers are made of.
_WATCHED = re.compile(
    rf"({_OWN}|numpy)(\.|$)"
    r"|torch(\.(nn|optim|utils\.data|autograd|cuda|linalg|fft|amp|backends|random|functional)(\.(?!_)\w+)*)?$"
)
_HARNESS = re.compile(rf"{_OWN}(\.|$)")
_CORE = re.compile(
    r"genbench\.(training|steps|seeding|images|metrics|records|store)(\.|$)|(torch|torch\.nn\.functional|numpy)$"
    r"|torch\.nn\.modules\.(module|linear|conv)$"
)
_METHODS = (FunctionType, property, staticmethod, classmethod)
_SHOWN = 20  #: changes that are named; the others are counted
#: What libraries start and set for themselves.
_LIVELY_VARIABLES = ("TORCHINDUCTOR", "_TORCHINDUCTOR", "TRITON", "KMP_")
_LIVELY_THREADS = frozenset({"tqdm_monitor"})
_ENDING_SECONDS = 1.0


@dataclass(frozen=True)
class Snapshot:
    """The state of this process, as far as one component could spoil it for another.

    Attributes:
        settings: Values by name: torch's defaults, the working folder, the environment, signal handlers.
        attributes: What every function and class of the watched packages is, by its full name. The objects
            are held, so that none can take the place of another in memory.
        threads: Name and number of each thread of Python.
    """

    settings: Mapping[str, Any]
    attributes: Mapping[str, Any]
    threads: frozenset[tuple[str, int]]


def take(known: Mapping[str, Any] | None = None) -> Snapshot:
    """Note the present state.

    Args:
        known: Attributes that were noted before, in this process or the one that it was forked from.
    """
    threads = frozenset((thread.name, thread.ident or 0) for thread in _running())
    return Snapshot(dict(_settings()), attributes() if known is None else known, threads)


def let_threads_end(before: Snapshot) -> None:
    """Wait, for a second in all, for threads that are about to end: those of a queue that was closed are."""
    deadline = time.monotonic() + _ENDING_SECONDS
    for thread in _running():
        mark = thread.name, thread.ident or 0
        if mark not in before.threads and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name not in _LIVELY_THREADS]


def attributes(*, core: bool = False) -> Mapping[str, Any]:
    """Note functions, classes and methods of the watched packages; with `core`, of the most used modules."""
    watched = _CORE if core else _WATCHED
    spaces = (space for name in list(sys.modules) if watched.match(name) for space in _namespaces(name))
    return {name: value for space in spaces for _, name, value in space.functions()}


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Name what differs, in a few words each: `torch.relu was replaced`.

    Attributes that are new are left out: importing a module makes many.
    """
    found = []
    for name in sorted({*before.settings, *after.settings}):
        old, new = before.settings.get(name), after.settings.get(name)
        if old != new:
            found.append(_said(name, old, new))
    for name, old in before.attributes.items():
        if name not in after.attributes:
            found.append(f"{name} was removed")
        elif not _is_same(name, old, after.attributes[name]):
            found.append(f"{name} was replaced")
    found += [f"thread {name} was left behind" for name, _ in sorted(after.threads - before.threads)]
    more = len(found) - _SHOWN
    return found[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


class Namespace(NamedTuple):
    """A module, a class or a table of functions, and what was in it."""

    name: str
    owner: Any
    content: Mapping[Any, Any]

    def functions(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield everything in it that can be called: its key, its full name, and what it is."""
        for key, value in self.content.items():
            # `type(x)`, not `isinstance`: asking an object for its class would set off what some load late.
            if callable(value) or issubclass(type(value), _METHODS):
                is_entry = isinstance(self.owner, dict)
                yield key, f"{self.name}[{key!r}]" if is_entry else f"{self.name}.{key}", value

    def restored(self) -> Iterator[str]:
        """Put back every callable that was replaced since; yield the name of each."""
        is_table = isinstance(self.owner, dict)
        now = self.owner if is_table else vars(self.owner)
        for key, name, value in self.functions():
            if now.get(key) is not value:
                if is_table:
                    self.owner[key] = value
                else:
                    setattr(self.owner, key, value)
                yield name


def harness() -> list[Namespace]:
    """Note what is in genbench's modules that are loaded."""
    return [space for name in list(sys.modules) if _HARNESS.match(name) for space in _namespaces(name)]


def restore_harness(before: Sequence[Namespace], place: Path) -> list[str]:
    """Put back what was replaced in genbench since; return the names of it.

    Args:
        before: What `harness` noted.
        place: File or folder of the code that was run since. A module of genbench that it was the first to
            import, and put something of its own into, is forgotten: who needs it imports it anew.
    """
    found = [name for space in before for name in space.restored()]
    known = {space.name for space in before}
    for module in [name for name in sys.modules if _HARNESS.match(name) and name not in known]:
        foreign = [name for space in _namespaces(module) for name in _foreign(space, place)]
        if foreign:
            found += foreign
            parent, _, last = module.rpartition(".")
            vars(sys.modules.get(parent, sys)).pop(last, None)
            del sys.modules[module]
    return found


def _namespaces(module: str) -> Iterator[Namespace]:
    """Yield a module, the classes in it, and, of genbench's own, the tables of functions."""
    owner = sys.modules[module]
    if not issubclass(type(owner), ModuleType):
        return
    content = dict(vars(owner))
    yield Namespace(module, owner, content)
    for name, value in content.items():
        if issubclass(type(value), type) and value.__module__ == module:
            yield Namespace(f"{module}.{name}", value, dict(vars(value)))
        elif issubclass(type(value), dict) and _HARNESS.match(module):
            yield Namespace(f"{module}.{name}", value, dict(value))


def _foreign(space: Namespace, place: Path) -> Iterator[str]:
    """Yield what the code of a place put into a namespace."""
    for _, name, value in space.functions():
        code = getattr(_function(value), "__code__", None)
        if code is not None and Path(code.co_filename).is_relative_to(place):
            yield name


def _said(name: str, old: object, new: object) -> str:
    """Name a changed setting; values of the environment are nobody's business."""
    if name.startswith("$"):
        verb = "was set" if old is None else "was removed" if new is None else "was changed"
        return f"{name} {verb}"
    return f"{name} is {new}, was {old}"


def _settings() -> Iterator[tuple[str, Any]]:
    for name, value in os.environ.items():
        if not name.startswith(_LIVELY_VARIABLES):
            yield f"${name}", value
    try:
        yield "working folder", str(Path.cwd())
    except OSError:
        yield "working folder", "gone"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGSEGV):
        yield f"handler of {number.name}", _named(signal.getsignal(number))
    yield "trace function", _named(sys.gettrace())
    yield "umask", _umask()
    if "numpy" in sys.modules:
        import numpy as np

        yield "numpy.geterr()", str(np.geterr())
    if "torch" in sys.modules:
        yield from _torch_settings()


def _torch_settings() -> Iterator[tuple[str, Any]]:
    import torch

    asked: Mapping[str, Callable[[], object]] = {
        "default dtype": torch.get_default_dtype,
        "default device": torch.get_default_device,
        "grad mode": torch.is_grad_enabled,
        "inference mode": torch.is_inference_mode_enabled,
        "anomaly detection": torch.is_anomaly_enabled,
        "threads": torch.get_num_threads,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
        "float32 precision": torch.get_float32_matmul_precision,
        "autocast": torch.is_autocast_enabled,
        "flush of denormals": _flushes_denormals,
    }
    for name, ask in asked.items():
        yield f"torch's {name}", ask()
    for name in ("benchmark", "deterministic", "allow_tf32", "enabled"):
        yield f"torch.backends.cudnn.{name}", getattr(torch.backends.cudnn, name)


def _flushes_denormals() -> bool:
    """Say whether numbers too small to be normal become 0 in this process."""
    import torch

    return bool(torch.tensor(1e-40, dtype=torch.float32, device="cpu").mul(1.0).item() == 0.0)


def _is_same(name: str, old: Any, new: Any) -> bool:
    """Say whether an attribute is what it was, or was wrapped by its own library, as compilers do."""
    if new is old:
        return True
    old, new = _function(old), _function(new)
    package = name.partition(".")[0]
    code = getattr(new, "__code__", None)
    is_named_alike = getattr(new, "__name__", None) == getattr(old, "__name__", "")
    if code is None:
        return is_named_alike and str(getattr(new, "__module__", "")).partition(".")[0] == package
    home = Path(str(sys.modules[package].__file__)).parent
    is_wrapper = "<locals>" in new.__qualname__
    return (is_named_alike or is_wrapper) and Path(code.co_filename).is_relative_to(home)


def _function(value: Any) -> Any:
    """Return the function inside a property or a method."""
    return getattr(value, "fget", None) or getattr(value, "__func__", value)


def _named(handler: Any) -> str:
    name = getattr(handler, "__qualname__", None)
    return f"{handler.__module__}.{name}" if name else str(handler)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
