"""A board as Markdown, as GitHub shows it: within 900 pixels, long lines folded, terms explained once.

Every text is escaped by `genbench.escaping`. The tags of folded parts, and the links of the list of contents,
are ours and the only ones.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from tabulate import tabulate

from genbench.escaping import markdown_block, markdown_link, markdown_text
from genbench_leaderboard.columns import NOTHING, Across, Column, Table
from genbench_leaderboard.export import render_csv, render_json
from genbench_leaderboard.fitting import fitted, unbroken
from genbench_leaderboard.further_tables import findings_table
from genbench_leaderboard.headline import headline
from genbench_leaderboard.latex import render_latex
from genbench_leaderboard.layout import Section, sections
from genbench_leaderboard.plain import NO_RECORDS, render_terminal
from genbench_leaderboard.predictors import predictors
from genbench_leaderboard.rows import Board
from genbench_leaderboard.sentences import failure_lines, summary
from genbench_leaderboard.shown import shown
from genbench_leaderboard.side_by_side import side_by_side
from genbench_leaderboard.terms import terms

__all__ = ["render_csv", "render_json", "render_latex", "render_markdown", "render_terminal"]

_OPEN = ("More than what is simpler?",)  # further tables that are not folded
_TERMS, _HOW = "Terms", "How it was measured, and how to repeat it"
_ACROSS = "Across the rows"
_UNBROKEN = "&nbsp;"
_MAY_BREAK = "<wbr>"  # leaves no character in what is copied


def render_markdown(board: Board, pictures: Mapping[str, str] | None = None, *, is_own: bool = True) -> str:
    """Return the board as GitHub Markdown.

    Args:
        board: What is shown.
        pictures: Path of a strip of synthetic images, as seen from the page, by `Row.images_id`.
        is_own: Whether it is read by who made the records: nobody else could have verified them yet.
    """
    board = shown(board)
    told, across = predictors(board), findings_table(board)
    blocks = ["# Leaderboard"]
    if not board.groups:
        blocks.append(NO_RECORDS)
    else:
        parts, overview = sections(board, pictures), side_by_side(board)
        said = headline(board)
        blocks += [markdown_text(said), f"{summary(board, is_own=is_own)} [What the words mean](#terms)."]
        further = [(one.title, one.result) for one in told] + [(_ACROSS, "what else was found")] * bool(
            across
        )
        before = [(one.title, one.result) for one in overview]
        blocks += _contents([*before, *((part.title, part.result) for part in parts), *further])
        blocks += [block for one in overview for block in _across(one)]
        for part in parts:
            blocks += _section(part, said=said.startswith(part.headline))
    blocks += [block for one in told for block in _across(one)]
    if across:
        blocks += [f"## {_ACROSS}", *_tables(across)]
    blocks += _list("Failed besides", failure_lines(board.failures))
    blocks += _list("Notes on the records", board.notes)
    blocks += _terms(board)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _across(one: Across) -> list[str]:
    return [f"## {markdown_text(one.title)}", markdown_text(one.sentence), *_tables(one.columns)]


def _contents(parts: Sequence[tuple[str, str]]) -> list[str]:
    """Return a list of contents, where there are several: titles, and what came out in a few words."""
    if len(parts) < 2:
        return []
    links = anchors(title for title, _ in parts)
    lines = [
        f"- [{markdown_link(title)}](#{link}): {result}"
        for (title, result), link in zip(parts, links, strict=True)
    ]
    return ["\n".join(lines)]


def anchors(titles: Iterable[str]) -> list[str]:
    """Return what GitHub calls the headings: small letters, digits, `-` and `_`, repeated ones numbered.

    >>> anchors(["CIFAR-10, 5,000 images", "a", "A"])
    ['cifar-10-5000-images', 'a', 'a-1']
    """
    seen = Counter(["leaderboard", "terms"])
    found = []
    for title in titles:
        name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        found.append(quote(f"{name}-{seen[name]}" if seen[name] else name, safe=""))
        seen[name] += 1
    return found


def _section(part: Section, *, said: bool) -> list[str]:
    """Return the blocks of a group, with its headline where that is not said above."""
    blocks = [f"## {markdown_text(part.title)}", "" if said else markdown_text(part.headline)]
    blocks += [] if part.is_alone else [markdown_text(part.intro), *_pictures(part), *_tables(part.table)]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in (*part.legend, *part.notes))]
    blocks += _list("Failed", failure_lines(part.failures))
    for table in part.further:
        if table.title in _OPEN:
            blocks += [f"### {table.title}", *_further(table)]
        elif not part.is_alone:
            blocks += _folded(table.title, _further(table))
    return [*blocks, *_folded(_HOW, _how(part))]


def _how(part: Section) -> list[str]:
    """Return where the numbers come from; for a baseline alone, its table as well."""
    blocks = [markdown_text(part.intro), *_tables(part.table)] if part.is_alone else []
    blocks += [markdown_text(text) for text in (part.references, part.environment, " ".join(part.asides))]
    if part.commands:
        commands = "\n".join(part.commands)
        blocks += ["Repeat with:", markdown_block(commands, "sh")]
    return blocks


def _further(table: Table) -> list[str]:
    return [*_tables(table.columns), markdown_text(table.legend)]


def _folded(title: str, blocks: Sequence[str]) -> list[str]:
    """Return blocks that a click unfolds; the empty lines make what is inside Markdown again."""
    inner = [block for block in blocks if block]
    return [f"<details>\n<summary>{title}</summary>", *inner, "</details>"] if inner else []


def _pictures(part: Section) -> list[str]:
    if not part.pictures:
        return []
    lines = [
        f"| {_cell(title)} | ![{markdown_link(f'synthetic images: {title}')}]({quote(path)}) |"
        for title, path in part.pictures
    ]
    return ["\n".join(["| images | ten of the synthetic ones |", "|:--|:--|", *lines])]


def _tables(columns: Sequence[Column]) -> list[str]:
    """Return a table, or as many as the width of the page takes."""
    if not columns or not columns[0].cells:
        return []
    return [_table(part) for part in fitted(columns)]


def _table(columns: Sequence[Column]) -> str:
    escaped = [
        replace(column, name=markdown_text(column.name), cells=tuple(_cells(column))) for column in columns
    ]
    if unbroken(columns, _UNBROKEN) != list(columns):
        escaped = unbroken(escaped, _UNBROKEN, 0)
    return tabulate(
        list(zip(*(column.cells for column in escaped), strict=True)),
        headers=[column.name for column in escaped],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=[column.align for column in columns],
    )


def _cells(column: Column) -> Iterator[str]:
    for cell in column.cells:
        text = _cell(cell)
        yield text.replace(",", f",{_MAY_BREAK}") if column.is_reference else text


def _cell(text: str) -> str:
    return text if text == NOTHING else markdown_text(text)


def _list(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {markdown_text(line)}" for line in lines]
    return [f"### {title}", "\n".join(items)] if items else []


def _terms(board: Board) -> list[str]:
    found = terms(board)
    if not found:
        return []
    return [f"## {_TERMS}", "\n".join(f"- {markdown_text(f'{one.name}: {one.meaning}')}" for one in found)]
