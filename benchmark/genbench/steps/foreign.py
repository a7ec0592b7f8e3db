"""What a model of others said, in the place of a network: nothing is trained, and nothing is asked.

The `train` step takes the predictions over, where the files of its classifier are known; the `predict` step
hands them on in the form that all evaluators read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genbench.artifacts import TrainingFacts, write_training
from genbench.documents import TrainDocument, the
from genbench.errors import DataError, PluginError, UsageError
from genbench.protocols import ForeignClassifier
from genbench.records import Source
from genbench.steps.dataset import open_splits
from genbench.steps.workshop import Facts, Job
from genbench.store import Artifact

_LOGITS = ".logits.npy"


def take_over(classifier: ForeignClassifier, job: Job[TrainDocument]) -> Facts:
    """Write the predictions of a model of others, and books that say that it learned from no image here.

    Raises:
        DataError: They do not fit the splits.
    """
    splits, folder = open_splits(the(job.given.dataset)), job.ctx.files
    if job.step.guest is not None:
        raise UsageError(
            "predictions are about test, which a confined training step never sees",
            hint="run built-in components without --confine all; plugins cannot hand over predictions",
        )
    evaluated = splits.evaluated
    said = classifier.logits(evaluated)
    check_splits(list(said))
    for name, logits in said.items():
        expected = (len(evaluated[name]), evaluated[name].num_classes)
        if logits.shape != expected or logits.dtype != np.float32:
            raise PluginError(f"predictions of {name} are {logits.dtype} {logits.shape}, not {expected}")
        np.save(folder / f"{name}{_LOGITS}", logits)
    unseen = {"real": Source(len(splits.train), 0, 0), "synthetic": Source(0, 0, 0)}
    recipe = classifier.recipe().model_dump(mode="json")
    write_training(TrainingFacts(sources=unseen, steps=0, parameters=0, recipe=recipe, history=()), folder)
    return {}


def check_splits(found: Sequence[str]) -> None:
    """Refuse predictions that leave test out.

    Raises:
        DataError: They do.
    """
    if "test" not in found:
        raise DataError(f"predictions: none for test, found {', '.join(found) or 'none at all'}")


def said_elsewhere(trained: Artifact) -> Mapping[str, Path]:
    """Return the files of predictions that `take_over` left, by split; none of a network trained here."""
    return {path.name.removesuffix(_LOGITS): path for path in sorted(trained.folder.glob(f"*{_LOGITS}"))}


def hand_on(said: Mapping[str, Path], folder: Path) -> None:
    """Write them as those of a network: logits, and features without columns."""
    for name, path in said.items():
        logits = np.load(path)
        np.save(folder / f"{name}{_LOGITS}", logits)
        np.save(folder / f"{name}.features.npy", np.zeros((len(logits), 0), np.float32))
