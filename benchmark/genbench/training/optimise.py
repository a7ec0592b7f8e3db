"""Optimizers, averaged weights, and their state as flat tensors for safetensors checkpoints."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from genbench.protocols import TrainRecipe


def make_optimizer(
    parameters: Sequence[torch.Tensor], recipe: TrainRecipe, stacked: bool = False
) -> torch.optim.Optimizer:
    """Build the recipe's optimizer, in torch's fused form (one kernel for all parameters).

    Args:
        parameters: A network's parameters, in its order; those that need no gradient are left out.
        recipe: Which optimizer.
        stacked: Whether the first dimension of each numbers networks.
    """
    groups = _parameter_groups(parameters, recipe, most_of_a_vector=2 if stacked else 1)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True
        )
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float | torch.Tensor) -> None:
    """Set one rate for all parameter groups; a fused optimizer reads a tensor of one number at every step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class AveragedWeights:
    """Exponential moving average of a network's weights and float buffers, one fused update per step.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)), so that short runs are not averaged with their
    random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = [value for value in network.state_dict().values() if value.is_floating_point()]
        self._names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
        self.shadow = [value.detach().clone() for value in self._live]

    def update(self, step: int) -> None:
        """Move the average towards the present weights, after optimizer step `step`."""
        torch._foreach_lerp_(self.shadow, self._live, self.weight(step))  # pyright: ignore[reportPrivateImportUsage] - one kernel for all

    def weight(self, step: int) -> float:
        """Return the weight of the present weights after optimizer step `step`."""
        return 1 - min(self._decay, (1 + step) / (10 + step))

    def approach(self, weight: torch.Tensor) -> None:
        """Do what `update` does with a weight that lies on the device: `float32 []`; it rounds twice."""
        steps = torch._foreach_sub(self._live, self.shadow)  # pyright: ignore[reportPrivateImportUsage] - as above
        torch._foreach_mul_(steps, weight)  # pyright: ignore[reportPrivateImportUsage] - as above
        torch._foreach_add_(self.shadow, steps)  # pyright: ignore[reportPrivateImportUsage] - as above

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the averages by name."""
        return dict(zip(self._names, self.shadow, strict=True))

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Restore what `tensors` returned."""
        for name, value in zip(self._names, self.shadow, strict=True):
            value.copy_(tensors[name])

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """Let the network have its averages for a while."""
        live = [value.clone() for value in self._live]
        self.move_into_network()
        try:
            yield
        finally:
            torch._foreach_copy_(self._live, live)  # pyright: ignore[reportPrivateImportUsage] - as above

    def move_into_network(self) -> None:
        """Replace the network's weights by their averages."""
        torch._foreach_copy_(self._live, self.shadow)  # pyright: ignore[reportPrivateImportUsage] - as above


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimizer's state as flat tensors, `"<parameter>.<name>"`."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entries in state.items()
        for name, value in entries.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore what `optimizer_tensors` returned.

    Files keep no memory layout, and fused optimizers walk parameter and state in memory order: each tensor is
    brought to its parameter's layout.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, entry = name.partition(".")
        like = parameters[int(index)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(index), {})[entry] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _parameter_groups(
    parameters: Sequence[torch.Tensor], recipe: TrainRecipe, most_of_a_vector: int
) -> list[dict[str, Any]]:
    """Decay everything, or everything but vectors (norm weights and biases)."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if recipe.decay_norm_and_bias:
        return [{"params": trained, "weight_decay": recipe.weight_decay}]
    matrices = [parameter for parameter in trained if parameter.ndim > most_of_a_vector]
    vectors = [parameter for parameter in trained if parameter.ndim <= most_of_a_vector]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
