"""Options of `ddpm`. Imports neither torch nor numpy."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from genbench.protocols import ADDED_LATER, GeneratorConfig

ChannelMultiplier = Annotated[int, Field(ge=1, le=64)]


Level = Annotated[int, Field(ge=0, le=15)]


Fraction = Annotated[float, Field(ge=0, le=1)]


_SAMPLING = frozenset(
    {
        "sampler",
        "sampling_steps",
        "guidance_scale",
        "guidance_interval",
        "clip_prediction",
        "variance",
        "micro_batch_images",
    }
)


_COSTLESS = frozenset(
    {
        *("timesteps", "schedule", "beta_start", "beta_end", "label_dropout", "clip_prediction", "variance"),
        *("learning_rate", "warmup_fraction", "warmup_gain", "learning_rate_schedule", "weight_decay"),
    }
)


class DdpmConfig(GeneratorConfig):
    """Options of `ddpm`.

    The defaults are `quick`: a small network for 8 to 32 pixels that one CPU core fits in half a minute (8
    pixels) to three minutes (32). It samples ancestrally: a network fitted so briefly draws noise into the
    picture, which fresh noise washes out and the deterministic samplers keep.

    `cpu` is what one CPU core fits to a few thousand images of 32 pixels in half an hour: twice the width on
    patches of 2 x 2 pixels, bf16, five times the steps. Colours, scenes and some vehicles can be told.

    `paper` is Ho et al.'s CIFAR-10 network (App. B) and its 800,000 steps, with what has become usual since:
    bf16, DPM-Solver++ in 25 steps and guidance in an interval. `source-wpi` is the setting of two WPI
    reports (S2, S3), which follow zoubohao/DenoisingDiffusionProbabilityModel-ddpm-; see `ddpm.py` for what
    differs.
    """

    sample_fields: ClassVar[frozenset[str]] = _SAMPLING
    fit_length_fields: ClassVar[frozenset[str]] = frozenset({"fit_steps", "epochs"})
    costless_fields: ClassVar[frozenset[str]] = _COSTLESS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "channels": 8,
            "channel_multipliers": (1, 2),
            "attention_levels": (),
            "blocks_per_level": 1,
            "norm_groups": 4,
            "timesteps": 100,
            "fit_steps": 120,
            "batch_size_images": 32,
            "sampling_steps": 6,
        },
        "quick": {},
        "cpu": {
            "channels": 64,
            "patch_pixels": 2,
            "fit_steps": 4000,
            "learning_rate": 2e-3,
            "ema_decay": 0.998,
            "precision": "bf16",
            "sampler": "dpmpp-sde",
            "sampling_steps": 10,
            "guidance_scale": 4.0,
            "guidance_interval": (0.0, 1.0),
        },
        "paper": {
            "channels": 128,
            "channel_multipliers": (1, 2, 2, 2),
            "attention_levels": (1,),
            "blocks_per_level": 2,
            "norm_groups": 32,
            "dropout": 0.1,
            "timesteps": 1000,
            "schedule": "linear",
            "fit_steps": 800_000,
            "batch_size_images": 128,
            "learning_rate": 2e-4,
            "warmup_fraction": 0.00625,
            "learning_rate_schedule": "constant",
            "weight_decay": 0.0,
            "ema_decay": 0.9999,
            "precision": "bf16",
            "compile": True,
            "sampler": "dpmpp",
            "sampling_steps": 25,
            "guidance_scale": 1.5,
            "guidance_interval": (0.1, 0.6),
            "micro_batch_images": 512,
        },
        "source-wpi": {
            "channels": 128,
            "channel_multipliers": (1, 2, 2, 2),
            "attention_levels": (0, 1, 2, 3),
            "blocks_per_level": 2,
            "norm_groups": 32,
            "dropout": 0.15,
            "timesteps": 500,
            "schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 0.028,
            "epochs": 100,
            "batch_size_images": 64,
            "learning_rate": 1e-4,
            "warmup_fraction": 0.1,
            "warmup_gain": 2.5,
            "learning_rate_schedule": "cosine",
            "weight_decay": 1e-4,
            "clip_norm": 1.0,
            "ema_decay": 0.0,
            "label_dropout": 0.1,
            "sampling_steps": 500,
            "guidance_scale": 2.8,
            "guidance_interval": (0.0, 1.0),
            "clip_prediction": False,
            "variance": "beta",
        },
    }

    channels: int = Field(
        default=16, ge=4, le=1024, multiple_of=4, description="channels at full resolution; a multiple of 4"
    )
    channel_multipliers: tuple[ChannelMultiplier, ...] = Field(
        default=(1, 2, 2),
        min_length=1,
        max_length=8,
        description="channels of each level as a multiple of `channels`; each level halves the image",
    )
    patch_pixels: Annotated[int, ADDED_LATER] = Field(
        default=1,
        ge=1,
        le=16,
        description="side of the patches of pixels that the network takes as channels: 2 makes it several "
        "times as fast at the same width, and loses detail",
    )
    attention_levels: tuple[Level, ...] = Field(
        default=(),
        description="levels with self-attention, 0 being full resolution; the middle always has it",
    )
    blocks_per_level: int = Field(default=1, ge=1, le=8, description="residual blocks per level")
    norm_groups: int = Field(
        default=8, ge=1, le=64, description="groups of every group normalisation; must divide `channels`"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout inside the residual blocks")
    timesteps: int = Field(
        default=1000, ge=10, le=10_000, description="noise levels T of the forward process"
    )
    schedule: Literal["linear", "cosine"] = Field(
        default="cosine", description="noise schedule: linear in beta (DDPM), or cosine in alpha_bar"
    )
    beta_start: float = Field(default=1e-4, gt=0, lt=1, description="linear schedule: beta_1")
    beta_end: float = Field(default=0.02, gt=0, lt=1, description="linear schedule: beta_T")
    fit_steps: int = Field(default=800, ge=1, description="optimizer steps of fit, unless `epochs` is given")
    epochs: float | None = Field(
        default=None, gt=0, description="length of fit in passes over train, instead of `fit_steps`"
    )
    batch_size_images: int = Field(default=32, ge=1, description="images per optimizer step of fit")
    learning_rate: float = Field(default=4e-3, gt=0, description="learning rate (AdamW)")
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1, description="share of fit that is warm-up")
    warmup_gain: float = Field(
        default=1.0,
        ge=1,
        description="1: the rate rises from 0; above 1: from `learning_rate` to this multiple of it",
    )
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="learning rate after warm-up"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay")
    clip_norm: float | None = Field(default=1.0, gt=0, description="gradient norm above which it is clipped")
    ema_decay: float = Field(
        default=0.99, ge=0, lt=1, description="decay of the averaged weights that sample; 0 is off"
    )
    guidance: Literal["classifier-free", "classifier"] = Field(
        default="classifier-free",
        description="guided by the difference to the unguided prediction, or by a classifier of noisy images "
        "that is fitted beside the network",
    )
    label_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="share of images fitted without their class, for guidance"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="autocast precision, also to sample"
    )
    batch_parts: Annotated[int, ADDED_LATER] = Field(
        default=1,
        ge=1,
        le=64,
        description="parts of a batch, whose gradients are added in order; several GPUs share them",
    )
    compile: bool = Field(default=False, description="torch.compile the network (a minute, then faster)")
    sampler: Literal["ddpm", "ddim", "dpmpp", "dpmpp-sde"] = Field(
        default="ddpm",
        description="ancestral sampling, DDIM (eta 0), DPM-Solver++ (2M), or its stochastic form",
    )
    sampling_steps: int = Field(
        default=16, ge=1, description="noise levels visited per image, at most `timesteps`"
    )
    guidance_scale: float = Field(
        default=1.5,
        ge=0,
        le=100,
        description="s in eps_u + s (eps_c - eps_u); 1 is off; the guidance papers' w is s - 1",
    )
    guidance_interval: tuple[Fraction, Fraction] = Field(
        default=(0.1, 0.6),
        description="noise levels t / (T - 1) that are guided; elsewhere the unguided branch is not computed",
    )
    clip_prediction: bool = Field(
        default=True, description="clip the predicted clean image to the pixel range at every step"
    )
    variance: Literal["posterior", "beta"] = Field(
        default="posterior",
        description="ancestral sampling: sigma^2 = beta-tilde_t or beta_t (DDPM, Sec. 3.2)",
    )
    micro_batch_images: int = Field(
        default=128, ge=1, description="images per network call; the last batch is padded to it"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DdpmConfig":
        if self.channels % self.norm_groups:
            raise ValueError(f"norm_groups ({self.norm_groups}) must divide channels ({self.channels})")
        if self.batch_parts > self.batch_size_images:
            raise ValueError(
                f"batch_parts ({self.batch_parts}) must be at most batch_size_images "
                f"({self.batch_size_images})"
            )
        outside = [level for level in self.attention_levels if level >= len(self.channel_multipliers)]
        if outside:
            raise ValueError(
                f"attention_levels {outside} do not exist: channel_multipliers has levels "
                f"0..{len(self.channel_multipliers) - 1}"
            )
        if self.guidance_interval[0] > self.guidance_interval[1]:
            raise ValueError("guidance_interval must be (low, high) with low <= high")
        return self

    def fit_length(self, train_images: int) -> int:
        """Return the optimizer steps of a fit: `epochs` passes over the images, or `fit_steps`."""
        if self.epochs is None:
            return self.fit_steps
        return max(1, math.ceil(self.epochs * train_images / self.batch_size_images))
