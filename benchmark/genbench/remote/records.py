"""Saved records in a bucket: all of them are kept in the store's folder, too."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from genbench.disk import make_folder, write_atomically, writing_store
from genbench.remote.objects import Listed, Objects, RemoteError, Tag
from genbench.remote.tags import Tags

_NAME = re.compile(r"[\w][\w.+-]*\.json")
_AT_ONCE = 16


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

    def here(self) -> dict[str, Path]:
        """Return the records in the folder, by name."""
        found = (self.root / "records").glob("*.json")
        return {path.name: path for path in found if _NAME.fullmatch(path.name)}

    def there(self) -> dict[str, Listed]:
        """Return the records in the bucket, by name."""
        listed = ((one.name.removeprefix("records/"), one) for one in self.objects.list("records/"))
        return {name: one for name, one in listed if _NAME.fullmatch(name)}

    def bring(self) -> None:
        """Download what the folder lacks or has otherwise; upload what could not be sent before."""
        there, here = self.there(), self.here()
        wanted = [name for name, one in there.items() if name not in here or not self.tags.has(name, one.tag)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, tag in pool.map(lambda name: (name, self.bring_one(name)), wanted):
                self.tags.note(name, tag)
        unsent = [path for name, path in here.items() if name not in there and not self.tags.is_sent(name)]
        for path in sorted(unsent, key=lambda path: path.stat().st_mtime_ns):  # the newest one last
            self.publish(path)

    def publish(self, path: Path) -> None:
        """Upload a record; one that cannot be sent now is sent when records are next brought."""
        try:
            self.tags.note(path.name, self.objects.put(f"records/{path.name}", path.read_bytes()))
        except RemoteError:
            self.tags.note(path.name, None)

    def withdraw(self, path: Path) -> None:
        """Remove a record from the bucket."""
        self.objects.delete([f"records/{path.name}"])

    def bring_one(self, name: str, check: Callable[[bytes], None] | None = None) -> Tag | None:
        """Download a record; None if it was taken away since it was listed.

        Args:
            name: As in `there`.
            check: Is called with its content, and raises what is wrong with it before it is written.
        """
        found = self.objects.get(f"records/{name}")
        if found is None:
            return None
        if check is not None:
            check(found.content)
        path = self.root / "records" / name
        with writing_store(self.root):
            make_folder(path.parent)
            write_atomically(path, found.content)
            # Which record of an evaluation is the newest, the server's clock says: all see the same one.
            os.utime(path, (found.modified.timestamp(), found.modified.timestamp()))
        return found.tag
