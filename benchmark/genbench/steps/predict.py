"""The `predict` step: what a trained network says about val, test and every shift, each read once.

The network of a built-in classifier reads the splits itself. A stranger's network runs in a room, where there
are no splits: it is handed batches of pixels, without labels, in an order that says nothing about them.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genbench.documents import PredictDocument, the
from genbench.errors import PluginError
from genbench.protocols import Predictions, TrainRecipe
from genbench.steps.components import open_trained, trained_classifier
from genbench.steps.context import StepContext
from genbench.steps.dataset import Splits, open_splits
from genbench.steps.foreign import hand_on, said_elsewhere
from genbench.steps.workshop import Job
from genbench.store import Artifact
from genbench.training import NormalisedNetwork, predict, predict_batches
from genbench.training.predict import BATCH_IMAGES

PIXELS = "pixels"  #: what a room asks for
_LOGITS, _FEATURES = "answers.logits.npy", "answers.features.npy"


def run(job: Job[PredictDocument]) -> None:
    """Ask the cell's network about every evaluated split."""
    splits, trained = open_splits(the(job.given.dataset)), the(job.given.train)
    said = said_elsewhere(trained)
    if said:
        hand_on(said, job.ctx.files)
        return
    if job.step.guest is not None:  # in this process (`--jobs 0`), to the bits that a room gives
        questions = Questions(splits, job.step.key)
        answer(job, questions.next_batch)
        questions.write_answers(job.ctx.files)
        return
    recipe = trained_classifier(trained, job.workshop).recipe()
    network = open_trained(trained, splits, job.workshop)
    write_predictions(network, splits, recipe, job.ctx, job.ctx.files)


def write_predictions(
    network: NormalisedNetwork, splits: Splits, recipe: TrainRecipe, ctx: StepContext, folder: Path
) -> None:
    """Write logits and features of val, test and every shift, each read once."""
    for position, (name, images) in enumerate(splits.evaluated.items()):
        outputs = predict(network, images, recipe.precision, ctx.device)
        np.save(folder / f"{name}.logits.npy", outputs.logits)
        np.save(folder / f"{name}.features.npy", outputs.features)
        ctx.progress(position + 1, len(splits.evaluated))


def open_predictions(artifact: Artifact, splits: Splits) -> dict[str, Predictions]:
    """Open what `write_predictions` wrote; a model of others may have said nothing of a split."""
    return {
        name: Predictions(
            np.load(artifact.folder / f"{name}.logits.npy"),
            np.load(artifact.folder / f"{name}.features.npy"),
            images.labels,
            images.class_names,
        )
        for name, images in splits.evaluated.items()
        if (artifact.folder / f"{name}.logits.npy").is_file()
    }


# ------------------------------------------------------------------------------------- a stranger's network


class Questions:
    """The images of all evaluated splits, shuffled together: what a stranger's network is asked about.

    The order is that of digests of the images, salted with the step's key: a repeated step gives the same
    bits, and nothing that a room knows leads from an image to its place in a split.
    """

    def __init__(self, splits: Splits, key: str) -> None:
        self._splits = splits.evaluated
        self._ends = np.cumsum([len(images) for images in self._splits.values()])
        digests = [
            hashlib.sha256(key.encode() + image.numpy().tobytes()).digest()
            for images in self._splits.values()
            for batch in images.batches(BATCH_IMAGES)
            for image in batch
        ]
        self._order = np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
        self._asked = 0

    def next_batch(self) -> bytes:
        """Return the next pixels, `uint8 [n, 3, H, W]` in NumPy's format; nothing after the last."""
        rows = self._order[self._asked : self._asked + BATCH_IMAGES]
        self._asked += len(rows)
        if not len(rows):
            return b""
        content = io.BytesIO()
        np.save(content, self._pixels(rows))
        return content.getvalue()

    def write_answers(self, folder: Path) -> None:
        """Bring what `answer` left into order, as `write_predictions` writes it.

        Raises:
            PluginError: There is not one answer for each image.
        """
        classes = next(iter(self._splits.values())).num_classes
        for name in (_LOGITS, _FEATURES):
            values = np.load(folder / name, mmap_mode="r")  # its header may claim anything
            if name == _LOGITS and values.shape[1:] != (classes,):
                raise PluginError(f"the network gave {list(values.shape)} logits for {classes} classes")
            if values.dtype != np.float32 or values.ndim != 2 or len(values) != len(self._order):
                raise PluginError(
                    f"the network gave {values.dtype} {list(values.shape)} for {len(self._order)} images: "
                    "float32, a row for each, is what is asked for"
                )
            ordered = np.empty(values.shape, dtype=np.float32)
            ordered[self._order] = values
            kind = name.partition(".")[2]
            for split, part in zip(self._splits, np.split(ordered, self._ends[:-1]), strict=True):
                np.save(folder / f"{split}.{kind}", part)
            (folder / name).unlink()

    def _pixels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return images by their number among all."""
        split_of = np.searchsorted(self._ends, rows, side="right")
        found: npt.NDArray[np.uint8] | None = None
        for place, images in enumerate(self._splits.values()):
            here = np.flatnonzero(split_of == place)
            if len(here):
                start = int(self._ends[place]) - len(images)
                pixels = images.batch(rows[here] - start).numpy()
                if found is None:
                    found = np.empty((len(rows), *pixels.shape[1:]), dtype=np.uint8)
                found[here] = pixels
        assert found is not None
        return found


def answer(job: Job[PredictDocument], ask: Callable[[], bytes]) -> None:
    """Ask the cell's network about whatever images are handed over; called in a room."""
    splits, trained = open_splits(the(job.given.dataset)), the(job.given.train)
    recipe = trained_classifier(trained, job.workshop).recipe()
    network = open_trained(trained, splits, job.workshop)
    outputs = predict_batches(network, _handed_over(ask), recipe.precision, job.ctx.device)
    np.save(job.ctx.files / _LOGITS, outputs.logits)
    np.save(job.ctx.files / _FEATURES, outputs.features)


def _handed_over(ask: Callable[[], bytes]) -> Iterator[torch.Tensor]:
    while content := ask():
        yield torch.from_numpy(np.load(io.BytesIO(content)))
