"""The `sample` step: a generator makes synthetic images."""

import logging
import tempfile
from pathlib import Path
from typing import Any, cast

from genbench.documents import SampleDocument, the
from genbench.errors import GenbenchError, UsageError
from genbench.hookspecs import ComponentSpec
from genbench.plan import Step
from genbench.protocols import Generator, SampleRequest, StockGenerator
from genbench.steps.components import build, open_references
from genbench.steps.context import StepContext
from genbench.steps.dataset import open_splits
from genbench.steps.filtering import judged_so_far
from genbench.steps.helpers import helpers_for
from genbench.steps.requests import Supply, fixed_noise_request, plan_request
from genbench.steps.samples import (
    Sampler,
    mark_whole,
    note_copies,
    open_sample,
    sample_whole,
    shards_of,
    write_empty,
    write_sample,
)
from genbench.steps.workshop import Job, Workshop


def run(job: Job[SampleDocument]) -> None:
    """Sample a generator; a top-up, if anything is missing."""
    asked = job.document.images
    generator = _generator(job) if _spec(job).has_stock else None  # what can be asked for lies there
    supply = _supply(job, generator)
    request = _request(job, supply)
    if asked.top_up and not len(request):
        write_empty(request, job.ctx.files)
    else:
        made_by = generator or _generator(job)
        with helpers_for(job, shards_of(request)) as helpers:
            write_sample(made_by, request, job.ctx, job.ctx.files, asked.top_up, helpers)
    if supply is not None and supply.is_whole:
        mark_whole(job.ctx.files)


def make_share(job: Job[SampleDocument], part: int, parts: int) -> None:
    """Make every n-th shard, and leave them in the scratch folder: what a helper does.

    Args:
        job: The step.
        part: Which of the shards, counted modulo `parts`.
        parts: How many share the work.
    """
    generator = _generator(job)
    supply = _supply(job, generator if _spec(job).has_stock else None)
    Sampler(generator, _request(job, supply), job.ctx, job.document.images.top_up).make_share(part, parts)


def finish(job: Job[SampleDocument]) -> None:
    """Count the images that are copies of real ones: the harness's own look, which no generator sees."""
    splits = open_splits(the(job.given.dataset))
    real = {"train": splits.train, **splits.evaluated}
    if splits.reserve is not None:
        real["reserve"] = splits.reserve
    note_copies(job.ctx.files, splits.train, real)


def sample_with_fixed_noise(step: Step, workshop: Workshop, columns: int, seed: int) -> Any:
    """Sample anew for a picture: seed k of `columns` for image k of every class (S3's way of showing them).

    Args:
        step: A `sample` step whose inputs are in the store.
        workshop: Where.
        columns: Images per class.
        seed: Seed of the noise.

    Returns:
        `uint8 [classes, columns, 3, H, W]`, a numpy array.

    Raises:
        UsageError: The generator starts from another one's images, which have no such seeds.
    """
    with tempfile.TemporaryDirectory() as folder:
        ctx = StepContext(
            step_seed=seed,
            device=workshop.device,
            work=Path(folder),
            files=Path(folder),
            log=logging.Logger("genbench.preview"),
            report=lambda done, total, metrics: None,
        )
        document = cast("SampleDocument", step.work)
        job = Job(step, document, workshop.open_inputs(step), workshop, ctx)
        generator = _generator(job)
        request = _request(job, _supply(job, generator))
        if request.drafts:
            raise UsageError(f"{step.label}: cannot choose the noise of another generator's images")
        if isinstance(generator, StockGenerator):
            raise UsageError(f"{step.label}: the images exist already, and no noise can be chosen for them")
        fixed = fixed_noise_request(request, columns, seed)
        shard = sample_whole(generator, fixed, ctx)
    return shard.reshape(-1, columns, *shard.shape[1:])


def _generator(job: Job[SampleDocument]) -> Generator:
    """Open the step's generator, fitted, with what its options hand over."""
    component = job.document.component
    generator = cast("Generator", build(component, "generator", job.workshop, job.step.location))
    if job.given.fit is not None:
        generator.load(job.given.fit.folder)
    splits = open_splits(the(job.given.dataset))
    job.ctx.inputs = open_references(job, "generator", splits)
    job.ctx.dataset = splits.facts
    return generator


def _spec(job: Job[SampleDocument]) -> ComponentSpec:
    return job.workshop.registry.spec("generator", job.document.component["use"])


def _supply(job: Job[SampleDocument], generator: Generator | None) -> Supply | None:
    """Return the images that are handed out; None for a generator that makes its own."""
    component = job.document.component
    if _spec(job).needs_reserve:
        reserve = open_splits(the(job.given.dataset)).reserve
        if reserve is None:
            raise GenbenchError(
                f"{component['use']} needs held-out real images, and the dataset has no reserve",
                hint="--dataset NAME:reserve=N",
            )
        return Supply(reserve, is_reserve=True)
    if isinstance(generator, StockGenerator):
        return Supply(generator.stock(), is_whole=component["config"]["draw"] == "whole")
    return None


def _request(job: Job[SampleDocument], supply: Supply | None) -> SampleRequest:
    """Settle what the generator is asked for."""
    train = open_splits(the(job.given.dataset)).train
    drafts = {option: open_sample(artifact).as_draft() for option, artifact in job.given.drafts.items()}
    judged = judged_so_far(job.given.filter) if job.given.filter else None
    return plan_request(train, job.document.images, job.ctx.step_seed, drafts, supply, judged)
