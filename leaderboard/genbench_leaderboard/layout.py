"""What a page says, before it is Markdown or plain text: columns, sentences, footnotes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from genbench.escaping import shortened
from genbench_leaderboard import footnotes, sentences
from genbench_leaderboard.columns import NOTHING, UNKNOWN, Column, Table
from genbench_leaderboard.crossed import SEEDS_FOR_INTERVAL
from genbench_leaderboard.further_tables import difference, further_tables, p_value
from genbench_leaderboard.group_headline import group_headline, is_judged
from genbench_leaderboard.rows import Board, Cost, Failure, Group, Row
from genbench_leaderboard.statistics import SEEDS_FOR_VERDICT
from genbench_leaderboard.titles import RowTitle, group_title, group_titles, row_titles

_LONGEST_LINE = 20_000  # a note on each of 200 rows


@dataclass(frozen=True)
class Section:
    """One group on the page.

    Attributes:
        title: In words.
        headline: What came out, in a sentence or two.
        intro: What all rows share.
        table: The main table.
        legend: What is this table's own of the terms.
        notes: Footnotes that a reader must see.
        further: Other tables.
        asides: Footnotes that few look for.
        references: What users typed of dataset and classifier.
        environment: Where the records come from.
        commands: What repeats the runs.
        failures: Cells without numbers.
        is_alone: Whether it has a single row, of which its headline says everything.
        result: What came out, in a few words, for a list of contents.
        pictures: Columns of a table of pictures: the images, and the path of a strip of them.
    """

    title: str
    headline: str
    intro: str
    table: tuple[Column, ...]
    legend: tuple[str, ...]
    notes: tuple[str, ...]
    further: tuple[Table, ...]
    asides: tuple[str, ...]
    references: str
    environment: str
    commands: tuple[str, ...]
    failures: tuple[Failure, ...]
    is_alone: bool
    result: str
    pictures: tuple[tuple[str, str], ...]


def sections(board: Board, pictures: Mapping[str, str] | None = None) -> tuple[Section, ...]:
    """Lay out a board: groups that have verdicts first, those with a single row last.

    Args:
        board: As `shown.shown` returns it.
        pictures: Path of a strip of synthetic images, by `Row.images_id`.
    """
    return tuple(_section(group, title, board.verified, pictures or {}) for group, title in in_order(board))


def in_order(board: Board) -> list[tuple[Group, str]]:
    """Return the groups with their titles, in the order of pages: verdicts first, most of them before all."""
    titled = list(zip(board.groups, group_titles(board), strict=True))
    judged = Counter[str]()
    for group in board.groups:
        judged[group.dataset] += sum(map(is_judged, group.rows))
    return sorted(titled, key=lambda one: (_place(one[0]), -judged[one[0].dataset]))


def section(group: Group, board: Board, title: str = "") -> Section:
    """Lay out one group of a board, for pages that call groups and pictures by names of their own."""
    return _section(group, title or group_title(group), board.verified, {})


def _place(group: Group) -> int:
    return 0 if any(map(is_judged, group.rows)) else 1 if len(group.rows) > 1 else 2


def _section(group: Group, title: str, verified: bool, pictures: Mapping[str, str]) -> Section:
    return Section(
        title=title,
        headline=group_headline(group),
        intro=sentences.intro(group),
        table=_main_table(group, verified=verified),
        legend=footnotes.legend(group),
        notes=tuple(shortened(note, _LONGEST_LINE) for note in footnotes.notes(group)),
        further=further_tables(group),
        asides=footnotes.asides(group),
        references=f"Dataset {group.dataset}, classifier {group.classifier}.",
        environment=shortened(
            f"{sentences.provenance(group.provenance)} {sentences.environment(group.environments)}",
            _LONGEST_LINE,
        ),
        commands=group.commands,
        failures=group.failures,
        is_alone=len(group.rows) == 1 and group.rows[0].is_baseline,
        result=result_of(group),
        pictures=_pictures(group, pictures),
    )


def result_of(group: Group) -> str:
    """Say what came out in a few words: `1 helped, 2 hurt, 3 cannot tell`."""
    verdicts = [row.contrast.verdict for row in group.rows if row.contrast is not None and is_judged(row)]
    if not verdicts:
        return "a baseline alone" if len(group.rows) == 1 and group.rows[0].is_baseline else "no verdict"
    words = (("better", "helped"), ("worse", "hurt"), ("cannot tell", "cannot tell"))
    counted = [f"{verdicts.count(one)} {word}" for one, word in words if one in verdicts]
    return ", ".join(counted)


def _pictures(group: Group, known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what is pictured, and where: every set of images once."""
    found: dict[str, tuple[str, str]] = {}
    for row, title in zip(group.rows, row_titles(group), strict=True):
        if row.images_id in known:
            found.setdefault(row.images_id, (title.images, known[row.images_id]))
    return tuple(found.values())


# ------------------------------------------------------------------------------------------- main table


def _main_table(group: Group, *, verified: bool) -> tuple[Column, ...]:
    """Lay out the rows, without the columns that say nothing, or of every row the same."""
    rows, common = group.rows, sentences.shared(group)
    titles = {row.name: title for row, title in zip(rows, row_titles(group), strict=True)}
    columns = [_column("images", rows, lambda row: titles[row.name].images + _marks(row), align="left")]
    if common.mix is None:
        columns.append(_mix_column(rows, titles))
    if common.augment is None:
        columns.append(_column("augmentation", rows, lambda row: titles[row.name].augment, align="left"))
    columns.append(_column("top-1 (%)", rows, _top1))
    if common.seeds is None:
        columns.append(_column("n", rows, _seeds))
    columns.append(_column("Δ", rows, _difference))
    if any(row.planned >= SEEDS_FOR_VERDICT for row in rows):
        columns += [_column("p", rows, _p), _column("verdict", rows, _verdict, align="left")]
    if len({row.rank for row in rows} - {None}) > 1:
        columns.append(_column("rank", rows, lambda row: NOTHING if row.rank is None else str(row.rank)))
    columns.append(_column(_cost_header(rows), rows, lambda row: _cost(row.cost, rows)))
    if verified:
        columns.append(_column("checked", rows, _checked, align="left"))
    return tuple(column for column in columns if set(column.cells) != {NOTHING})


def _mix_column(rows: Sequence[Row], titles: Mapping[str, RowTitle]) -> Column:
    """Lay out ratios as numbers, or mixes in words where a ratio does not say it all."""
    made = [row.mix_values for row in rows if not row.is_baseline]
    if all(mix.get("mode") == "append" and not mix.get("batch_fraction") for mix in made):
        return _column("synthetic per real", rows, lambda row: f"{float(row.mix_values['ratio']):g}")
    return _column("mix", rows, lambda row: titles[row.name].mix or NOTHING, align="left")


def _column(
    name: str, rows: Sequence[Row], cell: Callable[[Row], str], align: Literal["left", "right"] = "right"
) -> Column:
    return Column(name, tuple(cell(row) for row in rows), align)


def _marks(row: Row) -> str:
    marks = footnotes.MIXED * row.mixed_environment + footnotes.LIMITED * (row.budget_limited is not None)
    marks += footnotes.EXTERNAL * bool(row.external_data)
    return f" {marks}" if marks else ""


def _top1(row: Row) -> str:
    if row.top1 is None:
        return NOTHING
    half = row.top1.half_width
    return f"{row.top1.mean:.2f}" + ("" if half is None else f" ±{half:.2f}")


def _seeds(row: Row) -> str:
    done = sentences.seeds_done(row)
    return str(row.planned) if done >= row.planned else f"{done} of {row.planned}"


def _difference(row: Row) -> str:
    if row.contrast is None:
        return "baseline" if row.is_baseline else NOTHING
    if _lacks_baseline(row):
        return "no baseline"
    return difference(row.contrast)


def _lacks_baseline(row: Row) -> bool:
    """Whether a row was measured and its baseline was not: every seed of that failed."""
    return row.contrast is not None and row.contrast.found is None and row.top1 is not None


def _p(row: Row) -> str:
    return NOTHING if row.contrast is None else p_value(row.contrast)


def _verdict(row: Row) -> str:
    if row.contrast is None:
        return NOTHING if row.is_baseline else "no baseline"
    if row.contrast.verdict == "too few seeds":
        lacks = "interval" if row.planned < SEEDS_FOR_INTERVAL else "verdict"
        return f"{sentences.count(row.planned, 'seed', 'seeds')}: no {lacks}"
    return row.contrast.verdict


def _checked(row: Row) -> str:
    cells = row.top1.n if row.top1 else 0
    return f"{row.level} ({row.rerun} of {cells})" if row.level == "reproduced" else row.level


def _cost_header(rows: Sequence[Row]) -> str:
    devices = _devices(rows)
    return f"cost ({devices[0]})" if len(devices) == 1 else "cost"


def _devices(rows: Sequence[Row]) -> list[str]:
    return sorted({", ".join(row.cost.devices) for row in rows if row.cost and row.cost.devices})


def _cost(cost: Cost | None, rows: Sequence[Row]) -> str:
    if cost is None:
        return NOTHING
    where = f" {', '.join(cost.devices)}" if len(_devices(rows)) > 1 else ""
    return UNKNOWN if cost.seconds is None else duration(cost.seconds) + where


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(12.34), duration(754), duration(36000)
    ('12.3 s', '12.6 min', '10.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
