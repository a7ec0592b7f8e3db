"""Test images that have near copies among a row's synthetic images (protocol rule 5)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.records import Record, unpack_bits
from genbench_leaderboard.statistics import ALPHA

Mask = npt.NDArray[np.bool_]


def copied_test_images(records: Iterable[Record]) -> Mask | None:
    """Return which test images are copied, of any seed: `bool [n]`; None where chance explains as many.

    Args:
        records: Records of the row's image sets; those of `memorization` say what is copied, and how
            likely that is.
    """
    tables = [record.result.tables.get("test_copies") for record in records]
    found: list[Any] = [table for table in tables if table is not None]
    suspicious = any(table["p"] * len(found) < ALPHA for table in found)  # Bonferroni over the seeds
    if not suspicious or len({table["n"] for table in found}) > 1:
        return None
    masks = [unpack_bits(table["copied_bits"], table["n"]) for table in found]
    flagged: Mask = np.array(masks, dtype=np.bool_).max(axis=0)
    return flagged
