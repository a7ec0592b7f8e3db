"""Images of anybody's: layouts, tables of labels, how images become square, and what cannot be used."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from genbench.caches import Fingerprints
from genbench.cli._options import read_suite
from genbench.digest import file_digest
from genbench.errors import DataError, ExitCode
from genbench.framing import Framing, read_square, to_square
from genbench.image_files import image_problem
from genbench.images import ArrowImages, RealImages, limited_rows, open_images
from genbench.notation import parse_reference
from genbench.registry import Registry, import_target
from genbench.spec import Resolved, resolve, resolve_suite
from genbench.steps.context import StepContext
from genbench.steps.dataset import open_splits, write_splits
from genbench.store import Artifact, Store
from genbench.suite import make_suite
from genbench_datasets.configs.imagefolder import ImageFolderConfig
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_terminal

Load = Callable[..., RealImages]


def pixels_of(number: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def write_classes(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10) -> Path:
    """Write images of mixed sizes, the second class brighter than the first."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 128, (12, 12 + number, 3), dtype=np.uint8) + np.uint8(
                min(label, 1) * 100
            )
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of ten images."""
    return write_classes(tmp_path / "pets")


@pytest.fixture
def load(registry: Registry, make_context: Callable[..., StepContext]) -> Load:
    def load_it(root: Path, options: str = "") -> RealImages:
        text = f"imagefolder:{root},size=8{',' if options else ''}{options}"
        resolved = resolve(registry, "dataset", parse_reference(text), "quick", file_digest)
        images: RealImages = import_target(resolved.spec.target, resolved.name)(resolved.config).load(
            make_context()
        )
        return images

    return load_it


def planned(registry: Registry, store: Store, root: Path, options: str = "") -> Resolved:
    """Settle a dataset as `genbench plan` does."""
    suite = make_suite({"datasets": [f"imagefolder:{root},size=8{options}"], "classifiers": ["cnn"]}, "test")
    return resolve_suite(registry, suite, store.fingerprint, store.image_problem).datasets[0]


def sizes(real: RealImages) -> list[int]:
    return [len(real.train), len(real.val or ()), len(real.test)]


# ------------------------------------------------------------------------------------------- layouts


def test_a_folder_of_class_folders_is_split_and_squared(load: Load, pets: Path) -> None:
    real = load(pets)
    assert real.train.class_names == ("cat", "dog")
    assert sizes(real) == [16, 0, 4]
    assert real.train.image_shape == (3, 8, 8)
    brightness = real.train.all().float().mean(dim=(1, 2, 3))
    assert brightness[real.train.labels == 0].max() < brightness[real.train.labels == 1].min()


def test_the_owners_splits_and_shifts_are_kept_and_said(
    registry: Registry, store: Store, load: Load, tmp_path: Path, make_context: Callable[..., StepContext]
) -> None:
    root = tmp_path / "pets"
    for split, count in {"train": 10, "Validation": 2, "test": 3}.items():
        write_classes(root / split, count=count)
    write_classes(root / "shifts" / "sketch", classes=("dog",), count=2)
    pixels_of(1).save(root / "train" / "stray.png")
    real = load(root)
    assert sizes(real) == [20, 4, 6]
    assert real.shifts["sketch"].labels.tolist() == [1, 1]
    found = planned(registry, store, root, ",limit_train=8,val_fraction=0.5,reserve=4,limit_test=4")
    said = " ".join(found.remarks)
    assert "folders of splits: train/, Validation/, test/; 2 classes; images: train 20, val 4, test 6" in said
    assert "val_fraction is not used, and limit_train does not limit it" in said
    assert "not used, in no class folder: train/stray.png" in said
    folder = tmp_path / "artifact"
    folder.mkdir()
    dataset = import_target(found.spec.target, "imagefolder")(found.config)
    write_splits(dataset, found.config, make_context(), folder)  # type: ignore[arg-type]
    splits = open_splits(Artifact(folder, {}, {}, {}))
    assert (len(splits.train), len(splits.named("reserve"))) == (8, 4)
    assert {name: len(images) for name, images in splits.evaluated.items()} == {
        "val": 4, "test": 4, "sketch": 2,
    }  # fmt: skip
    assert real.val is not None
    assert torch.equal(splits.named("val").all(), real.val.all())
    assert splits.named("test").class_counts().tolist() == [2, 2]


def test_a_class_called_train_is_a_class_where_it_holds_images(load: Load, tmp_path: Path) -> None:
    vehicles = write_classes(tmp_path / "vehicles", ("car", "train", "test"))
    assert load(vehicles).train.class_names == ("car", "test", "train")
    (vehicles / "train" / "steam").mkdir()
    pixels_of(0).save(vehicles / "train" / "steam" / "1.png")
    with pytest.raises(DataError, match=r"train/ with folders inside, and beside it: car") as raised:
        load(vehicles)
    assert raised.value.hint.endswith("layout=flat takes every folder for a class")
    assert load(vehicles, "layout=flat").train.class_names == ("car", "test", "train")
    with pytest.raises(DataError, match="no train/ with class folders inside"):
        load(write_classes(tmp_path / "pets"), "layout=splits")
    write_classes(tmp_path / "pets" / "test")
    with pytest.raises(DataError, match="has test/ with folders inside, and no such train/"):
        load(tmp_path / "pets")


def test_splits_must_have_the_same_classes_and_all_differences_are_listed(load: Load, tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "train", ("ant", "cat", "dog"))
    write_classes(tmp_path / "pets" / "test", ("cat", "zebra"))
    write_classes(tmp_path / "pets" / "val", ("ant", "cat", "dog", "emu"))
    write_classes(tmp_path / "pets" / "shifts" / "sketch", ("yak",))
    (tmp_path / "pets" / "train" / "fish").mkdir()
    with pytest.raises(DataError) as raised:
        load(tmp_path / "pets")
    for problem in (
        "test/ lacks classes of train: ant, dog, fish",
        "test/ has classes that train lacks: zebra",
        "val/ lacks classes of train: fish",
        "val/ has classes that train lacks: emu",
        "shifts/sketch/ has classes that train lacks: yak",
        "pets/train/fish holds no image",
    ):
        assert problem in raised.value.message


def test_a_folder_with_one_class_says_what_to_do(load: Load, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least two class folders, found 1: dog; put the images"):
        load(write_classes(tmp_path / "pets", ("dog",)))


def test_odd_names_places_and_images_are_taken(load: Load, tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pets", ("Hünde", "ねこ", "one"), count=1)
    for name, kind in {"a.PNG": "png", "b.JPeG": "jpeg", "deep/er/c.webp": "webp", "1.jfif": "jpeg"}.items():
        for folder in (root / "ねこ", root / "Hünde"):  # the same stems in two classes
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels_of(3, (1, 1)).save(folder / name, kind)
    (root / "Hünde" / "ünïcode 猫.gif").write_bytes((root / "ねこ" / "0.png").read_bytes())
    (root / "ねこ" / "link.png").symlink_to("../Hünde/a.PNG")
    for hidden in (".DS_Store", ".ipynb_checkpoints/copy.png"):
        (root / "ねこ" / hidden).parent.mkdir(exist_ok=True)
        (root / "ねこ" / hidden).write_bytes(b"hidden")
    real = load(root)
    said = " ".join(ImageFolderConfig(path=root).remarks(image_problem))
    assert "a split may have none of their images: one 1" in said
    together = real.train.class_counts() + real.test.class_counts()
    assert dict(zip(real.train.class_names, together.tolist(), strict=True)) == {
        "Hünde": 6,
        "one": 1,
        "ねこ": 6,
    }
    assert real.train.class_counts()[real.train.class_names.index("one")] == 1


def test_classes_that_differ_in_case_alone_are_pointed_out(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", ("Cat", "cat", "dog"), count=6)
    said = " ".join(ImageFolderConfig(path=tmp_path / "pets").remarks(image_problem))
    assert "differ in upper and lower case only, and count as several: Cat, cat" in said


def test_a_folder_around_the_class_folders_is_named(load: Load, tmp_path: Path) -> None:
    write_classes(tmp_path / "wrap" / "my images", count=1)
    with pytest.raises(
        DataError, match=r"one level down \(cat, dog\): --dataset 'imagefolder:\S+wrap/my images'"
    ):
        load(tmp_path / "wrap")


def test_names_agree_however_they_spell_an_accent(load: Load, tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "train", ("caf\u00e9", "tea"))
    write_classes(tmp_path / "pets" / "val", ("cafe\u0301", "tea"), count=2)
    assert sizes(load(tmp_path / "pets")) == [16, 4, 4]
    said = " ".join(ImageFolderConfig(path=tmp_path / "pets").remarks(image_problem))
    assert "if val is what you test on, call it test" in said


# ------------------------------------------------------------------------------------------- tables of labels


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Six images and a table with splits, some rows without the extension or with a folder."""
    root = tmp_path / "labelled"
    (root / "more").mkdir(parents=True)
    for number in range(8):
        pixels_of(number).save(root / ("more" if number > 5 else "") / f"{number}.png")
    rows = ["0.png,cat,train", "1,dog,TRAIN", "./2.png,cat,train", "3.png,dog,train"]
    rows += ["4.png,cat,test", "5.png,dog,test", "more/6.png,cat,valid", "more/7.png,dog,valid"]
    (root / "labels.csv").write_text("\n".join(["filename,label,split", *rows]) + "\n", encoding="utf-8-sig")
    return root


def test_a_table_says_classes_and_splits(
    load: Load, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load(labelled, "labels=labels.csv")
    assert sizes(real) == [4, 2, 2]
    assert real.train.class_names == ("cat", "dog")
    assert real.train.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(real.train.all()[2].numpy(), to_square(pixels_of(1), 8))
    lines = (labelled / "labels.csv").read_text(encoding="utf-8-sig").splitlines()
    other = [
        line.replace(",", ";").replace("filename;label;split", "x;y;part")
        for line in (lines[0], *lines[:0:-1])
    ]
    (tmp_path / "elsewhere.csv").write_text("\r\n".join(other))
    named = "file_column=x,label_column=y,split_column=part"
    same = load(labelled, f"labels={tmp_path}/elsewhere.csv,{named}")
    assert torch.equal(same.train.all(), real.train.all())  # the order of rows changes nothing
    with pytest.raises(
        DataError, match=r"no column called filename, file_name, file or the like. Found: x, y, part"
    ):
        load(labelled, f"labels={tmp_path}/elsewhere.csv")
    with pytest.raises(DataError, match=r"has no column 'z'. Known: part, x, y"):
        load(labelled, f"labels={tmp_path}/elsewhere.csv,file_column=z")
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "labels.csv").write_text("filename,label\n")
    monkeypatch.chdir(decoy)  # where another table of that name lies
    reference = parse_reference(f"imagefolder:{labelled},labels=labels.csv")
    planned_as = resolve(Registry(), "dataset", reference, "quick", file_digest)
    assert planned_as.location["labels"] == str(labelled / "labels.csv")
    assert planned_as.config.source_files()["(labels)"] == labelled / "labels.csv"
    with pytest.raises(DataError, match=r"no file labels='absent.csv', neither in"):
        load(labelled, "labels=absent.csv")


def test_everything_that_is_wrong_with_a_table_is_listed_at_once(load: Load, labelled: Path) -> None:
    rows = ["0.png,cat,train", "1.png,dog,train", "1.png,dog,train", "9.png,cat,train", "2.png,,train"]
    rows += ["3.png,dog,dev", "../secret.png,dog,train", "4.png,cow,test"]
    (labelled / "labels.csv").write_text("\n".join(["filename,label,split", *rows]))
    (labelled / "0.png").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        load(labelled, "labels=labels.csv")
    for problem in (
        "line 5: '9.png' is no file of",
        "line 6: '2.png' has no label",
        "line 7: '3.png' has the split 'dev'; allowed: train",
        "line 8: '../secret.png' is no file of",
        "1.png is in several lines: 3, 4",
        "5.png has no line",
        "more/6.png has no line",
        "the split test lacks classes of train: cat, dog",
        "the split test has classes that train lacks: cow",
        "0.png cannot be decoded as an image: it is empty",
    ):
        assert problem in raised.value.message


def test_the_tables_content_and_nothing_of_its_place_enters_the_key(
    registry: Registry, labelled: Path, store: Store
) -> None:
    first = planned(registry, store, labelled, ",labels=labels.csv").identity
    moved = labelled.rename(labelled.with_name("moved"))
    assert planned(registry, store, moved, f",labels={moved}/labels.csv").identity == first
    table = moved / "labels.csv"
    table.write_text(table.read_text().replace("0.png,cat", "0.png,dog"))
    assert planned(registry, store, moved, ",labels=labels.csv").identity != first


# ------------------------------------------------------------------------------------------- becoming square

SHAPES = [(24, 12), (9, 30), (8, 8), (1, 1), (500, 1), (13, 13)]


@pytest.mark.parametrize("size", SHAPES)
def test_each_fit_is_pillows_pixel_for_pixel(size: tuple[int, int]) -> None:
    image, lanczos = pixels_of(1, size), Image.Resampling.LANCZOS
    longest = max(size)
    width, height = (max(1, round(side * 8 / longest)) for side in size)
    padded = Image.new("RGB", (8, 8), (255, 0, 128))
    padded.paste(image.resize((width, height), lanczos), (round((8 - width) / 2), round((8 - height) / 2)))
    expected = {
        "crop": ImageOps.fit(image, (8, 8), method=lanczos),
        "pad": padded,
        "squash": image.resize((8, 8), lanczos),
    }
    if min(size) * 8 >= longest:  # beyond that, Pillow rounds the shorter side to nothing, and fails
        assert padded.tobytes() == ImageOps.pad(image, (8, 8), lanczos, "#ff0080").tobytes()
    for fit, wanted in expected.items():
        found = to_square(image, 8, Framing(fit, "#ff0080"))  # type: ignore[arg-type]
        assert np.array_equal(found, np.asarray(wanted).transpose(2, 0, 1)), fit
    if size[0] != size[1]:
        assert len({picture.tobytes() for picture in expected.values()}) == 3


def test_transparent_pixels_are_blended_with_the_background() -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 0, 0))
    image.putpixel((0, 0), (200, 100, 0, 255))
    image.putpixel((1, 0), (200, 100, 0, 128))
    for background, (red, _, blue) in {
        "white": (255, 255, 255),
        "grey": (128, 128, 128),
        "#0a141e": (10, 20, 30),
    }.items():
        found = to_square(image, 8, Framing(background=background))
        assert found[:, 0, 0].tolist() == [200, 100, 0]
        assert found[0, 0, 1] == pytest.approx(200 * 128 / 255 + red * 127 / 255, abs=1)
        assert (found[0, 1:], found[2, 7, 7]) == (pytest.approx(red), blue)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 0, 0, 255])
    palette.info["transparency"] = 1
    assert to_square(palette, 8, Framing(background="black")).max() == 0


def test_every_kind_of_pixel_becomes_what_the_page_says() -> None:
    def square(image: Image.Image, kind: str, **options: Any) -> list[int]:
        content = io.BytesIO()
        image.save(content, kind, **options)
        found: list[int] = read_square(content.getvalue(), 8, "it", as_photograph=True)[:, 0, 0].tolist()
        return found

    assert square(Image.new("L", (8, 8), 77), "png") == [77, 77, 77]
    assert square(Image.new("1", (8, 8), 1), "png") == [255, 255, 255]
    sixteen = np.full((8, 8), 30_000, dtype=np.uint16)
    sixteen[0, 0] = 15_000
    assert square(Image.fromarray(sixteen), "png") == [127, 127, 127]  # the brightest level is white
    assert square(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "tiff") == [255, 0, 0]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 1, 2, 255])
    assert square(palette, "png") == [1, 2, 255]
    turned = Image.Exif()
    turned[0x0112] = 3
    image = Image.new("RGB", (8, 8), "black")
    image.paste("white", (4, 4, 8, 8))
    assert min(square(image, "jpeg", exif=turned, quality=100)) > 240


def test_options_reach_the_pixels_also_of_sets_that_stay_encoded(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_classes(tmp_path / "pets")
    ways = ["", "fit=pad", "fit=pad,background=black", "fit=squash"]
    small = [load(root, way).train.all() for way in ways]
    assert len({pixels.numpy().tobytes() for pixels in small}) == 4
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", "0")
    for place, (way, pixels) in enumerate(zip(ways, small, strict=True)):
        large = load(root, way).train
        assert torch.equal(large.all(), pixels)
        folder = tmp_path / f"written{place}"
        folder.mkdir()
        large.write(folder)
        opened = open_images(folder)
        assert isinstance(opened, ArrowImages)
        assert torch.equal(opened.all(), pixels)
    assert '"fit"' not in (tmp_path / "written0" / "arrow.json").read_text()  # as before there was the option


@pytest.mark.parametrize("text", ["fit=stretch", "background=red", "background=#12345"])
def test_unknown_fits_and_colours_are_refused(load: Load, pets: Path, text: str) -> None:
    with pytest.raises(Exception, match=r"option '(fit|background)' is '(stretch|red|#12345)'"):
        load(pets, text)


# ------------------------------------------------------------------------------------------- broken files


def png_with_little_in_it(side: int) -> bytes:
    """A PNG whose header says its size, with right checksums and next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )


def spoil(root: Path) -> dict[str, str]:
    """Add files that cannot be used: what a message says of each, by name."""
    for kind in ("jpeg", "png", "webp", "gif"):
        content = io.BytesIO()
        pixels_of(0, (64, 64)).save(content, kind)
        (root / "cat" / f"cut.{kind}").write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    (root / "cat" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (root / "dog" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.png").write_text("hello")
    (root / "dog" / "bomb.png").write_bytes(png_with_little_in_it(50_000))
    reasons = {f"cat/cut.{kind}": "cannot be decoded" for kind in ("jpeg", "png", "webp", "gif")}
    return {
        **reasons,
        "cat/Thumbs.db": "is not an image, by its name",
        "dog/empty.png": "cannot be decoded as an image: it is empty",
        "dog/text.png": "it begins with b'hello'",
        "dog/bomb.png": "it is too large",
    }


def test_all_broken_files_are_named_before_anything_is_planned(
    registry: Registry, store: Store, pets: Path
) -> None:
    reasons = spoil(pets)
    with pytest.raises(DataError, match=r"^8 files of .*pets cannot be used:") as raised:
        planned(registry, store, pets)
    assert raised.value.exit_code == ExitCode.DATA
    assert "imagefolder:PATH,skip_broken=true" in raised.value.hint
    lines = raised.value.message.splitlines()[1:]
    assert len(lines) == len(reasons)
    for name, reason in reasons.items():
        assert any(f"pets/{name} " in line and reason in line for line in lines), name


def test_broken_files_are_left_out_and_counted_where_that_is_asked_for(
    registry: Registry, store: Store, load: Load, pets: Path, make_context: Callable[..., StepContext]
) -> None:
    whole = load(pets)
    reasons = spoil(pets)
    found = planned(registry, store, pets, ",skip_broken=true")
    assert "left out by skip_broken: 8 files: cat/Thumbs.db" in found.remarks[-1]
    real = load(pets, "skip_broken=true")
    assert torch.equal(real.train.all(), whole.train.all())
    assert len(real.left_out) == len(reasons)
    folder = pets.with_name("artifact")
    folder.mkdir()
    dataset = import_target(found.spec.target, "imagefolder")(found.config)
    write_splits(dataset, found.config, make_context(), folder)  # type: ignore[arg-type]
    from genbench.artifacts import dataset_images

    assert dataset_images(Artifact(folder, {}, {}, {})).left_out == 8
    for path in (pets / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no usable training image: dog"):
        load(pets, "skip_broken=true")


def test_what_only_decoding_finds_is_named_in_full_too(load: Load, pets: Path) -> None:
    names = ("cat/3.png", "dog/4.png", "dog/5.png")
    for name in names:
        (pets / name).write_bytes(png_with_little_in_it(64))
    assert image_problem(pets / "cat" / "3.png") == ""
    with pytest.raises(DataError, match=r"^3 images of .*pets cannot be used:") as raised:
        load(pets)
    assert all(name in raised.value.message for name in names)
    real = load(pets, "skip_broken=true")
    assert (sum(sizes(real)), len(real.left_out)) == (17, 3)


def test_a_run_without_usable_data_ends_with_one_message(run_cells: Callable[..., Any], pets: Path) -> None:
    (pets / "cat" / "3.png").write_bytes(png_with_little_in_it(64))
    with pytest.raises(DataError, match=r"cat/3\.png cannot be decoded as an image: .*truncated") as raised:
        run_cells(datasets=[f"imagefolder:{pets},size=8"])
    assert "skip_broken=true" in raised.value.hint
    _, summary = run_cells(datasets=["toy-data", f"imagefolder:{pets},size=8"])  # the other set is measured
    assert sorted(record.result.status for record in summary.records) == ["failed", "ok"]


def test_what_was_left_out_and_limited_stands_on_the_board(run_cells: Callable[..., Any], pets: Path) -> None:
    (pets / "cat" / "3.png").write_bytes(b"")
    dataset = f"imagefolder:{pets},size=8,skip_broken=true,limit_test=2"
    plan, summary = run_cells(datasets=[dataset], classifiers=["toy-net:recipe.batch_size_images=8"])
    assert "left out by skip_broken: 1 file: cat/3.png" in " ".join(plan.remarks())
    assert summary.failed == {}
    assert summary.records[0].result.data.left_out == 1
    said = render_terminal(build_board(summary.records))
    assert "12 train, 3 val, 2 test; 1 file left out as unusable" in " ".join(said.split())


def test_files_that_may_not_be_read_are_all_named(registry: Registry, pets: Path) -> None:
    def digest_of(path: Path) -> str:
        if path.name in {"3.png", "5.png"}:
            raise PermissionError(13, "Permission denied", str(path))
        return file_digest(path)

    suite = make_suite({"datasets": [f"imagefolder:{pets}"], "classifiers": ["cnn"]}, "test")
    with pytest.raises(DataError, match=r"^4 files cannot be read:") as raised:
        resolve_suite(registry, suite, digest_of)
    assert raised.value.message.count("cannot be read: Permission denied") == 4
    assert "pets/dog/5.png" in raised.value.message


def test_a_folder_is_looked_at_once_until_a_file_changes(
    registry: Registry, pets: Path, tmp_path: Path
) -> None:
    looked = list[str]()

    def look(path: Path) -> str:
        looked.append(path.name)
        return image_problem(path)

    config = ImageFolderConfig(path=pets)
    first = Fingerprints(tmp_path / "store")
    config.check_files(lambda path: first.problem(path, look))
    assert len(looked) == 20
    first.keep()
    second = Fingerprints(tmp_path / "store")
    config.check_files(lambda path: second.problem(path, look))
    assert len(looked) == 20
    (pets / "dog" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/3\.png cannot be decoded as an image: it is empty"):
        config.check_files(lambda path: second.problem(path, look))
    assert looked[20:] == ["3.png"]


@pytest.mark.parametrize("padding", [b"", b"\x00" * 40])
def test_a_whole_jpeg_with_padding_or_trailing_words_is_fine(padding: bytes, tmp_path: Path) -> None:
    content = io.BytesIO()
    pixels_of(0, (64, 64)).save(content, "jpeg")
    for trailer in (padding, padding + b"a camera's notes"):  # the second is decoded, and is whole
        (tmp_path / "a.jpg").write_bytes(content.getvalue() + trailer)
        assert image_problem(tmp_path / "a.jpg") == ""


# ------------------------------------------------------------------------------------------- limits


def test_limited_rows_depend_on_labels_and_seed_alone() -> None:
    labels = np.repeat(np.arange(4), 25)
    rows = limited_rows(labels, 4, 20, 0)
    assert np.bincount(labels[rows]).tolist() == [5, 5, 5, 5]
    assert rows.tolist() == limited_rows(labels.copy(), 4, 20, 0).tolist()
    assert rows.tolist() != limited_rows(labels, 4, 20, 1).tolist()
    for most in (None, 100, 200):
        assert limited_rows(labels, 4, most, 0).tolist() == list(range(100))


def test_the_command_line_limits_every_dataset() -> None:
    flags = {"datasets": ("digits", "cifar10:size=16"), "classifiers": ("cnn",), "limit_test": 50}
    suite = read_suite(None, {**flags, "limit_train": None})
    assert [one.options for one in suite.datasets] == [{"limit_test": 50}, {"size": 16, "limit_test": 50}]
    both = read_suite(None, {**flags, "limit_train": 70}).datasets[0].options
    assert both == {"limit_train": 70, "limit_test": 50}


def test_links_in_a_folder_follow_the_rules(load: Load, pets: Path, tmp_path: Path) -> None:
    pixels_of(0).save(tmp_path / "outside.png")
    (pets / "cat" / "out.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(DataError, match=r"out\.png is a link that leads out of"):
        load(pets)
    assert sum(sizes(load(pets, "follow_links=true"))) == 21
    assert os.path.islink(pets / "cat" / "out.png")
