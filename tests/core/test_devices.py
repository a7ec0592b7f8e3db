"""Training on a GPU: every tensor on its device, and no step that waits for it; on fake CUDA tensors."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fake_cuda import NoWaiting, Operations, fake_cuda
from genbench.errors import GenbenchError
from genbench.images import TensorImages, statistics
from genbench.seeding import seed_device
from genbench.training import TrainingData
from genbench.training.augment import POLICIES
from genbench.training.data import Augmentation, StackedData
from genbench.training.ledger import Ledger
from genbench.training.loop import out_of_memory, tally
from genbench.training.optimise import AveragedWeights
from genbench.training.order import BatchOrder

IMAGES = TensorImages(torch.zeros(32, 3, 16, 16, dtype=torch.uint8), np.arange(32) % 4, list("abcd"))
DRAWS = [BatchOrder(32, 0, 8, seed).block(0, 2) for seed in (1, 2)]
STATISTICS = statistics(IMAGES)
LEVELS = ["off", "standard", *POLICIES]
MOST_OPERATIONS = (
    450  # of a batch with any policy, views included: AugMix takes three turns of all operations
)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fake_cuda(monkeypatch):
        yield


def make_data(level: str, seed: int = 1, device: str = "cuda") -> TrainingData:
    return TrainingData(
        IMAGES, None, identities=torch.arange(32), statistics=STATISTICS,
        augmentation=Augmentation(level, 2, True), device=device, seed=seed,
    )  # fmt: skip


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seeds", [1, 2])
def test_batches_are_made_on_the_device_alone(level: str, seeds: int) -> None:
    parts = [make_data(level, seed) for seed in range(seeds)]
    prepared = StackedData(parts).prepare(DRAWS) if seeds > 1 else parts[0].prepare(DRAWS[0])
    drawn = prepared.at(0)
    with NoWaiting():
        batch = StackedData(parts).make(drawn) if seeds > 1 else parts[0].make(drawn)
    assert {part.device.type for part in batch if part is not None} == {"cuda"}
    assert batch.images.shape[-4:] == (8, 3, 16, 16)


@pytest.mark.usefixtures("fake")
def test_books_and_averages_are_kept_without_waiting() -> None:
    targets, logits = torch.zeros(8, dtype=torch.int64, device="cuda"), torch.zeros(8, 4, device="cuda")
    ledger, layer = Ledger.empty(20, 12, "cuda"), nn.Linear(2, 2, device="cuda")
    average, sums = AveragedWeights(layer, 0.9), torch.zeros(3, dtype=torch.float64, device="cuda")
    with NoWaiting():
        sums += tally(nn.functional.cross_entropy(logits, targets), logits, targets)
        ledger.enter(targets)
        average.update(3)
    assert {sums.device.type, ledger.visits.device.type, average.shadow[0].device.type} == {"cuda"}


@pytest.mark.usefixtures("fake")
def test_what_waits_is_noticed() -> None:
    """The test of the tests: a copy, a moved tensor and a value read back."""
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        torch.zeros(3, device="cuda").cpu()
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        torch.zeros(3, device="cuda").copy_(torch.ones(3))
    with pytest.raises(RuntimeError, match=r"two different devices|same device"):
        torch.zeros(3, device="cuda") + torch.ones(3)


@pytest.mark.parametrize("level", POLICIES)
def test_a_batch_with_a_policy_launches_few_operations(level: str) -> None:
    data = make_data(level, device="cpu")
    with Operations() as preparing:
        drawn = data.prepare(DRAWS[0])
    with Operations() as making:
        data.make(drawn.at(0))
    assert 20 < making.count <= MOST_OPERATIONS
    assert preparing.count > 60  # the draws of all steps at once


def test_the_draws_of_a_block_are_those_of_its_steps() -> None:
    for level in POLICIES:
        data = make_data(level, device="cpu")
        block, order = data.prepare(DRAWS[0]), BatchOrder(32, 0, 8, 1)
        for step in range(2):
            one = data.prepare(order.at(step))
            assert torch.equal(block.at(step).policy, one.policy)
            assert torch.equal(data.make(block.at(step)).images, data.make(one).images)
        assert block.policy.shape == (2, POLICIES[level].rows, 8)
        assert not torch.equal(block.policy[0], block.policy[1])


def test_seeding_a_device_is_seeding_torch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wanted = torch.rand(4)
        seed_device("cpu", 3)
        assert torch.equal(torch.rand(4), wanted)
        assert not torch.equal(torch.rand(4), wanted)


@pytest.mark.parametrize(
    ("problem", "means_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (GenbenchError("training diverged"), False),
    ],
)
def test_every_way_to_run_out_of_memory_is_known(problem: Exception, means_memory: bool) -> None:
    assert out_of_memory(problem) is means_memory
