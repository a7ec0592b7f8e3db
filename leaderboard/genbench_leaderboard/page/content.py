"""What the page says, before it is HTML: plain text and finished plots, in the order of the page."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from genbench.digest import digest
from genbench.records import Record
from genbench_leaderboard import sentences
from genbench_leaderboard.columns import NOTHING, UNKNOWN, Column
from genbench_leaderboard.further_tables import findings_table
from genbench_leaderboard.headline import NOTHING_MEASURED, headline
from genbench_leaderboard.layout import Section, in_order, result_of, section
from genbench_leaderboard.page.drawings import Drawing, group_drawings, size_drawings
from genbench_leaderboard.page.opened import Opened, Opener
from genbench_leaderboard.page.pictures import Picture
from genbench_leaderboard.predictors import predictors
from genbench_leaderboard.rows import Board, Group, Row
from genbench_leaderboard.sentences import failure_lines
from genbench_leaderboard.side_by_side import side_by_side
from genbench_leaderboard.terms import Term, terms
from genbench_leaderboard.titles import (
    RowTitle,
    row_titles,
    with_augmentation,
)
from genbench_leaderboard.wording import listed

_FOOTER = (
    "Written by genbench leaderboard --format html. The page is whole: it loads nothing, sends nothing, and "
    "can be kept, mailed or printed. Pictures of synthetic images are of the first seed that can be shown; "
    "no real image is among them."
)
_NUMBER = re.compile(r"\s*[<>▲▼]?\s*([-+\u2212]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)")
#: What the title of a row says already.
_IN_TITLE = frozenset({"generator", "filter", "images", "mix", "augmentation", "synthetic per real"})
#: What a phone shows without scrolling comes first.
_FIRST = ("top-1 (%)", "\u0394", "verdict", "p", "rank", "checked")
_TALL = 40  #: lines
MOST_ROWS = 400  #: of a page: some ten megabytes, with their pictures and plots
_ELSEWHERE = "CSV, JSON and Markdown have all of them, and the page of a board of fewer records is whole."
_LOOKS = frozenset(
    {"better", "worse", "cannot tell", "reference", "void", "reported", "recomputed", "reproduced"}
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what it is sorted by, small print below, and the class of a badge."""

    text: str
    key: str
    small: str = ""
    look: str = ""


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    name: str
    align: str
    numeric: bool
    is_reference: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a table: what it opens, its kind, and the text that a filter looks through."""

    cells: tuple[Cell, ...]
    opens: str = ""
    kind: str = ""
    text: str = ""
    kind_class: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table with sortable columns."""

    name: str
    columns: tuple[Head, ...]
    lines: tuple[Line, ...]
    legend: str = ""

    @property
    def is_tall(self) -> bool:
        """Whether it is scrolled within the page, below its head."""
        return len(self.lines) > _TALL


@dataclass(frozen=True)
class PageGroup:
    """A group of the board as a section of the page."""

    id: str
    title: str
    headline: str
    result: str
    intro: str
    kinds: tuple[str, ...]
    rows: PageTable
    remarks: tuple[str, ...]
    legend: tuple[str, ...]
    plots: tuple[Drawing, ...]
    tables: tuple[PageTable, ...]
    failures: tuple[str, ...]
    commands: tuple[str, ...]
    provenance: tuple[str, ...]
    opened: tuple[Opened, ...]


@dataclass(frozen=True)
class Entry:
    """A group in the list of contents; one without `id` is not on the page."""

    id: str
    title: str
    result: str


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    title: str
    headline: str
    summary: str
    groups: tuple[PageGroup, ...]
    sizes: tuple[Drawing, ...]
    overviews: tuple[PageTable, ...]
    predictors: tuple[PageTable, ...]
    findings: PageTable | None
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    notes_on_size: str
    contents: tuple[Entry, ...] = ()
    terms: tuple[Term, ...] = ()
    findings_legend: str = sentences.FINDINGS_LEGEND
    footer: str = field(default=_FOOTER)


def page_of(
    board: Board, records: Iterable[Record], pictures: Mapping[str, Picture], *, is_own: bool = False
) -> Page:
    """Lay out a board, its texts shortened already.

    Args:
        board: See `shown`.
        records: Those that it was made of; none are fine.
        pictures: By `Row.images_id`.
        is_own: Whether it is read by who made the records: nobody else could have verified them yet.
    """
    opener = Opener(records, pictures)
    ordered = in_order(board)
    count = _that_fit([len(group.rows) for group, _ in ordered])
    groups = tuple(_group(group, section(group, board, title), opener) for group, title in ordered[:count])
    across, overview = findings_table(board), side_by_side(board)
    before = [Entry(f"overview-{place}", one.title, one.result) for place, one in enumerate(overview, 1)]
    told = predictors(board)
    after = [Entry(f"predictors-{place}", one.title, one.result) for place, one in enumerate(told, 1)]
    left_out = [Entry("", title, result_of(group)) for group, title in ordered[count:]]
    return Page(
        title=groups[0].title if len(groups) == 1 else "Leaderboard",
        headline=headline(board) if board.groups else NOTHING_MEASURED,
        summary=sentences.summary(board, is_own=is_own),
        groups=groups,
        sizes=size_drawings(board),
        overviews=tuple(plain_table(one.title, one.columns, one.sentence) for one in overview),
        predictors=tuple(plain_table(one.title, one.columns, one.sentence) for one in told),
        findings=plain_table("Across the rows", across) if across else None,
        failures=tuple(failure_lines(board.failures)),
        notes=board.notes,
        notes_on_size=f"{_on_size(ordered, count)} {opener.left_out}".strip(),
        contents=(*before, *(Entry(one.id, one.title, one.result) for one in groups), *left_out, *after)
        if len(ordered) > 1
        else (),
        terms=terms(board),
    )


def _that_fit(rows: Sequence[int]) -> int:
    """Return how many groups, the first ones, a page has room for: one at least."""
    room = itertools.accumulate(rows)
    return max(1, sum(so_far <= MOST_ROWS for so_far in room))


def _on_size(ordered: Sequence[tuple[Group, str]], count: int) -> str:
    """Say which groups and rows are not on the page."""
    left_out, first = ordered[count:], ordered[:1]
    cut = sum(max(0, len(group.rows) - MOST_ROWS) for group, _ in first)
    parts = [f"the last {cut:,} rows of {ordered[0][1]} with its further tables"] if cut else []
    if left_out:
        rows = sum(len(group.rows) for group, _ in left_out)
        named = sentences.count(len(left_out), "comparison", "comparisons")
        parts.append(f"{named} with {rows:,} rows, whose results the contents name")
    return (
        f"So that a browser can show this page, it leaves out {listed(parts)}. {_ELSEWHERE}" if parts else ""
    )


def _group(group: Group, part: Section, opener: Opener) -> PageGroup:
    identity = f"g-{digest([group.title])[:8]}"
    names = row_titles(group)
    ids = [f"{identity}-{digest([row.name])[:8]}" for row in group.rows]
    rows = _main_table(group, part.table, names, ids)
    return PageGroup(
        id=identity,
        title=part.title,
        headline=part.headline,
        result=part.result,
        intro=part.intro,
        kinds=tuple(dict.fromkeys(line.kind for line in rows.lines)),
        rows=rows,
        remarks=part.notes,
        legend=part.legend,
        plots=tuple(group_drawings(group)),
        tables=()
        if len(group.rows) > MOST_ROWS
        else tuple(plain_table(one.title, one.columns, one.legend) for one in part.further),
        failures=tuple(failure_lines(group.failures)),
        commands=part.commands,
        provenance=(part.references, part.environment, *part.asides),
        opened=tuple(
            opener.open(row, group, one, name.whole)
            for row, one, name in list(zip(group.rows, ids, names, strict=True))[:MOST_ROWS]
        ),
    )


def _main_table(
    group: Group, columns: Sequence[Column], names: Sequence[RowTitle], ids: Sequence[str]
) -> PageTable:
    """Return the table of a group: the row's title in its first column, then the numbers of the board."""
    common = sentences.shared(group)
    told = sorted((column for column in columns if column.name not in _IN_TITLE), key=_order)
    heads = (Head("row", "left", False), *(_head(column) for column in told))
    lines = []
    for place, (row, name, one) in enumerate(zip(group.rows, names, ids, strict=True)):
        apart = (name.mix if common.mix is None else "", with_augmentation(name.augment))
        mix = ", ".join(part for part in apart[: 1 + (common.augment is None)] if part)
        first = Cell(name.images + _marks(columns, place), name.whole, small=mix)
        cells = (
            first,
            *(_cell(column, head, place, row) for column, head in zip(told, heads[1:], strict=True)),
        )
        kind = row.contrast.verdict if row.contrast else "baseline"
        text = " ".join((name.whole, row.name, kind, row.role, row.level))
        lines.append(Line(cells, one, kind, text, "baseline" if row.is_baseline and not row.contrast else ""))
    return PageTable(f"Rows of {group.title}", heads, tuple(lines[:MOST_ROWS]))


def _order(column: Column) -> int:
    return next((place for place, name in enumerate(_FIRST) if column.name.startswith(name)), len(_FIRST))


def _marks(columns: Sequence[Column], place: int) -> str:
    """Return the marks of a row that footnotes explain, with the space before them."""
    found = re.search(r" [\u2020\u2021\u00a7]+$", columns[0].cells[place]) if columns else None
    return found[0] if found else ""


def plain_table(name: str, columns: Sequence[Column], legend: str = "") -> PageTable:
    """Lay out columns as a table that opens nothing."""
    heads = tuple(_head(column) for column in columns)
    count = len(columns[0].cells) if columns else 0
    lines = [
        Line(tuple(_cell(column, head, place) for column, head in zip(columns, heads, strict=True)))
        for place in range(count)
    ]
    return PageTable(name, heads, tuple(lines), legend)


def _head(column: Column) -> Head:
    values = [cell for cell in column.cells if cell not in {NOTHING, UNKNOWN, "baseline", "no baseline"}]
    numeric = bool(values) and column.align == "right" and all(_NUMBER.match(cell) for cell in values)
    return Head(column.name, column.align, numeric, column.is_reference)


def _cell(column: Column, head: Head, place: int, row: Row | None = None) -> Cell:
    text = column.cells[place]
    look = text.partition(" (")[0] if row is not None and column.align == "left" else ""
    return Cell(text, _key(text, head, row), look=f"is-{look.replace(' ', '-')}" if look in _LOOKS else "")


def _key(text: str, head: Head, row: Row | None) -> str:
    """Return what a cell is sorted by: the number that it begins with; of a cost, its seconds."""
    if not head.numeric:
        return text
    if row is not None and head.name.startswith("cost"):
        return "" if row.cost is None or row.cost.seconds is None else f"{row.cost.seconds:.3f}"
    found = _NUMBER.match(text)
    return found[1].replace(",", "").replace("\u2212", "-") if found else ""
