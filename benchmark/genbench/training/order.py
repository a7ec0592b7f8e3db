"""Which image enters which step: permutations drawn from names, so that a resumed run needs no state."""

from functools import lru_cache
from typing import NamedTuple

import torch

from genbench.seeding import derive_seed


class Draw(NamedTuple):
    """The images of one batch, or of the batches of consecutive steps.

    Attributes:
        rows: Row of each image in the union of real and synthetic images: `int64 [B]` or `[steps, B]`.
        visits: How often that image was drawn before: of the same shape.
    """

    rows: torch.Tensor
    visits: torch.Tensor


class BatchOrder:
    """Batches without end, each image once per epoch.

    Without `synthetic_per_batch`, each epoch permutes the union of real and synthetic rows. With it, every
    batch holds that many synthetic rows, and the two sources are permuted apart.

    Args:
        real: Number of real rows, numbered from 0.
        synthetic: Number of synthetic rows, numbered after the real ones.
        batch_size: Rows per batch; batches run across the ends of epochs and are always full.
        seed: Training seed.
        synthetic_per_batch: None, or how many rows of each batch are synthetic.
    """

    def __init__(
        self, real: int, synthetic: int, batch_size: int, seed: int, synthetic_per_batch: int | None = None
    ) -> None:
        self.batch_size = batch_size
        if synthetic_per_batch is None:
            self._streams = [_Stream("union", 0, real + synthetic, batch_size, seed)]
        else:
            self._streams = [
                _Stream("real", 0, real, batch_size - synthetic_per_batch, seed),
                _Stream("synthetic", real, synthetic, synthetic_per_batch, seed),
            ]

    def at(self, step: int) -> Draw:
        """Return the batch of one step."""
        return Draw(*(part[0] for part in self.block(step, 1)))

    def block(self, first: int, steps: int) -> Draw:
        """Return the batches of consecutive steps: `[steps, B]`."""
        draws = [stream.block(first, steps) for stream in self._streams]
        return Draw(*(torch.cat(parts, dim=1) for parts in zip(*draws, strict=True)))


class _Stream:
    """One source: `count` rows from `first`, `size` of them per step, a fresh permutation each epoch."""

    def __init__(self, name: str, first: int, count: int, size: int, seed: int) -> None:
        self._first, self._count, self._size = first, count, size
        self._permutation = lru_cache(maxsize=2)(
            lambda epoch: torch.randperm(
                count, generator=torch.Generator().manual_seed(derive_seed(seed, "order", name, epoch))
            )
        )

    def block(self, first: int, steps: int) -> Draw:
        """Return this stream's part of the batches of consecutive steps."""
        places = torch.arange(first * self._size, (first + steps) * self._size).view(steps, self._size)
        visits = places // self._count
        rows = torch.empty_like(places)
        for epoch in range(int(visits[0, 0]), int(visits[-1, -1]) + 1) if self._size else ():
            here = visits == epoch
            rows[here] = self._permutation(epoch)[places[here] - epoch * self._count]
        return Draw(rows + self._first, visits)
