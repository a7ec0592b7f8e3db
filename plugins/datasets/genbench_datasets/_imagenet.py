"""ImageNet's 1,000 classes by WordNet id, and the published class maps of its shifts.

ImageNet-R (arXiv:2006.16241), -A (arXiv:1907.07174) and -Sketch (arXiv:1905.13549) name their classes by
WordNet id, ImageNetV2 (arXiv:1902.10811) by their place among the 1,000; timm holds ids and names. ObjectNet
(Barbu et al., NeurIPS 2019) has 313 classes of its own; `objectnet.json` is the map published with it: 113 of
them are classes of ImageNet. Nine of these are several classes of ImageNet (a chair is a barber chair, a
folding chair or a rocking chair): as an image has one label here, the nine are left out, and 104 are scored.
The red border, one pixel wide, of ObjectNet's images is not cut off.
"""

import json
import re
from collections.abc import Sequence
from importlib import resources

from genbench.errors import DataError
from genbench.synsets import synsets
from genbench_datasets.configs._tables import PUBLISHED

_NAMED = 10  # classes that a message names
_HINT = "set class_maps=FILE, JSON that says what the shift's classes are called in the dataset"


def renamed_to(shift: str, names: Sequence[str], classes: Sequence[str]) -> dict[str, str | None]:
    """Return what a shift's classes are called among `classes`; None for classes of ImageNet not among them.

    Names that are not ImageNet's are left to be matched as they are.

    Raises:
        DataError: The shift is a published one, and its classes or `classes` are not ImageNet's.
    """
    own, same = synsets(classes), frozenset(classes)
    theirs = objectnet_synsets(names) if shift == "objectnet" else synsets(names)
    if shift in PUBLISHED:
        _check(f"shift {shift!r} is matched by WordNet id, and the dataset has", classes, own)
        if shift != "objectnet":
            _check(f"shift {shift!r} has", names, theirs)
    called = {synset: name for synset, name in zip(own, classes, strict=True) if synset is not None}
    found = zip(names, theirs, strict=True)
    if shift == "objectnet":
        return {name: called.get(synset or "") for name, synset in found}
    return {name: called.get(synset) for name, synset in found if synset is not None and name not in same}


def objectnet_synsets(names: Sequence[str]) -> list[str | None]:
    """Return the WordNet id of each class of ObjectNet that is one class of ImageNet, else None.

    Raises:
        DataError: A name is neither a folder nor a label of ObjectNet's 313.
    """
    packed = resources.files("genbench_datasets").joinpath("objectnet.json").read_text(encoding="utf-8")
    known = dict[str, list[str]]()
    for folder, entry in json.loads(packed).items():
        known[_plain(folder)] = known[_plain(entry["label"])] = entry["synsets"]
    unknown = [name for name in names if _plain(name) not in known]
    if unknown:
        raise DataError(
            f"shift 'objectnet' has classes that ObjectNet does not have: {_some(unknown)}", hint=_HINT
        )
    found = [known[_plain(name)] for name in names]
    return [ids[0] if len(ids) == 1 else None for ids in found]


def _check(what: str, names: Sequence[str], found: Sequence[str | None]) -> None:
    unknown = [name for name, synset in zip(names, found, strict=True) if synset is None]
    if unknown:
        raise DataError(f"{what} classes that are not ImageNet's: {_some(unknown)}", hint=_HINT)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
