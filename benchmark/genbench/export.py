"""Hand out a cell's synthetic images: as a folder of PNGs or as parquet, with manifest and data card.

Both forms load with `datasets`. Labels are the intended classes; nobody has looked at the images.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.artifacts import read_filter_report
from genbench.documents import Inputs
from genbench.errors import GenbenchError, UsageError
from genbench.escaping import (
    LONGEST_SENTENCE,
    csv_cell,
    markdown_block,
    markdown_span,
    markdown_text,
)
from genbench.image_files import folder_names
from genbench.images import LabelledImages
from genbench.plan import Plan, Step
from genbench.spec import Resolved
from genbench.steps.filtering import open_kept
from genbench.steps.samples import SyntheticSet, open_drawn, open_sample
from genbench.store import Artifact, Store

Form = Literal["imagefolder", "parquet"]
Origin = Literal["made", "given", "mixed"]
_COMMAND = "made by"  # of the card's facts, the one that is a command
_ROWS = 1000  # images in memory at a time
_MANIFEST: tuple[str, ...] = ("file", "label", "class", "seed", "parent", "prompt", "generator_key")


class CellImages(NamedTuple):
    """The synthetic images of a cell.

    Attributes:
        step: The `sample` step.
        made: What it left, and what its top-ups made after it.
        kept: Rows that the cell's filter kept: `int64 [n]`.
        filter: The cell's filter and what it reported; empty without one.
        keys: Key of the step that made each image of `made`: `step`, or one of its top-ups.
        origin: `made` by genbench, `given` as images that existed already, or `mixed` of both.
    """

    step: Step
    made: SyntheticSet
    kept: npt.NDArray[np.int64]
    filter: Mapping[str, Any]
    keys: Sequence[str]
    origin: Origin = "made"


def cell_images(plan: Plan, store: Store, cell: str) -> CellImages:
    """Open the synthetic images of a cell.

    Raises:
        UsageError: The plan has no such cell, or it is a baseline.
        GenbenchError: Its images are not in the store.
    """
    found = plan.find_cell(cell)
    if not found.sample:
        raise UsageError(f"{cell} is a baseline: it has no synthetic images")
    step = plan.steps[found.sample]
    there = {key: _there(store, key, plan.steps[key].label) for key in (step.key, *found.more)}
    more = {str(number): there[key] for number, key in enumerate(found.more, start=1)}
    made = open_drawn(Inputs(sample=there[step.key], more=more))
    keys = [key for key, artifact in there.items() for _ in open_sample(artifact).seeds]
    origin = _origin(found.arm.generator)
    if not found.filter:
        return CellImages(step, made, np.arange(len(made.images)), {}, keys, origin)
    judged = plan.steps[found.filter]
    verdicts = _there(store, judged.key, judged.label)
    report = {**judged.document["component"], **read_filter_report(verdicts)}
    return CellImages(step, made, open_kept(verdicts), report, keys, origin)


def _origin(generator: Resolved) -> Origin:
    if generator.spec.has_stock:
        return "given"
    inner = [_origin(one) for _, one in generator.references.values()]
    return "made" if all(one == "made" for one in inner) else "mixed"


def export_images(found: CellImages, form: Form, folder: Path, card: Mapping[str, str]) -> int:
    """Write a cell's images into a folder that does not exist yet; return how many.

    Args:
        found: The images.
        form: `imagefolder`: `train/CLASS/NUMBER.png`; `parquet`: `data/train-00000.parquet`.
        folder: Complete or not there at all.
        card: Facts for the data card, by title.

    Raises:
        UsageError: The folder exists.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="choose another --output, or remove it")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _WRITERS[form](found, unfinished)
        (unfinished / "README.md").write_text(_card(found, form, card), encoding="utf-8")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # of an export that did not come to its end
    return len(found.kept)


# ----------------------------------------------------------------------------------------------- the forms


@dataclass(frozen=True)
class _Row:
    """One image with its line of the manifest."""

    png: bytes
    facts: Mapping[str, Any]


def _rows(found: CellImages) -> Iterator[_Row]:
    """Yield the kept images in order."""
    made, names = found.made, found.made.images.class_names
    folders = folder_names(names)
    for start in range(0, len(found.kept), _ROWS):
        rows = found.kept[start : start + _ROWS]
        for row, pixels in zip(rows.tolist(), made.images.batch(rows).numpy(), strict=True):
            label = int(made.images.labels[row])
            facts = (
                f"train/{folders[label]}/{row:07d}.png",
                label,
                names[label],
                int(made.seeds[row]),
                int(made.sources[row]),
                made.prompts[row],
                found.keys[row],
            )
            yield _Row(_png(pixels), dict(zip(_MANIFEST, facts, strict=True)))


def _write_folder(found: CellImages, folder: Path) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _MANIFEST)
        writer.writeheader()
        for row in _rows(found):
            path = folder / row.facts["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.png)
            writer.writerow({name: csv_cell(fact) for name, fact in row.facts.items()})


def _write_parquet(found: CellImages, folder: Path) -> None:
    import datasets
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=list(found.made.images.class_names)),
        seed=datasets.Value("int64"),
        parent=datasets.Value("int64"),
        prompt=datasets.Value("string"),
        generator_key=datasets.Value("string"),
    )
    (folder / "data").mkdir()
    schema = features.arrow_schema
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(folder / "data" / "train-00000.parquet", schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        for row in _rows(found):
            image = {"bytes": row.png, "path": Path(row.facts["file"]).name}
            facts = {name: row.facts[name] for name in ("label", "seed", "parent", "prompt", "generator_key")}
            waiting.append({"image": image, **facts})
            if len(waiting) == _ROWS:
                flush()
        if waiting:
            flush()


_WRITERS: Mapping[Form, Callable[[CellImages, Path], None]] = {
    "imagefolder": _write_folder,
    "parquet": _write_parquet,
}


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode one image: `uint8 [3, H, W]`."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(content, "png")
    return content.getvalue()


# ------------------------------------------------------------------------------------------------ the card


_MADE = "`parent` is the training image that it was made from, or -1."
_ORIGINS: Mapping[Origin, str] = {
    "made": "made by genbench. A label is the class that an image was made for; nobody has checked it. "
    f"{_MADE}",
    "given": "which existed already: genbench did not make them, it was given them and brought them to this "
    "size. A label is the class that they were given under; nobody has checked it. `parent` is -1.",
    "mixed": "some made by genbench, others given to it, which existed already. A label is the class that an "
    f"image was made for or given under; nobody has checked it. {_MADE}",
}
LICENCES: Mapping[Origin, str] = {
    "made": "that of the data that the generator was fitted on, or edited.",
    "given": "unknown to genbench: that of the images as they were given; ask who published them.",
    "mixed": "of the images that were given, unknown to genbench: ask who published them; of the others, "
    "that of the data that their generator was fitted on, or edited.",
}


def _card(found: CellImages, form: Form, facts: Mapping[str, str]) -> str:
    """Write the data card: what the images are, how they were made, and what is not known of them."""
    made, document = found.made, found.step.document
    counts = {
        "asked for": made.counts.asked_images,
        "attempts": made.counts.attempts,
        **made.counts.faults,
        "made": made.counts.made_images,
        "dropped by the filter": len(made.images) - len(found.kept),
        "in this folder": len(found.kept),
    }
    per_class = np.bincount(made.images.labels[found.kept], minlength=made.images.num_classes)
    shape = "x".join(str(side) for side in made.images.image_shape)
    lines = [
        "---",
        "task_categories: [image-classification]",
        "tags: [synthetic, genbench]",
        *([] if form == "imagefolder" else _PARQUET_CONFIG),
        "---",
        f"# Synthetic images: {_fact(facts['generator'])} for {_fact(facts['dataset'])}",
        "",
        f"{len(found.kept)} images ({shape}), {_ORIGINS[found.origin]}",
        "",
        *(f"* {title}: {_fact(fact)}" for title, fact in facts.items() if fact and title != _COMMAND),
        *(f"* {title}: {markdown_span(fact)}" for title, fact in facts.items() if title == _COMMAND),
        f"* key of the sampled set: `{found.step.key}`",
        "",
        "| images | |",
        "| --- | ---: |",
        *(f"| {_fact(title)} | {count} |" for title, count in counts.items()),
        "",
        "| class | images |",
        "| --- | ---: |",
        *(f"| {_fact(name)} | {n} |" for name, n in zip(made.images.class_names, per_class, strict=True)),
        "",
        "The generator with all its options:",
        "",
        markdown_block(json.dumps(document["component"], indent=1, sort_keys=True), "json"),
        *_filter_lines(found.filter),
        "",
        f"Licence: {LICENCES[found.origin]}",
    ]
    return "\n".join(lines) + "\n"


def _fact(text: str) -> str:
    return markdown_text(text, LONGEST_SENTENCE)


_PARQUET_CONFIG = ("configs:", "- config_name: default", "  data_files: data/train-*.parquet")


def _filter_lines(report: Mapping[str, Any]) -> list[str]:
    if not report:
        return []
    options = json.dumps({name: report[name] for name in ("use", "version", "config")}, sort_keys=True)
    return [
        "",
        f"Filter: {markdown_span(options)}; per class {report['before']} before and {report['after']} after.",
    ]


def _there(store: Store, key: str, label: str) -> Artifact:
    artifact = store.open(key)
    if artifact is None:
        raise GenbenchError(
            f"not in the store: {label}", hint="`genbench run`, with the same options, makes it"
        )
    return artifact


def class_rows(images: LabelledImages, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return the first `count` of `rows` of every class, else -1: `int64 [classes, count]`."""
    table = np.full((images.num_classes, count), -1, dtype=np.int64)
    for label in range(images.num_classes):
        found = rows[images.labels[rows] == label][:count]
        table[label, : len(found)] = found
    return table
