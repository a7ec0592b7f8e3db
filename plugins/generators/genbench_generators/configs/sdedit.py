"""Options of `sdedit`. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import ComponentRef, FittedGenerator, GeneratorConfig


class SdEditConfig(GeneratorConfig):
    """Options of `sdedit`."""

    base: FittedGenerator = Field(
        default=ComponentRef(use="ddpm"), description="the fitted diffusion generator that denoises"
    )
    strength: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="how far the image is noised, as a share of the noise levels: 1 keeps next to nothing",
    )
