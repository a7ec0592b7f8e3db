"""What was paid to a service, in a file that outlives the process."""

import json
import math
import os
import threading
from pathlib import Path

from genbench.errors import GenbenchError


class Ledger:
    """What was paid; shared by threads.

    A request is entered before it is sent, and struck out by an entry of its own where it turns out to have
    cost nothing. So a process that is killed at any moment has entered what it may have been billed for, and
    the cap holds over all attempts. An answer counts when it came, whatever it holds; so does a request that
    timed out.

    Args:
        file: JSON lines; their `usd` add up to what was paid.
        price_usd: Price of one answer.
        cap_usd: What may be spent.
    """

    def __init__(self, file: Path, price_usd: float, cap_usd: float) -> None:
        self._file, self._price, self._cap = file, price_usd, cap_usd
        self._lock = threading.Lock()
        content = file.read_bytes() if file.is_file() else b""
        self._entries = [self._entry(line) for line in content.splitlines() if line.strip()]
        if content and not content.endswith(b"\n"):  # a kill left half of an entry
            self._append(b"\n")

    @property
    def spent_usd(self) -> float:
        """What was paid so far, in this run and in those before it, with what is under way."""
        return math.fsum(self._entries)

    def reserve(self) -> None:
        """Enter one price.

        Raises:
            GenbenchError: The cap does not allow it.
        """
        with self._lock:
            if self.spent_usd + self._price > self._cap * (1 + 1e-9):
                images = len(self._entries) - 2 * sum(usd < 0 for usd in self._entries)
                raise GenbenchError(
                    f"image_variations: max_spend_usd is {self._cap:.4g}; {self.spent_usd:.4g} USD are spent "
                    f"on {images} images, with those under way; the next costs {self._price:.4g}",
                    hint="raise max_spend_usd and run the same command again: what was paid for is kept",
                )
            self._enter(self._price)

    def give_back(self) -> None:
        """Strike one price out: the request cost nothing."""
        with self._lock:
            self._enter(-self._price)

    def _enter(self, usd: float) -> None:
        self._append(json.dumps({"usd": usd}).encode() + b"\n")
        self._entries.append(usd)

    def _append(self, line: bytes) -> None:
        with self._file.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _entry(self, line: bytes) -> float:
        """Return what an entry says; one that cannot be read counts as a price, as it may have been paid."""
        try:
            usd = json.loads(line)["usd"]
            return float(usd) if isinstance(usd, int | float) and math.isfinite(usd) else self._price
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._price
