"""The `fit` step: a generator learns from the training images."""

from pathlib import Path
from typing import cast

from genbench.artifacts import write_curve, write_stock
from genbench.documents import FitDocument, the
from genbench.errors import PluginError
from genbench.images import LabelledImages
from genbench.protocols import Generator, StockGenerator
from genbench.steps import fit_samples
from genbench.steps.components import build, open_references
from genbench.steps.dataset import Splits, open_splits
from genbench.steps.fit_helpers import joined_by_helpers
from genbench.steps.workshop import Job


def run(job: Job[FitDocument]) -> None:
    """Fit a generator, and keep what it learned and how its loss fell."""
    generator, splits = prepared(job)
    job.ctx.classes = splits.train.num_classes
    with joined_by_helpers(job, generator):
        generator.fit(splits.train, job.ctx)
    generator.save(job.ctx.files)
    if isinstance(generator, StockGenerator):
        _write_stock(generator, splits.train, job.ctx.files)
    write_curve(job.ctx.curve, job.ctx.files)
    fit_samples.finish(job.ctx.work, job.ctx.files)


def prepared(job: Job[FitDocument]) -> tuple[Generator, Splits]:
    """Build the generator, and open what it learns from; the context knows it afterwards."""
    component = build(job.document.component, "generator", job.workshop, job.step.location)
    generator, splits = cast("Generator", component), open_splits(the(job.given.dataset))
    job.ctx.inputs = open_references(job, "generator", splits)
    job.ctx.dataset = splits.facts
    return generator, splits


def _write_stock(generator: StockGenerator, train: LabelledImages, folder: Path) -> None:
    """Note how many images of each class there are: what is asked for is held against it.

    Raises:
        PluginError: They are not of train's classes and size.
    """
    images = generator.stock()
    found, expected = (*images.image_shape, *images.class_names), (*train.image_shape, *train.class_names)
    if found != expected:
        raise PluginError(
            f"{type(generator).__name__} has a stock of {list(images.image_shape)} in {images.num_classes} "
            f"classes where {list(train.image_shape)} in the {train.num_classes} of train are needed"
        )
    write_stock(images.class_counts().tolist(), folder)
