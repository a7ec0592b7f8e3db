"""What tables are made of, whatever they are rendered as."""

from dataclasses import dataclass
from typing import Literal

NOTHING = "-"
UNKNOWN = "unknown"  #: a cost that nobody told
_ROUNDING = 1e-9  # a distance below it is one of a set to itself


@dataclass(frozen=True)
class Column:
    """A column of formatted cells.

    Attributes:
        spare: Dropped first on a narrow terminal: it is empty, or another table shows the same.
        is_reference: What it holds is there to be copied: a page may break it after a comma, and adds no
            character to it.
    """

    name: str
    cells: tuple[str, ...]
    align: Literal["left", "right"] = "right"
    spare: bool = False
    is_reference: bool = False


@dataclass(frozen=True)
class Table:
    """A further table of a group: what it shows, its columns, and what they mean."""

    title: str
    columns: tuple[Column, ...]
    legend: str


@dataclass(frozen=True)
class Across:
    """A table over several groups, a section of its own.

    Attributes:
        title: Of the section.
        sentence: What the table says.
        columns: The table.
        result: In a few words, for contents.
    """

    title: str
    sentence: str
    columns: tuple[Column, ...]
    result: str


def number(value: float) -> str:
    """Write a distance with three significant digits, more before the point.

    >>> number(1234.5), number(14.0), number(0.012345), number(-0.00000123), number(2e-12)
    ('1234', '14.0', '0.0123', '-1.23e-06', '0')
    """
    if abs(value) < _ROUNDING:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
