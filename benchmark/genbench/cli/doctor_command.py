"""`genbench doctor`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from genbench.cli._devices import driver_gpus, torch_gpus, unusable
from genbench.cli._options import make_registry, make_store, plugin_options, store_option
from genbench.errors import DataError, ExitCode
from genbench.executors import cores


@click.command("doctor")
@store_option
@plugin_options
def command(store_folder: Path | None, plugin_files: tuple[str, ...], no_plugins: bool) -> None:
    """Say what is reachable: device, mirror, cache, plugins, versions; exit code 2 if something is wrong."""
    problems: list[str] = []
    checks = (_versions(), _device(), _store(store_folder), _hub(), _plugins(plugin_files, no_plugins))
    for check in checks:
        for state, title, finding in check:
            mark = click.style("ok ", fg="green") if state else click.style("BAD", fg="red")
            click.echo(f"{mark} {title:10} {finding}")
            if not state:
                problems.append(title)
    if problems:
        sys.exit(ExitCode.USAGE)


Finding = tuple[bool, str, str]


def _versions() -> Iterator[Finding]:
    from importlib import metadata

    from genbench import __version__

    found = [f"genbench {__version__}", f"python {sys.version.split()[0]}"]
    for name in ("torch", "torchvision", "diffusers", "timm", "datasets"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield False, "versions", f"{name} is not installed: pip install {name}"
    yield True, "versions", ", ".join(found)


def _device() -> Iterator[Finding]:
    gpus = torch_gpus()
    if gpus:
        yield True, "device", f"{gpus} CUDA device(s); `--device auto` uses cuda, with a worker for each"
        return
    if driver_gpus():
        yield False, "device", f"{unusable()}: install a torch that can, or use --device cpu"
    fast = _cpu_flags() & {"amx_bf16", "avx512_bf16"}
    note = (
        f"bf16 in hardware ({', '.join(sorted(fast))}): recipe.precision=bf16 is faster"
        if fast
        else "no bf16 hardware: keep fp32"
    )
    yield True, "device", f"cpu, {cores()} cores; {note}"


def _store(folder: Path | None) -> Iterator[Finding]:
    store = make_store(folder)
    nearest = next(path for path in (store.root, *store.root.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        yield False, "store", f"{store.root}: not writable; name another with --store DIR"
        return
    state = os.statvfs(nearest)
    yield True, "store", f"{store.root} ({state.f_bavail * state.f_frsize / 2**30:.0f} GiB free)"


def _hub() -> Iterator[Finding]:
    from genbench.hub import MIRROR_VARIABLE, mirror

    try:
        folder = mirror()
    except DataError as problem:
        yield False, "mirror", problem.message
        return
    if folder is None:
        yield (
            True,
            "mirror",
            f"none ({MIRROR_VARIABLE} is not set): Hub ids come from the local cache or the network",
        )
        return
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_dir())
    yield True, "mirror", f"{folder}: {', '.join(names) or 'empty'}"


def _plugins(files: tuple[str, ...], no_plugins: bool) -> Iterator[Finding]:
    for plugin in make_registry(files, no_plugins).plugins:
        fine = plugin.state in {"ok", "disabled"}
        yield (
            fine,
            "plugin",
            f"{plugin.name} ({plugin.origin}): {plugin.reason or f'{len(plugin.components)} components'}",
        )


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
