"""The board as plain text for a terminal, as wide as that is: from 60 columns up.

A table that does not fit, though its spare columns are left out and words wrapped, becomes a list: what a row
says stands below its name. Nothing is cut in mid-word.
"""

import textwrap
from collections.abc import Iterable, Sequence

from genbench import terminal
from genbench_leaderboard.columns import NOTHING, Across, Column, Table
from genbench_leaderboard.further_tables import findings_table
from genbench_leaderboard.headline import headline
from genbench_leaderboard.layout import Section, sections
from genbench_leaderboard.predictors import predictors
from genbench_leaderboard.rows import Board
from genbench_leaderboard.sentences import failure_lines, summary
from genbench_leaderboard.shown import shown
from genbench_leaderboard.side_by_side import side_by_side
from genbench_leaderboard.terms import terms

NO_RECORDS = "No records of cells: run a suite first (genbench run)."
_SHOWN_FINDINGS = 10
_ELSEWHERE = ("Exact names",)  # which who reads this typed
_BREAKS = ",:_"  # signs after which a name may be wrapped


def render_terminal(board: Board, width: int | None = None, *, with_headline: bool = True) -> str:
    """Return the board as plain text.

    Args:
        board: What is shown.
        width: The most characters of a line; by default the terminal's.
        with_headline: Whether it begins with its headline; a run ends with it instead.
    """
    width = width or terminal.width()
    board = shown(board)
    said = headline(board)
    begin = [said * with_headline, summary(board)] if board.groups else [NO_RECORDS]
    blocks = [_filled(text, width) for text in begin]
    parts = sections(board)
    blocks += [_terminal_across(one, width) for one in side_by_side(board)]
    for part in parts:
        blocks += _terminal_section(part, width, said=said.startswith(part.headline))
    blocks += [_terminal_across(one, width) for one in predictors(board)]
    whole = findings_table(board)
    if whole:
        table = _terminal_table(findings_table(board, _SHOWN_FINDINGS), width)
        left_out = len(whole[0].cells) - _SHOWN_FINDINGS
        more = f"{left_out} more, with smaller values, are in the Markdown." if left_out > 0 else ""
        blocks.append(f"Across the rows\n{table}\n{_filled(more, width)}".rstrip())
    blocks += _terminal_list("Failed besides", failure_lines(board.failures), width)
    blocks += _terminal_list("Notes on the records", board.notes, width)
    blocks += _terminal_list("Terms", (f"{term.name}: {term.meaning}" for term in terms(board)), width)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _terminal_across(one: Across, width: int) -> str:
    table = _terminal_table(one.columns, width)
    return f"{_filled(one.title, width)}\n{_filled(one.sentence, width)}\n{table}"


def _terminal_section(part: Section, width: int, *, said: bool) -> list[str]:
    title = _filled(part.title, width)
    rule = "═" * max(map(len, title.splitlines()))
    found = "" if said else f"{_filled(part.headline, width)}\n"
    blocks = [f"{title}\n{rule}\n{found}{_filled(part.intro, width)}", _terminal_table(part.table, width)]
    blocks += ["\n".join(_item(note, width) for note in (*part.legend, *part.notes, *part.asides))]
    blocks += _terminal_list("Failed", failure_lines(part.failures), width)
    for further in part.further:
        if not part.is_alone and further.title not in _ELSEWHERE:
            blocks.append(_terminal_further(further, width))
    blocks.append(_filled(f"{part.references} {part.environment}", width))
    if part.commands:
        blocks.append("Repeat with:\n" + "\n".join(f"  {command}" for command in part.commands))
    return blocks


def _terminal_further(further: Table, width: int) -> str:
    left_out = len(further.columns) - len(_narrowed(further.columns, width))
    more = f" {left_out} more columns are in the Markdown." if left_out else ""
    table, legend = _terminal_table(further.columns, width), _filled(f"{further.legend}{more}".strip(), width)
    return "\n".join(part for part in (further.title, table, legend) if part)


def _terminal_table(columns: Sequence[Column], width: int) -> str:
    """Draw the columns in a rounded box, nothing but space between them; a list where they do not fit."""
    if not columns or not columns[0].cells:
        return ""
    kept = _narrowed(columns, width)
    lines = _wrapped(kept, width)
    if lines is None:
        return _as_list(kept, width)
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    drawn = [
        "  ".join(
            text.rjust(size) if column.align == "right" else text.ljust(size)
            for text, size, column in zip(line, widths, kept, strict=True)
        )
        for line in lines
    ]
    rule = "─" * (len(drawn[0]) + 2)
    header, *body = (f"│ {line} │" for line in drawn)
    return "\n".join([f"╭{rule}╮", header, f"├{rule}┤", *body, f"╰{rule}╯"])


def _as_list(columns: Sequence[Column], width: int) -> str:
    """Return every row as its name, the columns of words that it begins with, and a line for the others."""
    named = next((place for place, column in enumerate(columns) if column.align == "right"), 1) or 1
    blocks = []
    for row in zip(*(column.cells for column in columns), strict=True):
        facts = [
            f"{column.name}: {cell}"
            for column, cell in zip(columns[named:], row[named:], strict=True)
            if cell != NOTHING
        ]
        name = ", ".join(cell for cell in row[:named] if cell != NOTHING)
        # The space inside a fact does not part it from its name.
        told = _filled("; ".join(fact.replace(" ", "\u00a0") for fact in facts), width - 4)
        told = textwrap.indent(told.replace("\u00a0", " "), "    ")
        blocks.append(f"  {_filled(name, width - 2)}\n{told}")
    return "\n".join(blocks)


def _natural(column: Column) -> int:
    return max(len(text) for text in (column.name, *column.cells))


def _table_width(widths: Iterable[int]) -> int:
    return 2 + sum(width + 2 for width in widths)


def _narrowed(columns: Sequence[Column], width: int) -> list[Column]:
    """Leave out spare columns from the right until the table fits."""
    kept = list(columns)
    widths = [_natural(column) for column in kept]
    for place in reversed(range(len(kept))):
        if kept[place].spare and _table_width(widths) > width:
            del kept[place], widths[place]
    return kept


def _wrapped(columns: Sequence[Column], width: int) -> list[list[str]] | None:
    """Return header and rows, columns of words wrapped until the table fits; None if it does not."""
    widths = [_natural(column) for column in columns]
    least = [
        max(len(piece) for cell in (column.name, *column.cells) for piece in terminal.pieces(cell, _BREAKS))
        if column.align == "left"
        else size
        for column, size in zip(columns, widths, strict=True)
    ]
    if not terminal.shrink(widths, least, width - _table_width([0] * len(widths))):
        return None
    lines = [[column.name for column in columns]]
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [terminal.folded(cell, size, _BREAKS) for cell, size in zip(row, widths, strict=True)]
        for depth in range(max(map(len, cells))):
            lines.append([cell[depth] if depth < len(cell) else "" for cell in cells])
    return lines


def _filled(text: str, width: int) -> str:
    return terminal.filled(text, columns=width)


def _item(text: str, width: int) -> str:
    return terminal.filled(text, "  ", "· ", width)


def _terminal_list(title: str, lines: Iterable[str], width: int) -> list[str]:
    items = [_item(line, width) for line in lines]
    return [f"{title}\n" + "\n".join(items)] if items else []
