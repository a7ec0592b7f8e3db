"""The built-in filters: what they keep, what each option changes, and what they refuse."""

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genbench.errors import DataError
from genbench.images import ImageStatistics, TensorImages
from genbench.protocols import Verdicts
from genbench.registry import Registry, import_target
from genbench.steps.context import StepContext
from genbench.testing import make_subject
from genbench.testing.suites import FilterConformance
from genbench.training import NormalisedNetwork

Keep = Callable[..., Verdicts]
CLASSES = 3


class TestNone(FilterConformance):
    component = "none"


class TestConfidence(FilterConformance):
    component = "confidence"


class TestConfidenceOfAnMlp(FilterConformance):
    component = "confidence:judge=mlp,agree=false"


class TestTypicality(FilterConformance):
    component = "typicality"


class TestNearDuplicates(FilterConformance):
    component = "near_duplicates"


class TestFidelity(FilterConformance):
    component = "fidelity"


class TestClassFid(FilterConformance):
    component = "class_fid"


class TestCullList(FilterConformance):
    component = "cull_list"

    @pytest.fixture(autouse=True)
    def _list(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "rows.txt").write_text("3\n")
        monkeypatch.setattr(TestCullList, "component", f"cull_list:{tmp_path / 'rows.txt'}")


class CornerNetwork(nn.Module):
    """Features are the first pixels of the red channel, and logits the first features, as levels / 10."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0].flatten(1)[:, : self.features] * 25.5

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x if pre_logits else x[:, :CLASSES]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class BrokenNetwork(CornerNetwork):
    """Says NaN about every image whose first pixel is 200 or more."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        features = super().forward_features(x)
        return torch.where(features[:, :1] >= 19.95, torch.nan, features)


def judge(network: type[CornerNetwork] = CornerNetwork, features: int = CLASSES) -> nn.Module:
    return NormalisedNetwork(network(features), ImageStatistics((0.0,) * 3, (1.0,) * 3)).eval()


def with_corner(values: Any, labels: Any, size: int = 4, filling: int = 0) -> TensorImages:
    """Build images whose first red pixels hold the given levels, 0-255, and that are flat elsewhere."""
    levels = torch.as_tensor(np.asarray(values), dtype=torch.uint8)
    pixels = torch.full((len(levels), 3, size, size), filling, dtype=torch.uint8)
    pixels.view(len(levels), 3, -1)[:, 0, : levels.shape[1]] = levels
    names = [f"class{label}" for label in range(CLASSES)]
    return TensorImages(pixels, np.asarray(labels, dtype=np.int64), names)


def random_corners(count: int, features: int, seed: int, size: int = 4) -> TensorImages:
    levels = np.random.default_rng(seed).integers(0, 190, (count, features))
    return with_corner(levels, np.arange(count) % CLASSES, size)


@pytest.fixture
def filtered(registry: Registry, make_context: Callable[..., StepContext]) -> Keep:
    """Ask a filter about a set; the judge reads features off the first pixels, unless told otherwise."""

    def run(
        name: str,
        synthetic: TensorImages,
        train: TensorImages | None = None,
        judged_by: nn.Module | None = None,
        **options: Any,
    ) -> Verdicts:
        spec = registry.spec("filter", name)
        config = import_target(spec.config, name).model_validate(options)
        ctx = make_context(inputs={"judge": judged_by if judged_by is not None else judge()})
        found: Verdicts = import_target(spec.target, name)(config).keep(
            synthetic, train if train is not None else synthetic, ctx
        )
        assert [not reason for reason in found.reasons] == found.keep.tolist()
        return found

    return run


def kept_rows(verdicts: Verdicts) -> list[int]:
    return np.flatnonzero(verdicts.keep).tolist()


# ------------------------------------------------------------------------------------------ confidence


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.7, 1.0])
def test_confidence_keeps_the_highest_probabilities_of_each_class(filtered: Keep, keep: float) -> None:
    images = random_corners(30, CLASSES, seed=1)
    logits = images.all()[:, 0].flatten(1)[:, :CLASSES].double() / 10
    probability = torch.softmax(logits, dim=1)[torch.arange(30), torch.from_numpy(images.labels)].tolist()
    expected = set()
    for label in range(CLASSES):
        rows = [row for row in range(30) if images.labels[row] == label]
        expected |= set(sorted(rows, key=lambda row: -probability[row])[: round(10 * keep)])
    assert set(kept_rows(filtered("confidence", images, agree=False, keep=keep))) == expected


def test_confidence_drops_what_the_judge_calls_otherwise(filtered: Keep) -> None:
    images = with_corner([[90, 0, 0], [80, 120, 0], [0, 90, 0], [0, 0, 70]], [0, 0, 1, 2])
    found = filtered("confidence", images, keep=1)
    assert kept_rows(found) == [0, 2, 3]
    assert found.reasons[1] == "judged class1"
    assert kept_rows(filtered("confidence", images, keep=1, agree=False)) == [0, 1, 2, 3]


def test_confidence_threshold_saves_images_of_low_rank(filtered: Keep) -> None:
    images = with_corner([[90, 0, 0], [60, 0, 0], [5, 0, 0], [0, 9, 0], [0, 0, 9]], [0, 0, 0, 1, 2])
    assert kept_rows(filtered("confidence", images, keep=0.1)) == [0, 3, 4]
    found = filtered("confidence", images, keep=0.1, threshold=0.9)
    assert kept_rows(found) == [0, 1, 3, 4]
    assert found.reasons[2] == "confidence 0.452"  # e^0.5 / (e^0.5 + 2)


def test_confidence_gives_ties_to_the_first(filtered: Keep) -> None:
    images = with_corner([[50, 0, 0]] * 4, [0] * 4)
    assert kept_rows(filtered("confidence", images, keep=0.5)) == [0, 1]


def test_confidence_says_how_many_logits_are_not_finite(filtered: Keep) -> None:
    images = with_corner([[220, 0, 0], [10, 0, 0], [230, 0, 0]], [0, 0, 0])
    with pytest.raises(DataError, match=r"confidence: judge 'cnn' gave logits .* for 2 of 3 images"):
        filtered("confidence", images, judged_by=judge(BrokenNetwork))


# ------------------------------------------------------------------------------------------ typicality


def kth_distance(point: Any, others: list[Any], k: int) -> float:
    return sorted(math.dist(point, other) for other in others)[k - 1]


@pytest.mark.parametrize(("neighbours", "quantile"), [(1, 0.5), (1, 0.9), (3, 0.5), (50, 0.5)])
def test_typicality_is_a_knn_distance_calibrated_on_the_real_images(
    filtered: Keep, neighbours: int, quantile: float
) -> None:
    train, synthetic = random_corners(30, 5, seed=1), random_corners(24, 5, seed=2)
    real = (train.all()[:, 0].flatten(1)[:, :5].double() / 10).tolist()
    made = (synthetic.all()[:, 0].flatten(1)[:, :5].double() / 10).tolist()
    expected = []
    for row, label in enumerate(synthetic.labels):
        own = [real[i] for i in range(30) if train.labels[i] == label]
        k = min(neighbours, len(own) - 1)
        among = [kth_distance(own[i], own[:i] + own[i + 1 :], k) for i in range(len(own))]
        if kth_distance(made[row], own, k) <= float(np.quantile(among, quantile)):
            expected.append(row)
    options = {"neighbours": neighbours, "quantile": quantile}
    found = filtered("typicality", synthetic, train, judge(features=5), **options)
    assert kept_rows(found) == expected
    assert 0 < len(expected) < 24


def test_typicality_judges_by_the_images_own_class(filtered: Keep) -> None:
    train = with_corner([[10, 0, 0], [12, 0, 0], [100, 0, 0], [102, 0, 0]], [0, 0, 1, 1])
    synthetic = with_corner([[11, 0, 0], [101, 0, 0], [11, 0, 0], [101, 0, 0]], [0, 0, 1, 1])
    found = filtered("typicality", synthetic, train)
    assert kept_rows(found) == [0, 3]
    assert found.reasons[1] == "distance 8.9 > 0.2"


def test_typicality_needs_two_real_images_of_a_class(filtered: Keep) -> None:
    train = with_corner([[10, 0, 0], [12, 0, 0], [100, 0, 0]], [0, 0, 1])
    with pytest.raises(DataError, match=r"typicality: class 'class1' has 1 real images, .* need 2"):
        filtered("typicality", with_corner([[9, 0, 0]], [1]), train)


def test_typicality_says_how_many_features_are_not_finite(filtered: Keep) -> None:
    train, synthetic = with_corner([[1, 0, 0]] * 2, [0, 0]), with_corner([[220, 0, 0]], [0])
    with pytest.raises(DataError, match=r"typicality: judge 'cnn' gave features .* for 1 of 1 images"):
        filtered("typicality", synthetic, train, judge(BrokenNetwork))


# ------------------------------------------------------------------------------------- near_duplicates


def noise(count: int, seed: int, size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).byte()


def as_set(pixels: torch.Tensor) -> TensorImages:
    return TensorImages(pixels, np.arange(len(pixels)) % CLASSES, [f"class{i}" for i in range(CLASSES)])


def rms(a: Any, b: Any) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a))


def slow_copies(synthetic: Any, train: Any, bound: float) -> list[str]:
    """Go through the images one by one, as the documentation says it."""
    reasons: list[str] = []
    for image in synthetic:
        of_train = [i for i, other in enumerate(train) if rms(image, other) <= bound]
        of_kept = [i for i, why in enumerate(reasons) if not why and rms(image, synthetic[i]) <= bound]
        reason = f"copies image {of_kept[0]}" if of_kept else ""
        reasons.append(f"copies training image {of_train[0]}" if of_train else reason)
    return reasons


@pytest.fixture(params=[2, 5, 512])
def chunk_images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Images are compared in chunks; where they end must not matter."""
    monkeypatch.setattr("genbench_filters.near_duplicates._CHUNK_IMAGES", request.param)
    size: int = request.param
    return size


@pytest.mark.usefixtures("chunk_images")
def test_planted_copies_are_found_and_named(filtered: Keep) -> None:
    train, fresh = noise(9, 1), noise(8, 2)
    planted = fresh.clone()
    planted[2] = train[7]
    planted[4] = fresh[1]
    planted[5] = train[7]
    planted[6] = fresh[1] ^ 1  # one grey level off everywhere
    found = filtered("near_duplicates", as_set(planted), as_set(train), max_distance=0)
    expected = ["", "", "copies training image 7", "", "copies image 1", "copies training image 7", "", ""]
    assert list(found.reasons) == expected
    found = filtered("near_duplicates", as_set(planted), as_set(train), max_distance=1)
    assert found.reasons[6] == "copies image 1"
    found = filtered("near_duplicates", as_set(planted), as_set(train), max_distance=0, of_training=False)
    assert list(found.reasons) == ["", "", "", "", "copies image 1", "copies image 2", "", ""]
    found = filtered("near_duplicates", as_set(planted), as_set(train), max_distance=0, within_set=False)
    assert kept_rows(found) == [0, 1, 3, 4, 6, 7]


@pytest.mark.usefixtures("chunk_images")
@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.6])
def test_the_bound_is_a_quantile_of_real_distances(filtered: Keep, quantile: float) -> None:
    train, synthetic = noise(12, 3, size=2), noise(30, 4, size=2)
    real, made = train.flatten(1).tolist(), synthetic.flatten(1).tolist()
    nearest = [min(rms(a, b) for j, b in enumerate(real) if j != i) for i, a in enumerate(real)]
    bound = sorted(nearest)[math.floor(quantile * (len(nearest) - 1))]
    found = filtered("near_duplicates", as_set(synthetic), as_set(train), quantile=quantile)
    assert list(found.reasons) == slow_copies(made, real, bound * (1 + 1e-12))
    if quantile:
        assert 0 < found.keep.sum() < 30


def test_calibration_takes_as_many_images_as_it_is_told(filtered: Keep) -> None:
    train = noise(40, 5, size=2)
    train[1] = train[0]
    synthetic = as_set(noise(60, 6, size=2))
    kept = {
        count: filtered("near_duplicates", synthetic, as_set(train), quantile=1, calibration_images=count)
        for count in (2, 40, 1000)
    }
    assert np.array_equal(kept[40].keep, kept[1000].keep)
    assert kept[2].keep.sum() != kept[40].keep.sum()


def test_a_chain_of_near_copies_keeps_every_other(filtered: Keep) -> None:
    steps = torch.arange(0, 50, 10, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 4, 4).contiguous()
    train = torch.full((2, 3, 4, 4), 250, dtype=torch.uint8)
    found = filtered("near_duplicates", as_set(steps), as_set(train), max_distance=10)
    assert list(found.reasons) == ["", "copies image 0", "", "copies image 2", ""]


def test_near_duplicates_cannot_calibrate_on_one_image(filtered: Keep) -> None:
    with pytest.raises(DataError, match=r"near_duplicates: option quantile .* there are 1\n.*max_distance=0"):
        filtered("near_duplicates", as_set(noise(3, 1)), as_set(noise(1, 2)))


# -------------------------------------------------------------------------------------------- fidelity


def test_fidelity_keeps_what_the_judge_takes_for_its_label(filtered: Keep) -> None:
    images = with_corner([[3, 2, 1], [2, 3, 1], [90, 0, 95], [0, 1, 9], [5, 5, 5]], [0, 0, 2, 1, 0])
    found = filtered("fidelity", images)
    assert list(found.reasons) == ["", "judged class1", "", "judged class2", ""]


def test_fidelity_asks_the_judge_that_it_is_given(registry: Registry, tmp_path: Path) -> None:
    default = make_subject(registry, "filter", "fidelity", tmp_path).resolved
    other = make_subject(registry, "filter", "fidelity:judge=cnn", tmp_path).resolved
    used = [resolved.references["judge"][1].name for resolved in (default, other)]
    assert used == ["mlp", "cnn"]
    assert default.identity != other.identity


def test_fidelity_says_how_many_logits_are_not_finite(filtered: Keep) -> None:
    images = with_corner([[220, 0, 0], [10, 0, 0]], [0, 0])
    with pytest.raises(DataError, match=r"fidelity: judge 'mlp' gave logits .* for 1 of 2 images"):
        filtered("fidelity", images, judged_by=judge(BrokenNetwork))


# ------------------------------------------------------------------------------------------- class_fid


def gaussian_corners(count: int, seed: int, outliers: int = 0) -> TensorImages:
    """Build images around level 100, class by class; the last of each class lie near 220."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(100, 15, (count, 4))
    if outliers:
        levels[-outliers * CLASSES :] = rng.normal(220, 5, (outliers * CLASSES, 4))
    return with_corner(levels.clip(0, 255).round(), np.arange(count) % CLASSES)


def test_class_fid_drops_planted_outliers_and_logs_distances(
    filtered: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    train, synthetic = gaussian_corners(300, 1), gaussian_corners(120, 2, outliers=5)
    with caplog.at_level(logging.INFO):
        found = filtered("class_fid", synthetic, train, judge(features=4), keep=0.8)
    assert not found.keep[-15:].any()
    assert found.reasons[-1] == "raises its class's distance"
    assert min(np.bincount(synthetic.labels[found.keep])) >= 32
    lines = re.findall(
        r"class_fid: (\w+): 40 images, (\d+) kept: distance ([0-9.]+) before, ([0-9.]+) after;",
        caplog.text,
    )
    assert [line[0] for line in lines] == ["class0", "class1", "class2"]
    assert [int(line[1]) for line in lines] == np.bincount(synthetic.labels[found.keep]).tolist()
    assert all(float(after) < 0.1 * float(before) for *_, before, after in lines)


@pytest.mark.parametrize(("keep", "fewest"), [(1.0, 40), (0.9, 36), (0.3, 12)])
def test_class_fid_keeps_a_share_at_least(filtered: Keep, keep: float, fewest: int) -> None:
    train, synthetic = gaussian_corners(300, 1), gaussian_corners(120, 2, outliers=10)
    found = filtered("class_fid", synthetic, train, judge(features=4), keep=keep)
    counts = np.bincount(synthetic.labels[found.keep])
    assert (counts >= fewest).all()
    assert keep == 0.3 or (counts == fewest).all()


def test_class_fid_batch_fraction_changes_the_selection(filtered: Keep) -> None:
    train, synthetic = gaussian_corners(300, 1), gaussian_corners(120, 2, outliers=5)
    kept = [
        filtered("class_fid", synthetic, train, judge(features=4), batch_fraction=share).keep.tolist()
        for share in (0.025, 0.5)
    ]
    assert kept[0] != kept[1]


def test_class_fid_keeps_all_of_a_tiny_class(filtered: Keep) -> None:
    train = with_corner([[10, 0, 0], [12, 0, 0]], [0, 0])
    assert filtered("class_fid", with_corner([[9, 0, 0], [200, 9, 0]], [0, 0]), train, keep=0.1).keep.all()


def test_class_fid_needs_two_real_images_of_a_class(filtered: Keep) -> None:
    train = with_corner([[10, 0, 0], [12, 0, 0], [100, 0, 0]], [0, 0, 1])
    with pytest.raises(DataError, match=r"class_fid: class 'class1' has 1 real images, .* needs 2"):
        filtered("class_fid", with_corner([[9, 0, 0]], [1]), train)


def test_class_fid_says_how_many_features_are_not_finite(filtered: Keep) -> None:
    train, synthetic = with_corner([[1, 0, 0]] * 2, [0, 0]), with_corner([[220, 0, 0]], [0])
    with pytest.raises(DataError, match=r"class_fid: judge 'cnn' gave features .* for 1 of 1 images"):
        filtered("class_fid", synthetic, train, judge(BrokenNetwork))


# ------------------------------------------------------------------------------------------- cull_list


def test_cull_list_drops_the_listed_rows(filtered: Keep, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("# blurred\n3\n\n 0  # two digits\r\n3\n")
    found = filtered("cull_list", as_set(noise(5, 1)), path=path)
    assert list(found.reasons) == ["listed in line 4", "", "", "listed in line 2", ""]
    path.write_text("# nobody\n")
    assert filtered("cull_list", as_set(noise(5, 1)), path=path).keep.all()


@pytest.mark.parametrize("entry", ["5", "-1", "1.0", "cat", "1 2", "1_0", "\N{SUPERSCRIPT TWO}", "0x1"])
def test_cull_list_names_the_line_of_an_unknown_row(filtered: Keep, tmp_path: Path, entry: str) -> None:
    (tmp_path / "rows.txt").write_text(f"4\n# a comment\n{entry}\n")
    message = rf"cull_list: .*rows.txt, line 3: '{re.escape(entry)}' is not an image .* rows are 0 to 4"
    with pytest.raises(DataError, match=message):
        filtered("cull_list", as_set(noise(5, 1)), path=tmp_path / "rows.txt")


def test_cull_list_refuses_what_is_no_text(filtered: Keep, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(b"\xff\xfe1")
    with pytest.raises(DataError, match=r"cull_list: .*rows.txt is not UTF-8 text"):
        filtered("cull_list", as_set(noise(5, 1)), path=tmp_path / "rows.txt")


def test_cull_list_is_known_by_its_content_and_not_by_its_path(registry: Registry, tmp_path: Path) -> None:
    for name, rows in {"a": "1\n", "b": "1\n", "c": "2\n"}.items():
        (tmp_path / name).write_text(rows)
    a, b, c = (
        make_subject(registry, "filter", f"cull_list:{tmp_path / name}", tmp_path).resolved.identity
        for name in "abc"
    )
    assert a == b != c


def test_a_missing_cull_list_is_found_when_planning(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cull_list: '.*gone.txt' is not a file\n.*cull_list:PATH"):
        make_subject(registry, "filter", f"cull_list:{tmp_path / 'gone.txt'}", tmp_path)
