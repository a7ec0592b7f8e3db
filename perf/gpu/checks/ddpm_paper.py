"""`ddpm` at preset `paper`: 100 timed steps of the fit after warm-up, 2,048 timed images, peak memory."""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _data import make_images
from _timing import note
from _watch import DEVICE, take, wait
from ddpm import request

from genbench.steps.provenance import forget_peak_memory, peak_memory_bytes
from genbench.testing import MemoryContext
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.ddpm import Ddpm

GIB = 1 << 30


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsal", action="store_true", help="preset smoke, few steps and images")
    rehearsal = parser.parse_args().rehearsal
    preset: dict[str, Any] = {**DdpmConfig.presets["smoke" if rehearsal else "paper"]}
    before, steps, count = (2, 5, 64) if rehearsal else (25, 100, 2_048)
    images = make_images(2_000 if rehearsal else 50_000)
    forget_peak_memory(DEVICE)
    fit = take(lambda ctx: Ddpm(DdpmConfig(**preset)).fit(images, ctx), before, steps)
    _print(f"fit, batch {preset['batch_size_images']}", 1000 * fit.seconds / steps, "ms a step")
    _print(
        "fit, waits for the device", len(fit.waits), f"in {steps} steps {' '.join(sorted(set(fit.waits)))}"
    )
    _print("fit, peak memory", peak_memory_bytes(DEVICE) / GIB, "GiB")
    generator = Ddpm(DdpmConfig(**{**preset, "fit_steps": 1}))
    with TemporaryDirectory() as folder:
        ctx = MemoryContext(Path(folder), device=DEVICE)
        generator.fit(images, ctx)
        _draw(generator, ctx, generator.config.micro_batch_images)  # compiles, once for each size of batch
        forget_peak_memory(DEVICE)
        seconds = _draw(generator, ctx, count)
    _print(f"{count:,} images in {generator.config.sampling_steps} steps", seconds, "s")
    _print("sampling, peak memory", peak_memory_bytes(DEVICE) / GIB, "GiB")


def _draw(generator: Ddpm, ctx: MemoryContext, count: int) -> float:
    """Draw images, and return the seconds it took."""
    asked = request(count)
    wait()
    started = time.perf_counter()
    for _ in generator.sample(asked, ctx):
        pass
    wait()
    return time.perf_counter() - started


def _print(name: str, value: float, unit: str) -> None:
    print(f"     {name}: {value:.2f} {unit}", flush=True)
    note(name, value, unit)


if __name__ == "__main__":
    main()
