"""The same images under several classifiers, side by side: does what helps one network help another?"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from genbench.digest import digest
from genbench_leaderboard.columns import NOTHING, Across, Column
from genbench_leaderboard.group_headline import is_judged
from genbench_leaderboard.rows import Board, Group, Row
from genbench_leaderboard.statistics import Estimate
from genbench_leaderboard.titles import classifier_of, dataset_of, row_titles, training_images
from genbench_leaderboard.wording import capital, listed

_FEWEST = 2  # classifiers of a table, and of each of its lines
_MARKS = {"better": "▲ ", "worse": "▼ "}


@dataclass(frozen=True)
class _Line:
    """One way to train, under each classifier that was trained so.

    Attributes:
        title: Of the row.
        rows: By the classifier's place among the columns.
    """

    title: str
    rows: Mapping[int, Row]


def side_by_side(board: Board) -> tuple[Across, ...]:
    """Lay out a table for every dataset on which several classifiers were trained in the same ways.

    Of several suites with the same networks the first group counts, which has the most rows.
    """
    found: dict[str, dict[str, Group]] = defaultdict(dict)
    for group in board.groups:
        found[_setting(group)].setdefault(digest(group.classifier_component.identity), group)
    tables = (_laid_out(sorted(own.values(), key=_baseline_top1)) for own in found.values())
    return tuple(one for one in tables if one is not None)


def _setting(group: Group) -> str:
    """Return what groups share that differ in their classifier, and in who declared them, alone."""
    rules = group.protocol
    parts = (rules.version, rules.preset, rules.base_seed, group.budget, group.budget_scale)
    return digest([group.dataset_component.identity, list(parts)])


def _baseline_top1(group: Group) -> float:
    """Return how good a classifier is on real images alone; infinity where nobody measured it."""
    found = [row.top1.mean for row in group.rows if row.is_baseline and row.contrast is None and row.top1]
    return found[0] if found else math.inf


def _laid_out(groups: Sequence[Group]) -> Across | None:
    lines = [line for line in _lines(groups) if len(line.rows) >= _FEWEST]
    if len(groups) < _FEWEST or not any(map(_verdicts, lines)):
        return None
    columns = [Column("images", tuple(line.title for line in lines), "left")]
    columns += [
        Column(
            classifier_of(group).title,
            tuple(_cell(line.rows.get(place)) for line in lines),
        )
        for place, group in enumerate(groups)
    ]
    images = training_images(groups[0])
    of = f", {images:,} training images" if images else ""
    return Across(
        f"{dataset_of(groups[0]).title}{of}: {len(groups)} classifiers side by side",
        " ".join(_sentences(lines)),
        tuple(columns),
        _in_short(lines),
    )


def _lines(groups: Sequence[Group]) -> Iterator[_Line]:
    """Yield the lines: real images alone first, then what most groups have, in the order of their rows."""
    titles: dict[str, str] = {}
    rows: dict[str, dict[int, Row]] = defaultdict(dict)
    for place, group in enumerate(groups):
        for row, title in zip(group.rows, row_titles(group), strict=True):
            parts = [row.generator_component.identity, row.filter_component.identity]
            key = digest([parts, dict(row.mix_values)])
            rows[key][place] = row
            plain = title.augment == "standard"
            titles.setdefault(key, title.images if plain else title._replace(mix="").whole)
    ordered = sorted(rows, key=lambda key: (not _is_plain(rows[key]), _role(rows[key]), -len(rows[key])))
    yield from (_Line(titles[key], rows[key]) for key in ordered)


def _is_plain(rows: Mapping[int, Row]) -> bool:
    """Say whether it is what the others are held against."""
    return any(row.is_baseline and row.contrast is None for row in rows.values())


def _role(rows: Mapping[int, Row]) -> int:
    """Return where a line stands: contenders before reference lines."""
    return min(row.role != "contender" for row in rows.values())


def _cell(row: Row | None) -> str:
    """Write a difference with the mark of its verdict; of what others are held against, the accuracy."""
    if row is None:
        return NOTHING
    if row.contrast is None:
        return _accuracy(row.top1) if row.is_baseline else NOTHING
    found = row.contrast.found
    if found is None:
        return NOTHING
    half = f" ±{found.half_width:.2f}" if found.half_width is not None else ""
    mark = _MARKS.get(row.contrast.verdict, "") if is_judged(row) else ""
    return f"{mark}{found.mean:+.2f}{half}"


def _accuracy(top1: Estimate | None) -> str:
    if top1 is None:
        return NOTHING
    half = f" ±{top1.half_width:.2f}" if top1.half_width is not None else ""
    return f"{top1.mean:.2f}{half}"


def _verdicts(line: _Line) -> Counter[str]:
    """Count the verdicts on a line of contenders."""
    judged = (row for row in line.rows.values() if row.role == "contender" and is_judged(row))
    return Counter(row.contrast.verdict for row in judged if row.contrast is not None)


def _sentences(lines: Sequence[_Line]) -> Iterator[str]:
    for line in lines:
        verdicts = _verdicts(line)
        judged = verdicts.total()
        parts = [
            f"{word} {_of_all(verdicts[verdict], judged)} classifiers"
            for verdict, word in (("better", "helped"), ("worse", "hurt"))
            if verdicts[verdict]
        ]
        if parts and verdicts["cannot tell"]:
            parts.append(f"for {verdicts['cannot tell']} the data cannot tell")
        if parts:
            yield f"{capital(line.title)} {listed(parts)}."
        elif judged:
            yield f"{capital(line.title)}: for {_of_all(judged, judged)} classifiers the data cannot tell."
    yield (
        "The first line is top-1 on test in %, with real images alone; the others are differences to it in "
        "points, ± half a 95 % interval. ▲ better, ▼ worse: the verdicts of each classifier's own section."
    )


def _of_all(part: int, whole: int) -> str:
    """Write a share in words: `3 of 4`, `all 4`, `both`."""
    if part < whole:
        return f"{part} of {whole}"
    return "both" if whole == 2 else f"all {whole}"


def _in_short(lines: Sequence[_Line]) -> str:
    total = sum((_verdicts(line) for line in lines), Counter[str]())
    words = {"better": "helped", "worse": "hurt", "cannot tell": "cannot tell"}
    return ", ".join(f"{total[one]} {word}" for one, word in words.items() if total[one])
