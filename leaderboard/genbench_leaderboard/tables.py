"""The board as text: Markdown for the web, plain text for the terminal, CSV and JSON for machines.

The same board gives the same bytes. Every table carries what its columns mean, the hardware and versions, and
the command that repeats it.
"""

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from genbench.escaping import markdown_block, markdown_text
from genbench_leaderboard.columns import NOTHING, Column
from genbench_leaderboard.export import render_csv, render_json
from genbench_leaderboard.further_tables import findings_table
from genbench_leaderboard.layout import Section, section
from genbench_leaderboard.plain import NO_RECORDS, render_terminal
from genbench_leaderboard.rows import Board
from genbench_leaderboard.sentences import FINDINGS_LEGEND, failure_lines, summary
from genbench_leaderboard.shown import shown

__all__ = ["render_csv", "render_json", "render_markdown", "render_terminal"]


def render_markdown(board: Board) -> str:
    """Return the board as GitHub Markdown."""
    board = shown(board)
    blocks = ["# Leaderboard", summary(board) if board.groups else NO_RECORDS]
    for group in board.groups:
        blocks += _markdown_section(section(group, board), failure_lines(group.failures))
    if board.findings:
        blocks += ["## Across the rows", _markdown_table(findings_table(board)), FINDINGS_LEGEND]
    blocks += _markdown_list("Failed besides", failure_lines(board.failures))
    blocks += _markdown_list("Notes on the records", board.notes)
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
