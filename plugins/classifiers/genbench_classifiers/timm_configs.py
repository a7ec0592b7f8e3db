"""Options of `timm` and `timm-pretrained`. Imports neither torch nor timm: names are checked in `build`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import ClassifierConfig, TrainRecipe

WEIGHTS = "model.safetensors"
_ADAMW: Mapping[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "decay_norm_and_bias": False,
    "warmup_fraction": 0.1,
    "clip_norm": 1.0,
}
_FINE_TUNING: Mapping[str, Any] = {**_ADAMW, "learning_rate": 1e-4}


class TimmConfig(ClassifierConfig):
    """Options of `timm`: any architecture of timm, with fresh weights."""

    primary: ClassVar[str | None] = "model"

    model: str = Field(
        default="resnet18",
        min_length=1,
        pattern=r"^[a-z0-9_]+$",
        description="name of the architecture, as timm.list_models() gives it",
    )
    input_size_pixels: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="side that images are resized to, inside the network; none leaves them as they are",
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="dropout before the last layer; none is the model's own"
    )
    drop_path: float | None = Field(
        default=None, ge=0, lt=1, description="stochastic depth at the last block; none is the model's own"
    )
    recipe: TrainRecipe = Field(default=TrainRecipe(**_ADAMW), description="how it is trained")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"recipe": {**_ADAMW, "epochs": 2, "batch_size_images": 32}},
        "quick": {"recipe": {**_ADAMW, "epochs": 20}},
        "paper": {
            "recipe": {
                **_ADAMW,
                "epochs": 200,
                "warmup_fraction": 0.05,
                "label_smoothing": 0.1,
                "precision": "bf16",
                "compile": True,
            }
        },
    }


class TimmPretrainedConfig(ClassifierConfig):
    """Options of `timm-pretrained`: a model of timm with its published weights, to be fine-tuned.

    `input_size_pixels`, the way of resizing and the normalisation are the weights' own unless they are set.
    """

    primary: ClassVar[str | None] = "model"

    model: str = Field(
        default="resnet18.a1_in1k",
        min_length=1,
        pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$",
        description="architecture and weights, as timm.list_pretrained() gives them: timm/<model> on the Hub",
    )
    input_size_pixels: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="side that images are resized to, inside the network; none is the weights' own",
    )
    normalisation: Literal["weights", "train"] = Field(
        default="weights",
        description="mean and spread per channel: what the weights expect, or those of the train images",
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="dropout before the last layer; none is the model's own"
    )
    drop_path: float | None = Field(
        default=None, ge=0, lt=1, description="stochastic depth at the last block; none is the model's own"
    )
    recipe: TrainRecipe = Field(default=TrainRecipe(**_FINE_TUNING), description="how it is fine-tuned")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"input_size_pixels": 32, "recipe": {**_FINE_TUNING, "epochs": 1, "batch_size_images": 32}},
        "quick": {"recipe": {**_FINE_TUNING, "epochs": 3, "batch_size_images": 64}},
        "paper": {"recipe": {**_FINE_TUNING, "epochs": 20, "precision": "bf16", "compile": True}},
    }

    def source_files(self) -> Mapping[str, Path]:
        """Return the weights.

        Raises:
            DataError: They are nowhere, or the model's name does not say which.
        """
        try:
            return hub.find(f"timm/{self.model}", (WEIGHTS,))
        except DataError as problem:
            if "." in self.model:
                raise
            raise DataError(
                f"{problem.message}. {self.model!r} names an architecture: say which of its weights",
                hint=f"python -c 'import timm; print(timm.list_pretrained(\"{self.model}.*\"))' lists them; "
                f"{problem.hint}",
            ) from problem
