"""Eight seeds side by side against one: `python perf/seeds.py` (a minute on one core, seconds on a GPU).

Same images, recipe and steps; both ways take turns in one process. On a GPU, eight seeds should take at most
twice the time of one; on a CPU there is no target, since arithmetic and not launches is what takes the time,
and `genbench run` does not stack there unless it is told to.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _data import make_data, make_images
from _timing import interleaved, ratio, verdict

from genbench.digest import file_digest
from genbench.notation import parse_reference
from genbench.protocols import Mix
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.steps.context import StepContext
from genbench.training import train
from genbench.training.stacked import Run, train_together

IMAGES = 5_000


def make_runs(name: str, seeds: int, device: str, folder: Path) -> tuple[list[Run], Any]:
    """Build a built-in classifier once per seed, with its paper recipe, uncompiled and without dropout."""
    options = f"{name}:preset=paper,recipe.compile=false,dropout=0"
    resolved = resolve(Registry(), "classifier", parse_reference(options), "paper", file_digest)
    classifier: Any = import_target(resolved.spec.target, name)(resolved.config)
    images = make_images(IMAGES)
    runs = []
    for seed in range(seeds):
        data = make_data(images, device, seed)
        ctx = StepContext(
            seed, device, folder, folder, logging.Logger("perf"), lambda *_: None, checkpoint_seconds=1e9
        )
        network = classifier.build(10, (3, 32, 32)).to(device, memory_format=torch.channels_last)
        runs.append(Run(network, data, seed, ctx))
    return runs, classifier.recipe()


def main() -> None:
    """Print both times; exit with 1 if a GPU misses the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="trainings side by side")
    parser.add_argument(
        "--steps", type=int, default=0, help="optimizer steps of each (0: 300 on a GPU, 10 on a CPU)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = options.steps or (300 if device == "cuda" else 10)
    torch.set_num_threads(1)
    reached = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("mlp", "cnn"):
            runs, recipe = make_runs(name, options.seeds, device, Path(folder))
            alone, together = one_way(runs[:1], recipe, steps), all_ways(runs, recipe, steps)
            seconds = interleaved({"one": alone, "together": together}, options.rounds)
            found = ratio(seconds["together"], seconds["one"])
            print(f"     {name} on {device}: {steps} steps alone {min(seconds['one']):.2f} s")
            title = f"{name}, {options.seeds} seeds together, in times of one"
            if device == "cuda":
                reached.append(verdict(title, found, 2.0, at_least=False))
            else:
                print(f"     {title}: {found:.2f} (one by one: {options.seeds})")
    sys.exit(0 if all(reached) else 1)


def one_way(runs: list[Run], recipe: Any, steps: int) -> Callable[[], None]:
    """Train one network."""

    def go() -> None:
        run = runs[0]
        train(run.network, run.data, recipe, Mix(), steps, run.seed, run.ctx)
        if run.ctx.device == "cuda":
            torch.cuda.synchronize()

    return go


def all_ways(runs: list[Run], recipe: Any, steps: int) -> Callable[[], None]:
    """Train all of them side by side."""

    def go() -> None:
        train_together(runs, recipe, Mix(), steps)
        if runs[0].ctx.device == "cuda":
            torch.cuda.synchronize()

    return go


if __name__ == "__main__":
    main()
