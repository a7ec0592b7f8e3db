"""Which files a set of generated images consists of, and in which layout: by their names alone.

Imports neither torch nor numpy. What cannot be labelled images, whatever is in it, is refused here, before a
plan is made: the message says why, and how to convert it.
"""

import glob
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from genbench import hub
from genbench.errors import DataError, NothingThereError
from genbench.files import open_regular, shown, tree_files
from genbench.image_files import SUFFIXES
from genbench.unpacking import open_zip, zip_images

Kind = Literal["tree", "labelled", "zip", "npz", "parquet", "rows"]
LIST = "dataset.json"  #: where StyleGAN and EDM keep labels
ROW_LABELS = "labels.npy"  #: how the labels beside a `.bin` are called among the files of a part
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_PARQUET = ("data/*.parquet", "*/*.parquet", "*.parquet")
_SHOWN = 10
_LAYOUTS: Mapping[Kind, str] = {
    "tree": "class folders",
    "labelled": f"images that {LIST} labels",
    "zip": "a zip",
    "npz": "arrays in a .npz",
    "parquet": "a table in parquet",
    "rows": "rows of pixels",
}
_PICKLES = frozenset({".pickle", ".pkl", ".p", ".pth", ".pt"})
_PACKED = frozenset({".tar", ".gz", ".tgz", ".xz", ".7z", ".rar", ".bz2"})
#: Classes of sets that tell generated images from real ones, and nothing else.
_ORIGINS = frozenset({"fake", "real", "ai", "nature", "generated", "synthetic", "0_real", "1_fake"})


@dataclass(frozen=True)
class Part:
    """Files that are read together.

    Attributes:
        kind: `tree`: images by class folder; `labelled`: images that `dataset.json` labels; `zip`: either of
            them, in an archive; `npz`: arrays; `parquet`: a table in one or more files; `rows`: Sehwag's
            `.bin` of pixels, with labels.
        place: What messages call it.
        files: Its files, by names that do not depend on where they lie.
        class_part: Of a `tree`, which part of a file's name is its class: the first, or -2, the last folder.
        used: Which folder or files of the place are read, where others lie beside them.
        unused: What lies beside them.
    """

    kind: Kind
    place: str
    files: Mapping[str, Path]
    used: str = ""
    unused: tuple[str, ...] = ()
    class_part: int = 0

    def in_words(self) -> str:
        """Say what the part is, how many images each class has if names tell, and what is left unused."""
        said = [_LAYOUTS[self.kind]]
        if self.kind == "tree":
            said.append(_counted([PurePosixPath(name).parts[self.class_part] for name in self.files]))
        if self.kind == "zip":
            said += _inside(self.files["images.zip"])
        if self.used:
            said.append(f"read: {shown(self.used)}")
        if self.unused:
            more = f" and {len(self.unused) - _SHOWN:,} more" if len(self.unused) > _SHOWN else ""
            said.append(f"not used: {shown(', '.join(self.unused[:_SHOWN]))}{more}")
        return "; ".join(said)


def class_images(names: Iterable[str]) -> tuple[list[str], list[str], str]:
    """Return the images among the files of a zip, the class of each, and the folder in which classes lie.

    That is `train/` where there is one, or the folder that was packed, or empty.
    """
    known = sorted(names)
    top = {PurePosixPath(name).parts[0] for name in known if "/" in name}
    inner = "train/" if "train" in top and any(name.count("/") > 1 for name in known) else ""
    if len(top) == 1 and all(name.count("/") > 1 for name in known):
        inner = f"{next(iter(top))}/"
    images = [
        name
        for name in known
        if name.startswith(inner)
        and "/" in name[len(inner) :]
        and PurePosixPath(name).suffix.lower() in SUFFIXES
    ]
    return images, [name[len(inner) :].partition("/")[0] for name in images], inner


def _counted(classes: Sequence[str]) -> str:
    """Say how many images there are, from the class of each."""
    counts = Counter(classes).values()
    least, most = min(counts), max(counts)
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{len(classes):,} images of {len(counts):,} classes, {each} of each"


def _inside(archive: Path) -> list[str]:
    """Say what of a zip is read; nothing of one that cannot be: that is said when it is opened."""
    try:
        with open_regular(archive) as file:
            members = list(zip_images(open_zip(file), file))
    except Exception:  # zipfile raises nearly every kind on broken files
        return []
    if LIST in members:
        return [f"labelled by its {LIST}"]
    images, classes, inner = class_images(members)
    if not images:
        return []
    others = [name for name in members if name not in set(images)]
    unused = sorted({name.partition("/")[0] for name in others if not inner or not name.startswith(inner)})
    return [
        _counted(classes),
        *([f"read: {shown(inner)}"] if inner else []),
        *([f"not used: {shown(', '.join(unused[:_SHOWN]))}"] if unused else []),
    ]


def find_parts(path: str, *, follow_links: bool) -> list[Part]:
    """Find the files that `path` names: a file, a folder, a pattern of either, or `hub:ORG/NAME[/PATTERN]`.

    Raises:
        DataError: There are none, or they are in no layout that holds classes.
    """
    if path.startswith("hub:"):
        return list(_from_hub(path.removeprefix("hub:")))
    places = [Path(one).expanduser() for one in _expanded(path)]
    found = [part for place in places for part in _parts_at(place, follow_links)]
    if not found:
        raise DataError(f"folder: {shown(path)} holds no image", hint="genbench show generator folder")
    if len(found) == 1 and found[0].kind == "tree":
        _refuse_wrapper(places[0], found[0])
    return found


def _refuse_wrapper(place: Path, part: Part) -> None:
    """Refuse a folder whose only folder holds the class folders: all images would be of one class.

    Raises:
        DataError: It is such a one; the message says what to type.
    """
    folders = {PurePosixPath(name).parent.parts for name in part.files}
    first, last = min(folders), max(folders)  # what these two share, all those between them share, too
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    shared = PurePosixPath(*(name for name, _ in alike))
    levels = len(shared.parts)
    if not levels or any(len(one) == levels for one in folders):
        return
    below = sorted({one[levels] for one in folders})
    raise DataError(
        f"folder: {shown(place)} holds one folder, {shown(str(shared))}, and no images: class folders lie "
        f"{'one level' if levels == 1 else f'{levels} levels'} down: {shown(', '.join(below[:_SHOWN]))}",
        hint=f"--generator {shlex.quote(f'folder:{place / shared}')}",
    )


def origins_only(classes: Sequence[str]) -> bool:
    """Say whether classes tell only what is real: FAKE and REAL, ai and nature."""
    return bool(classes) and {one.casefold() for one in classes} <= _ORIGINS


def no_classes(place: str) -> DataError:
    """Return what is said of a set that knows real from generated, and nothing else."""
    return DataError(
        f"folder: {shown(place)} tells generated images from real ones (FAKE and REAL, ai and nature), and "
        "not of which class an image is: a classifier cannot learn its classes from it",
        hint="sort the generated images into a folder per class, PATH/cat/1.png, by the list that their "
        "publisher made them from; leave the real ones out",
    )


def _expanded(path: str) -> Iterator[str]:
    """Yield what a path names: `{1,2}` as in a shell, then patterns, in the order of names."""
    if Path(path).expanduser().exists():
        yield path
        return
    braces = _BRACES.search(path)
    if braces:
        for word in braces.group(1).split(","):
            yield from _expanded(path[: braces.start()] + word + path[braces.end() :])
        return
    found = sorted(glob.glob(str(Path(path).expanduser()))) if glob.has_magic(path) else []
    if not found:
        raise NothingThereError(
            f"folder: {shown(path)!r} does not exist",
            hint="--generator folder:PATH, a folder or file of generated images, or folder:hub:ORG/NAME",
        )
    yield from found


def _from_hub(name: str) -> Iterator[Part]:
    """Yield what lies in a repository on the Hub: of a data set, or of a model, as EDM's images for SVHN."""
    organisation, _, rest = name.partition("/")
    repository, _, pattern = rest.partition("/")
    named = f"{organisation}/{repository}"
    patterns = (pattern,) if pattern else _PARQUET
    try:
        files = hub.find(named, patterns, "dataset")
    except DataError as problem:
        if not pattern:
            hint = (
                f"folder:hub:{named}/FILE names files that are not parquet, patterns included. {problem.hint}"
            )
            raise DataError(problem.message, hint=hint) from None
        files = hub.find(named, patterns, "model")
    images = {one: file for one, file in files.items() if file.suffix.lower() in SUFFIXES}
    if images:
        if any("/" not in one for one in images):
            raise _no_class_folders(Path(f"hub:{name}"), list(images.values()))
        yield Part("tree", f"hub:{name}", images, class_part=-2)
        return
    tables = {one: file for one, file in files.items() if file.suffix == ".parquet"}
    if tables:
        yield _table(f"hub:{name}", tables)
    for one, file in files.items():
        if one not in tables:
            yield _part_of_file(file)


def _parts_at(place: Path, follow_links: bool) -> Iterator[Part]:
    """Yield what is at a place: usually one part."""
    if not place.is_dir():
        yield _part_of_file(place)
    elif (place / LIST).is_file():
        yield Part("labelled", shown(place), dict(_below(place, place, follow_links)) | {LIST: place / LIST})
    else:
        yield _part_of_folder(place, follow_links)


def _part_of_folder(place: Path, follow_links: bool) -> Part:
    here = sorted(one for one in place.iterdir() if not one.name.startswith("."))
    files = [one for one in here if one.is_file()]
    tables = {
        one.relative_to(place).as_posix(): one for pattern in _PARQUET for one in sorted(place.glob(pattern))
    }
    arrays = [one for one in files if one.suffix in {".npz", ".bin"}]
    if tables:
        return _table(shown(place), tables)
    if len(arrays) == 1:
        return _part_of_file(arrays[0])
    if arrays:
        names = ", ".join(one.name for one in arrays[:_SHOWN])
        raise DataError(
            f"folder: {shown(place)} holds several files of arrays, which may hold the same images: {names}",
            hint=f"folder:{shown(arrays[0])} for one, 'folder:{shown(place)}/*{arrays[0].suffix}' for all",
        )
    folders = [one for one in here if one.is_dir()]
    for one in files:
        if one.suffix.lower() in _PICKLES:
            _part_of_file(one)
    if not folders:
        raise _no_class_folders(place, files)
    return _tree(place, {one.name for one in folders}, follow_links)


def _tree(place: Path, names: set[str], follow_links: bool) -> Part:
    """Return a folder of class folders; of one that is split, the training images."""
    split = place / "train"
    is_split = "train" in names and any(one.is_dir() for one in split.iterdir())  # else a class of that name
    root = split if is_split else place
    below = dict(_below(root, place, follow_links))
    classes = {PurePosixPath(one).parts[0] for one in below if "/" in one}
    parents = {PurePosixPath(one).parts[-2] for one in below if "/" in one}
    if origins_only(sorted(classes)) or origins_only(sorted(parents)):
        raise no_classes(str(place))
    images = {one: path for one, path in below.items() if "/" in one}
    strange = [one for one in images if PurePosixPath(one).suffix.lower() not in SUFFIXES]
    if strange and all(
        PurePosixPath(one).suffix.lower() in {".zip", ".csv", ".txt", ".json"} for one in images
    ):
        raise _no_class_folders(place, [images[one] for one in strange])
    if strange:
        listed = ", ".join(shown(one) for one in strange[:_SHOWN])
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise DataError(
            f"folder: {shown(root)} holds files that are no images in its class folders: {listed}{more}. "
            f"Known: {', '.join(sorted(SUFFIXES))}",
            hint="move files that are not images out of the class folders",
        )
    if not images:
        raise _no_class_folders(root, list(below.values()))
    unused = [one.name for one in sorted(place.iterdir()) if one != split] if is_split else []
    unused += [f"{root.name}/{one}" if is_split else one for one in below if "/" not in one]
    visible = tuple(shown(one) for one in unused if not PurePosixPath(one).name.startswith("."))
    return Part("tree", shown(place), images, "train/" if is_split else "", visible)


def _below(root: Path, top: Path, follow_links: bool) -> Iterator[tuple[str, Path]]:
    hint = "folder:PATH,follow_links=true to read it, or copy what it leads to: cp -rL PATH COPY"
    for one in tree_files(root, top=top, follow_links=follow_links, hint=hint):
        yield one.relative_to(root).as_posix(), one


def _table(place: str, tables: Mapping[str, Path]) -> Part:
    """Return parquet files as one table: those called `train`, where any is."""
    train = [name for name in sorted(tables) if PurePosixPath(name).name.startswith("train")]
    files = {f"{number:05d}.parquet": tables[name] for number, name in enumerate(train or sorted(tables))}
    unused = tuple(shown(name) for name in sorted(tables) if train and name not in train)
    return Part("parquet", place, files, ", ".join(train[:_SHOWN]) if unused else "", unused)


def _part_of_file(file: Path) -> Part:
    suffix, name = file.suffix.lower(), shown(file)
    if suffix == ".npz":
        return Part("npz", name, {"arrays.npz": file})
    if suffix == ".parquet":
        return _table(name, {file.name: file})
    if suffix == ".zip":
        return Part("zip", name, {"images.zip": file})
    if suffix == ".bin":
        return Part("rows", name, {"images.bin": file, ROW_LABELS: _labels_beside(file)})
    if suffix in _PICKLES:
        raise DataError(
            f"folder: {name} is a pickle: reading one runs whatever code its author put in; none is read",
            hint="where you trust it: python -c \"import pickle, numpy; d = pickle.load(open('FILE', 'rb')); "
            "numpy.savez('FILE.npz', image=d['data'], label=d['extrapolated_targets'])\"",
        )
    if suffix == ".npy":
        raise DataError(
            f"folder: {name} is one array, and images need labels",
            hint="python -c \"import numpy; numpy.savez('FILE.npz', image=numpy.load('IMAGES.npy'), "
            "label=numpy.load('LABELS.npy'))\"",
        )
    if suffix in _PACKED:
        raise DataError(f"folder: {name} is packed", hint="unpack it, and name the folder")
    raise DataError(
        f"folder: {name} is in no known layout; known are folders of class folders, .npz, .parquet, .zip "
        f"with class folders or {LIST}, and .bin with labels",
        hint="genbench show generator folder",
    )


def _labels_beside(file: Path) -> Path:
    """Return the labels of a `.bin`: `..._labels.npy` beside it."""
    stem = file.stem
    likely = [file.with_name(f"{one}_labels.npy") for one in (stem.removesuffix("_images"), stem)]
    others = sorted(file.parent.glob("*_labels.npy"))
    found = [one for one in likely if one.is_file()] or (others if len(others) == 1 else [])
    if not found:
        raise DataError(
            f"folder: {shown(file)} holds pixels without labels, and there is no {likely[0].name} beside it",
            hint="put the labels there, an array of whole numbers: numpy.save",
        )
    return found[0]


def _no_class_folders(place: Path, files: Sequence[Path]) -> DataError:
    """Return what is said of a folder that holds no class folders."""
    kinds = {one.suffix.lower() for one in files}
    hint = "put the images of each class into a folder of its own: PATH/cat/1.png PATH/dog/1.png"
    if kinds & {".zip", ".csv", ".txt", ".jsonl"} and not kinds & SUFFIXES:
        return DataError(
            f"folder: {shown(place)} holds archives and lists, as sets with captions do, and no classes",
            hint=f"unpack the archives; {hint}",
        )
    if kinds & SUFFIXES:
        return DataError(
            f"folder: {shown(place)} holds images without classes: they lie in no class folder, and there is "
            f"no {LIST}, which EDM's generate.py does not write",
            hint=hint,
        )
    return DataError(f"folder: {shown(place)} holds no image in a class folder", hint=hint)
