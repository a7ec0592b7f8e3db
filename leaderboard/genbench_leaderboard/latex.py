r"""A board as LaTeX for a paper: a `booktabs` table for each group, its headline as the caption.

`\input{board.tex}` needs `\usepackage{booktabs}` and an engine or encoding that knows UTF-8. Every text of
the board passes through `latex_text`; signs that LaTeX has commands for are written as those afterwards.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from genbench.escaping import latex_text
from genbench_leaderboard.columns import NOTHING, Column, Table
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
_NO_SLUG, _LONGEST_SLUG = re.compile(r"[^a-z0-9]+"), 60  # of a label
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
    """Return the board as LaTeX: tables of all groups that compare something, and what their words mean.

    Where none does, baselines alone are what somebody asked for.
    """
    board = shown(board)
    found = sections(board)
    parts = [part for part in found if not part.is_alone] or list(found)
    if not board.groups:
        return f"{_HEAD}\n{_text(NO_RECORDS)}\n"
    labels = Counter[str]()
    blocks = [_HEAD, *(block for part in parts for block in _section(part, labels))]
    blocks += [_text(f"{part.title}: {part.headline}") for part in found if part not in parts]
    blocks.append(_terms(board, parts))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(part: Section, labels: Counter[str]) -> list[str]:
    notes = [_text(note) for note in (*part.legend, *part.notes)]
    found = _tables(part.table, part.title, f"{part.headline} {part.intro}", _label(part.title, "", labels))
    found.append(_items(notes))
    for further in _further(part):
        caption = f"{further.title} {further.legend}".strip()
        found += _tables(further.columns, part.title, caption, _label(part.title, further.title, labels))
    return found


def _further(part: Section) -> list[Table]:
    return [table for table in part.further if table.title in _TABLES]


def _label(title: str, table: str, labels: Counter[str]) -> str:
    """Return a name to refer to that no other table has: `tab:cifar-10-resnet-32-shifts`.

    Args:
        title: Of the group.
        table: Of the table beside the main one; empty for that.
        labels: How often each was given; it is counted up.
    """
    words = [_NO_SLUG.sub("-", one.lower()).strip("-")[:_LONGEST_SLUG].strip("-") for one in (title, table)]
    label = "-".join(word for word in words if word) or "board"
    labels[label] += 1
    return f"tab:{label}" + (f".{labels[label]}" if labels[label] > 1 else "")


def _tables(columns: Sequence[Column], title: str, caption: str, label: str) -> list[str]:
    """Return the tables that show the columns; those that continue the first are `LABEL.part2` and so on."""
    parts = fitted(columns, _PAGE, wrapped=False)
    return [
        _table(part, title, caption, label if place == 1 else f"{label}.part{place}")
        for place, part in enumerate(parts, 1)
    ]


def _table(columns: Sequence[Column], title: str, caption: str, label: str) -> str:
    rows = [_row([column.name for column in columns])]
    body = [_row(cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    aligned = "".join("l" if column.align == "left" else "r" for column in columns)
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption[{{{_text(title)}}}]{{{_text(f'{title}. {caption}')}}}",
            rf"\label{{{label}}}",
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


def _terms(board: Board, parts: Sequence[Section]) -> str:
    """Explain the words of the tables that are here: no others, which the board has and this file lacks."""
    there = {table.title for part in parts for table in _further(part)}
    titles = {table.title for part in sections(board) for table in part.further}
    left_out = titles.union(_TABLES) - there
    found = terms(replace(board, findings=()))
    return _items([_text(f"{term.name}: {term.meaning}") for term in found if term.name not in left_out])


def _text(text: str) -> str:
    escaped = latex_text(text)
    for sign, command in _SIGNS.items():
        escaped = escaped.replace(sign, command)
    return _MINUS.sub(r"\\ensuremath{-}", escaped)
