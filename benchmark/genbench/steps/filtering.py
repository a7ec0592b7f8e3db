"""The `filter` step: which images of a sampled set stay, and why the others do not."""

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from genbench.artifacts import write_filter_report
from genbench.documents import FilterDocument, the
from genbench.errors import PluginError, ProtocolError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext
from genbench.steps.components import build, open_references
from genbench.steps.dataset import open_splits
from genbench.steps.samples import SyntheticSet, open_sample
from genbench.steps.workshop import Job
from genbench.store import Artifact

_KEEP = "keep.npy"


def run(job: Job[FilterDocument]) -> None:
    """Ask a filter about every image of a set. Val and test are never handed over."""
    chosen = cast("Filter", build(job.document.component, "filter", job.workshop, job.step.location))
    splits = open_splits(the(job.given.dataset))
    job.ctx.inputs = open_references(job, "filter", splits)
    write_verdicts(chosen, open_sample(the(job.given.sample)), splits.train, job.ctx, job.ctx.files)


def write_verdicts(
    chosen: Filter, synthetic: SyntheticSet, train: LabelledImages, ctx: RunContext, folder: Path
) -> None:
    """Ask a filter about every image; write who stays and why the others do not.

    Raises:
        PluginError: The filter did not judge every image.
        ProtocolError: A class lost every image.
    """
    verdicts = chosen.keep(synthetic.images, train, ctx)
    keep = np.asarray(verdicts.keep, dtype=bool)
    if len(keep) != len(synthetic.images) or len(verdicts.reasons) != len(keep):
        raise PluginError(f"{type(chosen).__name__} judged {len(keep)} of {len(synthetic.images)} images")
    before = synthetic.images.class_counts()
    after = np.bincount(synthetic.images.labels[keep], minlength=len(before))
    lost = [synthetic.images.class_names[label] for label in np.flatnonzero((before > 0) & (after == 0))]
    if lost:
        raise ProtocolError(
            f"{type(chosen).__name__} dropped every image of: {', '.join(lost)} (of {before.tolist()})"
        )
    np.save(folder / _KEEP, keep)
    write_filter_report(verdicts.reasons, before.tolist(), after.tolist(), folder)


def open_kept(verdicts: Artifact) -> npt.NDArray[np.int64]:
    """Return the rows of the sampled set that stay: `int64 [n]`."""
    return np.flatnonzero(np.load(verdicts.folder / _KEEP)).astype(np.int64)
