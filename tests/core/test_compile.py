"""`recipe.compile`: one compilation per architecture and shape, shared by all seeds of a process.

With the backend `eager`, which captures graphs and compiles nothing: what is tested is how often.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from genbench.images import TensorImages, statistics
from genbench.notation import parse_reference
from genbench.protocols import Mix, TrainRecipe
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.steps.context import StepContext
from genbench.training import TrainingData, train
from genbench.training.data import Augmentation

MakeContext = Callable[..., StepContext]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Compile with `eager`; return how many graphs were captured."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


def trained(name: str, seed: int, compile_it: bool, make_context: MakeContext, registry: Registry) -> Any:
    """Train a small network for six steps; return its weights."""
    resolved = resolve(registry, "classifier", parse_reference(name), "smoke", lambda path: "")
    labels = np.arange(48, dtype=np.int64) % 4
    pixels = torch.randint(0, 256, (48, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    images = TensorImages(pixels, labels, "abcd")
    recipe = TrainRecipe(batch_size_images=16, compile=compile_it, learning_rate=0.01)
    data = TrainingData(
        images, None, identities=torch.arange(48), statistics=statistics(images),
        augmentation=Augmentation("standard", 1, False), device="cpu", seed=seed,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = import_target(resolved.spec.target, name)(resolved.config).build(4, (3, 16, 16))
    done = train(network, data, recipe, Mix(), 6, seed, make_context())
    return torch.cat([value.flatten() for value in done.network.parameters()]).detach()


@pytest.mark.parametrize("name", ["cnn", "resnet32", "vit:tiny"])
def test_seeds_share_one_compilation(
    name: str, captured: Callable[[], int], make_context: MakeContext, registry: Registry, tmp_path: Any
) -> None:
    contexts = iter(range(10))

    def context() -> StepContext:
        return make_context(work=tmp_path / f"work{next(contexts)}")

    first = trained(name, 1, True, context, registry)
    graphs = captured()
    assert graphs >= 1
    other = trained(name, 2, True, context, registry)
    assert captured() == graphs
    assert not torch.equal(first, other)
    torch.testing.assert_close(first, trained(name, 1, False, context, registry))
    assert captured() == graphs
