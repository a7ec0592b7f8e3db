"""What classes of the dataset may be called elsewhere, and which class the options say that a name is.

Imports neither torch nor numpy: a mistyped class is refused where plans are made, once classes are known.
"""

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from genbench.errors import DataError
from genbench.files import read_regular, shown
from genbench.image_files import folder_names
from genbench.synsets import synsets

FORM = "classes.NAME=OTHER: NAME as the dataset says, OTHER as the folder does"  #: how a class is mapped
_SHOWN = 20  # classes that a message names, of each side
_MOST_MAP_BYTES = 16 << 20
_SYNSET = re.compile(r"n[0-9]{8}")


def known_names(wanted: Sequence[str]) -> dict[str, int]:
    """Return what the dataset's classes may be called, beside their names."""
    plain = [plain_name(name) for name in wanted]
    known = {name: label for label, name in enumerate(plain) if plain.count(name) == 1}
    known |= {name: label for label, name in enumerate(folder_names(wanted))}
    by_id = [(own, label) for label, own in enumerate(synsets(wanted)) if own] if _is_imagenet(wanted) else []
    return known | dict(by_id)


def plain_name(name: str) -> str:
    """Return a name as it is compared: upper and lower case, `_`, `-` and spaces are the same."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def mapped_labels(said: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> dict[str, int]:
    """Return the class of each name that the options map.

    Args:
        said: Names of the folder by class of the dataset.
        wanted: The classes of the dataset.

    Raises:
        DataError: They name a class that the dataset does not have, or map a name to two.
    """
    known, found = known_names(wanted), dict[str, int]()
    for name, others in said.items():
        label = list(wanted).index(name) if name in wanted else known.get(plain_name(name), -1)
        if label < 0:
            raise DataError(
                f"folder: classes maps {name!r}, which is no class of the dataset: {some_names(wanted)}"
                f"{_guess(name, wanted)}",
                hint=FORM,
            )
        for other in others:
            if found.setdefault(other, label) != label:
                raise DataError(
                    f"folder: classes maps {other!r} to two classes: {wanted[found[other]]} and {name}"
                )
    return found


def check_mapped(mapped: Mapping[str, int], theirs: Sequence[str]) -> None:
    """Refuse names that the options map and that the folder does not have.

    Raises:
        DataError: It has not; the message names close ones.
    """
    for name in mapped:
        if name not in theirs:
            raise DataError(
                f"folder: classes maps to {name!r}, which is no class of the folder: {some_names(theirs)}"
                f"{_guess(name, theirs)}",
                hint=f"{FORM}, upper and lower case as there",
            )


def read_map(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a file that maps classes.

    Raises:
        DataError: It is none.
    """
    try:
        content = json.loads(read_regular(path, _MOST_MAP_BYTES))
        return {
            str(name): tuple(map(str, others if isinstance(others, list) else [others]))
            for name, others in content.items()
        }
    except (ValueError, AttributeError, RecursionError):
        raise DataError(f'folder: class_map: {shown(path)} is not {{"cat": ["Cat", "kitty"]}}') from None


def some_names(names: Sequence[str]) -> str:
    """Return names for a message: the first, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return shown(", ".join(names[:_SHOWN])) + more


def similar(name: str, names: Sequence[str]) -> str:
    """Return the name that is most like another, or nothing: numbers are like no other."""
    by_plain = {plain_name(one): one for one in names if not one.isdigit()}
    near = [] if name.isdigit() else get_close_matches(plain_name(name), by_plain, n=1)
    return by_plain[near[0]] if near else ""


def _guess(name: str, names: Sequence[str]) -> str:
    near = similar(name, names)
    return f". Did you mean {shown(near)}?" if near else ""


def _is_imagenet(wanted: Sequence[str]) -> bool:
    """Say whether it is worth asking timm, whose import takes seconds."""
    return len(wanted) == 1000 or any("," in name or _SYNSET.fullmatch(name) for name in wanted)
