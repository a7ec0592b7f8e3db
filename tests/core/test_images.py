"""Image sets: wherever the pixels live, the reader sees the same; odd images become square RGB."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genbench.errors import DataError
from genbench.images import (
    ArrowImages,
    Subset,
    TensorImages,
    open_images,
    statistics,
    stratified_choice,
    stratified_counts,
    to_square,
)


def test_shards_read_back_what_was_written(make_images: Callable[..., TensorImages], tmp_path: Path) -> None:
    images = make_images(25_000, size=4)  # more than two shards
    images.write(tmp_path)
    opened = open_images(tmp_path)
    assert len(list(tmp_path.glob("images-*.npy"))) == 3
    assert torch.equal(opened.all(), images.all())
    assert np.array_equal(opened.labels, images.labels)
    assert opened.class_names == images.class_names
    scattered = [24_999, 0, 10_000, 9_999, 10_001, 0]
    assert torch.equal(opened.batch(scattered), images.batch(scattered))


def test_subset_of_a_subset_keeps_images_and_labels_together(
    make_images: Callable[..., TensorImages],
) -> None:
    images = make_images(40)
    inner = Subset(Subset(images, np.arange(39, -1, -1)), np.array([0, 5, 10]))
    assert torch.equal(inner.all(), images.batch([39, 34, 29]))
    assert inner.labels.tolist() == images.labels[[39, 34, 29]].tolist()


def test_arrow_images_equal_images_in_memory(tmp_path: Path) -> None:
    import datasets

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (12, 10 + n, 3), dtype=np.uint8)) for n in range(6)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, 1, 0, 1]}, features=features)
    labels = np.array([0, 1, 0, 1, 0, 1])
    arrow = ArrowImages(table, "image", labels, ["a", "b"], 8)
    memory = TensorImages(torch.from_numpy(np.stack([to_square(p, 8) for p in pictures])), labels, ["a", "b"])
    assert torch.equal(arrow.batch([5, 0, 3]), memory.batch([5, 0, 3]))
    Subset(arrow, np.array([4, 1])).write(tmp_path)
    opened = open_images(tmp_path)
    assert isinstance(opened, ArrowImages)
    assert torch.equal(opened.all(), memory.batch([4, 1]))
    assert opened.labels.tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_three_channels(mode: str) -> None:
    grey = np.linspace(0, 255, 14 * 20).reshape(14, 20).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32))
    else:
        image = Image.fromarray(grey).convert("RGBA" if mode in {"LA", "RGBA"} else "L").convert(mode)
    square = to_square(image, 10)
    assert square.shape == (3, 10, 10)
    assert square.dtype == np.uint8
    assert square.max() - square.min() > 100  # the picture is still there


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert to_square(image, 8).min() == 255


def test_an_image_of_the_right_size_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(to_square(Image.fromarray(pixels), 32), pixels.transpose(2, 0, 1))


def test_wrong_pixels_and_labels_are_named() -> None:
    good = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"must be uint8 \[N, 3, H, W\], found torch.float32 \[2, 3, 4, 4\]"):
        TensorImages(good.float(), np.array([0, 1]), ["a", "b"])
    with pytest.raises(DataError, match="2 images but 3 labels"):
        TensorImages(good, np.array([0, 1, 1]), ["a", "b"])
    with pytest.raises(DataError, match=r"labels must lie in 0..1 \(2 classes\), found 0..2"):
        TensorImages(good, np.array([0, 2]), ["a", "b"])


def test_statistics_agree_with_numpy(make_images: Callable[..., TensorImages]) -> None:
    images = make_images(5000, size=4)
    pixels = images.all().numpy().astype(np.float64) / 255
    found = statistics(images)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=(0, 2, 3)), rtol=1e-9)


def test_one_colour_images_do_not_divide_by_zero() -> None:
    images = TensorImages(torch.full((4, 3, 4, 4), 7, dtype=torch.uint8), np.array([0, 1, 0, 1]), ["a", "b"])
    assert min(statistics(images).std) > 0


def test_stratified_counts_share_out_the_total() -> None:
    counts = np.array([100, 10, 1])
    for total in range(112):
        shared = stratified_counts(counts, total)
        assert shared.sum() == total
        assert (abs(shared - counts * total / 111) < 1).all()


def test_stratified_choice_is_disjoint_complete_and_seeded(make_images: Callable[..., TensorImages]) -> None:
    labels = make_images(40).labels
    drawn, left = stratified_choice(labels, np.array([3, 1, 0, 10]), "seed", 1)
    assert sorted([*drawn, *left]) == list(range(40))
    assert np.bincount(labels[drawn], minlength=4).tolist() == [3, 1, 0, 10]
    again, _ = stratified_choice(labels, np.array([3, 1, 0, 10]), "seed", 1)
    other, _ = stratified_choice(labels, np.array([3, 1, 0, 10]), "seed", 2)
    assert drawn.tolist() == again.tolist() != other.tolist()
