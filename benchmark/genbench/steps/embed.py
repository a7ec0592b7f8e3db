"""The `embed` step: features of a set, or what is computed once of real images or of their features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.copies.known import known_images
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
    if isinstance(document, SummaryDocument) and given.features is None:
        _write_known(job)
        return
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


def _write_known(job: Job[Any]) -> None:
    """Write what the check for copies knows of the real images, a file for each array: they may be large."""
    splits = open_splits(the(job.given.dataset))
    names = ("train", "val", "test", *(["reserve"] if splits.reserve is not None else []))
    known = known_images({name: splits.named(name) for name in names}, job.ctx.device)
    for name, array in known.items():
        np.save(job.ctx.files / f"{name}.npy", array)


def open_summary(artifact: Artifact) -> Mapping[str, npt.NDArray[Any]]:
    """Open what an evaluator's `summarise` returned, or what is known of real images (mapped), by name."""
    if not (artifact.folder / _SUMMARY).is_file():
        return {path.stem: np.load(path, mmap_mode="r") for path in sorted(artifact.folder.glob("*.npy"))}
    with np.load(artifact.folder / _SUMMARY) as stored:
        return dict(stored)
