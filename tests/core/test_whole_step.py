"""A step as one program takes the very steps that one operation after another takes."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fake_cuda import NoWaiting, fake_cuda, on_fake_cuda
from genbench.errors import GenbenchError, Interrupted
from genbench.images import TensorImages, statistics
from genbench.planner import make_plan
from genbench.protocols import Mix, TrainRecipe
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import run
from genbench.spec import resolve_suite
from genbench.steps.context import StepContext
from genbench.store import Store
from genbench.suite import make_suite
from genbench.training import Trained, TrainingData, engine, train, whole_step
from genbench.training.augment import POLICIES
from genbench.training.data import Augmentation
from genbench.training.engine import OneByOne, choose_steps, make_order
from genbench.training.loop import Loop
from genbench.training.optimise import AveragedWeights, optimizer_tensors
from genbench.training.order import BatchOrder
from genbench.training.whole_step import OneTraining, WholeStep
from genbench.worker import RunOptions

MakeContext = Callable[..., StepContext]
Fit = Callable[..., Trained]
STEPS = 12
IMAGES = TensorImages(
    torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(3)).byte(),
    np.arange(60) % 4,
    list("abcd"),
)
SYNTHETIC = TensorImages(IMAGES.all()[:24], IMAGES.labels[:24], list("abcd"))
STATISTICS = statistics(IMAGES)
DRAWN = BatchOrder(60, 24, 16, 5).block(0, 5)


class Net(nn.Module):
    """Batch norm and dropout: state beside the weights, and random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 4),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(x)
        return logits


def make_data(level: str = "standard", device: str = "cpu") -> TrainingData:
    return TrainingData(
        IMAGES, SYNTHETIC, identities=torch.arange(84), statistics=STATISTICS,
        augmentation=Augmentation(level, 1, True), device=device, seed=5,
    )  # fmt: skip


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return Net().to(memory_format=torch.channels_last)


def make_recipe(**options: Any) -> TrainRecipe:
    return TrainRecipe.model_validate({"batch_size_images": 16, "learning_rate": 0.05, **options})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """Which way each step was taken."""
    found: list[type] = []
    for way in (WholeStep, OneByOne):
        take = way.take

        def noted(self: Any, step: int, take: Any = take) -> None:
            found.append(type(self))
            take(self, step)

        monkeypatch.setattr(way, "take", noted)
    monkeypatch.setattr(engine, "_BLOCK_IMAGES", 5 * 16)  # blocks of five steps: the last one is shorter
    return found


@pytest.fixture
def fit(make_context: MakeContext, tmp_path: Path) -> Fit:
    """Train a small network one way; `label` marks its checkpoints."""

    def run(
        choice: Any, label: str, level: str = "standard", mix: Any = None, ctx: Any = None, **recipe: Any
    ) -> Trained:
        context = make_context(work=tmp_path / label, **(ctx or {}))
        network, settled, mixed = make_network(), make_recipe(**recipe), Mix(**(mix or {}))
        return train(network, make_data(level), settled, mixed, STEPS, 5, context, whole_step=choice)

    return run


def assert_same(one: Trained, other: Trained, *, exact: bool = True) -> None:
    """Compare weights, buffers, histories and ledgers; averages agree to two roundings for one."""
    assert one.history == other.history
    assert one.ledger == other.ledger
    for (name, value), wanted in zip(
        one.network.state_dict().items(), other.network.state_dict().values(), strict=True
    ):
        if exact:
            assert torch.equal(value, wanted), name
        else:
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-7)


RECIPES: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant"},
    {"optimizer": "sgd", "nesterov": True, "weight_decay": 0.1, "decay_norm_and_bias": False},
    {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "onecycle"},
    {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "warmup_fraction": 0.4},
    {"optimizer": "sgd", "clip_norm": 0.1, "schedule": "multistep", "milestones": (0.3, 0.6)},
    {"optimizer": "adamw", "learning_rate": 1e-3, "clip_norm": 0.5, "label_smoothing": 0.1},
    {"optimizer": "sgd", "precision": "bf16"},
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_both_ways_take_the_same_steps_bit_for_bit(fit: Fit, taken: list[type], recipe: Any) -> None:
    whole, single = fit("on", "whole", **recipe), fit("off", "single", **recipe)
    assert taken == [WholeStep] * STEPS + [OneByOne] * STEPS
    assert_same(whole, single)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_averaged_weights_agree_to_rounding(fit: Fit, taken: list[type], optimizer: str) -> None:
    recipe = {"optimizer": optimizer, "learning_rate": 0.01, "ema_decay": 0.9}
    whole, single = fit("on", "whole", **recipe), fit("off", "single", **recipe)
    assert set(taken) == {WholeStep, OneByOne}
    assert_same(whole, single, exact=False)
    plain = fit("on", "plain", **{**recipe, "ema_decay": 0.0})
    assert not torch.allclose(whole.network.body[6].weight, plain.network.body[6].weight)  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("level", "mix"), [*((level, {}) for level in ("off", *POLICIES)), ("standard", {"batch_fraction": 0.25})]
)
def test_both_ways_see_the_same_batches(fit: Fit, taken: list[type], level: str, mix: Any) -> None:
    whole, single = fit("on", "whole", level, mix), fit("off", "single", level, mix)
    assert set(taken) == {WholeStep, OneByOne}
    assert_same(whole, single)


def test_a_compiled_network_takes_whole_steps(
    fit: Fit, taken: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    asked: list[Any] = []
    compile_it = torch.compile

    def noted(network: Any, **options: Any) -> Any:
        asked.append(options)
        return compile_it(network, backend="eager", dynamic=options["dynamic"])

    monkeypatch.setattr(torch, "compile", noted)
    compiled = fit("on", "compiled", compile=True)
    torch._dynamo.reset()
    assert asked == [{"dynamic": False}]  # without graphs of inductor's own
    assert set(taken) == {WholeStep}
    assert_same(compiled, fit("off", "plain"))


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "adam"}, {"optimizer": "adamw", "ema_decay": 0.9}])
@pytest.mark.parametrize(("before", "after"), [("on", "off"), ("off", "on"), ("on", "on")])
def test_a_stopped_training_goes_on_either_way(fit: Fit, before: str, after: str, recipe: Any) -> None:
    recipe = {"learning_rate": 0.01, **recipe}
    uninterrupted = fit("off", "whole", **recipe)
    asked = iter([False] * 6 + [True] * 99)
    with pytest.raises(Interrupted):
        fit(before, "cut", ctx={"must_stop": lambda: next(asked), "checkpoint_seconds": 1e9}, **recipe)
    assert_same(fit(after, "cut", **recipe), uninterrupted, exact="ema_decay" not in recipe)


def test_divergence_is_found_in_whole_steps_too(fit: Fit, taken: list[type]) -> None:
    with pytest.raises(GenbenchError, match="training diverged"):
        fit("on", "whole", learning_rate=1e30, schedule="constant")
    assert set(taken) == {WholeStep}


# ------------------------------------------------------------------------------------- building and choosing


def make_loop(make_context: MakeContext, recipe: TrainRecipe, data: TrainingData) -> tuple[Loop, Any]:
    network = make_network().train()
    loop = Loop(network, data, recipe, 5, STEPS, make_context())
    return loop, make_order(data, recipe, Mix(), 5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_building_a_program_leaves_no_trace(make_context: MakeContext, optimizer: str) -> None:
    data = make_data()
    loop, order = make_loop(make_context, make_recipe(optimizer=optimizer, ema_decay=0.9), data)
    before = copy.deepcopy(loop.network.state_dict())
    program = WholeStep(OneTraining(loop, data, order, loop.network), (0, 5))
    assert all(torch.equal(value, before[name]) for name, value in loop.network.state_dict().items())
    assert optimizer_tensors(loop.optimizer)
    assert all(not value.any() for value in optimizer_tensors(loop.optimizer).values())
    assert not loop.sums.any()
    assert not loop.ledger.visits.any()
    assert loop.average is not None
    assert torch.equal(loop.average.shadow[0], before["body.0.weight"])
    program.take(0)
    assert not torch.equal(loop.network.state_dict()["body.0.weight"], before["body.0.weight"])
    assert int(loop.ledger.visits.sum()) == 16
    with pytest.raises(AssertionError, match="in order"):
        program.take(3)


def test_the_body_is_captured_once_and_replayed(make_context: MakeContext) -> None:
    data = make_data()
    loop, order = make_loop(make_context, make_recipe(), data)
    captured: list[Any] = []
    replayed: list[int] = []

    def capture(body: Any) -> Any:
        captured.append(body)
        return lambda: replayed.append(1)

    program = WholeStep(OneTraining(loop, data, order, loop.network), (0, 5), capture)
    assert program.captured
    for step in range(5):
        program.take(step)
    assert (len(captured), len(replayed)) == (1, 5)
    assert not loop.ledger.visits.any()  # what a replay does is the graph's


def test_a_captured_training_says_so(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "whole_step_graph" not in fit("on", "plain").run
    built = WholeStep.__init__

    def as_if_captured(self: Any, program: Any, block: Any, capture: Any) -> None:
        built(self, program, block, lambda body: body)

    monkeypatch.setattr(WholeStep, "__init__", as_if_captured)
    assert fit("on", "captured").run["whole_step_graph"] == 1


def test_a_record_tells_it_beside_the_hardware_and_its_key_does_not(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def records(name: str) -> list[Record]:
        entries = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 1}
        suite = make_suite({**entries, "evaluators": ["accuracy"], "preset": "smoke"}, "test")
        store = Store(tmp_path / name)
        plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
        return run(plan, store, registry, RunOptions(jobs=0)).records

    plain, built = records("plain"), WholeStep.__init__

    def as_if_captured(self: Any, program: Any, block: Any, capture: Any) -> None:
        built(self, program, block, lambda body: body)

    monkeypatch.setattr(WholeStep, "__init__", as_if_captured)
    monkeypatch.setattr(engine, "wants_whole_steps", lambda choice, device: True)
    captured = records("captured")
    assert {one.run.hardware.get("whole_step_graph") for one in plain} == {None}
    assert {one.run.hardware.get("whole_step_graph") for one in captured} == {1}
    assert [one.result_digest for one in captured] == [one.result_digest for one in plain]


def test_what_cannot_be_one_program_goes_one_by_one(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def chosen(recipe: TrainRecipe, choice: Any = "on", first: int = 0) -> Any:
        caplog.clear()
        data = make_data()
        loop, order = make_loop(make_context, recipe, data)
        return choose_steps(loop, data, order, first, choice)

    with caplog.at_level(logging.INFO, "test"):
        assert isinstance(chosen(make_recipe()), WholeStep)
        assert isinstance(chosen(make_recipe(), "auto"), OneByOne)  # on a CPU
        assert not caplog.records
        assert isinstance(chosen(make_recipe(micro_batch_images=4)), OneByOne)
        assert "one operation at a time: batches are split" in caplog.text
        monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "0")
        assert isinstance(chosen(make_recipe()), OneByOne)
        assert "the images are read batch by batch" in caplog.text


def test_a_step_that_cannot_be_captured_is_taken_all_the_same(
    fit: Fit, taken: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = fit("off", "wanted", optimizer="adam")
    built = WholeStep.__init__

    def refused(body: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    def as_if_refused(self: Any, program: Any, block: Any, capture: Any) -> None:
        built(self, program, block, refused)

    monkeypatch.setattr(WholeStep, "__init__", as_if_refused)
    assert_same(fit("on", "refused", optimizer="adam"), wanted)
    assert set(taken) == {OneByOne}


# ----------------------------------------------------------------------------------- what a graph cannot do


@pytest.fixture
def forward_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake CUDA tensors, without what they cannot do: backward, fused optimizers, streams and generators."""
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    monkeypatch.setattr(Loop, "apply_gradient", lambda self: None)
    monkeypatch.setattr(Loop, "seed_network", lambda self, step: None)
    monkeypatch.setattr(whole_step, "_beside", lambda device: nullcontext())
    with fake_cuda(monkeypatch):
        yield


@pytest.mark.parametrize("level", ["standard", *POLICIES])
def test_the_body_of_a_step_waits_for_nothing_on_a_gpu(
    level: str, make_context: MakeContext, forward_alone: None
) -> None:
    network = on_fake_cuda(Net())
    recipe = make_recipe(ema_decay=0.9)
    data = make_data(level, "cuda")
    loop = Loop(network.train(), data, recipe, 5, STEPS, make_context(device="cuda"))
    order: Any = SimpleNamespace(block=lambda first, count: DRAWN)  # fake tensors have no values to sort
    program = WholeStep(OneTraining(loop, data, order, network), (0, 5))
    with NoWaiting():
        for step in range(5):
            program.take(step)
    assert {loop.sums.device.type, program._rate.device.type, program._place.device.type} == {"cuda"}
    assert program._rate.dtype == torch.float32  # what CUDA's fused optimizers read


@pytest.mark.parametrize("choice", ["on", "off"])
def test_no_line_of_a_step_reads_a_value_backward_and_optimizer_included(
    choice: Any, make_context: MakeContext
) -> None:
    data = make_data("strong")
    loop, order = make_loop(make_context, make_recipe(clip_norm=0.1, ema_decay=0.9), data)
    way = choose_steps(loop, data, order, 0, choice)
    assert isinstance(way, WholeStep if choice == "on" else OneByOne)
    way.load(0, 5)
    way.take(0)
    before = loop.network.body[0].weight.detach().clone()  # type: ignore[index, union-attr]
    with NoWaiting():
        way.take(1)
    assert not torch.equal(loop.network.body[0].weight, before)  # type: ignore[index, union-attr]


def test_a_weight_on_the_device_averages_like_a_number() -> None:
    layer = nn.Linear(30, 30)
    ours, theirs = AveragedWeights(layer, 0.9), AveragedWeights(layer, 0.9)
    with torch.no_grad():
        layer.weight.normal_(0, 3)
    ours.approach(torch.tensor(ours.weight(2)))
    theirs.update(2)
    for one, other in zip(ours.shadow, theirs.shadow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert ours.weight(2) == pytest.approx(1 - 3 / 12)
