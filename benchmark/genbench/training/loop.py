"""What lives from step to step of a training: network, optimizer, averages, books, and how they are saved."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import record_function

from genbench.errors import GenbenchError
from genbench.protocols import RunContext, TrainRecipe
from genbench.seeding import derive_seed, seed_device
from genbench.training.data import Batch, TrainingData
from genbench.training.ledger import Ledger
from genbench.training.optimise import (
    AveragedWeights,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from genbench.training.schedule import learning_rate

_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's allocator on a CPU
    "CUDA error: out of memory",  # the driver, where torch's allocator was not asked
    "CUBLAS_STATUS_ALLOC_FAILED",  # cuBLAS, for its workspace
)
_LOG_POINTS = 50  # rows in the history of a run, however long


class Loop:
    """One training between its first and its last step.

    Args:
        network: On the device of `ctx`.
        data: Its images; only their numbers are read here.
        recipe: How to train.
        seed: Training seed.
        steps: Optimizer steps of the whole training.
        ctx: Progress and checkpoints.

    Attributes:
        micro_batch: How many images go through the network at a time; None is the whole batch.
        sums: Loss, correct answers and images since the last row of the history: `float64 [3]`.
    """

    def __init__(
        self,
        network: nn.Module,
        data: TrainingData,
        recipe: TrainRecipe,
        seed: int,
        steps: int,
        ctx: RunContext,
    ) -> None:
        self.network, self.recipe, self.seed, self.steps, self.ctx = network, recipe, seed, steps, ctx
        self.optimizer = make_optimizer(list(network.parameters()), recipe)
        self.average = AveragedWeights(network, recipe.ema_decay) if recipe.ema_decay else None
        self.ledger = Ledger.empty(data.real_rows, data.synthetic_rows, ctx.device)
        self.history: list[dict[str, float]] = []
        self.micro_batch = recipe.micro_batch_images
        self.sums = torch.zeros(3, dtype=torch.float64, device=ctx.device)
        self._interval = max(1, steps // _LOG_POINTS)
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def optimise(self, forward: Callable[..., torch.Tensor], batch: Batch, step: int) -> None:
        """Take one optimizer step; a batch that does not fit is halved, if that changes nothing.

        Raises:
            GenbenchError: Memory ran out, and the network would learn otherwise from smaller parts.
        """
        set_learning_rate(self.optimizer, learning_rate(self.recipe, step, self.steps))
        whole = self.micro_batch
        while not self._add_gradients(forward, batch, step):
            self.micro_batch = self._smaller(step)
            self.ctx.log.warning("out of memory in step %d: %d images at a time", step + 1, self.micro_batch)
        if self.micro_batch != whole and self._drew(step):
            raise self._too_large(step, whole)
        with record_function("optimizer"):
            self.apply_gradient()
            if self.average is not None:
                self.average.update(step)

    def apply_gradient(self) -> None:
        """Clip the gradient, if the recipe says so, and take the optimizer's step."""
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        self.optimizer.step()

    def seed_network(self, step: int) -> None:
        """Let what the network draws in a step (dropout and the like) depend on names alone."""
        seed_device(self.ctx.device, derive_seed(self.seed, "network", step))

    def _add_gradients(self, forward: Callable[..., torch.Tensor], batch: Batch, step: int) -> bool:
        """Compute the gradient of a batch, in parts if need be; say whether the memory was enough."""
        self.optimizer.zero_grad(set_to_none=True)
        self.seed_network(step)
        parts = [batch] if self.micro_batch is None else batch.parts(self.micro_batch)
        try:
            found = [self.gradient(forward, part, len(part.targets) / len(batch.targets)) for part in parts]
        except (MemoryError, RuntimeError) as problem:
            if not out_of_memory(problem):
                raise
            return False
        for sums in found:
            self.sums += sums
        return True

    def gradient(self, forward: Callable[..., torch.Tensor], part: Batch, share: float = 1.0) -> torch.Tensor:
        """Add the gradient of a part of a batch, weighted by its share: all parts make the whole batch's.

        Returns:
            What `tally` says of it.
        """
        device_type = self.ctx.device.partition(":")[0]
        autocast = torch.autocast(device_type, torch.bfloat16, enabled=self.recipe.precision == "bf16")
        with record_function("forward"):
            with autocast:
                logits = forward(part.images)
            loss = batch_loss(logits.float(), part, self.recipe.label_smoothing)
        with record_function("backward"):
            (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
        return tally(loss, logits, part.targets)

    def _smaller(self, step: int) -> int:
        """Halve what goes through the network at a time, if the network does not look across a batch."""
        now = self.micro_batch or self.recipe.batch_size_images
        norms = nn.modules.batchnorm._BatchNorm
        captured = self.recipe.compile and self.ctx.device.startswith("cuda")  # see `engine.compiled`
        if now == 1 or captured or any(isinstance(module, norms) for module in self.network.modules()):
            raise self._too_large(step, self.micro_batch)
        return now // 2

    def _too_large(self, step: int, micro_batch: int | None) -> GenbenchError:
        """Say which option needs less memory: batch norm and dropout learn otherwise from parts.

        What a network learns must not depend on the memory that happened to be free.
        """
        now = micro_batch or self.recipe.batch_size_images
        return GenbenchError(
            f"out of memory in training step {step + 1}, with {now} images at a time",
            hint=f"recipe.micro_batch_images={max(1, now // 2)} splits the batch and adds the gradients up",
        )

    def _drew(self, step: int) -> bool:
        """Say whether the forward passes of this step drew random numbers."""
        read = torch.cuda.get_rng_state if self.ctx.device.startswith("cuda") else torch.get_rng_state
        now = read()
        self.seed_network(step)
        return not torch.equal(now, read())

    def log_due(self, step: int) -> bool:
        """Say whether this step ends a row of the history."""
        return (step + 1) % self._interval == 0 or step + 1 == self.steps

    def log(self, step: int) -> None:
        """Add a row to the history; the only place where the loop waits for the device."""
        loss, correct, images = self.sums.tolist()
        self.sums.zero_()
        rate = learning_rate(self.recipe, step, self.steps)
        mean_loss, accuracy = loss / images, 100 * correct / images
        if not math.isfinite(mean_loss):
            raise GenbenchError(
                f"training diverged: the loss is {mean_loss} by step {step + 1} of {self.steps}, "
                f"learning rate {rate:.3g}",
                hint="lower recipe.learning_rate, set recipe.clip_norm, or raise recipe.warmup_fraction",
            )
        row = {"step": step + 1, "learning_rate": rate, "train_loss": mean_loss, "train_top1": accuracy}
        self.history.append(row)
        self.ctx.progress(step + 1, self.steps, loss=mean_loss, top1=accuracy)

    def checkpoint(self, step: int, optimizer: Mapping[str, torch.Tensor] | None = None) -> None:
        """Save everything that the steps from `step` on depend on.

        Args:
            step: The step to resume at.
            optimizer: Its state, if it is not in this loop's own optimizer.
        """
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer) if optimizer is None else optimizer,
            "average": self.average.tensors() if self.average else {},
            "books": {"visits": self.ledger.visits, "sums": self.sums},
        }
        tensors = {
            f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()
        }
        meta = {"step": step, "history": self.history, "micro_batch": self.micro_batch}
        self.ctx.checkpoint(tensors, meta)

    def restore(self) -> int:
        """Load the last checkpoint, if there is one, and return the step to resume at."""
        saved = self.ctx.restore()
        if saved is None:
            return 0
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value
        try:
            self.network.load_state_dict(parts["network"])
        except RuntimeError as problem:
            raise GenbenchError(
                f"the checkpoint is of another architecture: {str(problem).splitlines()[-1].strip()}",
                hint="genbench store gc removes unfinished work; raise the version of what changed",
            ) from problem
        load_optimizer_tensors(self.optimizer, parts.get("optimizer", {}))
        if self.average is not None:
            self.average.load(parts["average"])
        self.ledger.visits.copy_(parts["books"]["visits"])
        self.sums.copy_(parts["books"]["sums"])
        meta: Mapping[str, Any] = saved.meta
        self.history = list(meta["history"])
        self.micro_batch = meta.get("micro_batch", self.micro_batch)
        return int(meta["step"])


def batch_loss(logits: torch.Tensor, batch: Batch, smoothing: float) -> torch.Tensor:
    """Cross-entropy; with a pasted patch, weighted between both classes (CutMix, arXiv:1905.04899, Eq. 1)."""
    if batch.weight is None:
        return F.cross_entropy(logits, batch.targets, label_smoothing=smoothing)
    own = F.cross_entropy(logits, batch.targets, label_smoothing=smoothing, reduction="none")
    other = F.cross_entropy(logits, batch.other_targets, label_smoothing=smoothing, reduction="none")
    return (batch.weight * own + (1 - batch.weight) * other).mean()


@torch.no_grad()
def tally(loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the summed loss, the correct answers and the images of a batch: `float64 [3]`."""
    correct = (logits.argmax(1) == targets).sum()
    images = torch.full_like(correct, len(logits))  # filled on the device: a copy from the host would wait
    return torch.stack([loss.detach().double() * len(logits), correct, images])


def out_of_memory(problem: BaseException) -> bool:
    """Say whether an exception means that memory ran out: not every library has a class for that."""
    named = isinstance(problem, MemoryError | torch.OutOfMemoryError)
    return named or any(words in str(problem) for words in _OUT_OF_MEMORY)
