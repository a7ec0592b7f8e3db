"""`memorization`: which synthetic images are copies of real ones?

Each synthetic image's nearest train and nearest test image, in features and in pixels. How near is too near
is calibrated on real images: an image is flagged where it is closer to a train image than all but `quantile`
of the val images are. Val and train are independent, so about `quantile` of any independent set is flagged; a
share far above says that images were copied. For test the yardstick is the same distance: copies of test that
are as frequent as copies of train by chance are no leak, more are. Meehan et al. (arXiv:2004.05675) test the
same comparison as a whole; this names the images.

What is pixel for pixel the same is known by its digest, whatever rounding makes of its distance: such images
are always flagged, and val images that are train images calibrate nothing. Beside it, the dataset's own
duplicates: test and val images that are train images.

`images_copied` turns this round: which test images have a synthetic image closer than that. Val, which
no generator sees either, says how many would by chance (Fisher's exact test, one-sided). No verdict rests on
it: that is the business of the harness's own check, `copies`.

It reads test, as the protocol allows an evaluator of images (never a generator or a filter). Of real images,
a batch is in memory at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genbench.images import LabelledImages, Subset, fingerprints
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ImageEvaluator, ImageSet, RunContext
from genbench.records import pack_bits
from genbench.seeding import generator
from genbench_evaluators._feature_sets import finite_features
from genbench_evaluators._neighbours import Nearest, nearest, nearest_pixels
from genbench_evaluators.configs.memorization import MemorizationConfig

_PICTURED = 10
_BATCH_IMAGES = 64

Prints = npt.NDArray[np.uint64]  # one for each image, equal for equal pixels
Found = Mapping[str, Nearest]  # by split


@dataclass(frozen=True)
class _Sets:
    """What is compared.

    Attributes:
        made: The synthetic images that are looked at.
        rows: Theirs in the sampled set: `int64 [n]`.
        features: Their features: `float32 [n, D]`.
        prints: Their fingerprints.
        real: Features of real splits, by name.
        real_prints: Fingerprints of real splits, by name.
        few_val: Rows of val whose pixels are compared: as many as are looked at, at most.
    """

    made: LabelledImages
    rows: torch.Tensor
    features: torch.Tensor
    prints: Prints
    real: Mapping[str, torch.Tensor]
    real_prints: Mapping[str, Prints]
    few_val: torch.Tensor

    def is_new(self, split: str) -> torch.Tensor:
        """Say which images of a split are no images of train: `bool [n]`."""
        return torch.from_numpy(~np.isin(self.real_prints[split], self.real_prints["train"]))


class Memorization(ImageEvaluator):
    """Looks for each synthetic image among train and test."""

    def __init__(self, config: MemorizationConfig) -> None:
        self.config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Return the shares flagged, by features and by pixels; draw the closest pairs.

        Raises:
            DataError: A feature is NaN or infinite.
        """
        sets, extractor = self._opened(synthetic, real), self.config.extractor
        spaces = [extractor, *(["pixels"] if extractor != "pixels" else [])]
        metrics, tables = [], dict[str, Any]()
        for position, space in enumerate(spaces):
            found, to_train = _by_features(sets) if position == 0 else _by_pixels(sets, real)
            limit = float(to_train.quantile(self.config.quantile)) if len(to_train) else 0.0
            exact = {name: _exact(one, name, sets) for name, one in found.items()}
            metrics += [self._metric(space, name, one, limit) for name, one in exact.items()]
            tables[space] = _closest(exact, limit, sets.rows)
            if position == 0:
                tables["images_copied"] = _copied(sets, limit)
                metrics.append(_copied_metric(space, tables["images_copied"]))
                _draw(sets.made, real, exact, ctx.files / "closest_pairs.png")
            ctx.progress(position + 1, len(spaces))
        metrics += _own_duplicates(sets)
        return Evaluation(metrics, tables)

    def _opened(self, synthetic: ImageSet, real: Mapping[str, ImageSet]) -> _Sets:
        rows = self._rows(len(synthetic.images))
        made = Subset(synthetic.images, rows.numpy())
        features = {name: finite_features("memorization", name, images) for name, images in real.items()}
        prints = {name: _prints(images.images) for name, images in real.items()}
        own = finite_features("memorization", "synthetic", synthetic)[rows]
        few_val = self._rows(len(real["val"].images))
        return _Sets(made, rows, own, _prints(made), features, prints, few_val)

    def _rows(self, count: int) -> torch.Tensor:
        order = torch.randperm(count, generator=generator("memorization"))
        return order[: self.config.most_images].sort().values

    def _metric(self, space: str, name: str, found: Nearest, limit: float) -> Metric:
        flagged = int(_is_near(found, limit).sum())
        note = (
            f"{flagged} of {len(found.distance)} are closer to a {name} image than "
            f"{100 * (1 - self.config.quantile):g} % of val images are to train."
        )
        return Metric(
            "copies", 100 * flagged / len(found.distance), "%", False, (0, 100), 1e-9, note,
            split="synthetic", against=name, extractor=space, n=len(found.distance), average="pooled",
        )  # fmt: skip


def _by_features(sets: _Sets) -> tuple[Found, torch.Tensor]:
    """Return the nearest images by split, and the distances of val's new images to train."""
    found = {name: nearest(sets.features, sets.real[name]) for name in ("train", "test")}
    return found, nearest(sets.real["val"][sets.is_new("val")], sets.real["train"]).distance


def _by_pixels(sets: _Sets, real: Mapping[str, ImageSet]) -> tuple[Found, torch.Tensor]:
    """Do the same with pixels, 0-1, batch by batch."""
    images = {name: one.images for name, one in real.items()}
    found = {name: nearest_pixels(sets.made, images[name]) for name in ("train", "test")}
    new = sets.few_val[sets.is_new("val")[sets.few_val]]
    return found, nearest_pixels(Subset(images["val"], new.numpy()), images["train"]).distance


def _exact(found: Nearest, split: str, sets: _Sets) -> Nearest:
    """Give images that are, pixel for pixel, real ones the distance 0, which rounding may have missed."""
    prints = sets.real_prints[split]
    order = np.argsort(prints, kind="stable")
    place = np.searchsorted(prints[order], sets.prints).clip(max=len(prints) - 1)
    same = torch.from_numpy(order[place])
    is_exact = torch.from_numpy(prints[same.numpy()] == sets.prints)
    return Nearest(found.distance.masked_fill(is_exact, 0.0), torch.where(is_exact, same, found.row))


def _is_near(found: Nearest, limit: float) -> torch.Tensor:
    """Say which images are flagged: those that are exact, however small the limit: `bool [n]`."""
    return (found.distance < limit) | (found.distance == 0)


def _copied(sets: _Sets, limit: float) -> dict[str, int | float | str]:
    """Return which test images have a synthetic image closer than `limit`, and how likely so many are.

    Images of test and val that are train images are no evidence of anything, and never flagged.
    """
    from scipy.stats import fisher_exact

    near = {}
    for name in ("val", "test"):
        is_same = torch.from_numpy(np.isin(sets.real_prints[name], sets.prints))
        is_close = nearest(sets.real[name], sets.features).distance < limit
        near[name] = (is_close | is_same) & sets.is_new(name)
    counts = {name: (int(found.sum()), int((~found).sum())) for name, found in near.items()}
    tested: Any = fisher_exact([counts["test"], counts["val"]], alternative="greater")
    return {
        "n": len(near["test"]),
        "copied": counts["test"][0],
        "copied_bits": pack_bits(near["test"].tolist()),
        "val_n": len(near["val"]),
        "val_copied": counts["val"][0],
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


def _prints(images: LabelledImages) -> Prints:
    return np.concatenate([fingerprints(batch) for batch in images.batches(_BATCH_IMAGES)])


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


def _own_duplicates(sets: _Sets) -> list[Metric]:
    """Count the images of val and test that are train images, pixel for pixel."""
    metrics = []
    for name in ("val", "test"):
        is_new = sets.is_new(name)
        note = f"Images of {name} that are train images, pixel for pixel."
        metrics.append(
            Metric(
                "dataset_duplicates", int((~is_new).sum()), "images", False, (0, len(is_new)), 0.0, note,
                split=name, against="train", n=len(is_new), role="check",
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
