"""Options of `style_transfer`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from genbench import hub
from genbench.protocols import ComponentRef, GeneratorConfig, InputStep
from genbench_generators.configs._image_folders import image_files

WEIGHTS = "model.safetensors"


_REPOSITORIES = {"vgg19": "torchvision/vgg19", "squeezenet": "torchvision/squeezenet1_0"}


_CNN = ComponentRef(use="cnn")


EncoderName = Literal["reference", "squeezenet", "vgg19"]


MaybeReference = Annotated[ComponentRef | None, InputStep("classifier", "train")]


class StyleTransferConfig(GeneratorConfig):
    """Options of `style_transfer`.

    The defaults need nothing but the training images: styles that are drawn here, and an encoder that the
    harness trained on train. `paper` takes ImageNet's VGG-19; `source-s4` is
    kyritzb/Synthetic-Data-Classification-Experiment, as far as it is known (see `style_transfer.py`).
    """

    primary: ClassVar[str | None] = "method"
    location_fields: ClassVar[frozenset[str]] = frozenset({"styles"})
    sample_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "alpha",
            "learning_rate",
            "micro_batch_images",
            "optimizer",
            "preserve_colour",
            "start_noise",
            "steps",
            "style",
            "style_weight",
        }
    )
    fit_length_fields: ClassVar[frozenset[str]] = frozenset({"fit_steps"})
    costless_fields: ClassVar[frozenset[str]] = frozenset(
        {
            *("alpha", "learning_rate", "style", "style_seed", "style_weight", "start_noise"),
            *("fit_learning_rate", "fit_style_weight"),
        }
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "drawn_styles": 4,
            "working_size_pixels": 16,
            "steps": 8,
            "fit_steps": 100,
            "fit_learning_rate": 3e-3,
        },
        "quick": {},
        "paper": {
            "encoder": "vgg19",
            "working_size_pixels": 256,
            "steps": 500,
            "fit_steps": 160_000,
            "fit_learning_rate": 1e-4,
            "fit_style_weight": 10.0,
            "micro_batch_images": 16,
        },
        "source-s4": {
            "method": "adain",
            "encoder": "vgg19",
            "working_size_pixels": 256,
            "style_blur_pixels": 3,
            "fit_steps": 160_000,
            "fit_learning_rate": 1e-4,
            "fit_style_weight": 10.0,
            "micro_batch_images": 16,
        },
    }

    method: Literal["gatys", "adain"] = Field(
        default="gatys",
        description="`gatys`: every image is optimised; `adain`: one pass of a decoder that is fitted once",
    )
    encoder: EncoderName = Field(
        default="reference",
        description="network that sees content and style: `reference`, or torchvision's `vgg19` or "
        "`squeezenet` where their ImageNet weights are present",
    )
    reference: MaybeReference = Field(
        default=_CNN, description="encoder `reference`: a convolutional classifier, trained on real images"
    )
    styles: Path | None = Field(
        default=None, description="folder of style images, one style each; without one, styles are drawn"
    )
    drawn_styles: int = Field(
        default=8, ge=1, le=1000, description="how many styles are drawn, where no folder is given"
    )
    style_seed: int = Field(default=0, ge=0, description="seed of the drawn styles: of colours and shapes")
    style_blur_pixels: int = Field(
        default=1,
        ge=1,
        le=31,
        description="side of the average pooling over every style image, at the working size; 1 is off",
    )
    style: str | None = Field(
        default=None, description="name of the one style to use; without it, each image draws its own"
    )
    working_size_pixels: int = Field(
        default=32,
        ge=4,
        le=1024,
        description="images with a shorter side below this are enlarged to it for the encoder, and the "
        "result is shrunk again; larger images stay as they are",
    )
    preserve_colour: bool = Field(
        default=False, description="take brightness alone from the result, and colours from the source image"
    )
    style_weight: float = Field(
        default=3.0, ge=0, le=1e6, description="gatys: weight of the style loss beside the content loss"
    )
    steps: int = Field(default=60, ge=1, le=100_000, description="gatys: optimiser steps per image")
    optimizer: Literal["adam", "lbfgs"] = Field(
        default="adam", description="gatys: what moves the pixels; `lbfgs` takes one image at a time"
    )
    learning_rate: float = Field(
        default=0.03, gt=0, le=10, description="gatys: learning rate, in units of pixels from 0 to 1 (adam)"
    )
    start_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="gatys: share of noise in the image to start from: 0 is the source, 1 is the paper's",
    )
    alpha: float = Field(
        default=1.0, ge=0, le=1, description="adain: from the source image (0) to the full style (1)"
    )
    fit_steps: int = Field(default=800, ge=1, description="adain: optimiser steps of the decoder")
    batch_size_images: int = Field(default=8, ge=1, description="adain: images and styles per step of fit")
    fit_learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="adain: learning rate of the decoder (Adam)"
    )
    fit_style_weight: float = Field(
        default=1.0, ge=0, description="adain: weight of the style loss in fit (lambda; the authors' is 10)"
    )
    micro_batch_images: int = Field(
        default=64, ge=1, description="images per network call; the last batch is padded to it"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_reference(cls, values: Any) -> Any:
        """Train no classifier that another encoder makes superfluous."""
        other = isinstance(values, Mapping) and values.get("encoder", "reference") != "reference"
        return {**values, "reference": None} if other else values

    @model_validator(mode="after")
    def _consistent(self) -> "StyleTransferConfig":
        if self.encoder == "reference" and self.reference is None:
            raise ValueError("encoder 'reference' needs the option reference, for example reference=cnn")
        if self.style_blur_pixels % 2 == 0:
            raise ValueError(f"style_blur_pixels must be odd, found {self.style_blur_pixels}")
        return self

    def fit_length(self, train_images: int) -> int:
        """Return the optimizer steps of the decoder; `gatys` fits nothing."""
        return self.fit_steps if self.method == "adain" else 1

    def external_data(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Return none for drawn styles and the reference encoder."""
        styles, weights = declared
        return (*[styles] * (self.styles is not None), *[weights] * (self.encoder != "reference"))

    def source_files(self) -> Mapping[str, Path]:
        """Return the style images, by their path inside the folder, and the encoder's weights."""
        files = {f"styles/{name}": path for name, path in self.style_files().items()}
        if self.encoder != "reference":
            files |= {f"encoder/{name}": path for name, path in self.weight_files().items()}
        return files

    def weight_files(self) -> Mapping[str, Path]:
        """Return the files of a pretrained encoder, by their names in its repository."""
        return hub.find(_REPOSITORIES[self.encoder], (WEIGHTS,))

    def style_files(self) -> Mapping[str, Path]:
        """Return the images in the style folder, sorted by their path inside it; none without a folder.

        Raises:
            DataError: It is no folder, holds no image, or a link in it leads out of it.
        """
        if self.styles is None:
            return {}
        otherwise = "style_transfer:styles=FOLDER, or leave it out: styles are drawn"
        return image_files(self.styles, "style_transfer: styles", otherwise)
