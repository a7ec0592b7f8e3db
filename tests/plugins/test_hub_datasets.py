"""Datasets that are tables on the Hub: in made-up mirrors, and the real cats and dogs."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

from genbench.errors import DataError
from genbench.images import limited_rows
from genbench.protocols import RunContext
from genbench.testing.suites import DatasetConformance
from genbench_datasets.cats_vs_dogs import CatsVsDogs
from genbench_datasets.configs.cats_vs_dogs import CatsVsDogsConfig
from genbench_datasets.configs.hub import HubConfig
from genbench_datasets.configs.imagenet import ImagenetConfig
from genbench_datasets.hub import Hub

NAMES = ("ant", "bee", "cow")


def write_table(folder: Path, split: str, count: int, columns: tuple[str, str] = ("picture", "kind")) -> None:
    """Write a parquet file of images whose first pixel shows their number."""
    image, label = columns
    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(NAMES))})
    rows: dict[str, list[Any]] = {image: [], label: []}
    for number in range(count):
        pixels = np.full((20, 24, 3), number, dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "png")
        rows[image].append({"bytes": content.getvalue(), "path": None})
        rows[label].append(number % 3)
    folder.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000.parquet")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with `me/bugs`: 90 train and 30 test images."""
    folder = tmp_path / "mirror"
    write_table(folder / "me" / "bugs" / "data", "train", 90)
    write_table(folder / "me" / "bugs" / "data", "test", 30)
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(folder))
    return folder


class TestHub(DatasetConformance):
    component = "hub:me/bugs,size=16"

    @pytest.fixture(autouse=True)
    def _mirror(self, mirror: Path) -> None:
        """The set lies in a mirror."""


class TestImagenet(DatasetConformance):
    component = "imagenet:name=me/bugs,test_split=test,classes=2,images_per_class=10"

    @pytest.fixture(autouse=True)
    def _mirror(self, mirror: Path) -> None:
        """A set with ImageNet's columns lies in a mirror."""


class TestCatsVsDogs(DatasetConformance):
    component = "cats_vs_dogs:train_images=60"

    @pytest.fixture(autouse=True)
    def _mirror(self, hub_mirror: Path) -> None:
        """The real set."""


def test_columns_are_found_by_their_types(mirror: Path, ctx: RunContext) -> None:
    real = Hub(HubConfig(name="me/bugs", size=16)).load(ctx)
    assert (len(real.train), len(real.test)) == (90, 30)
    assert real.train.class_names == NAMES
    assert real.train.image_shape == (3, 16, 16)
    assert real.train.batch([7])[0, 0, 0, 0] == 7
    assert real.train.labels[:4].tolist() == [0, 1, 2, 0]


def test_a_set_without_test_is_split_by_class(mirror: Path, ctx: RunContext) -> None:
    (mirror / "me" / "bugs" / "data" / "test-00000.parquet").unlink()
    real = Hub(HubConfig(name="me/bugs", size=8, test_fraction=0.3)).load(ctx)
    assert (len(real.train), len(real.test)) == (63, 27)
    assert real.test.class_counts().tolist() == [9, 9, 9]
    shown = [set(images.all()[:, 0, 0, 0].tolist()) for images in (real.train, real.test)]
    assert not shown[0] & shown[1]
    other = Hub(HubConfig(name="me/bugs", size=8, test_fraction=0.3, split_seed=1)).load(ctx)
    assert set(other.test.all()[:, 0, 0, 0].tolist()) != shown[1]


def test_a_subset_keeps_names_and_numbers_its_classes(mirror: Path, ctx: RunContext) -> None:
    config = ImagenetConfig(name="me/bugs", test_split="test", size=8, classes=2, images_per_class=10)
    real = Hub(config).load(ctx)
    assert len(real.train.class_names) == 2
    assert set(real.train.class_names) < set(NAMES)
    assert real.train.class_counts().tolist() == [10, 10]
    assert real.test.class_counts().tolist() == [10, 10]  # test is whole
    for images in (real.train, real.test):
        own = [NAMES[int(number) % 3] for number in images.all()[:, 0, 0, 0]]
        assert own == [images.class_names[label] for label in images.labels]


def test_what_a_set_lacks_is_named_with_what_it_has(mirror: Path, ctx: RunContext) -> None:
    with pytest.raises(DataError, match=r"no files of the split 'learn'. Found: data/test-00000.parquet"):
        Hub(HubConfig(name="me/bugs", train_split="learn")).load(ctx)
    with pytest.raises(DataError, match=r"me/bugs/train has no column 'photo'. Found: picture, kind"):
        Hub(HubConfig(name="me/bugs", image_column="photo")).load(ctx)
    with pytest.raises(DataError, match="has 3 classes, and classes asks for 9"):
        Hub(HubConfig(name="me/bugs", classes=9)).load(ctx)
    with pytest.raises(DataError, match="cannot find dataset 'me/birds'"):
        HubConfig(name="me/birds").source_files()


def test_broken_rows_are_all_named_or_left_out(
    mirror: Path, ctx: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, count, bad in (("train", 12, (3, 7)), ("test", 6, (5,))):
        write_table(mirror / "me" / "sad" / "data", split, count)
        file = mirror / "me" / "sad" / "data" / f"{split}-00000.parquet"
        table = pq.read_table(file)
        cells = table["picture"].to_pylist()
        for row in bad:
            cells[row] = {"bytes": cells[row]["bytes"][:40], "path": f"{split}{row}.png"}
        column = pa.array(cells, table.schema.field("picture").type)
        pq.write_table(table.set_column(0, table.schema.field("picture"), column), file)
    with pytest.raises(DataError, match=r"^3 images of me/sad cannot be used:") as raised:
        Hub(HubConfig(name="me/sad", size=8)).load(ctx)
    assert all(
        f"({name}.png) cannot be decoded" in raised.value.message for name in ("train3", "train7", "test5")
    )
    for memory in ("1000", "0"):
        monkeypatch.setenv("GENBENCH_RESIDENT_MIB", memory)
        real = Hub(HubConfig(name="me/sad", size=8, skip_broken=True)).load(ctx)
        assert (len(real.train), len(real.test), len(real.left_out)) == (10, 5, 3)
        assert real.train.all()[:, 0, 0, 0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
        assert real.train.labels.tolist() == [number % 3 for number in (0, 1, 2, 4, 5, 6, 8, 9, 10, 11)]


def test_limited_test_images_are_drawn_before_they_are_decoded(mirror: Path, ctx: RunContext) -> None:
    whole = Hub(HubConfig(name="me/bugs", size=8)).load(ctx)
    limited = Hub(HubConfig(name="me/bugs", size=8, limit_test=12)).load(ctx)
    rows = limited_rows(whole.test.labels, 3, 12, 0)
    assert torch.equal(limited.test.all(), whole.test.all()[rows])
    assert limited.test.class_counts().tolist() == [4, 4, 4]
    assert torch.equal(limited.train.all(), whole.train.all())


def test_a_fit_reaches_the_pixels_of_a_table(mirror: Path, ctx: RunContext) -> None:
    crop, pad = (Hub(HubConfig(name="me/bugs", size=16, fit=fit)).load(ctx).train for fit in ("crop", "pad"))
    assert crop.batch([7])[0, 0, 0, 0] == 7
    assert pad.batch([7])[0, 0, :, 0].tolist() == [255] * 2 + [7] * 13 + [255]  # 24 x 20 become 16 x 13


def test_two_columns_of_images_must_be_chosen_from(mirror: Path, ctx: RunContext) -> None:
    file = mirror / "me" / "bugs" / "data" / "train-00000.parquet"
    table = datasets.Dataset.from_parquet(str(file), cache_dir=str(mirror / "cache"))
    encoded = table.cast_column("picture", datasets.Image(decode=False))["picture"][:]
    table.add_column("other", encoded, feature=datasets.Image()).to_parquet(file)
    with pytest.raises(DataError, match="2 columns are of type Image"):
        Hub(HubConfig(name="me/bugs")).load(ctx)
    assert len(Hub(HubConfig(name="me/bugs", image_column="picture")).load(ctx).train) == 90


def write_shift(folder: Path, names: list[str], labels: list[int | None]) -> None:
    """Write a shift whose images show their row."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows: dict[str, list[Any]] = {"image": [], "label": labels}
    for number in range(len(labels)):
        content = io.BytesIO()
        Image.fromarray(np.full((9, 9, 3), number, dtype=np.uint8)).save(content, "png")
        rows["image"].append({"bytes": content.getvalue(), "path": None})
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "test-00000.parquet")


def test_a_shift_is_matched_by_name_or_by_the_published_map(
    mirror: Path, ctx: RunContext, tmp_path: Path
) -> None:
    write_shift(mirror / "them" / "sketches" / "data", ["cow", "ant"], [0, 1, 0])
    write_shift(mirror / "them" / "ids" / "data", ["n01", "n02", "n09"], [2, 0, 1, 0])
    maps = tmp_path / "maps.json"
    maps.write_text(json.dumps({"them/ids": {"n01": "bee", "n02": "ant", "n09": None}}))
    config = HubConfig(name="me/bugs", size=8, shifts=("them/sketches", "them/ids"), class_maps=maps)
    real = Hub(config).load(ctx)
    assert (len(real.train), len(real.test)) == (90, 30)
    by_name, by_map = real.shifts["them/sketches"], real.shifts["them/ids"]
    assert by_name.class_names == by_map.class_names == NAMES
    assert by_name.labels.tolist() == [2, 0, 2]
    assert by_map.labels.tolist() == [1, 0, 1]  # the class that maps to null is left out
    assert by_map.all()[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_a_shift_with_other_classes_is_refused(mirror: Path, ctx: RunContext) -> None:
    write_shift(mirror / "them" / "ids" / "data", ["n01", "cow"], [0, 1])
    with pytest.raises(DataError, match="shift 'them/ids' has classes that the dataset does not have: n01"):
        Hub(HubConfig(name="me/bugs", shifts=("them/ids",))).load(ctx)


@pytest.mark.parametrize("hidden", [-1, None])
def test_images_without_a_label_are_refused_and_not_left_out(
    mirror: Path, ctx: RunContext, hidden: int | None
) -> None:
    """Hidden labels of a competition: neither an empty test split nor the last class."""
    (mirror / "me" / "bugs" / "data" / "test-00000.parquet").unlink()
    write_shift(mirror / "them" / "contest" / "data", list(NAMES), [0, hidden, hidden])
    shutil.copy(mirror / "them" / "contest" / "data" / "test-00000.parquet", mirror / "me" / "bugs" / "data")
    named = {"image_column": "picture", "label_column": "kind"}
    with pytest.raises(
        DataError, match="shift 'them/contest': 2 of 3 rows have no label, the first is row 1"
    ):
        Hub(HubConfig(name="me/bugs", test_split="none", shifts=("them/contest",), **named)).load(ctx)
    with pytest.raises(DataError, match=r"me/bugs/test: 2 of 3 rows have no label, the first is row 1"):
        Hub(HubConfig(name="me/bugs")).load(ctx)


def test_test_and_shifts_may_list_the_classes_in_another_order(mirror: Path, ctx: RunContext) -> None:
    (mirror / "me" / "bugs" / "data" / "test-00000.parquet").unlink()
    write_shift(mirror / "me" / "bugs" / "test", ["cow", "bee", "ant"], [0, 0, 1, 2])
    real = Hub(HubConfig(name="me/bugs", size=8)).load(ctx)
    assert real.test.class_names == NAMES
    assert real.test.labels.tolist() == [2, 2, 1, 0]
    assert real.test.all()[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_test_split_with_other_classes_is_refused(mirror: Path, ctx: RunContext) -> None:
    (mirror / "me" / "bugs" / "data" / "test-00000.parquet").unlink()
    write_shift(mirror / "me" / "bugs" / "test", ["cow", "gnu"], [0, 1])
    with pytest.raises(DataError, match="me/bugs/test has classes that the dataset does not have: gnu"):
        Hub(HubConfig(name="me/bugs")).load(ctx)


def test_a_split_is_not_another_whose_name_begins_alike(mirror: Path, ctx: RunContext) -> None:
    write_table(mirror / "me" / "bugs" / "data", "test_extra", 60)
    write_table(mirror / "me" / "bugs" / "data", "training", 60)
    real = Hub(HubConfig(name="me/bugs", size=8)).load(ctx)
    assert (len(real.train), len(real.test)) == (90, 30)
    assert len(Hub(HubConfig(name="me/bugs", size=8, test_split="test_extra")).load(ctx).test) == 60


def test_configurations_are_not_mixed(mirror: Path, ctx: RunContext) -> None:
    write_table(mirror / "me" / "two" / "large", "train", 90)
    write_table(mirror / "me" / "two" / "small", "train", 30)
    with pytest.raises(DataError, match=r"'train' is in several folders, .* large, small") as raised:
        Hub(HubConfig(name="me/two", size=8)).load(ctx)
    assert raised.value.hint == "set config_name=large"
    real = Hub(HubConfig(name="me/two", size=8, config_name="small")).load(ctx)
    assert len(real.train) + len(real.test) == 30


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["bee", "ant", "cow"], ("ant", "bee", "cow")),
        ([30, 4, 100], ("4", "30", "100")),
    ],
)
def test_a_named_column_of_classes_may_hold_words_or_numbers(
    mirror: Path, ctx: RunContext, values: list[Any], names: tuple[str, ...]
) -> None:
    rows: dict[str, list[Any]] = {"image": [], "word": values * 10, "share": [0.5] * 30}
    for number in range(30):
        content = io.BytesIO()
        Image.fromarray(np.full((9, 9, 3), number, dtype=np.uint8)).save(content, "png")
        rows["image"].append({"bytes": content.getvalue(), "path": None})
    (mirror / "me" / "words" / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.to_parquet(mirror / "me" / "words" / "data" / "train.parquet")
    real = Hub(HubConfig(name="me/words", size=8, label_column="word")).load(ctx)
    assert real.train.class_names == names
    for images in (real.train, real.test):
        own = [str(values[int(number) % 3]) for number in images.all()[:, 0, 0, 0]]
        assert own == [names[label] for label in images.labels]
    with pytest.raises(DataError, match="0 columns are of type ClassLabel"):
        Hub(HubConfig(name="me/words", size=8)).load(ctx)
    with pytest.raises(DataError, match="must be a ClassLabel, words or whole numbers; 'share' is"):
        Hub(HubConfig(name="me/words", size=8, label_column="share")).load(ctx)


def test_classes_that_a_subset_left_out_are_left_out_of_shifts(mirror: Path, ctx: RunContext) -> None:
    write_shift(mirror / "them" / "sketches" / "data", ["cow", "bee", "ant"], [0, 1, 2, 2, 1, 0])
    real = Hub(HubConfig(name="me/bugs", size=8, classes=2, shifts=("them/sketches",))).load(ctx)
    shift, kept = real.shifts["them/sketches"], real.train.class_names
    shown = [("cow", "bee", "ant", "ant", "bee", "cow")[row] for row in shift.all()[:, 0, 0, 0]]
    assert shift.class_names == kept
    assert len(shift) == 4
    assert shown == [kept[label] for label in shift.labels]


def test_a_shift_without_any_class_in_use_is_refused(mirror: Path, ctx: RunContext) -> None:
    left = set(NAMES) - set(Hub(HubConfig(name="me/bugs", size=8, classes=2)).load(ctx).train.class_names)
    write_shift(mirror / "them" / "one" / "data", sorted(left), [0, 0])
    with pytest.raises(DataError, match="shift 'them/one' has no image of the 2 classes in use"):
        Hub(HubConfig(name="me/bugs", size=8, classes=2, shifts=("them/one",))).load(ctx)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "has another form: Invalid JSON"),
        ('{"them/ids": ["cow"]}', "has another form: Input should be an object"),
        ('{"them/ids": {"n07": "cow"}}', "renames classes that shift 'them/ids' does not have: n07"),
    ],
)
def test_a_class_map_that_cannot_be_right_is_refused(
    mirror: Path, ctx: RunContext, tmp_path: Path, content: str, message: str
) -> None:
    write_shift(mirror / "them" / "ids" / "data", ["cow", "ant"], [0, 1])
    maps = tmp_path / "maps.json"
    with pytest.raises(DataError, match=r"class_maps: '.*maps.json' is not a file"):
        HubConfig(name="me/bugs", shifts=("them/ids",), class_maps=maps).source_files()
    maps.write_text(content)
    with pytest.raises(DataError, match=message):
        Hub(HubConfig(name="me/bugs", shifts=("them/ids",), class_maps=maps)).load(ctx)


def test_cats_and_dogs_are_s4s_601_and_the_rest(hub_mirror: Path, ctx: RunContext) -> None:
    real = CatsVsDogs(CatsVsDogsConfig(size=16)).load(ctx)
    assert (len(real.train), len(real.test)) == (601, 798)
    assert real.train.class_names == ("cat", "dog")
    assert abs(int(real.train.class_counts()[0]) - 300) <= 1
    with pytest.raises(DataError, match="train_images is 1399, and there are 1399 images"):
        CatsVsDogs(CatsVsDogsConfig(size=16, train_images=1399)).load(ctx)


_MEASURE = """
import sys
from pathlib import Path
from genbench.steps.provenance import forget_peak_memory, peak_memory_bytes
from genbench.testing import MemoryContext
from genbench_datasets.imagefolder import ImageFolder
from genbench_datasets.configs.imagefolder import ImageFolderConfig
ctx = MemoryContext(Path(sys.argv[2]))
forget_peak_memory("cpu")
before = peak_memory_bytes("cpu")
real = ImageFolder(ImageFolderConfig(path=sys.argv[1], size=224)).load(ctx)
seen = sum(len(real.train.batch(range(start, start + 64))) for start in range(0, 1280, 64))
held = peak_memory_bytes("cpu") - before
print(len(real.train) + len(real.test), seen, held / 2**20)
"""


@pytest.mark.slow(reason="writes and reads large photographs")
def test_a_folder_of_photographs_is_read_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 photographs, 3 GB as pixels of 224 x 224, in less than 500 MiB."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    for number in range(100):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        first = tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number:05d}.jpg"
        small.resize((256, 256)).save(first, quality=80)
        for copy in range(1, 200):
            first.with_name(f"{number:05d}-{copy:03d}.jpg").hardlink_to(first)
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "200")
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "photos"), str(tmp_path / "work")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    images, seen, mebibytes = (float(word) for word in done.stdout.split())
    assert (images, seen) == (20_000, 1280)
    assert 20 < mebibytes < 500  # something was measured
