"""`copies`: does an image set hold more copies of test images than chance explains?

The harness adds it to every plan, for every image set; no option, no `--evaluator` and no plugin replaces it.
It counts images that are, pixel for pixel, images of val, test or the reserve; near copies of test, by the
scores of `genbench.copies.scores`; and images that are blank, or there several times. What follows from that
is for those who read records (`genbench.copy_judgement`).

A test image has a copy where a synthetic image's score lies above a limit. The number of such test images is
compared with a Poisson distribution, whose mean is the number of synthetic images times the share of *real*
images above the limit, at the upper end of its 95 % interval (Clopper and Pearson). Of eight such tests,
three limits or two for each score, the smallest p counts eightfold.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.chance import largest_share, poisson_tail
from genbench.copies.config import CopiesConfig
from genbench.copies.grids import Grids, as_grids
from genbench.copies.known import BATCH, Known, blank, copied_exactly
from genbench.copies.scores import SCORES, Scores, score
from genbench.copies.search import Split
from genbench.counts import (
    COPY_TESTS,
    WORST_COPIES,
    CopyPair,
    CopyTable,
    CopyTest,
    ExactCopies,
    pack_bits,
)
from genbench.errors import StoreError
from genbench.images import LabelledImages, fingerprints
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.seeding import generator

VERSION = 1  #: of grids, scores and null; a new one raises the version of the component, too
MOST_JUDGED = 20_000  #: synthetic images that are compared; of more, so many are drawn by a fixed seed
_LOWEST = np.array([min(limit for score, limit in COPY_TESTS if score == name) for name in SCORES])
_PICTURE_PIXELS = 64  # of an image's side in the picture
_GAP_PIXELS = 4


class Copies(ImageEvaluator):
    """Looks for each synthetic image among train and test."""

    def __init__(self, config: CopiesConfig) -> None:
        """Take the options, of which there are none."""

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the table `copies`, and draw the pairs that stand out.

        Raises:
            StoreError: What is known of the dataset was not handed over.
        """
        known = real["train"].summary
        if known is None:
            raise StoreError("the check for copies lacks what it knows of the dataset")
        seen = _look(synthetic.images)
        splits = _splits(known, ctx)
        scores = score(seen.grids, *splits)
        worst = _worst(scores, seen.rows)
        exact = {name: int(found.sum()) for name, found in copied_exactly(seen.prints, known).items()}
        table = CopyTable(
            version=VERSION,
            grid=seen.grids.shape[1],
            images=len(synthetic.images),
            judged=len(seen.rows),
            real=len(known["null"]),
            test=len(known["test"]),
            tests=copy_tests(scores, known),
            exact=ExactCopies(**exact),
            blank=seen.blank,
            duplicates=seen.duplicates,
            worst=tuple(worst),
        )
        if worst:
            _draw(worst, synthetic.images, real, ctx.files / "most_alike_to_test.png")
        return Evaluation(_metrics(table), {"copies": _as_json(table)})


@dataclass(frozen=True)
class _Seen:
    """What one look at a set shows.

    Attributes:
        rows: Of the images that are judged: `int64 [n]`.
        grids: Theirs.
        prints: Fingerprints of the images that are not blank: `uint64 [m]`.
        blank: How many are.
        duplicates: Images less distinct ones.
    """

    rows: npt.NDArray[np.int64]
    grids: Grids
    prints: npt.NDArray[np.uint64]
    blank: int
    duplicates: int


def _look(images: LabelledImages) -> _Seen:
    order = torch.randperm(len(images), generator=generator("copies", "judged"))
    rows: npt.NDArray[np.int64] = order[:MOST_JUDGED].sort().values.numpy()
    is_judged = np.zeros(len(images), dtype=np.bool_)
    is_judged[rows] = True
    grids, prints, empty, at = [], [], [], 0
    for batch in images.batches(BATCH):
        grids.append(as_grids(batch[torch.from_numpy(is_judged[at : at + len(batch)])]))
        prints.append(fingerprints(batch))
        empty.append(blank(batch))
        at += len(batch)
    every, is_blank = np.concatenate(prints), np.concatenate(empty)
    duplicates = len(every) - len(np.unique(every))
    return _Seen(rows, np.concatenate(grids), every[~is_blank], int(is_blank.sum()), duplicates)


def _splits(known: Known, ctx: RunContext) -> tuple[Split, Split]:
    """Return train and test as they are searched, telling `ctx` how far the search is."""
    done, total = 0, 2 * len(known["train"]) + 2 * len(known["test"])

    def tick(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        ctx.progress(done, total)

    return Split(known["train"], ctx.device, tick=tick), Split(known["test"], ctx.device, tick=tick)


def copy_tests(scores: Scores, known: Known) -> tuple[CopyTest, ...]:
    """Count the test images that have a copy, by each of `COPY_TESTS`."""
    return tuple(_test(scores, known, SCORES.index(name), limit) for name, limit in COPY_TESTS)


def _test(scores: Scores, known: Known, column: int, limit: float) -> CopyTest:
    has_copy = np.zeros(len(known["test"]), dtype=np.bool_)
    has_copy[scores.test[scores.ratios[:, column] > limit, column]] = True
    found, real = int(has_copy.sum()), int((known["null"][:, column] > limit).sum())
    expected = len(scores.train) * largest_share(real, len(known["null"]))
    p, bits = poisson_tail(found, expected), pack_bits(has_copy.tolist())
    return CopyTest(SCORES[column], limit, real, expected, found, p, bits)


def _worst(scores: Scores, rows: npt.NDArray[np.int64]) -> list[CopyPair]:
    """Return the images whose scores exceed their lowest limits most, largest first."""
    excess = scores.ratios / _LOWEST
    order = np.argsort(-excess.max(axis=1), kind="stable")[:WORST_COPIES]
    best = excess.argmax(axis=1)
    return [
        CopyPair(
            int(rows[one]),
            int(scores.test[one, best[one]]),
            int(scores.train[one]),
            *map(float, scores.ratios[one]),
        )
        for one in order.tolist()
    ]


def _metrics(table: CopyTable) -> list[Metric]:
    clearest = min(table.tests, key=lambda one: one.p)
    note = (
        f"Near copies, by `{clearest.score}`: at most {clearest.expected:.1f} are expected by chance, "
        f"p = {clearest.p:.2g} in one of {len(table.tests)} tests."
    )
    exact = asdict(table.exact)
    counts = {
        "exact_copies": (table.exact.total, ", ".join(f"{n} of {split}" for split, n in exact.items())),
        "blank_images": (table.blank, "Images of one colour from edge to edge."),
        "duplicate_images": (table.duplicates, "Images less distinct ones."),
    }
    return [
        Metric(
            "test_copies", clearest.found, "images", False, (0, table.test), 0.0, note,
            split="test", against="synthetic", n=table.test, role="check",
        ),
        *(
            Metric(
                name, count, "images", False, (0, table.images), 0.0, said,
                split="synthetic", n=table.images, role="check",
            )
            for name, (count, said) in counts.items()
        ),
    ]  # fmt: skip


def _as_json(table: CopyTable) -> dict[str, Any]:
    about = asdict(table)
    return {**about, "tests": list(about["tests"]), "worst": list(about["worst"])}


def _draw(worst: list[CopyPair], images: LabelledImages, real: Mapping[str, ImageSet], path: Path) -> None:
    """Draw, column by column, a synthetic image above the test image and the train image most alike."""
    from PIL import Image

    sets = {"synthetic": images, "test": real["test"].images, "train": real["train"].images}
    cell = _PICTURE_PIXELS + _GAP_PIXELS
    picture = Image.new("RGB", (len(worst) * cell + _GAP_PIXELS, 3 * cell + _GAP_PIXELS), "white")
    for line, (name, found) in enumerate(sets.items()):
        pixels = found.batch([getattr(pair, name) for pair in worst]).permute(0, 2, 3, 1).numpy()
        for column, one in enumerate(pixels):
            shown = Image.fromarray(one).resize((_PICTURE_PIXELS, _PICTURE_PIXELS), Image.Resampling.NEAREST)
            picture.paste(shown, (column * cell + _GAP_PIXELS, line * cell + _GAP_PIXELS))
    picture.save(path)
