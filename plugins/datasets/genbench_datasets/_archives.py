"""Images in class folders, inside an archive or extracted: ImageNetV2 (tar.gz) and ImageNet-Sketch (zip).

An archive is read once, a few images in memory at a time; encoded images go into an Arrow file in the step's
scratch folder. A class folder is called by its WordNet id, or by its place among ImageNet's 1,000 classes:
`10` is the eleventh of them, wherever it comes in the order of names.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from genbench.errors import DataError
from genbench.files import read_regular
from genbench.image_files import check_image
from genbench.parquet import write_arrow
from genbench.protocols import RunContext
from genbench.unpacking import MOST_FILE_BYTES, Unpacked, unpacked
from genbench_datasets.configs._tables import ARCHIVES

_BATCH_BYTES = 8 << 20  # encoded images in memory at a time
_HINT = "download it again, or put the published files into the mirror"


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


def _batches(files: Iterator[Unpacked]) -> Iterator[list[Unpacked]]:
    batch, size = list[Unpacked](), 0
    for file in files:
        batch.append(file)
        size += len(file.content)
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _members(owner: str, files: Mapping[str, Path]) -> Iterator[Unpacked]:
    """Yield the files, hidden ones left out."""
    archives = [path for name, path in files.items() if name.endswith(ARCHIVES)]
    try:
        if archives:
            yield from unpacked(archives[0])
            return
        for name, path in files.items():
            if not path.name.startswith("."):
                yield Unpacked(PurePosixPath(name), read_regular(path, MOST_FILE_BYTES))
    except DataError as problem:
        raise DataError(f"{owner}: {problem.message}", hint=problem.hint or _HINT) from problem


def _label(owner: str, file: Unpacked, known: Mapping[str, int]) -> int:
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
