"""The `fit` step: a generator learns from the training images."""

from typing import cast

from genbench.artifacts import write_curve
from genbench.documents import FitDocument, the
from genbench.protocols import Generator
from genbench.steps.components import build, open_references
from genbench.steps.dataset import open_splits
from genbench.steps.workshop import Job


def run(job: Job[FitDocument]) -> None:
    """Fit a generator, and keep what it learned and how its loss fell."""
    component = build(job.document.component, "generator", job.workshop, job.step.location)
    generator, splits = cast("Generator", component), open_splits(the(job.given.dataset))
    job.ctx.inputs = open_references(job, "generator", splits)
    job.ctx.dataset = splits.facts
    generator.fit(splits.train, job.ctx)
    generator.save(job.ctx.files)
    write_curve(job.ctx.curve, job.ctx.files)
