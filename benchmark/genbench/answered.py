"""What comparisons read of a record's tables: which images of a split were right, overall and by class.

A record that was read from its file has these in `Result.tables`; one from an index (`genbench.indexed`)
knows them without its file.
"""

import base64
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from genbench.counts import CopyTable


class ClassAnswers(NamedTuple):
    """Right predictions and images of one class."""

    name: str
    right: int
    images: int


class Answered(NamedTuple):
    """What `accuracy` says of a split.

    Attributes:
        images: Of the split; 0 where the table does not say.
        packed: One bit per image, 1 where the prediction is right, the first image in the highest bit; empty
            where the table does not say.
        classes: By class, where the table says.
    """

    images: int
    packed: bytes
    classes: tuple[ClassAnswers, ...] = ()


class KnownTables(Mapping[str, Any]):
    """Tables that are in a file, of which is known what comparisons read."""

    __slots__ = ()

    @abstractmethod
    def answered(self, split: str) -> Answered | None:
        """Return what is known of a split; None where there is no such table."""

    @abstractmethod
    def copies(self) -> CopyTable:
        """Return the table of the check for copies, but for the pairs that it names.

        Raises:
            KeyError: There is none.
        """


def answered(table: Any) -> Answered | None:
    """Return what a table of `accuracy` says of a split; None where it is no table."""
    if not isinstance(table, Mapping):
        return None
    classes = (
        ClassAnswers(row["class"], int(row["correct"]), int(row["n"])) for row in table.get("per_class", ())
    )
    return Answered(int(table.get("n", 0)), base64.b64decode(table.get("correct_bits") or ""), tuple(classes))
