"""Coverage-guided fuzzing of the record reader and the board, besides the campaign; needs atheris.

    pip install atheris                                      # Linux and macOS; in an environment of its own
    python tests/faults/fuzz_records.py CORPUS -runs=100000  # a folder for inputs that reach new code

Inputs are JSON. They are changed as records (`faults.hostile.mutated`) or as bytes, by turns, and get the
right digests before they are read, so that validation and the board are reached. `-help=1` explains
libFuzzer's other options. It ends at the first exception that is no refusal, and leaves the input in
`crash-...`.
"""

import json
import random
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does: `faults` is a package of tests/

with atheris.instrument_imports(include=["genbench", "genbench_leaderboard"]):
    from faults.hostile import assert_dead, honest, mutated, read, rendered, sealed

_BODIES = honest()
_GOOD = [record for record in (read(json.dumps(body)) for body in _BODIES) if record is not None]
_LARGEST = 100_000


def attempt(data: bytes) -> None:
    """Read one input as it is and with its digests, and render a board with it."""
    text = data.decode("utf-8", errors="replace")
    read(text)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(body, dict):
        record = read(sealed(body))
        if record is not None:
            assert_dead(rendered([*_GOOD, record]))


def change(data: bytes, most: int, seed: int) -> bytes:
    """Change a record as one; other inputs, and every third, as bytes."""
    rng = random.Random(seed)
    if seed % 3:
        try:
            changed = json.dumps(mutated(json.loads(data), _BODIES, rng)).encode()
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            changed = json.dumps(rng.choice(_BODIES)).encode()
        if len(changed) <= most:
            return changed
    mutated_bytes: bytes = atheris.Mutate(data, most)
    return mutated_bytes


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, body in enumerate(_BODIES):
            (folder / f"honest-{number}.json").write_text(json.dumps(body), encoding="utf-8")
    atheris.Setup([*sys.argv, f"-max_len={_LARGEST}"], attempt, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
