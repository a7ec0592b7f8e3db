"""Which content of an object a folder has, as processes before us noted it: a cache that may be lost."""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from genbench.remote.objects import Tag


@dataclass
class Tags:
    """Tags by name, a line for each in a file; the last one counts.

    Versions are left out: of buckets that keep them, and of Google's, an answer about one object names its
    version, a listing does not.
    """

    path: Path
    _known: dict[str, str] | None = field(default=None, repr=False)

    def has(self, name: str, tag: Tag) -> bool:
        """Say whether this is what the folder has."""
        return tag.e_tag != "" and self._read().get(name) == tag.e_tag

    def is_sent(self, name: str) -> bool:
        """Say whether the folder has what the bucket had once."""
        return bool(self._read().get(name))

    def note(self, name: str, tag: Tag | None) -> None:
        """Remember what the folder has, if that is known; a folder that cannot be written does without."""
        e_tag = tag.e_tag if tag is not None else ""
        if self._read().get(name) == e_tag:
            return
        self._read()[name] = e_tag
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, e_tag]) + "\n")

    def _read(self) -> dict[str, str]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError):
                for line in self.path.read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError, TypeError):
                        name, e_tag, *_ = json.loads(line)
                        self._known[str(name)] = str(e_tag)
        return self._known
