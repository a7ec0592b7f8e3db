"""The `predict` step: what a trained network says about val, test and every shift, each read once."""

from pathlib import Path

import numpy as np

from genbench.documents import PredictDocument, the
from genbench.protocols import Predictions, TrainRecipe
from genbench.steps.components import open_trained, trained_classifier
from genbench.steps.context import StepContext
from genbench.steps.dataset import Splits, open_splits
from genbench.steps.workshop import Job
from genbench.store import Artifact
from genbench.training import NormalisedNetwork, predict


def run(job: Job[PredictDocument]) -> None:
    """Ask the cell's network about every evaluated split."""
    splits, trained = open_splits(the(job.given.dataset)), the(job.given.train)
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
    """Open what `write_predictions` wrote."""
    return {
        name: Predictions(
            np.load(artifact.folder / f"{name}.logits.npy"),
            np.load(artifact.folder / f"{name}.features.npy"),
            images.labels,
            images.class_names,
        )
        for name, images in splits.evaluated.items()
    }
