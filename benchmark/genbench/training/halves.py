"""The halves of a network, timm's `forward_features` and `forward_head`: which is which, and freezing one."""

from typing import Any, Literal, cast

import torch
from torch import nn

from genbench.errors import UsageError

Half = Literal["backbone", "head"]
_HELD = "held_still"  # attribute of modules without weights: whether they belong to the frozen half


def head_parameters(network: nn.Module, image_shape: tuple[int, int, int]) -> frozenset[str]:
    """Return the names of the parameters that `forward_features` does not use.

    They are found by differentiating the features of two blank images, in evaluation mode: names say nothing
    that holds for every network.

    Args:
        network: With timm's two halves, from `float [n, C, H, W]`.
        image_shape: C, H and W.
    """
    named = dict(network.named_parameters())
    some = next(iter(named.values()))
    was_training, needed = network.training, {name: value.requires_grad for name, value in named.items()}
    network.eval()
    try:
        for value in named.values():
            value.requires_grad_(True)
        with torch.enable_grad():
            images = torch.zeros(2, *image_shape, device=some.device)
            features = cast("Any", network).forward_features(images)
            if not features.requires_grad:
                return frozenset(named)
            found = torch.autograd.grad(features.sum(), list(named.values()), allow_unused=True)
    finally:
        for name, value in named.items():
            value.requires_grad_(needed[name])
        network.train(was_training)
    return frozenset(name for name, gradient in zip(named, found, strict=True) if gradient is None)


def freeze(network: nn.Module, half: Half, image_shape: tuple[int, int, int]) -> None:
    """Let one half of a network keep its weights; `hold_still` keeps its statistics, too.

    Raises:
        UsageError: Nothing would be left to train.
    """
    head = head_parameters(network, image_shape)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_((name in head) == (half == "backbone"))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(
            f"recipe.freeze={half} leaves nothing to train: the other half of {type(network).__name__} has "
            "no weights",
            hint="leave recipe.freeze out; recipe.epochs=0 evaluates weights as they are",
        )
    trained = _used(network, half, image_shape)
    for module in network.modules():  # what has weights is known by them
        setattr(module, _HELD, module not in trained and not any(True for _ in module.parameters()))


def _used(network: nn.Module, frozen: Half, image_shape: tuple[int, int, int]) -> set[nn.Module]:
    """Return the modules that the half which is trained calls."""
    used: set[nn.Module] = set()
    device = next(network.parameters()).device
    was_training, halves = network.training, cast("Any", network.eval())

    def note(module: nn.Module, *_: object) -> None:
        used.add(module)

    hooks: list[Any] = []
    try:
        with torch.no_grad():
            hooks += [module.register_forward_pre_hook(note) for module in network.modules()]
            features = halves.forward_features(torch.zeros(2, *image_shape, device=device))
            if frozen == "backbone":
                used.clear()
                halves.forward_head(features)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    return used


def hold_still(network: nn.Module) -> None:
    """Put what is frozen into evaluation mode: batch norms keep their statistics, and nothing is dropped.

    Of modules without weights, these are the ones that the trained half does not call, as `freeze` found.
    """
    for module in network.modules():
        if getattr(module, _HELD, False):
            module.training = False
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()
