"""Does a metric of the images predict the gain? What `usefulness` found, as a sentence and a table."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from genbench_leaderboard.columns import NOTHING, Across, Column
from genbench_leaderboard.rows import Board, Finding
from genbench_leaderboard.sentences import count
from genbench_leaderboard.wording import listed

TITLE = "Does a metric predict the gain?"
_NAMES = {"fid": "FID", "kid": "KID", "mmd2": "MMD²"}
_LABEL = re.compile(r"(?P<name>[^\[]*)(?:\[(?P<inside>.*)\])?", re.DOTALL)
_NAMED = 3  # in the sentence


def is_about_a_metric(one: Finding) -> bool:
    """Say whether it is a rank correlation with an interval, which has a table of its own."""
    return one.name == "spearman" and one.interval is not None and one.value is not None and bool(one.about)


def predictors(board: Board) -> tuple[Across, ...]:
    """Lay out what was found, one table for each evaluation; empty where nobody asked."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in board.findings:
        if is_about_a_metric(one):
            found[one.source].append(one)
    return tuple(_laid_out(own, several=len(found) > 1) for own in found.values())


def _laid_out(own: Sequence[Finding], *, several: bool) -> Across:
    ordered = sorted(own, key=lambda one: (-abs(one.value or 0.0), one.metric))
    related = [one for one in ordered if _leaves_out_zero(one)]
    notes = [one.note.partition("; 95 %")[0].removeprefix("with the gain, ") for one in ordered]
    is_same = len(set(notes)) == 1
    lines = [
        (*in_words(one.about[0]), f"{one.value:+.2f}", _ends(one), *([] if is_same else [note]))
        for one, note in zip(ordered, notes, strict=True)
    ]
    titles = ("metric", "of", "rank correlation", "95 % interval", "over")
    columns = tuple(
        Column(title, cells, "left" if title in {"metric", "of", "over"} else "right")
        for title, cells in zip(titles, zip(*lines, strict=True), strict=False)
    )
    over = f", over {notes[0]}" if is_same else ""
    return Across(
        TITLE + (f" {own[0].dataset}" if several else ""),
        " ".join(_sentences(ordered, related, over)),
        columns,
        f"{len(related)} of {count(len(ordered), 'metric is', 'metrics are')} related to it",
    )


def _sentences(ordered: Sequence[Finding], related: Sequence[Finding], over: str) -> Iterator[str]:
    asked = f"Of {count(len(ordered), 'metric', 'metrics')} of the images{over},"
    if related:
        is_one = len(related) == 1
        are, leave = ("is", "its interval leaves") if is_one else ("are", "their intervals leave")
        yield f"{asked} {len(related)} {are} related to the gain: {leave} out 0."
    else:
        yield f"{asked} none was shown to be related to the gain: every interval holds 0."
    closest = listed([f"{_short(one)} ({one.value:+.2f})" for one in _closest(related or ordered)])
    yield (
        f"The closest: {closest}. Correlations are of ranks; above 0, the larger value is the better one. "
        "Intervals are for other generators, each for itself: nothing is corrected for the number of metrics."
    )


def _closest(ordered: Sequence[Finding]) -> list[Finding]:
    """Return the first of each metric: FID to train and FID to val say nearly the same."""
    first: dict[str, Finding] = {}
    for one in ordered:
        first.setdefault(in_words(one.about[0])[0], one)
    return list(first.values())[:_NAMED]


def _short(one: Finding) -> str:
    name, inside = in_words(one.about[0])
    return name if inside == NOTHING else f"{name} ({inside})"


def in_words(label: str) -> tuple[str, str]:
    """Part a metric's label into its name and what it was computed from.

    >>> in_words("fid[reference,val]")
    ('FID', 'reference, val')
    >>> in_words("precision[reference,k=3,train]"), in_words("vendi")
    (('precision', 'reference, k=3, train'), ('vendi', '-'))
    """
    parted = _LABEL.fullmatch(label)
    assert parted is not None  # it matches every text
    name, inside = parted["name"], parted["inside"]
    return _NAMES.get(name, name.replace("_", " ")), (inside or NOTHING).replace(",", ", ")


def _leaves_out_zero(one: Finding) -> bool:
    return one.interval is not None and (one.interval[0] > 0 or one.interval[1] < 0)


def _ends(one: Finding) -> str:
    return NOTHING if one.interval is None else f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}"
