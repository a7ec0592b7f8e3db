"""`genbench doctor`."""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from genbench.cli._options import make_registry, make_store, plugin_options, store_option
from genbench.cli._output import Styled, echo
from genbench.devices import driver_gpus, gpu_memory_gib, torch_gpus, unusable
from genbench.errors import DataError, ExitCode
from genbench.executors import cores
from genbench.hookspecs import KINDS
from genbench.terminal import count, filled

if TYPE_CHECKING:
    from genbench.hookspecs import ComponentSpec
    from genbench.registry import Registry


@click.command("doctor")
@store_option
@plugin_options
def command(store_folder: str | Path | None, plugin_files: tuple[str, ...], no_plugins: bool) -> None:
    """Say what is reachable: device, mirror, cache, plugins, versions; exit code 2 if something is wrong.

    `ok` is fine, `--` is something that some components need and this machine lacks, `BAD` must be fixed.
    """
    registry = make_registry(plugin_files, no_plugins, lenient=True)
    checks = (
        _versions(),
        _device(),
        _store(store_folder),
        _hub(),
        _plugins(registry),
        _confinement(),
        _requirements(registry),
        _resources(registry),
    )
    bad = False
    for state, title, finding in itertools.chain(*checks):
        first, *more = filled(finding, " " * 15, f"    {title:10} ").split("\n")
        echo(_MARKS[state], first[len(_MARKS[state].text) :], *(f"\n{line}" for line in more))
        bad = bad or state == "bad"
    if bad:
        sys.exit(ExitCode.USAGE)


State = Literal["ok", "lacks", "bad"]
Finding = tuple[State, str, str]
_MARKS: dict[State, Styled] = {
    "ok": Styled("ok ", colour="green"),
    "lacks": Styled("-- ", colour="yellow"),
    "bad": Styled("BAD", colour="red"),
}


def _versions() -> Iterator[Finding]:
    from importlib import metadata

    from genbench import __version__

    found = [f"genbench {__version__}", f"python {sys.version.split()[0]}"]
    for name in ("torch", "torchvision", "diffusers", "timm", "datasets"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield "bad", "versions", f"{name} is not installed: pip install {name}"
    yield "ok", "versions", ", ".join(found)


def _confinement() -> Iterator[Finding]:
    from genbench.rooms import can_confine

    guards = can_confine()
    if guards:
        yield (
            "ok",
            "confining",
            f"{guards}: plugins reach their inputs, and no network that they do not declare",
        )
        return
    finding = "no Landlock (Linux 5.13) here: code of plugins runs in processes of its own, with all rights"
    yield "lacks", "confining", finding


def _device() -> Iterator[Finding]:
    gpus = torch_gpus()
    if gpus:
        yield "ok", "device", f"{gpus} CUDA device(s); `--device auto` uses cuda, with a worker for each"
        return
    if driver_gpus():
        yield "bad", "device", f"{unusable()}: install a torch that can, or use --device cpu"
    fast = _cpu_flags() & {"amx_bf16", "avx512_bf16"}
    note = (
        f"bf16 in hardware ({', '.join(sorted(fast))}): recipe.precision=bf16 is faster"
        if fast
        else "no bf16 hardware: keep fp32"
    )
    yield "ok", "device", f"cpu, {cores()} cores; {note}"


def _store(folder: str | Path | None) -> Iterator[Finding]:
    store = make_store(folder)
    nearest = next(path for path in (store.root, *store.root.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        yield "bad", "store", f"{store.root}: not writable; name another with --store DIR"
        return
    state = os.statvfs(nearest)
    yield "ok", "store", f"{store.root} ({state.f_bavail * state.f_frsize / 2**30:.0f} GiB free)"


def _hub() -> Iterator[Finding]:
    from genbench.hub import MIRROR_VARIABLE, mirror

    try:
        folder = mirror()
    except DataError as problem:
        yield "bad", "mirror", problem.message
        return
    if folder is None:
        yield (
            "ok",
            "mirror",
            f"none ({MIRROR_VARIABLE} is not set): Hub ids come from the local cache or the network",
        )
        return
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_dir())
    yield "ok", "mirror", f"{folder}: {', '.join(names) or 'empty'}"


def _plugins(registry: "Registry") -> Iterator[Finding]:
    for plugin in registry.plugins:
        finding = plugin.reason or count(len(plugin.components), "component")
        state: State = "ok" if plugin.state in {"ok", "disabled"} else "bad"
        yield state, "plugin", f"{plugin.name} ({plugin.origin}): {finding}"


def _requirements(registry: "Registry") -> Iterator[Finding]:
    """Say which components need a module that is not installed (`ComponentSpec.requires`)."""
    from genbench.registry import missing_modules

    users: dict[str, list[str]] = {}
    for spec in _components(registry):
        for module in missing_modules(spec):
            users.setdefault(module, []).append(spec.name)
    for module, names in sorted(users.items()):
        yield (
            "lacks",
            "components",
            f"{', '.join(names)}: needs the module {module!r}, which is not installed",
        )
    if not users:
        yield "ok", "components", "every module that they require is installed"


def _resources(registry: "Registry") -> Iterator[Finding]:
    """Say which components want a larger GPU, and which need weights (`ComponentSpec.resources`)."""
    here = gpu_memory_gib()
    hungry = [
        f"{spec.name} ({spec.resources.gpu_memory_gib:g} GiB)"
        for spec in _components(registry)
        if spec.resources.gpu_memory_gib > here
    ]
    if hungry:
        have = f"the largest here has {here:.0f} GiB" if here else "there is none here"
        yield "lacks", "GPU memory", f"preset `paper` expects a GPU, and {have}: {', '.join(hungry)}"
    fetching = ", ".join(spec.name for spec in _components(registry) if spec.resources.network)
    if fetching and os.environ.get("HF_HUB_OFFLINE") == "1":
        where = "HF_HUB_OFFLINE=1: what is in neither mirror nor cache cannot be fetched"
        yield "lacks", "network", f"{where}; needed by {fetching}"


def _components(registry: "Registry") -> Iterator["ComponentSpec"]:
    for kind in KINDS:
        yield from registry.specs(kind)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
