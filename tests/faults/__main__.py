"""The long form of the campaign: `python tests/faults [FAMILY ...]`, exit code 1 if anything did not hold."""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate


def main() -> int:
    # As pytest does; with this folder itself in the path, `http` would hide Python's own.
    sys.path[0] = str(Path(__file__).parents[1])
    from faults.campaign import FAMILIES, attempted

    options = argparse.ArgumentParser(description="Try faults and attacks, and print what held.")
    options.add_argument("families", nargs="*", choices=[*FAMILIES, []], help="default: all")
    options.add_argument("--short", action="store_true", help="the trials that CI has")
    options.add_argument("--only", action="append", default=[], metavar="WORD", help="trials with this word")
    chosen = options.parse_args()
    rows, harmed = [], []
    for family in chosen.families or FAMILIES:
        tally = attempted(family, "short" if chosen.short else "long", chosen.only)
        worst = tally.worst[0][:70] if tally.worst else "none"
        rows.append([family, tally.tried, tally.held, f"{tally.seconds:.0f}", worst])
        harmed += [f"{family}: {line}" for line in tally.worst]
        print(tabulate([rows[-1]], tablefmt="plain"), file=sys.stderr, flush=True)
    print(tabulate(rows, headers=["family", "trials", "held", "seconds", "worst case"], tablefmt="github"))
    for line in harmed:
        print(line, file=sys.stderr)
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
