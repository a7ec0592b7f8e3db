"""`ddpm` at preset `smoke` learns without waiting; every sampler and both kinds of guidance draw images."""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import torch
from _data import make_images
from _watch import DEVICE, Checks, no_waits, take

from genbench.protocols import DatasetFacts, RunContext, SampleRequest
from genbench.testing import MemoryContext
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.ddpm import Ddpm

SAMPLERS = get_args(DdpmConfig.model_fields["sampler"].annotation)
IMAGES = 40


def config(**options: Any) -> DdpmConfig:
    """Return the smoke preset with some options of our own."""
    return DdpmConfig(**{**DdpmConfig.presets["smoke"], **options})


def request(count: int = IMAGES) -> SampleRequest:
    """Ask for images of all classes in turn."""
    rows = np.arange(count, dtype=np.int64)
    return SampleRequest(rows % 10, rows + 1, rows, make_images(count))


def draws(**options: Any) -> str:
    """Fit shortly, and draw with the given options.

    Raises:
        AssertionError: The images are too few, of another shape, or all alike.
    """
    with TemporaryDirectory() as folder:
        ctx = MemoryContext(Path(folder), device=DEVICE)
        generator = Ddpm(config(fit_steps=20, micro_batch_images=16, **options))
        generator.fit(make_images(500), ctx)
        images = torch.cat([batch.images for batch in generator.sample(request(), ctx)])
    assert images.shape == (IMAGES, 3, 32, 32), f"images of shape {tuple(images.shape)}"
    assert images.dtype == torch.uint8, f"images of {images.dtype}"
    assert len(images.flatten(1).unique(dim=0)) == IMAGES, "some images are alike"
    return f"{IMAGES} different images"


def learns(*, mirrored: bool = False, **options: Any) -> str:
    """Fit until the watched steps are over."""

    def work(ctx: RunContext) -> None:
        ctx.dataset = DatasetFacts(flip=mirrored)
        Ddpm(config(fit_steps=5_000, **options)).fit(make_images(2_000), ctx)

    return no_waits(take(work))


def main() -> None:
    """Check all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsal", action="store_true", help="small batches, nothing compiled")
    options = parser.parse_args()
    checks = Checks()
    few = {"batch_size_images": 8} if options.rehearsal else {}
    for compiled in (False,) if options.rehearsal else (False, True):
        how = "compiled" if compiled else "eager"
        usual = {"compile": compiled, **few}
        guided = {"guidance_scale": 2.0, **usual}
        checks.check(f"fit, {how}", partial(learns, **usual))
        checks.check(
            f"fit in bf16, mirrored, {how}", partial(learns, precision="bf16", mirrored=True, **usual)
        )
        checks.check(f"guided by a classifier, {how}", partial(draws, guidance="classifier", **guided))
        for sampler in SAMPLERS:
            checks.check(f"{sampler}, {how}", partial(draws, sampler=sampler, **guided))
    checks.exit()


if __name__ == "__main__":
    main()
