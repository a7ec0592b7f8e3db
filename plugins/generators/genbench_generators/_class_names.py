"""Which class of the dataset a class of somebody's folder is."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.files import read_regular, shown
from genbench.image_files import folder_names, numbers_mislead
from genbench.synsets import synsets
from genbench_generators._found import Found
from genbench_generators.configs._layouts import no_classes, origins_only
from genbench_generators.configs.folder import CLASS_MAP, FolderConfig

_SHOWN = 20  # classes that a message names, of each side
_MOST_MAP_BYTES = 16 << 20
_PADDED = re.compile(r"[0-9]{1,4}")  # a label as a folder's name, `7` or `007`; not one of EDM's `000000`
_SYNSET = re.compile(r"n[0-9]{8}")


def positions(
    found: Sequence[Found], wanted: Sequence[str], config: FolderConfig
) -> list[npt.NDArray[np.int64]]:
    """Return, for each part, the dataset's class of each of its classes, or -1: `int64 [classes]`.

    A class is known by the map of the options, by its name (upper and lower case, `_`, `-` and spaces are the
    same), by the name that `genbench export-images` gives it, by the number of its label, or by WordNet id.

    Raises:
        DataError: A class of the dataset has no image, the folder has classes that the dataset has not, or
            its numbers could mean either of two classes.
    """
    renamed = _renamed(wanted, config)
    _check_numbers(found, wanted, renamed)
    known = _known(wanted)
    own: list[npt.NDArray[np.int64]] = []
    for part in found:
        names = part.images.class_names
        places = [_position(name, wanted, renamed, known, numbered=part.numbered) for name in names]
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
            f"are called, in this order, {_some(wanted)}",
            hint=f"classes.{wanted[0]}=NUMBER, and so for every class, says which label of the folder it is; "
            "class_map=FILE.json says it of many",
        )


def _position(
    name: str, wanted: Sequence[str], renamed: Mapping[str, int], known: Mapping[str, int], *, numbered: bool
) -> int:
    if name in renamed:
        return renamed[name]
    if numbered:
        return int(name) if int(name) < len(wanted) else -1
    if name in wanted:
        return list(wanted).index(name)
    place = known.get(name, known.get(_plain(name), -1))
    is_number = _PADDED.fullmatch(name) and not numbers_mislead(wanted)
    if place < 0 and is_number and int(name) < len(wanted):
        return int(name)
    return place


def _known(wanted: Sequence[str]) -> dict[str, int]:
    """Return what the dataset's classes may be called, beside their names."""
    plain = [_plain(name) for name in wanted]
    known = {name: label for label, name in enumerate(plain) if plain.count(name) == 1}
    known |= {name: label for label, name in enumerate(folder_names(wanted))}
    by_id = [(own, label) for label, own in enumerate(synsets(wanted)) if own] if _is_imagenet(wanted) else []
    return known | dict(by_id)


def _is_imagenet(wanted: Sequence[str]) -> bool:
    """Say whether it is worth asking timm, whose import takes seconds."""
    return len(wanted) == 1000 or any("," in name or _SYNSET.fullmatch(name) for name in wanted)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _renamed(wanted: Sequence[str], config: FolderConfig) -> dict[str, int]:
    """Return the class of each name that the options map.

    Raises:
        DataError: They name a class that the dataset does not have, or map a name to two.
    """
    said = dict(config.classes)
    if config.class_map is not None:
        said |= _read_map(config.source_files()[CLASS_MAP])
    known, found = _known(wanted), dict[str, int]()
    for name, others in said.items():
        label = list(wanted).index(name) if name in wanted else known.get(_plain(name), -1)
        if label < 0:
            raise DataError(
                f"folder: classes maps {name!r}, which is no class of the dataset: {_some(wanted)}",
                hint="classes.NAME=OTHER: NAME as the dataset says, OTHER as the folder does",
            )
        for other in others:
            if found.setdefault(other, label) != label:
                raise DataError(
                    f"folder: classes maps {other!r} to two classes: {wanted[found[other]]} and {name}"
                )
    return found


def _read_map(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        content = json.loads(read_regular(path, _MOST_MAP_BYTES))
        return {
            str(name): tuple(map(str, others if isinstance(others, list) else [others]))
            for name, others in content.items()
        }
    except (ValueError, AttributeError, RecursionError):
        raise DataError(f'folder: class_map: {shown(path)} is not {{"cat": ["Cat", "kitty"]}}') from None


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
        lines.append(f"  the dataset has, and the folder lacks: {_some(lacking)}")
    if strange:
        lines.append(f"  the folder has, and the dataset lacks: {_some(strange)}")
    if all(part.numbered for part in found):
        lines.append(f"  labels are numbers from 0 to {len(wanted) - 1}, in this order: {_some(wanted)}")
    if lacking and strange:
        hint = f"classes.{lacking[0]}={strange[0]} if they are the same; class_map=FILE.json says it of many"
    elif strange:
        hint = "unknown_classes=leave_out reads the others alone"
    else:
        hint = "every class needs generated images: it could not be compared otherwise"
    raise DataError("\n".join(lines), hint=hint)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return shown(", ".join(names[:_SHOWN])) + more
