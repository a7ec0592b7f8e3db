"""Options of `cvae`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from genbench.protocols import GeneratorConfig


class CvaeConfig(GeneratorConfig):
    """Options of `cvae`. The defaults are `quick`."""

    sample_fields: ClassVar[frozenset[str]] = frozenset({"temperature", "micro_batch_images"})
    fit_length_fields: ClassVar[frozenset[str]] = frozenset({"fit_steps"})
    costless_fields: ClassVar[frozenset[str]] = frozenset(
        {"beta", "learning_rate", "warmup_fraction", "temperature"}
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"channels": 8, "latent_dimensions": 8, "fit_steps": 60},
        "paper": {
            "channels": 64,
            "latent_dimensions": 128,
            "fit_steps": 40_000,
            "batch_size_images": 256,
            "ema_decay": 0.999,
            "precision": "bf16",
            "micro_batch_images": 1024,
        },
    }

    channels: int = Field(
        default=32, ge=4, le=1024, description="channels at full resolution; doubled per level"
    )
    latent_dimensions: int = Field(default=32, ge=1, le=4096, description="dimensions of z")
    beta: float = Field(
        default=1.0, ge=0, le=100, description="weight of the divergence (beta-VAE); 1 is the bound"
    )
    fit_steps: int = Field(default=1500, ge=1, description="optimizer steps of fit")
    batch_size_images: int = Field(default=64, ge=1, description="images per optimizer step")
    learning_rate: float = Field(default=2e-3, gt=0, description="peak learning rate (Adam)")
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1, description="share of fit that is warm-up")
    clip_norm: float | None = Field(default=10.0, gt=0, description="gradient norm above which it is clipped")
    ema_decay: float = Field(
        default=0.99, ge=0, lt=1, description="decay of the averaged weights that sample"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="autocast precision")
    temperature: float = Field(
        default=1.0,
        ge=0,
        le=4,
        description="factor on the standard deviation of z when sampling; 1 is the prior",
    )
    micro_batch_images: int = Field(
        default=128, ge=1, description="images per network call; the last batch is padded to it"
    )

    def fit_length(self, train_images: int) -> int:
        """Return the optimizer steps of a fit."""
        return self.fit_steps
