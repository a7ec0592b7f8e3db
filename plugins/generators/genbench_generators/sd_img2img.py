"""`sd_img2img`: training images that Stable Diffusion noises part of the way and draws again.

SDEdit (arXiv:2108.01073) in the latent space of arXiv:2112.10752, as diffusers has it: of `steps` noise
levels the last `strength` x `steps` are visited, under a text with the name of the class. What DA-Fusion
(arXiv:2302.07944) and Real Guidance (arXiv:2210.07574) do, without the former's learned words.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from genbench_generators._pipelines import PipelineGenerator
from genbench_generators.configs.sd_img2img import SdImg2ImgConfig


class SdImg2Img(PipelineGenerator):
    """Starts from each request's source image."""

    pipeline_class: ClassVar[str] = "StableDiffusionImg2ImgPipeline"
    edits: ClassVar[bool] = True

    def __init__(self, config: SdImg2ImgConfig) -> None:
        super().__init__(config)
        self.config = config

    def arguments(self, sources: torch.Tensor | None) -> Mapping[str, Any]:
        """Return the source images and how far they are noised."""
        return {"image": sources, "strength": self.config.strength}
