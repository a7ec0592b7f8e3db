"""What the page of one run says besides its board: its steps, its images, its curves, and what failed.

`genbench.report` finds it in a run's folder and store; here it becomes tables and plots.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from genbench.counts import ConfidenceBin
from genbench.records import Record
from genbench_leaderboard.columns import NOTHING, Column
from genbench_leaderboard.layout import duration
from genbench_leaderboard.page.content import PageTable, plain_table
from genbench_leaderboard.page.drawings import Drawing
from genbench_leaderboard.page.pictures import Picture
from genbench_leaderboard.plots import Axis, Bar, Curve, CurvePoint, Part, bar_plot, curve_plot
from genbench_leaderboard.rows import Board, Group, Row
from genbench_leaderboard.titles import short_titles

WARNING = (
    "For yourself alone: this page shows real images of the dataset. A licence that lets you train on them "
    "seldom lets you publish them; the page of a board (genbench leaderboard --format html) has none."
)
_ABOUT_PLOTS = (
    "Of the first seed of each row that is there. Val is measured once, at the end of a training: it stands "
    "in the table of the rows. At most eight curves of a kind are drawn; an opened row has all of its own."
)
FOOTER = (
    "Written by genbench report. The page is whole: it loads nothing and sends nothing. It holds real "
    "images, and is not to be published."
)
_MOST_CURVES, _MOST_BARS = 8, 40
_DIAGONAL = Curve("as right as confident", (CurvePoint(0.0, 0.0), CurvePoint(1.0, 1.0)))


@dataclass(frozen=True)
class FoundPicture:
    """A picture of a run: what it shows, the content of its PNG, and what a reader must know of it."""

    name: str
    png: bytes
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture as a part of the page."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def alt(self) -> str:
        """For who cannot see it."""
        return self.name


@dataclass(frozen=True)
class Pictures:
    """Pictures that belong together."""

    name: str
    pictures: tuple[FoundPicture, ...]


@dataclass(frozen=True)
class FoundStep:
    """A step of the plan.

    Attributes:
        stage: Which kind.
        label: For people.
        state: `done`, `cached` (by an earlier attempt or another run), `failed`, or `not there`.
        seconds: What it took; None where nobody knows.
    """

    stage: str
    label: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class FoundFailure:
    """A step that failed: why, and the end of its log."""

    label: str
    reason: str
    log: str


@dataclass(frozen=True)
class FoundRun:
    """Everything that a run's folder and its store tell, besides records.

    Attributes:
        title: Its name.
        facts: Names and values: when, where, on what.
        commands: What repeats it.
        lacks: What could be there and is not, in sentences.
        steps: Of its plan.
        failures: Of its steps.
        images: A set of synthetic images each, beside real ones.
        pictures: What evaluators drew, by evaluator.
        of_rows: What an opened row shows, by `Row.images_id`.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    lacks: tuple[str, ...]
    steps: tuple[FoundStep, ...]
    failures: tuple[FoundFailure, ...]
    images: tuple[Pictures, ...]
    pictures: tuple[Pictures, ...]
    of_rows: Mapping[str, Picture]


@dataclass(frozen=True)
class RunPart:
    """What the template reads besides a `FoundRun`: its steps as tables, plots of its records, and words."""

    stages: PageTable
    steps: PageTable
    plots: tuple[Drawing, ...]
    warning: str = WARNING
    about_plots: str = _ABOUT_PLOTS
    about_images: str = (
        "Of the first seed. Beside the sheets, pairs: left a synthetic image, right of it the training image "
        "that is nearest to it in pixels, brought to 16 by 16, whatever its class."
    )


def run_part(found: FoundRun, board: Board, records: Iterable[Record]) -> RunPart:
    """Lay out what a run's page has besides its board."""
    by_digest = {record.result_digest: record for record in records}
    plots = [plot for group in board.groups for plot in _plots(group, by_digest, len(board.groups) > 1)]
    return RunPart(_stages(found.steps), _steps(found.steps), tuple(plots))


# -------------------------------------------------------------------------------------------------- tables


def _stages(steps: Sequence[FoundStep]) -> PageTable:
    stages = list(dict.fromkeys(step.stage for step in steps))
    of = {stage: [step for step in steps if step.stage == stage] for stage in stages}

    def count(state: str) -> Column:
        found = [sum(step.state == state for step in of[stage]) for stage in stages]
        return Column(state, tuple(str(number or NOTHING) for number in found))

    taken = [sum(step.seconds or 0.0 for step in of[stage]) for stage in stages]
    columns = [
        Column("stage", tuple(stages), "left"),
        Column("planned", tuple(str(len(of[stage])) for stage in stages)),
        *(count(state) for state in dict.fromkeys(step.state for step in steps)),
        Column("time of all", tuple(duration(one) if one else NOTHING for one in taken)),
    ]
    return plain_table("Steps by stage", columns)


def _steps(steps: Sequence[FoundStep]) -> PageTable:
    times = tuple(NOTHING if step.seconds is None else duration(step.seconds) for step in steps)
    columns = [
        Column("step", tuple(step.label for step in steps), "left"),
        Column("state", tuple(step.state for step in steps), "left"),
        Column("time", times),
    ]
    return plain_table("Every step", columns)


# --------------------------------------------------------------------------------------------------- plots


def _plots(group: Group, by_digest: Mapping[str, Record], named: bool) -> Iterator[Drawing]:
    """Yield the plots of a group: fits, trainings, calibration, images, cost."""
    short = short_titles(group)
    first: dict[str, Record] = {}
    for row in group.rows:
        own = [by_digest[one] for one in row.results if one in by_digest]
        if own:
            first[short[row.name]] = min(own, key=lambda one: one.result.index)
    head = f"{group.title}: " if named else ""
    yield from _fits(first, head)
    yield from _trainings(first, head)
    yield from _calibration(first, head)
    yield from _images(group.rows, short, head)
    yield from _costs(first, head)


def _fits(first: Mapping[str, Record], head: str) -> Iterator[Drawing]:
    """Yield the loss of every fit; rows that share one have one curve."""
    found: dict[str, Curve] = {}
    for title, record in first.items():
        for name, rows in record.run.curves.items():
            key = next((one for one in rows[0] if "loss" in one), "") if rows and name != "train" else ""
            points = _points(rows, key) if key else ()
            if points and not any(points == curve.points for curve in found.values()):
                found[f"{title}: {name}"] = Curve(f"{title} ({name}, {key})", points)
    yield from _curves(list(found.values()), f"{head}Loss while fitting", Axis("loss"))


def _trainings(first: Mapping[str, Record], head: str) -> Iterator[Drawing]:
    for key, name, unit in (
        ("train_loss", "Training loss", "cross-entropy"),
        ("train_top1", "Accuracy on training batches", "top-1 in %, as augmented"),
    ):
        curves = [
            Curve(title, _points(record.run.curves.get("train", ()), key)) for title, record in first.items()
        ]
        yield from _curves(curves, f"{head}{name}", Axis(unit))


def _points(rows: Iterable[Mapping[str, float]], key: str) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(row["step"], row[key]) for row in rows if "step" in row and key in row)


def _curves(curves: Sequence[Curve], name: str, y: Axis) -> Iterator[Drawing]:
    drawn = [curve for curve in curves if curve.points]
    if drawn:
        is_log = "loss" in name.lower() and all(point.y > 0 for curve in drawn for point in curve.points)
        plot = curve_plot(
            drawn[:_MOST_CURVES], name, Axis("optimizer step"), Axis(y.title, log=is_log or y.log)
        )
        yield Drawing(name, plot, _left_out(len(drawn)))


def _calibration(first: Mapping[str, Record], head: str) -> Iterator[Drawing]:
    """Yield accuracy against confidence on test, a curve for each row."""
    curves = []
    for title, record in first.items():
        table = record.result.tables.get("test")
        bins = table.get("reliability") if isinstance(table, Mapping) else None
        found = [ConfidenceBin(**one) for one in bins or ()]
        points = tuple(CurvePoint(one.confidence, one.accuracy) for one in found)
        curves += [Curve(title, points)] if points else []
    if curves:
        name = f"{head}Calibration on test"
        axes = Axis("confidence"), Axis("share that is right")
        plot = curve_plot([_DIAGONAL, *curves[: _MOST_CURVES - 1]], name, *axes)
        yield Drawing(name, plot, _left_out(len(curves) + 1))


def _left_out(count: int) -> str:
    return f"{count - _MOST_CURVES} more rows are not drawn." if count > _MOST_CURVES else ""


def _images(rows: Sequence[Row], short: Mapping[str, str], head: str) -> Iterator[Drawing]:
    """Yield the images that entered gradient steps, real and synthetic ones."""
    bars = []
    for row in rows[:_MOST_BARS]:
        if row.books is not None:
            parts = (Part("real", row.books.real_seen), Part("synthetic", row.books.synthetic_seen))
            note = f"training set {row.books.train:,} + {row.books.synthetic:,.0f}"
            bars.append(Bar(short[row.name], parts, note))
    if bars:
        name = f"{head}Images seen in gradient steps"
        yield Drawing(name, bar_plot(bars, name, "images, each time that one was seen"))


def _costs(first: Mapping[str, Record], head: str) -> Iterator[Drawing]:
    bars = []
    for title, record in list(first.items())[:_MOST_BARS]:
        seconds: dict[str, float] = {}
        for cost in record.run.costs:
            seconds[cost.stage] = seconds.get(cost.stage, 0.0) + (cost.seconds or 0.0)
        if seconds:
            parts = tuple(Part(stage, taken) for stage, taken in seconds.items())
            bars.append(Bar(title, parts, duration(sum(seconds.values()))))
    if bars:
        name = f"{head}Cost by step"
        yield Drawing(name, bar_plot(bars, name, "seconds"))
