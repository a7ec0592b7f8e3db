"""Shifts: computed corruptions, published arrays in made-up copies, and the real natural shift."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from genbench.errors import DataError
from genbench.images import RealImages, TensorImages, limited_rows
from genbench.protocols import RunContext
from genbench.seeding import derive_seed
from genbench.steps.context import StepContext
from genbench.steps.dataset import open_splits, write_splits
from genbench.store import Artifact
from genbench_datasets._corruptions import CORRUPTIONS, corrupted
from genbench_datasets._shifts import cifar10_shifts, class_map
from genbench_datasets.cifar10 import CLASS_NAMES, Cifar10
from genbench_datasets.configs.cifar10 import Cifar10Config
from genbench_datasets.configs.digits import DigitsConfig
from genbench_datasets.digits import Digits

MakeImages = Callable[..., TensorImages]


@pytest.fixture
def pictures() -> Any:
    """Smooth coloured pictures: `uint8 [6, 3, 32, 32]`."""
    noise = np.random.default_rng(0).normal(size=(6, 3, 32, 32))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 3, 3))
    low, high = smooth.min(axis=(2, 3), keepdims=True), smooth.max(axis=(2, 3), keepdims=True)
    return (40 + 170 * (smooth - low) / (high - low)).astype(np.uint8)


@pytest.mark.parametrize("family", CORRUPTIONS)
def test_a_corruption_is_seeded_and_grows_with_its_severity(family: str, pictures: Any) -> None:
    made = [corrupted(pictures, family, severity, 1) for severity in range(1, 6)]
    change = [np.abs(one.astype(float) - pictures).mean() for one in made]
    assert change[0] > 0.1
    assert all(later > earlier for earlier, later in pairwise(change)), change
    assert np.array_equal(made[2], corrupted(pictures, family, 3, 1))
    assert made[2].shape == pictures.shape


def test_there_are_the_papers_fifteen() -> None:
    assert len(CORRUPTIONS) == 15


def test_noise_has_the_stated_spread(pictures: Any) -> None:
    flat = np.full((20, 3, 32, 32), 128, dtype=np.uint8)
    assert corrupted(flat, "gaussian_noise", 3, 0).std() / 255 == pytest.approx(0.08, rel=0.03)
    photons = 70
    assert corrupted(flat, "shot_noise", 3, 0).std() / 255 == pytest.approx(
        (128 / 255 / photons) ** 0.5, rel=0.03
    )
    hit = (corrupted(flat, "impulse_noise", 5, 0) != 128).mean()
    assert hit == pytest.approx(0.14, rel=0.05)
    assert corrupted(flat, "defocus_blur", 5, 0).std() == 0  # a blur of one colour is that colour
    within = [images.std(axis=(2, 3)).mean() for images in (corrupted(pictures, "contrast", 5, 0), pictures)]
    assert within[0] / within[1] == pytest.approx(0.15, rel=0.05)


def test_digits_get_computed_shifts_by_name(ctx: RunContext) -> None:
    plain = Digits(DigitsConfig()).load(ctx)
    assert plain.shifts == {}
    shifted = Digits(DigitsConfig(shifts=("computed",), severities=(1, 5))).load(ctx)
    assert len(shifted.shifts) == 30
    assert shifted.shifts.keys() == {
        f"computed-{family}-{severity}" for family in CORRUPTIONS for severity in (1, 5)
    }
    assert torch.equal(shifted.test.all(), plain.test.all())
    for images in shifted.shifts.values():
        assert images.labels.tolist() == plain.test.labels.tolist()
        assert not torch.equal(images.all(), plain.test.all())


def test_corruptions_may_be_of_fewer_images_than_test(ctx: RunContext) -> None:
    whole = Digits(DigitsConfig(shifts=("computed",))).load(ctx)
    some = Digits(DigitsConfig(shifts=("computed",), limit_corrupted=50)).load(ctx)
    assert torch.equal(some.test.all(), whole.test.all())
    assert some.shifts.keys() == whole.shifts.keys()
    for images in some.shifts.values():
        assert np.bincount(images.labels).tolist() == [5] * 10
    both = Digits(DigitsConfig(shifts=("computed",), limit_corrupted=50, limit_test=20)).load(ctx)
    assert {len(images) for images in both.shifts.values()} == {20}


# ------------------------------------------------------------------------------------------- read from files


@pytest.fixture
def small_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with 60 + 40 images as CIFAR-10's files have them."""
    folder = tmp_path / "mirror" / "uoft-cs" / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASS_NAMES))}
    )
    rng = np.random.default_rng(1)
    for split, count in {"train": 60, "test": 40}.items():
        images = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]
        content = {"img": images, "label": [row % 10 for row in range(count)]}
        datasets.Dataset.from_dict(content, features=features).to_parquet(folder / f"{split}-0.parquet")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def test_published_arrays_are_read_at_any_size(small_mirror: Path, ctx: RunContext) -> None:
    """In made-up copies of the published files: names, layout and order of severities."""
    folder = small_mirror
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.arange(20, dtype=np.int32) % 10
    ten_one = folder / "modestyachts" / "CIFAR-10.1" / "datasets"
    corrupt, ten_two = folder / "hendrycks" / "cifar-10-c", folder / "modestyachts" / "cifar-10.2"
    for place in (ten_one, corrupt, ten_two):
        place.mkdir(parents=True)
    np.save(ten_one / "cifar10.1_v6_data.npy", pixels)
    np.save(ten_one / "cifar10.1_v6_labels.npy", labels)
    np.savez(ten_two / "cifar102_test.npz", images=pixels, labels=labels)
    severities = np.repeat(np.arange(1, 6, dtype=np.uint8), 10_000)
    np.save(corrupt / "fog.npy", np.broadcast_to(severities[:, None, None, None], (50_000, 32, 32, 3)))
    np.save(corrupt / "labels.npy", np.tile(np.arange(10), 5_000))
    config = Cifar10Config(shifts=("cifar10.1-v6", "cifar10.2", "cifar10-c"), severities=(2, 5))
    found = Cifar10(config).load(ctx).shifts
    assert list(found) == ["cifar10.1-v6", "cifar10.2", "cifar10-c-fog-2", "cifar10-c-fog-5"]
    for name in ("cifar10.1-v6", "cifar10.2"):
        assert torch.equal(found[name].all(), torch.from_numpy(pixels).permute(0, 3, 1, 2))
        assert found[name].labels.tolist() == labels.tolist()
    assert found["cifar10-c-fog-5"].batch([7])[0, 0, 0, 0] == 5
    assert len(found["cifar10-c-fog-2"]) == 10_000
    small = Cifar10(config.model_copy(update={"size": 16, "limit_test": 10})).load(ctx)
    assert {images.image_shape for images in (small.train, small.test, *small.shifts.values())} == {
        (3, 16, 16)
    }
    left = limited_rows(labels.astype(np.int64), 10, 10, 0)
    theirs = [Image.fromarray(pixels[row]).resize((16, 16), Image.Resampling.LANCZOS) for row in left]
    assert np.array_equal(
        small.shifts["cifar10.2"].all().permute(0, 2, 3, 1).numpy(),
        np.stack([np.asarray(one) for one in theirs]),
    )
    assert [len(images) for images in small.shifts.values()] == [10, 10, 10, 10]


def test_a_limited_test_and_its_corruptions_show_the_same_images(
    small_mirror: Path, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    config = Cifar10Config(shifts=("computed",), size=8, limit_test=10, limit_train=20)
    folder = tmp_path / "artifact"
    folder.mkdir()
    write_splits(Cifar10(config), config, make_context(), folder)
    splits = open_splits(Artifact(folder, {}, {}, {}))
    whole = Cifar10(Cifar10Config(size=8)).load(make_context()).test
    test = splits.named("test")
    assert (len(test), len(splits.train), test.image_shape) == (10, 20, (3, 8, 8))
    assert torch.equal(test.all(), whole.all()[limited_rows(whole.labels, 10, 10, 0)])
    for family in ("contrast", "fog"):
        made = corrupted(test.all().numpy(), family, 3, derive_seed("corruption", family, 3))
        assert torch.equal(splits.named(f"computed-{family}-3").all(), torch.from_numpy(made))


def test_a_shift_without_its_images_says_which_file_is_missing(hub_mirror: Path) -> None:
    with pytest.raises(
        DataError, match=r"'cifar10.1-v6' needs cifar10.1_v6_data.npy, and modestyachts/CIFAR-10.1 holds"
    ):
        Cifar10Config(shifts=("cifar10.1-v6",)).source_files()


def test_the_natural_shift_has_nine_of_the_classes(hub_mirror: Path, ctx: RunContext) -> None:
    real: RealImages = Cifar10(Cifar10Config(shifts=("natural-shift-9",))).load(ctx)
    shift = real.shifts["natural-shift-9"]
    assert shift.class_names == CLASS_NAMES
    assert len(shift) == 1799
    counts = dict(zip(CLASS_NAMES, shift.class_counts().tolist(), strict=True))
    assert [name for name, count in counts.items() if count == 0] == ["deer"]
    assert (len(real.train), len(real.test)) == (50_000, 10_000)


@pytest.mark.parametrize("hidden", [-1, None])
def test_a_natural_shift_without_a_label_is_refused(
    tmp_path: Path, ctx: RunContext, hidden: int | None
) -> None:
    """Not silently of the last class."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    picture = Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8))
    table = datasets.Dataset.from_dict({"image": [picture] * 2, "label": [0, hidden]}, features=features)
    table.to_parquet(tmp_path / "test.parquet")
    files = {"natural-shift-9/test.parquet": tmp_path / "test.parquet"}
    options = Cifar10Config(shifts=("natural-shift-9",))
    with pytest.raises(
        DataError, match="shift 'natural-shift-9': 1 of 2 rows have no label, the first is row 1"
    ):
        dict(cifar10_shifts(options, files, CLASS_NAMES, ctx))


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        (
            (3, 64, 64, 3),
            [0, 1, 2],
            r"expected uint8 \[3, 32, 32, 3\], one image per label, found uint8 \[3, 64",
        ),
        (
            (4, 32, 32, 3),
            [0, 1, 2],
            r"expected uint8 \[3, 32, 32, 3\], one image per label, found uint8 \[4, 32",
        ),
        ((3, 32, 32, 3), [0, -1, 12], r"shift 'cifar10.2' has labels \[-1, 12\], and the classes are 0..9"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, ctx: RunContext, shape: tuple[int, ...], labels: list[int], message: str
) -> None:
    np.savez(tmp_path / "cifar102_test.npz", images=np.zeros(shape, np.uint8), labels=np.array(labels))
    files = {"cifar10.2/cifar102_test.npz": tmp_path / "cifar102_test.npz"}
    with pytest.raises(DataError, match=message):
        dict(cifar10_shifts(Cifar10Config(shifts=("cifar10.2",)), files, CLASS_NAMES, ctx))


def test_classes_are_mapped_by_name_and_unknown_ones_refused() -> None:
    assert class_map("shift 's'", ["truck", "car", "cat"], CLASS_NAMES) == [9, 1, 3]
    with pytest.raises(DataError, match="shift 's' has classes that the dataset does not have: zebra"):
        class_map("shift 's'", ["cat", "zebra"], CLASS_NAMES)
