"""A generator in one file: training images, blurred. `genbench run --plugin blur_gen.py -g blur -c cnn`."""

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torchvision.transforms.v2.functional import gaussian_blur

import genbench
from genbench.protocols import Generator, GeneratorConfig, RunContext, SampleRequest, SyntheticBatch


class BlurConfig(GeneratorConfig):
    """Options of `blur`."""

    radius: float = Field(default=1.0, gt=0, le=10, description="standard deviation of the blur, in pixels")


class Blur(Generator):
    """Copies of the training images, blurred a little more or less."""

    def __init__(self, config: BlurConfig) -> None:
        self._radius = config.radius

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Blur each source image by a radius drawn from its own seed."""
        images = request.train.batch(request.source_indices)
        blurred = [self._blur(image, int(seed)) for image, seed in zip(images, request.seeds, strict=True)]
        yield SyntheticBatch(torch.stack(blurred), request.labels, request.source_indices)

    def _blur(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        factor = 0.5 + torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
        return gaussian_blur(image, kernel_size=[5, 5], sigma=[self._radius * factor])


@genbench.hookimpl
def genbench_generators() -> Sequence[genbench.ComponentSpec]:
    """Register `blur`."""
    summary = "training images, blurred"
    return [
        genbench.ComponentSpec(
            name="blur", target="blur_gen:Blur", config="blur_gen:BlurConfig", summary=summary
        )
    ]
