"""The features that distances are computed on, subsamples of equal size, and the three distances of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from genbench.errors import DataError, PluginError
from genbench.metrics import Metric, Role
from genbench.protocols import ImageSet
from genbench.seeding import generator

_EXTRACTOR_NOTES = {
    "reference": "Features of a classifier trained on this train split: not comparable with other boards.",
    "pixels": "Raw pixels: not comparable with published values.",
    "inception": "torchvision's InceptionV3, not the TensorFlow network of published values.",
    "squeezenet": "SqueezeNet 1.0 of ImageNet: not comparable with published values.",
}


class FeatureSets(NamedTuple):
    """Features `float32 [n, D]` of whole sets, and of seeded subsamples of one size.

    The subsamples are drawn regardless of class, and are as large as the smallest set, which is `val` as a
    rule: the floor, real train against real val, then has the n of what it is compared with.
    """

    synthetic: torch.Tensor
    train: torch.Tensor
    few_synthetic: torch.Tensor
    few_train: torch.Tensor
    few_val: torch.Tensor

    @property
    def dimensions(self) -> int:
        """D: numbers per image."""
        return int(self.train.shape[1])

    def on(self, device: str) -> "FeatureSets":
        """Return the same features on a device."""
        return FeatureSets(*(features.to(device) for features in self))

    def centred(self) -> "FeatureSets":
        """Subtract the mean of train: no distance changes, and float32 products are exact enough."""
        centre = self.train.mean(dim=0, dtype=torch.float64).float()
        return FeatureSets(*(features - centre for features in self))

    def sizes(self) -> Mapping[str, int]:
        """Return how many images each metric rests on, for the tables."""
        return {
            "synthetic": len(self.synthetic),
            "train": len(self.train),
            "subsample": len(self.few_val),
            "dimensions": self.dimensions,
        }


class Distances(NamedTuple):
    """One distance, measured three times.

    Attributes:
        train: All synthetic against all training images.
        val: A subsample of synthetic images against val.
        floor: A subsample of training images against val: what real images score.
    """

    train: float
    val: float
    floor: float


def gather(evaluator: str, synthetic: ImageSet, real: Mapping[str, ImageSet]) -> FeatureSets:
    """Check the features of all sets and draw the subsamples.

    Raises:
        DataError: A set has fewer than two images, or a feature is NaN or infinite.
    """
    sets = {"synthetic": synthetic, "train": real["train"], "val": real["val"]}
    found = {name: finite_features(evaluator, name, images) for name, images in sets.items()}
    sizes = {name: len(features) for name, features in found.items()}
    if min(sizes.values()) < 2:
        raise DataError(
            f"{evaluator}: needs at least 2 images in each set, found "
            + ", ".join(f"{size} {name}" for name, size in sizes.items())
        )
    fewest = min(sizes.values())

    def few(name: str) -> torch.Tensor:
        # Drawn from fixed names: the floor is one number, and no option of the evaluator changes another's.
        rng = generator("evaluate", "subsample", name)
        order = torch.randperm(sizes[name], generator=rng)
        return found[name][order[:fewest].sort().values]

    return FeatureSets(found["synthetic"], found["train"], few("synthetic"), few("train"), few("val"))


def distance_metrics(
    template: Metric, extractor: str, distances: Distances, sets: FeatureSets, caution: Callable[[int], str]
) -> list[Metric]:
    """Return the three distances with what they were measured on, and note what a reader must know.

    Args:
        template: What the three have in common: `fid`, `mmd2`, ...
        extractor: Where the features come from.
        distances: The values.
        sets: What they were computed on.
        caution: What to note where the smaller side has n images; empty for nothing.
    """
    few, synthetic, train = len(sets.few_val), len(sets.synthetic), len(sets.train)
    whole = f"{synthetic} synthetic against all {train} training images."
    kinds: list[tuple[Role, str, str, int, float, str, int]] = [
        ("score", "synthetic", "train", synthetic, distances.train, whole, min(synthetic, train)),
        ("score", "synthetic", "val", few, distances.val, f"{few} synthetic against {few} val images.", few),
        (
            "floor",
            "train",
            "val",
            few,
            distances.floor,
            f"{few} real training against {few} val images.",
            few,
        ),
    ]
    return [
        replace(
            template,
            value=value,
            note=" ".join(filter(None, (sizes, _EXTRACTOR_NOTES.get(extractor, ""), caution(smaller)))),
            split=split,
            against=against,
            extractor=extractor,
            n=n,
            role=role,
        )
        for role, split, against, n, value, sizes, smaller in kinds
    ]


def finite_features(evaluator: str, name: str, images: ImageSet) -> torch.Tensor:
    """Return the features of a set: `float32 [n, D]`.

    Raises:
        DataError: One is NaN or infinite.
    """
    features, count = images.features, len(images.images)
    if features is None or features.ndim != 2 or len(features) != count:
        found = "none" if features is None else list(features.shape)
        raise PluginError(f"{evaluator}: features of {name} must be [{count}, D], found {found}")
    unusable = int((~np.isfinite(features)).any(axis=1).sum())
    if unusable:
        raise DataError(
            f"{evaluator}: features of {name} are NaN or infinite for {unusable} of {count} images",
            hint=f"the extractor diverged or is damaged; {evaluator}:extractor=pixels needs none",
        )
    return torch.from_numpy(np.require(features, np.float32, ["C", "W"]))
