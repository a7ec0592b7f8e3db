"""How a network is trained, and on which images: the data that the training engine and the plan share."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, model_validator

from genbench.options import ADDED_LATER, GrownOptions


class TrainRecipe(GrownOptions):
    """How a network is trained. The loop is the harness's and the same for all; this is all that varies."""

    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="optimizer")
    learning_rate: float = Field(default=0.1, gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD momentum")
    nesterov: bool = Field(default=False, description="SGD with Nesterov momentum")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="Adam moment decay rates")
    weight_decay: float = Field(default=5e-4, ge=0, description="weight decay (decoupled for adamw)")
    decay_norm_and_bias: bool = Field(
        default=True, description="whether norm weights and biases are decayed, too"
    )
    schedule: Literal["constant", "multistep", "cosine", "onecycle"] = Field(
        default="cosine", description="learning-rate schedule over the whole budget"
    )
    milestones: tuple[float, ...] = Field(
        default=(0.5, 0.75), description="multistep: fractions of the budget at which the rate drops"
    )
    gamma: float = Field(default=0.1, gt=0, lt=1, description="multistep: factor of each drop")
    warmup_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="share of the budget in which the rate rises linearly from 0"
    )
    epochs: float = Field(
        default=20,
        ge=0,
        description="budget, in passes over the real training images of the baseline; 0 trains nothing: "
        "weights are evaluated as they are",
    )
    steps: Annotated[int | None, ADDED_LATER] = Field(
        default=None,
        ge=1,
        description="budget in optimizer steps instead of epochs: the baseline's, whatever its number of "
        "images (with `--budget epochs`, an arm of M times its images takes M times as many)",
    )
    batch_size_images: int = Field(default=128, ge=1, description="images per optimizer step")
    micro_batch_images: int | None = Field(
        default=None,
        ge=1,
        description="split batches to save memory, and add the gradients up; batch norm sees the parts",
    )
    freeze: Annotated[Literal["backbone", "head"] | None, ADDED_LATER] = Field(
        default=None,
        description="the half that keeps its weights and its batch statistics: `backbone` trains the head "
        "alone (timm's forward_features and forward_head)",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="label smoothing")
    clip_norm: float | None = Field(default=None, gt=0, description="gradient norm above which it is clipped")
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged weights that are evaluated; 0 is off"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="autocast precision of the network"
    )
    channels_last: bool = Field(default=True, description="NHWC memory layout")
    compile: bool = Field(default=False, description="torch.compile the network (5 to 60 s, then faster)")

    @model_validator(mode="after")
    def _learns_or_not(self) -> "TrainRecipe":
        if self.steps is not None and not self.epochs:
            raise ValueError("epochs=0 trains nothing, and steps would have no effect: leave one of them out")
        return self


def total_steps(
    recipe: TrainRecipe,
    real_images: int,
    arm_images: int,
    budget: str,
    scale: float = 1.0,
    epoch_repeats: float = 1.0,
) -> int:
    """Return the optimizer steps of an arm.

    With budget `steps` every arm takes those of the baseline: `epochs` passes over the real images, or the
    recipe's own `steps`. With `epochs` it makes as many passes over its own images as the baseline makes over
    its real ones, more steps the more images it has, also where the recipe says `steps`. Without epochs there
    are no steps: the network is evaluated as it was built. `scale` is the mix' `budget_scale`;
    `epoch_repeats`, of the dataset, is about epochs, and leaves `steps` as they are.
    """
    if not recipe.epochs:
        return 0
    images = real_images if budget == "steps" else arm_images
    if recipe.steps is not None:
        return max(1, math.ceil(recipe.steps * scale * images / real_images))
    epochs = recipe.epochs * (scale * epoch_repeats)
    return max(1, math.ceil(epochs * images / recipe.batch_size_images))


Augment = Literal[
    "off", "standard", "strong", "colour", "shear_zoom", "randaugment", "trivialaugment", "augmix",
    "mixup", "cutmix",
]  # fmt: skip
#: What a name of `Augment` means now, where that is not what it meant at first: every mix of a plan holds it.
POLICY_VERSIONS: Mapping[str, int] = {
    "strong": 4, "colour": 2, "randaugment": 2, "trivialaugment": 2
}  # fmt: skip


class Mix(GrownOptions):
    """How images form the training set. A ratio of 0 is the baseline: real images alone."""

    ratio: float = Field(
        default=1.0, ge=0, le=100, description="synthetic images per real training image; 0 is the baseline"
    )
    mode: Literal["append", "replace", "synthetic-only"] = Field(
        default="append",
        description="add synthetic images, replace real ones by them, or train on them alone",
    )
    augment: Augment = Field(
        default="standard", description="on-the-fly augmentation of all images (`genbench docs protocol`)"
    )
    augment_version: Annotated[int, ADDED_LATER] = Field(
        default=1, ge=1, description="what `augment` means: set by the harness when it plans"
    )
    budget: Literal["steps", "epochs"] = Field(
        default="steps",
        description="`steps`: every arm takes the same optimizer steps; `epochs`: for replays",
    )
    budget_scale: float = Field(default=1.0, gt=0, le=100, description="factor on the budget of every arm")
    batch_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="fix the synthetic share of every batch"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Mix":
        if self.mode == "replace" and self.ratio > 1:
            raise ValueError("mode 'replace' needs ratio <= 1: it drops as many real images as it adds")
        if self.mode == "synthetic-only" and not self.ratio:
            raise ValueError(
                "mode 'synthetic-only' needs ratio > 0: without synthetic images nothing is left"
            )
        if self.mode != "append" and self.batch_fraction is not None:
            raise ValueError("batch_fraction needs mode 'append'")
        return self

    def augmented(self, augment: Augment | None = None) -> "Mix":
        """Return the same mix under another augmentation, or its own, as they are now."""
        name = augment or self.augment
        return self.model_copy(update={"augment": name, "augment_version": POLICY_VERSIONS.get(name, 1)})

    @property
    def label(self) -> str:
        """A few words: `+1.0x standard`; the baseline is its augmentation alone. It leaves out the budget."""
        is_current = self.augment_version == POLICY_VERSIONS.get(self.augment, 1)
        augment = self.augment if is_current else f"{self.augment} (version {self.augment_version})"
        if not self.ratio:
            return augment
        sign = {"append": "+", "replace": "replace ", "synthetic-only": "only "}[self.mode]
        share = f" p={self.batch_fraction}" if self.batch_fraction else ""
        return f"{sign}{self.ratio}x{share} {augment}"

    @property
    def baseline(self) -> "Mix":
        """Real images alone, under the same augmentation and budget."""
        return _baseline_of(self)  # pyright: ignore[reportArgumentType]  # frozen models can be hashed


@lru_cache(maxsize=4096)  # a plan asks for each thousands of times
def _baseline_of(mix: Mix) -> Mix:
    of_baseline = {"ratio": 0.0, "mode": "append", "batch_fraction": None}
    if all(getattr(mix, name) == value for name, value in of_baseline.items()):
        return mix
    return mix.model_copy(update=of_baseline)
