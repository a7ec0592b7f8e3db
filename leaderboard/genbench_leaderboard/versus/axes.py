"""What two sides vary: the values that all of their rows have, and which rows are alike but for these.

Rows that only one side has are no rows without a counterpart where a single option sets the sides apart, as
`--ratio 1` and `--ratio 2` do: they are paired, and whoever reads the pair is told what it does not share.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from genbench.digest import ABSENT
from genbench_leaderboard.versus.sides import SideGroup, SideRow

Axis = tuple[str, str, str]  #: an option, and what A and B have of it

_OF_GROUPS = ("budget", "budget_scale")  # parts of a mix that all rows of a group share
_OF_ALL_ROWS = ("augment",)  # parts of a mix that rows of real images alone have, too
_WORDS = {"generator": "generators", "filter": "filters"}


def axes_of_rows(a: Sequence[SideRow], b: Sequence[SideRow]) -> tuple[Axis, ...]:
    """Name what the rows of one side have and those of the other lack, or the reverse, over all rows."""
    left, right = _values(a), _values(b)
    return tuple(
        (_WORDS.get(name, name), _told(left.get(name)), _told(right.get(name)))
        for name in dict.fromkeys(chain(left, right))
        if left.get(name, {}).keys() != right.get(name, {}).keys()
    )


def axes_of_groups(a: Sequence[SideGroup], b: Sequence[SideGroup]) -> tuple[Axis, ...]:
    """Name the datasets, classifiers, budgets, presets and seeds of which the sides have different ones."""
    says: Mapping[str, Callable[[SideGroup], object]] = {
        "datasets": lambda group: group.said["dataset"],
        "classifiers": lambda group: group.said["classifier"],
        "budgets": lambda group: group.said["budget"],
        "presets": lambda group: group.said["protocol"]["preset"],
        "seeds": lambda group: group.said["seeds"],
    }
    found = []
    for name, value in says.items():
        left, right = (dict.fromkeys(_word(value(group)) for group in side) for side in (a, b))
        if left.keys() != right.keys():
            found.append((name, _told(left), _told(right)))
    return tuple(found)


def set_apart(a: Sequence[SideRow], b: Sequence[SideRow]) -> frozenset[str]:
    """Return the parts of which all rows of A have one value, and all rows of B another."""
    left, right = _values(a), _values(b)
    shared = left.keys() & right.keys()
    return frozenset(
        name for name in shared if len(left[name]) == len(right[name]) == 1 and left[name] != right[name]
    )


def alike_but_for(apart: frozenset[str]) -> tuple[Callable[[SideRow], str], ...]:
    """Return what marks rows that are the same but for some parts: with options, and else without."""

    def kept(row: SideRow) -> dict[str, object]:
        return {name: row.parts[name] for name in sorted(row.parts.keys() - apart.union(_OF_GROUPS))}

    def whole(row: SideRow) -> str:
        return repr((row.is_baseline, kept(row)))

    def plain(row: SideRow) -> str:
        named = {name: _plain(value) if name in _WORDS else value for name, value in kept(row).items()}
        return repr((row.is_baseline, named))

    return (whole, plain)


def parts_apart(row: SideRow, other: SideRow, apart: frozenset[str]) -> tuple[str, ...]:
    """Return those of the parts in which two rows do differ, in the rows' order."""
    return tuple(name for name in row.parts if name in apart and row.parts[name] != other.parts.get(name))


def _values(rows: Iterable[SideRow]) -> dict[str, dict[str, None]]:
    """Return what rows have, part by part; generators and mixes are those of synthetic images."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in row.parts.items():
            if name not in _OF_GROUPS and (not row.is_baseline or name in _OF_ALL_ROWS):
                found.setdefault(name, {})[_word(value)] = None
    return found


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "none" if value is None else str(value)


def _plain(label: object) -> str:
    return str(label).partition(":")[0].partition(" ")[0]


def _told(values: Mapping[str, None] | None) -> str:
    return " and ".join(sorted(values)) if values else ABSENT
