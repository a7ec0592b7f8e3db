"""What there is to say of a run besides its board: from its folder, its plan and the store.

The page shows real images beside synthetic ones, and is for whoever made the run alone. What was collected,
never run, or is not kept is named on it. Imported by the command alone: it draws, and needs torch.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from genbench import showing
from genbench.errors import GenbenchError
from genbench.escaping import LONGEST_SENTENCE, one_line, terminal_text
from genbench.export import CellImages, cell_images
from genbench.images import LabelledImages
from genbench.pictures import find_pictures
from genbench.plan import Cell, Plan, Step
from genbench.records import Record
from genbench.runs import Run
from genbench.steps.dataset import open_splits
from genbench.store import Store
from genbench_leaderboard.page.of_run import FoundFailure, FoundPicture, FoundRun, FoundStep, Pictures
from genbench_leaderboard.page.pictures import Picture

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOG_LINES, _LOG_BYTES = 30, 16 * 2**10  #: of the end of a log
_MOST_PICTURE_BYTES = 12 * 2**20  #: of all pictures of a page
_PAIRS, _SIDE = 4, 16  #: pairs of a class; pixels of the images whose distance is taken
_MOST_REAL = 20_000  #: training images among which neighbours are looked for
_BATCH = 1000
_NOT_KEPT = (
    "Samples over the course of a fit: no generator keeps any, since sampling would add to the cost that is "
    "measured. The images are those at its end."
)


class Sheets(NamedTuple):
    """What is drawn of synthetic images: sheets by `images_id`, and the sets beside real images."""

    by_id: Mapping[str, Picture]
    sets: tuple[Pictures, ...]
    lacks: tuple[str, ...]


def find_run(
    plan: Plan, store: Store, run: Run | None, records: Sequence[Record], sheets: Sheets
) -> FoundRun:
    """Collect what is known of a run.

    Args:
        plan: What it planned.
        store: Where its results are.
        run: Its line of the index; None where its folder has none.
        records: Those in its folder.
        sheets: Its synthetic images.
    """
    steps = tuple(_step(step, store, run.began if run else "") for step in plan.steps.values())
    pictures, left_out = _drawn(plan, store)
    lacks = [*_lacks(plan, store, steps, pictures, records), *sheets.lacks, *left_out, _NOT_KEPT]
    return FoundRun(
        title=run.name if run else "A run",
        facts=tuple(_facts(run, records)),
        commands=(run.command,) if run else tuple({one.run.command for one in records}),
        lacks=tuple(lacks),
        steps=steps,
        failures=tuple(_failures(plan, store)),
        images=sheets.sets,
        pictures=pictures,
        of_rows=sheets.by_id,
    )


# --------------------------------------------------------------------------------------------------- facts


def _facts(run: Run | None, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    if run is not None:
        yield "what", run.what
        yield "began", run.began
        yield "ended", run.ended or "not yet"
        failed = f", {run.failed} failed" if run.failed else ""
        yield "cells", f"{run.measured} of {run.cells} measured{failed}"
        yield "typed in", f"{run.typed_in}   (as seen from this page's folder: paths begin there)"
        yield "host", run.host
    for name, found in (
        ("hardware", _common(records, "hardware")),
        ("versions", _common(records, "versions")),
    ):
        if found:
            yield name, found
    commits = sorted({one.run.commit for one in records if one.run.commit})
    if commits:
        yield "commit", ", ".join(commits)


def _common(records: Sequence[Record], entry: str) -> str:
    """Return what the records say of their environment; every value where they differ."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in getattr(record.run, entry).items():
            found.setdefault(name, {})[str(value)] = None
    return ", ".join(f"{name} {' or '.join(values)}" for name, values in sorted(found.items()))


def _step(step: Step, store: Store, began: str) -> FoundStep:
    manifest = store.manifest(step.key)
    if manifest is None:
        state = "failed" if store.failures.find(step.key) else "not there"
        return FoundStep(step.stage, step.label, state, None)
    facts: Mapping[str, Any] = manifest["run"]
    earlier = _time(facts.get("finished", "")) < _time(began)
    seconds = facts.get("seconds")
    taken = float(seconds) if isinstance(seconds, int | float) else None
    return FoundStep(step.stage, step.label, "cached" if earlier else "done", taken)


def _time(text: str) -> float:
    """Return a moment in whole seconds, as manifests write it; one that is not told is the first."""
    try:
        return float(int(datetime.fromisoformat(text).timestamp()))
    except ValueError:
        return 0.0


def _failures(plan: Plan, store: Store) -> Iterator[FoundFailure]:
    for key, step in plan.steps.items():
        failure = store.failures.find(key)
        if failure is not None and not store.has(key):
            reason = one_line(failure["reason"], LONGEST_SENTENCE)
            yield FoundFailure(step.label, reason, _end_of(store.root / "logs" / f"{key}.log"))


def _end_of(log: Path) -> str:
    """Return the last lines of a log; nothing where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return terminal_text("\n".join(text.splitlines()[-_LOG_LINES:]))


def _lacks(
    plan: Plan,
    store: Store,
    steps: Sequence[FoundStep],
    pictures: Sequence[Pictures],
    records: "Iterable[Record]",
) -> Iterator[str]:
    """Yield what could be on the page and is not."""
    gone = sum(step.state == "not there" for step in steps)
    if gone:
        yield (
            f"{gone} of {len(steps)} steps are not in the store {store.root}: never run, or collected since. "
            "The same `genbench run` makes them again"
        )
    evaluated = {planned.evaluator.name for planned in plan.records.values()}
    if "features" not in evaluated:
        yield "A projection of the networks' features: the evaluator `features` was not run (-e features)"
    if not pictures:
        yield "Confusion matrices and other pictures of evaluators: none are in the store"
    if not any(record.run.curves for record in records):
        yield "Learning curves: the records are older than these"


# ------------------------------------------------------------------------------------------------ pictures


def _drawn(plan: Plan, store: Store) -> tuple[tuple[Pictures, ...], list[str]]:
    """Return what evaluators drew, as far as it fits on a page, and a sentence about the rest."""
    found: dict[str, list[FoundPicture]] = {}
    room, left_out = _MOST_PICTURE_BYTES, 0
    for picture in find_pictures(plan, store):
        with contextlib.suppress(OSError):
            if picture.file.stat().st_size > room:
                left_out += 1
                continue
            content = picture.file.read_bytes()
            room -= len(content)
            name = f"{picture.title}: {picture.file.stem.replace('_', ' ')}"
            found.setdefault(picture.evaluator, []).append(FoundPicture(name, content))
    rest = [f"{left_out} pictures of evaluators, so that the page stays small"] if left_out else []
    return tuple(Pictures(name, tuple(ones)) for name, ones in found.items()), rest


def draw_sheets(plan: Plan, store: Store) -> Sheets:
    """Draw every set of synthetic images: a sheet, and pairs with the nearest real ones."""
    by_id: dict[str, Picture] = {}
    sets: list[Pictures] = []
    gone: list[str] = []
    for blank, cell in showing.sets(plan):
        if blank.images_id in by_id:
            continue
        name = f"{cell.arm.generator.label} on {cell.arm.dataset.label}"
        name += f" + {cell.arm.filter.label}" if cell.filter else ""
        name += f", {cell.arm.ratio:g} per real image"
        try:
            found = cell_images(plan, store, cell.name)
        except GenbenchError:
            gone.append(name)
            continue
        sheet, pairs = _sheet(found, cell), _neighbours(found, cell, plan, store)
        by_id[blank.images_id] = Picture(
            sheet.png, f"{sheet.caption}. They may be real: not to be published.", name
        )
        sets.append(Pictures(name, (sheet, *pairs)))
    lacks = [f"Images of {one}: they are not in the store" for one in dict.fromkeys(gone)]
    return Sheets(by_id, tuple(sets), tuple(one for one in lacks if one))


def _sheet(found: CellImages, cell: Cell) -> FoundPicture:
    images = found.made.images
    chosen = showing.chosen_classes(images.num_classes)
    columns = showing.columns_of(images, len(chosen))
    rows = showing.first_tiles(found, chosen, columns)
    names = ", ".join(images.class_names[label] for label in chosen)
    told = f"{len(found.kept):,} images, seed {cell.arm.index}; rows: {names}"
    return FoundPicture("Synthetic images", showing.draw(rows, images), one_line(told, LONGEST_SENTENCE))


def _neighbours(found: CellImages, cell: Cell, plan: Plan, store: Store) -> Iterator[FoundPicture]:
    """Yield the picture of pairs: some images of every class, each beside its nearest training image."""
    dataset = store.open(plan.steps[cell.sample].inputs["dataset"])
    if dataset is None:
        return
    real, images = open_splits(dataset).train, found.made.images
    chosen = showing.chosen_classes(images.num_classes)
    numbers = showing.first_numbers(found, chosen, _PAIRS)
    there = numbers[numbers >= 0]
    nearest = dict(zip(there.tolist(), _nearest(images.batch(there), real), strict=True))
    rows: list[list[showing.Tile | None]] = []
    for line in numbers.tolist():
        row: list[showing.Tile | None] = []
        for number in line:
            pair = (
                (images.batch([number])[0], real.batch([nearest[number]])[0]) if number >= 0 else (None,) * 2
            )
            row += [None if one is None else one.numpy() for one in pair]
        rows.append(row)
    of = f" of {_MOST_REAL:,} training images" if len(real) > _MOST_REAL else ""
    yield FoundPicture(
        "Beside their nearest training images", showing.draw(rows, images), f"Pairs: synthetic, real{of}"
    )


def _nearest(made: torch.Tensor, real: LabelledImages) -> list[int]:
    """Return the row of the nearest real image to each of some synthetic ones, by pixels of small images."""
    small = _small(made)
    rows = np.unique(np.linspace(0, len(real) - 1, min(len(real), _MOST_REAL)).round().astype(np.int64))
    best = torch.full((len(made),), torch.inf)
    place = torch.zeros(len(made), dtype=torch.int64)
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        found, which = torch.cdist(small, _small(real.batch(part))).min(dim=1)
        is_nearer = found < best
        best = torch.where(is_nearer, found, best)
        place = torch.where(is_nearer, torch.from_numpy(part)[which], place)
    return [int(one) for one in place]


def _small(images: torch.Tensor) -> torch.Tensor:
    """Bring images to 16 x 16, or leave smaller ones: `uint8 [n, 3, H, W]` to `float32 [n, D]`."""
    floats = images.float()
    if floats.shape[-1] > _SIDE:
        floats = functional.adaptive_avg_pool2d(floats, _SIDE)
    return floats.flatten(1)
