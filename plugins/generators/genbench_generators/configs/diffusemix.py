"""Options of `diffusemix`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from genbench.errors import DataError
from genbench.protocols import ComponentRef, GeneratorConfig, SampledGenerator
from genbench_generators.configs._image_folders import image_files

Orientation = Literal["left", "right", "top", "bottom"]
Fractals = Literal["mandelbrot", "ifs", "folder"]


class DiffuseMixConfig(GeneratorConfig):
    """Options of `diffusemix`.

    The defaults are the paper's: four orientations, half of the image, a hard edge, lambda 0.2; with `sdedit`
    as editor, which needs no download. `paper` edits with InstructPix2Pix. `official` is the published code
    (khawar-islam/diffuseMix, e58418d), whose fractals are a download: `fractals=FOLDER` takes them.
    `source-s1` is the setting of DALISA-2025/CS7643-final-project, with its 100 Mandelbrot images.
    """

    location_fields: ClassVar[frozenset[str]] = frozenset({"fractal_folder"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"editor": {"use": "instruct_pix2pix", "preset": "paper"}},
        "official": {
            "editor": {"use": "instruct_pix2pix", "preset": "official"},
            "orientations": ("left", "top"),
            "edge_fraction": 20 / 256,
            "rounding": "down",
        },
        "source-s1": {
            "editor": {"use": "instruct_pix2pix", "preset": "source-s1"},
            "orientations": ("left", "top"),
            "cut": "random",
            "fractals": "mandelbrot",
            "fractal_count": 100,
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
    fractals: Fractals = Field(
        default="ifs",
        description="what is blended in: `mandelbrot` (S1's), `ifs` (iterated functions, drawn here), or the "
        "images of a folder, as the published set is one",
    )
    fractal_folder: Path | None = Field(
        default=None, description="the folder, where `fractals` is one; its images count, and not its path"
    )
    fractal_count: int = Field(
        default=100, ge=1, le=10_000, description="how many fractals are drawn; a folder has its own number"
    )
    fractal_seed: int = Field(default=0, ge=0, description="seed of the fractals that are drawn")
    blend: float = Field(
        default=0.2, ge=0, le=1, description="lambda: the share of the fractal in the result"
    )
    rounding: Literal["nearest", "down"] = Field(
        default="nearest",
        description="`down`: as the published code, which cuts off after the mask and after the fractal",
    )

    @model_validator(mode="before")
    @classmethod
    def _folder_of_fractals(cls, values: Any) -> Any:
        """Take `fractals=FOLDER` apart: that it is a folder is part of the identity, where it is is not."""
        named = values.get("fractals") if isinstance(values, Mapping) else None
        if named is None or named in get_args(Fractals):
            return values
        return {**values, "fractals": "folder", "fractal_folder": named}

    @model_validator(mode="after")
    def _consistent(self) -> "DiffuseMixConfig":
        if len(set(self.orientations)) < len(self.orientations):
            raise ValueError(f"orientations repeat: {list(self.orientations)}")
        if self.fractal_folder is not None and self.fractals != "folder":
            raise ValueError(
                f"fractals {self.fractals!r} are drawn: write fractals=FOLDER, not fractal_folder"
            )
        return self

    def source_files(self) -> Mapping[str, Path]:
        """Return the fractals of a folder, by their path inside it; none where they are drawn.

        Raises:
            DataError: There is no such folder, or no image in it.
        """
        if self.fractals != "folder":
            return {}
        otherwise = "diffusemix:fractals=FOLDER, fractals=mandelbrot or fractals=ifs"
        if self.fractal_folder is None:
            raise DataError("diffusemix: fractals is a folder, and none is named", hint=otherwise)
        return image_files(self.fractal_folder, "diffusemix: fractals", otherwise)
