"""How far a row was checked by others: *reported*, *recomputed* or *reproduced*.

The rules are in `genbench.levels`, which the verifier shares; here rows are formed as the board forms them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from genbench.errors import DataError
from genbench.escaping import LONGEST_LABEL, markdown_text, shortened
from genbench.levels import Checked, Level, level_of, merged, read_verification, record_mark
from genbench.records import Record
from genbench.untrusted import files_below
from genbench_leaderboard.groups import make_groups, settle

__all__ = [
    "LEGEND",
    "Checked",
    "Level",
    "RowLevel",
    "level_of",
    "levels_markdown",
    "levels_text",
    "read_verified",
    "row_levels",
]

LEGEND = (
    "*reported*: as its author says. *recomputed*: its numbers follow from its predictions, with labels that "
    "the verifier loaded, and agree with plan and steps; whoever made up predictions is not found out. "
    "*reproduced*: recomputed, and so many of its cells were run again with the same result. Cost, date and "
    "hardware are reported, whatever the level."
)
_SUFFIX = ".json"


class RowLevel(NamedTuple):
    """The level of one row.

    Attributes:
        group: Dataset and classifier.
        row: Name of the row, as the board has it.
        level: Of all its cells together.
        rerun: How many of its cells were run again, with the same result.
        cells: How many cells it has.
        contradictions: What contradicts it.
    """

    group: str
    row: str
    level: Level
    rerun: int
    cells: int
    contradictions: tuple[str, ...]


def read_verified(paths: Iterable[Path]) -> dict[str, Checked]:
    """Read what `genbench leaderboard verify` wrote, from files, and from folders by the suffix `.json`.

    Returns:
        What is known of records, by `record_mark`.

    Raises:
        DataError: A file is none.
    """
    files: dict[Path, None] = {}
    for path in paths:
        try:
            files |= dict.fromkeys(sorted(files_below(path, ("",), _SUFFIX)) if path.is_dir() else [path])
        except ValueError as problem:
            raise DataError(f"{path}: cannot be read ({problem})") from None
    return merged(read_verification(file) for file in files)


def row_levels(records: Iterable[Record], verified: Mapping[str, Checked]) -> list[RowLevel]:
    """Return the level of every row, in the order of the groups."""
    found = []
    for group in make_groups(settle(records)[0]):
        title = f"{group.dataset.name}, {group.classifier.name}"
        for entry in sorted(group.entries.values(), key=lambda one: (not one.is_baseline, one.label)):
            cells = [entry.measured[index] for index in sorted(entry.measured)]
            known = [verified.get(record_mark(record)) for record in [*cells, *entry.others]]
            again = sum(one is not None and one.level == "reproduced" for one in known[: len(cells)])
            lines = tuple(dict.fromkeys(line for one in known if one for line in one.contradictions))
            level = level_of([*cells, *entry.others], verified)
            found.append(RowLevel(title, entry.label, level, again, len(cells), lines))
    return found


def levels_markdown(records: Iterable[Record], verified: Mapping[str, Checked]) -> str:
    """Return the levels of all rows as a section of Markdown."""
    rows = row_levels(records, verified)
    lines = _lines(rows)
    table = tabulate(
        [[markdown_text(cell, LONGEST_LABEL) for cell in row] for row in _cells(rows)],
        headers=_HEADERS,
        tablefmt="pipe",
        disable_numparse=True,
    )
    items = "\n".join(f"- {markdown_text(line)}" for line in lines)
    return "\n\n".join(filter(None, ["## Verification", table, LEGEND, items])) + "\n"


def levels_text(records: Iterable[Record], verified: Mapping[str, Checked]) -> str:
    """Return the levels of all rows as plain text; whoever prints it escapes it for the terminal."""
    rows = row_levels(records, verified)
    cells = [[shortened(cell, 80) for cell in row] for row in _cells(rows)]
    table = tabulate(cells, headers=_HEADERS, tablefmt="plain", disable_numparse=True)
    return (
        "\n".join(["Verification", table, *(f"· {line}" for line in _lines(rows)), LEGEND.replace("*", "")])
        + "\n"
    )


_HEADERS = ("group", "row", "level", "run again")


def _cells(rows: Sequence[RowLevel]) -> list[tuple[str, str, str, str]]:
    return [
        (one.group, one.row, one.level, f"{one.rerun} of {one.cells}" if one.rerun else "") for one in rows
    ]


def _lines(rows: Sequence[RowLevel]) -> list[str]:
    return [f"{one.row}: {shortened(line)}" for one in rows for line in one.contradictions]
