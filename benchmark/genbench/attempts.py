"""Attempts at a step: the newest one has the step's scratch folder, an older one that wakes up has lost it.

    in <root>/work:
      <key>/                    what the last attempt left
      <key>.<lease>-<number>/   the same, while an attempt is at it

A worker may be cut off (a network that is down, a machine that is suspended) and go on later, when somebody
else has its step. An attempt is known by the lease under which its run handed it out and by its number under
that lease. It takes the folder by renaming it, which one alone can do: what an older attempt writes then goes
to a place that is no longer there. It asks whether it is still the newest before each checkpoint and before
its result is stored. Results need no more: equal keys mean equal content, and the first one stays.

Not prevented: writing to a file of the scratch folder that was opened before the folder was taken.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genbench.disk import make_folder, writing_store
from genbench.errors import StoreError, SupersededError
from genbench.holders import Keeper

_TRIES = 100  # at taking a folder that others take, too


@dataclass(frozen=True)
class Attempt:
    """One attempt at a step.

    Attributes:
        root: The store's folder.
        leases: The store's leases.
        key: Of the step.
        lease: Token of the lease under which it was handed out.
        number: Which attempt under that lease.
    """

    root: Path
    leases: Keeper
    key: str
    lease: str
    number: int = 1

    @property
    def folder(self) -> Path:
        """Where it may write."""
        return self.root / "work" / f"{self.key}.{self.lease}-{self.number}"

    def begin(self) -> Path:
        """Take the scratch folder, with all that earlier attempts left; again: where it is.

        Raises:
            SupersededError: A newer attempt has taken the step over.
        """
        self.check_newest()
        with writing_store(self.root):
            make_folder(self._idle.parent)
            for _ in range(_TRIES):
                places = [place for place in self._places() if place != self.folder]
                if self.folder.is_dir():
                    break
                if not places:
                    self.folder.mkdir(exist_ok=True)
                    break
                with contextlib.suppress(FileNotFoundError):  # somebody was faster: look again
                    max(places, key=self._rank).rename(self.folder)
        self.check_newest()  # one that began meanwhile would not have seen us
        return self.folder

    def check(self) -> None:
        """See whether this is still the newest attempt, once it has begun.

        Raises:
            SupersededError: It is not.
        """
        self.check_newest()
        if not self.folder.is_dir():
            raise SupersededError("another attempt has taken this step over")

    def check_newest(self) -> None:
        """See whether a newer attempt has begun, whether or not this one has.

        Raises:
            SupersededError: One has.
        """
        with contextlib.suppress(StoreError):  # a store that does not answer says nothing against us
            holder = self.leases.holder(self.key)
            if holder is not None and holder.token != self.lease:
                raise SupersededError(f"{holder.label} has taken this step over")
        for place in self._places():
            lease, number = _attempt_of(place)
            if lease == self.lease and number > self.number:
                raise SupersededError(f"attempt {number} has taken this step over from attempt {self.number}")

    def check_files(self) -> None:
        """See whether an error may come from files that were taken away.

        Raises:
            SupersededError: The folder is another attempt's by now, whoever has the lease.
        """
        self.check_newest()
        others = (place for place in self._places() if place not in {self.folder, self._idle})
        if not self.folder.is_dir() and any(others):
            raise SupersededError("another attempt has taken this step's files")

    def give_back(self) -> None:
        """Leave the folder to whoever comes next, unless somebody has it already."""
        with contextlib.suppress(OSError):
            if self.folder.is_dir() and self._idle.exists():
                shutil.rmtree(self._idle)
            self.folder.rename(self._idle)

    def remove(self) -> None:
        """Remove the folder: the step is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _idle(self) -> Path:
        return self.root / "work" / self.key

    def _places(self) -> Iterator[Path]:
        """Yield the folders of all attempts, and what the last one left."""
        yield from (place for place in (self._idle,) if place.is_dir())
        yield from self._idle.parent.glob(f"{self.key}.*")

    def _rank(self, place: Path) -> tuple[int, int]:
        """Order folders: of our lease, that of the latest attempt; of others, the one that changed last."""
        lease, number = _attempt_of(place)
        with contextlib.suppress(OSError):
            return number if lease == self.lease else 0, place.stat().st_mtime_ns
        return 0, 0


def key_of(place: Path) -> str:
    """Return the key of the step whose scratch folder this is."""
    return place.name.partition(".")[0]


def _attempt_of(place: Path) -> tuple[str, int]:
    """Return lease and number of the attempt that has a folder."""
    lease, _, number = place.name.partition(".")[2].rpartition("-")
    return lease, int(number) if number.isdecimal() else 0
