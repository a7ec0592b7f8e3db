"""`sd_text2img`: images that Stable Diffusion draws from the names of the classes.

Latent diffusion (arXiv:2112.10752) with classifier-free guidance (arXiv:2207.12598), as diffusers has it; the
texts are the ones of arXiv:2210.07574 and arXiv:2212.08420: a template with the class name. Departures: none
of the papers' longer texts (captions, hypernyms) is made; lists of prompts are the user's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from genbench_generators._pipelines import PipelineGenerator
from genbench_generators.configs.sd_text2img import SdText2ImgConfig


class SdText2Img(PipelineGenerator):
    """Starts from noise: the training images are not looked at, unless it is fine-tuned."""

    pipeline_class: ClassVar[str] = "StableDiffusionPipeline"
    edits: ClassVar[bool] = False

    def __init__(self, config: SdText2ImgConfig) -> None:
        super().__init__(config)

    def arguments(self, sources: torch.Tensor | None) -> Mapping[str, Any]:
        """Return nothing: text is all."""
        return {}
