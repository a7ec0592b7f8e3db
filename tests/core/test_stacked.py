"""Several trainings side by side agree with the same trainings one by one."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fake_cuda import NoWaiting
from genbench.errors import GenbenchError, Interrupted, UsageError
from genbench.images import TensorImages, statistics
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.protocols import Mix, TrainRecipe
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import RunSummary, run
from genbench.spec import resolve_suite
from genbench.steps.context import StepContext
from genbench.store import Store
from genbench.suite import make_suite
from genbench.training import Trained, TrainingData, train
from genbench.training.data import Augmentation
from genbench.training.stacked import Run, StackedLoop, pays, refusal, train_together
from genbench.training.whole_step import WholeStep
from genbench.worker import RunOptions

MakeContext = Callable[..., StepContext]
MakeRuns = Callable[..., list[Run]]
STEPS = 20
SEEDS = 3
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3}


class Net(nn.Module):
    """Convolution, both kinds of norm and an optional dropout; buffers, too."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.LayerNorm(128), nn.Dropout(dropout), nn.Linear(128, 4),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(x)
        return logits


@pytest.fixture
def make_runs(make_context: MakeContext, tmp_path: Path) -> MakeRuns:
    """Runs on shared real and own synthetic images; a label marks their folders."""

    def make(label: str, level: str = "standard", dropout: float = 0.0, **context: Any) -> list[Run]:
        found = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            network = Net(dropout).to(memory_format=torch.channels_last)
            ctx = make_context(work=tmp_path / label / str(seed), **context)
            found.append(Run(network, images(seed, level), seed, ctx))
        return found

    return make


def images(seed: int, level: str = "standard") -> TrainingData:
    """Forty real images, the same for all seeds, and as many synthetic ones as there are after `seed`."""
    labels = np.arange(40, dtype=np.int64) % 4
    sets = [
        torch.randint(0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(part)).byte()
        for part in (99, seed)
    ]
    real, synthetic = (
        TensorImages(sets[0], labels, "abcd"),
        TensorImages(sets[1][: 20 + seed], labels[: 20 + seed], "abcd"),
    )
    return TrainingData(
        real, synthetic, identities=torch.arange(60 + seed), statistics=statistics(real),
        augmentation=Augmentation(level, 1, True), device="cpu", seed=seed,
    )  # fmt: skip


def settled(**recipe: Any) -> TrainRecipe:
    return TrainRecipe.model_validate({"batch_size_images": 16, "learning_rate": 0.05, **recipe})


def alone(runs: list[Run], recipe: TrainRecipe, mix: Mix) -> list[Trained]:
    return [train(run.network, run.data, recipe, mix, STEPS, run.seed, run.ctx) for run in runs]


def together(runs: list[Run], recipe: TrainRecipe, mix: Mix) -> list[Trained]:
    found = train_together(runs, recipe, mix, STEPS)
    assert all(isinstance(one, Trained) for one in found)
    return [one for one in found if isinstance(one, Trained)]


def assert_close(ours: list[Trained], theirs: list[Trained], tolerance: float) -> None:
    """Compare weights, averages, buffers, histories and ledgers."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.ledger == other.ledger
        assert [row["step"] for row in one.history] == [row["step"] for row in other.history]
        for mine, its in zip(one.history, other.history, strict=True):
            assert mine["train_loss"] == pytest.approx(its["train_loss"], abs=10 * tolerance)
        for (name, value), wanted in zip(
            one.network.state_dict().items(), other.network.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(
                value, wanted, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(
    ("recipe", "mix", "level"),
    [
        ({}, {}, "standard"),
        ({**ADAMW, "decay_norm_and_bias": False, "weight_decay": 0.1}, {}, "off"),
        ({"ema_decay": 0.9, "clip_norm": 0.1, "nesterov": True}, {}, "standard"),
        ({"label_smoothing": 0.1, "schedule": "onecycle"}, {"batch_fraction": 0.25}, "standard"),
        ({}, {}, "strong"),
        ({}, {}, "mixup"),
    ],
)  # fmt: skip
def test_side_by_side_agrees_with_one_by_one(
    make_runs: MakeRuns, recipe: dict[str, Any], mix: dict[str, Any], level: str
) -> None:
    chosen, mixed = settled(**recipe), Mix(**mix)
    assert refusal(make_runs("tried", level), chosen, mixed) is None
    stacked = together(make_runs("together", level), chosen, mixed)
    single = alone(make_runs("alone", level), chosen, mixed)
    assert_close(stacked, single, 2e-4)
    assert {one.run["trained_together"] for one in stacked} == {SEEDS}
    first, second = (one.network.state_dict()["body.7.weight"] for one in stacked[:2])
    assert float((first - second).abs().max()) > 0.01  # seeds differ by far more than the tolerance


@pytest.mark.parametrize(
    ("recipe", "level"),
    [
        ({"nesterov": True, "clip_norm": 0.1}, "standard"),
        ({**ADAMW, "schedule": "onecycle", "label_smoothing": 0.1}, "off"),
        ({"precision": "bf16"}, "standard"),
        ({}, "strong"),
    ],
)
def test_a_whole_step_of_all_is_the_step_of_all(
    make_runs: MakeRuns, recipe: dict[str, Any], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = WholeStep.take
    monkeypatch.setattr(WholeStep, "take", lambda self, step: (taken.append(step), take(self, step)))
    monkeypatch.setattr("genbench.training.engine._BLOCK_IMAGES", 8 * SEEDS * 16)  # blocks of eight steps
    chosen = settled(**recipe)
    whole = train_together(make_runs("whole", level), chosen, Mix(), STEPS, whole_step="on")
    assert taken == list(range(STEPS))
    single = train_together(make_runs("single", level), chosen, Mix(), STEPS, whole_step="off")
    assert len(taken) == STEPS
    for one, other in zip(whole, single, strict=True):
        assert isinstance(one, Trained)
        assert isinstance(other, Trained)
        assert_close([one], [other], 0)


def test_no_line_of_a_whole_step_of_all_reads_a_value(make_runs: MakeRuns) -> None:
    runs = make_runs("runs", "strong")
    stacked = StackedLoop(runs, settled(clip_norm=0.1, ema_decay=0.9), Mix(), STEPS)
    whole = stacked.choose_steps(0, "on")
    before = runs[1].network.state_dict()["body.0.weight"].clone()
    with NoWaiting():
        whole.take(0)
    assert isinstance(whole, WholeStep)
    assert not torch.equal(runs[1].network.state_dict()["body.0.weight"], before)


def test_averages_of_a_whole_step_agree_to_rounding(make_runs: MakeRuns) -> None:
    chosen, ways = settled(ema_decay=0.9), ("on", "off")
    found = [
        train_together(make_runs(way, "off"), chosen, Mix(), STEPS, whole_step=way)  # type: ignore[arg-type]
        for way in ways
    ]
    ours, theirs = ([one for one in part if isinstance(one, Trained)] for part in found)
    assert len(ours) == len(theirs) == SEEDS
    assert_close(ours, theirs, 1e-5)


def test_bfloat16_agrees_as_far_as_its_rounding(make_runs: MakeRuns) -> None:
    def weights(found: list[Trained]) -> torch.Tensor:
        return torch.cat([value.flatten() for one in found for value in one.network.parameters()]).detach()

    low, full = settled(precision="bf16"), settled()
    exact, single, stacked = (
        weights(found)
        for found in (
            alone(make_runs("exact"), full, Mix()),
            alone(make_runs("alone"), low, Mix()),
            together(make_runs("together"), low, Mix()),
        )
    )
    rounding = float((single - exact).norm() / exact.norm())
    assert rounding > 1e-3
    assert float((stacked - exact).norm() / exact.norm()) > rounding / 3  # precision took effect
    assert float((stacked - single).norm() / exact.norm()) < 1.5 * rounding


def test_what_cannot_be_promised_is_refused(make_runs: MakeRuns) -> None:
    assert str(refusal(make_runs("a", dropout=0.3), settled(), Mix())) == "the network draws random numbers"
    assert refusal(make_runs("b"), settled(compile=True), Mix()) == "the recipe compiles its network"
    assert refusal(make_runs("c"), settled(micro_batch_images=4), Mix()) == "the recipe splits its batches"
    assert "batch_size_images is 500" in str(refusal(make_runs("d"), settled(batch_size_images=500), Mix()))


def test_trying_and_timing_leave_no_trace(make_runs: MakeRuns) -> None:
    runs = make_runs("timed")
    before = [copy.deepcopy(run.network.state_dict()) for run in runs]
    state = torch.random.get_rng_state()
    assert refusal(runs, settled(), Mix()) is None
    assert pays(runs, settled(), Mix()) in {True, False}
    for one, weights in zip(runs, before, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in one.network.state_dict().items())
        assert one.ctx.restore() is None
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_that_diverges_does_not_stop_the_others(make_runs: MakeRuns) -> None:
    runs = make_runs("diverging")
    with torch.no_grad():
        runs[1].network.body[7].weight.fill_(torch.nan)  # type: ignore[index, union-attr]
    found = train_together(runs, settled(), Mix(), STEPS)
    single = alone([make_runs("alone")[place] for place in (0, 2)], settled(), Mix())
    assert isinstance(found[1], GenbenchError)
    assert "training diverged: the loss is nan by step 1 of 20" in str(found[1])
    assert_close([one for one in found if isinstance(one, Trained)], single, 2e-4)


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "adam", "ema_decay": 0.9, "learning_rate": 1e-3}])
@pytest.mark.parametrize("resumed", ["together", "alone"])
def test_a_stopped_bundle_goes_on_either_way(
    make_runs: MakeRuns, recipe: dict[str, Any], resumed: str
) -> None:
    chosen = settled(**recipe)
    whole = alone(make_runs("whole"), chosen, Mix())
    asked = iter([False] * 7 + [True] * 99)
    with pytest.raises(Interrupted):
        train_together(make_runs("cut", must_stop=lambda: next(asked)), chosen, Mix(), STEPS)
    runs = make_runs("cut")
    steps = [run.ctx.restore().meta["step"] for run in runs]  # type: ignore[union-attr]
    assert len(set(steps)) == 1
    assert 0 < steps[0] < STEPS
    finished = together(runs, chosen, Mix()) if resumed == "together" else alone(runs, chosen, Mix())
    assert_close(finished, whole, 2e-4)


def test_runs_that_stopped_at_different_steps_do_not_go_on_together(make_runs: MakeRuns) -> None:
    asked = iter([False] * 3 + [True] * 99)
    first = make_runs("apart", must_stop=lambda: next(asked))[0]
    with pytest.raises(Interrupted):
        train(first.network, first.data, settled(), Mix(), STEPS, first.seed, first.ctx)
    with pytest.raises(GenbenchError, match="stopped at different steps"):
        train_together(make_runs("apart"), settled(), Mix(), STEPS)


# ------------------------------------------------------------------------------------------- whole programs


@pytest.fixture
def run_vectorized(registry: Registry, tmp_path: Path) -> Callable[..., tuple[Plan, RunSummary, Store]]:
    """Run three seeds of the small CNN on toy data, with and without a generator."""

    def run_them(
        vectorize: Any, classifier: str = "cnn:dropout=0", jobs: int = 0
    ) -> tuple[Plan, RunSummary, Store]:
        store = Store(tmp_path / vectorize / classifier.replace(":", "-"))
        entries = {
            "datasets": ["toy-data"], "classifiers": [classifier], "reference": "toy-net", "seeds": 3,
            "generators": ["toy"], "evaluators": ["accuracy"], "preset": "smoke",
        }  # fmt: skip
        plan = make_plan(resolve_suite(registry, make_suite(entries, "test"), store.fingerprint))
        return plan, run(plan, store, registry, RunOptions(jobs=jobs, vectorize=vectorize)), store

    return run_them


def measured(records: list[Record]) -> dict[str, Any]:
    return {record.result.key: record.result.metric("log_loss").value for record in records}  # type: ignore[union-attr]


@pytest.mark.slow(reason="trains every seed twice")
@pytest.mark.parametrize("jobs", [0, 2])
def test_a_run_side_by_side_has_the_records_of_one_by_one(
    run_vectorized: Callable[..., tuple[Plan, RunSummary, Store]], jobs: int
) -> None:
    plan, single, _ = run_vectorized("off")
    _, stacked, store = run_vectorized("on", jobs=jobs)
    assert not single.failed
    assert not stacked.failed
    alone, side_by_side = (
        [record for record in outcome.records if record.result.subject == "cell"]
        for outcome in (single, stacked)
    )
    expected, found = measured(alone), measured(side_by_side)
    assert found.keys() == expected.keys()  # how it was trained is in no key
    assert found == pytest.approx(expected, rel=1e-3)
    together = [record.run.hardware.get("trained_together") for record in side_by_side]
    assert set(together) == ({3} if jobs == 0 else {2, None})  # two workers share the three seeds of an arm
    assert all("trained_together" not in record.run.hardware for record in single.records)
    bundles: dict[Any, list[float]] = {}
    for key, step in plan.steps.items():
        manifest = store.manifest(key)
        if step.stage == "train" and manifest is not None and "trained_together" in manifest["run"]:
            bundles.setdefault(step.document["mix"]["ratio"], []).append(manifest["run"]["seconds"])
    assert [len(shares) for shares in bundles.values()] == ([3, 3] if jobs == 0 else [2, 2])
    assert all(len(set(shares)) == 1 for shares in bundles.values())  # the time is shared out


def test_a_classifier_that_draws_is_trained_one_by_one(
    run_vectorized: Callable[..., tuple[Plan, RunSummary, Store]],
) -> None:
    _, outcome, store = run_vectorized("on", classifier="cnn:dropout=0.2")
    assert not outcome.failed
    assert all("trained_together" not in record.run.hardware for record in outcome.records)
    logs = "".join(path.read_text() for path in (store.root / "logs").glob("*.log"))
    assert "trainings run one at a time: the network draws random numbers" in logs


def test_a_bundle_whose_images_do_not_fit_goes_one_by_one(
    run_vectorized: Callable[..., tuple[Plan, RunSummary, Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(device: str) -> int:
        return 40_000  # of toy-data, 96 images of 8x8 pixels with a border: one set fits, two do not

    monkeypatch.setattr(sys.modules["genbench.steps.train"], "resident_limit_bytes", whole)
    _, outcome, store = run_vectorized("on")
    assert not outcome.failed
    assert all("trained_together" not in record.run.hardware for record in outcome.records)
    logs = "".join(path.read_text() for path in (store.root / "logs").glob("*.log"))
    assert "3 trainings run one at a time: the images of all do not fit" in logs


def test_bundles_are_for_gpus_unless_they_are_asked_for() -> None:
    assert RunOptions(jobs=1, vectorize="auto").most_together == 1
    assert RunOptions(jobs=1, vectorize="on").most_together == 8
    assert RunOptions(jobs=1, device="cuda", vectorize="auto").most_together == 8
    assert RunOptions(jobs=1, device="cuda", vectorize="off").most_together == 1
    assert RunOptions(jobs=1, device="cuda", profile=True).most_together == 1  # a trace is one training's


def test_a_batch_larger_than_the_set_fails_alone(make_runs: MakeRuns) -> None:
    with pytest.raises(UsageError, match="at most 60"):
        train_together(make_runs("large"), settled(batch_size_images=500), Mix(), STEPS)
