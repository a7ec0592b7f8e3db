"""Test images that have near copies among a row's synthetic images (protocol rule 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.records import Record, unpack_bits
from genbench_leaderboard.crossed import ALPHA

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CopyJudgement:
    """What copies of test mean for a row.

    Attributes:
        checked: Whether every image set of the row was looked at.
        void: Why no verdict of the row can stand; empty where it can.
        flagged: Test images to leave out when comparing again: `bool [n]`; None where there are none.
    """

    checked: bool = True
    void: str = ""
    flagged: Mask | None = None


def judge_copies(records: Iterable[Record]) -> CopyJudgement:
    """Say what the records of a row's image sets tell of copies of test."""
    tables = [record.result.tables.get("test_copies") for record in records]
    found: list[Any] = [table for table in tables if table is not None]
    suspicious = any(table["p"] * len(found) < ALPHA for table in found)  # Bonferroni over the seeds
    if not suspicious or len({table["n"] for table in found}) > 1:
        return CopyJudgement()
    masks = [unpack_bits(table["copied_bits"], table["n"]) for table in found]
    flagged: Mask = np.array(masks, dtype=np.bool_).max(axis=0)
    return CopyJudgement(flagged=flagged)
