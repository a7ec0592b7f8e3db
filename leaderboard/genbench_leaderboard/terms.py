"""What the columns and words of a board mean: said once on a page, and only of what stands on it."""

from collections.abc import Callable
from typing import NamedTuple

from genbench_leaderboard.footnotes import alpha_of
from genbench_leaderboard.predictors import is_about_a_metric
from genbench_leaderboard.rows import Board, Group, Row
from genbench_leaderboard.sentences import FINDINGS_LEGEND


class Term(NamedTuple):
    """A term and what it means."""

    name: str
    meaning: str


def terms(board: Board) -> tuple[Term, ...]:
    """Return the terms that occur on a board."""
    return tuple(term for term, occurs in _TERMS if occurs(board))


def _any_group(says: Callable[[Group], object]) -> Callable[[Board], bool]:
    return lambda board: any(bool(says(group)) for group in board.groups)


def _any_row(says: Callable[[Row], object]) -> Callable[[Board], bool]:
    return _any_group(lambda group: any(bool(says(row)) for row in group.rows))


def _verdict(name: str) -> Callable[[Board], bool]:
    return _any_row(lambda row: row.contrast is not None and row.contrast.verdict == name)


def _is_ranked(group: Group) -> bool:
    return len({row.rank for row in group.rows} - {None}) > 1


_TERMS: tuple[tuple[Term, Callable[[Board], bool]], ...] = (
    (
        Term(
            "top-1",
            "accuracy on the test images, in %, mean over seeds; ±: half a 95 % t interval over seeds.",
        ),
        _any_row(lambda row: row.top1),
    ),
    (
        Term(
            "Δ",
            "difference in points to real images alone under the same augmentation (of real images alone: to "
            "those under the standard one), paired by seed and test image; ±: half a 95 % interval for new "
            "seeds and new test images, unadjusted.",
        ),
        _any_row(lambda row: row.contrast),
    ),
    (
        Term(
            "p",
            "two-sided, from the same interval, Holm-adjusted over the contrasts that a suite declared "
            "before test was read, or else over those of the table; one that failed counts as p = 1.",
        ),
        _any_group(lambda group: alpha_of(group) is not None),
    ),
    (
        Term("better, worse", "the verdicts where p is below the level that the table names."),
        _any_group(lambda group: alpha_of(group) is not None),
    ),
    (
        Term("cannot tell", "the verdict elsewhere: no proof that there is no effect."),
        _verdict("cannot tell"),
    ),
    (
        Term("reference", "a line to hold the others against; it has no verdict."),
        _verdict("reference"),
    ),
    (
        Term("exploratory", "no part of what was to be confirmed, so no verdict."),
        _verdict("exploratory"),
    ),
    (
        Term("incomplete", "fewer seeds than planned, or no baseline for them, so no verdict."),
        _verdict("incomplete"),
    ),
    (
        Term("void", "no verdict, whatever was measured: the table's notes say why."),
        _verdict("void"),
    ),
    (
        Term("rank", "1 + the number of rows that are significantly better."),
        _any_group(_is_ranked),
    ),
    (
        Term(
            "cost", "wall time of fit, filter, sample and train of one seed: of each, the median over seeds."
        ),
        _any_row(lambda row: row.cost),
    ),
    (
        Term(
            "checked",
            "reported: as its author says. recomputed: the numbers follow from the predictions, with labels "
            "that the verifier loaded, and agree with plan and steps; whoever made up predictions is not "
            "found out. reproduced: recomputed, and so many of its cells were run again with the same "
            "result. Cost, date and hardware are reported, whatever the level. No row is checked further "
            "than what it is held against.",
        ),
        lambda board: board.verified,
    ),
    (
        Term(
            "More than what is simpler?",
            "whether generated images do more than frozen augmented copies of the real ones, and more than "
            "strong augmentation without any further image; Δ, ± and p as above.",
        ),
        _any_row(lambda row: row.adds),
    ),
    (
        Term(
            "Images behind the rows",
            "images in the training set, and how many entered gradient steps, mean over seeds. each: how "
            "often a real image was seen. Where every row takes the same steps, synthetic images take the "
            "place of real ones.",
        ),
        _any_row(lambda row: row.books),
    ),
    (
        Term(
            "Distances of the image sets",
            "means over seeds of the distance to train and to val; floor: the distance between real images "
            "and val at equal n. The unbiased MMD² may come out below zero. The extractor reference is this "
            "board's own network, so its distances are not comparable with published ones. Nothing is ranked "
            "by a distance.",
        ),
        _any_row(lambda row: row.distances),
    ),
    (
        Term(
            "Shifts",
            "top-1 on out-of-distribution test sets, in %, mean over seeds; in brackets, the difference to "
            "real images alone in points, paired by seed and image; ±: half a 95 % interval for new seeds "
            "and images, unadjusted. Exploratory.",
        ),
        _any_row(lambda row: row.shifts),
    ),
    (
        Term(
            "Gain per class",
            "difference of each class's recall on test to real images alone, in points, paired by seed; ±: "
            "half a 95 % t interval over seeds, for these test images, unadjusted; *: p < 0.05, "
            "Holm-adjusted over the classes of the row. Exploratory: no verdict rests on it.",
        ),
        _any_row(lambda row: row.classes),
    ),
    (
        Term(
            "Other measurements",
            "means over seeds, of image sets and of cells. Exploratory: nothing is ranked by them.",
        ),
        _any_row(lambda row: row.measures),
    ),
    (
        Term("Across the rows", FINDINGS_LEGEND),
        lambda board: not all(map(is_about_a_metric, board.findings)),
    ),
)
