"""The training loop: one for every classifier, every arm and every device.

What a step does depends on (seed, step) alone: the batch, its augmentation and the network's dropout are
drawn from names, so that a run that was killed and resumed is the run that was not, bit for bit on a CPU.
The last weights are used: there is no early stopping, and neither val nor test is seen here.
"""

import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from torch import nn
from torch.profiler import record_function

from genbench.errors import UsageError
from genbench.protocols import Mix, RunContext, TrainRecipe
from genbench.training.data import Batch, TrainingData
from genbench.training.halves import hold_still
from genbench.training.loop import Loop
from genbench.training.order import BatchOrder
from genbench.training.whole_step import OneTraining, try_whole_step

Choice = Literal["auto", "on", "off"]

_BLOCK_IMAGES = 1 << 18  # so many draws are brought to the device at a time: five epochs of CIFAR-10


class Trained(NamedTuple):
    """A trained network and its books.

    Attributes:
        network: The network with its last (or averaged) weights, in evaluation mode.
        history: Rows of step, learning rate, training loss and training accuracy (in %).
        ledger: Images consumed per source.
        steps: Optimizer steps taken.
        run: Facts of this attempt, no part of the result: images per second, how many were trained together,
            whether steps were one CUDA graph, into which parts batches were split if the memory was short.
    """

    network: nn.Module
    history: list[dict[str, float]]
    ledger: dict[str, dict[str, int]]
    steps: int
    run: dict[str, float]


def train(  # noqa: PLR0913 - a training is seven things; how its steps are taken is the eighth
    network: nn.Module,
    data: TrainingData,
    recipe: TrainRecipe,
    mix: Mix,
    steps: int,
    seed: int,
    ctx: RunContext,
    *,
    whole_step: Choice = "auto",
) -> Trained:
    """Train a network in place.

    Args:
        network: Freshly built, on `ctx.device`.
        data: The images of this arm.
        recipe: How to train.
        mix: Only `batch_fraction` is read here.
        steps: Optimizer steps to take; with none the network stays as it is.
        seed: Training seed: the same for the paired arms of a comparison.
        ctx: Progress and checkpoints.
        whole_step: Whether a step is one program (see `choose_steps`).

    Raises:
        UsageError: The batch is larger than the training set.
        GenbenchError: The loss became NaN or infinite.
        ProtocolError: A source of images never entered a gradient step.
        Interrupted: The run was asked to stop; a checkpoint is saved.
    """
    if not steps:
        return finish(Loop(network, data, recipe, seed, steps, ctx), 0, 0.0)
    # Invariant: what a step does depends on (seed, step) alone, so that `first` may be any step.
    order = make_order(data, recipe, mix, seed)
    loop = Loop(network, data, recipe, seed, steps, ctx)
    first = loop.restore()
    started = time.perf_counter()
    with torch.random.fork_rng(devices=_devices(ctx)):  # networks draw from the global generators
        network.train()
        hold_still(network)
        way = choose_steps(loop, data, order, first, whole_step)
        for start, count in blocks(first, steps, order.batch_size):
            way.load(start, count)
            for step in range(start, start + count):
                way.take(step)
                if loop.log_due(step):  # the only place that waits for the device
                    loop.log(step)
                if ctx.checkpoint_due():  # after the books of this step: it is not taken again
                    loop.checkpoint(step + 1)
    trained = finish(loop, steps - first, time.perf_counter() - started)
    if way.captured:
        trained.run["whole_step_graph"] = 1
    return trained


class Steps(Protocol):
    """A way to take the steps of a training. All ways take the same steps, to rounding.

    Attributes:
        captured: Whether a step is one CUDA graph.
    """

    captured: bool

    def load(self, first: int, count: int) -> None:
        """Settle what the next `count` steps draw."""
        ...

    def take(self, step: int) -> None:
        """Take the next step that was loaded: data, gradient, optimizer, books."""
        ...


class OneByOne:
    """Takes steps one operation after another: the reference of every other way, and the way of a CPU.

    Args:
        loop: What lives from step to step.
        data: The images; they may be read batch by batch.
        order: Which image enters which step.
    """

    captured = False

    def __init__(self, loop: Loop, data: TrainingData, order: BatchOrder) -> None:
        self._loop, self._data, self._order = loop, data, order
        network, recipe = loop.network, loop.recipe
        self._forward = compiled(network, recipe, loop.ctx.device) if recipe.compile else network
        self._batches: Iterator[tuple[torch.Tensor, Batch]] = iter(())

    def load(self, first: int, count: int) -> None:
        """Settle what the next steps draw."""
        self._batches = batches(self._data, self._order, first, first + count)

    def take(self, step: int) -> None:
        """Take the next step; a batch that does not fit is halved, if that changes nothing."""
        rows, batch = next(self._batches)
        self._loop.optimise(self._forward, batch, step)
        self._loop.ledger.enter(rows)


def choose_steps(
    loop: Loop, data: TrainingData, order: BatchOrder, first: int, whole_step: Choice = "auto"
) -> Steps:
    """Choose how steps are taken: as one program where that can be, which is captured on a GPU.

    Args:
        loop: Restored, its network in training mode.
        data: The images.
        order: Which image enters which step.
        first: The first step to take.
        whole_step: `auto` takes whole steps on a GPU, `on` wherever it can be, `off` nowhere.
    """
    if wants_whole_steps(whole_step, loop.ctx.device) and first < loop.steps:
        reason = None if data.resident_bytes else "the images are read batch by batch"
        reason = reason if loop.micro_batch is None else "batches are split"
        # our own graph captures what is compiled: inductor must not capture parts of it
        compile_it = loop.recipe.compile and reason is None
        forward = torch.compile(loop.network, dynamic=False) if compile_it else loop.network
        block = next(blocks(first, loop.steps, order.batch_size))
        whole = try_whole_step(OneTraining(loop, data, order, forward), block, loop.ctx.log, reason)
        if whole is not None:
            return whole
    return OneByOne(loop, data, order)


def wants_whole_steps(whole_step: Choice, device: str) -> bool:
    """Say whether steps are to be whole, if they can be."""
    return whole_step == "on" or (whole_step == "auto" and device.startswith("cuda"))


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
    return Trained(loop.network, loop.history, loop.ledger.close(trained=loop.steps > 0), loop.steps, facts)


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

    Gradients of a captured graph are kept in its own memory, where those of a second part would overwrite
    them: with split batches, nothing is captured. Shapes are static: a second batch size is a second graph.
    """
    captured = device.startswith("cuda") and recipe.micro_batch_images is None
    return torch.compile(network, mode="reduce-overhead" if captured else "default", dynamic=False)


def _devices(ctx: RunContext) -> list[str]:
    return [ctx.device] if ctx.device.startswith("cuda") else []
