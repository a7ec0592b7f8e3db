"""The training loop: one for every classifier, every arm and every device.

What a step does depends on (seed, step) alone: the batch, its augmentation and the network's dropout are
drawn from names, so that a run that was killed and resumed is the run that was not, bit for bit on a CPU.
The last weights are used: there is no early stopping, and neither val nor test is seen here.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.profiler import record_function

from genbench.errors import UsageError
from genbench.protocols import Mix, RunContext, TrainRecipe
from genbench.training.data import Batch, TrainingData
from genbench.training.loop import Loop
from genbench.training.order import BatchOrder

_BLOCK_IMAGES = 1 << 18  # so many draws are brought to the device at a time: five epochs of CIFAR-10


class Trained(NamedTuple):
    """A trained network and its books.

    Attributes:
        network: The network with its last (or averaged) weights, in evaluation mode.
        history: Rows of step, learning rate, training loss and training accuracy (in %).
        ledger: Images consumed per source.
        steps: Optimizer steps taken.
        run: Facts of this attempt, no part of the result: images per second, how many were trained together,
            and into which parts batches were split if the memory was short.
    """

    network: nn.Module
    history: list[dict[str, float]]
    ledger: dict[str, dict[str, int]]
    steps: int
    run: dict[str, float]


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
    order = make_order(data, recipe, mix, seed)
    loop = Loop(network, data, recipe, seed, steps, ctx)
    forward = compiled(network, recipe, ctx.device) if recipe.compile else network
    first = loop.restore()
    started = time.perf_counter()
    with torch.random.fork_rng(devices=_devices(ctx)):
        network.train()
        for step, (rows, batch) in enumerate(batches(data, order, first, steps), first):
            loop.optimise(forward, batch, step)
            loop.ledger.enter(rows)
            if loop.log_due(step):
                loop.log(step)
            if ctx.checkpoint_due():
                loop.checkpoint(step + 1)
    return finish(loop, steps - first, time.perf_counter() - started)


def finish(loop: Loop, taken: int, seconds: float) -> Trained:
    """Close the books of a loop whose last step was taken.

    Raises:
        ProtocolError: A source of images never entered a gradient step.
    """
    if loop.average is not None:
        loop.average.move_into_network()
    loop.network.eval()
    facts: dict[str, float] = {
        "images_per_second": taken * loop.recipe.batch_size_images / max(seconds, 1e-9)
    }
    if loop.micro_batch is not None and loop.micro_batch != loop.recipe.micro_batch_images:
        facts["micro_batch_images"] = loop.micro_batch
    return Trained(loop.network, loop.history, loop.ledger.close(), loop.steps, facts)


def make_order(data: TrainingData, recipe: TrainRecipe, mix: Mix, seed: int) -> BatchOrder:
    """Settle which image enters which step.

    Raises:
        UsageError: The batch is larger than the training set.
    """
    size, rows = recipe.batch_size_images, data.real_rows + data.synthetic_rows
    if size > rows:
        raise UsageError(
            f"recipe.batch_size_images is {size}, but the training set has {rows} images",
            hint=f"choose recipe.batch_size_images of at most {rows}",
        )
    share = None if mix.batch_fraction is None else round(mix.batch_fraction * size)
    return BatchOrder(data.real_rows, data.synthetic_rows, size, seed, share)


def blocks(first: int, steps: int, images_per_step: int) -> Iterator[tuple[int, int]]:
    """Cut `range(first, steps)` into blocks of consecutive steps: (first step, number)."""
    most = max(1, _BLOCK_IMAGES // images_per_step)
    for start in range(first, steps, most):
        yield start, min(most, steps - start)


def batches(
    data: TrainingData, order: BatchOrder, first: int, steps: int
) -> Iterator[tuple[torch.Tensor, Batch]]:
    """Yield the rows and the batch of every step; draws are brought to the device a block at a time."""
    for start, count in blocks(first, steps, order.batch_size):
        drawn = data.prepare(order.block(start, count))
        for place in range(count):
            with record_function("data"):
                one = drawn.at(place)
                batch = data.make(one)
            yield one.rows, batch


def compiled(network: nn.Module, recipe: TrainRecipe, device: str) -> Callable[..., torch.Tensor]:
    """Compile a network; on a GPU into CUDA graphs, since small networks are bound by launches there.

    Gradients of a captured graph are in its own memory, where those of a second part would overwrite them:
    with split batches, nothing is captured.
    """
    captured = device.startswith("cuda") and recipe.micro_batch_images is None
    return torch.compile(network, mode="reduce-overhead" if captured else "default")


def _devices(ctx: RunContext) -> list[str]:
    return [ctx.device] if ctx.device.startswith("cuda") else []
