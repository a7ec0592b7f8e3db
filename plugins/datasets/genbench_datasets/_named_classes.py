"""Classes that options name, by any of the names they have.

ImageNet's classes have several each ("tench, Tinca tinca") and a WordNet id; some share one: a crane is a
bird and a machine. Capitals, underscores and hyphens make no difference.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from genbench.errors import DataError
from genbench.files import read_regular, shown

_MOST_BYTES = 1 << 20
_SHOWN = 20  # classes that a message lists where none is near


def listed_in(file: Path) -> tuple[str, ...]:
    """Read names from a file, one a line; # starts a comment.

    Raises:
        DataError: It is no text, or names nothing.
    """
    try:
        lines = read_regular(file, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise DataError(f"classes_file: {shown(file)} is no text: {problem}") from None
    found = tuple(name for line in lines if (name := line.partition("#")[0].strip()))
    if not found:
        raise DataError(f"classes_file: {shown(file)} names no class", hint="one name or WordNet id a line")
    return found


def labels_of(
    wanted: Sequence[str], names: Sequence[str], synsets: Sequence[str | None], owner: str
) -> list[int]:
    """Return the labels of the classes that are wanted, ascending.

    Args:
        wanted: Names, or WordNet ids.
        names: Of all classes, in label order; synonyms stand between commas.
        synsets: Their WordNet ids, as far as these are known.
        owner: Whose they are, for messages.

    Raises:
        DataError: A name is unknown, or of several classes; all such names are listed.
    """
    places: dict[str, set[int]] = {}
    for label, (name, synset) in enumerate(zip(names, synsets, strict=True)):
        for word in {name, *name.split(","), *([synset] if synset else [])}:
            places.setdefault(_plain(word), set()).add(label)
    problems, found = list[str](), dict[int, str]()
    for name in wanted:
        labels = sorted(places.get(_plain(name), ()))
        if len(labels) != 1:
            problems.append(_unknown(name, labels, places, names, synsets))
        elif labels[0] in found:
            problems.append(f"{name!r} and {found[labels[0]]!r} are the same class")
        else:
            found[labels[0]] = name
    if problems:
        hint = "classes go by name, synonym or WordNet id; capitals and underscores make no difference"
        raise DataError(f"classes of {owner}: {'; '.join(problems)}", hint=hint)
    return sorted(found)


def _unknown(
    name: str,
    labels: Sequence[int],
    places: Iterable[str],
    names: Sequence[str],
    synsets: Sequence[str | None],
) -> str:
    if labels:
        several = [synsets[label] or names[label] for label in labels]
        return f"{name!r} is {len(labels)} classes: say {' or '.join(several)}"
    near = get_close_matches(_plain(name), [word for word in places if word], n=3)
    if near:
        return f"there is no {name!r}. Did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there is no {name!r}. Known: {', '.join(map(shown, names[:_SHOWN]))}{more}"


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
