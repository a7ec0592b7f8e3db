"""Options of `diffusemix`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from genbench.protocols import (
    ComponentRef,
    GeneratorConfig,
    SampledGenerator,
)

Orientation = Literal["left", "right", "top", "bottom"]


class DiffuseMixConfig(GeneratorConfig):
    """Options of `diffusemix`.

    The defaults are the paper's: four orientations, half of the image, a hard edge, lambda 0.2; with `sdedit`
    as editor, which needs no download. `paper` edits with InstructPix2Pix. `official` is the published code
    (khawar-islam/diffuseMix, e58418d), `source-s1` the setting of DALISA-2025/CS7643-final-project.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"editor": {"use": "instruct_pix2pix", "preset": "paper"}},
        "official": {
            "editor": {"use": "instruct_pix2pix", "preset": "official"},
            "orientations": ("left", "top"),
            "edge_fraction": 20 / 256,
        },
        "source-s1": {
            "editor": {"use": "instruct_pix2pix", "preset": "source-s1"},
            "orientations": ("left", "top"),
            "cut": "random",
            "blend": 0.15,
        },
    }

    editor: SampledGenerator = Field(
        default=ComponentRef(use="sdedit"),
        description="edits the training images: instruct_pix2pix, sd_img2img, sdedit, ...",
    )
    orientations: tuple[Orientation, ...] = Field(
        default=("left", "right", "top", "bottom"),
        min_length=1,
        description="where the original part may be; one is drawn per image",
    )
    cut: Literal["half", "random"] = Field(
        default="half", description="where the mask is cut: in the middle, or anywhere (S1: 0 .. side - 1)"
    )
    edge_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="width of the linear blend at the cut as a share of the side; 0 is hard",
    )
    fractals: Literal["mandelbrot", "ifs"] = Field(
        default="ifs", description="fractals that are blended in: Mandelbrot crops, or iterated functions"
    )
    fractal_count: int = Field(default=100, ge=1, le=10_000, description="fractals in the set")
    fractal_seed: int = Field(default=0, ge=0, description="seed of the set of fractals")
    blend: float = Field(
        default=0.2, ge=0, le=1, description="lambda: the share of the fractal in the result"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DiffuseMixConfig":
        if len(set(self.orientations)) < len(self.orientations):
            raise ValueError(f"orientations repeat: {list(self.orientations)}")
        return self
