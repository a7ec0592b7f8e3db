"""The classes of ImageNet-1k by WordNet id, as timm holds them."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

_CLASSES = 1000
_AGREEING = 900  # of 1,000 names that must be known before their order is believed


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet-1k's classes, in label order."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def synsets(names: Sequence[str]) -> list[str | None]:
    """Return the WordNet id of each class, by its id or by all its names ("goldfish, Carassius auratus").

    1,000 classes are also known by their order: where they are called 0 to 999, or where names that say
    nothing ("crane" is two classes) stand among names that are all in their place.
    """
    from timm.data.imagenet_info import ImageNetInfo

    ordered = imagenet_synsets()
    words: Any = ImageNetInfo("imagenet-1k").label_descriptions(as_dict=True)
    several = {word for word, count in Counter(words[synset] for synset in ordered).items() if count > 1}
    known = {words[synset]: synset for synset in ordered if words[synset] not in several}
    known |= {synset: synset for synset in ordered}
    found = [known.get(name) for name in names]
    in_place = [own == synset for own, synset in zip(found, ordered, strict=False) if own is not None]
    numbered = list(names) == [str(label) for label in range(_CLASSES)]
    if len(names) == _CLASSES and (numbered or (len(in_place) >= _AGREEING and all(in_place))):
        return list(ordered)
    return found
