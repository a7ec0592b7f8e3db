"""How many images of which source entered gradient steps: the books that a comparison rests on."""

from dataclasses import dataclass
from typing import Any

import torch

from genbench.errors import ProtocolError


@dataclass
class Ledger:
    """Counts every image that entered a gradient step, on the device, without waiting for it.

    Attributes:
        visits: How often each row was used: `int64 [real + synthetic]`; real rows come first.
        real: Number of real rows.
    """

    visits: torch.Tensor
    real: int

    @classmethod
    def empty(cls, real: int, synthetic: int, device: str = "cpu") -> "Ledger":
        """Open the books on `real + synthetic` rows."""
        return cls(torch.zeros(real + synthetic, dtype=torch.int64, device=device), real)

    def enter(self, rows: torch.Tensor) -> None:
        """Count the rows of one batch (a row may appear twice)."""
        self.visits.index_add_(0, rows, torch.ones_like(rows))

    def close(self, *, trained: bool = True) -> dict[str, dict[str, int]]:
        """Return the totals per source: images available, distinct images used, images consumed.

        Args:
            trained: Whether there were steps at all; where weights are evaluated as they are, no image is
                consumed, and the books say so.

        Raises:
            ProtocolError: A source that belongs to the training set never reached the network.
        """
        totals = {"real": _totals(self.visits[: self.real]), "synthetic": _totals(self.visits[self.real :])}
        for source, total in totals.items():
            if trained and total["available_images"] and not total["consumed_images"]:
                raise ProtocolError(
                    f"none of the {total['available_images']} {source} images entered a gradient step",
                    hint="raise the budget (recipe.epochs), or drop the source from the mix",
                )
        return totals


def _totals(visits: torch.Tensor) -> dict[str, Any]:
    return {
        "available_images": visits.numel(),
        "distinct_images": int((visits > 0).sum()),
        "consumed_images": int(visits.sum()),
    }
