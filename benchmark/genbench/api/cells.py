"""One cell of a run: its network, its synthetic images, the real ones, and what the network said."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from genbench.errors import UsageError
from genbench.plan import Cell as PlannedCell
from genbench.plan import Plan
from genbench.protocols import Predictions
from genbench.registry import Registry
from genbench.store import Artifact, Store

if TYPE_CHECKING:
    import torch

    from genbench.images import LabelledImages
    from genbench.steps.dataset import Splits
    from genbench.training import NormalisedNetwork


class Cell:
    """One dataset, generator, filter, mix, classifier and seed. Everything is read from the store.

    Attributes:
        name: As `genbench plan` prints it.
        dataset: As it was typed; so are `generator`, `filter` and `classifier`.
        ratio: Synthetic images per real one.
        augment: On-the-fly augmentation.
        index: Of the seed.
    """

    def __init__(self, cell: PlannedCell, plan: Plan, store: Store, registry: Registry) -> None:
        self._cell, self._plan, self._store, self._registry = cell, plan, store, registry
        arm = cell.arm
        self.name = cell.name
        self.dataset, self.generator, self.filter = arm.dataset.label, arm.generator.label, arm.filter.label
        self.classifier = arm.classifier.label if arm.classifier is not None else ""
        self.ratio, self.index = arm.ratio, arm.index
        self.augment = arm.mix.augment if arm.mix is not None else ""

    def __repr__(self) -> str:
        return f"<genbench cell {self.name}>"

    def network(self, device: str = "cpu") -> "NormalisedNetwork":
        """Return the trained network, in evaluation mode.

        It takes pixels, `uint8 [n, 3, H, W]` from 0 to 255, and normalises them itself; it returns logits
        `float32 [n, classes]`. `forward_features` and `forward_head(..., pre_logits=True)` are those of timm;
        `network().network` is the network behind the normalisation, which takes normalised images.

        Raises:
            UsageError: The cell was not run, or it is a model of others of which only predictions are known;
                of the network itself: what it was given is not `uint8`.
        """
        from genbench.steps.components import open_trained
        from genbench.steps.workshop import Workshop

        workshop = Workshop(self._store, self._registry, device)
        network = open_trained(self._artifact("train"), self._splits(), workshop)
        network.register_forward_pre_hook(_takes_pixels)
        vars(network)["forward_features"] = _checked(network.forward_features)
        return network

    def images(self) -> Any:
        """Return the synthetic images that the network was trained on, as a `datasets.Dataset`.

        Columns: `image` (PIL), `label` (with the names of the classes) and `source`, the number of the
        training image that it was made from (a row of `split("train")`), or -1. Blank images are not among
        them, nor what a filter dropped.

        Raises:
            UsageError: The cell is a baseline, or was not run.
        """
        from genbench.export import cell_images

        if not self._cell.sample:
            raise UsageError(f"{self.name} is real images alone: it has no synthetic images")
        self._artifact("sample")
        found = cell_images(self._plan, self._store, self.name)
        sources = [int(found.made.sources[row]) for row in found.kept]
        return _as_dataset(found.made.images, list(map(int, found.kept)), sources)

    def split(self, name: str) -> Any:
        """Return real images of the cell's dataset, as a `datasets.Dataset` with `image` and `label`.

        Args:
            name: `train`, `val`, `test`, or a shift; the order is that of predictions.

        Raises:
            UsageError: There is no such split.
        """
        splits = self._splits()
        known = ["train", *splits.evaluated]
        if name not in known:
            raise UsageError(f"{self.dataset} has no split {name!r}: it has {', '.join(known)}")
        images = splits.named(name)
        return _as_dataset(images, list(range(len(images))))

    def predictions(self) -> Mapping[str, Predictions]:
        """Return what the network said of val, test and every shift: logits, features and true labels.

        Raises:
            UsageError: The cell was not run.
        """
        from genbench.steps.predict import open_predictions

        return open_predictions(self._artifact("predict"), self._splits())

    def _splits(self) -> "Splits":
        from genbench.steps.dataset import open_splits

        return open_splits(self._artifact("dataset"))

    def _artifact(self, stage: str) -> Artifact:
        """Open what a step of this cell left."""
        key = next(one for one in self._cell.steps if self._is_own(one, stage))
        artifact = self._store.open(key)
        if artifact is None:
            raise UsageError(
                f"{self.name}: {self._plan.steps[key].label} is not in the store {self._store.root}",
                hint="genbench.run(...) with the same options makes it",
            )
        return artifact

    def _is_own(self, key: str, stage: str) -> bool:
        step = self._plan.steps[key]
        return step.stage == stage and (stage != "train" or key == self._cell.train)


def _takes_pixels(network: object, given: tuple[Any, ...]) -> None:
    """Refuse images that were scaled or normalised before: they would be so once more, and most are wrong."""
    found = getattr(given[0], "dtype", type(given[0]).__name__) if given else "nothing"
    if str(found) != "torch.uint8":
        raise UsageError(
            f"this network takes pixels, uint8 [n, 3, H, W] from 0 to 255, found {found}",
            hint="cell.network().network takes normalised floats: (pixels / 255 - mean) / std",
        )


def _checked(features: "Callable[[torch.Tensor], torch.Tensor]") -> "Callable[[torch.Tensor], torch.Tensor]":
    def forward_features(pixels: "torch.Tensor") -> "torch.Tensor":
        _takes_pixels(None, (pixels,))
        return features(pixels)

    return forward_features


def _as_dataset(images: "LabelledImages", rows: list[int], sources: list[int] | None = None) -> Any:
    """Return rows of a set as a `datasets.Dataset`; images are kept as PNG."""
    import datasets
    from PIL import Image

    pixels = (images.batch(rows[start : start + 1000]) for start in range(0, len(rows), 1000))
    pictures = [Image.fromarray(one.permute(1, 2, 0).numpy()) for batch in pixels for one in batch]
    columns: dict[str, Any] = {"image": pictures, "label": [int(images.labels[row]) for row in rows]}
    kinds: dict[str, Any] = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(images.class_names)),
    }
    if sources is not None:
        columns["source"], kinds["source"] = sources, datasets.Value("int64")
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
