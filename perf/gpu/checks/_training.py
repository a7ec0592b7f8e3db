"""Trainings of built-in classifiers on random images, for checks."""

from typing import Any

import torch
from _data import make_data, make_images
from _watch import DEVICE, MANY_STEPS

from genbench.digest import file_digest
from genbench.notation import parse_reference
from genbench.protocols import Mix, RunContext
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.training import Trained, train
from genbench.training.engine import Choice
from genbench.training.stacked import Run

IMAGES = 2_000


def build(name: str, **recipe: Any) -> tuple[Any, Any]:
    """Build a classifier with its paper recipe and some entries of our own: (network, recipe)."""
    reference = parse_reference(f"{name}{',' if ':' in name else ':'}preset=paper")
    resolved = resolve(Registry(), "classifier", reference, "paper", file_digest)
    classifier = import_target(resolved.spec.target, name.partition(":")[0])(resolved.config)
    torch.manual_seed(0)
    network = classifier.build(10, (3, 32, 32)).to(DEVICE, memory_format=torch.channels_last)
    return network, classifier.recipe().model_copy(update=recipe)


def make_run(
    name: str, ctx: RunContext, seed: int = 1, level: str = "standard", **recipe: Any
) -> tuple[Run, Any]:
    """Build a classifier and its data: (run, recipe)."""
    network, settled = build(name, **recipe)
    return Run(network, make_data(make_images(IMAGES), DEVICE, seed, level), seed, ctx), settled


def go(run: Run, recipe: Any, steps: int = MANY_STEPS, whole_step: Choice = "auto") -> Trained:
    """Train by the engine."""
    return train(run.network, run.data, recipe, Mix(), steps, run.seed, run.ctx, whole_step=whole_step)


def weights(network: torch.nn.Module) -> torch.Tensor:
    """Return all weights and buffers as one vector: `float64 [n]`."""
    return torch.cat([value.detach().double().flatten().cpu() for value in network.state_dict().values()])
