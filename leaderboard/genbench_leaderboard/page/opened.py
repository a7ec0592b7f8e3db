"""What a row shows when it is opened: pictures, facts, learning curves, images, costs, options, records."""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from genbench.escaping import LONGEST_MESSAGE, LONGEST_SENTENCE, shortened
from genbench.metrics import shown_range
from genbench.records import Record
from genbench_leaderboard.columns import number
from genbench_leaderboard.further_tables import difference, p_value
from genbench_leaderboard.layout import duration
from genbench_leaderboard.page.drawings import Drawing
from genbench_leaderboard.page.pictures import Picture
from genbench_leaderboard.plots import Axis, Bar, Curve, CurvePoint, Part, bar_plot, curve_plot
from genbench_leaderboard.rows import Contrast, Group, Row
from genbench_leaderboard.statistics import Estimate

#: Of a whole page, in characters: what is beyond is left out with a note. Besides them, a page of 200 rows
#: has some three megabytes.
MOST_PICTURES, MOST_PLOTS = 4 * 2**20, 4 * 2**20
_MOST_CURVES, _MOST_POINTS, _MOST_STAGES, _MOST_COMMANDS = 6, 60, 20, 3
_MIB = 2**20


@dataclass(frozen=True)
class PlacedPicture:
    """A picture in the page; `same` is the row that has it already, and `uri` then empty."""

    id: str
    uri: str
    alt: str
    caption: str
    same: str = ""


@dataclass(frozen=True)
class Opened:
    """A row, opened."""

    id: str
    title: str
    said: str
    facts: tuple[tuple[str, str], ...]
    picture: PlacedPicture | None
    no_picture: str
    plots: tuple[Drawing, ...]
    options: str
    commands: tuple[str, ...]
    digests: tuple[str, ...]


class Opener:
    """Opens the rows of a page, one after the other, and keeps count of how large it becomes.

    Args:
        records: Those that the board was made of.
        pictures: By `Row.images_id`.
    """

    def __init__(self, records: Iterable[Record], pictures: Mapping[str, Picture]) -> None:
        newest = sorted(records, key=lambda one: one.run.created)
        self._records = {record.result_digest: record for record in newest}
        self._pictures = pictures
        self._placed: dict[str, str] = {}
        self._picture_room, self._plot_room = MOST_PICTURES, MOST_PLOTS
        self._without_picture = self._without_plots = 0

    @property
    def left_out(self) -> str:
        """What the page leaves out so that it stays small, in a sentence."""
        parts = [f"the pictures of {self._without_picture} rows"] if self._without_picture else []
        parts += [f"the curves of {self._without_plots} rows"] if self._without_plots else []
        return f"So that this page stays small, it leaves out {' and '.join(parts)}." if parts else ""

    def open(self, row: Row, group: Group, identity: str, title: str) -> Opened:
        """Return a row, opened."""
        records = [self._records[one] for one in row.results if one in self._records]
        picture, why = self._picture(row, identity)
        plots = tuple(_plots(row, records))
        size = sum(len(one.svg) for one in plots)
        if size > self._plot_room:
            plots, self._without_plots = (), self._without_plots + 1
        else:
            self._plot_room -= size
        return Opened(
            id=identity,
            title=title,
            said="; ".join(row.contradictions),
            facts=tuple(_facts(row, group, records)),
            picture=picture,
            no_picture=why,
            plots=plots,
            options=_options(records),
            commands=_commands(records),
            digests=row.results,
        )

    def _picture(self, row: Row, identity: str) -> tuple[PlacedPicture | None, str]:
        """Return a row's picture, or why it has none."""
        found = self._pictures.get(row.images_id) if row.images_id else None
        if found is None or not found.png:
            return None, found.caption if found else ""
        name = f"images-{row.images_id}"
        if row.images_id in self._placed:
            return PlacedPicture(name, "", found.alt, found.caption, same=self._placed[row.images_id]), ""
        uri = f"data:image/png;base64,{base64.b64encode(found.png).decode()}"
        if len(uri) > self._picture_room:
            self._without_picture += 1
            return None, "Its pictures are left out, so that this page stays small."
        self._picture_room -= len(uri)
        self._placed[row.images_id] = identity
        return PlacedPicture(name, uri, found.alt, found.caption), ""


# --------------------------------------------------------------------------------------------------- facts


def _facts(row: Row, group: Group, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield what is known of a row, as names and values."""
    yield "generator", row.generator
    if row.filter != "none":
        yield "filter", row.filter
    yield "mix", row.mix
    yield "on", f"{group.dataset}, {group.classifier}"
    yield "role", row.role or "unknown"
    yield from _accuracies(row)
    if row.contrast is not None:
        yield f"difference to {row.contrast.against}", _judged(row.contrast)
    for one in row.adds:
        yield f"difference to {one.against}", _judged(one)
    yield "checked", row.level + (f", {row.rerun} cells run again" if row.rerun else "")
    yield from _doubts(row)
    yield from _images(row, records)
    for distance in row.distances:
        floor = " (floor)" if distance.floor else ""
        of = f"({distance.extractor}, n={shown_range(distance.n)})"
        yield f"{distance.family}{floor} to {distance.against} {of}", number(distance.mean)
    if row.cost is not None:
        seconds = "unknown" if row.cost.seconds is None else duration(row.cost.seconds)
        yield "cost of one seed", f"{seconds} on {', '.join(row.cost.devices) or 'an unknown device'}"
        yield "peak memory", f"{row.cost.peak_memory_bytes / _MIB:,.0f} MiB"


def _accuracies(row: Row) -> Iterator[tuple[str, str]]:
    for name, found in (("top-1 on test", row.top1), ("top-1 on val", row.val_top1)):
        if found is not None:
            yield name, _estimate(found)


def _estimate(found: Estimate) -> str:
    half = "" if found.half_width is None else f" \u00b1{found.half_width:.2f}"
    sd = "" if found.sd is None else f", standard deviation {found.sd:.2f}"
    return f"{found.mean:.2f}{half} %, n={found.n}{sd}"


def _judged(contrast: Contrast) -> str:
    parts = [f"{difference(contrast)} points" if contrast.found else contrast.problem or "not measured"]
    if contrast.adjusted_p is not None:
        over = f" (Holm over {contrast.family})" if contrast.family > 1 else ""  # of one, p is as it is
        parts.append(f"p {p_value(contrast)}{over}")
    parts.append(contrast.void or contrast.verdict)
    if contrast.detectable_points is not None:
        parts.append(f"would have found {contrast.detectable_points:.2f} points")
    return ", ".join(part for part in parts if part)


def _doubts(row: Row) -> Iterator[tuple[str, str]]:
    if row.external_data:
        yield "external data", ", ".join(row.external_data)
    if row.outliers:
        yield (
            "outlying seeds",
            "; ".join(
                f"seed {one.index}: {one.top1:.2f} %, median {one.median:.2f} %" for one in row.outliers
            ),
        )
    for name, count in (
        ("test images among them", row.test_copies),
        ("blank images", row.blank),
        ("images more than once", row.duplicates),
    ):
        if count:
            yield name, f"{count:,}"


def _images(row: Row, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield what became of the images: of the first seed where records say more than means."""
    if row.books is not None:
        books = row.books
        yield "training set", f"{books.train:,} real and {books.synthetic:,.0f} synthetic images"
        seen = f"{books.real_seen:,.0f} real and {books.synthetic_seen:,.0f} synthetic images"
        yield "in gradient steps", seen + (f", {books.steps:,.0f} steps" if books.steps else "")
    made = records[0].result.ledger.images if records else None
    if made is None:
        return
    kept = "" if made.kept_images is None else f", {made.kept_images:,} kept by the filter"
    yield (
        f"made (seed {records[0].result.index})",
        (f"{made.asked_images:,} asked for, {made.made_images:,} made in {made.attempts:,} attempts{kept}"),
    )
    for name, counts in (("faults", made.faults), ("copies", made.copies)):
        found = ", ".join(f"{key} {value:,}" for key, value in sorted(counts.items()) if value)
        if found:
            yield name, shortened(found)


# --------------------------------------------------------------------------------------------------- plots


def _plots(row: Row, records: Sequence[Record]) -> Iterator[Drawing]:
    if records:
        yield from _learning_curves(records[0])
    if row.books is not None and row.books.synthetic:
        yield _ledger(row)
    stages = _stages(records)
    if stages:
        name = "Cost by step, mean over seeds"
        bars = [Bar(stage, (Part("seconds", seconds),), duration(seconds)) for stage, seconds in stages]
        yield Drawing(name, bar_plot(bars, name, "seconds"))


def _learning_curves(record: Record) -> Iterator[Drawing]:
    """Yield losses, and accuracies, over the steps of every fit and training of a seed."""
    for title, curve in list(record.run.curves.items())[:_MOST_CURVES]:
        points = curve[:: max(1, math.ceil(len(curve) / _MOST_POINTS))]
        series = dict.fromkeys(
            key for point in points for key in point if key not in {"step", "learning_rate"}
        )
        losses = [key for key in series if "loss" in key]
        for keys, unit in ((losses, "loss"), ([key for key in series if key not in losses], "value")):
            lines = [
                Curve(
                    key, tuple(CurvePoint(point["step"], point[key]) for point in points if _has(point, key))
                )
                for key in keys[:_MOST_CURVES]
            ]
            if any(line.points for line in lines):
                what = shortened(f"{title}: {', '.join(keys)} (seed {record.result.index})")
                is_positive = unit == "loss" and all(point.y > 0 for line in lines for point in line.points)
                y = Axis(unit, log=is_positive)
                yield Drawing(what, curve_plot(lines, what, Axis("optimizer step"), y))


def _has(point: Mapping[str, float], key: str) -> bool:
    return all(isinstance(point.get(name), int | float) for name in ("step", key))


def _ledger(row: Row) -> Drawing:
    assert row.books is not None
    books, bars = row.books, []
    for what, real, synthetic in (
        ("training set", float(books.train), books.synthetic),
        ("seen in gradient steps", books.real_seen, books.synthetic_seen),
    ):
        both = real + synthetic
        if both:
            parts = (Part("real", 100 * real / both), Part("synthetic", 100 * synthetic / both))
            bars.append(Bar(what, parts, f"{real:,.0f} + {synthetic:,.0f}"))
    name = "Real and synthetic images"
    return Drawing(name, bar_plot(bars, name, "share in %"))


def _stages(records: Sequence[Record]) -> list[tuple[str, float]]:
    """Return mean seconds by stage; nothing where a record knows none."""
    totals: dict[str, float] = {}
    for record in records:
        for cost in record.run.costs:
            if cost.seconds is not None:
                totals[cost.stage] = totals.get(cost.stage, 0.0) + cost.seconds
    return [(stage, total / len(records)) for stage, total in list(totals.items())[:_MOST_STAGES]]


# ------------------------------------------------------------------------------------------------- records


def _options(records: Sequence[Record]) -> str:
    """Return the options of a row's components, as indented JSON."""
    if not records:
        return ""
    result = records[0].result
    parts = {"generator": result.generator, "filter": result.filter, "classifier": result.classifier}
    body: dict[str, object] = {
        name: {"use": part.use, "version": part.version, "config": part.config}
        for name, part in parts.items()
        if part is not None and part.use != "none"
    }
    body["mix"] = result.mix.model_dump(mode="json") if result.mix is not None else None
    return shortened(json.dumps(body, indent=1, default=str, ensure_ascii=False), LONGEST_MESSAGE)


def _commands(records: Sequence[Record]) -> tuple[str, ...]:
    found = dict.fromkeys(shortened(one.run.command, LONGEST_SENTENCE) for one in records if one.run.command)
    return tuple(found)[:_MOST_COMMANDS]
