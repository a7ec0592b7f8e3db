"""Options of `instruct_pix2pix`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench_generators._prompts import named_prompts
from genbench_generators.configs._pipelines import FINAL, QUICK, SMOKE, PipelineConfig


class InstructPix2PixConfig(PipelineConfig):
    """Options of `instruct_pix2pix`.

    The defaults are InstructPix2Pix's (arXiv:2211.09800) with DiffuseMix's texts (arXiv:2405.14881).
    `official` is the published code of DiffuseMix (khawar-islam/diffuseMix, e58418d), `source-s1` the
    setting of DALISA-2025/CS7643-final-project.
    """

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionInstructPix2PixPipeline",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": SMOKE,
        "quick": QUICK,
        "paper": {**FINAL, "steps": 100},
        "official": {
            "template": "{prompt}",
            "prompts": "official",
            "steps": 100,
            "guidance_scale": 4.0,
            "image_guidance_scale": 1.5,
            "scheduler": "euler-ancestral",
            "working_size_pixels": 256,
            "precision": "fp16",
        },
        "source-s1": {
            "template": "A transformed version of image into {prompt}",
            "prompts": "source-s1",
            "steps": 20,
            "guidance_scale": 7.0,
            "image_guidance_scale": 1.5,
            "working_size_pixels": 512,
            "resize": "lanczos",
            "precision": "fp16",
        },
    }

    model: str = Field(
        default="timbrooks/instruct-pix2pix",
        min_length=1,
        description="Hub id or local folder of an InstructPix2Pix pipeline; its content counts",
    )
    template: str = Field(
        default="A transformed version of image into {prompt}",
        description="instruction of each image: {prompt} is one of `prompts`, {label} the name of its class",
    )
    prompts: tuple[str, ...] = Field(
        default=named_prompts("official"),
        description="texts of which each image draws one, or the name of a list: source-s1, official, clip",
    )
    image_guidance_scale: float = Field(
        default=1.5,
        ge=1,
        le=100,
        description="how strongly the source guides; without effect where guidance_scale is 1 or less",
    )
