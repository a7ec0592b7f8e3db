"""Which content of an object a folder has, as processes before us noted it: a cache that may be lost."""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from genbench.remote.objects import Tag


@dataclass
class Tags:
    """Tags by name, a line for each in a file; the last one counts."""

    path: Path
    _known: dict[str, Tag] | None = field(default=None, repr=False)

    def of(self, name: str) -> Tag | None:
        """Return the tag of what the folder has; None if nobody noted one."""
        return self._read().get(name)

    def note(self, name: str, tag: Tag) -> None:
        """Remember what the folder has; a folder that cannot be written does without."""
        if self._read().get(name) == tag:
            return
        self._read()[name] = tag
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, *tag]) + "\n")

    def _read(self) -> dict[str, Tag]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError):
                for line in self.path.read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError, TypeError):
                        name, e_tag, version = json.loads(line)
                        self._known[str(name)] = Tag(str(e_tag), str(version))
        return self._known
