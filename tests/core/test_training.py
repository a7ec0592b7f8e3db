"""The training engine: schedules, order, ledger, pairing, resuming, and what goes wrong."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genbench.errors import GenbenchError, Interrupted, ProtocolError, UsageError
from genbench.images import LabelledImages, TensorImages, statistics
from genbench.protocols import Mix, TrainRecipe
from genbench.steps.context import StepContext
from genbench.training import Ledger, NormalisedNetwork, Trained, TrainingData, predict, total_steps, train
from genbench.training.data import Augmentation
from genbench.training.order import BatchOrder
from genbench.training.schedule import learning_rate

MIX = Mix()
MakeContext = Callable[..., StepContext]
MakeImages = Callable[..., TensorImages]


class Net(torch.nn.Module):
    """A small network with batch norm and dropout: both have state or randomness to get wrong."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.dropout = torch.nn.Dropout(0.3)
        self.fc = torch.nn.Linear(8, classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.fc(self.dropout(pooled))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def make_data(
    real: LabelledImages,
    synthetic: LabelledImages | None = None,
    level: str = "standard",
    seed: int = 5,
    flip: bool = True,
) -> TrainingData:
    count = len(real) + (len(synthetic) if synthetic is not None else 0)
    return TrainingData(
        real,
        synthetic,
        identities=torch.arange(count),
        statistics=statistics(real),
        augmentation=Augmentation(level, 2, flip),
        device="cpu",
        seed=seed,
    )


def fit(
    data: TrainingData, ctx: StepContext, steps: int = 12, seed: int = 5, mix: Mix = MIX, **recipe: Any
) -> Trained:
    settled = TrainRecipe.model_validate({"batch_size_images": 16, "learning_rate": 0.05, **recipe})
    torch.manual_seed(0)
    network = Net().to(memory_format=torch.channels_last)
    return train(network, data, settled, mix, steps, seed, ctx)


def weights(trained: Trained) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in trained.network.state_dict().values()])


# ------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_cosine_and_multistep_agree_with_torch(warmup: float) -> None:
    total = 50
    for schedule in ("cosine", "multistep"):
        recipe = TrainRecipe(
            schedule=schedule, learning_rate=0.3, warmup_fraction=warmup, milestones=(0.4, 0.8)
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        first = round(warmup * total)
        reference: Any
        if schedule == "cosine":
            reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - first)
        else:
            reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20 - first, 40 - first])
        for step in range(first, total):
            assert learning_rate(recipe, step, total) == pytest.approx(
                optimizer.param_groups[0]["lr"], rel=1e-6
            )
            optimizer.step()
            reference.step()
        if first:
            assert learning_rate(recipe, 0, total) == pytest.approx(0.3 / first)


def test_onecycle_agrees_with_torch() -> None:
    recipe = TrainRecipe(schedule="onecycle", learning_rate=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=40)
    for step in range(40):
        rise = 0.3 * 40 - 1  # torch ends its rise one step early: compare away from the peak
        if abs(step - rise) > 3:
            assert learning_rate(recipe, step, 40) == pytest.approx(optimizer.param_groups[0]["lr"], rel=0.12)
        optimizer.step()
        reference.step()
    rates = [learning_rate(recipe, step, 40) for step in range(40)]
    assert rates[0] == pytest.approx(0.3 / 25)
    assert rates[-1] == pytest.approx(0.3 / 25e4)


# ---------------------------------------------------------------------------------------------------- order


def test_each_epoch_visits_every_row_once() -> None:
    order = BatchOrder(real=10, synthetic=7, batch_size=5, seed=1)
    draws = [order.at(step) for step in range(17)]  # five epochs of 17 rows
    rows, visits = torch.cat([d.rows for d in draws]), torch.cat([d.visits for d in draws])
    for epoch in range(5):
        assert sorted(rows[visits == epoch].tolist()) == list(range(17))
    first, second = rows[visits == 0].tolist(), rows[visits == 1].tolist()
    assert first != second


def test_a_step_is_drawn_the_same_whoever_asks() -> None:
    one, two = BatchOrder(10, 7, 5, 1), BatchOrder(10, 7, 5, 1)
    for step in (3, 16, 4, 0):
        assert torch.equal(one.at(step).rows, two.at(step).rows)
    assert not torch.equal(BatchOrder(10, 7, 5, 2).at(0).rows, one.at(0).rows)


def test_a_fixed_share_of_every_batch_is_synthetic() -> None:
    order = BatchOrder(real=30, synthetic=10, batch_size=8, seed=1, synthetic_per_batch=2)
    for step in range(20):
        assert int((order.at(step).rows >= 30).sum()) == 2
    rows = torch.cat([order.at(step).rows for step in range(5)])
    assert sorted(rows[rows >= 30].tolist()) == list(range(30, 40))


# ------------------------------------------------------------------------------------------- ledger, budget


def test_the_ledger_counts_what_entered_the_steps(make_images: MakeImages, make_context: MakeContext) -> None:
    trained = fit(make_data(make_images(40), make_images(24, seed=1)), make_context(), steps=12)
    assert trained.ledger["real"] == {"available_images": 40, "distinct_images": 40, "consumed_images": 120}
    assert trained.ledger["synthetic"]["consumed_images"] == 72
    shared = fit(
        make_data(make_images(40), make_images(24)), make_context(), steps=10, mix=Mix(batch_fraction=0.25)
    )
    assert shared.ledger["synthetic"]["consumed_images"] == 10 * 4


def test_a_source_that_never_reached_the_network_is_an_error(
    make_images: MakeImages, make_context: MakeContext
) -> None:
    data = make_data(make_images(40), make_images(24, seed=1))
    with pytest.raises(ProtocolError, match="none of the 24 synthetic images entered a gradient step"):
        fit(data, make_context(), mix=Mix(batch_fraction=0.01))
    ledger = Ledger.empty(real=3, synthetic=2)
    ledger.enter(torch.tensor([0, 0, 3]))
    assert ledger.close()["real"] == {"available_images": 3, "distinct_images": 1, "consumed_images": 2}


def test_every_arm_takes_the_baselines_steps_unless_the_budget_is_epochs() -> None:
    recipe = TrainRecipe(epochs=10, batch_size_images=100)
    assert total_steps(recipe, 1000, 1000, "steps") == total_steps(recipe, 1000, 2000, "steps") == 100
    assert total_steps(recipe, 1000, 2000, "epochs") == 200
    assert total_steps(recipe, 1000, 2000, "steps", scale=2.0) == 200
    assert total_steps(recipe, 1000, 2000, "steps", epoch_repeats=3.0) == 300
    fixed = TrainRecipe.model_validate({**recipe.model_dump(), "steps": 70})
    assert {total_steps(fixed, real, 4 * real, "steps", 1.0, 3.0) for real in (500, 1000, 5000)} == {70}
    assert total_steps(fixed, 500, 4 * 500, "epochs") == 280, "as many passes over four times the images"
    assert total_steps(recipe, 1000, 1000, "steps", 1.0, 3.0) == 300
    assert (
        total_steps(fixed, 1000, 2000, "epochs") == total_steps(fixed, 1000, 1000, "steps", scale=2.0) == 140
    )
    assert "steps" not in recipe.model_dump(), "keys of results that were published without it stay"
    with pytest.raises(ValidationError, match="epochs=0 trains nothing, and steps would have no effect"):
        TrainRecipe(epochs=0, steps=70)


# ------------------------------------------------------------------------------------------- data, pairing


def reference_batch(data: TrainingData, images: LabelledImages, draw: Any) -> torch.Tensor:
    """Pad, shift, mirror and normalise image by image, in plain Python, with the offsets that were drawn."""
    top, left, mirrored = data._offsets(draw.rows, draw.visits)
    mean, std = (torch.tensor(part)[:, None, None] for part in statistics(images))
    out = []
    for place, row in enumerate(draw.rows.tolist()):
        padded = torch.nn.functional.pad(images.batch([row])[0], (2, 2, 2, 2))
        y, x = int(top[place]), int(left[place])
        window = padded[:, y : y + images.image_shape[1], x : x + images.image_shape[2]]
        window = window.flip(2) if mirrored[place] else window
        out.append((window.float() / 255 - mean) / std)
    return torch.stack(out)


def test_batches_equal_a_plain_loop_over_images(make_images: MakeImages) -> None:
    images = make_images(40)
    data, draw = make_data(images), BatchOrder(40, 0, 16, 1).at(4)
    batch = data.batch(draw)
    torch.testing.assert_close(batch.images, reference_batch(data, images, draw), rtol=1e-4, atol=1e-5)
    assert batch.targets.tolist() == images.labels[draw.rows].tolist()
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    top, left, mirrored = data._offsets(torch.arange(4000), torch.zeros(4000, dtype=torch.int64))
    assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2, 3, 4}
    assert 0.45 < float(mirrored.float().mean()) < 0.55


def test_augmentation_can_be_off_and_flips_can_be_off(make_images: MakeImages) -> None:
    images = make_images(40)
    draw = BatchOrder(40, 0, 16, 1).at(0)
    plain = make_data(images, level="off").batch(draw).images
    mean, std = (torch.tensor(part)[:, None, None] for part in statistics(images))
    torch.testing.assert_close(
        plain, (images.batch(draw.rows).float() / 255 - mean) / std, rtol=1e-4, atol=1e-5
    )
    _, _, mirrored = make_data(images, flip=False)._offsets(draw.rows, draw.visits)
    assert not mirrored.any()
    assert not torch.equal(plain, make_data(images).batch(draw).images)


def test_paired_arms_augment_a_real_image_alike(make_images: MakeImages) -> None:
    real, synthetic = make_images(40), make_images(24, seed=1)
    alone, mixed = make_data(real), make_data(real, synthetic)
    rows, visits = torch.tensor([3, 7, 39]), torch.tensor([0, 2, 1])
    draw = BatchOrder(40, 0, 3, 1).at(0)._replace(rows=rows, visits=visits)
    assert torch.equal(alone.batch(draw).images, mixed.batch(draw).images)
    assert not torch.equal(alone.batch(draw).images, make_data(real, seed=6).batch(draw).images)
    later = draw._replace(visits=visits + 1)
    assert not torch.equal(alone.batch(draw).images, alone.batch(later).images)


def test_streamed_batches_equal_resident_ones(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synthetic = make_images(40), make_images(24, seed=1)
    resident = make_data(real, synthetic)
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "0")
    streamed = make_data(real, synthetic)
    assert resident._resident is not None
    assert streamed._resident is None
    for step in range(4):
        draw = BatchOrder(40, 24, 16, 1).at(step)
        assert torch.equal(resident.batch(draw).images, streamed.batch(draw).images)


def test_strong_augmentation_mixes_images_and_labels(make_images: MakeImages) -> None:
    images = make_images(64)
    batch = make_data(images, level="strong").batch(BatchOrder(64, 0, 64, 1).at(0))
    assert batch.weight is not None
    assert 0.1 < float((batch.weight < 1).float().mean()) < 0.45  # CutMix with probability a quarter
    assert batch.other_targets.tolist() == torch.roll(batch.targets, -1).tolist()


# --------------------------------------------------------------------------------- determinism, resuming


def test_training_is_repeatable_bit_for_bit(make_images: MakeImages, make_context: MakeContext) -> None:
    runs = [weights(fit(make_data(make_images(40)), make_context())) for _ in range(2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], weights(fit(make_data(make_images(40)), make_context(), seed=6)))


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "adamw"}, {"ema_decay": 0.9, "precision": "bf16"}])
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(
    make_images: MakeImages, make_context: MakeContext, recipe: dict[str, Any]
) -> None:
    real, synthetic = make_images(40), make_images(24, seed=1)
    whole = fit(make_data(real, synthetic), make_context(), **recipe)
    asked = iter([False] * 5 + [True] * 99)
    stopping = make_context(must_stop=lambda: next(asked), checkpoint_seconds=1e9)
    with pytest.raises(Interrupted):
        fit(make_data(real, synthetic), stopping, **recipe)
    resumed_context = make_context()
    saved = resumed_context.restore()
    assert saved is not None
    assert 0 < saved.meta["step"] < 12
    resumed = fit(make_data(real, synthetic), resumed_context, **recipe)
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history == resumed.history
    assert whole.ledger == resumed.ledger


def test_the_global_random_state_is_left_alone(make_images: MakeImages, make_context: MakeContext) -> None:
    data = make_data(make_images(40))
    network = Net()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    train(network, data, TrainRecipe(batch_size_images=16), Mix(), 3, 1, make_context())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
        {"momentum": 0.0},
        {"nesterov": True},
        {"weight_decay": 0.1},
        {"decay_norm_and_bias": False, "weight_decay": 0.1},
        {"schedule": "constant"},
        {"schedule": "multistep"},
        {"schedule": "onecycle"},
        {"warmup_fraction": 0.5},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
        {"ema_decay": 0.9},
        {"precision": "bf16"},
        {"learning_rate": 0.01},
        {"batch_size_images": 8},
    ],
)
def test_every_recipe_option_takes_effect(
    make_images: MakeImages, make_context: MakeContext, recipe: dict[str, Any]
) -> None:
    plain = weights(fit(make_data(make_images(40)), make_context(), steps=6))
    assert not torch.equal(plain, weights(fit(make_data(make_images(40)), make_context(), steps=6, **recipe)))


def test_averaged_weights_lie_between_start_and_end(
    make_images: MakeImages, make_context: MakeContext
) -> None:
    torch.manual_seed(0)
    start = Net().fc.weight.detach().clone()
    last = fit(make_data(make_images(40)), make_context(), steps=30).network.fc.weight
    averaged = fit(make_data(make_images(40)), make_context(), steps=30, ema_decay=0.99).network.fc.weight
    assert (averaged - start).norm() < (last - start).norm()


def test_a_network_learns_what_there_is_to_learn(make_context: MakeContext) -> None:
    labels = np.arange(80) % 4
    pixels = torch.from_numpy(labels * 60)[:, None, None, None].expand(80, 3, 8, 8).byte()
    images = TensorImages(pixels.contiguous(), labels, list("abcd"))
    trained = fit(make_data(images, level="off"), make_context(), steps=150, learning_rate=0.2)
    outputs = predict(NormalisedNetwork(trained.network, statistics(images)).eval(), images, "fp32", "cpu")
    assert (outputs.logits.argmax(1) == labels).all()
    assert outputs.features.shape == (80, 8)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]


# ------------------------------------------------------------------------------------------------ bad input


def test_divergence_names_step_rate_and_advice(make_images: MakeImages, make_context: MakeContext) -> None:
    with pytest.raises(
        GenbenchError, match=r"training diverged: the loss is (nan|inf) by step \d+ of 12, learning"
    ):
        fit(make_data(make_images(40)), make_context(), learning_rate=1e30, schedule="constant")


def test_a_batch_larger_than_the_set_says_what_fits(
    make_images: MakeImages, make_context: MakeContext
) -> None:
    with pytest.raises(
        UsageError, match=r"batch_size_images is 64, but the training set has 40[\s\S]*at most 40"
    ):
        fit(make_data(make_images(40)), make_context(), batch_size_images=64)


def test_cross_entropy_of_an_untrained_network_is_about_log_classes(
    make_images: MakeImages, make_context: MakeContext
) -> None:
    trained = fit(make_data(make_images(40)), make_context(), steps=1, learning_rate=1e-9)
    assert trained.history[0]["train_loss"] == pytest.approx(math.log(4), abs=0.3)
