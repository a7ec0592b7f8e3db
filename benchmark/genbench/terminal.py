"""Tables and prose as wide as the terminal: from 60 columns up, and of one width where nobody looks."""

import os
import re
import sys
import textwrap
from collections.abc import Sequence

NARROWEST, WIDEST = 60, 160
PIPED = 120  #: where the output is no terminal, unless COLUMNS says otherwise
_NARROWEST_CELL = 8


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


def filled(text: str, indent: str = "", first: str | None = None) -> str:
    """Return a paragraph broken between words; a word that is too long stays whole.

    Args:
        text: The paragraph.
        indent: Before every line.
        first: Before the first line instead.
    """
    return textwrap.fill(
        text,
        width(),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def entry(indent: str, columns: Sequence[tuple[str, int]], text: str) -> str:
    """Return a line that begins with columns of fixed widths; its text is broken below itself.

    Where less than half of the line would be left for the text, it begins on a line of its own.
    """
    head = indent + "".join(f"{cell:{size}}  " for cell, size in columns)
    if len(head) <= width() // 2:
        return filled(text, " " * len(head), head) if text else head.rstrip()
    short = indent + "  ".join(cell for cell, _ in columns if cell)
    return short + (f"\n{filled(text, indent + '    ')}" if text else "")


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table with a rule below its header; columns of words are folded where it is too wide.

    Args:
        header: Names of the columns.
        rows: As many cells each.
        right: Places of the columns that are aligned to the right, and never folded.
    """
    if not rows:
        return "  ".join(header)
    widths = [max(len(line[place]) for line in (header, *rows)) for place in range(len(header))]
    words = [place for place in range(len(header)) if place not in right]
    while sum(widths) + 2 * (len(widths) - 1) > width():
        widest = max(words, key=lambda place: widths[place])
        if widths[widest] <= _NARROWEST_CELL:
            break
        widths[widest] -= 1
    lines = [_line(header, widths, right), ["  ".join("-" * size for size in widths)]]
    lines += [_line(row, widths, right) for row in rows]
    return "\n".join(text for line in lines for text in line)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    parts = [_folded(cell, size) for cell, size in zip(cells, widths, strict=True)]
    return [
        "  ".join(
            f"{part[depth] if depth < len(part) else '':{'>' if place in right else '<'}{size}}"
            for place, (part, size) in enumerate(zip(parts, widths, strict=True))
        ).rstrip()
        for depth in range(max(map(len, parts)))
    ]


def _folded(text: str, size: int) -> list[str]:
    """Fold a cell after spaces and the signs in names; elsewhere only where nothing else helps."""
    lines = [""]
    for piece in re.findall(r"[^\s,:/+_-]*[\s,:/+_-]?", text)[:-1] or [""]:
        if lines[-1] and len((lines[-1] + piece).rstrip()) > size:
            lines.append("")
        lines[-1] += piece
    lines = [line.rstrip() for line in lines]
    return [line[at : at + size] for line in lines for at in range(0, max(len(line), 1), size)]
