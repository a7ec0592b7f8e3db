"""Fast sampling against slow, at equal quality: `python perf/sampling.py` (about 25 min on one core).

Fits `ddpm` once on `digits`, long enough to draw well (a short fit favours samplers that add fresh noise),
samples four times as many images as train has in two ways, and times both in turns.
Targets: DPM-Solver++ at 25 steps at least 18 times as fast per image as ancestral sampling at 500, at an FID
(extractor reference, against train) within 10 %; guidance in half of the steps at least 1.3 times as fast as
in all of them; 5,000 images sampled in less than 1.5 GiB beyond the model. On a GPU the U-Net of preset
`paper` is timed, too: 50,000 images in 25 guided steps and 100 epochs of CIFAR-10, from a minute of each.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import held_bytes, interleaved, ratio, verdict

from genbench.documents import Asked
from genbench.images import TensorImages
from genbench.planner import make_plan
from genbench.protocols import SampleRequest
from genbench.registry import Registry
from genbench.runner import run
from genbench.spec import resolve_suite
from genbench.steps.requests import plan_request
from genbench.steps.samples import write_sample
from genbench.store import Store
from genbench.suite import make_suite
from genbench.testing import MemoryContext
from genbench.worker import RunOptions
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.ddpm import Ddpm

SLOW = {"sampler": "ddpm", "sampling_steps": 500}
FAST = {"sampler": "dpmpp", "sampling_steps": 25}
TIMED_IMAGES = 128
GPU_FLOORS = {"sampling": 39.0, "training": 236.0}  # seconds on an H200: work over the bf16 peak


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit-steps", type=int, default=12_000, help="optimizer steps of the fit")
    parser.add_argument("--memory-only", action="store_true", help="print the peak memory of a sample step")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    if options.memory_only:
        print(_memory(device))
        return
    with tempfile.TemporaryDirectory() as folder:
        reached = _equal_quality(Path(folder), options.fit_steps, options.rounds, device)
    fresh = [sys.executable, __file__, "--memory-only"]  # a peak is a process's
    held = float(subprocess.run(fresh, check=True, capture_output=True, text=True).stdout)
    reached.append(_guidance(options.rounds, device))
    reached.append(verdict("memory beyond the model, 5,000 images", held, 1.5, at_least=False, unit="GiB"))
    if device == "cuda":
        reached += _large(device)
    sys.exit(0 if all(reached) else 1)


def _equal_quality(folder: Path, fit_steps: int, rounds: int, device: str) -> list[bool]:
    """Compare DPM-Solver++ with ancestral sampling: quality through a run, speed in turns."""
    store, registry = Store(folder / "store"), Registry()
    fit = {"fit_steps": fit_steps, "timesteps": 1000}
    arms = {name: {**fit, **options} for name, options in (("slow", SLOW), ("fast", FAST))}
    suite = make_suite(
        {
            "generators": [{"use": "ddpm", **arm} for arm in arms.values()],
            "classifiers": ["mlp"],
            "evaluators": ["fid"],
            "seeds": 1,
            "mixes": [{"ratio": 4.0}],
        },
        "perf/sampling.py",
    )
    plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
    outcome = run(plan, store, registry, RunOptions(jobs=0, device=device))
    fid = {}
    for record in outcome.records:
        sampler = record.result.generator["config"]["sampler"]
        metric = next(one for one in record.result.metrics if one.name.startswith("fid["))
        fid["fast" if sampler == "dpmpp" else "slow"] = float(metric.value or 0)
        print(f"     {sampler}: {metric.name} = {metric.value:.3f}")
    fitted = store.open(next(key for key, step in plan.steps.items() if step.stage == "fit"))
    assert fitted is not None
    makers = {}
    for name, arm in arms.items():
        generator = Ddpm(DdpmConfig(**arm, micro_batch_images=TIMED_IMAGES))
        generator.load(fitted.folder)
        makers[name] = _maker(generator, _request((8, 8)), device)
    seconds = interleaved(makers, rounds)
    return [
        verdict(
            "DPM-Solver++ 25 against ancestral 500",
            ratio(seconds["slow"], seconds["fast"]),
            18,
            at_least=True,
        ),
        verdict("its FID over ancestral sampling's", fid["fast"] / fid["slow"], 1.1, at_least=False),
    ]


def _guidance(rounds: int, device: str) -> bool:
    """Compare guidance in half of the steps with guidance in all."""
    makers = {}
    for name, interval in (("full", (0.0, 1.0)), ("half", (0.25, 0.75))):
        options: dict[str, Any] = {"sampler": "ddim", "sampling_steps": 20, "guidance_interval": interval}
        config = DdpmConfig(**options, fit_steps=1, micro_batch_images=TIMED_IMAGES)
        makers[name] = _maker(_fitted(config, (32, 32), device), _request((32, 32)), device)
    seconds = interleaved(makers, rounds)
    return verdict(
        "guidance in half of the steps against all",
        ratio(seconds["full"], seconds["half"]),
        1.3,
        at_least=True,
    )


def _memory(device: str) -> float:
    """Sample 5,000 images of 32 x 32 pixels through the step; return the GiB held beyond the model."""
    config = DdpmConfig(**{**DdpmConfig.presets["smoke"], "fit_steps": 1, "sampling_steps": 2})
    generator = _fitted(config, (32, 32), device)
    train = _train((32, 32), 5000)
    with tempfile.TemporaryDirectory() as folder:
        from genbench.steps.context import StepContext

        work, files = Path(folder) / "work", Path(folder) / "files"
        work.mkdir()
        files.mkdir()
        ctx = StepContext(
            1, device, work, files, MemoryContext(work).log, report=lambda done, total, metrics: None
        )
        request = plan_request(train, Asked(1.0), 1)
        return held_bytes(lambda: write_sample(generator, request, ctx, files)) / 2**30


def _large(device: str) -> list[bool]:
    """Time the U-Net of preset `paper` on a GPU, and print its share of the floor."""
    config = DdpmConfig(**{**DdpmConfig.presets["paper"], "fit_steps": 400})
    ctx = MemoryContext(Path(tempfile.mkdtemp()), device=device)
    generator = Ddpm(config)
    train = _train((32, 32), 50_000)
    fit = interleaved({"fit": lambda: generator.fit(train, ctx)}, 1)["fit"][0]
    epochs = fit / 400 * 100 * 50_000 / config.batch_size_images
    request = _request((32, 32), 2048)
    sample = interleaved({"sample": _maker(generator, request, device)}, 2)["sample"][0] * 50_000 / 2048
    print(f"     share of the floor: training {GPU_FLOORS['training'] / epochs:.0%}, "
          f"sampling {GPU_FLOORS['sampling'] / sample:.0%}")  # fmt: skip
    return [
        verdict("50,000 guided samples, 25 steps", sample, 100, at_least=False, unit="s"),
        verdict("training 100 epochs of CIFAR-10", epochs, 600, at_least=False, unit="s"),
    ]


def _fitted(config: DdpmConfig, size: tuple[int, int], device: str) -> Ddpm:
    generator = Ddpm(config)
    generator.fit(_train(size), MemoryContext(Path(tempfile.mkdtemp()), device=device))
    return generator


def _maker(generator: Ddpm, request: SampleRequest, device: str) -> Callable[[], None]:
    ctx = MemoryContext(Path(tempfile.mkdtemp()), device=device)

    def make() -> None:
        for _ in generator.sample(request, ctx):
            pass

    return make


def _train(size: tuple[int, int], count: int = 256) -> TensorImages:
    pixels = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
    return TensorImages(pixels, np.arange(count, dtype=np.int64) % 10, [str(label) for label in range(10)])


def _request(size: tuple[int, int], count: int = TIMED_IMAGES) -> SampleRequest:
    rows = np.arange(count, dtype=np.int64)
    return SampleRequest(rows % 10, rows + 1, rows % 256, _train(size))


if __name__ == "__main__":
    main()
