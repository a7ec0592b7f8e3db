"""Seeds from names, never from positions, and random numbers from counters, never from a shared stream.

Adding a cell to a suite, reordering it or splitting it among machines changes no seed. What a training
step draws depends on (seed, purpose, counter) alone, so that resuming needs no generator state and the
paired arms of a comparison see the same augmentation for the same (seed, image, visit).
"""

from typing import TYPE_CHECKING, Any

from genbench.digest import digest

if TYPE_CHECKING:
    import torch

_SEED_BITS = 63  # the range that torch.Generator.manual_seed and a JSON integer share
_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_MIX_2 = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def derive_seed(*parts: Any) -> int:
    """Return a seed in [0, 2**63) that depends on the given names and numbers, in this order.

    >>> derive_seed("train", 0, "digits", "cnn", 1) == derive_seed("train", 0, "digits", "cnn", 1)
    True
    """
    return int(digest(["genbench/v1", *parts])[:16], 16) >> (64 - _SEED_BITS)


def generator(*parts: Any, device: str = "cpu") -> "torch.Generator":
    """Return a fresh `torch.Generator`, seeded from names."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(*parts))


def seed_device(device: str, seed: int) -> None:
    """Seed torch's own generators: the CPU's, and that of `device` (dropout and the like draw from it).

    The same streams as after `torch.manual_seed`, which formats a stack trace for every kind of accelerator
    at each call, and takes a good part of a small network's step (perf/training.py).
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.init()  # type: ignore[no-untyped-call]  # its generators exist from here on
        index = torch.device(device).index
        own = torch.cuda.current_device() if index is None else index
        torch.cuda.default_generators[own].manual_seed(seed)


def counter_bits(seed: int, *counters: "torch.Tensor | int") -> "torch.Tensor":
    """Hash integer counters to 63 uniform bits each: int64, of the counters' broadcast shape.

    SplitMix64's finaliser (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
    OOPSLA 2014) in wrapping int64 arithmetic: the same bits on every device and instruction set.
    Not for cryptography.
    """
    import torch

    # A single number lies on the CPU and enters arithmetic on any device as it is; moving it, or the state
    # after it, would drag the state from one device to another.
    state = torch.tensor(seed, dtype=torch.int64)
    for counter in counters:
        value = torch.as_tensor(counter, dtype=torch.int64)
        state = _finalise(state * 5 + value * _GOLDEN + _GOLDEN)
    return state & 0x7FFFFFFFFFFFFFFF


def counter_uniform(seed: int, *counters: "torch.Tensor | int") -> "torch.Tensor":
    """Hash integer counters to uniform numbers in [0, 1): float32, 24 bits each (see `counter_bits`)."""
    return (counter_bits(seed, *counters) >> 39).float() * 2.0**-24


def _finalise(x: "torch.Tensor") -> "torch.Tensor":
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: "torch.Tensor", bits: int) -> "torch.Tensor":
    """Shift right without copying the sign bit: int64 tensors have no logical shift."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
