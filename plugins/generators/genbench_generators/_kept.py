"""What came for one image and was paid for: kept before anybody looks at it."""

from itertools import count
from pathlib import Path
from typing import Literal

from genbench.disk import write_atomically

Kind = Literal["answer", "address", "refused"]
_KINDS: tuple[Kind, ...] = ("answer", "address", "refused")


class Kept:
    """The files of one image in the folder of answers.

    `NAME` is its picture. What has come and was not looked at yet is `NAME.answer-1`, or `NAME.address-1`
    where it must still be fetched; what cannot be used is `NAME.refused-1`. They are numbered in the order in
    which they were paid for, so that a run that resumes knows how often it may still ask.

    Args:
        folder: The folder of answers.
        name: Of the image.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    @property
    def picture(self) -> Path:
        """Where the picture is, if there is one."""
        return self._folder / self._name

    @property
    def refused(self) -> int:
        """How many answers were paid for and cannot be used."""
        return len(self._of("refused"))

    def waiting(self) -> list[Path]:
        """Return what nobody has looked at, or what is to be fetched."""
        return self._of("answer", "address")

    def keep(self, kind: Kind, content: bytes) -> None:
        """Write what came, so that it outlives this process and this machine's next power cut."""
        write_atomically(self._path(kind, len(self._of(*_KINDS)) + 1), content)

    def fetch(self, address: Path, content: bytes) -> Path:
        """Replace an address by what is there."""
        fetched = address.with_name(address.name.replace(".address-", ".answer-"))
        write_atomically(fetched, content)
        address.unlink()
        return fetched

    def accept(self, answer: Path) -> None:
        """Make an answer the picture."""
        answer.replace(self.picture)

    def refuse(self, answer: Path) -> None:
        """Set an answer aside."""
        answer.replace(answer.with_name(f"{self._name}.refused-{answer.name.rpartition('-')[2]}"))

    def _of(self, *kinds: Kind) -> list[Path]:
        """Return the files of some kinds; looking for each by name does not list a folder of many images."""
        found = list[Path]()
        for number in count(1):
            here = {kind: path for kind in _KINDS if (path := self._path(kind, number)).is_file()}
            if not here:
                break
            found += [path for kind, path in here.items() if kind in kinds]
        return found

    def _path(self, kind: Kind, number: int) -> Path:
        return self._folder / f"{self._name}.{kind}-{number}"
