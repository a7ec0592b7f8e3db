"""The board as text: Markdown for the web, plain text for the terminal, CSV and JSON for machines.

The same board gives the same bytes. Every table carries what its columns mean, the hardware and versions, and
the command that repeats it.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from genbench.escaping import markdown_block, markdown_text
from genbench_leaderboard.columns import NOTHING, Column
from genbench_leaderboard.export import render_csv, render_json
from genbench_leaderboard.further_tables import findings_table
from genbench_leaderboard.layout import Section, section
from genbench_leaderboard.rows import Board
from genbench_leaderboard.sentences import FINDINGS_LEGEND, failure_lines, summary
from genbench_leaderboard.shown import shown

__all__ = ["render_csv", "render_json", "render_markdown", "render_terminal"]

_EMPTY = "No records of cells: run a suite first (genbench run)."
_NARROWEST = 8
_SHOWN_FINDINGS = 10


def render_markdown(board: Board) -> str:
    """Return the board as GitHub Markdown."""
    board = shown(board)
    blocks = ["# Leaderboard", summary(board) if board.groups else _EMPTY]
    for group in board.groups:
        blocks += _markdown_section(section(group, board), failure_lines(group.failures))
    if board.findings:
        blocks += ["## Across the rows", _markdown_table(findings_table(board)), FINDINGS_LEGEND]
    blocks += _markdown_list("Failed besides", failure_lines(board.failures))
    blocks += _markdown_list("Notes on the records", board.notes)
    return "\n\n".join(block for block in blocks if block) + "\n"


def render_terminal(board: Board, width: int = 120) -> str:
    """Return the board as plain text, at most `width` characters wide where words allow it."""
    board = shown(board)
    blocks = [summary(board) if board.groups else _EMPTY]
    for group in board.groups:
        blocks += _terminal_section(section(group, board), failure_lines(group.failures), width)
    if board.findings:
        whole = findings_table(board)
        table = _terminal_table(findings_table(board, _SHOWN_FINDINGS), width)
        left_out = len(whole[0].cells) - _SHOWN_FINDINGS
        more = f" {left_out} more, with smaller values, are in the Markdown." if left_out > 0 else ""
        blocks.append(f"Across the rows\n{table}\n{FINDINGS_LEGEND}{more}")
    blocks += _terminal_list("Failed besides", failure_lines(board.failures), width)
    blocks += _terminal_list("Notes on the records", board.notes, width)
    return "\n\n".join(block for block in blocks if block) + "\n"


# --------------------------------------------------------------------------------------------- Markdown


def _markdown_section(part: Section, failures: Sequence[str]) -> list[str]:
    blocks = [f"## {markdown_text(part.title)}", markdown_text(part.intro), _markdown_table(part.table)]
    blocks += [markdown_text(text) for text in part.legend]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in part.notes)]
    blocks += _markdown_list("Failed", failures)
    for table in part.further:
        blocks += [f"### {table.title}", _markdown_table(table.columns), markdown_text(table.legend)]
    blocks.append(markdown_text(part.environment))
    if part.commands:
        commands = "\n".join(part.commands)
        blocks.append(f"Repeat with:\n\n{markdown_block(commands, 'sh')}")
    return blocks


def _markdown_table(columns: Sequence[Column]) -> str:
    if not columns or not columns[0].cells:
        return ""
    return tabulate(
        list(zip(*(map(_markdown_cell, column.cells) for column in columns), strict=True)),
        headers=[markdown_text(column.name) for column in columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=[column.align for column in columns],
    )


def _markdown_cell(text: str) -> str:
    return text if text == NOTHING else markdown_text(text)


def _markdown_list(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {markdown_text(line)}" for line in lines]
    return [f"### {title}", "\n".join(items)] if items else []


# --------------------------------------------------------------------------------------------- terminal


def _terminal_section(part: Section, failures: Sequence[str], width: int) -> list[str]:
    blocks = [f"{part.title}\n{'═' * len(part.title)}\n{_filled(part.intro, width)}"]
    blocks += [_terminal_table(part.table, width), "\n".join(_filled(text, width) for text in part.legend)]
    blocks += ["\n".join(_item(note, width) for note in part.notes)]
    blocks += _terminal_list("Failed", failures, width)
    for further in part.further:
        table = _terminal_table(further.columns, width)
        left_out = len(_used(further.columns)) - len(_narrowed(further.columns, width))
        more = f" {left_out} more columns are in the Markdown." if left_out else ""
        blocks += [f"{further.title}\n{table}\n{_filled(further.legend + more, width)}"]
    blocks.append(_filled(part.environment, width))
    if part.commands:
        blocks.append("Repeat with:\n" + "\n".join(f"  {command}" for command in part.commands))
    return blocks


def _terminal_table(columns: Sequence[Column], width: int) -> str:
    """Draw the columns in a rounded box, with nothing but space between them."""
    if not columns or not columns[0].cells:
        return ""
    kept = _narrowed(columns, width)
    lines = _wrapped(kept, width)
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


def _natural(column: Column) -> int:
    return max(len(text) for text in (column.name, *column.cells))


def _table_width(widths: Iterable[int]) -> int:
    return 2 + sum(width + 2 for width in widths)


def _narrowed(columns: Sequence[Column], width: int) -> list[Column]:
    """Leave out spare columns from the right until the table fits, and always an unused filter."""
    kept = _used(columns)
    widths = [_natural(column) for column in kept]
    for place in reversed(range(len(kept))):
        if kept[place].spare and _table_width(widths) > width:
            del kept[place], widths[place]
    return kept


def _used(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if not (column.name == "filter" and column.spare)]


def _wrapped(columns: Sequence[Column], width: int) -> list[list[str]]:
    """Return header and rows; the widest columns of words are wrapped until the table fits."""
    widths = [_natural(column) for column in columns]
    words = {place: column for place, column in enumerate(columns) if column.align == "left"}
    whole = {
        place: max(len(piece) for cell in (column.name, *column.cells) for piece in _pieces(cell))
        for place, column in words.items()
    }
    for least in (whole, dict.fromkeys(words, _NARROWEST)):  # words are cut only where nothing else helps
        while _table_width(widths) > width and any(widths[place] > least[place] for place in words):
            widest = max((place for place in words if widths[place] > least[place]), key=widths.__getitem__)
            widths[widest] -= 1
    lines = [[column.name for column in columns]]
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [_folded(cell, size) for cell, size in zip(row, widths, strict=True)]
        for depth in range(max(map(len, cells))):
            lines.append([cell[depth] if depth < len(cell) else "" for cell in cells])
    return lines


def _pieces(text: str) -> list[str]:
    """Split where a name may be wrapped: after a space, comma, colon or underscore."""
    return re.findall(r"[^\s,:_]*[\s,:_]?", text)[:-1] or [""]


def _folded(text: str, size: int) -> list[str]:
    """Fold a cell into lines of at most `size` characters."""
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > size:
            lines.append("")
        lines[-1] += piece
    return [
        line.rstrip()[at : at + size] for line in lines for at in range(0, max(len(line.rstrip()), 1), size)
    ]


def _filled(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _item(text: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent="· ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _terminal_list(title: str, lines: Iterable[str], width: int) -> list[str]:
    items = [_item(line, width) for line in lines]
    return [f"{title}\n" + "\n".join(items)] if items else []
