"""Every augmentation is made on this device, without waiting for it."""

import argparse
from functools import partial

from _training import go, make_run, weights
from _watch import Checks, no_waits, take

from genbench.protocols import RunContext
from genbench.training.augment import POLICIES


def augments(level: str, batch: int) -> str:
    """Train under an augmentation until the watched steps are over.

    Raises:
        AssertionError: A step waited, or the weights are not finite.
    """
    networks = []

    def work(ctx: RunContext) -> None:
        run, recipe = make_run("mlp", ctx, level=level, compile=False, batch_size_images=batch)
        networks.append(run.network)
        go(run, recipe)

    ctx = take(work)
    assert bool(weights(networks[0]).isfinite().all()), "weights are NaN or infinite"
    return no_waits(ctx)


def main() -> None:
    """Check them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsal", action="store_true", help="small batches")
    batch = 4 if parser.parse_args().rehearsal else 128
    checks = Checks()
    for level in ("off", "standard", *POLICIES):
        checks.check(level, partial(augments, level, batch))
    checks.exit()


if __name__ == "__main__":
    main()
