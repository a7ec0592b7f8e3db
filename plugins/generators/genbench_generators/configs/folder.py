"""Options of `folder`. Imports neither torch nor numpy."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from genbench.errors import unusable_path
from genbench.framing import BACKGROUND_IN_WORDS, FIT_IN_WORDS, Colour, Fit, Framing
from genbench.options import ADDED_LATER
from genbench.protocols import StockConfig
from genbench_generators.configs._class_map import mapped_labels, read_map
from genbench_generators.configs._layouts import Part, find_parts

CLASS_MAP = "class_map.json"  #: how the map is called among the source files


class FolderConfig(StockConfig):
    """Options of `folder`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path", "follow_links", "class_map"})

    path: str = Field(
        min_length=1,
        description="folder or file of generated images, a pattern ('20m_part{1,2}.npz', '*.npz'), or "
        "hub:ORG/NAME or hub:ORG/NAME/FILE on the Hub",
    )
    classes: Mapping[str, tuple[str, ...]] = Field(
        default={},
        description="what classes of the dataset are called in the folder, where names differ: "
        "classes.cat=Cat+kitty; file class_map= for names that cannot be typed",
    )
    class_map: Path | None = Field(
        default=None, description='JSON file {"cat": ["Cat", "kitty"]}: `classes` as a file'
    )
    first_label: Annotated[int, ADDED_LATER] = Field(
        default=0,
        ge=0,
        le=1,
        description="the number of the dataset's first class, where classes are numbers: 1 for labels that "
        "count from 1",
    )
    unknown_classes: Literal["refuse", "leave_out"] = Field(
        default="refuse", description="what to do about classes of the folder that the dataset does not have"
    )
    image_key: str = Field(
        default="", description="array of a .npz or column of a table that holds the images; empty finds it"
    )
    label_key: str = Field(
        default="", description="array of a .npz or column of a table that holds the classes; empty finds it"
    )
    fit: Fit = Field(default="crop", description=FIT_IN_WORDS)
    background: Colour = Field(default="white", description=BACKGROUND_IN_WORDS)
    follow_links: bool = Field(
        default=False, description="read what links inside the folder lead to outside of it, too"
    )

    @field_validator("path")
    @classmethod
    def _as_absolute(cls, value: str) -> str:
        """Name the place in full: a step may run in another folder than the one where it was typed."""
        return value if value.startswith("hub:") else str(Path(value).expanduser().absolute())

    @field_validator("classes", mode="before")
    @classmethod
    def _as_mapping(cls, value: Any) -> Any:
        """Take `cat=Cat+kitty`, a list of such, and a table of either texts or lists."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            pairs = [str(one).partition("=") for one in value]
            if not all(name and equals and others for name, equals, others in pairs):
                raise ValueError(
                    "write classes.NAME=OTHER+OTHER, NAME as the dataset says, OTHER as the folder"
                )
            value = {name: others for name, _, others in pairs}
        if not isinstance(value, Mapping):
            return value
        return {
            str(name): tuple(map(str, others)) if isinstance(others, list | tuple) else str(others).split("+")
            for name, others in value.items()
        }

    @property
    def framing(self) -> Framing:
        """Return how images become square."""
        return Framing(self.fit, self.background)

    def mapped(self) -> Mapping[str, Sequence[str]]:
        """Return names of the folder by class of the dataset, from `classes` and `class_map`.

        Raises:
            DataError: The file is not there, or no such map.
        """
        read = read_map(self._map_file(self.class_map)) if self.class_map is not None else {}
        return {**self.classes, **read}

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse a map of classes that the dataset does not have.

        Raises:
            DataError: It names such.
        """
        mapped_labels(self.mapped(), class_names)

    def parts(self) -> list[Part]:
        """Find the files, and their layouts.

        Raises:
            DataError: There are none, or they hold no classes.
        """
        return find_parts(self.path, follow_links=self.follow_links)

    def remarks(self, image_problem: Callable[[Path], str]) -> Sequence[str]:
        """Say which layout was found, how many images the classes have, and what is left unused."""
        parts = self.parts()
        return tuple(
            f"{part.place}: {part.in_words()}" if len(parts) > 1 else part.in_words() for part in parts
        )

    def source_files(self) -> Mapping[str, Path]:
        """Return every file that holds images or labels, by its name inside its part.

        Raises:
            DataError: There are none, or they hold no classes.
        """
        parts = self.parts()
        heads = [f"{number}/" if len(parts) > 1 else "" for number in range(len(parts))]
        found = {
            f"{head}{name}": path
            for head, part in zip(heads, parts, strict=True)
            for name, path in part.files.items()
        }
        if self.class_map is not None:
            found[CLASS_MAP] = self._map_file(self.class_map)
        return found

    @staticmethod
    def _map_file(named: Path) -> Path:
        file = named.expanduser()
        if not file.is_file():
            raise unusable_path(file, f"folder: class_map: {str(named)!r} is not a file")
        return file
