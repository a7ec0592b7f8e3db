"""The training engine against the loop everybody writes: `python perf/training.py` (about 6 min on one core).

Same batch, model, optimizer and threads; variants take turns in one process. Targets on a CPU with AMX bf16:
ResNet-32 2.1x (2.8x compiled), the small CNN 2.9x, the MLP 2.2x, the data path alone 10x a DataLoader with
two workers; seeding a step the engine's way costs no more than `torch.manual_seed`. The figures with
precision fp32 are printed beside them: without bf16 hardware, they are what you get.
"""

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from _data import make_data, make_images
from _timing import interleaved, ratio, verdict
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from genbench.digest import file_digest
from genbench.images import TensorImages
from genbench.notation import parse_reference
from genbench.protocols import Classifier
from genbench.registry import Registry, import_target
from genbench.seeding import derive_seed
from genbench.spec import resolve
from genbench.training import TrainingData
from genbench.training.engine import batches
from genbench.training.loop import Loop
from genbench.training.order import BatchOrder

BATCH = 128
IMAGES = 5_000
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PlainSet(Dataset[tuple[torch.Tensor, int]]):
    """A torchvision-style dataset: one PIL image, one transform at a time."""

    def __init__(self, pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self._pixels, self._labels = pixels, labels
        steps = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = transforms.functional.to_pil_image(self._pixels[index])
        return self._transform(image), int(self._labels[index])


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield batches without end."""
    while True:
        yield from loader


def make_network(
    name: str, precision: str, preset: str = "paper", side: int = 32
) -> tuple[torch.nn.Module, Any]:
    """Build a built-in classifier with the recipe of a preset."""
    options = f"{name}:preset={preset},recipe.precision={precision},recipe.compile=false"
    resolved = resolve(Registry(), "classifier", parse_reference(options), preset, file_digest)
    classifier: Classifier = import_target(resolved.spec.target, name)(resolved.config)
    return classifier.build(10, (3, side, side)), classifier.recipe()


def plain_steps(name: str, images: PlainSet, count: int) -> Callable[[], None]:
    """The loop everybody writes: DataLoader, fp32, NCHW."""
    network, recipe = make_network(name, "fp32")
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, 0.9, weight_decay=recipe.weight_decay
    )
    batches = forever(DataLoader(images, BATCH, shuffle=True, drop_last=True))

    def run() -> None:
        network.train()
        for pixels, labels in islice(batches, count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(pixels), labels).backward()
            optimizer.step()

    return run


class Nowhere:
    """A context that reports nothing and never stops."""

    device = "cpu"

    def progress(self, *_: Any, **__: Any) -> None:
        """Nobody watches."""


def engine_steps(
    name: str, data: TrainingData, precision: str, count: int, *, compiled: bool = False
) -> Callable[[], None]:
    """The same steps by genbench's engine; compiling falls into the round that is not counted."""
    network, recipe = make_network(name, precision)
    loop = Loop(network.to(memory_format=torch.channels_last), data, recipe, 1, 10_000, Nowhere())  # type: ignore[arg-type]
    source = batches(data, BatchOrder(IMAGES, 0, BATCH, seed=1), 0, 10_000)
    forward: Any = torch.compile(network) if compiled else network

    def run() -> None:
        network.train()
        for step, (rows, batch) in enumerate(islice(source, count)):
            loop.optimise(forward, batch, step)
            loop.ledger.enter(rows)

    return run


def main() -> None:
    """Print every figure; exit with 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds")
    parser.add_argument("--compiled", action="store_true", help="also ResNet-32 compiled (a minute more)")
    parser.add_argument("--only", choices=["resnet32", "cnn", "mlp"], help="this network alone")
    options = parser.parse_args()
    rounds = options.rounds
    torch.set_num_threads(1)
    images = make_images(IMAGES)
    data = make_data(images)
    plain = PlainSet(images.all().permute(0, 2, 3, 1).numpy(), images.labels)
    reached = [_data_path(plain, data, rounds), _seeding(rounds)]
    for name, steps, wanted in (("resnet32", 3, 2.1), ("cnn", 10, 2.9), ("mlp", 20, 2.2)):
        if options.only not in (None, name):
            continue
        variants = {
            "plain": plain_steps(name, plain, steps),
            "fp32": engine_steps(name, data, "fp32", steps),
            "bf16": engine_steps(name, data, "bf16", steps),
        }
        seconds = interleaved(variants, rounds)
        print(f"     {name}: {BATCH * steps / min(seconds['plain']):.0f} images/s by the plain loop")
        print(f"     {name}: engine in fp32 {ratio(seconds['plain'], seconds['fp32']):.2f} x the plain loop")
        reached.append(
            verdict(
                f"{name}, engine in bf16 against the plain loop",
                ratio(seconds["plain"], seconds["bf16"]),
                wanted,
                at_least=True,
            )
        )
    if options.compiled:
        variants = {
            "plain": plain_steps("resnet32", plain, 3),
            "compiled": engine_steps("resnet32", data, "bf16", 3, compiled=True),
        }
        seconds = interleaved(variants, rounds)
        found = ratio(seconds["plain"], seconds["compiled"])
        reached.append(verdict("resnet32, compiled, against the plain loop", found, 2.8, at_least=True))
    sys.exit(0 if all(reached) else 1)


class SeededByTorch(Loop):
    """The engine's loop with `torch.manual_seed`, which on a build for CUDA formats stack traces."""

    def seed_network(self, step: int) -> None:
        """Seed every generator that torch has."""
        torch.manual_seed(derive_seed(self.seed, "network", step))


def _seeding(rounds: int) -> bool:
    """Compare steps of the quick MLP on images of digits' size, seeded the engine's way and torch's."""
    pixels = torch.randint(0, 256, (IMAGES, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    data = make_data(TensorImages(pixels, np.arange(IMAGES) % 10, [str(n) for n in range(10)]))

    def steps(kind: type[Loop]) -> Callable[[], None]:
        network, recipe = make_network("mlp", "fp32", "quick", 8)
        loop = kind(network.train(), data, recipe, 1, 100_000, Nowhere())  # type: ignore[arg-type]
        source = batches(data, BatchOrder(IMAGES, 0, BATCH, seed=1), 0, 100_000)

        def run() -> None:
            for step, (rows, batch) in enumerate(islice(source, 100)):
                loop.optimise(network, batch, step)
                loop.ledger.enter(rows)

        return run

    seconds = interleaved({"torch": steps(SeededByTorch), "engine": steps(Loop)}, 3 * rounds)
    found = ratio(seconds["torch"], seconds["engine"])
    return verdict("quick mlp, seeded by torch.manual_seed against the engine's way", found, 1, at_least=True)


def _data_path(plain: PlainSet, data: TrainingData, rounds: int) -> bool:
    """Compare the data path alone with a DataLoader that has two workers.

    The engine is given ten times the batches: its round then outlasts the workers' prefetching.
    """
    loader = DataLoader(plain, BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
    loaded, order, count = forever(loader), BatchOrder(IMAGES, 0, BATCH, seed=1), IMAGES // BATCH
    made = batches(data, order, 0, 10_000)
    variants = {
        "loader": lambda: deque(islice(loaded, count), maxlen=1),
        "engine": lambda: deque(islice(made, 10 * count), maxlen=1),
    }
    seconds = interleaved(variants, rounds)
    speeds = {
        "loader": BATCH * count / min(seconds["loader"]),
        "engine": BATCH * count * 10 / min(seconds["engine"]),
    }
    print("     " + ", ".join(f"{name}: {speed:,.0f} images/s" for name, speed in speeds.items()))
    found = 10 * ratio(seconds["loader"], seconds["engine"])
    return verdict("data path against a DataLoader with 2 workers", found, 10, at_least=True)


if __name__ == "__main__":
    main()
