"""Several trainings at once, as one network whose weights have one more dimension.

On a GPU, small networks are bound by the launches of kernels, and eight stacked networks launch as many as
one. The arithmetic of each stays its own (`torch.func.vmap` over weights, buffers and batches; optimizers
work element by element), but sums are taken in another order: results agree with those of one training at a
time to rounding, not to the last bit. Trainings that cannot guarantee this run one at a time.
"""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from genbench.errors import GenbenchError, Interrupted
from genbench.protocols import Mix, RunContext, TrainRecipe
from genbench.training.data import Batch, Drawn, StackedData, TrainingData
from genbench.training.engine import (
    Choice,
    Steps,
    Trained,
    blocks,
    choose_steps,
    finish,
    make_order,
    wants_whole_steps,
)
from genbench.training.ledger import Ledger
from genbench.training.loop import Loop, batch_loss, tally
from genbench.training.lowered import Bfloat16
from genbench.training.optimise import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from genbench.training.schedule import learning_rate
from genbench.training.whole_step import try_whole_step

PROBE_STEPS = 20  #: steps of each way that are timed, after a few that are not
_WARM_UP_STEPS = 5


class Run(NamedTuple):
    """What one of several trainings does not share with the others; see `train`."""

    network: nn.Module
    data: TrainingData
    seed: int
    ctx: RunContext

    def scratch(self) -> "Run":
        """Return the same run with a copy of the network."""
        return self._replace(network=deepcopy(self.network))


def refusal(runs: Sequence[Run], recipe: TrainRecipe, mix: Mix) -> str | None:
    """Say why trainings cannot be stacked, or None if they can: one step is tried on copies.

    Networks that draw random numbers (dropout) are refused, since they would draw others than alone.
    """
    if not recipe.epochs:
        return "nothing is trained"
    if recipe.freeze:
        return "half of the network is frozen"
    if recipe.compile:
        return "the recipe compiles its network"
    if recipe.micro_batch_images is not None:
        return "the recipe splits its batches"
    try:
        trial = StackedLoop([run.scratch() for run in runs], recipe, mix, steps=1)
        trial.load(0, 1)
        trial.take(0)
    except (RuntimeError, NotImplementedError, GenbenchError) as problem:
        reason = str(problem).splitlines()[0]
        return "the network draws random numbers" if "randomness error mode" in reason else reason
    return None


def pays(runs: Sequence[Run], recipe: TrainRecipe, mix: Mix) -> bool:
    """Time some steps of both ways on copies, and say whether stacking is faster.

    Each goes the way that it would choose: whole steps, on a GPU.
    """
    steps = _WARM_UP_STEPS + PROBE_STEPS
    stacked = StackedLoop([run.scratch() for run in runs], recipe, mix, steps)
    whole = stacked.choose_steps(0, "auto")
    whole.load(0, steps)
    together = _seconds(whole.take, runs[0].ctx.device)
    alone = runs[0].scratch()
    loop = Loop(alone.network.train(), alone.data, recipe, alone.seed, steps, alone.ctx)
    with torch.random.fork_rng(devices=_devices(runs)):
        way = choose_steps(loop, alone.data, make_order(alone.data, recipe, mix, alone.seed), 0)
        way.load(0, steps)
        one = _seconds(way.take, runs[0].ctx.device)
    runs[0].ctx.log.info("probe: %d together %.2g s a step, one %.2g s", len(runs), together, one)
    return together < len(runs) * one


def train_together(
    runs: Sequence[Run], recipe: TrainRecipe, mix: Mix, steps: int, *, whole_step: Choice = "auto"
) -> list[Trained | GenbenchError]:
    """Train several networks in place, side by side.

    Args:
        runs: Networks of one architecture, images of one size.
        recipe: How to train, the same for all.
        mix: Only `batch_fraction` is read here.
        steps: Optimizer steps to take, the same for all.
        whole_step: Whether a step of all is one program (see `engine.choose_steps`).

    Returns:
        For each run what `train` would return, or raise: one that diverges does not stop the others.

    Raises:
        GenbenchError: The runs were stopped at different steps, and cannot resume together.
        Interrupted: The run was asked to stop; every checkpoint is saved.
    """
    stacked = StackedLoop(runs, recipe, mix, steps)
    first = stacked.restore()
    started = time.perf_counter()
    way = stacked.choose_steps(first, whole_step)
    for start, count in blocks(first, steps, len(runs) * recipe.batch_size_images):
        way.load(start, count)
        for step in range(start, start + count):
            way.take(step)
            stacked.keep_books(step)
    return stacked.finish(steps - first, time.perf_counter() - started, captured=way.captured)


class StackedLoop:
    """Several loops whose networks, averages and books are rows of shared tensors.

    Args:
        runs: The trainings; the parameters of their networks become views.
        recipe: How to train.
        mix: Only `batch_fraction` is read here.
        steps: Optimizer steps of the whole training.
    """

    captured = False

    def __init__(self, runs: Sequence[Run], recipe: TrainRecipe, mix: Mix, steps: int) -> None:
        self._recipe, self._steps, self.device = recipe, steps, runs[0].ctx.device
        self._template = deepcopy(runs[0].network).to("meta").train()
        self._weights = _stacked([dict(run.network.named_parameters()) for run in runs])
        self._buffers = _stacked([dict(run.network.named_buffers()) for run in runs])
        self._loops = [Loop(run.network, run.data, recipe, run.seed, steps, run.ctx) for run in runs]
        self.optimizer = make_optimizer(list(self._weights.values()), recipe, stacked=True)
        self._orders = [make_order(run.data, recipe, mix, run.seed) for run in runs]
        self._data = StackedData([run.data for run in runs])
        self._failed: dict[int, GenbenchError] = {}
        self._share_books()

    def choose_steps(self, first: int, whole_step: Choice) -> Steps:
        """Choose how steps are taken: as one program where that can be, which is captured on a GPU."""
        if wants_whole_steps(whole_step, self.device) and first < self._steps:
            block = next(blocks(first, self._steps, len(self._loops) * self._recipe.batch_size_images))
            reason = None if self._data.resident else "the images are read batch by batch"
            whole = try_whole_step(self, block, self._loops[0].ctx.log, reason)
            if whole is not None:
                return whole
        return self

    def prepare(self, first: int, steps: int) -> Drawn:
        """Settle the batches of consecutive steps: `[steps, trainings, B]`."""
        return self._data.prepare([order.block(first, steps) for order in self._orders])

    def load(self, first: int, count: int) -> None:
        """Settle what the next steps draw."""
        self._first, self._drawn = first, self.prepare(first, count)

    def take(self, step: int) -> None:
        """Take one optimizer step of every training, one operation after another."""
        set_learning_rate(self.optimizer, self.rate(step))
        self._learn(self._drawn.at(step - self._first))
        for loop in self._loops:
            if loop.average is not None:
                loop.average.update(step)

    def act(self, drawn: Drawn, weight: torch.Tensor) -> None:
        """Take one optimizer step of every training, at the optimizer's present rate."""
        self._learn(drawn)
        for loop in self._loops:
            if loop.average is not None:
                loop.average.approach(weight)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, the same for all."""
        return learning_rate(self._recipe, step, self._steps)

    def weight(self, step: int) -> float:
        """Return the weight of the present weights in their averages after a step; 0 without averages."""
        average = self._loops[0].average
        return 0.0 if average is None else average.weight(step)

    def seed(self, step: int) -> None:
        """Networks that draw random numbers are not stacked."""

    def state(self) -> list[torch.Tensor]:
        """Return weights, buffers, averages and books of all."""
        averages = [value for loop in self._loops if loop.average for value in loop.average.shadow]
        return [*self._weights.values(), *self._buffers.values(), *averages, self._sums, self._visits]

    def _learn(self, drawn: Drawn) -> None:
        """Make the batches, move all weights, and keep the books."""
        batch = self._data.make(drawn)
        self.optimizer.zero_grad(set_to_none=True)
        axes = Batch(0, 0, 0, None if batch.weight is None else 0)  # type: ignore[arg-type]
        losses, sums = torch.vmap(self._loss, in_dims=(0, 0, axes), randomness="error")(
            self._weights, self._buffers, batch
        )
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if self._recipe.clip_norm is not None:
            _clip(
                [value.grad for value in self._weights.values() if value.grad is not None],
                self._recipe.clip_norm,
            )
        self.optimizer.step()
        self._sums += sums
        self._visits.index_add_(0, (drawn.rows + self._first_rows).view(-1), self._ones)

    def keep_books(self, step: int) -> None:
        """Write history rows and checkpoints that are due.

        Raises:
            GenbenchError: Every training diverged.
            Interrupted: The run was asked to stop; every checkpoint is saved.
        """
        alive = [place for place in range(len(self._loops)) if place not in self._failed]
        if self._loops[0].log_due(step):
            for place in alive:
                try:
                    self._loops[place].log(step)
                except GenbenchError as problem:
                    self._failed[place] = problem
            if len(self._failed) == len(self._loops):
                raise self._failed[0]
        if self._loops[0].ctx.checkpoint_due():
            self._checkpoint(step + 1, alive)

    def _checkpoint(self, step: int, alive: Sequence[int]) -> None:
        """Save each training as if it had been alone."""
        state, stop = optimizer_tensors(self.optimizer), None
        for place in alive:
            own = {name: value if _is_count(name) else value[place] for name, value in state.items()}
            try:
                self._loops[place].checkpoint(step, own)
            except Interrupted as asked:
                stop = asked
        if stop is not None:
            raise stop

    def restore(self) -> int:
        """Load the checkpoints, and return the step to resume at.

        Raises:
            GenbenchError: They are of different steps.
        """
        firsts = {loop.restore() for loop in self._loops}
        if len(firsts) > 1:
            raise GenbenchError(f"the runs were stopped at different steps: {sorted(firsts)}")
        states = [optimizer_tensors(loop.optimizer) for loop in self._loops]
        joined = {
            name: value if _is_count(name) else torch.stack([state[name] for state in states])
            for name, value in states[0].items()
        }
        load_optimizer_tensors(self.optimizer, joined)
        return firsts.pop()

    def finish(self, taken: int, seconds: float, *, captured: bool = False) -> list[Trained | GenbenchError]:
        """Close the books of every training, `taken` steps and `seconds` after it went on."""
        found: list[Trained | GenbenchError] = []
        for place, loop in enumerate(self._loops):
            try:
                problem = self._failed.get(place)
                if problem is not None:
                    raise problem
                trained = finish(loop, taken, seconds / len(self._loops))
                trained.run["trained_together"] = len(self._loops)
                if captured:
                    trained.run["whole_step_graph"] = 1
                found.append(trained)
            except GenbenchError as problem:
                found.append(problem)
        return found

    def _loss(
        self, weights: Mapping[str, torch.Tensor], buffers: Mapping[str, torch.Tensor], batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one training's loss and tally."""
        state = {**weights, **buffers}
        if self._recipe.precision == "bf16":
            with Bfloat16():
                logits = functional_call(self._template, state, (batch.images,))
        else:
            logits = functional_call(self._template, state, (batch.images,))
        loss = batch_loss(logits.float(), batch, self._recipe.label_smoothing)
        return loss, tally(loss, logits, batch.targets)

    def _share_books(self) -> None:
        """Make the sums and the ledgers of the loops rows and ranges of one tensor each."""
        sizes = [len(loop.ledger.visits) for loop in self._loops]
        firsts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self._first_rows = firsts[:, None].to(self.device)
        self._visits = torch.zeros(sum(sizes), dtype=torch.int64, device=self.device)
        count = len(sizes) * self._recipe.batch_size_images
        self._ones = torch.ones(count, dtype=torch.int64, device=self.device)
        self._sums = torch.zeros(len(sizes), 3, dtype=torch.float64, device=self.device)
        for place, (loop, first, size) in enumerate(zip(self._loops, firsts.tolist(), sizes, strict=True)):
            loop.sums = self._sums[place]
            loop.ledger = Ledger(self._visits[first : first + size], loop.ledger.real)


def _stacked(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack tensors by name, and make each a view of its row: `[trainings, ...]`."""
    joined = {}
    for name, like in states[0].items():
        whole = torch.stack([state[name].detach() for state in states])
        for row, state in zip(whole, states, strict=True):
            state[name].data = row
        joined[name] = whole.requires_grad_(like.requires_grad)
    return joined


def _clip(gradients: Sequence[torch.Tensor], most: float) -> None:
    """Clip the gradient norm of each training apart, as `clip_grad_norm_` does."""
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    norm = torch.stack(squares).sum(0).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


def _is_count(name: str) -> bool:
    """Say whether an entry of an optimizer's state counts steps: one number for all trainings."""
    return name.endswith(".step")


def _seconds(take: Any, device: str) -> float:
    """Time steps, and return the seconds of one."""
    started = 0.0
    for step in range(_WARM_UP_STEPS + PROBE_STEPS):
        if step == _WARM_UP_STEPS:
            _wait(device)
            started = time.perf_counter()
        take(step)
    _wait(device)
    return (time.perf_counter() - started) / PROBE_STEPS


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _devices(runs: Sequence[Run]) -> list[str]:
    return [runs[0].ctx.device] if runs[0].ctx.device.startswith("cuda") else []
