"""Paired timing: variants take turns in one process, so that a machine's drift touches all alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each variant once per round, after one round that is not counted: seconds by variant."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, variant in variants.items():
            started = time.perf_counter()
            variant()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over rounds of slow / fast."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def held_bytes(work: Callable[[], object]) -> int:
    """Return what this process holds at its peak during `work` beyond what it held before; on Linux."""
    from genbench.steps.provenance import forget_peak_memory, peak_memory_bytes

    forget_peak_memory("cpu")
    before = peak_memory_bytes("cpu")
    work()
    return peak_memory_bytes("cpu") - before


def verdict(name: str, found: float, wanted: float, *, at_least: bool, unit: str = "x") -> bool:
    """Print one figure beside its target, and say whether it is reached."""
    reached = found >= wanted if at_least else found <= wanted
    sign = ">=" if at_least else "<="
    print(
        f"{'ok  ' if reached else 'MISS'} {name:58} {found:8.3f} {unit:3} (target {sign} {wanted:g} {unit})"
    )
    return reached
