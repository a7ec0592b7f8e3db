"""What there is to say of a run besides its board: from its folder, its plan and the store.

The page shows real images beside synthetic ones, and is for whoever made the run alone. What was collected,
never run, or is not kept is named on it. Imported by the command alone: it draws, and needs torch.
"""

import contextlib
import io
import itertools
import math
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
from genbench.images import LabelledImages, evenly_spaced
from genbench.pictures import find_pictures
from genbench.plan import Cell, Plan, Step
from genbench.protocols import Predictions
from genbench.records import Record
from genbench.runs import Run
from genbench.steps import fit_samples
from genbench.steps.dataset import open_splits
from genbench.steps.predict import open_predictions
from genbench.store import Store
from genbench_leaderboard.page.of_run import Cloud, FoundFailure, FoundPicture, FoundRun, FoundStep, Pictures
from genbench_leaderboard.page.pictures import Picture
from genbench_leaderboard.plots import CloudPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOG_LINES, _LOG_BYTES = 30, 16 * 2**10  #: of the end of a log
_MOST_PICTURE_BYTES = 12 * 2**20  #: of all pictures of a page
_PAIRS, _SIDE = 4, 16  #: pairs of a class; pixels of the images whose distance is taken
_MOST_REAL = 20_000  #: training images among which neighbours are looked for
_MOST_CLOUDS, _CLOUD_IMAGES = 8, 300
_MOST_VALUES = 2**25  #: of training images in memory at a time


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
    clouds = tuple(itertools.islice(_clouds(plan, store), _MOST_CLOUDS))
    lacks = [*_lacks(store, steps, clouds, pictures, records), *sheets.lacks, *left_out]
    return FoundRun(
        title=run.name if run else "A run",
        facts=tuple(_facts(run, records)),
        commands=(run.command,) if run else tuple({one.run.command for one in records}),
        lacks=tuple(lacks),
        steps=steps,
        failures=tuple(_failures(plan, store)),
        images=(*_over_fits(plan, store), *sheets.sets),
        pictures=pictures,
        of_rows=sheets.by_id,
        clouds=clouds,
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
    store: Store,
    steps: Sequence[FoundStep],
    clouds: Sequence[Cloud],
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
    if not clouds:
        yield "Projections of the networks' features: no features are in the store"
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


def _over_fits(plan: Plan, store: Store) -> Iterator[Pictures]:
    """Yield what each generator drew in the course of its first fit: a row of images each time."""
    seen: set[str] = set()
    for step in plan.steps.values():
        name = step.label.rpartition(", seed")[0]
        artifact = store.open(step.key) if step.stage == "fit" and name not in seen else None
        found = fit_samples.read(artifact) if artifact is not None else []
        if found:
            seen.add(name)
            after = ", ".join(f"{one.step:,}" for one in found)
            side = showing.shown_side(max(found[0].pixels.shape[2:]))
            sheet = showing.draw_pixels([list(one.pixels) for one in found], side)
            caption = f"Rows: after {after} optimizer steps; a column has one class and the same noise"
            picture = FoundPicture("Samples in the course of the fit", sheet, caption)
            yield Pictures(name.removeprefix("fit "), (picture,))


def _clouds(plan: Plan, store: Store) -> Iterator[Cloud]:
    """Yield the features of some test images, of the first seed of each row, on two principal components."""
    seen: set[str] = set()
    for cell in sorted(plan.cells, key=lambda one: one.arm.index):
        name = cell.name.rpartition("/")[0]
        keys = [key for key in cell.steps if plan.steps[key].inputs.get("train") == cell.train]
        predicted = next((key for key in keys if plan.steps[key].stage == "predict"), "")
        artifact = store.open(predicted) if predicted and name not in seen else None
        dataset = store.open(plan.steps[predicted].inputs["dataset"]) if artifact is not None else None
        if artifact is None or dataset is None:
            continue
        seen.add(name)
        found = open_predictions(artifact, open_splits(dataset)).get("test")
        if found is not None and found.features.shape[1] and np.isfinite(found.features).all():
            yield _cloud(name, found)


def _cloud(name: str, predictions: Predictions) -> Cloud:
    count = len(predictions.labels)
    rows = evenly_spaced(count, _CLOUD_IMAGES)
    features = predictions.features[rows].astype(np.float64)
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    plane = np.zeros((len(rows), 2))
    plane[:, : len(sizes[:2])] = left[:, :2] * sizes[:2]
    whole = float((sizes**2).sum())
    kept = 100 * float((sizes[:2] ** 2).sum()) / whole if whole else 0.0
    labels = predictions.labels[rows].tolist()
    points = [CloudPoint(x, y, kind) for (x, y), kind in zip(plane.tolist(), labels, strict=True)]
    return Cloud(name, tuple(points), tuple(predictions.class_names), kept)


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
    rows = evenly_spaced(len(real), _MOST_REAL)
    best = torch.full((len(made),), torch.inf)
    place = torch.zeros(len(made), dtype=torch.int64)
    batch = max(1, _MOST_VALUES // math.prod(real.image_shape))
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
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
