"""The training loop: one for every classifier, every arm and every device.

What a step does depends on (seed, step) alone: the batch, its augmentation and the network's dropout are
drawn from names, so that a run that was killed and resumed is the run that was not, bit for bit on a CPU.
The last weights are used: there is no early stopping, and neither val nor test is seen here.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import record_function

from genbench.errors import GenbenchError, UsageError
from genbench.protocols import Mix, RunContext, TrainRecipe
from genbench.seeding import derive_seed
from genbench.training.data import Batch, TrainingData
from genbench.training.ledger import Ledger
from genbench.training.optimise import (
    AveragedWeights,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from genbench.training.order import BatchOrder
from genbench.training.schedule import learning_rate

_LOG_POINTS = 50  # rows in the history of a run, however long


class Trained(NamedTuple):
    """A trained network and its books.

    Attributes:
        network: The network with its last (or averaged) weights, in evaluation mode.
        history: Rows of step, learning rate, training loss and training accuracy (in %).
        ledger: Images consumed per source.
        steps: Optimizer steps taken.
        images_per_second: Throughput of this attempt; not part of the result.
    """

    network: nn.Module
    history: list[dict[str, float]]
    ledger: dict[str, dict[str, int]]
    steps: int
    images_per_second: float


def total_steps(
    recipe: TrainRecipe, real_images: int, arm_images: int, budget: str, scale: float = 1.0
) -> int:
    """Return the optimizer steps of an arm.

    With budget `steps` every arm takes those of the baseline: `epochs` passes over the real images. With
    `epochs` it takes `epochs` passes over its own images, more steps the more images it has.
    """
    images = real_images if budget == "steps" else arm_images
    return max(1, math.ceil(recipe.epochs * scale * images / recipe.batch_size_images))


def train(
    network: nn.Module,
    data: TrainingData,
    recipe: TrainRecipe,
    mix: Mix,
    steps: int,
    seed: int,
    ctx: RunContext,
) -> Trained:
    """Train a network in place.

    Args:
        network: Freshly built, on `ctx.device`.
        data: The images of this arm.
        recipe: How to train.
        mix: Only `batch_fraction` is read here.
        steps: Optimizer steps to take.
        seed: Training seed: the same for the paired arms of a comparison.
        ctx: Progress and checkpoints.

    Raises:
        UsageError: The batch is larger than the training set.
        GenbenchError: The loss became NaN or infinite.
        ProtocolError: A source of images never entered a gradient step.
        Interrupted: The run was asked to stop; a checkpoint is saved.
    """
    _check_batch(recipe, data)
    loop = _Loop(network, data, recipe, seed, steps, ctx)
    order = BatchOrder(
        data.real_rows, data.synthetic_rows, recipe.batch_size_images, seed, _synthetic_per_batch(recipe, mix)
    )
    forward = torch.compile(network) if recipe.compile else network
    first = loop.restore()
    started = time.perf_counter()
    with torch.random.fork_rng(devices=_devices(ctx)):
        network.train()
        for step in range(first, steps):
            draw = order.at(step)
            with record_function("data"):
                batch = data.batch(draw)
            torch.manual_seed(derive_seed(seed, "network", step))  # dropout and the like, from names
            with _memory_advice(recipe, step):
                loop.optimise(forward, batch, step)
            loop.ledger.enter(draw.rows.to(ctx.device, non_blocking=True))
            if loop.log_due(step):
                loop.log(step)
            if ctx.checkpoint_due():
                loop.checkpoint(step + 1)
    seconds = time.perf_counter() - started
    if loop.average is not None:
        loop.average.move_into_network()
    network.eval()
    speed = (steps - first) * recipe.batch_size_images / max(seconds, 1e-9)
    return Trained(network, loop.history, loop.ledger.close(), steps, speed)


class _Loop:
    """What lives from step to step, and how it is saved."""

    def __init__(
        self,
        network: nn.Module,
        data: TrainingData,
        recipe: TrainRecipe,
        seed: int,
        steps: int,
        ctx: RunContext,
    ) -> None:
        self.network, self.recipe, self.steps, self.ctx = network, recipe, steps, ctx
        self.optimizer = make_optimizer(network, recipe)
        self.average = AveragedWeights(network, recipe.ema_decay) if recipe.ema_decay else None
        self.ledger = Ledger.empty(data.real_rows, data.synthetic_rows, ctx.device)
        self.history: list[dict[str, float]] = []
        self._interval = max(1, steps // _LOG_POINTS)
        self._sums = torch.zeros(3, dtype=torch.float64, device=ctx.device)  # loss, correct, images
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def optimise(self, forward: Callable[..., torch.Tensor], batch: Batch, step: int) -> None:
        """Take one optimizer step."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, step, self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        size = self.recipe.micro_batch_images
        for part in [batch] if size is None else batch.parts(size):
            self._add_gradient(forward, part, len(part.targets) / len(batch.targets))
        with record_function("optimizer"):
            if self.recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(step)

    def _add_gradient(self, forward: Callable[..., torch.Tensor], part: Batch, share: float) -> None:
        """Add the gradient of a part of a batch, weighted by its share: all parts make the whole batch's."""
        device_type = self.ctx.device.partition(":")[0]
        autocast = torch.autocast(device_type, torch.bfloat16, enabled=self.recipe.precision == "bf16")
        with record_function("forward"):
            with autocast:
                logits = forward(part.images)
            loss = _loss(logits.float(), part, self.recipe.label_smoothing)
        with record_function("backward"):
            (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            correct = (logits.argmax(1) == part.targets).sum()
            self._sums += torch.stack(
                [loss.detach().double() * len(logits), correct, correct.new_tensor(len(logits))]
            )

    def log_due(self, step: int) -> bool:
        """Say whether this step ends a row of the history."""
        return (step + 1) % self._interval == 0 or step + 1 == self.steps

    def log(self, step: int) -> None:
        """Add a row to the history; the only place where the loop waits for the device."""
        loss, correct, images = self._sums.tolist()
        self._sums.zero_()
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

    def checkpoint(self, step: int) -> None:
        """Save everything that the steps from `step` on depend on."""
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "average": self.average.tensors() if self.average else {},
            "books": {"visits": self.ledger.visits, "sums": self._sums},
        }
        tensors = {
            f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()
        }
        self.ctx.checkpoint(tensors, {"step": step, "history": self.history})

    def restore(self) -> int:
        """Load the last checkpoint, if there is one, and return the step to go on with."""
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
        self._sums.copy_(parts["books"]["sums"])
        meta: Mapping[str, Any] = saved.meta
        self.history = list(meta["history"])
        return int(meta["step"])


def _loss(logits: torch.Tensor, batch: Batch, smoothing: float) -> torch.Tensor:
    """Cross-entropy; with a pasted patch, weighted between both classes (CutMix, Eq. 1)."""
    if batch.weight is None:
        return F.cross_entropy(logits, batch.targets, label_smoothing=smoothing)
    own = F.cross_entropy(logits, batch.targets, label_smoothing=smoothing, reduction="none")
    other = F.cross_entropy(logits, batch.other_targets, label_smoothing=smoothing, reduction="none")
    return (batch.weight * own + (1 - batch.weight) * other).mean()


@contextlib.contextmanager
def _memory_advice(recipe: TrainRecipe, step: int) -> Iterator[None]:
    """Turn running out of memory into advice.

    Raises:
        GenbenchError: An allocation failed; the message names the option that needs less.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        known = isinstance(problem, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(
            problem
        )
        if not known:
            raise
        now = recipe.micro_batch_images or recipe.batch_size_images
        raise GenbenchError(
            f"out of memory in training step {step + 1}, with {now} images at a time",
            hint=f"recipe.micro_batch_images={max(1, now // 2)} splits the batch and adds the gradients up",
        ) from problem


def _check_batch(recipe: TrainRecipe, data: TrainingData) -> None:
    rows = data.real_rows + data.synthetic_rows
    if recipe.batch_size_images > rows:
        raise UsageError(
            f"recipe.batch_size_images is {recipe.batch_size_images}, but the training set has {rows} images",
            hint=f"choose recipe.batch_size_images of at most {rows}",
        )


def _synthetic_per_batch(recipe: TrainRecipe, mix: Mix) -> int | None:
    if mix.batch_fraction is None:
        return None
    return round(mix.batch_fraction * recipe.batch_size_images)


def _devices(ctx: RunContext) -> list[str]:
    return [ctx.device] if ctx.device.startswith("cuda") else []
