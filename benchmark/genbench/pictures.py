"""The pictures that evaluators left: collected beside a run's leaderboard, with a page that shows them."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from genbench.disk import write_output
from genbench.escaping import (
    LONGEST_LABEL,
    LONGEST_SENTENCE,
    file_name,
    markdown_link,
    markdown_text,
)
from genbench.plan import Plan, PlannedRecord, mix_label
from genbench.store import Store

_LONGEST_NAME = 200  #: of a picture's file: every system takes 255 bytes


class Picture(NamedTuple):
    """One picture.

    Attributes:
        evaluator: Short name.
        title: What it shows: dataset, images, mix and classifier.
        file: Its path in the store.
    """

    evaluator: str
    title: str
    file: Path


def find_pictures(plan: Plan, store: Store) -> Iterator[Picture]:
    """Yield the PNGs of every evaluation, for the first seed of each row that has any."""
    seen: set[tuple[str, str]] = set()
    for planned in sorted(plan.records.values(), key=lambda one: one.arm.index):
        artifact = store.open(planned.key)
        about = (planned.evaluator.label, _title(planned))
        if artifact is not None and about not in seen:
            for file in sorted(artifact.folder.glob("*.png")):
                seen.add(about)
                yield Picture(*about, file)


def write_gallery(plan: Plan, store: Store, folder: Path) -> int:
    """Copy the pictures into `folder/pictures` and write `folder/pictures.md`; return how many there are."""
    by_evaluator: dict[str, list[str]] = defaultdict(list)
    count = 0
    for picture in find_pictures(plan, store):
        name = f"{file_name(f'{picture.evaluator}-{picture.title}-{picture.file.stem}', _LONGEST_NAME)}.png"
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.file, folder / "pictures" / name)
        about = f"{picture.title}: {picture.file.stem.replace('_', ' ')}"
        caption = markdown_link(about, LONGEST_SENTENCE)
        by_evaluator[picture.evaluator].append(f"**{caption}**\n\n![{caption}](pictures/{name})")
        count += 1
    if count:
        sections = [
            "\n\n".join([f"## {markdown_text(name, LONGEST_LABEL)}", *blocks])
            for name, blocks in by_evaluator.items()
        ]
        page = "\n\n".join(["# Pictures", "One seed of each row.", *sections])
        write_output(folder / "pictures.md", f"{page}\n".encode())
    return count


def _title(planned: PlannedRecord) -> str:
    arm = planned.arm
    images = arm.generator.label + (f" + {arm.filter.label}" if arm.filter.name != "none" else "")
    parts = [arm.dataset.label, images, mix_label(arm)]
    return ", ".join([*parts, arm.classifier.label] if arm.classifier else parts)
