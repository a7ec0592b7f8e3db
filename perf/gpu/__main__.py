"""A lease of a GPU machine: `python perf/gpu prepare | slot | collect | rehearse`, as README.md says."""

import importlib
import sys

from _freight import CargoError

COMMANDS = ("prepare", "slot", "collect", "rehearse")


def main() -> int:
    """Run the command that was named."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        print(f"{__doc__}\nno command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        code: int = importlib.import_module(name).main(sys.argv[2:])
    except CargoError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
