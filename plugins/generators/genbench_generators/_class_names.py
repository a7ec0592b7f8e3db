"""Which class of the dataset a class of somebody's folder is."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.image_files import numbers_mislead
from genbench_generators._found import Found
from genbench_generators.configs._class_map import (
    FORM,
    check_mapped,
    known_names,
    mapped_labels,
    plain_name,
    similar,
    some_names,
)
from genbench_generators.configs._layouts import no_classes, origins_only
from genbench_generators.configs.folder import FolderConfig

_PADDED = re.compile(r"[0-9]{1,4}")  # a label as a folder's name, `7` or `007`; not one of EDM's `000000`


def positions(
    found: Sequence[Found], wanted: Sequence[str], config: FolderConfig
) -> list[npt.NDArray[np.int64]]:
    """Return, for each part, the dataset's class of each of its classes, or -1: `int64 [classes]`.

    A class is known by the map of the options, by its name (upper and lower case, `_`, `-` and spaces are the
    same), by the name that `genbench export-images` gives it, by the number of its label, or by WordNet id.

    Raises:
        DataError: A class of the dataset has no image, the folder has classes that the dataset has not, or
            its numbers could mean either of two classes, or the options name classes that either lacks.
    """
    renamed = mapped_labels(config.mapped(), wanted)
    if not config.first_label:
        _check_numbers(found, wanted, renamed)
    theirs = list(dict.fromkeys(name for part in found for name in part.images.class_names))
    check_mapped(renamed, theirs)
    if config.first_label and not any(map(_is_number, theirs)):
        raise DataError(
            f"folder: first_label={config.first_label}, and its classes are no numbers: {some_names(theirs)}",
            hint="leave first_label out: classes are matched by name",
        )
    known = known_names(wanted)
    own: list[npt.NDArray[np.int64]] = []
    for part in found:
        names = part.images.class_names
        places = [
            renamed[name]
            if name in renamed
            else _position(name, wanted, known, part.numbered, config.first_label)
            for name in names
        ]
        own.append(np.array(places, dtype=np.int64))
    _check(found, own, wanted, config)
    return own


def _check_numbers(found: Sequence[Found], wanted: Sequence[str], renamed: Mapping[str, int]) -> None:
    """Refuse labels that may be places or names, unless the options say which class each is."""
    if not numbers_mislead(wanted):
        return
    unclear = [
        name for part in found if part.numbered for name in part.images.class_names if name not in renamed
    ]
    if unclear:
        raise DataError(
            f"folder: label {unclear[0]} could be the place of a class or its name: the dataset's classes "
            f"are called, in this order, {some_names(wanted)}",
            hint=f"classes.{wanted[0]}=NUMBER, and so for every class, says which label of the folder it is; "
            "class_map=FILE.json says it of many",
        )


def told(found: Sequence[Found], own: Sequence[npt.NDArray[np.int64]], wanted: Sequence[str]) -> str:
    """Say which class of the dataset each class of the folder is taken for."""
    pairs = {
        name: wanted[place] if place >= 0 else "left out"
        for part, places in zip(found, own, strict=True)
        for name, place in zip(part.images.class_names, places, strict=True)
    }
    return some_names([f"{name} is {meant}" for name, meant in pairs.items()])


def _is_number(name: str) -> bool:
    return name.isdecimal()


def _position(
    name: str, wanted: Sequence[str], known: Mapping[str, int], numbered: bool, first_label: int
) -> int:
    padded = bool(_PADDED.fullmatch(name))
    number = int(name) - first_label if numbered or padded else -1
    by_number = number if 0 <= number < len(wanted) else -1
    if numbered or (first_label and padded):
        return by_number
    if name in wanted:
        return list(wanted).index(name)
    place = known.get(name, known.get(plain_name(name), -1))
    return place if place >= 0 or numbers_mislead(wanted) else by_number


def _check(
    found: Sequence[Found], own: Sequence[npt.NDArray[np.int64]], wanted: Sequence[str], config: FolderConfig
) -> None:
    theirs = list(dict.fromkeys(name for part in found for name in part.images.class_names))
    if origins_only(theirs) and not (own and (np.concatenate(own) >= 0).all()):
        raise no_classes(config.path)
    used = [
        np.bincount(part.images.labels, minlength=len(places)) > 0
        for part, places in zip(found, own, strict=True)
    ]
    there = {int(place) for places, has in zip(own, used, strict=True) for place in places[has]} - {-1}
    lacking = [name for label, name in enumerate(wanted) if label not in there]
    strange = [
        name
        for part, places in zip(found, own, strict=True)
        for name, place in zip(part.images.class_names, places, strict=True)
        if place < 0
    ]
    strange = list(dict.fromkeys(strange))
    if not lacking and (not strange or config.unknown_classes == "leave_out"):
        return
    lines = ["folder: its classes are not those of the dataset"]
    if lacking:
        lines.append(f"  the dataset has, and the folder lacks: {some_names(lacking)}")
    if strange:
        lines.append(f"  the folder has, and the dataset lacks: {some_names(strange)}")
    first = config.first_label
    if all(map(_is_number, theirs)):
        last = len(wanted) - 1 + first
        lines.append(f"  labels are numbers from {first} to {last}, in this order: {some_names(wanted)}")
    if not first and _count_from_one(theirs, len(wanted)):
        lines.append(f"  its labels, up to {len(wanted)} and without 0, seem to count from 1")
        raise DataError("\n".join(lines), hint=_from_one(wanted))
    raise DataError("\n".join(lines), hint=_hint(lacking, strange))


def _count_from_one(theirs: Sequence[str], count: int) -> bool:
    """Say whether classes are numbers that seem to be 1 to `count`, as MATLAB's are."""
    if not theirs or not all(map(_is_number, theirs)):
        return False
    numbers = [int(name) for name in theirs]
    return min(numbers) >= 1 and max(numbers) == count


def _from_one(wanted: Sequence[str]) -> str:
    """Return what to type for labels from 1; SVHN's own files alone call the digit 0 ten."""
    shifted = f"first_label=1 if label 1 is {some_names(wanted[:1])}"
    are_digits = all(re.match(rf"{label}(\D|$)", name) for label, name in enumerate(wanted))
    if not are_digits:
        return f"{shifted}, 2 is {some_names(wanted[1:2])} and so on"
    return f"classes.{wanted[0]}={len(wanted)} if {len(wanted)} stands for 0, as in SVHN's files; {shifted}"


def _hint(lacking: Sequence[str], strange: Sequence[str]) -> str:
    """Return what to type; only names that are alike are put together: a wrong pair mislabels images."""
    if not lacking:
        return "unknown_classes=leave_out reads the others alone"
    if not strange:
        return "every class needs generated images: it could not be compared otherwise"
    near = next(((name, other) for name in lacking if (other := similar(name, strange))), None)
    many = "class_map=FILE.json says it of many"
    if near is None:
        return f"{FORM}; {many}"
    return f"classes.{near[0]}={near[1]} if they are the same; {many}"
