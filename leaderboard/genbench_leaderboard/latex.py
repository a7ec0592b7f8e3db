r"""A board as LaTeX for a paper: a `booktabs` table for each group, its headline as the caption.

`\input{board.tex}` needs `\usepackage{booktabs}` and an engine or encoding that knows UTF-8. Every text of
the board passes through `latex_text`; signs that LaTeX has commands for are written as those afterwards.
"""

import re
from collections.abc import Sequence

from genbench.escaping import latex_text
from genbench_leaderboard.columns import NOTHING, Column
from genbench_leaderboard.fitting import fitted
from genbench_leaderboard.layout import Section, sections
from genbench_leaderboard.plain import NO_RECORDS
from genbench_leaderboard.rows import Board
from genbench_leaderboard.shown import shown
from genbench_leaderboard.terms import terms

_HEAD = "% Written by genbench leaderboard. Needs \\usepackage{booktabs}."
_PAGE = 800  # pixels, as `fitting` counts: some 90 characters of a column of text
_MINUS = re.compile(r"(?<![\w}\\])\{-\}(?=\d)")  # before a number, and not within a word
_TABLES = ("More than what is simpler?", "Shifts", "Gain per class")  # beside the main one
#: What the board writes itself and a font of 8 bits lacks.
_SIGNS = {
    "±": r"\ensuremath{\pm}",
    "Δ": r"\ensuremath{\Delta}",
    "²": r"\ensuremath{^{2}}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
}


def render_latex(board: Board) -> str:
    """Return the board as LaTeX: tables of all groups that compare something, and what their words mean."""
    board = shown(board)
    parts = [part for part in sections(board) if not part.is_alone]
    if not board.groups:
        return f"{_HEAD}\n{_text(NO_RECORDS)}\n"
    blocks = [_HEAD, *(block for part in parts for block in _section(part))]
    blocks += [_text(f"{part.title}: {part.headline}") for part in sections(board) if part.is_alone]
    blocks.append(_terms(board))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(part: Section) -> list[str]:
    notes = [_text(note) for note in (*part.legend, *part.notes)]
    found = _tables(part.table, part.title, f"{part.headline} {part.intro}")
    found.append(_items(notes))
    for further in part.further:
        if further.title in _TABLES:
            found += _tables(further.columns, part.title, f"{further.title} {further.legend}".strip())
    return found


def _tables(columns: Sequence[Column], title: str, caption: str) -> list[str]:
    return [_table(part, title, caption) for part in fitted(columns, _PAGE, wrapped=False)]


def _table(columns: Sequence[Column], title: str, caption: str) -> str:
    rows = [_row([column.name for column in columns])]
    body = [_row(cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    aligned = "".join("l" if column.align == "left" else "r" for column in columns)
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption[{{{_text(title)}}}]{{{_text(f'{title}. {caption}')}}}",
            rf"\begin{{tabular}}{{{aligned}}}",
            r"\toprule",
            *rows,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(r"\textendash{}" if cell == NOTHING else _text(cell) for cell in cells) + r" \\"


def _items(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "\n".join([r"\begin{itemize}", *(rf"\item {line}" for line in lines), r"\end{itemize}"])


def _terms(board: Board) -> str:
    return _items([_text(f"{term.name}: {term.meaning}") for term in terms(board)])


def _text(text: str) -> str:
    escaped = latex_text(text)
    for sign, command in _SIGNS.items():
        escaped = escaped.replace(sign, command)
    return _MINUS.sub(r"\\ensuremath{-}", escaped)
