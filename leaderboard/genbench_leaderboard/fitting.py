"""Whether a table fits into a page of GitHub, and what becomes of one that does not.

A browser wraps words, so a column of words needs no more than its longest one; numbers with their
intervals stay in one line. A table that is too wide even so has a column for each row of the board, and is
continued in a second one.
"""

from collections.abc import Sequence
from dataclasses import replace

from genbench_leaderboard.columns import Column

PAGE = 900  #: pixels of the page
_CHARACTER, _PADDING = 8, 26  # pixels: of a sans-serif of 14 pixels, and of a cell


def natural_width(columns: Sequence[Column]) -> int:
    """Return the width of a table in pixels if nothing is wrapped."""
    return sum(map(_natural, columns))


def least_width(columns: Sequence[Column]) -> int:
    """Return the width of a table in pixels if words are wrapped, and numbers are not."""
    return sum(map(_least, columns))


def fitted(columns: Sequence[Column], page: int = PAGE, *, wrapped: bool = True) -> list[list[Column]]:
    """Return the tables that show the columns, each within the page: one, or several with the same beginning.

    Only spare columns are moved to a further table; one that is too wide alone has a table of its own.

    Args:
        columns: Of one table.
        page: Width in pixels.
        wrapped: Whether words are wrapped, as a browser does and LaTeX does not.
    """
    width = _least if wrapped else _natural
    if sum(map(width, columns)) <= page:
        return [list(columns)]
    kept = [column for column in columns if not column.spare]
    room, parts, used = page - sum(map(width, kept)), list[list[Column]](), 0
    for column in (column for column in columns if column.spare):
        if not parts or used + width(column) > room:
            parts.append([])
            used = 0
        parts[-1].append(column)
        used += width(column)
    return [[*kept, *part] for part in parts] or [kept]


def unbroken(columns: Sequence[Column], space: str, page: int = PAGE) -> list[Column]:
    """Return the columns with numbers that a browser will not wrap, where it would wrap something.

    Args:
        columns: Already escaped.
        space: What stands for a space that nothing is wrapped at.
        page: Width in pixels.
    """
    if natural_width(columns) <= page:
        return list(columns)
    return [
        replace(column, cells=tuple(cell.replace(" ±", f"{space}±") for cell in column.cells))
        if column.align == "right"
        else column
        for column in columns
    ]


def _natural(column: Column) -> int:
    return _pixels(max(map(len, (column.name, *column.cells))))


def _least(column: Column) -> int:
    words = max(map(len, column.name.split()), default=1)
    cells = (
        (len(word) for cell in column.cells for word in _words(column, cell))
        if column.align == "left"
        else map(len, column.cells)
    )
    return _pixels(max([words, *cells]))


def _words(column: Column, cell: str) -> list[str]:
    """Return what a page keeps in one line; it breaks references after commas."""
    return (cell.replace(",", ", ") if column.is_reference else cell).split()


def _pixels(characters: int) -> int:
    return _CHARACTER * characters + _PADDING
