"""The gradient of a step's batch in parts, computed by as many processes as take part in the fit.

Which images are in a part is fixed by an option, each part's gradient is computed by itself, and they are
added in the order of the parts. So the sum does not depend on how many devices computed them: a fit that two
began may go on with one, and leaves the same bits, as far as the devices compute equally. What libraries for
this do (`DistributedDataParallel`, and `accelerate` on top of it) is to add in an order that follows from the
number of devices: there, each number of them has a result of its own.

The processes are that of the step and its helpers (`genbench.steps.fit_helpers`). They meet at every step and
have the same weights after it; the first alone reports, saves and is asked to stop.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.distributed as dist

from genbench.protocols import Checkpoint, RunContext
from genbench.seeding import seed_device

Loss = Callable[[int, slice], torch.Tensor]  #: of a step, and rows of its batch: their mean, a scalar


class BatchParts:
    """Computes gradients, alone or with others.

    Args:
        parameters: What is fitted; `gradient` sets their `grad`.
        loss: The mean loss of rows of a step's batch.
        batch_images: Images of a step.
        parts: Into how many parts they are split, the first ones larger by one where they must differ.
        ctx: Device and seeds.
    """

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        loss: Loss,
        batch_images: int,
        parts: int,
        ctx: RunContext,
    ) -> None:
        self._parameters, self._loss, self._ctx = parameters, loss, ctx
        self._batch_images = batch_images
        each, rest = divmod(batch_images, parts)
        ends = list(accumulate((each + (part < rest) for part in range(parts)), initial=0))
        self._rows = [slice(start, end) for start, end in pairwise(ends)]
        is_joined = parts > 1 and dist.is_available() and dist.is_initialized()
        self._rank = dist.get_rank() if is_joined else 0
        self._processes = dist.get_world_size() if is_joined else 1

    def gradient(self, step: int) -> torch.Tensor:
        """Set the gradient of a step's mean loss; return that loss, a scalar without history."""
        if len(self._rows) == 1:
            seed_device(self._ctx.device, self._ctx.seed("dropout", step))
            loss = self._loss(step, self._rows[0])
            self._forget()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        total: torch.Tensor | None = None
        for vector in self._in_order(step):  # the order is what makes the sum the same
            total = vector if total is None else total.add_(vector)
        assert total is not None
        sizes = [one.numel() for one in self._parameters]
        gradients = torch.split(total[:-1], sizes)
        for parameter, values in zip(self._parameters, gradients, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(values.view(parameter.shape))
        return total[-1]

    def agreed(self, restore: Callable[[], Checkpoint | None]) -> Checkpoint | None:
        """Return the checkpoint that the first process finds: all go on from that."""
        if self._processes == 1:
            return restore()
        saved: list[Any] = [restore() if self._rank == 0 else None]
        dist.broadcast_object_list(saved, device=torch.device(self._ctx.device))
        found: Checkpoint | None = saved[0]
        return found

    def _in_order(self, step: int) -> Iterator[torch.Tensor]:
        """Yield what every part adds to gradient and loss, flat and part by part: `float32 [n + 1]`."""
        parts = range(len(self._rows))
        if self._processes == 1:
            yield from (self._of_part(step, part) for part in parts)
            return
        own = [self._of_part(step, part) for part in parts[self._rank :: self._processes]]
        rounds = -(-len(parts) // self._processes)
        size = sum(one.numel() for one in self._parameters) + 1
        sent = torch.zeros(rounds, size, device=self._ctx.device)
        for place, vector in enumerate(own):
            sent[place] = vector
        received = [torch.empty_like(sent) for _ in range(self._processes)]
        dist.all_gather(received, sent)
        yield from (received[part % self._processes][part // self._processes] for part in parts)

    def _of_part(self, step: int, part: int) -> torch.Tensor:
        rows = self._rows[part]
        seed_device(self._ctx.device, self._ctx.seed("dropout", step, part))
        loss = self._loss(step, rows) * ((rows.stop - rows.start) / self._batch_images)
        self._forget()
        loss.backward()  # type: ignore[no-untyped-call]
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in self._parameters]
        return torch.cat([one.reshape(-1).float() for one in (*found, loss.detach())])

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
