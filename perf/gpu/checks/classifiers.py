"""Every built-in classifier learns on this device, and no step of it waits for the device.

Forward, backward and optimizer of the paper recipes, from the engine itself: eager or compiled, one operation
after another or a whole step at a time, which on a GPU must have been captured as one CUDA graph. Left out is
`timm-pretrained`, whose weights would have to be carried: it trains the networks of `timm`.
"""

import argparse
from functools import partial

from _training import go, make_run, weights
from _watch import Checks, no_waits, take

from genbench.protocols import RunContext
from genbench.training.engine import Choice

CLASSIFIERS = ("mlp", "cnn", "resnet32", "vit:tiny", "timm:resnet18")


def learns(name: str, *, compiled: bool, batch: int, whole_step: Choice) -> str:
    """Train until the watched steps are over.

    Raises:
        AssertionError: A step waited or was not whole, or the weights are not finite or the first ones.
    """
    found = []

    def work(ctx: RunContext) -> None:
        run, recipe = make_run(name, ctx, compile=compiled, batch_size_images=batch)
        found.append((run.network, weights(run.network)))
        go(run, recipe, whole_step=whole_step)

    ctx = take(work)
    given_up = [message for message in ctx.said if "one operation at a time" in message]
    assert not given_up, given_up[0]
    network, first = found[0]
    last = weights(network)
    assert bool(last.isfinite().all()), "weights are NaN or infinite"
    assert not bool((last == first).all()), "no weight has changed"
    return no_waits(ctx)


def main() -> None:
    """Check them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiled", action="store_true", help="compile them")
    parser.add_argument("--whole-step", action="store_true", help="take whole steps: on a GPU as one graph")
    parser.add_argument("--rehearsal", action="store_true", help="small batches; compile the first alone")
    options = parser.parse_args()
    chosen = CLASSIFIERS[:1] if options.rehearsal and options.compiled else CLASSIFIERS
    how, batch = "compiled" if options.compiled else "eager", 4 if options.rehearsal else 128
    whole_step: Choice = "on" if options.whole_step else "off"
    title = f"{how}, whole steps" if options.whole_step else how
    checks = Checks()
    for name in chosen:
        work = partial(learns, name, compiled=options.compiled, batch=batch, whole_step=whole_step)
        checks.check(f"{name}, {title}", work)
    checks.exit()


if __name__ == "__main__":
    main()
