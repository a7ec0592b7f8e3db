"""Tables of the check for copies, made up: what tests of records and boards rest on."""

from collections.abc import Collection
from typing import Any

from genbench.chance import largest_share, poisson_tail
from genbench.counts import COPY_TESTS, pack_bits
from genbench.records import PluginCode

CODE = PluginCode("evaluator", "copies", 1, "genbench 0.1.0")  #: what a record of the check says of its code


def copy_table(test: int, copied: Collection[int] = (), **entries: Any) -> dict[str, Any]:
    """Return a table in which `copied` test images have a copy by the first test, and none by the others."""
    real, judged = 1000, 1000
    tests = []
    for number, (score, limit) in enumerate(COPY_TESTS):
        rows = copied if number == 0 else ()
        expected = judged * largest_share(0, real)
        tests.append({
            "score": score, "limit": limit, "real": 0, "expected": expected, "found": len(rows),
            "p": poisson_tail(len(rows), expected), "bits": pack_bits(row in rows for row in range(test)),
        })  # fmt: skip
    return {
        "version": 1, "grid": 32, "images": judged, "judged": judged, "real": real, "test": test,
        "tests": tests, "exact": {"val": 0, "test": 0, "reserve": 0}, "blank": 0,
        "duplicates": 0, "worst": [], **entries,
    }  # fmt: skip
