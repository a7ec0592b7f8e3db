"""The `filter` step: which images of a sampled set stay, and why the others do not."""

from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from genbench.artifacts import read_filter_report, write_filter_report
from genbench.documents import TOP_UPS, FilterDocument, Inputs, the
from genbench.errors import PluginError, ProtocolError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext
from genbench.steps.components import build, open_references
from genbench.steps.dataset import open_splits
from genbench.steps.requests import Judged
from genbench.steps.samples import SyntheticSet, open_drawn, open_sample
from genbench.steps.workshop import Job
from genbench.store import Artifact

_KEEP = "keep.npy"
#: What to do where a filter keeps too little of all that may be drawn.
MORE_IMAGES = (
    f"--filter NAME:oversample=N draws N images per image wanted at first, and {TOP_UPS[-1]:g} N in all"
)


def run(job: Job[FilterDocument]) -> None:
    """Ask a filter about every image of a set. Val and test are never handed over.

    After a top-up all images are judged together: what is a copy, or among the best of its class, depends on
    the others. Where the top-up had nothing to make, what was said before stands.

    Raises:
        ProtocolError: After the last top-up, a class has no image left.
    """
    given, folder = job.given, job.ctx.files
    drawn, splits = open_drawn(given), open_splits(the(given.dataset))
    newest = [given.more[number] for number in sorted(given.more)][-1:]
    if given.filter is not None and newest and not len(open_sample(newest[0]).images):
        np.save(folder / _KEEP, np.load(given.filter.folder / _KEEP))
        write_filter_report(**read_filter_report(given.filter), folder=folder)
    else:
        chosen = cast("Filter", build(job.document.component, "filter", job.workshop, job.step.location))
        job.ctx.inputs = open_references(job, "filter", splits)
        write_verdicts(chosen, drawn, splits.train, job.ctx, folder)
    if len(given.more) == len(TOP_UPS):
        _check_classes(job.document.component["use"], drawn, np.load(folder / _KEEP))


def write_verdicts(
    chosen: Filter, synthetic: SyntheticSet, train: LabelledImages, ctx: RunContext, folder: Path
) -> None:
    """Ask a filter about every image; write who stays and why the others do not.

    Raises:
        PluginError: The filter did not judge every image.
    """
    verdicts = chosen.keep(synthetic.images, train, ctx)
    keep = np.asarray(verdicts.keep, dtype=bool)
    if len(keep) != len(synthetic.images) or len(verdicts.reasons) != len(keep):
        raise PluginError(f"{type(chosen).__name__} judged {len(keep)} of {len(synthetic.images)} images")
    before = synthetic.images.class_counts()
    after = np.bincount(synthetic.images.labels[keep], minlength=len(before))
    np.save(folder / _KEEP, keep)
    write_filter_report(verdicts.reasons, before.tolist(), after.tolist(), folder)


def _check_classes(name: str, drawn: SyntheticSet, keep: npt.NDArray[np.bool_]) -> None:
    before = drawn.images.class_counts()
    after = np.bincount(drawn.images.labels[keep], minlength=len(before))
    lost = [
        f"{drawn.images.class_names[label]} ({before[label]} drawn)"
        for label in np.flatnonzero((before > 0) & (after == 0))
    ]
    if lost:
        raise ProtocolError(f"{name} dropped every image of: {', '.join(lost)}", hint=MORE_IMAGES)


def judged_so_far(verdicts: Artifact) -> Judged:
    """Return how many images of each class there were, and how many stayed."""
    report = read_filter_report(verdicts)
    return Judged(*(np.array(report[name], dtype=np.int64) for name in ("before", "after")))


def check_left(given: Inputs[Artifact], left: Artifact) -> None:
    """See whether what a filter's step left is about the images that it was given: top-ups rest on it.

    Raises:
        PluginError: It is not.
    """
    labels, keep = open_drawn(given).images.labels, np.load(left.folder / _KEEP)
    if keep.dtype != bool or keep.shape != labels.shape:
        raise PluginError(f"{_KEEP} is {keep.dtype} {list(keep.shape)}, not bool [{len(labels)}]")
    report, judged = read_filter_report(left), judged_so_far(left)
    found = [len(report["reasons"]), judged.drawn.tolist(), judged.kept.tolist()]
    counts = [np.bincount(some, minlength=len(judged.drawn)).tolist() for some in (labels, labels[keep])]
    if found != [len(labels), *counts]:
        raise PluginError(f"its report says {found[1:]} of {found[0]} images, which are {counts}")


def open_kept(verdicts: Artifact) -> npt.NDArray[np.int64]:
    """Return the rows of the sampled set that stay: `int64 [n]`."""
    return np.flatnonzero(np.load(verdicts.folder / _KEEP)).astype(np.int64)
