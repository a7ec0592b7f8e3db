"""Datasets: real images in, splits out; and a message for everything that can be wrong with a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genbench.digest import file_digest
from genbench.errors import DataError
from genbench.images import LabelledImages, RealImages, TensorImages
from genbench.notation import parse_reference
from genbench.protocols import Dataset, DatasetConfig, RunContext
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.steps.context import StepContext
from genbench.steps.dataset import open_splits, split, write_splits
from genbench.store import Artifact
from genbench.testing.suites import DatasetConformance

MakeContext = Callable[..., StepContext]


class TestDigits(DatasetConformance):
    component = "digits:size=8"


def load(registry: Registry, text: str, context: StepContext) -> RealImages:
    resolved = resolve(registry, "dataset", parse_reference(text), "quick", file_digest)
    images: RealImages = import_target(resolved.spec.target, resolved.name)(resolved.config).load(context)
    return images


# -------------------------------------------------------------------------------------------------- digits


@pytest.mark.parametrize("options", ["", ":few", ":limit_train=90,limit_test=50,reserve=33,size=16"])
def test_what_digits_declare_is_what_they_hold(
    registry: Registry, make_context: MakeContext, tmp_path: Path, options: str
) -> None:
    resolved = resolve(registry, "dataset", parse_reference(f"digits{options}"), "quick", file_digest)
    dataset, config = import_target(resolved.spec.target, resolved.name), resolved.config
    assert isinstance(config, DatasetConfig)
    write_splits(dataset(config), config, make_context(), tmp_path)
    card = json.loads((tmp_path / "dataset.json").read_text())
    known = config.declared_images()
    assert known is not None
    assert list(known.shape) == card["image_shape"]
    assert config.declared_splits() == card["splits"]


def test_digits_agree_with_scikit_learn(registry: Registry, make_context: MakeContext) -> None:
    from sklearn.datasets import load_digits

    real = load(registry, "digits", make_context())
    assert len(real.train) + len(real.test) == 1797
    assert len(real.test) == 449
    theirs = np.round(load_digits().images / 16 * 255)
    ours = torch.cat([real.train.all(), real.test.all()])[:, 0].numpy()
    assert sorted(ours.sum(axis=(1, 2)).tolist()) == sorted(theirs.sum(axis=(1, 2)).tolist())
    train = {image.tobytes() for image in real.train.all().numpy()}
    assert not train & {image.tobytes() for image in real.test.all().numpy()}
    assert load(registry, "digits:size=16", make_context()).train.image_shape == (3, 16, 16)


# --------------------------------------------------------------------------------------------------- splits


def labels_of(images: LabelledImages) -> list[int]:
    return sorted(images.labels.tolist())


def test_splits_are_disjoint_stratified_and_named(make_images: Callable[..., TensorImages]) -> None:
    images = make_images(1000, classes=4)
    train, val, reserve = split(images, DatasetConfig(reserve=100))
    assert reserve is not None
    assert (len(train), len(val), len(reserve)) == (700, 200, 100)  # val: a fifth, towards 1,000
    pixels = [{image.tobytes() for image in part.all().numpy()} for part in (train, val, reserve)]
    assert not pixels[0] & pixels[1]
    assert not pixels[0] & pixels[2]
    assert not pixels[1] & pixels[2]
    assert np.ptp(train.class_counts()) <= 1
    limited, same_val, _ = split(images, DatasetConfig(reserve=100, limit_train=50))
    assert labels_of(limited) == sorted([0, 1, 2, 3] * 12 + [0, 1])
    assert torch.equal(same_val.all(), val.all())
    other, _, _ = split(images, DatasetConfig(reserve=100, split_seed=1))
    assert not torch.equal(other.all(), train.all())


def test_val_has_at_least_a_thousand_images_where_possible(make_images: Callable[..., TensorImages]) -> None:
    sizes = {
        count: len(split(make_images(count, size=2), DatasetConfig())[1]) for count in (100, 6000, 20_000)
    }
    assert sizes == {100: 20, 6000: 1000, 20_000: 2000}


def test_impossible_splits_say_what_is_left(make_images: Callable[..., TensorImages]) -> None:
    with pytest.raises(DataError, match=r"2 training images are left .* some of the 4 classes have none"):
        split(make_images(100), DatasetConfig(limit_train=2))
    with pytest.raises(DataError, match="reserve asks for 90 images, and 80 are left"):
        split(make_images(100), DatasetConfig(reserve=90))


def test_an_empty_class_is_named(make_images: Callable[..., TensorImages]) -> None:
    images = make_images(40)
    lonely = TensorImages(images.all(), images.labels, [*images.class_names, "unicorn"])
    with pytest.raises(DataError, match="classes without a training image: unicorn"):
        split(lonely, DatasetConfig())


def test_written_splits_open_as_they_were(
    registry: Registry, make_context: MakeContext, tmp_path: Path
) -> None:
    resolved = resolve(registry, "dataset", parse_reference("toy-data:reserve=9"), "quick", file_digest)
    dataset = import_target(resolved.spec.target, "toy-data")(resolved.config)
    folder = tmp_path / "artifact"
    folder.mkdir()
    write_splits(dataset, resolved.config, make_context(), folder)  # type: ignore[arg-type]
    splits = open_splits(Artifact(folder, {}, {}, {}))
    assert sorted(splits.evaluated) == ["noisy", "test", "val"]
    assert splits.reserve is not None
    assert len(splits.reserve) == 9
    assert torch.equal(splits.evaluated["test"].all(), dataset.load(make_context()).test.all())
    assert splits.augmentation("strong") == ("strong", 4, True)


class Given(Dataset):
    """Hands over what a test made."""

    def __init__(self, real: RealImages) -> None:
        self._real = real

    def load(self, ctx: RunContext) -> RealImages:
        return self._real


@pytest.mark.parametrize("name", ["val", "test", "night"])
def test_every_split_has_the_size_and_the_classes_of_train(
    make_images: Callable[..., TensorImages], make_context: MakeContext, tmp_path: Path, name: str
) -> None:
    def write(wrong: LabelledImages) -> None:
        splits = {"val": train, "test": train, "night": train, name: wrong}
        real = RealImages(train, splits["test"], {"night": splits["night"]}, splits["val"])
        write_splits(Given(real), DatasetConfig(), make_context(), tmp_path)

    train = make_images(40, classes=2)
    first, second = train.class_names
    swapped = TensorImages(train.all(), train.labels, [second, first])
    with pytest.raises(DataError, match=f"label 0 is '{second}' in {name}, and '{first}' in train"):
        write(swapped)
    with pytest.raises(DataError, match=f"label 2 is 'yak' in {name}, and 'no class' in train"):
        write(TensorImages(train.all(), train.labels, [first, second, "yak"]))
    with pytest.raises(DataError, match=rf"{name} has images of \(3, 4, 4\), and train of \(3, "):
        write(TensorImages(train.all()[:, :, :4, :4], train.labels, train.class_names))
    write(train)


def test_a_limit_of_test_leaves_an_image_of_every_class(
    make_images: Callable[..., TensorImages], make_context: MakeContext, tmp_path: Path
) -> None:
    real = RealImages(make_images(40, classes=4), make_images(40, classes=4))
    with pytest.raises(DataError, match=r"limit_test=3 leaves some of the 4 classes") as raised:
        write_splits(Given(real), DatasetConfig(limit_test=3), make_context(), tmp_path)
    assert "limit_test=4 at least" in raised.value.hint
    write_splits(Given(real), DatasetConfig(limit_test=4), make_context(), tmp_path)


# -------------------------------------------------------------------------------------------------- cifar10


def write_cifar(mirror: Path, **columns: object) -> None:
    import datasets

    folder = mirror / "uoft-cs" / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    image = Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8))
    for name, count in (("train", 20), ("test", 10)):
        content = {"img": [image] * count, "label": list(range(10)) * (count // 10), **columns}
        content = {column: values for column, values in content.items() if values is not None}
        datasets.Dataset.from_dict(content).to_parquet(folder / f"{name}-00000-of-00001.parquet")


def test_a_mirror_laid_out_as_the_hub_is_read(
    registry: Registry, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path))
    write_cifar(tmp_path)
    real = load(registry, "cifar10", make_context())
    assert (len(real.train), len(real.test), real.train.class_names[3]) == (20, 10, "cat")


def test_missing_labels_are_an_error(
    registry: Registry, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path))
    write_cifar(tmp_path, label=None)
    with pytest.raises(DataError, match=r"none of the columns label, labels\. Found: img"):
        load(registry, "cifar10", make_context())


def test_no_mirror_and_no_network_says_what_was_tried(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(
        DataError, match=r"Tried: no mirror[\s\S]*cache of this machine[\s\S]*Hub[\s\S]*hf download"
    ):
        resolve(registry, "dataset", parse_reference("cifar10"), "quick", file_digest)
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"GENBENCH_HUB_MIRROR names .*absent', which is not a folder"):
        resolve(registry, "dataset", parse_reference("cifar10"), "quick", file_digest)


@pytest.mark.slow(reason="decodes 60,000 photographs")
def test_real_cifar10_is_cifar10(registry: Registry, make_context: MakeContext, hub_mirror: Path) -> None:
    real = load(registry, "cifar10", make_context())
    assert real.train.class_counts().tolist() == [5000] * 10
    assert real.test.class_counts().tolist() == [1000] * 10
    from genbench.images import statistics

    found = statistics(real.train)
    np.testing.assert_allclose(found.mean, (0.4914, 0.4822, 0.4465), atol=2e-4)  # the published constants
    np.testing.assert_allclose(found.std, (0.2470, 0.2435, 0.2616), atol=2e-4)
