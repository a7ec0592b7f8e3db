"""The board for a notebook: its tables and sentences as HTML, with what is long folded away."""

from collections.abc import Iterable, Sequence

from genbench.escaping import html_text
from genbench_leaderboard.columns import Column
from genbench_leaderboard.headline import headline
from genbench_leaderboard.layout import Section, sections
from genbench_leaderboard.rows import Board
from genbench_leaderboard.sentences import failure_line, summary
from genbench_leaderboard.shown import shown
from genbench_leaderboard.terms import terms

_EMPTY = "No records of cells."


def render_html(board: Board) -> str:
    """Return the board as a fragment of HTML, without scripts or styles of its own."""
    board = shown(board)
    said = headline(board)
    blocks = [f"<p>{html_text(f'{said} {summary(board)}' if board.groups else _EMPTY)}</p>"]
    for part in sections(board):
        blocks += _section(part, said=said.startswith(part.headline))
        blocks += _folded("Failed", [failure_line(one) for one in part.failures])
    blocks += _folded("Failed besides", [failure_line(one) for one in board.failures])
    blocks += _folded("Notes on the records", board.notes)
    blocks += _folded("Terms", [f"{term.name}: {term.meaning}" for term in terms(board)])
    return "\n".join(blocks)


def _section(part: Section, *, said: bool) -> Iterable[str]:
    yield f"<h4>{html_text(part.title)}</h4>"
    yield f"<p>{html_text(part.intro if said else f'{part.headline} {part.intro}')}</p>"
    yield _table(part.table)
    notes = (*part.legend, *part.notes)
    if notes:
        yield f"<ul>{''.join(f'<li>{html_text(note)}</li>' for note in notes)}</ul>"
    for table in part.further:
        inner = f"{_table(table.columns)}<p>{html_text(table.legend)}</p>"
        yield f"<details><summary>{html_text(table.title)}</summary>{inner}</details>"
    yield from _folded("Provenance", [part.references, part.environment, *part.asides, *part.commands])


def _table(columns: Sequence[Column]) -> str:
    head = "".join(f"<th>{html_text(column.name)}</th>" for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    aligned = [f'<td style="text-align:{column.align}">' for column in columns]
    body = "".join(
        "<tr>"
        + "".join(f"{td}{html_text(cell)}</td>" for td, cell in zip(aligned, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    inner = "".join(f"<p>{html_text(line)}</p>" for line in lines)
    return [f"<details><summary>{html_text(title)}</summary>{inner}</details>"]
