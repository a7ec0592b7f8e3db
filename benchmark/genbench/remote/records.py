"""Saved records in a bucket: all of them are kept in the store's folder, too."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from genbench.disk import make_folder, write_atomically, writing_store
from genbench.remote.objects import Listed, Objects, RemoteError, Tag
from genbench.remote.tags import Tags

_NAME = re.compile(r"[\w][\w.+-]*\.json")
_AT_ONCE = 16
_UNSENT = Tag("")


@dataclass
class Records:
    """The records of a bucket, and those in a folder.

    Args:
        root: The store's folder.
        objects: The bucket.
    """

    root: Path
    objects: Objects
    tags: Tags = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.tags = Tags(self.root / "published-records.jsonl")

    def bring(self) -> None:
        """Download what the folder lacks or has otherwise; upload what could not be sent before."""
        there = {
            name: one
            for one in self.objects.list("records/")
            if _NAME.fullmatch(name := one.name.removeprefix("records/"))
        }
        folder = self.root / "records"
        here = {path.name for path in folder.glob("*.json")} if folder.is_dir() else set()
        wanted = [one for name, one in there.items() if name not in here or self.tags.of(name) != one.tag]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, tag in pool.map(self._brought, wanted):
                self.tags.note(name, tag)
        for name in sorted(here - there.keys()):
            if self.tags.of(name) in {None, _UNSENT}:
                self.publish(folder / name)

    def publish(self, path: Path) -> None:
        """Upload a record; one that cannot be sent now is sent when records are next brought."""
        try:
            self.tags.note(path.name, self.objects.put(f"records/{path.name}", path.read_bytes()))
        except RemoteError:
            self.tags.note(path.name, _UNSENT)

    def withdraw(self, path: Path) -> None:
        """Remove a record from the bucket."""
        self.objects.delete([f"records/{path.name}"])

    def _brought(self, one: Listed) -> tuple[str, Tag]:
        name = one.name.removeprefix("records/")
        found = self.objects.get(one.name)
        if found is None:  # taken away since it was listed
            return name, Tag("")
        path = self.root / "records" / name
        with writing_store(self.root):
            make_folder(path.parent)
            write_atomically(path, found.content)
            # Which record of an evaluation is the newest, the server's clock says: all see the same one.
            os.utime(path, (found.modified.timestamp(), found.modified.timestamp()))
        return name, found.tag
