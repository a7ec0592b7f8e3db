"""Fitting `ddpm`: Algorithm 1 of DDPM with label dropout, averaged weights and checkpoints.

What a step does depends on (seed, step) alone: its rows, noise levels, dropped labels and noise come from
one generator per step, dropout inside the network from the global generator, seeded at every step. So a fit
that was killed and resumed is the fit that was not, bit for bit on a CPU.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from genbench.errors import GenbenchError
from genbench.images import LabelledImages, memory_limit_bytes
from genbench.protocols import RunContext
from genbench.training.optimise import (
    AveragedWeights,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from genbench_generators._diffusion import Levels, alpha_bar_of, to_model
from genbench_generators._unet import pad, padded_size
from genbench_generators.configs import DdpmConfig

_REPORT_STEPS = 20  # the loss is read from the device this often


def fit_steps(config: DdpmConfig, images: int) -> int:
    """Return the optimizer steps of a fit: `epochs` passes over the images, or `fit_steps`."""
    if config.epochs is None:
        return config.fit_steps
    return max(1, math.ceil(config.epochs * images / config.batch_size_images))


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


class TrainingImages:
    """Serves batches: rows by epoch without replacement, pixels resident on the device where they fit."""

    def __init__(self, train: LabelledImages, batch_size: int, ctx: RunContext) -> None:
        self._train, self._batch_size, self._ctx = train, batch_size, ctx
        self._labels = torch.from_numpy(train.labels).to(ctx.device)
        size_bytes = len(train) * math.prod(train.image_shape)
        resident = size_bytes <= memory_limit_bytes()
        self._pixels = train.all().to(ctx.device) if resident else None
        self._order: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a step's images `float32 [B, 3, H, W]`, -1 to 1, and labels `int64 [B]`, on the device."""
        places = torch.arange(step * self._batch_size, (step + 1) * self._batch_size)
        epochs = places // len(self._train)
        rows = torch.cat(
            [
                self._permutation(epoch)[places[epochs == epoch] % len(self._train)]
                for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
            ]
        )
        if self._pixels is None:
            pixels = self._train.batch(rows).to(self._ctx.device)
        else:
            pixels = self._pixels[rows.to(self._ctx.device)]
        return to_model(pixels), self._labels[rows.to(self._ctx.device)]

    def _permutation(self, epoch: int) -> torch.Tensor:
        if self._order[0] != epoch:
            rng = self._ctx.rng("order", epoch)
            self._order = (epoch, torch.randperm(len(self._train), generator=rng))
        return self._order[1]


class DdpmFit:
    """One fit: the network and what lives from step to step, and how it is saved.

    Args:
        network: Freshly built, on `ctx.device`; changed in place.
        train: The training images.
        config: Options.
        betas: The noise schedule: `float64 [T]`.
        ctx: Seeds, progress and checkpoints.
    """

    def __init__(
        self, network: nn.Module, train: LabelledImages, config: DdpmConfig, betas: Levels, ctx: RunContext
    ) -> None:
        self.network, self.config, self.ctx = network, config, ctx
        self.steps = fit_steps(config, len(train))
        self._images = TrainingImages(train, config.batch_size_images, ctx)
        self._no_class = train.num_classes
        self._size = padded_size(config, *train.image_shape[1:])
        alpha_bar = torch.from_numpy(alpha_bar_of(betas)).to(ctx.device)
        self._signal = alpha_bar.sqrt().float()[:, None, None, None]
        self._noise = (1 - alpha_bar).sqrt().float()[:, None, None, None]
        self._parameters = list(network.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._average = AveragedWeights(network, config.ema_decay) if config.ema_decay else None
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=ctx.device)
        self._last_report = 0

    def run(self) -> None:
        """Take all steps that are left; the network ends with its averaged weights, in evaluation mode.

        Raises:
            GenbenchError: The loss became NaN or infinite.
            Interrupted: The run was asked to stop; a checkpoint is saved.
        """
        first = self._restore()
        forward = torch.compile(self.network) if self.config.compile else self.network
        devices = [self.ctx.device] if self.ctx.device.startswith("cuda") else []
        self.network.train()
        with torch.random.fork_rng(devices=devices):
            for step in range(first, self.steps):
                torch.manual_seed(self.ctx.seed("dropout", step))
                self._step(forward, step)
                due = self.ctx.checkpoint_due()
                if due or (step + 1) % _REPORT_STEPS == 0 or step + 1 == self.steps:
                    self._report(step)
                if due:
                    self._checkpoint(step + 1)
        if self._average is not None:
            self._average.move_into_network()
        self.network.eval()

    def _step(self, forward: Any, step: int) -> None:
        """Take one gradient step on the simple loss |eps - eps_theta(x_t, t, c)|^2 (DDPM, Eq. 14)."""
        x_0, labels = self._images.batch(step)
        x_0 = pad(x_0, *self._size)
        rng = torch.Generator(device=self.ctx.device).manual_seed(self.ctx.seed("noise", step))
        count, device = len(x_0), x_0.device
        t = torch.randint(len(self._signal), (count,), generator=rng, device=device)
        dropped = torch.rand(count, generator=rng, device=device) < self.config.label_dropout
        mirrored = torch.rand(count, generator=rng, device=device) < 0.5
        eps = torch.randn(x_0.shape, generator=rng, device=device)
        labels = labels.masked_fill(dropped, self._no_class)
        if self.config.flip:
            x_0 = torch.where(mirrored[:, None, None, None], x_0.flip(-1), x_0)
        x_t = (self._signal[t] * x_0 + self._noise[t] * eps).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            predicted = forward(x_t, t, labels, return_dict=False)[0]
        loss = F.mse_loss(predicted.float(), eps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        set_learning_rate(self._optimizer, learning_rate(self.config, step, self.steps))
        self._optimizer.step()
        if self._average is not None:
            self._average.update(step)
        self._loss_sum += loss.detach()

    def _report(self, step: int) -> None:
        """Report the mean loss since the last report; the only place that waits for the device."""
        loss = float(self._loss_sum) / (step + 1 - self._last_report)
        self._last_report = step + 1
        self._loss_sum.zero_()
        if not math.isfinite(loss):
            rate = learning_rate(self.config, step, self.steps)
            raise GenbenchError(
                f"ddpm diverged: the loss is {loss} by step {step + 1} of {self.steps}, "
                f"learning rate {rate:.3g}",
                hint="lower learning_rate, set clip_norm=1, raise warmup_fraction, or use precision=fp32",
            )
        self.ctx.progress(step + 1, self.steps, loss=loss)

    def _checkpoint(self, done: int) -> None:
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer),
            "average": self._average.tensors() if self._average else {},
        }
        tensors = {
            f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()
        }
        self.ctx.checkpoint(tensors, {"step": done})

    def _restore(self) -> int:
        """Load the last checkpoint, if there is one, and return the step to go on with."""
        saved = self.ctx.restore()
        if saved is None:
            return 0
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "optimizer": {}, "average": {}}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        self.network.load_state_dict(parts["network"])
        load_optimizer_tensors(self._optimizer, parts["optimizer"])
        if self._average is not None:
            self._average.load(parts["average"])
        self._last_report = int(saved.meta["step"])
        return self._last_report
