"""Tables of a replay, for a terminal and as Markdown."""

from dataclasses import dataclass

from genbench import terminal
from genbench.escaping import markdown_text


@dataclass(frozen=True)
class Table:
    """A table: a header, its rows, which columns are numbers, and which others are never folded."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()


def plain(table: Table) -> str:
    """Return a table for a terminal."""
    return terminal.plain_table(table.header, table.rows, table.right, table.whole)


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    rule = ["---:" if place in table.right else "---" for place in range(len(table.header))]
    lines = [table.header, rule, *table.rows]
    return "\n".join(
        f"| {' | '.join(cell if line is rule else markdown_text(cell) for cell in line)} |" for line in lines
    )
