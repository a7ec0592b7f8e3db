"""The `embed` step: features of a set, or what an evaluator computes once of a real split's features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.documents import EmbedDocument, SummaryDocument, the
from genbench.registry import import_target
from genbench.steps import extractors
from genbench.steps.components import open_trained
from genbench.steps.dataset import open_splits
from genbench.steps.samples import open_drawn
from genbench.steps.workshop import Job
from genbench.store import Artifact

_FEATURES, _SUMMARY = "features.npy", "summary.npz"


def run(job: Job[EmbedDocument] | Job[SummaryDocument]) -> None:
    """Compute features, or a summary of them."""
    document, given, folder = job.document, job.given, job.ctx.files
    if isinstance(document, SummaryDocument):
        spec = job.workshop.registry.spec("evaluator", document.summary["use"])
        summarise = import_target(spec.target, spec.name).summarise
        np.savez(folder / _SUMMARY, **summarise(open_features(the(given.features))))
        return
    splits = open_splits(the(given.dataset))
    is_synthetic = document.split == "synthetic"
    images = open_drawn(given).images if is_synthetic else splits.named(document.split)
    network = open_trained(given.network, splits, job.workshop) if given.network else None
    features = extractors.embed(document.component["use"], images, network, job.ctx.device)
    np.save(folder / _FEATURES, features)


def open_features(artifact: Artifact) -> npt.NDArray[np.float32]:
    """Open the features of a set: `float32 [N, D]`."""
    found: npt.NDArray[np.float32] = np.load(artifact.folder / _FEATURES)
    return found


def open_summary(artifact: Artifact) -> Mapping[str, npt.NDArray[Any]]:
    """Open what an evaluator's `summarise` returned, by name."""
    with np.load(artifact.folder / _SUMMARY) as stored:
        return dict(stored)
