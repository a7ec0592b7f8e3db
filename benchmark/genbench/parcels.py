"""Plugins on their way to another machine: files travel, by digest; what is installed must be the same there.

A single-file plugin is part of the parcel. Where the very file is there already, it is used; elsewhere it is
unpacked into the user's cache, `genbench/plugins/<sha256>/<name>`, and checked. Installed plugins, and
genbench itself, cannot travel: name, version and code are compared, and what differs is said.
"""

import importlib.metadata
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from genbench.digest import file_digest
from genbench.disk import write_atomically
from genbench.errors import PluginError
from genbench.registry import OWN_DISTRIBUTION, Plugin, PluginSource, Registry, package_digest


@dataclass(frozen=True)
class PluginFile:
    """A single-file plugin.

    Attributes:
        path: Where it was.
        sha256: Of its content.
        content: What is in it.
    """

    path: str
    sha256: str
    content: bytes


class Installed(NamedTuple):
    """A package that a plugin's code is in.

    Attributes:
        distribution: What installed it.
        version: Of that.
        package: Name of the package.
        sha256: Digest of all of its files.
    """

    distribution: str
    version: str
    package: str
    sha256: str


class Opened(NamedTuple):
    """What a parcel held.

    Attributes:
        source: The same plugins, where they are here.
        moved: Where files are that are elsewhere here, by where they were.
    """

    source: PluginSource
    moved: Mapping[str, str]


@dataclass(frozen=True)
class Parcel:
    """The plugins of a run, as workers are handed them.

    Attributes:
        source: Which they are, where the run was started.
        files: Those that are single files.
        installed: The packages of all others.
        home: Host and Python of where it was packed: what is installed is the same there.
    """

    source: PluginSource
    files: tuple[PluginFile, ...] = ()
    installed: tuple[Installed, ...] = ()
    home: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, registry: Registry) -> "Parcel":
        """Pack the plugins of a registry."""
        plugins = [one for one in registry.plugins if one.state == "ok"]
        packages = {found.package: found for plugin in plugins for found in _installed(plugin)}
        files = tuple(_packed(path) for path in registry.source.files if Path(path).is_file())
        return cls(registry.source, files, tuple(packages.values()), _home())

    def opened(self) -> Opened:
        """Unpack files, and compare what is installed; called in a worker, before a plugin is loaded.

        Raises:
            PluginError: Something else is installed here.
        """
        if self.home != _home():
            different = [text for one in self.installed for text in _differences(one)]
            if different:
                raise PluginError(
                    f"{socket.gethostname()} has other code than {self.home[0]}, where the run was started: "
                    + "; ".join(different),
                    hint="install the same versions on all nodes, or put their environment on a shared disk",
                )
        moved = {file.path: str(_place(file)) for file in self.files}
        here = tuple(moved.get(path, path) for path in self.source.files)
        left_home = {old: new for old, new in moved.items() if old != new}
        return Opened(replace(self.source, files=here), left_home)


def _packed(path: str) -> PluginFile:
    content = Path(path).read_bytes()
    return PluginFile(path, sha256(content).hexdigest(), content)


def _installed(plugin: Plugin) -> Iterator[Installed]:
    """Yield the package of a plugin that a distribution brought."""
    if plugin.is_installed:
        package = plugin.module.partition(".")[0]
        distribution, _, version = plugin.origin.rpartition(" ")
        yield Installed(distribution, version, package, package_digest(package))


def _differences(wanted: Installed) -> Iterator[str]:
    """Say what is different of a package here."""
    try:
        version = importlib.metadata.version(wanted.distribution)
    except importlib.metadata.PackageNotFoundError:
        yield f"{wanted.distribution} {wanted.version} is not installed"
        return
    if version != wanted.version:
        yield f"{wanted.distribution} is {version}, not {wanted.version}"
    elif package_digest(wanted.package) != wanted.sha256:
        own = " (a checkout?)" if wanted.distribution == OWN_DISTRIBUTION else ""
        yield f"{wanted.distribution} {version} has other files in {wanted.package}{own}"


def _place(file: PluginFile) -> Path:
    """Return where the content of a file is here; it is written into the cache where it is nowhere."""
    before, name = Path(file.path), Path(file.path).name
    if _holds(before, file.sha256):
        return before
    place = _cache() / file.sha256 / name
    if not _holds(place, file.sha256):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, file.content)
    return place


def _holds(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _cache() -> Path:
    """Return the folder of unpacked plugins: in the user's cache, or a temporary one where there is none."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "genbench" / "plugins"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        folder = Path(tempfile.mkdtemp(prefix="genbench-plugins-"))
    return folder


def _home() -> tuple[str, str]:
    return socket.gethostname(), sys.prefix
