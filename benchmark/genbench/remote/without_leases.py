"""What stands for leases where there can be none."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from genbench.holders import Holder


class WithoutLeases:
    """Stands for the leases of a server that makes no write conditional: every step is free for everybody.

    Two runs may do the same work; the results are the same.
    """

    def acquire(self, key: str) -> bool:
        """Take a lease: always possible."""
        return True

    def release(self, key: str) -> None:
        """Give nothing back."""

    def holds(self, key: str) -> bool:
        """Say that nobody can tell."""
        return False

    def take_lost(self) -> Sequence[str]:
        """Return nothing: what nobody holds cannot be lost."""
        return []

    def beating(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def holder(self, key: str) -> Holder | None:
        """Return nobody."""
        return None

    def all(self) -> dict[str, Holder | None]:
        """Return nothing."""
        return {}

    def settle(self) -> None:
        """Wait for nobody."""

    def needing(self, keys: Iterable[str]) -> contextlib.AbstractContextManager[None]:
        """Mark nothing."""
        return contextlib.nullcontext()

    def needed(self) -> dict[str, Holder]:
        """Return nothing: nobody can tell."""
        return {}

    def exclusively(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing: no server keeps others out of more than one object."""
        return contextlib.nullcontext()

    def leftovers(self) -> Sequence[Path]:
        """Return nothing: no files are left where there are none."""
        return ()
