"""Every built-in classifier learns on this device, and no step of it waits for the device.

Forward, backward and optimizer of the paper recipes, from the engine itself, eager or compiled. Left out is
`timm-pretrained`, whose weights would have to be carried: it trains the networks of `timm`.
"""

import argparse
from functools import partial

from _training import go, make_run, weights
from _watch import Checks, no_waits, take

from genbench.protocols import RunContext

CLASSIFIERS = ("mlp", "cnn", "resnet32", "vit:tiny", "timm:resnet18")


def learns(name: str, *, compiled: bool, batch: int) -> str:
    """Train until the watched steps are over.

    Raises:
        AssertionError: A step waited, or the weights are not finite or the first ones.
    """
    found = []

    def work(ctx: RunContext) -> None:
        run, recipe = make_run(name, ctx, compile=compiled, batch_size_images=batch)
        found.append((run.network, weights(run.network)))
        go(run, recipe)

    ctx = take(work)
    network, first = found[0]
    last = weights(network)
    assert bool(last.isfinite().all()), "weights are NaN or infinite"
    assert not bool((last == first).all()), "no weight has changed"
    return no_waits(ctx)


def main() -> None:
    """Check them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", action="store_true", help="compile them")
    parser.add_argument("--rehearsal", action="store_true", help="small batches; compile the first alone")
    options = parser.parse_args()
    chosen = CLASSIFIERS[:1] if options.rehearsal and options.compiled else CLASSIFIERS
    how, batch = "compiled" if options.compiled else "eager", 4 if options.rehearsal else 128
    checks = Checks()
    for name in chosen:
        checks.check(f"{name}, {how}", partial(learns, name, compiled=options.compiled, batch=batch))
    checks.exit()


if __name__ == "__main__":
    main()
