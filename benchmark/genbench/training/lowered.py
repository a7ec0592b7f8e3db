"""Bfloat16 where `torch.autocast` does not reach: under `torch.vmap` (pytorch#192617)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Bfloat16(TorchFunctionMode):
    """What `torch.autocast` to bfloat16 does, for trainings side by side."""

    _LOW = frozenset({
        F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d, F.scaled_dot_product_attention,
        torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.baddbmm, torch.addmm,
    })  # fmt: skip
    _NORMS = frozenset({F.batch_norm, F.layer_norm, F.group_norm})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Multiply in bfloat16; normalise in float32, and return what came in."""
        kwargs = kwargs or {}
        if func in self._LOW:
            return func(*map(_lowered, args), **{name: _lowered(value) for name, value in kwargs.items()})
        if func in self._NORMS:
            return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)


def _lowered(value: Any) -> Any:
    is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(torch.bfloat16) if is_real else value
