"""Where a store keeps what others see: what `genbench.store` needs of that place, and a plain folder as one.

A store works on a folder in any case: steps write there, and artifacts are opened there. For a folder, that
is all. For a bucket (`genbench.remote`), the folder is a cache: what is finished is published from it, what
is missing is brought into it. `Store` checks whatever it opens, wherever it came from.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from genbench.errors import StoreError
from genbench.holders import Keeper
from genbench.leases import Leases
from genbench.manifests import MANIFEST, DamagedError, Stamp, is_key, read_manifest

Manifest = Mapping[str, Any]


class Leftover(NamedTuple):
    """Something in a bucket that belongs to no artifact, and that nobody is at."""

    names: Sequence[str]
    size_bytes: int
    key: str = ""


class Backend(Protocol):
    """What a store needs of the place where artifacts are kept.

    All of it raises `StoreError` where the place cannot be read or written.
    """

    @property
    def address(self) -> str:
        """What `genbench.store.open_store` opens it by, in any process."""
        ...

    @property
    def leases(self) -> Keeper:
        """Who is at which step."""
        ...

    def has(self, key: str) -> bool:
        """Say whether there is something under this key."""
        ...

    def keys(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        ...

    def manifest(self, key: str) -> Manifest | None:
        """Return the manifest of an artifact without reading its files; None if missing or damaged."""
        ...

    def manifests(self) -> Iterator[tuple[str, Manifest | None]]:
        """Yield every key with its manifest, sorted; None where that is damaged."""
        ...

    def bring(self, key: str) -> Stamp | None:
        """Have the artifact of a key in the store's folder; None if there is none.

        The stamp is that of what was checked on its way, empty where nothing was.
        """
        ...

    def is_unsent(self, key: str) -> bool:
        """Say whether the store's folder has an artifact that was to be published, and was not."""
        ...

    def publish(self, key: str) -> str:
        """Let others see the artifact in the store's folder; return what a person should know of it.

        Where another one was published under this key meanwhile, that one counts, and is brought here.
        """
        ...

    def withdraw(self, key: str, *, as_damaged: bool = False) -> bool:
        """Take an artifact away from where others see it; the store's folder is not touched.

        False if it stays: somebody is at it, or it is whole, though it was called damaged.
        """
        ...

    def audit(self, key: str) -> bool:
        """Read all of an artifact where it is kept; False if that is the store's folder.

        Raises:
            DamagedError: It is not what its manifest says.
        """
        ...

    def listed(self) -> AbstractContextManager[None]:
        """Look once what is there, for the many questions that follow inside."""
        ...

    def bring_records(self) -> None:
        """Have all saved records in the store's folder."""
        ...

    def publish_record(self, path: Path) -> None:
        """Let others see a record that was saved in the store's folder."""
        ...

    def withdraw_record(self, path: Path) -> None:
        """Take a record away from where others see it."""
        ...

    def leftovers(self) -> Iterator[Leftover]:
        """Yield what crashes left where others see it."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove leftovers."""
        ...

    def check_writable(self) -> None:
        """Raise what would keep a run from publishing."""
        ...

    def remarks(self) -> Sequence[str]:
        """Return what whoever starts a run should know, in sentences."""
        ...


def folder_of(root: Path, key: str) -> Path:
    """Return where a store's folder has an artifact, if it has it."""
    return root / "artifacts" / key[:2] / key


@dataclass
class FolderBackend:
    """A folder: what is there is seen by all who have it."""

    root: Path
    leases: Keeper = field(init=False)

    def __post_init__(self) -> None:
        self.leases = Leases(self.root)

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self.root.absolute())

    def has(self, key: str) -> bool:
        """Say whether there is something under this key."""
        return (folder_of(self.root, key) / MANIFEST).is_file()

    def keys(self) -> Iterator[str]:
        """Yield the keys of all artifacts, sorted."""
        for manifest in sorted((self.root / "artifacts").glob(f"??/*/{MANIFEST}")):
            key = manifest.parent.name
            if is_key(key) and manifest.parent == folder_of(self.root, key):
                yield key

    def manifest(self, key: str) -> Manifest | None:
        """Return the manifest of an artifact without reading its files; None if missing or damaged."""
        with contextlib.suppress(DamagedError, StoreError):
            return read_manifest(folder_of(self.root, key), key)
        return None

    def manifests(self) -> Iterator[tuple[str, Manifest | None]]:
        """Yield every key with its manifest, sorted; None where that is damaged."""
        for key in self.keys():
            yield key, self.manifest(key)

    def bring(self, key: str) -> Stamp | None:
        """Say whether there is something under this key: whatever there is, is here."""
        return () if self.has(key) else None

    def is_unsent(self, key: str) -> bool:
        """Say no: what is here was published when it got its name."""
        return False

    def publish(self, key: str) -> str:
        """Do nothing, as above."""
        return ""

    def withdraw(self, key: str, *, as_damaged: bool = False) -> bool:
        """Do nothing: what is taken from the folder is taken from all."""
        return True

    def audit(self, key: str) -> bool:
        """Say that the store's own folder is to be read."""
        return False

    def listed(self) -> AbstractContextManager[None]:
        """Do nothing: each question is as quick."""
        return contextlib.nullcontext()

    def bring_records(self) -> None:
        """Do nothing: they are here."""

    def publish_record(self, path: Path) -> None:
        """Do nothing, as above."""

    def withdraw_record(self, path: Path) -> None:
        """Do nothing, as above."""

    def leftovers(self) -> Iterator[Leftover]:
        """Yield nothing: what is in the folder, `genbench.upkeep` finds."""
        return iter(())

    def remove(self, names: Sequence[str]) -> None:
        """Do nothing, as above."""

    def check_writable(self) -> None:
        """Do nothing: `genbench.preflight` looks at the disk of any store."""

    def remarks(self) -> Sequence[str]:
        """Return nothing."""
        return ()
