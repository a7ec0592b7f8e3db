"""Options of `timm-pretrained`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import ClassifierConfig, TrainRecipe
from genbench_classifiers.configs._shared import CLIPPED_ADAMW

WEIGHTS = "model.safetensors"


_FINE_TUNING: Mapping[str, Any] = {**CLIPPED_ADAMW, "learning_rate": 1e-4}


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

    @model_validator(mode="after")
    def _trains_its_head(self) -> Self:
        if not self.recipe.epochs:
            raise ValueError(
                "recipe.epochs is 0, but the last layer is always drawn anew: timm:NAME,weights=FILE,"
                "recipe.epochs=0 evaluates a checkpoint of the dataset's classes as it is"
            )
        return self

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
