"""A training that was stopped and resumed is the training that was not.

On a CPU bit for bit. On a GPU kernels may add in any order: there the resumed run may differ from an
uninterrupted one ten times as much as two uninterrupted ones do, which is nothing where those are equal.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _training import go, make_run, weights
from _watch import DEVICE, Checks

from genbench.errors import Interrupted
from genbench.testing import MemoryContext
from genbench.training.engine import Choice

STEPS, STOP_AFTER = 12, 5


def trained(name: str, batch: int, *, stop_after: int | None = None, compiled: bool = False) -> torch.Tensor:
    """Train for `STEPS` steps, stopped and resumed once if asked to; return the weights.

    What is compiled takes whole steps, as it does by default on a GPU; what is not takes them one operation
    after another.
    """
    whole: Choice = "on" if compiled else "off"
    with TemporaryDirectory() as folder:
        ctx = MemoryContext(Path(folder), device=DEVICE, stop_after=stop_after)
        run, recipe = make_run(name, ctx, compile=compiled, batch_size_images=batch)
        try:
            go(run, recipe, STEPS, whole)
            assert stop_after is None, f"it was not stopped after step {stop_after}"
        except Interrupted:
            again = dataclasses.replace(ctx, stop_after=None)
            assert again.saved is not None
            run, recipe = make_run(name, again, compile=compiled, batch_size_images=batch)
            go(run, recipe, STEPS, whole)
        return weights(run.network)


def resumes(name: str, batch: int, *, compiled: bool) -> str:
    """Compare a resumed training with uninterrupted ones.

    Raises:
        AssertionError: It differs more than those do.
    """
    whole, again = trained(name, batch, compiled=compiled), trained(name, batch, compiled=compiled)
    resumed = trained(name, batch, stop_after=STOP_AFTER, compiled=compiled)
    usual, found = (float((one - whole).norm() / whole.norm()) for one in (again, resumed))
    assert DEVICE == "cuda" or usual == 0, f"two uninterrupted trainings differ by {usual:.1e} on a CPU"
    assert found <= 10 * usual, f"differs by {found:.1e}, two uninterrupted trainings by {usual:.1e}"
    return f"differs by {found:.1e}, two uninterrupted trainings by {usual:.1e}"


def main() -> None:
    """Check an eager and a compiled training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsal", action="store_true", help="small batches, nothing compiled")
    options = parser.parse_args()
    batch = 4 if options.rehearsal else 128
    checks = Checks()
    for name, compiled in (("cnn", False),) if options.rehearsal else (("cnn", False), ("resnet32", True)):
        how = "compiled, whole steps" if compiled else "eager"
        title = f"{name}, {how}, stopped after step {STOP_AFTER} of {STEPS}"
        checks.check(title, partial(resumes, name, batch, compiled=compiled))
    checks.exit()


if __name__ == "__main__":
    main()
