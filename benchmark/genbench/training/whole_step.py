"""A whole optimizer step that reads nothing from the host: on a GPU, one CUDA graph.

Data, forward and backward pass, optimizer, averaged weights and books of a small network are some hundreds of
kernels of a few microseconds each; launching them one by one takes longer than running them. A CUDA graph
launches them all at once, with the arguments that they were captured with. What varies from step to step is
therefore kept in tensors: the draws of a block of steps, the learning rate and the weight of the average per
step, and the place within the block, which the step itself moves on. Random numbers of the network need
nothing more: torch hands a graph the present seed of the device's generator at every replay.

The same program runs without being captured on any device, which is how a CPU tests it against the loop that
takes one operation after another (docs/design/whole-step-graph.md).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch.profiler import record_function

from genbench.training.data import Drawn, TrainingData
from genbench.training.loop import Loop
from genbench.training.optimise import optimizer_tensors, set_learning_rate
from genbench.training.order import BatchOrder
from genbench.training.schedule import learning_rate

_WARM_UP_STEPS = 3  # torch's advice: libraries choose algorithms and allocate workspaces in the first calls
Work = Callable[[], None]
Capture = Callable[[Work], Work]


class Program(Protocol):
    """What a step does, without reading anything from the host, and what it changes.

    Attributes:
        optimizer: In torch's fused form, which can read its rate from the device.
        device: Where all of it happens.
    """

    optimizer: torch.optim.Optimizer
    device: str

    def prepare(self, first: int, steps: int) -> Drawn:
        """Settle what consecutive steps draw: every part `[steps, ...]`."""
        ...

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        ...

    def weight(self, step: int) -> float:
        """Return the weight of the present weights in their average after a step; 0 without one."""
        ...

    def seed(self, step: int) -> None:
        """Let what networks draw in a step depend on names alone."""
        ...

    def act(self, drawn: Drawn, weight: torch.Tensor) -> None:
        """Take a step at the optimizer's present rate: data, gradient, optimizer, averages and books."""
        ...

    def state(self) -> list[torch.Tensor]:
        """Return the tensors that a step changes, but for the optimizer's."""
        ...


class OneTraining:
    """The step of one training (see `Program`).

    Args:
        loop: Restored, its network in training mode; no batch may be split.
        data: Resident on the device.
        order: Which image enters which step.
        forward: The network, or its compiled form.
    """

    def __init__(
        self, loop: Loop, data: TrainingData, order: BatchOrder, forward: Callable[..., torch.Tensor]
    ) -> None:
        self._loop, self._data, self._order, self._forward = loop, data, order, forward
        self.optimizer, self.device = loop.optimizer, loop.ctx.device

    def prepare(self, first: int, steps: int) -> Drawn:
        """Settle what consecutive steps draw: `[steps, B]`."""
        return self._data.prepare(self._order.block(first, steps))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(self._loop.recipe, step, self._loop.steps)

    def weight(self, step: int) -> float:
        """Return the weight of the present weights in their average after a step; 0 without one."""
        return 0.0 if self._loop.average is None else self._loop.average.weight(step)

    def seed(self, step: int) -> None:
        """Seed what the network draws."""
        self._loop.seed_network(step)

    def act(self, drawn: Drawn, weight: torch.Tensor) -> None:
        """Take a step at the optimizer's present rate."""
        loop = self._loop
        with record_function("data"):
            batch = self._data.make(drawn)
        loop.optimizer.zero_grad(set_to_none=True)  # a graph keeps the memory of its gradients
        loop.sums += loop.gradient(self._forward, batch)
        with record_function("optimizer"):
            loop.apply_gradient()
            if loop.average is not None:
                loop.average.approach(weight)
        loop.ledger.enter(drawn.rows)

    def state(self) -> list[torch.Tensor]:
        """Return weights, buffers, averages and books."""
        network, average = self._loop.network, self._loop.average
        found = [*network.parameters(), *network.buffers(), self._loop.sums, self._loop.ledger.visits]
        return found if average is None else [*found, *average.shadow]


class WholeStep:
    """Takes the steps of a program; building it takes a few whose effects are put back, and captures one.

    Args:
        program: What a step does.
        block: The first steps to take, and the most that are loaded at once: (first step, number).
        capture: Makes the body of a step something that replays it, as `cuda_graph` does; None runs it as
            it is.

    Raises:
        RuntimeError: The step cannot be captured, or the memory is too small; the training is as it was.
    """

    def __init__(self, program: Program, block: tuple[int, int], capture: Capture | None = None) -> None:
        self._program = program
        device = torch.device(program.device)
        # Fused optimizers read a rate in float32 on a GPU, and in the float64 of a Python number on a CPU.
        precision = torch.float32 if device.type == "cuda" else torch.float64
        first, count = block
        self._block = program.prepare(first, count).resident()
        self._rates = torch.zeros(count, dtype=precision, device=device)
        self._rate = torch.zeros((), dtype=precision, device=device)
        self._weights = torch.zeros(count, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._next = first
        self.captured = capture is not None
        self._run: Work = self._body
        set_learning_rate(program.optimizer, self._rate)
        self.load(first, count)
        with _unchanged(program):
            self._warm_up(device)
            if capture is not None:
                self._run = capture(self._body)
        self._place.zero_()

    def load(self, first: int, count: int) -> None:
        """Bring what the next steps draw, and their rates, to the device: at most as many as at first."""
        for kept, fresh in zip(self._block, self._program.prepare(first, count).resident(), strict=True):
            kept[:count].copy_(fresh)
        steps = range(first, first + count)
        self._rates[:count].copy_(
            torch.tensor([self._program.rate(step) for step in steps], dtype=torch.float64)
        )
        self._weights[:count].copy_(torch.tensor([self._program.weight(step) for step in steps]))
        self._place.zero_()
        self._next = first

    def take(self, step: int) -> None:
        """Take the next step of the loaded block."""
        assert step == self._next, "the place within a block lies on the device: steps are taken in order"
        self._next += 1
        self._program.seed(step)
        self._run()

    def _body(self) -> None:
        """Everything that a step does; no line of it may wait for the device."""
        self._rate.copy_(self._rates.index_select(0, self._place)[0])
        weight = self._weights.index_select(0, self._place)[0]
        self._program.act(self._block.select(self._place), weight)
        self._place += 1

    def _warm_up(self, device: torch.device) -> None:
        """Take some steps on a stream of their own, as a capture does."""
        with _beside(device):
            for _ in range(_WARM_UP_STEPS):
                self._program.seed(self._next)
                self._place.zero_()
                self._body()


def try_whole_step(
    program: Program, block: tuple[int, int], log: logging.Logger, reason: str | None = None
) -> WholeStep | None:
    """Make a program's step one graph on a GPU, and run it as it is elsewhere; None if that cannot be.

    Args:
        program: What a step does.
        block: As in `WholeStep`.
        log: Is told once why not.
        reason: Why not, if that is known.
    """
    if reason is None:
        try:
            capture = cuda_graph(program.optimizer) if program.device.startswith("cuda") else None
            return WholeStep(program, block, capture)
        except (RuntimeError, MemoryError) as problem:  # what cannot be captured is trained all the same
            reason = str(problem).partition("\n")[0]
    log.info("steps are taken one operation at a time: %s", reason)
    return None


def cuda_graph(optimizer: torch.optim.Optimizer) -> Capture:
    """Return how the body of a step is captured (torch's recipe for capturing a whole network)."""

    def capture(body: Work) -> Work:
        # Gradients made before would stay where they are, outside of the graph's memory.
        optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with _capturable(optimizer), torch.cuda.graph(graph):
            body()
        replay: Work = graph.replay
        return replay

    return capture


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Say `capturable` while a step is captured: Adam asks for it, and warns of it elsewhere.

    In its fused form, which counts its steps on the device, it changes nothing.
    """
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


@contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Work on another stream of a GPU, between what was and what will be given to the present one."""
    if device.type != "cuda":
        yield
        return
    present, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(present)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        present.wait_stream(stream)


@contextmanager
def _unchanged(program: Program) -> Iterator[None]:
    """Put back, in place, all that the steps within change; an optimizer that took no step holds zeros."""
    values, optimizer = program.state(), program.optimizer
    kept = [value.detach().clone() for value in values]
    state = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for value, before in zip(values, kept, strict=True):
                value.copy_(before)
            for name, value in optimizer_tensors(optimizer).items():
                if name in state:
                    value.copy_(state[name])
                else:
                    value.zero_()
