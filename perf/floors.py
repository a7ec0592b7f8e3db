"""Training as a share of what the hardware allows: `python perf/floors.py` (minutes; compiling takes most).

The floor of a training is the larger of two times, both from rates measured in the same run: its
multiplications at the rate of a large bfloat16 product, and what its convolutions and linear layers must at
least read and write at the rate of a large copy. Times are extrapolated from a stretch of steps after
compiling: of the way in which the engine trains by default, or of one that is named. Targets are for an H200.
"""

import argparse
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from _data import make_data, make_images
from _timing import note
from torch.utils.flop_counter import FlopCounterMode

from genbench.digest import file_digest
from genbench.notation import parse_reference
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.training import TrainingData
from genbench.training.engine import Choice, blocks, choose_steps
from genbench.training.loop import Loop
from genbench.training.order import BatchOrder

IMAGES = 50_000
BACKWARD = 3  # forward and backward, in forward passes
TRACED_STEPS = 20

Way = Literal["default", "eager", "compiled", "graph"]
WAYS: Mapping[Way, str] = {
    "eager": "do not compile, and launch one operation after another",
    "compiled": "compile the network, and launch the rest one operation after another",
    "graph": "compile the network, and launch the whole step as one CUDA graph",
}


class Workload(NamedTuple):
    """One training on CIFAR-10: of what, how long, and what it may take on an H200."""

    classifier: str
    epochs: int
    batch: int
    target_seconds: float


WORKLOADS = (
    Workload("resnet32", 200, 128, 45),
    Workload("resnet32", 200, 512, 25),
    Workload("vit:tiny", 20, 128, 10),
    Workload("vit:small", 20, 128, 10),
    Workload("vit:medium", 20, 128, 10),
    Workload("vit:large", 20, 128, 10),
    Workload("cnn", 200, 128, 10),
    Workload("mlp", 200, 128, 10),
)


def main() -> None:
    """Print time, floor and share of every workload; exit with 1 if a GPU misses a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=0, help="timed steps (0: 500 on a GPU, 3 on a CPU)")
    parser.add_argument("--only", help="workloads of this classifier alone")
    parser.add_argument("--batch", type=int, help="workloads of this batch size alone")
    ways = parser.add_mutually_exclusive_group()
    for way, meaning in WAYS.items():
        ways.add_argument(f"--{way}", dest="way", action="store_const", const=way, help=meaning)
    parser.add_argument("--trace", type=Path, help="write a trace of the last workload to this file")
    parser.set_defaults(way="default")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="     %(message)s", stream=sys.stdout)
    works = chosen(options.only, options.batch)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    steps = options.steps or (500 if device == "cuda" else 3)
    product, copy = rates(device)
    print(
        f"     {device}: {product / 1e12:.2f} TFLOP/s in bfloat16 products, {copy / 1e9:.1f} GB/s in copies"
    )
    missed = False
    for work in works:
        per_step, flops, traffic = measure(work, device, steps, options.way, options.trace)
        seconds = per_step * work.epochs * IMAGES / work.batch
        images = work.epochs * IMAGES * BACKWARD
        floor = max(images * flops / product, images * traffic / copy)
        late = device == "cuda" and seconds > work.target_seconds
        missed |= late
        target = f"<= {work.target_seconds:g} s" if device == "cuda" else ""
        what = f"{work.classifier}, {work.epochs} epochs, batch {work.batch}"
        note(f"{what}, {options.way}", seconds, "s", ok=not late if target else None, target=target)
        note(f"{what}, {options.way}, a step", 1000 * per_step, "ms")
        note(f"{what}, floor", floor, "s")
        print(
            f"{'MISS' if late else 'ok  '} {what:34} {seconds:9.1f} s, floor {floor:8.1f} s, "
            f"share {100 * floor / seconds:5.1f} %"
            f"{f' (target {target})' if target else ''}"
        )
    sys.exit(1 if missed else 0)


def chosen(only: str | None, batch: int | None) -> list[Workload]:
    """Return the workloads of a classifier, with or without its size, and of a batch size; None is any.

    Raises:
        SystemExit: There are none.
    """
    found = [
        work
        for work in WORKLOADS
        if only in (None, work.classifier, work.classifier.partition(":")[0]) and batch in (None, work.batch)
    ]
    if not found:
        known = ", ".join(f"{work.classifier} at {work.batch}" for work in WORKLOADS)
        sys.exit(f"no workload for --only {only} --batch {batch}; known: {known}")
    return found


def measure(
    work: Workload, device: str, steps: int, way: Way, trace: Path | None = None
) -> tuple[float, float, float]:
    """Return the seconds of an optimizer step, and a forward pass's operations and bytes per image."""
    name = work.classifier.partition(":")[0]
    options = f"{work.classifier}{',' if ':' in work.classifier else ':'}recipe.precision=bf16"
    resolved = resolve(Registry(), "classifier", parse_reference(options), "paper", file_digest)
    classifier: Any = import_target(resolved.spec.target, name)(resolved.config)
    recipe = classifier.recipe().model_copy(
        update={"batch_size_images": work.batch, "compile": way != "eager"}
    )
    network = classifier.build(10, (3, 32, 32)).to(device, memory_format=torch.channels_last)
    flops, traffic = costs(network, device)
    count = IMAGES if device == "cuda" else 2_000
    data = make_data(make_images(count), device)
    loop = Loop(network.train(), data, recipe, 1, 1_000_000, _Context(device))  # type: ignore[arg-type]
    taken = steps_taken(way, loop, data, BatchOrder(count, 0, work.batch, seed=1))

    def take(number: int) -> None:
        deque(islice(taken, number), maxlen=0)
        if device == "cuda":
            torch.cuda.synchronize()

    take(2 if device == "cpu" else 20)
    started = time.perf_counter()
    take(steps)
    seconds = (time.perf_counter() - started) / steps
    if trace is not None:
        write_trace(lambda: take(min(steps, TRACED_STEPS)), trace)
    return seconds, flops, traffic


def steps_taken(way: Way, loop: Loop, data: TrainingData, order: BatchOrder) -> Iterator[None]:
    """Take an optimizer step whenever the next item is asked for.

    Raises:
        SystemExit: A GPU could not capture a whole step as one graph, and that is what was to be measured.
    """
    choices: Mapping[Way, Choice] = {"default": "auto", "eager": "off", "compiled": "off", "graph": "on"}
    taken = choose_steps(loop, data, order, 0, choices[way])
    if way == "graph" and loop.ctx.device.startswith("cuda") and not taken.captured:
        sys.exit("FAIL --graph: the step was not captured (the line above says why)")
    for start, count in blocks(0, loop.steps, order.batch_size):
        taken.load(start, count)
        for step in range(start, start + count):
            taken.take(step)
            yield


def write_trace(work: Callable[[], None], file: Path) -> None:
    """Profile some steps, apart from those that were timed, and write a trace (chrome://tracing)."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        work()
    file.parent.mkdir(parents=True, exist_ok=True)
    profile.export_chrome_trace(str(file))
    print(f"     trace: {file}")


def costs(network: torch.nn.Module, device: str) -> tuple[float, float]:
    """Count the operations of a forward pass, and the bytes that its layers read and write: per image."""
    moved = [0]

    def note(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        moved[0] += 2 * (inputs[0].numel() + output.numel())  # bytes in bfloat16

    layers = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(2, 3, 32, 32, device=device))
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() / 2, moved[0] / 2


def rates(device: str) -> tuple[float, float]:
    """Measure the operations per second of a bfloat16 product, and the bytes per second of a copy."""
    side = 8192 if device == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    source = torch.zeros(1 << 29, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * side**3 / _best(lambda: left @ right, device), 2 * source.numel() / _best(
        lambda: target.copy_(source), device
    )


def _best(work: Callable[[], object], device: str) -> float:
    found = []
    for _ in range(8):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


class _Context:
    """A context that says only why steps are not whole, and never stops."""

    log = logging.getLogger("floors")

    def __init__(self, device: str) -> None:
        self.device = device


if __name__ == "__main__":
    main()
