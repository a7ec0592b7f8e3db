"""`folder`: every published layout, from a small file of that very form; and what cannot be read."""

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

from genbench.digest import file_digest
from genbench.errors import DataError, Interrupted, UsageError
from genbench.framing import Framing
from genbench.image_files import image_problem
from genbench.images import LabelledImages, TensorImages, read_square
from genbench.notation import parse_reference
from genbench.protocols import SampleRequest
from genbench.registry import Registry
from genbench.spec import Resolved, resolve
from genbench.testing import MemoryContext
from genbench.testing.suites import GeneratorConformance
from genbench_generators.configs.folder import FolderConfig
from genbench_generators.folder import Folder

Pixels = npt.NDArray[np.uint8]
CLASSES = ("cat", "dog")
SYNSETS = ("n02123045", "n02099601")
LABELS = np.array([0, 0, 0, 1, 1, 1])  # sorted by class, as published sets are


def pixels_of(count: int = 6, size: int = 8) -> Pixels:
    """Return images that can be told apart: `uint8 [n, size, size, 3]`."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def png(image: Pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    return content.getvalue()


def settle(registry: Registry, text: str) -> Resolved:
    return resolve(registry, "generator", parse_reference(text), "smoke", file_digest)


def stock_of(
    path: Path | str,
    work: Path,
    classes: Sequence[str] = CLASSES,
    size: int = 8,
    stop_after: int | None = None,
    **options: Any,
) -> LabelledImages:
    """Read a set of images for a dataset of these classes, save it, and load it again."""
    train = TensorImages(
        torch.zeros(len(classes), 3, size, size, dtype=torch.uint8), np.arange(len(classes)), classes
    )
    options = {name.removesuffix("_"): value for name, value in options.items()}  # `classes` is both
    config, ctx = FolderConfig(path=str(path), **options), MemoryContext(work / "w", stop_after=stop_after)
    fitted = Folder(config)
    fitted.fit(train, ctx)
    (work / "saved").mkdir(exist_ok=True, parents=True)
    fitted.save(work / "saved")
    loaded = Folder(config)
    loaded.load(work / "saved")
    assert torch.equal(loaded.stock().all(), fitted.stock().all())
    assert loaded.stock().class_names == tuple(classes)
    return loaded.stock()


def as_sets(images: Sequence[Pixels], labels: Sequence[int]) -> set[tuple[int, bytes]]:
    return {(int(label), image.tobytes()) for image, label in zip(images, labels, strict=True)}


def assert_read(stock: LabelledImages, pixels: Pixels, labels: Sequence[int]) -> None:
    """Every image is there, once, under its class."""
    found = [image.numpy().transpose(1, 2, 0) for image in stock.all()]
    assert len(found) == len(pixels)
    assert as_sets(found, stock.labels.tolist()) == as_sets(list(pixels), labels)


# ------------------------------------------------------------------------ layouts, as they are published


def write_tree(folder: Path, classes: Sequence[str], pixels: Pixels, labels: Sequence[int] = LABELS) -> Path:  # type: ignore[assignment]
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return folder


def edm(folder: Path, pixels: Pixels) -> Path:
    """DM-Improves-AT, Gowal, Rebuffi: `np.savez` of `image` and `label`."""
    np.savez(folder / "1m.npz", image=pixels, label=LABELS)
    return folder / "1m.npz"


def edm_parts(folder: Path, pixels: Pixels) -> Path:
    np.savez(folder / "20m_part1.npz", image=pixels[:4], label=LABELS[:4])
    np.savez(folder / "20m_part2.npz", image=pixels[4:], label=LABELS[4:])
    return folder / "20m_part{1,2}.npz"


def edm_parts_by_star(folder: Path, pixels: Pixels) -> Path:
    return edm_parts(folder, pixels).with_name("*.npz")


def compressed(folder: Path, pixels: Pixels) -> Path:
    np.savez_compressed(folder / "ddpm.npz", image=pixels, label=LABELS.astype(np.uint8))
    return folder / "ddpm.npz"


def guided_diffusion(folder: Path, pixels: Pixels) -> Path:
    np.savez(folder / "samples_6x8x8x3.npz", pixels, LABELS)
    return folder / "samples_6x8x8x3.npz"


def channels_first(folder: Path, pixels: Pixels) -> Path:
    np.savez(
        folder / "a.npz", image=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), label=LABELS[:, None]
    )
    return folder  # the only file of its folder


def fortran(folder: Path, pixels: Pixels) -> Path:
    np.savez(folder / "a.npz", image=np.asfortranarray(pixels), label=LABELS)
    return folder / "a.npz"


def sehwag(folder: Path, pixels: Pixels) -> Path:
    pixels.tofile(folder / "cifar_ddpm_improvedddpm_sorted_images.bin")
    np.save(folder / "cifar_ddpm_improvedddpm_sorted_labels.npy", LABELS)
    return folder


def stylegan_list() -> str:
    return json.dumps(
        {"labels": [[f"00000/img{i:08d}.png", label] for i, label in enumerate(LABELS.tolist())]}
    )


def stylegan(folder: Path, pixels: Pixels) -> Path:
    (folder / "00000").mkdir()
    for number, image in enumerate(pixels):
        (folder / "00000" / f"img{number:08d}.png").write_bytes(png(image))
    (folder / "dataset.json").write_text(stylegan_list())
    return folder


def stylegan_zip(folder: Path, pixels: Pixels) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as packed:
        for number, image in enumerate(pixels):
            packed.writestr(f"00000/img{number:08d}.png", png(image))
        packed.writestr("dataset.json", stylegan_list())
    return folder / "set.zip"


def class_zip(folder: Path, pixels: Pixels) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w") as packed:
        for number, image in enumerate(pixels):
            packed.writestr(f"set/{CLASSES[LABELS[number]]}/{number}.png", png(image))
    return folder / "set.zip"


def tree(folder: Path, pixels: Pixels) -> Path:
    return write_tree(folder, ("Cat", "DOG"), pixels)


def tree_with_splits(folder: Path, pixels: Pixels) -> Path:
    write_tree(folder / "val", CLASSES, 255 - pixels)
    (folder / "README.md").write_text("a card")
    return write_tree(folder / "train", CLASSES, pixels).parent


def numbered_tree(folder: Path, pixels: Pixels) -> Path:
    return write_tree(folder, ("00", "01"), pixels)


def parquet_table(pixels: Pixels, **columns: Any) -> Any:
    cells = [{"bytes": png(image), "path": None} for image in pixels]
    return datasets.Dataset.from_dict(
        {"image": cells, "label": LABELS.tolist(), **columns},
        features=datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"][::-1])}
        ),
    )


def parquet(folder: Path, pixels: Pixels) -> Path:
    parquet_table(pixels).to_parquet(folder / "train.parquet")
    return folder / "train.parquet"


def parquet_folder(folder: Path, pixels: Pixels) -> Path:
    (folder / "data").mkdir()
    table = parquet_table(pixels)
    table.select(range(4)).to_parquet(folder / "data" / "train-00000-of-00002.parquet")
    table.select(range(4, 6)).to_parquet(folder / "data" / "train-00001-of-00002.parquet")
    parquet_table(255 - pixels).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


def plain_parquet(folder: Path, pixels: Pixels) -> Path:
    """A table that `datasets` did not write: words for classes, no types of its own."""
    cells = [{"bytes": png(image), "path": "x.png"} for image in pixels]
    words = [CLASSES[label] for label in LABELS]
    pq.write_table(pa.table({"img": cells, "class": words}), folder / "set.parquet")
    return folder / "set.parquet"


LAYOUTS = [
    edm, edm_parts, edm_parts_by_star, compressed, guided_diffusion, channels_first, fortran, sehwag,
    stylegan, stylegan_zip, class_zip, tree, tree_with_splits, numbered_tree, parquet,
    parquet_folder, plain_parquet,
]  # fmt: skip


@pytest.mark.parametrize("limit_mib", ["", "0"], ids=["packed", "in place"])
@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
def test_every_published_layout_is_read(
    write: Callable[[Path, Pixels], Path], limit_mib: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", limit_mib)
    (tmp_path / "set").mkdir()
    pixels = pixels_of()
    stock = stock_of(write(tmp_path / "set", pixels), tmp_path)
    assert_read(stock, pixels, LABELS.tolist())
    assert (tmp_path / "saved" / "images").is_dir() is (
        limit_mib == "" or write in {compressed, parquet, parquet_folder, plain_parquet}
    )
    assert FolderConfig(path=str(tmp_path / "set")).draw == "seeded"


def test_distilled_imagenet_is_matched_by_wordnet_id(tmp_path: Path) -> None:
    pixels = pixels_of()
    write_tree(tmp_path / "set", SYNSETS, pixels)
    names = ("tabby, tabby cat", "golden retriever")
    assert_read(stock_of(tmp_path / "set", tmp_path, names), pixels, LABELS.tolist())


def test_a_set_on_the_hub_is_read_from_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "hub"))
    place, pixels = tmp_path / "hub" / "someone" / "synthetic", pixels_of()
    place.mkdir(parents=True)
    parquet_folder(place, pixels)
    edm(place, 255 - pixels)
    assert_read(stock_of("hub:someone/synthetic", tmp_path / "1"), pixels, LABELS.tolist())
    assert_read(stock_of("hub:someone/synthetic/1m.npz", tmp_path / "2"), 255 - pixels, LABELS.tolist())


def test_image_files_on_the_hub_keep_their_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "hub"))
    place, pixels = tmp_path / "hub" / "someone" / "files", pixels_of()
    for split in ("train", "test"):
        write_tree(place / split, CLASSES, pixels)
    found = stock_of("hub:someone/files/*/*/*.png", tmp_path / "1")
    assert np.bincount(found.labels).tolist() == (2 * np.bincount(LABELS)).tolist()
    config = FolderConfig(path="hub:someone/files/*/*/*.png")
    assert {name.partition("/")[0] for name in config.source_files()} == {"train", "test"}
    (place / "stray.png").write_bytes(png(pixels[0]))
    with pytest.raises(DataError, match="they lie in no class folder"):
        stock_of("hub:someone/files/*.png", tmp_path / "2")


@pytest.mark.parametrize("name", ["union", "chain"])
def test_a_part_of_another_generator_does_not_hand_out_all_its_images(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    write_tree(tmp_path / "set", CLASSES, pixels_of())
    inner = f"{name}:first=folder,first.path={tmp_path}/set"
    assert settle(registry, inner).references["first"][1].name == "folder"
    with pytest.raises(UsageError, match=f"generator '{name}', option 'first': folder:.*uses all its images"):
        settle(registry, f"{inner},first.draw=whole")


def test_one_colour_has_one_key() -> None:
    for told, name in (
        ("WHITE", "white"),
        ("#FFFFFF", "white"),
        ("#000000", "black"),
        ("#ABCDEF", "#abcdef"),
    ):
        assert FolderConfig(path="x", background=told).background == name
        assert (FolderConfig(path="x", background=told) == FolderConfig(path="x")) is (name == "white")


def test_numbers_that_could_be_places_or_names_need_a_map(tmp_path: Path) -> None:
    pixels, names = pixels_of(), ("1", "10")
    place = edm(tmp_path, pixels)
    with pytest.raises(
        DataError, match=r"label 0 could be the place of a class or its name: .* 1, 10"
    ) as raised:
        stock_of(place, tmp_path / "1", names)
    assert "classes.1=NUMBER" in raised.value.hint
    mapped = stock_of(place, tmp_path / "2", names, classes_={"1": "1", "10": "0"})
    assert np.bincount(mapped.labels).tolist() == np.bincount(1 - LABELS).tolist()
    write_tree(tmp_path / "set", ("01", "00"), pixels)
    with pytest.raises(DataError, match="its classes are not those of the dataset"):
        stock_of(tmp_path / "set", tmp_path / "3", names)
    write_tree(tmp_path / "named", names, pixels)
    assert_read(stock_of(tmp_path / "named", tmp_path / "4", names), pixels, LABELS.tolist())


def test_other_names_of_arrays_and_columns_can_be_given(tmp_path: Path) -> None:
    pixels = pixels_of()
    np.savez(tmp_path / "a.npz", samples=pixels, targets=LABELS, label=LABELS[::-1])
    with pytest.raises(DataError, match=r"holds the arrays samples, targets, label, and not image"):
        stock_of(tmp_path / "a.npz", tmp_path)
    keys = {"image_key": "samples", "label_key": "targets"}
    assert_read(stock_of(tmp_path / "a.npz", tmp_path, **keys), pixels, LABELS.tolist())


# ------------------------------------------------------------------- what is refused, and why


def fake_and_real(folder: Path) -> Path:
    return write_tree(folder, ("FAKE", "REAL"), pixels_of())


def genimage(folder: Path) -> Path:
    write_tree(folder / "Midjourney" / "train", ("ai", "nature"), pixels_of())
    return folder


def cifake_on_the_hub(folder: Path) -> Path:
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["FAKE", "REAL"]))
    cells = [{"bytes": png(image), "path": None} for image in pixels_of()]
    table = datasets.Dataset.from_dict({"image": cells, "label": LABELS.tolist()}, features=features)
    table.to_parquet(folder / "train.parquet")
    return folder


def carmon(folder: Path) -> Path:
    with (folder / "ti_500K_pseudo_labeled.pickle").open("wb") as file:
        pickle.dump({"data": pixels_of(), "extrapolated_targets": LABELS}, file)
    return folder / "ti_500K_pseudo_labeled.pickle"


def synthclip(folder: Path) -> Path:
    (folder / "data").mkdir()
    with zipfile.ZipFile(folder / "data" / "0.zip", "w") as packed:
        packed.writestr("0.jpg", png(pixels_of()[0]))
    (folder / "captions.csv").write_text("file,caption\n0.jpg,a cat\n")
    return folder


def captions(folder: Path) -> Path:
    table = parquet_table(pixels_of()).remove_columns("label").add_column("caption", ["a cat"] * 6)
    table.to_parquet(folder / "set.parquet")
    return folder


def generate_py(folder: Path) -> Path:
    for seed, image in enumerate(pixels_of()):
        (folder / f"{seed:06d}.png").write_bytes(png(image))
    return folder


def unlabelled_samples(folder: Path) -> Path:
    np.savez(folder / "samples_6x8x8x3.npz", pixels_of())
    return folder


def named_labels(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of(), label=np.array(CLASSES)[LABELS])
    return folder


def object_labels(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of(), label=np.array(CLASSES, dtype=object)[LABELS])
    return folder


def wrapped(folder: Path) -> Path:
    (folder / "a card.txt").write_text("x")
    write_tree(folder / "my images", CLASSES, pixels_of())
    return folder


def wrapped_twice(folder: Path) -> Path:
    write_tree(folder / "a" / "b" / "train", CLASSES, pixels_of())
    write_tree(folder / "a" / "b" / "test", CLASSES, pixels_of())
    return folder


def several_files(folder: Path) -> Path:
    for name in ("1m", "5m"):
        np.savez(folder / f"{name}.npz", image=pixels_of(), label=LABELS)
    return folder


def objects(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of().astype(object), label=LABELS)
    return folder


def floats(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of().astype(np.float32) / 127.5 - 1, label=LABELS)
    return folder


def out_of_range(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of(), label=LABELS + 1)
    return folder


def one_hot(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=pixels_of(), label=np.eye(2, dtype=np.int64)[LABELS])
    return folder


def neither_first_nor_last(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=np.zeros((6, 3, 8, 3), np.uint8), label=LABELS)
    return folder


def odd_rows(folder: Path) -> Path:
    (folder / "x_images.bin").write_bytes(bytes(6 * 191))
    np.save(folder / "x_labels.npy", LABELS)
    return folder


def rows_without_labels(folder: Path) -> Path:
    (folder / "x_images.bin").write_bytes(bytes(6 * 192))
    return folder


def list_of_nothing(folder: Path) -> Path:
    stylegan(folder, pixels_of())
    (folder / "dataset.json").write_text('{"labels": null}')
    return folder


def list_that_climbs(folder: Path) -> Path:
    stylegan(folder, pixels_of())
    (folder / "dataset.json").write_text('{"labels": [["../../secret.png", 0]]}')
    return folder


def link_that_leads_out(folder: Path) -> Path:
    write_tree(folder / "set", CLASSES, pixels_of())
    (folder / "secret.png").write_bytes(png(pixels_of()[0]))
    (folder / "set" / "cat" / "x.png").symlink_to(folder / "secret.png")
    return folder / "set"


def bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cat/0.png", bytes(65 << 20))
        packed.writestr("dog/0.png", bytes(8))
    return folder / "set.zip"


def strangers(folder: Path) -> Path:
    write_tree(folder, CLASSES, pixels_of())
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    (folder / "dog" / "notes.txt").write_text("x")
    return folder


REFUSED = [
    (fake_and_real, r"tells generated images from real ones[\s\S]*a folder per class"),
    (genimage, r"tells generated images from real ones"),
    (cifake_on_the_hub, r"tells generated images from real ones"),
    (carmon, r"is a pickle: reading one runs whatever code[\s\S]*numpy\.savez"),
    (synthclip, r"archives and lists, as sets with captions do, and no classes"),
    (captions, r"no column of classes; captions alone[\s\S]*caption \(string\)[\s\S]*label_key=COLUMN"),
    (generate_py, r"images without classes[\s\S]*generate\.py"),
    (unlabelled_samples, r"holds the arrays arr_0: images without labels[\s\S]*--class_cond True"),
    (several_files, r"may hold the same images: 1m\.npz, 5m\.npz[\s\S]*for all"),
    (objects, r"holds object, and only numbers are read"),
    (named_labels, r"its labels are no numbers[\s\S]*<U3[\s\S]*names\.index\(one\)[\s\S]*folder per class"),
    (object_labels, r"its labels are no numbers[\s\S]*object[\s\S]*names\.index\(one\)"),
    (wrapped, r"one level down: cat, dog\s+--generator 'folder:\S+/set/my images'"),
    (wrapped_twice, r"2 levels down: test, train\s+--generator folder:\S+/set/a/b$"),
    (floats, r"images are float32, from -1 to 1[\s\S]*\(\(x \+ 1\) \* 127\.5\)"),
    (
        out_of_range,
        r"folder lacks: cat\s+the folder has, and the dataset lacks: 2\s+labels are numbers from 0 to 1",
    ),
    (one_hot, r"labels are int64 \[6, 2\][\s\S]*argmax"),
    (neither_first_nor_last, r"\[6, 3, 8, 3\] could be height by width by channels or channels first"),
    (odd_rows, r"has 1,146 bytes and 6 labels"),
    (rows_without_labels, r"there is no x_labels\.npy beside it"),
    (list_of_nothing, r"says that its images have no labels"),
    (list_that_climbs, r"names \.\./\.\./secret\.png, which is not there"),
    (link_that_leads_out, r"is a link that leads out[\s\S]*follow_links=true"),
    (bomb, r"claims 68,157,440 bytes|cannot be read as images|1 of its images cannot be read"),
    (strangers, r"no images in its class folders: cat/Thumbs\.db, dog/notes\.txt"),
]


@pytest.mark.parametrize(("write", "message"), REFUSED, ids=lambda one: getattr(one, "__name__", ""))
def test_what_holds_no_classes_or_no_pixels_is_refused_with_the_reason(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=message):
        stock_of(write(tmp_path / "set"), tmp_path)


@pytest.mark.parametrize("limit_mib", ["", "0"], ids=["packed", "in place"])
def test_all_broken_images_are_named_at_once(
    limit_mib: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_RESIDENT_MIB", limit_mib)
    write_tree(tmp_path / "set", CLASSES, pixels_of())
    (tmp_path / "set" / "cat" / "1.png").write_bytes(b"no image")
    (tmp_path / "set" / "dog" / "4.png").write_bytes(png(pixels_of()[4])[:-30])
    with pytest.raises(DataError, match=r"2 of its images cannot be read\n.*cat/1\.png.*\n.*dog/4\.png"):
        stock_of(tmp_path / "set", tmp_path)


def test_missing_and_superfluous_classes_are_listed_and_can_be_mapped_or_left_out(tmp_path: Path) -> None:
    pixels = pixels_of()
    write_tree(tmp_path / "set", ("kitty", "dog"), pixels)
    message = r"folder lacks: cat\s+the folder has, and the dataset lacks: kitty\s+classes\.NAME=OTHER"
    with pytest.raises(DataError, match=message):
        stock_of(tmp_path / "set", tmp_path / "1")
    for number, said in enumerate(({"cat": "kitty"}, "cat=kitty", ["cat=kitty", "dog=dog"])):
        stock = stock_of(tmp_path / "set", tmp_path / f"2{number}", classes_=said)
        assert_read(stock, pixels, LABELS.tolist())
    (tmp_path / "map.json").write_text('{"cat": ["kitty"]}')
    stock = stock_of(tmp_path / "set", tmp_path / "3", class_map=tmp_path / "map.json")
    assert_read(stock, pixels, LABELS.tolist())
    write_tree(tmp_path / "set", ("cat", "bird"), pixels)
    with pytest.raises(DataError, match=r"the dataset lacks: bird, kitty\s+unknown_classes=leave_out"):
        stock_of(tmp_path / "set", tmp_path / "4")
    stock = stock_of(tmp_path / "set", tmp_path / "5", unknown_classes="leave_out")
    assert stock.class_counts().tolist() == [3, 3]
    with pytest.raises(DataError, match=r"classes maps 'horse', which is no class of the dataset: cat, dog"):
        stock_of(tmp_path / "set", tmp_path / "6", classes_={"horse": "kitty"})


def test_labels_that_count_from_one_are_said_to_and_never_paired_with_a_class(tmp_path: Path) -> None:
    pixels = pixels_of()
    np.savez(tmp_path / "a.npz", image=pixels, label=LABELS + 1)
    write_tree(tmp_path / "set", ("0", "01", "02"), pixels, (LABELS + 1).tolist())
    for place in ("a.npz", "set"):
        with pytest.raises(
            DataError, match=r"seem to count from 1\s+first_label=1 if label 1 is cat, 2 is dog"
        ):
            stock_of(tmp_path / place, tmp_path / "1")
        assert_read(stock_of(tmp_path / place, tmp_path / place[0], first_label=1), pixels, LABELS.tolist())
    with pytest.raises(DataError, match=r"classes\.0=2 if 2 stands for 0, as in SVHN's"):
        stock_of(tmp_path / "a.npz", tmp_path / "2", ("0", "1"))
    tens = stock_of(tmp_path / "a.npz", tmp_path / "3", ("0", "1"), classes_={"0": ["2"]})
    assert_read(tens, pixels, (1 - LABELS).tolist())
    np.savez(tmp_path / "b.npz", image=pixels, label=LABELS * 7)
    with pytest.raises(DataError, match=r"dataset lacks: 7\s.*\s+classes\.NAME=OTHER: NAME as"):
        stock_of(tmp_path / "b.npz", tmp_path / "4")
    np.savez(tmp_path / "c.npz", image=pixels, label=LABELS)
    with pytest.raises(DataError, match=r"dataset lacks: 0\s+labels are numbers from 1 to 2"):
        stock_of(tmp_path / "c.npz", tmp_path / "5", first_label=1)
    write_tree(tmp_path / "named", CLASSES, pixels)
    with pytest.raises(DataError, match=r"first_label=1, and its classes are no numbers: cat, dog"):
        stock_of(tmp_path / "named", tmp_path / "6", first_label=1)


def test_what_is_read_and_what_is_not_is_said(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree_with_splits(tmp_path, pixels_of())
    write_tree(tmp_path / "train", CLASSES, pixels_of(8)[6:], [0, 0])
    (tmp_path / "train" / "cat" / "9.png").write_bytes(png(pixels_of()[0]))
    said = r"class folders; 7 images of 2 classes, 3 to 4 of each; read: train/; not used: README\.md, val"
    found = settle(registry, f"folder:{tmp_path}")
    (remark,) = found.config.remarks(image_problem)
    assert re.fullmatch(said, remark)
    with caplog.at_level("INFO"):
        stock_of(tmp_path, tmp_path / "w")
    assert re.search(said, caplog.text)
    assert "classes: cat is cat, dog is dog" in caplog.text
    (tmp_path / "table").mkdir()
    config = FolderConfig(path=str(parquet_folder(tmp_path / "table", pixels_of())))
    (remark,) = config.remarks(image_problem)
    assert remark.startswith("a table in parquet; read: data/train-00000-of-00002.parquet, data/train-00001")
    assert remark.endswith("; not used: data/test-00000-of-00001.parquet")


def test_what_is_read_of_a_zip_is_said(tmp_path: Path) -> None:
    """A zip of a folder that is split, of a packed folder, of class folders, and one that is no zip."""
    image, said = png(pixels_of()[0]), {}
    for name, inside in {"split": "train/", "packed": "photos/", "plain": ""}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as packed:
            for file in ("cat/1.png", "cat/2.png", "dog/1.png"):
                packed.writestr(inside + file, image)
            for file in ("test/cat/1.png", "README.md") if name == "split" else ():
                packed.writestr(file, image)
        (said[name],) = FolderConfig(path=str(tmp_path / f"{name}.zip")).remarks(image_problem)
    images = "a zip; 3 images of 2 classes, 1 to 2 of each"
    assert said == {
        "split": f"{images}; read: train/; not used: README.md, test",
        "packed": f"{images}; read: photos/",
        "plain": images,
    }
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    assert FolderConfig(path=str(tmp_path / "broken.zip")).remarks(image_problem) == ("a zip",)


def test_a_map_names_classes_that_are_there_on_both_sides(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", ("kitty", "dogs"), pixels_of())
    with pytest.raises(DataError, match=r"dataset lacks: [a-z, ]+\s+classes\.dog=dogs if they are the same"):
        stock_of(tmp_path / "set", tmp_path / "1")
    with pytest.raises(DataError, match=r"maps to 'Kitty', which is no class of the folder.*mean kitty\?"):
        stock_of(tmp_path / "set", tmp_path / "2", classes_="cat=Kitty", unknown_classes="leave_out")
    config = FolderConfig(path=str(tmp_path / "set"), classes={"catt": ["kitty"]})
    with pytest.raises(DataError, match=r"maps 'catt', which is no class of the dataset.*mean cat\?"):
        config.check_classes(CLASSES)
    FolderConfig(path=str(tmp_path / "set"), classes={"cat": ["kitty"]}).check_classes(CLASSES)


def test_modes_sizes_and_rotation_are_those_of_a_datasets_images(tmp_path: Path) -> None:
    """Grey, transparent, turned and large: each comes out as `read_square` makes it for a dataset."""
    turned = Image.Exif()
    turned[0x0112] = 6
    odd = pixels_of(1, 20)[0, :12]
    for folder in CLASSES:
        (tmp_path / "set" / folder).mkdir(parents=True)
    Image.fromarray(odd).save(tmp_path / "set" / "cat" / "0.jpg", exif=turned, quality=95)
    Image.fromarray(odd[..., 0]).save(tmp_path / "set" / "cat" / "1.png")
    Image.fromarray(np.dstack([odd, odd[..., 0]])).save(tmp_path / "set" / "dog" / "0.png")
    stock = stock_of(tmp_path / "set", tmp_path)
    for row, name in enumerate(("cat/0.jpg", "cat/1.png", "dog/0.png")):
        expected = read_square(tmp_path / "set" / name, 8, name, as_photograph=True)
        assert np.array_equal(stock.batch([row])[0].numpy(), expected)
    upright = read_square(tmp_path / "set" / "cat" / "0.jpg", 8, "it", as_photograph=False)
    assert not np.array_equal(stock.batch([0])[0].numpy(), upright)
    padded = stock_of(tmp_path / "set", tmp_path / "pad", fit="pad", background="black")
    expected = read_square(tmp_path / "set" / "dog" / "0.png", 8, "it", framing=Framing("pad", "black"))
    assert np.array_equal(padded.batch([2])[0].numpy(), expected)
    assert not torch.equal(padded.all(), stock.all())
    grey = np.repeat(pixels_of(6, 16)[..., :1], 1, axis=-1)
    np.savez(tmp_path / "grey.npz", image=grey, label=LABELS)
    found = stock_of(tmp_path / "grey.npz", tmp_path / "grey").all()
    assert found.shape == (6, 3, 8, 8)
    assert torch.equal(found[:, 0], found[:, 2])


def test_a_stopped_reading_resumes_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genbench_generators.folder._BATCH", 2)
    pixels = pixels_of()
    write_tree(tmp_path / "set", CLASSES, pixels)
    train = TensorImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.arange(2), CLASSES)
    ctx = MemoryContext(tmp_path / "w", stop_after=2)
    with pytest.raises(Interrupted):
        Folder(FolderConfig(path=str(tmp_path / "set"))).fit(train, ctx)
    assert ctx.saved is not None
    assert ctx.saved.meta == {"done": 4, "problems": []}
    read = list[int]()
    resumed = Folder(FolderConfig(path=str(tmp_path / "set")))
    again = MemoryContext(tmp_path / "w", saved=ctx.saved)
    monkeypatch.setattr(again, "progress", lambda done, total: read.append(done))
    resumed.fit(train, again)
    assert read == [6]
    assert_read(resumed.stock(), pixels, LABELS.tolist())


# ------------------------------------------------------------------ identity and options


def test_content_enters_the_identity_and_where_it_lies_or_what_is_told_of_it_does_not(
    registry: Registry, tmp_path: Path
) -> None:
    write_tree(tmp_path / "one", CLASSES, pixels_of())
    write_tree(tmp_path / "two", CLASSES, pixels_of())
    one, two = (settle(registry, f"folder:{tmp_path}/{name}") for name in ("one", "two"))
    told = settle(registry, f"folder:{tmp_path}/one,made_from=train,generation_seconds=60")
    assert one.identity == two.identity == told.identity
    assert one.label == "folder:path=one"
    assert settle(registry, f"folder:{tmp_path}/one,draw=whole").identity != one.identity
    (tmp_path / "two" / "cat" / "0.png").write_bytes(png(255 - pixels_of()[0]))
    assert settle(registry, f"folder:{tmp_path}/two").identity != one.identity
    assert [data.partition(" ")[0] for data in one.external_data] == ["whatever"]
    assert told.external_data == ()
    assert [cost.seconds for cost in (*one.generation_costs, *told.generation_costs)] == [None, 60]
    united = settle(registry, f"union:second=folder,second.path={tmp_path}/one")
    assert [cost.seconds for cost in united.generation_costs] == [None]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("imagefolder:synth", "folder:synth"),
        ("hub:ORG/NAME", "folder:hub:ORG/NAME"),
        ("./synth", "folder:./synth"),
        ("synth", "folder:synth"),
    ],
)
def test_whoever_names_a_folder_is_told_what_to_type(
    registry: Registry, typed: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "synth", CLASSES, pixels_of())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        settle(registry, typed)
    assert raised.value.hint == f"--generator {hint}"
    if "hub" not in hint:
        found = settle(registry, hint)
        assert found.name == "folder"
        assert found.location["path"] == str(tmp_path / "synth")  # a room is in a folder of its own


def test_a_folder_that_is_not_there_is_said_before_anything_is_planned(registry: Registry) -> None:
    with pytest.raises(DataError, match=r"nowhere' does not exist\s+--generator folder:PATH"):
        settle(registry, "folder:nowhere")


def test_images_that_exist_edit_no_others(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", CLASSES, pixels_of())
    train = TensorImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.arange(2), CLASSES)
    made = Folder(FolderConfig(path=str(tmp_path / "set")))
    made.fit(train, MemoryContext(tmp_path / "w"))
    request = SampleRequest(np.array([1]), np.array([1]), np.array([0]), train)
    with pytest.raises(UsageError, match="neither edits images nor starts from those of others"):
        list(made.sample(request, MemoryContext(tmp_path / "w")))


class TestFolder(GeneratorConformance):
    """The kit makes up images of the folder's own classes."""

    @pytest.fixture(autouse=True)
    def _component(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_tree(tmp_path / "set", CLASSES, np.concatenate([pixels_of()] * 4), np.tile(LABELS, 4))  # type: ignore[arg-type]
        monkeypatch.setattr(type(self), "component", f"folder:{tmp_path}/set", raising=False)


def test_names_of_files_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", CLASSES, pixels_of())
    os.rename(tmp_path / "set" / "cat" / "0.png", tmp_path / "set" / "cat" / "\x1b[2J $(id).png")
    (tmp_path / "set" / "cat" / "\x1b[2Jx.png").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        stock_of(tmp_path / "set", tmp_path)
    assert "\x1b" not in raised.value.message
