"""What a room costs: `python perf/rooms.py` (about half a minute).

Opens rooms that do nothing, confined and not, and one that reads a file of 300 MiB, which is compared with
the same in this process. Target: a room opens, is looked at and ends in 0.35 s, beyond the server's start.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _timing import verdict

from genbench.rooms import Order, Rights, can_confine, merged, stay, usual_rights

ROOMS = 15
TARGET_SECONDS = 0.35


def nothing(payload: object, talk: object) -> None:
    """Do nothing, in a room."""


def read(payload: str, talk: object) -> dict[str, float]:
    """Read a file, in a room; return how long it took."""
    return {"seconds": read_seconds(Path(payload))}


def read_seconds(path: Path) -> float:
    """Return the time of reading a file in pieces of a mebibyte."""
    started = time.perf_counter()
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - started


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = Path(__file__).resolve().parent
        rights = merged(usual_rights(gpu=False, network=False), Rights(read=(here,), write=(folder,)))
        log = folder / "log.txt"

        def seconds(
            confined: bool, target: str = "rooms:nothing", payload: object = None
        ) -> tuple[float, dict]:
            home = folder / "home"
            home.mkdir(exist_ok=True)
            held = rights if confined else None
            order = Order(target, payload, home, rights=held, network=not confined)
            started = time.perf_counter()
            found = stay(order, log, lambda *_: None, lambda: False)
            return time.perf_counter() - started, dict(found.facts)

        started = time.perf_counter()
        seconds(confined=False)
        print(f"     server and first room: {time.perf_counter() - started:.2f} s")
        free, held = [], []
        for _ in range(ROOMS):  # in turn, so that what else the machine does falls on both
            free.append(seconds(confined=False)[0])
            if can_confine():
                held.append(seconds(confined=True)[0])
        large = folder / "large.bin"
        large.write_bytes(bytes(300 << 20))
        ratios = [
            seconds(bool(held), "rooms:read", str(large))[1]["seconds"] / read_seconds(large)
            for _ in range(5)
        ]
        print(f"     a room: {median(free):.3f} s; confined ({can_confine() or 'not here'}): ", end="")
        print(f"{median(held):.3f} s" if held else "-")
        reached = [
            verdict(
                "a room, opened and closed", median(held or free), TARGET_SECONDS, at_least=False, unit="s"
            ),
            verdict("reading 300 MiB in a room against outside", median(ratios), 1.15, at_least=False),
        ]
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
