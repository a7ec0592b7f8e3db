"""Trainings that are stacked agree with the same trainings alone, to rounding: in fp32 without TF32."""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _training import go, make_run, weights
from _watch import DEVICE, Checks

from genbench.errors import GenbenchError
from genbench.protocols import Mix
from genbench.testing import MemoryContext
from genbench.training.stacked import train_together

SEEDS, STEPS = 3, 4
TOLERANCE = (
    1e-4  # of the weights' norm: sums in another order, four steps long at a rate that does not amplify it
)


def agrees(name: str, batch: int) -> str:
    """Train both ways, and compare the weights of every seed.

    Raises:
        AssertionError: They differ by more than the tolerance.
        GenbenchError: A stacked training failed.
    """
    options = {"compile": False, "precision": "fp32", "learning_rate": 0.01, "batch_size_images": batch}
    with TemporaryDirectory() as folder:
        alone, together = (
            [
                make_run(name, MemoryContext(Path(folder), device=DEVICE), seed, **options)
                for seed in range(SEEDS)
            ]
            for _ in range(2)
        )
        for run, recipe in alone:
            go(run, recipe, STEPS)
        for result in train_together([run for run, _ in together], together[0][1], Mix(), STEPS):
            if isinstance(result, GenbenchError):
                raise result
    vectors = [
        (weights(one.network), weights(other.network))
        for (one, _), (other, _) in zip(alone, together, strict=True)
    ]
    assert not torch.equal(vectors[0][0], vectors[1][0]), "two seeds learned the same"
    found = max(float((one - other).norm() / one.norm()) for one, other in vectors)
    assert found <= TOLERANCE, f"they differ by {found:.1e} of the weights' norm, allowed are {TOLERANCE:.0e}"
    return f"{SEEDS} seeds differ from the same alone by {found:.1e} of the weights' norm"


def main() -> None:
    """Check the small networks, which are those that get stacked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsal", action="store_true", help="small batches")
    batch = 32 if parser.parse_args().rehearsal else 128
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    checks = Checks()
    for name in ("mlp:dropout=0", "cnn"):
        checks.check(name, partial(agrees, name, batch))
    checks.exit()


if __name__ == "__main__":
    main()
