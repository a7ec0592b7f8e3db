"""ImageNet's published shifts: their class maps against facts, and their files in made-up mirrors."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from genbench.errors import DataError
from genbench.parquet import ParquetRows
from genbench.protocols import RunContext
from genbench.synsets import imagenet_synsets, synsets
from genbench.testing.suites import DatasetConformance
from genbench_datasets import hub as hub_module
from genbench_datasets._imagenet import objectnet_synsets, renamed_to
from genbench_datasets._named_classes import labels_of
from genbench_datasets._tables import read_parquet
from genbench_datasets.configs._tables import PUBLISHED
from genbench_datasets.configs.hub import HubConfig
from genbench_datasets.configs.imagenet import ImagenetConfig
from genbench_datasets.hub import Hub

GOLDFISH, WHITE_SHARK, HEN, BANANA, CHAIR = 1, 2, 8, 954, 559  # labels of ImageNet-1k; 559 is folding chair
V2 = {
    "imagenetv2-matched-frequency": "matched-frequency",
    "imagenetv2-threshold-0.7": "threshold0.7",
    "imagenetv2-top-images": "top-images",
}


def listed(name: str) -> list[str]:
    return resources.files("timm.data").joinpath("_info", name).read_text().split()


@pytest.fixture(scope="module")
def ilsvrc() -> list[str]:
    """Names of the 1,000 classes as `ILSVRC/imagenet-1k` has them; the second crane is `crane2` there."""
    words = dict(line.split("\t") for line in _lemmas())
    names = [words[synset] for synset in imagenet_synsets()]
    assert [label for label, name in enumerate(names) if name == "crane"] == [134, 517]
    names[517] = "crane2"
    return names


def _lemmas() -> list[str]:
    text = resources.files("timm.data").joinpath("_info", "imagenet_synset_to_lemma.txt").read_text()
    return text.strip().split("\n")


def picture(value: int, kind: str = "png") -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), value, dtype=np.uint8)).save(content, kind)
    return content.getvalue()


def write_rows(
    file: Path, values: Sequence[int], features: Mapping[str, Any], **columns: Sequence[Any]
) -> None:
    """Write images that show `values`, and other columns."""
    rows = {"image": [{"bytes": picture(value), "path": None} for value in values], **columns}
    file.parent.mkdir(parents=True, exist_ok=True)
    typed = datasets.Features({"image": datasets.Image(), **features})
    datasets.Dataset.from_dict(rows, features=typed).to_parquet(file)


def write_tar(file: Path, members: Mapping[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ilsvrc: list[str]) -> Path:
    """A mirror of ImageNet (a few images of five classes) and of its shifts, laid out as on the Hub."""
    folder = tmp_path / "mirror"
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(folder))
    own = {"label": datasets.ClassLabel(names=ilsvrc)}
    labels = [GOLDFISH, WHITE_SHARK, HEN, BANANA, CHAIR] * 8
    for split in ("train", "validation"):
        file = folder / "ILSVRC" / "imagenet-1k" / "data" / f"{split}-00000-of-00001.parquet"
        write_rows(file, [label % 256 for label in labels], own, label=labels)
    ids = imagenet_synsets()
    words = {"wnid": datasets.Value("string"), "class_name": datasets.Value("string")}
    write_rows(
        folder / "axiong" / "imagenet-r" / "test" / "test-00000-of-00001.parquet",
        [10, 11, 12],
        words,
        wnid=[ids[HEN], ids[GOLDFISH], ids[WHITE_SHARK]],
        class_name=["hen", "goldfish", "great_white_shark"],
    )
    write_rows(
        folder / "barkermrl" / "imagenet-a" / "data" / "train-00000-of-00001-ab6d3d8ffc378699.parquet",
        [20, 21],
        {"label": datasets.ClassLabel(names=listed("imagenet_a_synsets.txt"))},
        label=[listed("imagenet_a_synsets.txt").index(name) for name in ("n07753592", "n01498041")],
    )
    everyday = ["alarm_clock", "banana", "chair", "squeegee"]
    write_rows(
        folder / "timm" / "objectnet" / "data" / "test-00000-of-00001.parquet",
        [30, 31, 32, 33],
        {"label": datasets.ClassLabel(names=everyday)},
        label=[3, 1, 2, 0],
    )
    sketches = folder / "songweig" / "imagenet_sketch" / "data" / "ImageNet-Sketch.zip"
    sketches.parent.mkdir(parents=True)
    with zipfile.ZipFile(sketches, "w") as archive:
        archive.mkdir("sketch")
        archive.writestr(f"sketch/{ids[BANANA]}/sketch_9.JPEG", picture(41, "jpeg"))
        archive.writestr(f"sketch/{ids[HEN]}/sketch_1.JPEG", picture(40, "jpeg"))
    for number, variant in enumerate(V2.values()):
        members = {
            f"{label}/{label:x}.jpeg": picture(50 + number, "jpeg") for label in (BANANA, HEN, GOLDFISH)
        }
        packed = {f"imagenetv2-{variant}-format-val/{name}": content for name, content in members.items()}
        write_tar(folder / "vaishaal" / "ImageNetV2" / f"imagenetv2-{variant}.tar.gz", packed)
    return folder


class TestImagenetWithShifts(DatasetConformance):
    component = 'imagenet:name=me/five,size=16,shifts=["imagenet-r","imagenetv2-top-images","objectnet"]'

    @pytest.fixture(autouse=True)
    def _mirror(self, mirror: Path) -> None:
        """Five classes lie in a mirror, by WordNet id, as do the shifts."""
        ids = [imagenet_synsets()[label] for label in (GOLDFISH, WHITE_SHARK, HEN, BANANA, CHAIR)]
        features = {"label": datasets.ClassLabel(names=ids)}
        for split in ("train", "validation"):
            file = mirror / "me" / "five" / "data" / f"{split}.parquet"
            write_rows(file, range(100), features, label=[number % 5 for number in range(100)])


def shown(images: Any) -> list[tuple[int, int]]:
    """Return (first pixel, label) of each image."""
    return list(zip(images.all()[:, 0, 0, 0].tolist(), images.labels.tolist(), strict=True))


# ------------------------------------------------------------------------------------------ class maps


def test_the_classes_are_imagenets_in_the_order_of_their_labels(ilsvrc: list[str]) -> None:
    ids = imagenet_synsets()
    assert len(set(ids)) == 1000
    assert list(ids) == sorted(ids)
    known = {0: "n01440764", 1: "n01443537", 134: "n02012849", 517: "n03126707", 954: "n07753592"}
    assert {label: ids[label] for label in known} == known
    assert synsets(ilsvrc) == list(ids)
    assert synsets(ids) == list(ids)
    assert synsets([str(label) for label in range(1000)]) == list(ids)


def test_names_that_say_nothing_are_not_guessed(ilsvrc: list[str]) -> None:
    """`crane` is two classes, and is known by its place alone; numbers of 200 classes are nobody's."""
    ids = imagenet_synsets()
    assert synsets(["goldfish, Carassius auratus", "crane", "n02012849", "n99999999", "7"]) == [
        ids[1],
        None,
        "n02012849",
        None,
        None,
    ]
    assert synsets([str(label) for label in range(200)]) == [None] * 200
    swapped = [ilsvrc[1], ilsvrc[0], *ilsvrc[2:]]
    found = synsets(swapped)
    assert found[:2] == [ids[1], ids[0]]
    assert [label for label, synset in enumerate(found) if synset is None] == [134, 517]


@pytest.mark.parametrize("letter", ["a", "r"])
def test_a_and_r_have_200_of_the_1000_classes(letter: str, ilsvrc: list[str]) -> None:
    """The indices are another file of timm's than the ids that the map starts from."""
    names = listed(f"imagenet_{letter}_synsets.txt")
    called = renamed_to(f"imagenet-{letter}", names, ilsvrc)
    found = [ilsvrc.index(str(called[name])) for name in names]
    assert len(set(found)) == 200
    assert found == [int(index) for index in listed(f"imagenet_{letter}_indices.txt")]


def test_r_has_the_goldfish_and_a_the_robin(ilsvrc: list[str]) -> None:
    lists = {letter: listed(f"imagenet_{letter}_synsets.txt") for letter in "ar"}
    assert ("n01443537" in lists["r"], "n01443537" in lists["a"]) == (True, False)  # goldfish
    assert ("n01558993" in lists["r"], "n01558993" in lists["a"]) == (False, True)  # robin
    assert ("n01498041" in lists["r"], "n01498041" in lists["a"]) == (True, True)  # stingray
    assert len(set(lists["a"]) & set(lists["r"])) == 86
    assert renamed_to("imagenet-r", lists["r"], ilsvrc)["n01443537"] == "goldfish, Carassius auratus"


def test_objectnet_has_113_classes_of_imagenet_and_104_are_one(ilsvrc: list[str]) -> None:
    packed = resources.files("genbench_datasets").joinpath("objectnet.json").read_text()
    entries: dict[str, dict[str, Any]] = json.loads(packed)
    ids = [entry["synsets"] for entry in entries.values()]
    flat = [synset for one in ids for synset in one]
    assert (len(entries), sum(map(bool, ids)), sum(len(one) == 1 for one in ids)) == (313, 113, 104)
    assert len(flat) == len(set(flat)) == 125
    assert set(flat) < set(imagenet_synsets())
    by_folder = objectnet_synsets(list(entries))
    assert by_folder == objectnet_synsets([entry["label"] for entry in entries.values()])
    assert by_folder == [one[0] if len(one) == 1 else None for one in ids]
    called = renamed_to("objectnet", ["Bath towel", "full_sized_towel", "Chair", "Squeegee", "TV"], ilsvrc)
    assert called == {
        "Bath towel": "bath towel",
        "full_sized_towel": "bath towel",
        "Chair": None,
        "Squeegee": None,
        "TV": "television, television system",
    }


def test_what_is_not_imagenets_is_refused(ilsvrc: list[str]) -> None:
    with pytest.raises(DataError, match="'imagenet-r' has classes that are not ImageNet's: gnat"):
        renamed_to("imagenet-r", ["n01443537", "gnat"], ilsvrc)
    with pytest.raises(DataError, match="the dataset has classes that are not ImageNet's: ant, cow"):
        renamed_to("imagenet-r", ["n01443537"], ["ant", "cow"])
    with pytest.raises(DataError, match="'objectnet' has classes that ObjectNet does not have: gnat"):
        renamed_to("objectnet", ["TV", "gnat"], ilsvrc)


# ------------------------------------------------------------------------------------------ files


def test_every_published_shift_is_read_from_its_layout_on_the_hub(mirror: Path, ctx: RunContext) -> None:
    real = Hub(ImagenetConfig(size=9, shifts=tuple(PUBLISHED))).load(ctx)
    assert set(real.shifts) == set(PUBLISHED)
    assert all(images.class_names == real.train.class_names for images in real.shifts.values())
    assert shown(real.shifts["imagenet-r"]) == [(10, HEN), (11, GOLDFISH), (12, WHITE_SHARK)]
    assert shown(real.shifts["imagenet-a"]) == [(20, BANANA), (21, 6)]  # stingray
    assert shown(real.shifts["imagenet-sketch"]) == [(40, HEN), (41, BANANA)]
    assert shown(real.shifts["objectnet"]) == [(31, BANANA)]  # a chair and an alarm clock are several classes
    for number, name in enumerate(V2):
        images = real.shifts[name]
        assert shown(images) == [(50 + number, label) for label in (GOLDFISH, HEN, BANANA)]


def test_a_subset_of_classes_has_their_images_alone(mirror: Path, ctx: RunContext) -> None:
    real = Hub(ImagenetConfig(size=9, classes=900, shifts=("imagenet-r", *V2, "imagenet-sketch"))).load(ctx)
    whole = Hub(ImagenetConfig(size=9)).load(ctx).train.class_names
    kept = real.train.class_names
    expected = {
        "imagenet-r": [HEN, GOLDFISH, WHITE_SHARK],
        "imagenet-sketch": [HEN, BANANA],
        **{name: [GOLDFISH, HEN, BANANA] for name in V2},
    }
    assert len(kept) == 900
    for name, labels in expected.items():
        names = [real.shifts[name].class_names[label] for label in real.shifts[name].labels]
        assert names == [whole[label] for label in labels if whole[label] in kept]


@pytest.mark.parametrize("said", ["banana+Goldfish+hen", "n07753592+n01443537+HEN", None])
def test_classes_are_chosen_by_name_synonym_or_wordnet_id(
    said: str | None, mirror: Path, ctx: RunContext
) -> None:
    names = {"classes": said} if said else {"classes_file": mirror / "mine.txt", "classes": 2}
    (mirror / "mine.txt").write_text("# fish\nCarassius auratus\nn07753592  # a fruit\n\nhen\n")
    config = ImagenetConfig(size=9, shifts=("imagenet-r", "imagenet-a", "objectnet"), **names)  # type: ignore[arg-type]
    real = Hub(config).load(ctx)
    whole = imagenet_synsets()
    assert [synsets(ilsvrc_names)[0] for ilsvrc_names in [[name] for name in real.train.class_names]] == [
        whole[label] for label in (GOLDFISH, HEN, BANANA)
    ]
    assert shown(real.shifts["imagenet-r"]) == [(10, 1), (11, 0)]
    assert shown(real.shifts["objectnet"]) == [(31, 2)]
    assert set(real.test.labels.tolist()) == {0, 1, 2}


def test_classes_that_nobody_knows_are_all_listed_with_near_ones(mirror: Path, ctx: RunContext) -> None:
    with pytest.raises(DataError) as raised:
        Hub(ImagenetConfig(size=9, classes="tensch+goldfich+crane")).load(ctx)  # type: ignore[arg-type]
    assert "there is no 'tensch'. Did you mean tench" in raised.value.message
    assert "there is no 'goldfich'. Did you mean goldfinch or goldfish" in raised.value.message
    with pytest.raises(DataError, match=r"'bananna'. Did you mean banana"):
        Hub(HubConfig(name="ILSVRC/imagenet-1k", size=9, classes="hen+bananna")).load(ctx)  # type: ignore[arg-type]
    names = ["crane, bird", "crane, machine", "hen"]
    with pytest.raises(DataError, match="'crane' is 2 classes: say n1 or crane, machine"):
        labels_of(["crane", "hen"], names, ["n1", None, "n3"], "birds")
    with pytest.raises(DataError, match=r"'hen' and 'n3' are the same class|'n3' and 'hen' are the same"):
        labels_of(["hen", "n3"], names, ["n1", None, "n3"], "birds")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "tench"}, "name at least two classes"),
        ({"classes": 1}, "a number of at least 2 is allowed, or names"),
        ({"classes": True}, "a number of at least 2 is allowed, or names"),
        ({"classes": "hen+tench", "classes_file": "mine.txt"}, "both say which classes to use"),
    ],
)
def test_unusable_choices_of_classes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImagenetConfig(**options)


def test_an_extracted_folder_is_the_archive(mirror: Path, ctx: RunContext) -> None:
    packed = mirror / "vaishaal" / "ImageNetV2" / "imagenetv2-top-images.tar.gz"
    config = ImagenetConfig(size=9, shifts=("imagenetv2-top-images",))
    one = Hub(config).load(ctx).shifts["imagenetv2-top-images"]
    with tarfile.open(packed) as archive:
        archive.extractall(packed.parent, filter="data")
    (packed.parent / "imagenetv2-top-images-format-val" / "8" / ".DS_Store").write_bytes(b"hidden")
    packed.unlink()
    other = Hub(config).load(ctx).shifts["imagenetv2-top-images"]
    assert len(config.source_files()) == 2 + 4
    assert shown(one) == shown(other) != []


def test_a_folder_is_a_number_and_not_a_place_in_the_order_of_names(mirror: Path, ctx: RunContext) -> None:
    members = {
        f"imagenetv2-top-images-format-val/{label}/x.jpeg": picture(label) for label in (0, 1, 10, 100, 2)
    }
    write_tar(mirror / "vaishaal" / "ImageNetV2" / "imagenetv2-top-images.tar.gz", members)
    real = Hub(ImagenetConfig(size=9, shifts=("imagenetv2-top-images",))).load(ctx)
    assert shown(real.shifts["imagenetv2-top-images"]) == [(label, label) for label in (0, 1, 2, 10, 100)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"val/8/notes.txt": b"no image"},
            "imagenetv2-top-images': val/8/notes.txt cannot be decoded as an image",
        ),
        ({"val/8/a.jpeg": picture(0)[:20]}, "val/8/a.jpeg cannot be decoded as an image"),
        ({"val/1000/a.jpeg": picture(0)}, "val/1000/a.jpeg is in no class folder"),
        ({"a.jpeg": picture(0)}, "a.jpeg is in no class folder"),
        ({"val/8/._a.jpeg": b"hidden"}, "imagenetv2-top-images.tar.gz holds no image"),
    ],
)
def test_an_archive_of_anything_else_is_refused(
    mirror: Path, ctx: RunContext, members: Mapping[str, bytes], message: str
) -> None:
    write_tar(mirror / "vaishaal" / "ImageNetV2" / "imagenetv2-top-images.tar.gz", members)
    with pytest.raises(DataError, match=message):
        Hub(ImagenetConfig(size=9, shifts=("imagenetv2-top-images",))).load(ctx)


@pytest.mark.parametrize("keep", [0, 40, 300, -8])
@pytest.mark.parametrize("shift", ["imagenetv2-top-images", "imagenet-sketch"])
def test_a_download_that_broke_off_is_refused(mirror: Path, ctx: RunContext, shift: str, keep: int) -> None:
    config = ImagenetConfig(size=9, shifts=(shift,))
    archive = next(path for name, path in config.source_files().items() if name.startswith(f"{shift}/"))
    content = archive.read_bytes()
    assert len(content) > 320
    archive.write_bytes(content[:keep])
    with pytest.raises(
        DataError, match=rf"shift '{shift}': .*{archive.name} (cannot be read|holds no image)"
    ):
        Hub(config).load(ctx)


def test_a_map_of_ones_own_replaces_the_published_one(mirror: Path, ctx: RunContext, tmp_path: Path) -> None:
    maps = tmp_path / "maps.json"
    rest = '"alarm_clock": null, "squeegee": null, "banana": null'
    maps.write_text(f'{{"objectnet": {{"chair": "folding chair", {rest}}}}}')
    real = Hub(ImagenetConfig(size=9, shifts=("objectnet", "imagenet-r"), class_maps=maps)).load(ctx)
    assert shown(real.shifts["objectnet"]) == [(32, CHAIR)]
    assert len(real.shifts["imagenet-r"]) == 3


def test_any_set_of_the_hub_is_matched_by_wordnet_id(mirror: Path, ctx: RunContext) -> None:
    ids = [imagenet_synsets()[BANANA], imagenet_synsets()[HEN]]
    features = {"label": datasets.ClassLabel(names=ids)}
    write_rows(mirror / "me" / "mine" / "data" / "test.parquet", [1, 2, 3], features, label=[0, 1, 1])
    real = Hub(ImagenetConfig(size=9, shifts=("me/mine",))).load(ctx)
    assert shown(real.shifts["me/mine"]) == [(1, BANANA), (2, HEN), (3, HEN)]
    with pytest.raises(DataError, match="shift 'me/mine' has classes that the dataset does not have"):
        Hub(HubConfig(name="ILSVRC/imagenet-1k", size=9, shifts=("me/mine",))).load(ctx)


def test_an_unknown_short_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        ValidationError, match=r"'imagenet-b' is neither ORG/NAME .* one of imagenet-r, imagenet-a"
    ):
        ImagenetConfig(shifts=("imagenet-b",))
    with pytest.raises(ValidationError, match="shifts"):
        HubConfig(name="me/bugs", shifts=("imagenet-r",))


# ------------------------------------------------------------------------------------------ rows


def write_noise(folder: Path, split: str, counts: Sequence[int], group: int) -> list[Path]:
    """Write files of images of noise, 32 x 32, with ten classes, in row groups of `group` rows."""
    rng, features = (
        np.random.default_rng(len(counts)),
        datasets.Features(
            {"other": datasets.Value("string"), "image": datasets.Image(), "label": datasets.ClassLabel(10)}
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, count in enumerate(counts):
        rows: dict[str, list[Any]] = {"other": ["x" * 100] * count, "image": [], "label": []}
        for _ in range(count):
            content = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "png")
            rows["image"].append({"bytes": content.getvalue(), "path": None})
            rows["label"].append(int(rng.integers(10)))
        files.append(folder / f"{split}-{number:05d}-of-{len(counts):05d}.parquet")
        datasets.Dataset.from_dict(rows, features=features).to_parquet(files[-1], batch_size=group)
    return files


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classes": 3},
        {"classes": 3, "images_per_class": 7},
        {"images_per_class": 2, "split_seed": 1},
        {"test_split": "none", "classes": 4, "images_per_class": 9},
    ],
)
def test_a_subset_is_the_one_that_copying_everything_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctx: RunContext, options: Mapping[str, Any]
) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    data = tmp_path / "mirror" / "me" / "noise" / "data"
    write_noise(data, "train", (70, 1, 101, 33), 16)
    write_noise(data, "validation", (40, 25), 11)
    config = ImagenetConfig.model_validate({"name": "me/noise", "size": 32, **options})
    new = Hub(config).load(ctx)
    monkeypatch.setattr(hub_module, "_rows", read_parquet)
    old = Hub(config).load(ctx)
    for mine, theirs in ((new.train, old.train), (new.test, old.test)):
        assert mine.class_names == theirs.class_names
        assert np.array_equal(mine.labels, theirs.labels)
        assert np.array_equal(mine.all(), theirs.all())


def test_the_scratch_folder_holds_the_subset_and_not_the_set(tmp_path: Path, ctx: RunContext) -> None:
    files = write_noise(tmp_path / "noise", "train", (300, 500, 200), 50)
    rows = ParquetRows(files, ctx.work / "arrow")
    chosen = np.flatnonzero(np.asarray(rows["label"]) == 3)[:20]
    assert not (ctx.work / "arrow").exists()
    table = rows.select_columns(["image"]).select(chosen)
    encoded = sum(
        len(row["bytes"]) for row in table.cast_column("image", datasets.Image(decode=False))["image"]
    )
    copied = sum(path.stat().st_size for path in (ctx.work / "arrow").rglob("*") if path.is_file())
    assert len(table) == 20
    assert encoded <= copied < encoded + 20_000
    assert copied < sum(file.stat().st_size for file in files) / 30


def test_a_large_subset_stays_encoded_and_is_written_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctx: RunContext
) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    write_noise(tmp_path / "mirror" / "me" / "noise" / "data", "train", (60, 60), 16)
    config = ImagenetConfig(name="me/noise", size=32, classes=5)
    held = Hub(config).load(ctx).train.batch([5, 0, 7])
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "0")
    mapped = Hub(config).load(ctx).train
    assert np.array_equal(mapped.batch([5, 0, 7]), held)
    assert sum(path.stat().st_size for path in ctx.work.rglob("*.arrow")) < 2 * 60 * 3300


def test_files_that_do_not_fit_together_are_named(tmp_path: Path, ctx: RunContext) -> None:
    first, second = write_noise(tmp_path / "noise", "train", (5, 5), 16)
    datasets.Dataset.from_dict({"label": [0]}).to_parquet(second)
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet lacks columns of .*: image, other"):
        ParquetRows([first, second], ctx.work)
    datasets.Dataset.from_dict({"label": ["x"], "image": [1.5], "other": ["x"]}).to_parquet(second)
    rows = ParquetRows([first, second], ctx.work)
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet has columns of other types than"):
        rows.select_columns(["image"]).select(np.arange(6))
    second.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet cannot be read as parquet"):
        ParquetRows([first, second], ctx.work)


_MEASURE = """
import sys
from pathlib import Path
import numpy as np, PIL.Image, datasets.table
from genbench.testing import MemoryContext
from genbench_datasets._archives import class_folders
from genbench.parquet import ParquetRows
file, ctx = Path(sys.argv[1]), MemoryContext(Path(sys.argv[2]))
def peak():  # getrusage would give what the process that started this one held
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
if file.suffix == ".parquet":
    rows = ParquetRows([file, file], ctx.work).select_columns(["image"]).select(np.arange(512))
else:
    rows = class_folders("it", {file.name: file}, ["n01440764"], ctx)
print(len(rows), (peak() - before) / 1024)
"""


@pytest.mark.slow(reason="writes and reads large photographs")
@pytest.mark.parametrize("name", ["photos.tar.gz", "photos.parquet"])
def test_a_set_is_read_in_bounded_memory(tmp_path: Path, name: str) -> None:
    """256 images of 1 MiB each, or the same twice, in less than half of that."""
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (590, 590, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "png", compress_level=0)
    if name == "photos.parquet":
        rows = {"image": [{"bytes": content.getvalue(), "path": None}] * 256}
        features = datasets.Features({"image": datasets.Image()})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / name, batch_size=16)
    else:
        with tarfile.open(tmp_path / name, "w:gz", compresslevel=0) as archive:
            for number in range(256):
                info = tarfile.TarInfo(f"val/0/{number}.png")
                info.size = len(content.getvalue())
                archive.addfile(info, io.BytesIO(content.getvalue()))
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / name), str(tmp_path / "work")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    images, mebibytes = (float(word) for word in done.stdout.split())
    assert images in {256, 512}
    assert 1 < mebibytes < images / 2
