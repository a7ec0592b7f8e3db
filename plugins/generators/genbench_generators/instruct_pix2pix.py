"""`instruct_pix2pix`: training images, edited as an instruction says.

InstructPix2Pix (arXiv:2211.09800), as diffusers has it: the network sees the source image, and the prediction
is guided by text and source (Eq. 3). It is the editor of DiffuseMix (arXiv:2405.14881), whose texts are the
default. The published code makes one copy per prompt of every image; here each image draws one prompt.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from genbench_generators._pipelines import PipelineGenerator
from genbench_generators.configs.instruct_pix2pix import InstructPix2PixConfig


class InstructPix2Pix(PipelineGenerator):
    """Edits each request's source image."""

    pipeline_class: ClassVar[str] = "StableDiffusionInstructPix2PixPipeline"
    edits: ClassVar[bool] = True
    unet_sees_source: ClassVar[bool] = True

    def __init__(self, config: InstructPix2PixConfig) -> None:
        super().__init__(config)
        self.config = config

    def arguments(self, sources: torch.Tensor | None) -> Mapping[str, Any]:
        """Return the source images and how strongly they guide."""
        return {"image": sources, "image_guidance_scale": self.config.image_guidance_scale}
