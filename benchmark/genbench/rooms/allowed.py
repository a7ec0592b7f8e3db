"""What every room may touch: the code that it runs, the system's libraries, and a few devices."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from genbench.rooms.landlock import Rights

_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/proc"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/fonts", "/etc/alternatives"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates"),
)
_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/run/systemd",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_GPU_DEVICES = ("nvidia*", "nvidia-caps", "dri", "kfd")  # as the drivers' manuals name them


def usual_rights(*, gpu: bool, network: bool, protected: Iterable[Path] = ()) -> Rights:
    """Return the rights without which nothing runs.

    Args:
        gpu: Whether GPUs may be used.
        network: Whether names of hosts may be looked up.
        protected: Folders that stay out of reach even where code lies around them.
    """
    guarded = [path.resolve() for path in protected]
    names = (*_SYSTEM, *(_NETWORK if network else ()))
    folders = list(dict.fromkeys([*_code_folders(), *map(Path, names)]))
    devices = [Path(name) for name in _DEVICES]
    if gpu:
        devices += [path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)]
    split = [folder for folder in folders if any(path.is_relative_to(folder) for path in guarded)]
    return Rights(
        read=tuple(dict.fromkeys(path for folder in folders for path in _around(folder, guarded))),
        write=(Path("/dev/shm"),),
        listed=tuple(split),  # or Python would find no module in them
        devices=tuple(devices),
    )


def merged(*many: Rights) -> Rights:
    """Return all rights together."""
    return Rights(*(sum((getattr(one, name) for one in many), ()) for name in Rights.__dataclass_fields__))


def _code_folders() -> Iterator[Path]:
    """Yield where Python looks for code: the installation, the environment, and what was added to them.

    Not the working folder: people's data lie there. What a plugin has there is named by the plugin.
    """
    for name in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path):
        path = Path(name)
        if name and path.exists() and path.resolve() != Path.cwd():
            yield path.resolve()


def _around(folder: Path, guarded: list[Path]) -> Iterator[Path]:
    """Yield a folder; where something guarded lies in it, everything else in it instead.

    Landlock can only allow: a store inside a folder of code would be allowed with it.
    """
    inside = [path for path in guarded if path.is_relative_to(folder)]
    if not inside:
        yield folder
    elif folder not in inside:
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            path = Path(entry.path)
            if not path.is_symlink():  # what it leads to is allowed, or not, by itself
                yield from _around(path, guarded)
