"""Options of `hub`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from genbench import hub
from genbench.errors import unusable_path
from genbench_datasets.configs._photographs import PhotographOptions
from genbench_datasets.configs._tables import PARQUET, PUBLISHED

CLASS_MAPS = "class_maps.json"  #: how the map is called among the source files
CLASSES = "classes.txt"  #: how the file of classes is called there


def _number_or_names(value: object) -> object:
    """Read `tench+goldfish` as two names.

    Raises:
        ValueError: It is neither a number nor names, or fewer than two.
    """
    names = value.split("+") if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        named = {str(name).strip() for name in names} - {""}
        if len(named) < 2:
            raise ValueError("name at least two classes: NAME+NAME, or say how many to draw")
        return tuple(sorted(named))
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 2):
        raise ValueError("a number of at least 2 is allowed, or names: NAME+NAME")
    return value


class HubConfig(PhotographOptions):
    """Options of `hub`."""

    primary: ClassVar[str | None] = "name"
    location_fields: ClassVar[frozenset[str]] = frozenset({"name", "class_maps", "classes_file"})
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
    classes: Annotated[int | tuple[str, ...] | None, BeforeValidator(_number_or_names)] = Field(
        default=None,
        description="use only this many classes, drawn by the split's seed, or these: NAME+NAME",
    )
    classes_file: Path | None = Field(
        default=None, description="text file with the names of the classes to use, one a line"
    )
    images_per_class: int | None = Field(
        default=None, ge=2, description="use at most this many training images of each class"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_choice(cls, values: object) -> object:
        """Let a file of classes replace a preset's number.

        Raises:
            ValueError: Classes are named besides.
        """
        if not isinstance(values, dict) or not values.get("classes_file"):
            return values
        if not isinstance(values.get("classes"), int | None):
            raise ValueError("classes and classes_file both say which classes to use: give one")
        return {**values, "classes": None}

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of the set and of its shifts, the class maps, and the file of classes.

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
                raise unusable_path(own[CLASS_MAPS], f"class_maps: {str(self.class_maps)!r} is not a file")
        if self.classes_file is not None:
            own[CLASSES] = self.classes_file.expanduser()
            if not own[CLASSES].is_file():
                raise unusable_path(own[CLASSES], f"classes_file: {str(self.classes_file)!r} is not a file")
        return own
