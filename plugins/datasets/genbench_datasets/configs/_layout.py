"""Which files of a folder are images of which class and split: by folders, or by a table of labels.

Imports neither torch nor numpy: options ask here before anything is planned, and the dataset when it is read.
"""

import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from genbench.errors import DataError, listed_problems
from genbench.files import shown, tree_files
from genbench.image_files import SUFFIXES

Layout = Literal["auto", "flat", "splits"]
Split = Literal["train", "test", "val"]
ImageProblem = Callable[[Path], str]

SPLITS: tuple[Split, ...] = ("train", "val", "test")  #: in the order in which they are told
#: What folders of splits, and entries of a split column, are called, in small letters.
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
SHIFTS = "shifts"
SKIP_HINT = "replace them, take them out of the folder, or leave them out: imagefolder:PATH,skip_broken=true"
_FEW = 5  # images of a class: val and test take a tenth and a fifth of them
_NAMED = 5  # files that a remark names


class Labelled(NamedTuple):
    """A file, and its class by its place in `Found.classes`."""

    path: Path
    label: int


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        layout: How that is known, in words.
        classes: Names of the classes, sorted.
        splits: The files of those splits that the owner made; `train` alone where there are none.
        shifts: Those of each shift.
        problems: What is wrong with the layout.
        unused: Images that lie in no class folder, by their path in the folder.
        left_out: Why files cannot be used, by their path in the folder; left out where the options say so.
    """

    layout: str
    classes: tuple[str, ...]
    splits: Mapping[Split, Sequence[Labelled]]
    shifts: Mapping[str, Sequence[Labelled]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> Iterator[Labelled]:
        """Yield all files."""
        for part in (*self.splits.values(), *self.shifts.values()):
            yield from part


def folder_files(root: Path, *, follow_links: bool) -> list[Path]:
    """Return the files below a folder, without hidden ones and those in hidden folders.

    Raises:
        DataError: Something in it cannot be followed or opened.
    """
    hint = "imagefolder:PATH,follow_links=true to read it, or copy what it leads to: cp -rL PATH COPY"
    files = tree_files(root, follow_links=follow_links, hint=hint)
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def by_folders(root: Path, files: Sequence[Path], layout: Layout) -> Found:
    """Find classes and splits by the names of folders.

    `splits` is chosen where `train/` holds folders, else every folder is a class.

    Raises:
        DataError: The layout that was asked for is not there, or it is not clear which one is.
    """
    folders = _folders(root)
    named = _split_folders(root, folders)
    has_splits = "train" in named and bool(_folders(named["train"]))
    if layout == "auto":
        _check_clear(root, folders, named, has_splits=has_splits)
    if layout == "splits" and not has_splits:
        there = _some([path.name for path in folders]) or "no folder"
        raise DataError(
            f"{shown(root)} has no train/ with class folders inside. Found: {there}",
            hint="layout=flat takes every folder for a class",
        )
    below = _below(root, files)
    shifts = {path.name: path for path in _folders(root / SHIFTS)}
    if has_splits and layout != "flat":
        return _by_split(root, below, named, shifts)
    classes = {path.name: path for path in folders if path.name != SHIFTS or not shifts}
    names = tuple(sorted({_same(name) for name in classes}))
    problems = [] if len(names) > 1 else [_too_few(root, names)]
    train = list(_labelled(classes.values(), names, below))
    problems += _empty_folders(classes.values(), train)
    found = Found("class folders", names, {"train": train}, problems=tuple(problems))
    unused = [path for path in files if path.parent == root]
    return _with_shifts(root, replace(found, unused=_unused(root, unused)), shifts, below)


def usable(found: Found, image_problem: ImageProblem, *, root: Path, skip_broken: bool) -> Found:
    """Return what is there without what cannot be used, which `skip_broken` allows.

    Raises:
        DataError: Files cannot be used, or a class has no image; all of them are named.
    """
    broken = {file.path: reason for file in found.files() if (reason := _problem(file.path, image_problem))}
    problems = list(found.problems)
    if skip_broken:
        found = _without(found, broken, root)
    else:
        problems += [f"{shown(path)} {reason}" for path, reason in sorted(broken.items())]
    # A class that is empty without them is named beside them only where they were to be left out.
    counts = Counter(file.label for file in found.splits["train"])
    none_left = [name for label, name in enumerate(found.classes) if not counts[label]]
    if none_left and broken:
        problems.append(f"no usable training image: {_some(none_left)}")
    if problems:
        what = (
            f"things are wrong with {shown(root)}"
            if found.problems
            else f"files of {shown(root)} cannot be used"
        )
        raise listed_problems(what, problems, hint=SKIP_HINT if broken and not skip_broken else "")
    return found


def remarks(found: Found, val_fraction: float, test_fraction: float) -> Iterator[str]:
    """Say what was found, and what the harness makes of it."""
    sizes = ", ".join(f"{name} {len(files):,}" for name, files in found.splits.items())
    shifts = "".join(f", shift {name} {len(files):,}" for name, files in found.shifts.items())
    yield f"{found.layout}; {len(found.classes)} classes; images: {sizes}{shifts}"
    if "test" not in found.splits:
        other = "; if val is what you test on, call it test" if "val" in found.splits else ""
        yield f"test is drawn from train (test_fraction={test_fraction:g}){other}"
    if "val" in found.splits:
        yield "val is the one that is given: val_fraction is not used, and limit_train does not limit it"
    else:
        yield f"val is drawn from train (val_fraction={val_fraction:g}, at least 1,000 where a fifth allows)"
    counts = Counter(file.label for file in found.splits["train"])
    small = [f"{name} {counts[label]}" for label, name in enumerate(found.classes) if counts[label] < _FEW]
    if small and len(found.splits) < len(SPLITS):
        yield f"classes so small that a split may have none of their images: {_some(small)}"
    plain = Counter(name.casefold() for name in found.classes)
    if alike := [name for name in found.classes if plain[name.casefold()] > 1]:
        yield f"classes that differ in upper and lower case only, and count as several: {_some(alike)}"
    if found.unused:
        yield f"not used, in no class folder: {_some(found.unused, _NAMED)}"
    if found.left_out:
        many = "1 file" if len(found.left_out) == 1 else f"{len(found.left_out):,} files"
        yield f"left out by skip_broken: {many}: {_some([*found.left_out], _NAMED)}"


# --------------------------------------------------------------------------------------------------- folders


def _by_split(
    root: Path, below: Mapping[Path, Sequence[Path]], named: Mapping[Split, Path], shifts: Mapping[str, Path]
) -> Found:
    """Read `train/`, `test/` and `val/`, which must have the same classes."""
    of_split: dict[Split, list[Path]] = {split: _folders(named[split]) for split in SPLITS if split in named}
    classes: dict[Split, set[str]] = {
        split: {_same(path.name) for path in folders} for split, folders in of_split.items()
    }
    names = tuple(sorted(classes["train"]))
    problems = [] if len(names) > 1 else [_too_few(named["train"], names)]
    for split, own in classes.items():
        folder = named[split].name
        if lacking := sorted(classes["train"] - own):
            problems.append(f"{folder}/ lacks classes of train: {_some(lacking)}")
        if more := sorted(own - classes["train"]):
            problems.append(f"{folder}/ has classes that train lacks: {_some(more)}")
    parts: dict[Split, Sequence[Labelled]] = {}
    for split, folders in of_split.items():
        parts[split] = list(_labelled(folders, names, below))
        problems += _empty_folders(folders, parts[split])
    layout = "folders of splits: " + ", ".join(f"{named[split].name}/" for split in of_split)
    unused = [path for own in below.values() for path in own if path.parent in {root, *named.values()}]
    found = Found(layout, names, parts, problems=tuple(problems), unused=_unused(root, unused))
    return _with_shifts(root, found, shifts, below)


def _with_shifts(
    root: Path, found: Found, shifts: Mapping[str, Path], below: Mapping[Path, Sequence[Path]]
) -> Found:
    """Add the shifts, which may have some of the classes."""
    problems, parts = list(found.problems), dict[str, Sequence[Labelled]]()
    for name, folder in shifts.items():
        folders = _folders(folder)
        strange = sorted({_same(path.name) for path in folders} - set(found.classes))
        if strange:
            problems.append(f"{SHIFTS}/{name}/ has classes that train lacks: {_some(strange)}")
        parts[name] = list(_labelled(folders, found.classes, below))
        problems += _empty_folders(folders, parts[name])
    return replace(found, shifts=parts, problems=tuple(problems))


def _check_clear(
    root: Path, folders: Sequence[Path], named: Mapping[Split, Path], *, has_splits: bool
) -> None:
    """Refuse folders of which nobody knows whether they are classes or splits."""
    others = [path.name for path in folders if path not in named.values() and path.name != SHIFTS]
    halves = [path.name for split, path in named.items() if split != "train" and _folders(path)]
    ways = "layout=splits reads train/, test/ and val/ alone; layout=flat takes every folder for a class"
    if has_splits and others:
        raise DataError(
            f"{shown(root)} has train/ with folders inside, and beside it: {_some(sorted(others))}", hint=ways
        )
    if not has_splits and halves:
        raise DataError(
            f"{shown(root)} has {'/, '.join(halves)}/ with folders inside, and no such train/",
            hint="put the classes to train on into train/, or say layout=flat: every folder is a class",
        )


def _split_folders(root: Path, folders: Sequence[Path]) -> dict[Split, Path]:
    found: dict[Split, Path] = {}
    for path in folders:
        split = SPLIT_NAMES.get(path.name.lower())
        if split in found:
            raise DataError(
                f"{shown(root)} has both {found[split].name}/ and {path.name}/, which are the same split",
                hint="rename one, or say layout=flat: every folder is a class",
            )
        if split is not None:
            found[split] = path
    return found


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _below(root: Path, files: Sequence[Path]) -> Mapping[Path, Sequence[Path]]:
    """Return the files below each folder that may be a class: two levels, or three in shifts."""
    found: dict[Path, list[Path]] = {}
    for path in files:
        parts = path.relative_to(root).parts[:-1]
        for depth in range(min(len(parts), 3) + 1):
            found.setdefault(root.joinpath(*parts[:depth]), []).append(path)
    return found


def _labelled(
    folders: Iterable[Path], names: Sequence[str], below: Mapping[Path, Sequence[Path]]
) -> Iterator[Labelled]:
    """Yield all files below class folders, by class and then by path."""
    places = {name: label for label, name in enumerate(names)}
    for folder in sorted(folders, key=lambda path: (_same(path.name), path)):
        label = places.get(_same(folder.name))
        if label is not None:
            yield from (Labelled(path, label) for path in below.get(folder, ()))


def _empty_folders(folders: Iterable[Path], files: Sequence[Labelled]) -> list[str]:
    filled = {parent for file in files for parent in file.path.parents}
    return [
        f"class {path.name!r} is empty: {shown(path)} holds no image"
        for path in folders
        if path not in filled
    ]


def _unused(root: Path, files: Iterable[Path]) -> tuple[str, ...]:
    images = {path for path in files if path.suffix.lower() in SUFFIXES}
    return tuple(sorted(shown(path.relative_to(root)) for path in images))


def _too_few(folder: Path, names: Sequence[str]) -> str:
    inner = [path.name for path in _folders(folder / names[0])] if len(names) == 1 else []
    if len(inner) > 1:
        typed = shlex.quote(f"imagefolder:{folder / names[0]}")
        return (
            f"{shown(folder)} holds one folder, {shown(names[0])}; class folders lie one level down "
            f"({_some(inner, _NAMED)}): --dataset {shown(typed)}"
        )
    return (
        f"{shown(folder)} needs at least two class folders, found {len(names)}: {_some(names) or 'none'}; "
        "put the images of each class into a folder of its own: PATH/cat/1.jpg PATH/dog/1.jpg"
    )


# ----------------------------------------------------------------------------------------------------- files


def _problem(path: Path, image_problem: ImageProblem) -> str:
    if "::" in str(path.absolute()):  # the `datasets` library takes such a name for a file inside an archive
        return "has a name that cannot be read: '::' is the mark of a file in an archive"
    return image_problem(path)


def _without(found: Found, broken: Mapping[Path, str], root: Path) -> Found:
    def kept(files: Sequence[Labelled]) -> list[Labelled]:
        return [file for file in files if file.path not in broken]

    return replace(
        found,
        splits={name: kept(files) for name, files in found.splits.items()},
        shifts={name: kept(files) for name, files in found.shifts.items()},
        left_out={shown(path.relative_to(root)): reason for path, reason in sorted(broken.items())},
    )


def _same(name: str) -> str:
    """Return a name as it is compared: macOS and Linux spell the same accent with other code points."""
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more
