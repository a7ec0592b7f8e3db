"""The policies of a mix's `augment`: each does what its paper says, and its draws depend on names alone."""

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import get_args

import numpy as np
import pytest
import torch

from genbench.documents import TrainDocument, read_document
from genbench.errors import ProtocolError
from genbench.images import TensorImages
from genbench.planner import make_plan
from genbench.protocols import Augment
from genbench.recipe import POLICY_VERSIONS, Mix
from genbench.registry import Registry
from genbench.spec import resolve_suite
from genbench.steps.train import _check_policy
from genbench.suite import Suite
from genbench.training.augment import POLICIES, Policy, apply_policy, draw_for_policy
from genbench.training.operations import RANDAUGMENT

MakeImages = Callable[..., TensorImages]


def applied(policy: Policy, pixels: torch.Tensor, visit: int = 0, seed: int = 1) -> torch.Tensor:
    return augmented(policy, pixels, visit, seed)[0]


def augmented(
    policy: Policy, pixels: torch.Tensor, visit: int = 0, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    rows = torch.arange(len(pixels))
    visits = torch.full((len(pixels),), visit)
    drawn = draw_for_policy(policy, seed, rows, visits, *pixels.shape[1:3])
    assert drawn.shape == (policy.rows, len(pixels))
    return apply_policy(policy, pixels, drawn)


@pytest.fixture
def pixels(make_images: MakeImages) -> torch.Tensor:
    """Images that an affine map and a colour operation both change: `uint8 [64, 32, 32, 3]`."""
    return make_images(64, size=32).all().permute(0, 2, 3, 1).contiguous()


def test_every_augment_but_off_and_standard_is_a_policy() -> None:
    assert set(get_args(Augment)) - {"off", "standard"} == set(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_changes_images_by_seed_image_and_visit(name: str, pixels: torch.Tensor) -> None:
    policy = POLICIES[name]
    first = applied(policy, pixels)
    assert (first != pixels).flatten(1).any(dim=1).float().mean() > 0.5
    assert torch.equal(first, applied(policy, pixels))
    assert not torch.equal(first, applied(policy, pixels, visit=1))
    assert not torch.equal(first, applied(policy, pixels, seed=2))


def test_policies_differ_from_one_another(pixels: torch.Tensor) -> None:
    assert len({applied(policy, pixels).numpy().tobytes() for policy in POLICIES.values()}) == len(POLICIES)


def test_mixup_is_the_papers_sum(pixels: torch.Tensor) -> None:
    mixed, partner, share = augmented(POLICIES["mixup"], pixels)
    assert share is not None
    own = share[:, None, None, None]
    expected = own * pixels.float() + (1 - own) * pixels[partner].float()
    assert (mixed.float() - expected).abs().max() <= 0.51
    assert partner.tolist() == [*range(1, 64), 0]
    assert 0.4 < float(share.mean()) < 0.6  # uniform
    assert float(share.std()) == pytest.approx(12**-0.5, abs=0.06)


def test_cutmix_pastes_a_rectangle_of_the_stated_share(pixels: torch.Tensor) -> None:
    mixed, partner, share = augmented(POLICIES["cutmix"], pixels)
    assert share is not None
    own, other = (mixed == pixels).all(dim=3), (mixed == pixels[partner]).all(dim=3)
    assert (own | other).all()
    assert torch.allclose(own.float().mean(dim=(1, 2)), share, atol=0.01)  # pixels may be equal by chance
    for row in torch.nonzero(share < 1).flatten().tolist():
        rows, columns = (axis.unique() for axis in torch.nonzero(~own[row], as_tuple=True))
        assert len(rows) == rows.max() - rows.min() + 1
        assert len(columns) == columns.max() - columns.min() + 1


def test_shear_zoom_recolours_nothing() -> None:
    pixels = torch.full((64, 32, 32, 3), 40, dtype=torch.uint8)
    pixels[:, 6:26, 6:26] = torch.tensor([200, 120, 160], dtype=torch.uint8)
    zoomed = applied(POLICIES["shear_zoom"], pixels).float()
    areas = (zoomed[:, :, :, 0] > 120).flatten(1).sum(1).float()
    assert zoomed.max() <= 200
    # 20 pixels a side become 20 / 1.2 to 20 / 0.8, less or more a pixel
    assert 15**2 <= areas.min() < 18**2
    assert 23**2 < areas.max() <= 26**2


@pytest.mark.parametrize("name", ["mixup", "cutmix", "strong"])
def test_only_policies_that_mix_have_soft_labels(name: str, pixels: torch.Tensor) -> None:
    mixing = augmented(POLICIES[name], pixels)[2]
    assert mixing is not None
    assert float(mixing.min()) < 1
    assert np.isfinite(mixing.numpy()).all()
    assert augmented(POLICIES["randaugment"], pixels)[2] is None


def test_a_policy_that_changed_has_keys_of_its_own_and_the_others_keep_theirs() -> None:
    """`off`, `standard`, mixup and CutMix are what they were: their trainings are found again."""
    registry, documents = Registry(), {}
    for name in get_args(Augment):
        suite = Suite(
            preset="smoke", seeds=1, datasets=["digits"], classifiers=["cnn"], mixes=[{"augment": name}]
        )
        steps = make_plan(resolve_suite(registry, suite, str)).steps.values()
        trained = [step.work for step in steps if isinstance(step.work, TrainDocument)]
        documents[name] = next(work for work in trained if work.mix.augment == name)
    changed = {name for name, work in documents.items() if "augment_version" in work.content()["mix"]}
    assert changed == set(POLICY_VERSIONS) == {"strong", "colour", "randaugment", "trivialaugment"}
    strong = documents["strong"]
    assert strong.content()["mix"]["augment_version"] == POLICY_VERSIONS["strong"] > 1
    assert read_document(strong.content()) == strong


def test_a_training_under_an_older_policy_is_refused() -> None:
    """Nothing else would notice that the record of an older genbench cannot be made again here."""
    old = TrainDocument(component={}, mix=Mix(augment="strong"), seed=1)
    with pytest.raises(
        ProtocolError, match=r"asks for version 1 of the augmentation 'strong'; this .* has 4"
    ):
        _check_policy(old)
    _check_policy(TrainDocument(component={}, mix=Mix(augment="cutmix"), seed=1))


def test_strong_is_the_best_combination_that_was_tried() -> None:
    """The trials are published; whoever adds some, or changes the policy, changes the other one, too."""
    with (Path(__file__).parents[2] / "docs/tuning/strong.csv").open(newline="") as lines:
        trials = list(csv.DictReader(lines))
    found = defaultdict[tuple[int, int, float], list[float]](list)
    for trial in trials:
        candidate = int(trial["operations"]), int(trial["magnitude"]), float(trial["cutmix"])
        found[candidate].append(float(trial["val_top1"]))
    combined = {one: fmean(values) for one, values in found.items() if one[0] and one[2]}
    assert len(combined) >= 3
    strong = POLICIES["strong"]
    assert (strong.turns, strong.level, strong.mixing_probability) == max(
        combined, key=lambda one: combined[one]
    )
    assert (strong.space, strong.mixing) == (RANDAUGMENT, "cutmix")


def test_the_version_of_a_policy_is_part_of_everything_that_is_compared() -> None:
    """Rows under two meanings of one name are two rows, of two families."""
    now = Mix(augment="strong").augmented()
    assert now.augment_version == POLICY_VERSIONS["strong"]
    assert Mix(augment="standard").augmented() == Mix()
    assert "augment_version" not in Mix().model_dump(mode="json")  # as it was before there were versions
    assert now.label == "+1.0x strong"
    assert Mix(augment="strong").label == "+1.0x strong (version 1)"
    assert Mix.model_validate(now.model_dump(mode="json")) == now != Mix(augment="strong")
    assert now.baseline.augment_version == now.augment_version
