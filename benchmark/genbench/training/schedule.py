"""Learning rate by step, in closed form: a resumed run needs the step and nothing else."""

import math

from genbench.protocols import TrainRecipe

_ONECYCLE_RISE = 0.3  # Smith and Topin, arXiv:1708.07120; the shape of torch's OneCycleLR
_ONECYCLE_START = 1 / 25
_ONECYCLE_END = 1 / 25e4


def learning_rate(recipe: TrainRecipe, step: int, total: int) -> float:
    """Return the learning rate of optimizer step `step` in `range(total)`.

    Warm-up rises linearly to the peak over `warmup_fraction` of the budget; the schedule spans what follows.
    `onecycle` has a rise of its own and ignores `warmup_fraction`.
    """
    peak = recipe.learning_rate
    if recipe.schedule == "onecycle":
        return peak * _onecycle(step / max(total - 1, 1))
    warmup = round(recipe.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":  # Loshchilov and Hutter, arXiv:1608.03983, Eq. 5 with one cycle
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "multistep":
        return peak * recipe.gamma ** sum(step >= milestone * total for milestone in recipe.milestones)
    return peak


def _onecycle(done: float) -> float:
    if done <= _ONECYCLE_RISE:
        return _between(_ONECYCLE_START, 1.0, done / _ONECYCLE_RISE)
    return _between(1.0, _ONECYCLE_END, (done - _ONECYCLE_RISE) / (1 - _ONECYCLE_RISE))


def _between(start: float, end: float, done: float) -> float:
    """Half a cosine wave from `start` to `end`."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
