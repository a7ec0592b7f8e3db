"""Paired timing: variants take turns in one process, so that a machine's drift touches all alike."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


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
    note(name, found, unit, ok=reached, target=f"{sign} {wanted:g} {unit}")
    print(
        f"{'ok  ' if reached else 'MISS'} {name:58} {found:8.3f} {unit:3} (target {sign} {wanted:g} {unit})"
    )
    return reached


def note(name: str, value: float, unit: str, *, ok: bool | None = None, target: str = "") -> None:
    """Add a figure as a line of JSON to the file that `PERF_FIGURES` names, if it names one."""
    file = os.environ.get("PERF_FIGURES")
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        figure = {"name": name, "value": value, "unit": unit, "ok": ok, "target": target}
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(figure) + "\n")
