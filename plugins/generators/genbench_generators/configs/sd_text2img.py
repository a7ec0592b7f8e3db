"""Options of `sd_text2img`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench_generators.configs._pipelines import FINAL, QUICK, SMOKE, PipelineConfig


class SdText2ImgConfig(PipelineConfig):
    """Options of `sd_text2img`.

    The defaults are Stable Diffusion's own. `paper` guides by 2, which gives training sets of more variety
    than 7.5 does (arXiv:2212.08420, Sec. 4).
    """

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": SMOKE,
        "quick": QUICK,
        "paper": {**FINAL, "guidance_scale": 2.0},
    }

    model: str = Field(
        default="stable-diffusion-v1-5/stable-diffusion-v1-5",
        min_length=1,
        description="Hub id or local folder of a Stable Diffusion 1 or 2 pipeline; its content counts",
    )
