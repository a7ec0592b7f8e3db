"""Micro-batches: the same gradient in parts, and what running out of memory says."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genbench.errors import GenbenchError
from genbench.images import TensorImages, statistics
from genbench.protocols import Mix, TrainRecipe
from genbench.steps.context import StepContext
from genbench.training import TrainingData, train
from genbench.training.data import Augmentation

MakeContext = Callable[..., StepContext]


class Counting(nn.Module):
    """A small network with layer normalisation that notes the sizes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4)
        )
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        logits: torch.Tensor = self.body(x)
        return logits


def trained(make_context: MakeContext, network: nn.Module, level: str = "standard", **recipe: Any) -> Any:
    labels = np.arange(40, dtype=np.int64) % 4
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    images = TensorImages(pixels, labels, "abcd")
    data = TrainingData(
        images, None, identities=torch.arange(40), statistics=statistics(images),
        augmentation=Augmentation(level, 1, False), device="cpu", seed=1,
    )  # fmt: skip
    settled = TrainRecipe(**{"batch_size_images": 20, "learning_rate": 0.05, **recipe})
    return train(network, data, settled, Mix(), 8, 1, make_context())


def fresh() -> Counting:
    torch.manual_seed(0)
    return Counting()


@pytest.mark.parametrize("level", ["standard", "strong"])
@pytest.mark.parametrize("size", [20, 7, 1])
def test_parts_train_the_same_network(
    make_context: MakeContext, level: str, size: int, tmp_path: Any
) -> None:
    options = {"label_smoothing": 0.1, "clip_norm": 1.0}
    whole = trained(lambda: make_context(work=tmp_path / "a"), fresh(), level, **options)
    network = fresh()
    parts = trained(
        lambda: make_context(work=tmp_path / "b"), network, level, micro_batch_images=size, **options
    )
    expected = [min(size, 20 - start) for start in range(0, 20, size)] * 8
    assert network.sizes == expected
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_batch_norm_sees_the_parts(make_context: MakeContext, tmp_path: Any) -> None:
    def normed() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 4))

    whole = trained(lambda: make_context(work=tmp_path / "a"), normed())
    parts = trained(lambda: make_context(work=tmp_path / "b"), normed(), micro_batch_images=5)
    assert not torch.allclose(whole.network[2].weight, parts.network[2].weight, atol=1e-4)


PROBLEMS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


def greedy(network: nn.Module, problem: Exception, most: int = 6) -> nn.Module:
    """Make a network run out of memory with more than `most` images."""

    def refuse(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > most:
            raise problem

    network.register_forward_pre_hook(refuse)
    return network


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_batch_that_does_not_fit_is_split_with_equal_results(
    make_context: MakeContext, problem: Exception, tmp_path: Any
) -> None:
    whole = trained(lambda: make_context(work=tmp_path / "a"), fresh())
    network = fresh()
    parts = trained(lambda: make_context(work=tmp_path / "b"), greedy(network, problem))
    assert network.sizes[:5] == [5, 5, 5, 5, 5]  # halved twice in the first step, and never tried again
    assert max(network.sizes) == 5
    assert parts.run["micro_batch_images"] == 5
    assert "micro_batch_images" not in whole.run
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(192), nn.Dropout(0.1)])
def test_a_network_that_would_learn_otherwise_from_parts_names_the_option(
    make_context: MakeContext, layer: nn.Module
) -> None:
    network = greedy(nn.Sequential(nn.Flatten(), layer, nn.Linear(192, 4)), PROBLEMS[0], most=10)
    with pytest.raises(
        GenbenchError, match="out of memory in training step 1, with 20 images at a time"
    ) as raised:
        trained(make_context, network)
    assert "recipe.micro_batch_images=10" in str(raised.value)


def test_not_even_one_image_fits(make_context: MakeContext) -> None:
    with pytest.raises(GenbenchError, match="out of memory in training step 1, with 1 images at a time"):
        trained(make_context, greedy(fresh(), PROBLEMS[0], most=0))


def test_a_split_training_goes_on_split(make_context: MakeContext) -> None:
    context = make_context(checkpoint_seconds=0)
    trained(lambda: context, greedy(fresh(), PROBLEMS[0]))
    saved = context.restore()
    assert saved is not None
    assert saved.meta["micro_batch"] == 5


def test_other_errors_are_let_through(make_context: MakeContext) -> None:
    class Broken(Counting):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        trained(make_context, Broken())


def test_a_checkpoint_of_another_architecture_is_refused(make_context: MakeContext) -> None:
    context = make_context()
    other = {
        "network/body.1.weight": torch.zeros(3, 3),
        "books/visits": torch.zeros(40),
        "books/sums": torch.zeros(3),
    }
    context.checkpoint(other, {"step": 2, "history": []})
    with pytest.raises(GenbenchError, match="the checkpoint is of another architecture: "):
        trained(make_context, fresh())


@pytest.mark.slow(reason="runs with workers")
def test_a_worker_that_may_not_have_the_memory_says_what_needs_less(tmp_path: Any) -> None:
    """A whole process: the limit is a process's."""
    import os
    import subprocess
    import sys

    network = "vit:tiny,recipe.batch_size_images=1000"
    environment = {**os.environ, "GENBENCH_STORE": str(tmp_path / "store")}

    def run(classifier: str) -> subprocess.CompletedProcess[str]:
        arguments = "run -d digits:size=64 --limit-train 1000 --preset smoke --seeds 1 -e accuracy -j 1 -q"
        command = [
            sys.executable,
            "-m",
            "genbench.cli",
            *arguments.split(),
            "--max-memory",
            "1.5",
            "-c",
            classifier,
        ]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    normed = run(network.replace("vit:tiny", "resnet32:depth=20"))
    assert normed.returncode == 1
    assert "out of memory in training step 1, with 1000 images at a time" in normed.stderr
    assert "recipe.micro_batch_images=500" in normed.stderr
    split = run(f"{network},recipe.epochs=1")
    assert split.returncode == 0, split.stdout + split.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "genbench-results").rglob("cell-*.json")]
    sizes = [
        one["run"]["hardware"]["micro_batch_images"]
        for one in records
        if "costs" in one["run"] and one["run"]["costs"]
    ]
    assert sizes
    assert all(size < 1000 for size in sizes)
