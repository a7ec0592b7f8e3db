"""Tables and prose as wide as the terminal: from 60 columns up, and of one width where nobody looks."""

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from functools import cache

NARROWEST, WIDEST = 60, 160
PIPED = 120  #: where the output is no terminal, unless COLUMNS says otherwise
_BREAKS = ",:/+_-"  # signs that names are made of


def width() -> int:
    """Return how many columns to fill: `COLUMNS`, else those of the terminal, else 120."""
    named = os.environ.get("COLUMNS", "")
    columns = int(named) if named.isdecimal() and named.isascii() else 0
    if not columns:
        try:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else PIPED
        except (OSError, ValueError, AttributeError):  # closed, or replaced by something that is no file
            columns = PIPED
    return max(NARROWEST, min(columns or PIPED, WIDEST))


def count(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun.

    >>> count(1, "cell"), count(2_000, "cell")
    ('1 cell', '2,000 cells')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def filled(text: str, indent: str = "", first: str | None = None, columns: int | None = None) -> str:
    """Return a paragraph broken between words; a word that is too long stays whole.

    Args:
        text: The paragraph.
        indent: Before every line.
        first: Before the first line instead.
        columns: How many to fill; by default those of the terminal.
    """
    return textwrap.fill(
        text,
        width() if columns is None else columns,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def clipped(text: str, columns: int | None = None) -> str:
    """Return one line: what does not fit is cut, between words where one ends in its second half.

    >>> clipped("real images alone were better", columns=20)
    'real images alone …'

    Args:
        text: What is to be shown.
        columns: How many there are; by default those of the terminal.
    """
    most = width() if columns is None else columns
    line = " ".join(text.splitlines())
    if len(line) <= most:
        return line
    kept, last = line[: most - 2], line.rfind(" ", 0, most - 1)
    return f"{line[:last]} …" if last > most // 2 else f"{kept}…"


def as_wide(text: str) -> str:
    """Return text whose lines are broken where the terminal ends, each indented as it is."""
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines.append(filled(line.lstrip(), f"{indent}  ", indent) if len(line) > width() else line)
    return "\n".join(lines)


def entry(indent: str, columns: Sequence[tuple[str, int]], text: str) -> str:
    """Return a line that begins with columns of fixed widths; its text is broken below itself.

    Where less than half of the line would be left for the text, it begins on a line of its own.
    """
    head = indent + "".join(f"{cell:{size}}  " for cell, size in columns)
    if len(head) <= width() // 2:
        return filled(text, " " * len(head), head) if text else head.rstrip()
    short = indent + "  ".join(cell for cell, _ in columns if cell)
    return short + (f"\n{filled(text, indent + '    ')}" if text else "")


def plain_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> str:
    """Return a table with a rule below its header; columns of words are folded where it is too wide.

    No word is cut: a table that does not fit becomes a list, a row's first cell above the others.

    Args:
        header: Names of the columns.
        rows: As many cells each.
        right: Places of the columns that are aligned to the right, and never folded.
        whole: Places of others that are never folded: names that are copied.
    """
    if not rows:
        return "  ".join(header)
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [
        size
        if place in (*right, *whole)
        else max(len(piece.rstrip()) for cell in column for piece in pieces(cell))
        for place, (column, size) in enumerate(zip(columns, widths, strict=True))
    ]
    if not shrink(widths, least, width() - 2 * (len(widths) - 1)):
        return "\n".join(_stacked(header, row) for row in rows)
    lines = [_line(header, widths, right), ["  ".join("-" * size for size in widths)]]
    lines += [_line(row, widths, right) for row in rows]
    return "\n".join(text for line in lines for text in line)


def _stacked(header: Sequence[str], row: Sequence[str]) -> str:
    facts = "; ".join(f"{name}: {cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell)
    return f"{filled(row[0], '  ', '')}\n{filled(facts, '    ')}"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    parts = [folded(cell, size) for cell, size in zip(cells, widths, strict=True)]
    return [
        "  ".join(
            f"{part[depth] if depth < len(part) else '':{'>' if place in right else '<'}{size}}"
            for place, (part, size) in enumerate(zip(parts, widths, strict=True))
        ).rstrip()
        for depth in range(max(map(len, parts)))
    ]


def shrink(widths: list[int], least: Sequence[int], room: int) -> bool:
    """Narrow the widest columns, in place, until all fit into `room`; say whether they do.

    Args:
        widths: Of the columns.
        least: To which each may be narrowed.
        room: For all of them.
    """
    while sum(widths) > room:
        loose = [place for place in range(len(widths)) if widths[place] > least[place]]
        if not loose:
            return False
        widths[max(loose, key=widths.__getitem__)] -= 1
    return True


def folded(text: str, size: int, after: str = _BREAKS) -> list[str]:
    """Fold a cell into lines of at most `size` characters, after spaces and the signs in `after`."""
    if len(text) <= size:
        return [text.rstrip()]
    lines = [""]
    for piece in pieces(text, after):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > size:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def pieces(text: str, after: str = _BREAKS) -> list[str]:
    """Split where a cell may be folded: after a space, and each of the signs in `after`."""
    return _piece(after).findall(text)[:-1] or [""]


@cache
def _piece(after: str) -> re.Pattern[str]:
    signs = re.escape(after)
    return re.compile(rf"[^\s{signs}]*[\s{signs}]?")
