"""Options of `classical`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench.protocols import GeneratorConfig


class ClassicalConfig(GeneratorConfig):
    """Options of `classical`.

    Half of the copies are mirrored where the dataset says that its images may be. `source-s4` is the
    augmentation of kyritzb/Synthetic-Data-Classification-Experiment.
    """

    primary: ClassVar[str | None] = "variant"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source-s4": {"variant": "shear_zoom"},
    }

    variant: Literal[
        "flip_crop", "colour", "shear_zoom", "randaugment", "trivialaugment", "augmix", "mixup", "cutmix"
    ] = Field(default="flip_crop", description="which augmentation is applied to each copy, once")
    shift_fraction: float = Field(
        default=0.125, ge=0, le=0.5, description="flip_crop: largest shift as a share of the image's side"
    )
    jitter: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="colour: strength of brightness, contrast and saturation; hue turns a quarter as far",
    )
    shear_degrees: float = Field(
        default=0.2, ge=0, le=45, description="shear_zoom: largest shear angle (Keras counts in degrees)"
    )
    zoom: float = Field(
        default=0.2, ge=0, lt=1, description="shear_zoom: each axis is scaled by 1 - zoom to 1 + zoom"
    )
    mix_alpha: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="mixup, cutmix: lambda is drawn from Beta(mix_alpha, mix_alpha)",
    )
    randaugment_operations: int = Field(
        default=2, ge=1, le=10, description="randaugment: operations per image (N)"
    )
    randaugment_magnitude: int = Field(
        default=9, ge=0, le=30, description="randaugment: magnitude of 30 bins (M)"
    )
