"""Options of datasets that are tables on the Hub. Imports neither torch nor numpy."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from genbench import hub
from genbench.errors import DataError
from genbench.protocols import DatasetConfig

CLASS_MAPS = "class_maps.json"  #: how the map is called among the source files
ARCHIVES = (".tar.gz", ".zip")  #: how files of class folders are packed
_PARQUET = ("data/*.parquet", "*/*.parquet", "*.parquet")


def _of_v2(variant: str) -> tuple[str, tuple[str, ...]]:
    packed = f"imagenetv2-{variant}"
    return "vaishaal/ImageNetV2", (f"{packed}.tar.gz", f"{packed}-format-val/*/*")


#: Published shifts of ImageNet: their ids on the Hub, and their files there or extracted in a mirror.
PUBLISHED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "imagenet-r": ("axiong/imagenet-r", _PARQUET),
    "imagenet-a": ("barkermrl/imagenet-a", _PARQUET),
    "imagenet-sketch": ("songweig/imagenet_sketch", ("data/ImageNet-Sketch.zip", "sketch/*/*", *_PARQUET)),
    "imagenetv2-matched-frequency": _of_v2("matched-frequency"),
    "imagenetv2-threshold-0.7": _of_v2("threshold0.7"),
    "imagenetv2-top-images": _of_v2("top-images"),
    "objectnet": ("timm/objectnet", _PARQUET),
}


def _published_or_id(shift: str) -> str:
    if shift not in PUBLISHED and not re.fullmatch(r"[^/ ]+/[^/ ]+", shift):
        raise ValueError(
            f"{shift!r} is neither ORG/NAME of a set on the Hub nor one of {', '.join(PUBLISHED)}"
        )
    return shift


class HubConfig(DatasetConfig):
    """Options of `hub`."""

    primary: ClassVar[str | None] = "name"
    location_fields: ClassVar[frozenset[str]] = frozenset({"name", "class_maps"})
    by_synset: ClassVar[bool] = False  #: whether classes of shifts are also matched by WordNet id
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16, "limit_train": 200}}

    name: str = Field(
        pattern=r"^[^/ ]+/[^/ ]+$", description="ORG/NAME of a set of labelled images on the Hub"
    )
    config_name: str = Field(
        default="",
        description="configuration of the set: the folder of its parquet files, where it has several",
    )
    image_column: str = Field(default="", description="column of images; empty finds the one of type Image")
    label_column: str = Field(
        default="",
        description="column of classes, words or whole numbers; empty finds the one of type ClassLabel",
    )
    train_split: str = Field(default="train", description="training split, as its files or folder are called")
    test_split: str = Field(
        default="test",
        description="test split, as its files or folder are called; without them it is drawn from train",
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=0.9, description="share that is the test split, where the set has none"
    )
    size: int = Field(default=32, ge=8, le=1024, description="height and width in pixels, cropped square")
    shifts: tuple[Annotated[str, Field(pattern=r"^[^/ ]+/[^/ ]+$")], ...] = Field(
        default=(), description="Hub ids of out-of-distribution test sets; classes are matched by name"
    )
    class_maps: Path | None = Field(
        default=None,
        description='JSON file {"ORG/NAME": {"class of the shift": "class of this set"}} where names differ; '
        "classes that map to null are left out",
    )
    classes: int | None = Field(
        default=None, ge=2, description="use only this many classes, drawn by the split's seed"
    )
    images_per_class: int | None = Field(
        default=None, ge=2, description="use at most this many training images of each class"
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of the set and of its shifts, and the class maps.

        Raises:
            DataError: They cannot be had.
        """
        found = hub.find(self.name, _PARQUET, "dataset")
        folder = f"{self.config_name}/"
        own = {name: path for name, path in found.items() if not self.config_name or name.startswith(folder)}
        for shift in self.shifts:
            where, patterns = PUBLISHED.get(shift, (shift, _PARQUET))
            own |= {f"{shift}/{name}": path for name, path in hub.find(where, patterns, "dataset").items()}
        if self.class_maps is not None:
            own[CLASS_MAPS] = self.class_maps.expanduser()
            if not own[CLASS_MAPS].is_file():
                raise DataError(f"class_maps: {str(self.class_maps)!r} is not a file")
        return own


class ImagenetConfig(HubConfig):
    """Options of `imagenet`: those of `hub`, with ILSVRC's id and splits."""

    primary: ClassVar[str | None] = None
    by_synset: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "smoke": {"size": 16, "classes": 4, "images_per_class": 20},
        "quick": {"size": 64, "classes": 10, "images_per_class": 200},
    }

    name: str = Field(default="ILSVRC/imagenet-1k", description="Hub id, or one with the same columns")
    test_split: str = Field(default="validation", description="ILSVRC's labelled test images")
    size: int = Field(default=224, ge=8, le=1024, description="height and width in pixels, cropped square")
    shifts: tuple[Annotated[str, AfterValidator(_published_or_id)], ...] = Field(
        default=(),
        description=f"out-of-distribution test sets: {', '.join(PUBLISHED)}, or Hub ids; "
        "classes are matched by WordNet id",
    )


class CatsVsDogsConfig(DatasetConfig):
    """Options of `cats_vs_dogs`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16}}

    size: int = Field(default=128, ge=8, le=512, description="height and width in pixels; S4 has 128")
    train_images: int = Field(
        default=601,
        ge=20,
        le=20_000,
        description="images for train and val, both classes alike; the rest is test",
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of `microsoft/cats_vs_dogs`."""
        return dict(hub.find("microsoft/cats_vs_dogs", _PARQUET, "dataset"))
