"""Fake CUDA tensors: what a GPU would refuse, found without one.

`FakeTensorMode` computes shapes, dtypes and devices only, and raises where CUDA would: where the tensors of
an operation lie on two devices, and where a value is read back. What it cannot do: backward passes, fused
optimizers, and generators of a GPU, which want a driver.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_COPIES = (_ATEN._to_copy.default, _ATEN.copy_.default, _ATEN._local_scalar_dense.default)


class NoWaiting(TorchDispatchMode):
    """Raises where a tensor changes its device or a value is read: the host would wait for the GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _COPIES:
            source = args[1] if func is _ATEN.copy_.default else args[0]
            moved = isinstance(source, torch.Tensor) and getattr(found, "device", None) != source.device
            assert not moved, f"{func} waits for the device"
        return found


class Operations(TorchDispatchMode):
    """Counts operations, views included: on a GPU, each but a view is a launch."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


class _HostGenerator(torch.Generator):
    """A generator on the CPU, whatever device is asked for."""

    def __new__(cls, device: str = "cpu") -> "_HostGenerator":
        return super().__new__(cls)


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tensors on `cuda` be fake ones; generators of a GPU become the CPU's."""
    monkeypatch.setattr(torch, "Generator", _HostGenerator)
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "64")  # else the device is asked for its memory
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield


def on_fake_cuda(module: nn.Module) -> nn.Module:
    """Give a module parameters and buffers on the fake device; `Module.to` does not work on fake tensors."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                fake = torch.empty_like(value, device="cuda")
                part._parameters[name] = nn.Parameter(fake, requires_grad=value.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
    return module
