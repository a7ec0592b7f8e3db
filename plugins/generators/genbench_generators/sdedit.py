"""`sdedit`: training images, noised part of the way and denoised again under their class.

SDEdit (arXiv:2108.01073, Algorithm 2, the variance-preserving form):

    x(t0) = sqrt(alpha_bar(t0)) x + sqrt(1 - alpha_bar(t0)) eps,    then the reverse process from t0 to 0.

`strength` is the paper's t0. Departures: the reverse process is the base generator's own sampler, with its
guidance, where the paper takes Euler-Maruyama steps without a class; there is no mask and no second round.
"""

from collections.abc import Iterator

from genbench.errors import UsageError
from genbench.protocols import Denoiser, Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._shared import chunks
from genbench_generators.configs.sdedit import SdEditConfig

_LOADED_IMAGES = 4096  # source images in memory at a time; larger than any usual micro-batch


class SdEdit(Generator):
    """Edits each request's source image with a fitted diffusion generator."""

    def __init__(self, config: SdEditConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield edited copies of the source images.

        Raises:
            UsageError: `base` is no diffusion generator.
        """
        base = ctx.inputs["base"]
        if not isinstance(base, Denoiser):
            raise UsageError(
                f"sdedit: option base is {self.config.base.use!r}, which cannot start from a noised image; "
                "it must be a diffusion generator such as 'ddpm'",
                hint="sdedit:base=ddpm",
            )
        inside = ctx.inside("base")
        for part in chunks(len(request), _LOADED_IMAGES):
            labels, sources = request.labels[part], request.source_indices[part]
            start = request.train.batch(sources)
            made = 0
            for images in base.denoise(start, labels, request.seeds[part], self.config.strength, inside):
                here = slice(made, made + len(images))
                made += len(images)
                yield SyntheticBatch(images, labels[here], sources[here])
