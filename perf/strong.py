"""How `--augment strong` was chosen: `python perf/strong.py --out docs/tuning/strong.csv` (an hour).

Trains a classifier's `quick` preset on a few thousand real images of CIFAR-10 under each candidate, and
writes accuracy on val, a tenth of CIFAR-10's train images: nothing is measured on test.
Candidates are halved: all of them with the first seed, then the better half with each further one. A run that
was stopped resumes after the last line of its file.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from genbench.digest import file_digest
from genbench.hookspecs import Kind
from genbench.images import LabelledImages, Subset, statistics
from genbench.notation import parse_reference
from genbench.protocols import Classifier, Dataset, DatasetConfig, Mix
from genbench.registry import Registry, import_target
from genbench.seeding import derive_seed
from genbench.spec import Resolved, resolve
from genbench.steps.dataset import split
from genbench.steps.networks import build_network
from genbench.testing.context import MemoryContext
from genbench.training import NormalisedNetwork, TrainingData, predict, total_steps, train
from genbench.training.augment import POLICIES, Policy
from genbench.training.data import Augmentation
from genbench.training.operations import RANDAUGMENT


class Candidate(NamedTuple):
    """RandAugment's operations per image and their magnitude, and how often CutMix follows."""

    operations: int
    magnitude: int
    cutmix: float

    def policy(self) -> Policy:
        """Return the policy."""
        if not self.cutmix:
            return Policy(RANDAUGMENT, self.operations, self.magnitude)
        return Policy(
            RANDAUGMENT, self.operations, self.magnitude, mixing="cutmix", mixing_probability=self.cutmix
        )


class Row(NamedTuple):
    """One trial: a line of the file."""

    classifier: str
    images: int
    operations: int
    magnitude: int
    cutmix: float
    seed: int
    steps: int
    val_top1: float

    @property
    def candidate(self) -> Candidate:
        """What was tried."""
        return Candidate(self.operations, self.magnitude, self.cutmix)


CANDIDATES = (
    Candidate(0, 0, 0.0),  # `standard`
    Candidate(2, 9, 0.5),  # RandAugment as torchvision has it; CutMix as `strong` had it at first
    Candidate(0, 0, 0.5),
    *(Candidate(1, magnitude, 0.0) for magnitude in (5, 9)),
    *(Candidate(1, magnitude, 0.5) for magnitude in (5, 9)),
    Candidate(0, 0, 1.0),
    *(Candidate(2, magnitude, 0.0) for magnitude in (5, 9)),
    *(Candidate(1, magnitude, 0.25) for magnitude in (5, 9)),
    Candidate(2, 5, 0.5),
)


def component(kind: Kind, reference: str, preset: str) -> Resolved:
    """Resolve a component of this environment."""
    return resolve(Registry(), kind, parse_reference(reference), preset, file_digest)


def load(images: int, work: Path) -> tuple[LabelledImages, LabelledImages]:
    """Return the train images that are used, and val."""
    resolved = component("dataset", f"cifar10:limit_train={images}", "quick")
    dataset: Dataset = import_target(resolved.spec.target, resolved.name)(resolved.config)
    assert isinstance(resolved.config, DatasetConfig)
    train_images, val, _ = split(dataset.load(MemoryContext(work)).train, resolved.config)
    return Subset(train_images, np.arange(len(train_images))), val


def accuracy(
    name: str, seed: int, candidate: Candidate, parts: tuple[LabelledImages, LabelledImages], work: Path
) -> tuple[int, float]:
    """Train one network; return its steps, and its top-1 on val in %."""
    images, val = parts
    resolved = component("classifier", name, "quick")
    classifier: Classifier = import_target(resolved.spec.target, name)(resolved.config)
    recipe, number = classifier.recipe(), derive_seed("strong", name, seed)
    POLICIES["candidate"] = candidate.policy()
    level = "candidate" if candidate != CANDIDATES[0] else "standard"
    data = TrainingData(
        images, None, identities=torch.arange(len(images)), statistics=statistics(images),
        augmentation=Augmentation(level, 4, True), device="cpu", seed=number,
    )  # fmt: skip
    steps = total_steps(recipe, len(images), len(images), "steps")
    network = build_network(classifier, images, recipe, number)
    trained = train(network, data, recipe, Mix().baseline, steps, number, MemoryContext(work))
    outputs = predict(
        NormalisedNetwork(trained.network, statistics(images)).eval(), val, recipe.precision, "cpu"
    )
    return steps, float((outputs.logits.argmax(axis=1) == val.labels).mean() * 100)


def read(path: Path) -> list[Row]:
    """Return the trials of a file, if there is one."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return [
            Row(
                line["classifier"], int(line["images"]), int(line["operations"]), int(line["magnitude"]),
                float(line["cutmix"]), int(line["seed"]), int(line["steps"]), float(line["val_top1"]),
            )
            for line in csv.DictReader(lines)
        ]  # fmt: skip


def score(rows: list[Row], candidate: Candidate) -> float:
    """Return a candidate's mean over its seeds."""
    values = [row.val_top1 for row in rows if row.candidate == candidate]
    return sum(values) / len(values)


def due(rows: list[Row], seeds: int, only: tuple[Candidate, ...]) -> Iterator[tuple[int, Candidate]]:
    """Yield seeds and candidates in order; `rows` grows while they are tried."""
    left = list(only)
    for seed in range(seeds):
        yield from ((seed, one) for one in left)
        so_far = rows.copy()
        left = sorted(left, key=lambda one: -score(so_far, one))[: max(3, (len(left) + 1) // 2)]


def best(rows: list[Row]) -> Candidate:
    """Return the combination of RandAugment and CutMix with the highest mean on val."""
    tried = {row.candidate for row in rows if row.operations and row.cutmix}
    return max(sorted(tried), key=lambda one: score(rows, one))


def main() -> None:
    """Try all candidates that are not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="CSV file of the trials")
    parser.add_argument("--classifier", default="cnn", help="its `quick` preset is trained")
    parser.add_argument("--images", type=int, default=2000, help="train images")
    parser.add_argument("--seeds", type=int, default=4, help="rounds of halving")
    parser.add_argument("--only", nargs="*", default=[], help="candidates, as 1,5,0.5")
    asked = parser.parse_args()
    only = tuple(Candidate(int(n), int(m), float(p)) for n, m, p in (one.split(",") for one in asked.only))
    every = read(asked.out)
    rows = [row for row in every if (row.classifier, row.images) == (asked.classifier, asked.images)]
    if not every:
        asked.out.write_text(",".join(Row._fields) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        parts = load(asked.images, Path(folder))
        for seed, candidate in due(rows, asked.seeds, only or CANDIDATES):
            if any((row.seed, row.candidate) == (seed, candidate) for row in rows):
                continue
            steps, top1 = accuracy(asked.classifier, seed, candidate, parts, Path(folder))
            rows.append(
                Row(
                    asked.classifier,
                    asked.images,
                    *candidate,
                    seed=seed,
                    steps=steps,
                    val_top1=round(top1, 2),
                )
            )
            with asked.out.open("a") as file:
                file.write(",".join(map(str, rows[-1])) + "\n")
            print(*rows[-1], flush=True)
    print("strong:", best(rows))


if __name__ == "__main__":
    main()
