"""Fine-tuning a pipeline's U-Net on train with LoRA (arXiv:2106.09685).

W' = W + (alpha / r) B A with alpha = r, on the query, key, value and output projections of every attention,
A Gaussian and B zero at the start (Sec. 4.1). The loss is the one that the network was pretrained with: the
mean squared error of its prediction (noise, velocity or clean image, as the pipeline's scheduler says) under
that scheduler's own noise levels (DDPM, arXiv:2006.11239, Eq. 14). Only A and B are trained, in float32; they
are merged into the weights before sampling, which then takes no longer than without.

Texts are left out of some images, so that guidance still has an unconditional branch: of two
`lora_drop_fraction`, for one of which the source image is left out, too, if there is one. A pipeline whose
network sees a source image (InstructPix2Pix, arXiv:2211.09800) is shown another image of the same class
there: train has no edited pairs. That is a departure from the paper, as is that all its shares (Sec. 3.2.1)
are one option.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from genbench.images import LabelledImages
from genbench.protocols import RunContext
from genbench_generators._diffusion import to_model, to_pixels
from genbench_generators._fitting import Fit, FitPlan, TrainingImages, warmed_up_rate
from genbench_generators._pipeline_parts import required, resized, working_size
from genbench_generators._prompts import fill
from genbench_generators.configs._pipelines import PipelineConfig

_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
_WARMUP_FRACTION = 0.05
_ADVICE = "lower lora_learning_rate, raise lora_batch_size_images, or use precision=fp32"


def fit_adapter(
    pipeline: Any, train: LabelledImages, config: PipelineConfig, with_source: bool, ctx: RunContext
) -> dict[str, torch.Tensor]:
    """Fine-tune a freshly loaded pipeline, which is changed; return A and B by name: `float32`, on the CPU.

    Args:
        pipeline: As `load_pipeline` returns it.
        train: The training images.
        config: Options.
        with_source: Whether the network is handed a source image.
        ctx: Device, seeds, checkpoints.

    Raises:
        GenbenchError: The loss became NaN or infinite.
        UsageError: peft is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ctx.seed("weights"))
        _add_adapter(pipeline.unet, config)
    pipeline.to(ctx.device, torch.float32 if config.precision == "fp32" else torch.bfloat16)
    trained = [value for value in pipeline.unet.parameters() if value.requires_grad]
    for value in trained:
        value.data = value.data.float()
    loss = AdapterLoss(pipeline, train, config, with_source, ctx)
    plan = FitPlan(
        name="LoRA",
        steps=config.lora_steps,
        batch_images=config.lora_batch_size_images,
        rate=warmed_up_rate(config.lora_learning_rate, _WARMUP_FRACTION, config.lora_steps),
        clip_norm=1.0,
        advice=_ADVICE,
        parts=config.lora_batch_parts,
    )
    optimizer = torch.optim.AdamW(trained, config.lora_learning_rate, fused=True)
    Fit(nn.ParameterList(trained), optimizer, loss, plan, ctx).run()
    state = required("peft").get_peft_model_state_dict(pipeline.unet)
    return {name: value.detach().float().cpu().contiguous() for name, value in state.items()}


def merge_adapter(unet: Any, adapter: Mapping[str, torch.Tensor], config: PipelineConfig) -> None:
    """Add the fine-tuned differences to the weights of a U-Net, in float32."""
    with torch.random.fork_rng(devices=[]):  # the weights that are overwritten next
        _add_adapter(unet, config)
    required("peft").set_peft_model_state_dict(unet, dict(adapter))
    unet.fuse_lora()
    unet.unload_lora()


def _add_adapter(unet: Any, config: PipelineConfig) -> None:
    rank = config.lora_rank
    unet.requires_grad_(False)
    unet.add_adapter(
        required("peft").LoraConfig(
            r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(_TARGETS)
        )
    )


class AdapterLoss:
    """The loss of a step; what it draws depends on (seed, step) alone.

    Args:
        pipeline: On `ctx.device`.
        train: The training images.
        config: Options.
        with_source: Whether the network is handed a source image.
        ctx: Device and seeds.
    """

    def __init__(
        self, pipeline: Any, train: LabelledImages, config: PipelineConfig, with_source: bool, ctx: RunContext
    ) -> None:
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        self._pipeline, self._train, self._config, self._ctx = pipeline, train, config, ctx
        self._with_source = with_source
        self._noise: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
        self._images = TrainingImages(train, config.lora_batch_size_images, ctx)
        self._rows = [np.flatnonzero(train.labels == label) for label in range(train.num_classes)]
        self._drawn: tuple[int, tuple[torch.Tensor, ...]] = (-1, ())
        self._texts = self._encoded([*(fill(config.lora_template, name) for name in train.class_names), ""])

    def __call__(self, step: int, rows: slice) -> torch.Tensor:
        """Return the mean squared error of the network's prediction for rows of a batch: a scalar."""
        if self._drawn[0] != step:  # for the whole batch, and once, in however many parts it is used
            self._drawn = (step, self._draw(step))
        x_t, t, texts, goal = (one[rows] for one in self._drawn[1])
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self._config.precision != "fp32"):
            predicted = self._pipeline.unet(x_t, t, texts, return_dict=False)[0]
        return F.mse_loss(predicted.float(), goal)

    @torch.no_grad()
    def _draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return a step's noisy latents, noise levels, encoded texts and what is to be predicted."""
        device = self._ctx.device
        x, labels = self._images.batch(step)
        rng = torch.Generator(device=device).manual_seed(self._ctx.seed("noise", step))
        latents = self._latents(x).sample(rng).float() * self._pipeline.vae.config.scaling_factor
        t = torch.randint(self._noise.config.num_train_timesteps, (len(x),), generator=rng, device=device)
        noise = torch.randn(latents.shape, generator=rng, device=device)
        drawn = torch.rand(len(x), generator=rng, device=device)
        x_t = self._noise.add_noise(latents, noise, t)
        # three shares of the images: without text, without both, without source
        share = self._config.lora_drop_fraction
        texts = self._texts[labels.masked_fill(drawn < 2 * share, len(self._rows))]
        if self._with_source:
            shown = ((drawn < share) | (drawn >= 3 * share)).float()[:, None, None, None]
            x_t = torch.cat([x_t, shown * self._sources(labels, step)], dim=1)
        return x_t, t, texts, self._goal(latents, noise, t)

    def _goal(self, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return what the network is to predict: `float32 [n, c, h, w]`."""
        prediction = self._noise.config.prediction_type
        if prediction == "epsilon":
            return noise
        goal: torch.Tensor = self._noise.get_velocity(latents, noise, t)
        return goal if prediction == "v_prediction" else latents

    def _latents(self, x: torch.Tensor) -> Any:
        """Return the distribution of the latents of images: `float32 [n, 3, H, W]`, -1 to 1."""
        size = working_size(self._config, (3, int(x.shape[2]), int(x.shape[3])))
        large = to_model(resized(to_pixels(x).cpu(), size, self._config.resize)).to(self._ctx.device)
        return self._pipeline.vae.encode(large.to(self._pipeline.vae.dtype)).latent_dist

    def _sources(self, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Return the latents of another image of each class, not scaled: `float32 [n, c, h, w]`."""
        rng = np.random.default_rng(self._ctx.seed("sources", step))
        rows = np.array([rng.choice(self._rows[label]) for label in labels.tolist()])
        mode: torch.Tensor = self._latents(to_model(self._train.batch(rows))).mode()
        return mode.float()

    @torch.no_grad()
    def _encoded(self, texts: list[str]) -> torch.Tensor:
        """Return what the network sees of each text: `float [texts, tokens, width]`."""
        tokenizer = self._pipeline.tokenizer
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        encoded: torch.Tensor = self._pipeline.text_encoder(tokens.to(self._ctx.device))[0]
        return encoded
