"""Fitting `ddpm`: Algorithm 1 of DDPM (arXiv:2006.11239) with label dropout.

A step's rows, noise levels, dropped labels and noise come from one generator per step (see `_fitting.py`).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from genbench.images import LabelledImages
from genbench.protocols import Draw, RunContext
from genbench_generators._diffusion import Levels, alpha_bar_of
from genbench_generators._fitting import Fit, FitPlan, TrainingImages
from genbench_generators._unet import pad, padded_size
from genbench_generators.configs.ddpm import DdpmConfig


def learning_rate(config: DdpmConfig, step: int, steps: int) -> float:
    """Return the rate of a step: warm-up, then constant or half a cosine to 0.

    With `warmup_gain` g > 1 the warm-up goes from `learning_rate` to g times it, as in gradual warm-up
    (arXiv:1706.02677, Sec. 2.2); with 1 it goes from 0 to `learning_rate`.
    """
    peak = config.learning_rate * config.warmup_gain
    floor = config.learning_rate if config.warmup_gain > 1 else 0.0
    warmup = config.warmup_fraction * steps
    if step < warmup:
        return floor + (peak - floor) * (step + 1) / math.ceil(warmup)
    if config.learning_rate_schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


class DdpmFit:
    """One fit of a noise-predicting network; what it learns from each step.

    Args:
        network: Freshly built, on `ctx.device`; changed in place.
        classifier: Classifier of noisy images, fitted beside it; None without classifier guidance.
        train: The training images.
        config: Options.
        betas: The noise schedule.
        ctx: Device, seeds, checkpoints.
        draw: Makes images with the network as it is; None: the fit is not to be watched.
    """

    def __init__(
        self,
        network: nn.Module,
        classifier: nn.Module | None,
        train: LabelledImages,
        config: DdpmConfig,
        betas: Levels,
        ctx: RunContext,
        draw: Draw | None = None,
    ) -> None:
        self.network, self.config, self.ctx, self._draw = network, config, ctx, draw
        self._classifier = classifier
        self.steps = config.fit_length(len(train))
        self._images = TrainingImages(train, config.batch_size_images, ctx)
        self._no_class = train.num_classes
        self._size = padded_size(config, *train.image_shape[1:])
        alpha_bar = torch.from_numpy(alpha_bar_of(betas)).to(ctx.device)
        self._signal = alpha_bar.sqrt().float()[:, None, None, None]
        self._noise = (1 - alpha_bar).sqrt().float()[:, None, None, None]
        self._forward = torch.compile(network, dynamic=False) if config.compile else network

    def run(self) -> None:
        """Fit the network (see `Fit.run`)."""
        config = self.config
        fitted = self.network if self._classifier is None else nn.ModuleList([self.network, self._classifier])
        optimizer = torch.optim.AdamW(
            fitted.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        plan = FitPlan(
            name="ddpm",
            steps=self.steps,
            batch_images=config.batch_size_images,
            rate=lambda step: learning_rate(config, step, self.steps),
            clip_norm=config.clip_norm,
            ema_decay=config.ema_decay,
            advice="lower learning_rate, set clip_norm=1, raise warmup_fraction, or use precision=fp32",
            parts=config.batch_parts,
        )
        Fit(fitted, optimizer, self._loss, plan, self.ctx, self._draw).run()

    def _loss(self, step: int, rows: slice) -> torch.Tensor:
        """Return the simple loss |eps - eps_theta(x_t, t, c)|^2 of rows of a step's batch (DDPM, Eq. 14)."""
        x_0, labels = self._images.batch(step)
        x_0 = pad(x_0, *self._size)
        rng = torch.Generator(device=self.ctx.device).manual_seed(self.ctx.seed("noise", step))
        count, device = len(x_0), x_0.device
        t = torch.randint(len(self._signal), (count,), generator=rng, device=device)
        dropped = torch.rand(count, generator=rng, device=device) < self.config.label_dropout
        mirrored = torch.rand(count, generator=rng, device=device) < 0.5
        eps = torch.randn(x_0.shape, generator=rng, device=device)
        shown = labels.masked_fill(dropped, self._no_class)
        if self.ctx.dataset.flip:
            x_0 = torch.where(mirrored[:, None, None, None], x_0.flip(-1), x_0)
        # What is drawn, is drawn for the whole batch: it does not depend on how that is split.
        x_0, t, eps, shown, labels = x_0[rows], t[rows], eps[rows], shown[rows], labels[rows]
        x_t = (self._signal[t] * x_0 + self._noise[t] * eps).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            predicted = self._forward(x_t, t, shown, return_dict=False)[0]
            logits = None if self._classifier is None else self._classifier(x_t, t)
        loss = F.mse_loss(predicted.float(), eps)
        return loss if logits is None else loss + F.cross_entropy(logits.float(), labels)
