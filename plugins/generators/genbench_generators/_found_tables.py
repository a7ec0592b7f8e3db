"""Generated images in parquet files, as `datasets` writes them."""

from pathlib import Path
from typing import Any

import numpy as np

from genbench.errors import DataError
from genbench.files import said
from genbench.images import ArrowImages
from genbench.parquet import ParquetRows, named_labels
from genbench_generators._found import Found, Look
from genbench_generators.configs._layouts import Part
from genbench_generators.configs.folder import FolderConfig

_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "class_name", "target", "wnid", "synset")
_IMAGE_COLUMNS = ("image", "img", "images")


def open_table(part: Part, config: FolderConfig, look: Look, work: Path) -> Found:
    owner = f"folder: {part.place}"
    rows = ParquetRows([part.files[name] for name in sorted(part.files)], work / "arrow")
    image = _image_column(owner, rows, config.image_key)
    label = _label_column(owner, rows, config.label_key)
    names, labels = named_labels(rows, label, owner)
    kind = str(getattr(rows.features[label], "dtype", ""))
    numbered = type(rows.features[label]).__name__ != "ClassLabel" and "int" in kind
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        raise DataError(
            f"{owner}: labels must lie in 0..{len(names) - 1}, found {labels.min()}..{labels.max()}"
        )
    table = rows.select_columns([image]).select(np.arange(len(rows)))
    return Found(
        ArrowImages(table, image, labels, names, look.size, framing=look.framing),
        numbered=numbered,
        stays=False,
    )


def _image_column(owner: str, rows: ParquetRows, wanted: str) -> str:
    """Return the column of images; one that `datasets` did not write is known by its form."""
    import datasets

    typed = [name for name, feature in rows.features.items() if type(feature).__name__ == "Image"]
    likely = [wanted] if wanted else typed or [name for name in _IMAGE_COLUMNS if name in rows.features]
    name = likely[0] if likely else ""
    feature = rows.features.get(name)
    if isinstance(feature, dict) and feature.keys() == {"bytes", "path"}:
        rows.features[name] = feature = datasets.Image()
    if type(feature).__name__ != "Image":
        raise DataError(
            f"{owner}: no column of images is known by its type. Found: {_columns(rows)}",
            hint="folder:PATH,image_key=COLUMN, a column of {bytes, path} as `datasets` writes it",
        )
    return name


def _label_column(owner: str, rows: ParquetRows, wanted: str) -> str:
    typed = [name for name, feature in rows.features.items() if type(feature).__name__ == "ClassLabel"]
    likely = (
        [wanted]
        if wanted
        else typed
        if len(typed) == 1
        else [n for n in _LABEL_COLUMNS if n in rows.features]
    )
    if likely and likely[0] in rows.features:
        return likely[0]
    raise DataError(
        f"{owner} has no column of classes; captions alone do not say which class an image is of. Found: "
        f"{_columns(rows)}",
        hint="folder:PATH,label_key=COLUMN, if one of them holds classes",
    )


def _columns(rows: ParquetRows) -> str:
    return said(", ".join(f"{name} ({_type(feature)})" for name, feature in rows.features.items()))


def _type(feature: Any) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)
