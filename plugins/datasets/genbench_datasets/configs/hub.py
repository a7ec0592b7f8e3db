"""Options of `hub`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from genbench import hub
from genbench.errors import DataError
from genbench_datasets.configs._photographs import PhotographOptions
from genbench_datasets.configs._tables import PARQUET, PUBLISHED

CLASS_MAPS = "class_maps.json"  #: how the map is called among the source files


class HubConfig(PhotographOptions):
    """Options of `hub`."""

    primary: ClassVar[str | None] = "name"
    location_fields: ClassVar[frozenset[str]] = frozenset({"name", "class_maps"})
    by_synset: ClassVar[bool] = False  #: whether classes of shifts are also matched by WordNet id
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16, "limit_train": 200}}

    name: str = Field(
        pattern=r"^[^/ ]+/[^/ ]+$",
        description="ORG/NAME of a set of labelled images on the Hub",
        examples=["uoft-cs/cifar10"],
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
    size: int = Field(default=32, ge=8, le=1024, description="height and width in pixels")
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
        found = hub.find(self.name, PARQUET, "dataset")
        folder = f"{self.config_name}/"
        own = {name: path for name, path in found.items() if not self.config_name or name.startswith(folder)}
        for shift in self.shifts:
            where, patterns = PUBLISHED.get(shift, (shift, PARQUET))
            own |= {f"{shift}/{name}": path for name, path in hub.find(where, patterns, "dataset").items()}
        if self.class_maps is not None:
            own[CLASS_MAPS] = self.class_maps.expanduser()
            if not own[CLASS_MAPS].is_file():
                raise DataError(f"class_maps: {str(self.class_maps)!r} is not a file")
        return own
