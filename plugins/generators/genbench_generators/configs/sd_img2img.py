"""Options of `sd_img2img`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from genbench_generators.configs._pipelines import FINAL, QUICK, SMOKE, PipelineConfig
from genbench_generators.configs.sd_text2img import SdText2ImgConfig


class SdImg2ImgConfig(PipelineConfig):
    """Options of `sd_img2img`."""

    pipelines: ClassVar[tuple[str, ...]] = SdText2ImgConfig.pipelines
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": SMOKE,
        "quick": QUICK,
        "paper": FINAL,
    }

    model: str = Field(
        default="stable-diffusion-v1-5/stable-diffusion-v1-5",
        min_length=1,
        description="Hub id or local folder of a Stable Diffusion 1 or 2 pipeline; its content counts",
    )
    strength: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="how far the source is noised: the share of `steps` that are taken; 1 keeps little of it",
    )

    @model_validator(mode="after")
    def _takes_a_step(self) -> "SdImg2ImgConfig":
        if int(self.strength * self.steps) < 1:
            raise ValueError(
                f"strength {self.strength:g} of {self.steps} steps is less than one step: raise either"
            )
        return self
