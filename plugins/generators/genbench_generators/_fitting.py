"""The loop in which a generator's network is fitted: it can be killed at any step, and resumes bit for bit.

What a step does must depend on (seed, step) alone. Torch's global generator, which dropout draws from, is
seeded at every step (`_batch_parts.py`), and restored at the end.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from genbench.errors import GenbenchError
from genbench.images import LabelledImages, Labels
from genbench.protocols import Draw, RunContext
from genbench.training.data import resident_limit_bytes
from genbench.training.optimise import (
    AveragedWeights,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from genbench_generators._batch_parts import BatchParts, Loss
from genbench_generators._diffusion import to_model

_REPORT_STEPS = 20  # the loss is read from the device this often
_BLOCK_ROWS = 1 << 14  # so many rows are brought to the device at a time


@dataclass(frozen=True)
class FitPlan:
    """How a network is fitted.

    Attributes:
        name: Name of the generator, for messages.
        steps: Optimizer steps.
        batch_images: Images of a step.
        rate: The learning rate of a step.
        clip_norm: Gradient norm above which it is clipped, or None.
        ema_decay: Decay of the averaged weights that are kept; 0 is off.
        advice: What to do when the loss is no longer finite.
        parts: Into how many parts a batch is split (`_batch_parts.py`).
    """

    name: str
    steps: int
    batch_images: int
    rate: Callable[[int], float]
    clip_norm: float | None = None
    ema_decay: float = 0.0
    advice: str = "lower learning_rate, set clip_norm=1, or use precision=fp32"
    parts: int = 1


class Fit:
    """One fit: a network and what lives from step to step, and how that is saved.

    Args:
        network: On `ctx.device`; changed in place. Only parameters that require a gradient are saved.
        optimizer: Over its parameters.
        loss: The mean loss of rows of a step's batch: a scalar tensor.
        plan: How long and how.
        ctx: Device, seeds, checkpoints.
        draw: Makes images with the network, which has its averaged weights by then; None: not watched.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        plan: FitPlan,
        ctx: RunContext,
        draw: Draw | None = None,
    ) -> None:
        self._network, self._optimizer = network, optimizer
        self._plan, self._ctx, self._draw = plan, ctx, draw
        self._parameters = [value for value in network.parameters() if value.requires_grad]
        self._parts = BatchParts(self._parameters, loss, plan.batch_images, plan.parts, ctx)
        self._average = AveragedWeights(network, plan.ema_decay) if plan.ema_decay else None
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=ctx.device)
        self._last_report = 0

    def run(self) -> None:
        """Take all steps that are left; the network ends with its averaged weights, in evaluation mode.

        Raises:
            GenbenchError: The loss became NaN or infinite.
            Interrupted: The run was asked to stop; a checkpoint is saved.
        """
        first = self._restore()
        devices = [self._ctx.device] if self._ctx.device.startswith("cuda") else []
        self._network.train()
        with torch.random.fork_rng(devices=devices):
            for step in range(first, self._plan.steps):
                self._step(step)
                due = self._ctx.checkpoint_due()
                if (step + 1) % _REPORT_STEPS == 0 or step + 1 == self._plan.steps:
                    self._report(step)
                else:  # a step may take a second: how far it is must not wait for the loss
                    self._ctx.progress(step + 1, self._plan.steps)
                if self._draw is not None:  # before the checkpoint: who resumes there has it
                    self._ctx.watch(step + 1, self._plan.steps, self._drawn)
                if due:
                    self._checkpoint(step)
        if self._average is not None:
            self._average.move_into_network()
        self._network.eval()

    def _step(self, step: int) -> None:
        loss = self._parts.gradient(step)
        if self._plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._plan.clip_norm)
        set_learning_rate(self._optimizer, self._plan.rate(step))
        self._optimizer.step()
        if self._average is not None:
            self._average.update(step)
        self._loss_sum += loss

    def _drawn(self, labels: Labels, seeds: Labels) -> torch.Tensor:
        """Draw with what the fit would end with now, and go on as if nothing had been."""
        assert self._draw is not None
        averaged = self._average.in_network() if self._average else contextlib.nullcontext()
        with averaged:
            self._network.eval()
            try:
                return self._draw(labels, seeds)
            finally:
                self._network.train()

    def _report(self, step: int) -> None:
        """Report the mean loss since the last report, which is at the same steps in every fit."""
        loss = self._mean_loss(step)
        self._last_report = step + 1
        self._loss_sum.zero_()
        self._ctx.progress(step + 1, self._plan.steps, loss=loss)

    def _mean_loss(self, step: int) -> float:
        """Return the mean loss since the last report; the only place that waits for the device."""
        loss = float(self._loss_sum) / (step + 1 - self._last_report)
        if not math.isfinite(loss):
            raise GenbenchError(
                f"{self._plan.name} diverged: the loss is {loss} by step {step + 1} of {self._plan.steps}, "
                f"learning rate {self._plan.rate(step):.3g}",
                hint=self._plan.advice,
            )
        return loss

    def _checkpoint(self, step: int) -> None:
        if step + 1 > self._last_report:
            self._mean_loss(step)  # what has diverged is not kept
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "network": self._network.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer),
            "average": self._average.tensors() if self._average else {},
        }
        tensors = {
            f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()
        }
        meta = {"step": step + 1, "reported": self._last_report, "loss_sum": float(self._loss_sum)}
        self._ctx.checkpoint(tensors, meta)

    def _restore(self) -> int:
        """Load the last checkpoint, if there is one, and return the step to resume at."""
        saved = self._parts.agreed(self._ctx.restore)
        if saved is None:
            return 0
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "optimizer": {}, "average": {}}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        self._network.load_state_dict(parts["network"])
        load_optimizer_tensors(self._optimizer, parts["optimizer"])
        if self._average is not None:
            self._average.load(parts["average"])
        done = int(saved.meta["step"])
        self._last_report = int(saved.meta.get("reported", done))
        self._loss_sum.fill_(float(saved.meta.get("loss_sum", 0.0)))
        return done


class TrainingImages:
    """Serves batches: rows by epoch without replacement, pixels resident on the device where they fit.

    The rows of many steps are brought to the device at a time: a step itself copies nothing there.
    """

    def __init__(self, train: LabelledImages, batch_size: int, ctx: RunContext) -> None:
        self._train, self._batch_size, self._ctx = train, batch_size, ctx
        self._labels = torch.from_numpy(train.labels).to(ctx.device)
        size_bytes = len(train) * math.prod(train.image_shape)
        resident = size_bytes <= resident_limit_bytes(ctx.device)
        self._pixels = train.all().to(ctx.device) if resident else None
        self._order: tuple[int, torch.Tensor] = (-1, torch.empty(0))
        self._block_steps = max(1, _BLOCK_ROWS // batch_size)
        self._first = -1
        self._host_rows = self._rows = torch.empty(0)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a step's images `float32 [B, 3, H, W]`, -1 to 1, and labels `int64 [B]`, on the device."""
        first = step - step % self._block_steps
        if first != self._first:
            self._first, self._host_rows = first, self._drawn(first, self._block_steps)
            self._rows = self._host_rows.to(self._ctx.device, non_blocking=True)
        rows = self._rows[step - first]
        if self._pixels is None:
            pixels = self._train.batch(self._host_rows[step - first]).to(self._ctx.device)
        else:
            pixels = self._pixels.index_select(0, rows)
        return to_model(pixels), self._labels.index_select(0, rows)

    def _drawn(self, first: int, steps: int) -> torch.Tensor:
        """Return the rows of consecutive steps: `int64 [steps, B]`."""
        start, end = first * self._batch_size, (first + steps) * self._batch_size
        images = len(self._train)
        rows = [
            self._permutation(epoch)[max(start - epoch * images, 0) : end - epoch * images]
            for epoch in range(start // images, (end - 1) // images + 1)
        ]
        return torch.cat(rows).view(steps, self._batch_size)

    def _permutation(self, epoch: int) -> torch.Tensor:
        if self._order[0] != epoch:
            rng = self._ctx.rng("order", epoch)
            self._order = (epoch, torch.randperm(len(self._train), generator=rng))
        return self._order[1]


def warmed_up_rate(peak: float, warmup_fraction: float, steps: int) -> Callable[[int], float]:
    """Return a schedule: a linear rise from 0, then half a cosine back to 0."""
    warmup = warmup_fraction * steps

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / math.ceil(warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return rate
