"""Images in class folders, inside an archive or extracted: ImageNetV2 (tar.gz) and ImageNet-Sketch (zip).

An archive is read once, a few images in memory at a time; encoded images go into an Arrow file in the step's
scratch folder. A class folder is called by its WordNet id, or by its place among ImageNet's 1,000 classes:
`10` is the eleventh of them, wherever it comes in the order of names.
"""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from genbench.errors import DataError
from genbench.image_files import check_image
from genbench.protocols import RunContext
from genbench_datasets._arrow import write_arrow
from genbench_datasets.configs._tables import ARCHIVES

_BATCH_BYTES = 8 << 20  # encoded images in memory at a time
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError)
_HINT = "download it again, or put the published files into the mirror"


class _File(NamedTuple):
    name: PurePosixPath
    content: bytes


def class_folders(owner: str, files: Mapping[str, Path], classes: Sequence[str], ctx: RunContext) -> Any:
    """Read images as a `datasets.Dataset` with `image` and `label`, by class and then by file name.

    Args:
        owner: Whose they are, for messages: "shift 'imagenetv2-top-images'".
        files: One archive, or the images by their paths.
        classes: WordNet ids in the order of labels.
        ctx: Gives the scratch folder.

    Raises:
        DataError: A file is not an image or is in no class folder, there is none, or the archive is broken.
    """
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]

    known = {name: label for label, name in enumerate(classes)}
    known |= {str(label): label for label in range(len(classes))}
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
    )
    order = list[tuple[int, str]]()

    def tables() -> Iterator[Any]:
        for batch in _batches(_members(owner, files)):
            labels = [_label(owner, file, known) for file in batch]
            order.extend((label, file.name.name) for label, file in zip(labels, batch, strict=True))
            images = [{"bytes": file.content, "path": file.name.name} for file in batch]
            yield pa.table({"image": images, "label": labels}, schema=features.arrow_schema)

    table = write_arrow(tables(), features, ctx.work / "arrow")
    if not order:
        raise DataError(f"{owner}: {', '.join(files)} holds no image", hint=_HINT)
    return table.select(np.array(sorted(range(len(order)), key=order.__getitem__)))


def _batches(files: Iterator[_File]) -> Iterator[list[_File]]:
    batch, size = list[_File](), 0
    for file in files:
        batch.append(file)
        size += len(file.content)
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _members(owner: str, files: Mapping[str, Path]) -> Iterator[_File]:
    """Yield the files, hidden ones left out."""
    archives = [path for name, path in files.items() if name.endswith(ARCHIVES)]
    if archives:
        try:
            yield from _unpacked(archives[0])
        except _BROKEN as problem:
            raise DataError(f"{owner}: {archives[0]} cannot be read: {problem}", hint=_HINT) from problem
        return
    for name, path in files.items():
        if not path.name.startswith("."):
            yield _File(PurePosixPath(name), path.read_bytes())


def _unpacked(archive: Path) -> Iterator[_File]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                name = PurePosixPath(info.filename)
                if not info.is_dir() and not name.name.startswith("."):
                    yield _File(name, packed.read(info))
        return
    with gzip.open(archive) as content, tarfile.open(fileobj=content, mode="r|") as stream:
        for member in stream:
            name, file = PurePosixPath(member.name), stream.extractfile(member)
            if file is not None and not name.name.startswith("."):
                yield _File(name, file.read())
        while content.read(_BATCH_BYTES):
            """Reach the checksum: tarfile takes an archive that ends between two files for a whole one."""


def _label(owner: str, file: _File, known: Mapping[str, int]) -> int:
    """Return the class of a file.

    Raises:
        DataError: It is in no class folder, or is not an image.
    """
    label = known.get(file.name.parent.name)
    if label is None:
        raise DataError(
            f"{owner}: {file.name} is in no class folder; these are called by WordNet id, or 0 to 999"
        )
    try:
        check_image(file.content, str(file.name))
    except DataError as problem:
        raise DataError(f"{owner}: {problem.message}", hint=_HINT) from problem
    return label
