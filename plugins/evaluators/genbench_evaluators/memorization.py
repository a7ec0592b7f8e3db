"""`memorization`: which synthetic images are copies of real ones?

Each synthetic image's nearest train and nearest test image, in features and in pixels. How near is too near
is calibrated on real images: an image is flagged where it is closer to a train image than all but `quantile`
of the val images are. Val and train are independent, so about `quantile` of any independent set is flagged; a
share far above says that images were copied. For test the yardstick is the same distance: copies of test that
are as frequent as copies of train by chance are no leak, more are. Meehan et al. (arXiv:2004.05675) test the
same comparison as a whole; this names the images.

`images_copied` turns this round: which test images have a synthetic image closer than that. Val, which
no generator sees either, says how many would by chance (Fisher's exact test, one-sided). Where there are
more, the board compares the row with its baseline a second time, without them.

It reads test, as the protocol allows an evaluator of images (never a generator or a filter). Beside it, the
dataset's own duplicates: test and val images that are train images, pixel for pixel.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.images import LabelledImages, Subset
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.records import pack_bits
from genbench.seeding import generator
from genbench_evaluators._feature_sets import finite_features
from genbench_evaluators._neighbours import Nearest, nearest
from genbench_evaluators.configs.memorization import MemorizationConfig

_PICTURED = 10


class Memorization(ImageEvaluator):
    """Looks for each synthetic image among train and test."""

    def __init__(self, config: MemorizationConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the shares flagged, by features and by pixels; draw the closest pairs.

        Raises:
            DataError: A feature is NaN or infinite.
        """
        rows = self._rows(len(synthetic.images))
        made = Subset(synthetic.images, rows.numpy())
        metrics, tables = [], dict[str, Any]()
        features = {name: finite_features("memorization", name, images) for name, images in real.items()}
        own = finite_features("memorization", "synthetic", synthetic)[rows]
        spaces = {self.config.extractor: (own, features)}
        if self.config.extractor != "pixels":
            spaces["pixels"] = (
                _pixels(made),
                {name: _pixels(images.images) for name, images in real.items()},
            )
        for position, (space, (mine, theirs)) in enumerate(spaces.items()):
            found = {name: nearest(mine, theirs[name]) for name in ("train", "test")}
            limit = float(nearest(theirs["val"], theirs["train"]).distance.quantile(self.config.quantile))
            metrics += [self._metric(space, name, one, limit) for name, one in found.items()]
            tables[space] = _closest(found, limit, rows)
            if position == 0:
                tables["test_copies"] = _copied(mine, theirs, limit)
                metrics.append(_copied_metric(space, tables["test_copies"]))
                _draw(made, real, found, ctx.files / "closest_pairs.png")
            ctx.progress(position + 1, len(spaces))
        metrics += _own_duplicates(real)
        return Evaluation(metrics, tables)

    def _rows(self, count: int) -> torch.Tensor:
        order = torch.randperm(count, generator=generator("memorization"))
        return order[: self.config.most_images].sort().values

    def _metric(self, space: str, name: str, found: Nearest, limit: float) -> Metric:
        flagged = int((found.distance < limit).sum())
        note = (
            f"{flagged} of {len(found.distance)} are closer to a {name} image than "
            f"{100 * (1 - self.config.quantile):g} % of val images are to train."
        )
        return Metric(
            "copies", 100 * flagged / len(found.distance), "%", False, (0, 100), 1e-9, note,
            split="synthetic", against=name, extractor=space, n=len(found.distance), average="pooled",
        )  # fmt: skip


def _copied(
    made: torch.Tensor, real: Mapping[str, torch.Tensor], limit: float
) -> dict[str, int | float | str]:
    """Return which test images have a synthetic image closer than `limit`, and how likely so many are."""
    from scipy.stats import fisher_exact

    val, test = (nearest(real[name], made).distance < limit for name in ("val", "test"))
    table = [[int(near.sum()), int((~near).sum())] for near in (test, val)]
    tested: Any = fisher_exact(table, alternative="greater")
    return {
        "n": len(test),
        "copied": table[0][0],
        "copied_bits": pack_bits(test.tolist()),
        "val_n": len(val),
        "val_copied": table[1][0],
        "p": float(tested.pvalue),
    }


def _copied_metric(space: str, found: Mapping[str, Any]) -> Metric:
    note = (
        f"{found['copied']} of {found['n']} test images have a synthetic image this close, "
        f"{found['val_copied']} of {found['val_n']} val images do: p = {found['p']:.2g}."
    )
    return Metric(
        "images_copied", found["copied"], "images", False, (0, found["n"]), 0.0, note,
        split="test", against="synthetic", extractor=space, n=found["n"],
    )  # fmt: skip


def _pixels(images: LabelledImages) -> torch.Tensor:
    """Return raw pixels, 0-1: `float32 [n, 3 H W]`."""
    return torch.cat([batch.flatten(1).float() / 255 for batch in images.batches(2048)])


def _closest(found: Mapping[str, Nearest], limit: float, rows: torch.Tensor) -> dict[str, Any]:
    """Return the closest pairs: rows of the sampled set, of train and of test, with their distances."""
    table: dict[str, Any] = {"limit": limit}
    for name, one in found.items():
        order = one.distance.argsort()[:_PICTURED]
        table[name] = [
            {
                "synthetic": int(rows[place]),
                "real": int(one.row[place]),
                "distance": float(one.distance[place]),
            }
            for place in order
        ]
    return table


def _own_duplicates(real: Mapping[str, ImageSet]) -> list[Metric]:
    """Count the images of val and test that are train images, pixel for pixel."""
    known = {image.numpy().tobytes() for batch in real["train"].images.batches(512) for image in batch}
    metrics = []
    for name in ("val", "test"):
        images = real[name].images
        count = sum(image.numpy().tobytes() in known for batch in images.batches(512) for image in batch)
        note = f"Images of {name} that are train images, pixel for pixel."
        metrics.append(
            Metric(
                "dataset_duplicates", count, "images", False, (0, len(images)), 0.0, note,
                split=name, against="train", n=len(images), role="check",
            )
        )  # fmt: skip
    return metrics


def _draw(
    made: LabelledImages, real: Mapping[str, ImageSet], found: Mapping[str, Nearest], path: Path
) -> None:
    """Draw the closest pairs: synthetic above real, first those of train, then those of test."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = min(_PICTURED, len(made))
    figure = Figure(figsize=(count * 0.9 + 1.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(4, count, squeeze=False)
    for block, (name, one) in enumerate(found.items()):
        order = one.distance.argsort()[:count]
        pairs = (made.batch(order), real[name].images.batch(one.row[order]))
        for line, (title, images) in enumerate(zip(("synthetic", name), pairs, strict=True)):
            for column in range(count):
                axis = axes[2 * block + line, column]
                axis.imshow(
                    np.ascontiguousarray(images[column].permute(1, 2, 0).numpy()), interpolation="nearest"
                )
                axis.set_xticks([])
                axis.set_yticks([])
                if line == 1:
                    axis.set_xlabel(f"{float(one.distance[order[column]]):.3g}", fontsize="small")
            axes[2 * block + line, 0].set_ylabel(title)
    figure.savefig(path, dpi=110)
