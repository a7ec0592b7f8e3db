"""Contact sheets beside records: the pictures of synthetic images that a row of a board opens. Read here.

    FOLDER/shown/index.json      what there is, one entry per set of images (`images_id`)
    FOLDER/shown/NAME.png        a sheet: a row of images per class, one pixel of paper between them
    FOLDER/shown/NAME-strip.png  ten of them in one line, enlarged to 64 pixels

NAME is the beginning of the SHA-256 of the sheet's content, so that equal sheets are one file and a changed
one is found out. `genbench.showing` writes them; learning curves stand in the records (`Run.curves`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from genbench.digest import digest
from genbench.disk import read_regular
from genbench.errors import DataError
from genbench.escaping import LONGEST_SENTENCE, one_line
from genbench.image_files import check_image
from genbench.metrics import STRICT
from genbench.records import Component, Digest, explained
from genbench.untrusted import parse_json, read_text

FOLDER, INDEX = "shown", "index.json"
MOST_CLASSES, MOST_COLUMNS = 10, 8  #: of a sheet
MOST_PNG_BYTES = 2**20  #: of a file; a sheet has some 65 KB
_SCHEMA_VERSION = 1
_MOST_BYTES, _MOST_DEPTH, _MOST_ENTRIES = 16 * 2**20, 6, 10_000
_RECORDS = "records"
_NAME_DIGITS = 16

FileName = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16}(-strip)?\.png)?$")]
Sentence = Annotated[str, Field(max_length=LONGEST_SENTENCE)]


@dataclass(frozen=True, config=STRICT)
class Sheet:
    """What is shown of a set of synthetic images: that of the first seed.

    Attributes:
        images_id: Which set (`images_id`).
        dataset: For people; so are `generator` and `filter`.
        ratio: Synthetic images per real training image.
        index: Of the seed.
        keys: Of the steps that made and kept the images.
        images: How many images the set has.
        classes: The classes of the sheet's rows, from above.
        columns: Images per class; a class that has fewer leaves grey places.
        grid: Name of the sheet's file; empty where nothing is shown.
        strip: Name of the file of the ten images in a line; likewise.
        why_not: Why nothing is shown, as a sentence.
        licence: What is known of the licence of these images.
    """

    images_id: Digest
    dataset: Sentence
    generator: Sentence
    filter: Sentence
    ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    index: Annotated[int, Field(ge=0)]
    keys: Annotated[tuple[Digest, ...], Field(max_length=100)] = ()
    images: Annotated[int, Field(ge=0)] = 0
    classes: Annotated[tuple[Sentence, ...], Field(max_length=MOST_CLASSES)] = ()
    columns: Annotated[int, Field(ge=0, le=MOST_COLUMNS)] = 0
    grid: FileName = ""
    strip: FileName = ""
    why_not: Sentence = ""
    licence: Sentence = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.grid) == bool(self.why_not) or bool(self.grid) != bool(self.strip):
            raise ValueError("an entry has a grid and a strip, or says why there are none")
        return self


@dataclass(frozen=True)
class Shown:
    """A sheet with the folder that its files are in."""

    sheet: Sheet
    folder: Path = field(default_factory=Path)

    @property
    def grid(self) -> Path | None:
        """The file of the sheet; None where nothing is shown, and `sheet.why_not` says why."""
        return self.folder / self.sheet.grid if self.sheet.grid else None

    @property
    def strip(self) -> Path | None:
        """The file of ten images in a line; likewise."""
        return self.folder / self.sheet.strip if self.sheet.strip else None


def images_id(dataset: Component, generator: Component, image_filter: Component, ratio: float) -> str:
    """Return what sets of images share over seeds, classifiers and mixes: a digest of these four."""
    return digest([dataset.identity, generator.identity, image_filter.identity, float(ratio)])


def content_name(content: bytes) -> str:
    """Return the beginning of a file's name: 16 digits of the SHA-256 of its content."""
    return hashlib.sha256(content).hexdigest()[:_NAME_DIGITS]


def find_shown(places: Iterable[Path]) -> dict[str, Shown]:
    """Return what is shown beside records, by `images_id`; of two that show the same set, the first.

    Args:
        places: As `genbench leaderboard` takes them: folders of runs, or of records. A folder's `shown` is
            in it or, of a folder `records`, beside it.

    Raises:
        DataError: A `shown` cannot be used.
    """
    found: dict[str, Shown] = {}
    for place in places:
        folders = [place, *([place.parent] if place.name == _RECORDS else [])] if place.is_dir() else []
        for folder in folders:
            found = {**read_shown(folder), **found}
    return found


def read_shown(folder: Path) -> dict[str, Shown]:
    """Return what `folder/shown` shows, by `images_id`; nothing where there is no such folder.

    Every file that the index names is looked at: it is a PNG of the content that its name promises.

    Raises:
        DataError: The index cannot be used, or a picture is missing or was changed.
    """
    inside = folder / FOLDER
    if not (inside / INDEX).exists():
        return {}
    try:
        sheets = _parsed(read_text(inside / INDEX, _MOST_BYTES, folder.resolve()))
        for sheet in sheets:
            for name in filter(None, (sheet.grid, sheet.strip)):
                _check(inside / name, sheet.grid)
    except (ValueError, DataError) as problem:
        said = explained(problem) if isinstance(problem, ValidationError) else str(problem)
        raise DataError(
            f"{one_line(str(inside))}: its pictures cannot be used: {one_line(said, LONGEST_SENTENCE)}",
            hint="remove that folder, or repeat the run that wrote it: it is written anew",
        ) from problem
    return {sheet.images_id: Shown(sheet, inside) for sheet in sheets}


def as_json(sheets: Iterable[Sheet]) -> bytes:
    """Return the content of an index."""
    body = {"schema_version": _SCHEMA_VERSION, "sheets": _SHEETS.dump_python(tuple(sheets), mode="json")}
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


_SHEETS = TypeAdapter(Annotated[tuple[Sheet, ...], Field(max_length=_MOST_ENTRIES)])


def _parsed(text: str) -> tuple[Sheet, ...]:
    body = parse_json(text, _MOST_DEPTH)
    if not isinstance(body, Mapping) or body.keys() != {"schema_version", "sheets"}:
        raise ValueError("its index has no schema_version and sheets")
    if body["schema_version"] != _SCHEMA_VERSION:
        raise ValueError(
            f"schema_version {body['schema_version']!r}, and this genbench reads {_SCHEMA_VERSION}"
        )
    return _SHEETS.validate_json(json.dumps(body["sheets"]), strict=True)


def _check(file: Path, grid: str) -> None:
    """Refuse a file that is no PNG, or whose content is not the one that its name promises.

    A strip is named after its sheet; that it shows the same images, nobody can tell.
    """
    try:
        content = read_regular(file, MOST_PNG_BYTES, links=False)
    except OSError as problem:
        raise ValueError(f"{file.name}: {problem.strerror}") from None
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{file.name} is no PNG")
    if file.name == grid and content_name(content) != grid.removesuffix(".png"):
        raise ValueError(f"{file.name} holds another picture than its name says")
    check_image(content, file.name)
