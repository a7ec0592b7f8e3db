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
from genbench.images import RealImages, TensorImages
from genbench.protocols import RunContext
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


# ------------------------------------------------------------------------------------------- read from files


def mirror_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_mirror: Path) -> Path:
    """A mirror that has CIFAR-10 by link, and room for made-up shifts."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name in ("uoft-cs", "genbench"):
        (folder / name).symlink_to(hub_mirror / name)
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(folder))
    return folder


def test_published_arrays_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_mirror: Path, ctx: RunContext
) -> None:
    """In made-up copies of the published files: names, layout and order of severities."""
    folder = mirror_with(tmp_path, monkeypatch, hub_mirror)
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
