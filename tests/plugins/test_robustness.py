"""`ood_accuracy` and `adversarial`: against scipy and closed forms, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from genbench.errors import DataError
from genbench.images import ImageStatistics, TensorImages
from genbench.plan import Plan
from genbench.protocols import Predictions, RunContext
from genbench.runner import RunSummary
from genbench.testing.suites import EvaluatorConformance
from genbench.training import NormalisedNetwork
from genbench_evaluators.adversarial import (
    Adversarial,
    differentiable,
    fgsm,
    gradient,
    margin,
    pgd,
    without_gradient,
)
from genbench_evaluators.configs.adversarial import AdversarialConfig
from genbench_evaluators.configs.ood_accuracy import OodAccuracyConfig
from genbench_evaluators.ood_accuracy import OodAccuracy, wilson

RunCells = Callable[..., tuple[Plan, RunSummary]]


class TestOodAccuracy(EvaluatorConformance):
    component = "ood_accuracy"


class TestAdversarial(EvaluatorConformance):
    component = "adversarial"


def predicted(labels: list[int], found: list[int], classes: int = 4) -> Predictions:
    logits = np.eye(classes, dtype=np.float32)[found]
    names = tuple(f"class{label}" for label in range(classes))
    return Predictions(logits, logits, np.array(labels, dtype=np.int64), names)


# ------------------------------------------------------------------------------------------------- shifts


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (1700, 2000), (3, 7)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    found = wilson(right, n)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_two_thousand_images_at_85_percent_mean_1_6_points() -> None:
    found = wilson(1700, 2000)
    assert 100 * (found.high - found.low) / 2 == pytest.approx(1.6, abs=0.05)


def test_the_gap_is_to_test_images_of_the_same_classes(ctx: RunContext) -> None:
    test = predicted([0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 1, 0, 0, 0, 0])  # right on 0 and 1 alone
    shift = predicted([0, 1, 0, 1], [0, 1, 1, 0])
    corrupt = predicted([0, 1, 2, 3], [0, 1, 2, 0])
    given = {"val": test, "test": test, "nine": shift, "computed-fog-3": corrupt}
    values = {
        one.label: one.value for one in OodAccuracy(OodAccuracyConfig()).evaluate(given, None, ctx).metrics
    }
    assert values == {
        "ood_top1[computed-fog-3]": 75.0,
        "gap[computed-fog-3,test]": -25.0,
        "ood_top1[nine]": 50.0,
        "gap[nine,test]": 50.0,
        "mean_computed_top1": 75.0,
    }


def test_without_a_shift_it_says_how_to_get_one(ctx: RunContext) -> None:
    given = {"val": predicted([0], [0]), "test": predicted([0], [0])}
    (metric,) = OodAccuracy(OodAccuracyConfig()).evaluate(given, None, ctx).metrics
    assert metric.value is None
    assert "--dataset NAME:shifts" in metric.note


def test_a_shift_without_images_or_with_unknown_labels_is_refused(ctx: RunContext) -> None:
    test = predicted([0], [0])
    with pytest.raises(DataError, match="shift 'empty' has no images"):
        OodAccuracy(OodAccuracyConfig()).evaluate({"test": test, "empty": predicted([], [])}, None, ctx)
    with pytest.raises(
        DataError, match=r"shift 'odd' has labels \[7\], which are not classes of the dataset"
    ):
        OodAccuracy(OodAccuracyConfig()).evaluate({"test": test, "odd": predicted([7], [0])}, None, ctx)


def test_a_shift_whose_classes_test_lacks_has_no_gap(ctx: RunContext) -> None:
    given = {"test": predicted([0, 1], [0, 1]), "far": predicted([2, 3], [2, 0])}
    accuracy, gap = OodAccuracy(OodAccuracyConfig()).evaluate(given, None, ctx).metrics
    assert (accuracy.value, gap.value) == (50.0, None)
    assert gap.note == "Test has no image of the shift's classes."


def test_notes_say_n_interval_and_what_the_gap_is_to(ctx: RunContext) -> None:
    given = {"test": predicted([0, 0, 0, 1], [0, 0, 1, 0]), "one": predicted([0, 0], [0, 1])}
    accuracy, gap = OodAccuracy(OodAccuracyConfig()).evaluate(given, None, ctx).metrics
    theirs = binomtest(1, 2).proportion_ci(method="wilson")
    assert accuracy.note == f"n = 2; 95 % interval {100 * theirs.low:.2f} to {100 * theirs.high:.2f}."
    assert gap.note == "Test images of the same classes: 66.67 %, n = 3."


@pytest.mark.parametrize("split", ["test", "fog"])
def test_logits_of_a_diverged_network_are_refused(ctx: RunContext, split: str) -> None:
    given = {name: predicted([0, 1, 2], [0, 1, 1]) for name in ("test", "fog")}
    given[split].logits[1, 2] = np.nan
    with pytest.raises(DataError, match=f"split '{split}' are NaN or infinite for 1 of 3 images"):
        OodAccuracy(OodAccuracyConfig()).evaluate(given, None, ctx)


def test_shifts_of_a_dataset_are_predicted_and_reported(run_cells: RunCells) -> None:
    _, outcome = run_cells(
        datasets=['digits:limit_train=60,shifts=["computed"],severities=[1,5]'],
        evaluators=["accuracy", "ood_accuracy"],
    )
    assert outcome.failed == {}
    values = {metric.label: metric.value for record in outcome.records for metric in record.result.metrics}
    assert len([name for name in values if name.startswith("ood_top1[computed-")]) == 30
    assert values["ood_top1[computed-brightness-1]"] == pytest.approx(values["top1[computed-brightness-1]"])


# ------------------------------------------------------------------------------------------------ attacks


def linear(seed: int = 0) -> tuple[torch.nn.Module, torch.Tensor]:
    """A two-class linear model; return it and w, the difference of its weights."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(3 * 8 * 8, 2).double()
    model = torch.nn.Sequential(torch.nn.Flatten(), layer)
    return model, (layer.weight[0] - layer.weight[1]).detach()


def margins(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    logits = model(x).detach()
    return logits[:, 0] - logits[:, 1]


def test_attacks_on_a_linear_model_are_the_closed_form() -> None:
    """The margin falls by exactly eps |w|_1 under L-inf and eps |w|_2 under L2."""
    model, w = linear()
    x, labels = torch.full((5, 3, 8, 8), 0.5).double(), torch.zeros(5, dtype=torch.int64)
    x = x + 0.01 * torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    for epsilon in (0.01, 0.05):
        fall = margins(model, x) - margins(model, fgsm(model, x, labels, epsilon))
        torch.testing.assert_close(fall, torch.full((5,), epsilon * float(w.abs().sum())).double())
        fall = margins(model, x) - margins(model, pgd(model, x, labels, epsilon, 8, 0.25, "linf"))
        torch.testing.assert_close(fall, torch.full((5,), epsilon * float(w.abs().sum())).double())
        fall = margins(model, x) - margins(model, pgd(model, x, labels, epsilon, 8, 0.25, "l2"))
        torch.testing.assert_close(fall, torch.full((5,), epsilon * float(w.norm())).double())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_stays_within_its_ball_and_in_range(norm: str) -> None:
    model, _ = linear()
    x, labels = torch.rand(6, 3, 8, 8).double(), torch.zeros(6, dtype=torch.int64)
    change = pgd(model, x, labels, 0.3, 12, 0.5, norm) - x  # type: ignore[arg-type]
    size = change.abs().amax(dim=(1, 2, 3)) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert (size <= 0.3 + 1e-9).all()
    assert (size > 0.2).all()
    assert ((x + change) >= 0).all()
    assert ((x + change) <= 1).all()


def test_gradients_pass_through_the_harness_network() -> None:
    model, _ = linear()
    statistics = ImageStatistics((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    wrapped = NormalisedNetwork(model.float(), statistics).eval()
    pixels = torch.randint(0, 256, (4, 3, 8, 8)).byte()
    logits_of = differentiable(wrapped)
    torch.testing.assert_close(logits_of(pixels.float() / 255), wrapped(pixels), rtol=1e-5, atol=1e-5)
    slope = gradient(logits_of, pixels.float() / 255, torch.zeros(4, dtype=torch.int64))
    assert (slope != 0).all()


def test_it_attacks_one_fixed_subset_and_leaves_the_network_alone(
    make_images: Callable[..., TensorImages], ctx: RunContext
) -> None:
    test = make_images(200)
    torch.manual_seed(0)
    inner = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(192, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)
    )
    network = NormalisedNetwork(inner, ImageStatistics((0.5,) * 3, (0.25,) * 3)).eval()
    before = torch.cat([value.flatten() for value in network.state_dict().values()]).clone()
    config = AdversarialConfig(images=40, steps=4)
    random_states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    first, second = (Adversarial(config).evaluate(network, {"test": test}, ctx) for _ in range(2))
    assert first.tables == second.tables
    assert first.tables["n"] == 40
    after = torch.cat([value.flatten() for value in network.state_dict().values()])
    assert torch.equal(before, after)
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert np.random.get_state()[1].tolist() == random_states[1]  # type: ignore[union-attr]
    assert all(value.grad is None for value in network.parameters())
    right = first.tables["right"]
    assert right["pgd_linf"] <= right["fgsm_linf"] <= right["clean"]
    weak = Adversarial(AdversarialConfig(images=40, steps=4, epsilon_linf_255=0.01)).evaluate(
        network, {"test": test}, ctx
    )
    assert weak.tables["right"]["pgd_linf"] >= right["pgd_linf"]
    assert [one.name for one in first.metrics[-2:]] == ["attack_violations", "without_gradient"]


def test_a_network_that_hides_its_gradients_is_noticed(
    make_images: Callable[..., TensorImages], ctx: RunContext, tmp_path: Path
) -> None:
    """A model whose gradient points the wrong way: larger attacks leave more images right."""

    class Hiding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = x.flatten(1).mean(dim=1) / 255
            hidden = bright.detach() * 2 - bright  # the value of `bright`, the gradient of its opposite
            return torch.stack([hidden - 0.5, 0.5 - hidden, hidden * 0 - 9, hidden * 0 - 9], dim=1) * 50

    labels = np.arange(40, dtype=np.int64) % 2
    pixels = torch.from_numpy(np.where(labels == 0, 124, 131)).byte()[:, None, None, None].expand(40, 3, 8, 8)
    test = TensorImages(pixels.contiguous(), labels, ["a", "b", "c", "d"])
    found = Adversarial(AdversarialConfig(images=40, steps=2, epsilon_linf_255=3.0)).evaluate(
        Hiding(), {"test": test}, ctx
    )
    assert found.metrics[-2].value is not None
    assert found.metrics[-2].value >= 1


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_pgd_of_few_steps_reaches_as_far_as_fgsm(ctx: RunContext, steps: int) -> None:
    """On a linear model they are the same attack, however few the steps; margins lie around what it takes."""
    torch.manual_seed(0)
    w = torch.randn(192)

    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            margin = (x.flatten(1) / 255 - 0.5) @ w
            return torch.stack([margin, -margin], dim=1)

    needed = torch.linspace(0.5, 1.1, 40) * 8 / 255 * w.abs().sum()
    pixels = (255 * (0.5 + needed[:, None] * w / (w @ w))).round().byte().reshape(40, 3, 8, 8)
    labels = Linear()(pixels.float()).argmax(dim=1).numpy()
    test = TensorImages(pixels, labels, ["a", "b"])
    found = Adversarial(AdversarialConfig(images=40, steps=steps)).evaluate(Linear(), {"test": test}, ctx)
    assert 0 < found.tables["right"]["fgsm_linf"] < 40
    assert found.tables["right"]["pgd_linf"] == found.tables["right"]["fgsm_linf"]
    assert found.metrics[-2].value == 0


@pytest.mark.parametrize(("excess", "violations"), [(0, 0), (1, 0), (2, 1)])
def test_one_image_is_no_violation_and_two_are(excess: int, violations: int) -> None:
    """PGD left `excess` more images right than FGSM did; every other pair is in order."""
    right = {
        "clean": 40, "fgsm_linf": 10, "pgd_linf": 10 + excess, "pgd_linf_double": 5, "pgd_l2": 20,
        "pgd_l2_double": 8,
    }  # fmt: skip
    *_, found, _ = Adversarial(AdversarialConfig(images=40))._metrics(right, 0, 40)
    assert (found.name, found.value) == ("attack_violations", violations)


def test_the_margin_is_that_of_the_nearest_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, -1.0]], requires_grad=True)
    found = margin(logits, torch.tensor([0, 2]))
    assert found.tolist() == [-0.5, 5.0]  # right by 0.5, and wrong by 5
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert slope.tolist() == [[-1, 0, 1], [0, 1, -1]]
    two = torch.tensor([[0.3, 0.1]])
    assert float(margin(two, torch.tensor([1]))) == pytest.approx(0.2)  # two classes have one, too


def confident(scale: float) -> tuple[NormalisedNetwork, TensorImages]:
    """A random network whose logits are multiplied, and images that it is right about, by various margins."""
    torch.manual_seed(0)
    inner = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    with torch.no_grad():
        inner[3].weight *= scale
        inner[3].bias *= scale
    network = NormalisedNetwork(inner, ImageStatistics((0.5,) * 3, (0.25,) * 3)).eval()
    pixels = torch.randint(0, 256, (120, 3, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    with torch.no_grad():
        labels = network(pixels).argmax(dim=1).numpy()
    return network, TensorImages(pixels, labels, ["a", "b", "c", "d", "e"])


def test_a_network_is_no_more_robust_for_larger_logits(ctx: RunContext) -> None:
    """The same decisions, the same attacks: with the cross-entropy, larger logits looked more robust."""
    config = AdversarialConfig(images=120, steps=5, epsilon_linf_255=3.0, epsilon_l2=0.08)
    found = []
    for scale in (1.0, 10.0, 100.0, 1000.0):
        network, test = confident(scale)
        found.append(Adversarial(config).evaluate(network, {"test": test}, ctx).tables["right"])
    assert found[0]["clean"] == 120
    for attack in ("fgsm_linf", "pgd_linf", "pgd_l2"):
        counts = [right[attack] for right in found]
        assert 10 < counts[0] < 110, attack
        assert max(counts) - min(counts) <= 1, attack


def test_a_factor_of_the_logits_does_hide_the_gradient_of_the_cross_entropy() -> None:
    """What the margin mends: or the test above would hold of any loss."""
    network, test = confident(1000.0)
    x, labels = test.all().float() / 255, torch.from_numpy(test.labels)
    wanted = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(differentiable(network)(wanted), labels, reduction="sum")
    slope = torch.autograd.grad(loss, wanted)[0].flatten(1)
    assert (slope == 0).all(dim=1).float().mean() > 0.5
    assert not without_gradient(differentiable(network), x, labels).any()


def test_images_without_a_gradient_are_counted(ctx: RunContext) -> None:
    """Half of the images saturate: their logits are what they are wherever the pixels move."""

    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = x.flatten(1).mean(dim=1) / 255
            margin = torch.where(bright > 0.5, torch.ones_like(bright), bright)
            return torch.stack([margin, -margin, -margin - 1], dim=1)

    pixels = torch.full((20, 3, 8, 8), 60).byte()
    pixels[:8] = 200
    test = TensorImages(pixels, np.zeros(20, dtype=np.int64), ["a", "b", "c"])
    found = Adversarial(AdversarialConfig(images=20, steps=2)).evaluate(Flat(), {"test": test}, ctx)
    assert (found.metrics[-1].name, found.metrics[-1].value) == ("without_gradient", 8)
    assert "cannot reach them" in found.metrics[-1].note
    broken = without_gradient(
        lambda x: x.flatten(1)[:, :3] * torch.nan, pixels.float(), torch.zeros(20).long()
    )
    assert broken.all()


def test_a_run_attacks_its_networks(run_cells: RunCells) -> None:
    _, outcome = run_cells(generators=["toy"], evaluators=["accuracy", "adversarial:images=8,steps=2"])
    assert outcome.failed == {}
    assert len([one for one in outcome.records if one.result.evaluator.use == "adversarial"]) == 2
