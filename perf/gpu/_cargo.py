"""What of the store travels: out of the machine, so that it may be lost, and into the next one.

Records, evaluations, fits and what is made of real images alone travel; the last two until their seed is
finished, when they are *spent*. Samples and what is made from them stay: drawing them again from the fit is
quicker, and a network without its samples would lose their cost. (The records of evaluated cells hold it.)
Checkpoints above `CHECKPOINT_BYTES` stay, too: a fit of `ddpm` at preset `paper` has to be finished on the
machine that began it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from _freight import Group, make_group

from genbench.attempts import key_of

CHECKPOINT_BYTES = 16 << 20
_OF_A_SEED = frozenset({"fit", "train", "predict"})
CHANGING = ("results", "boards", "store/records", "logs", "traces")  #: folders that travel whole, each time


class Artifact(NamedTuple):
    """A finished step of the store."""

    place: str
    document: dict[str, Any]


def cargo(root: Path, spent: set[str]) -> list[Group]:
    """Return what should travel, what matters most first: small before large, since a slot may end early.

    Args:
        root: The folder that holds `store/` and what the tasks leave.
        spent: Places of artifacts that nobody needs any more.
    """
    finished = {artifact.place: artifact for artifact in artifacts(root)}
    places = [name for name in CHANGING if (root / name).is_dir()]
    places += [
        place
        for place, artifact in finished.items()
        if place not in spent and _travels(artifact.document, finished)
    ]
    groups = [*(make_group(root, place) for place in places), *_checkpoints(root, finished)]
    return sorted((group for group in groups if group.files), key=lambda group: group.size)


def spent_artifacts(root: Path) -> set[str]:
    """Return what the seeds that are done now leave behind: their networks and generators.

    The reference network serves all seeds.
    """
    finished = list(artifacts(root))
    shared = {one.document["inputs"].get("network") for one in finished if one.document["stage"] == "embed"}
    return {
        one.place
        for one in finished
        if one.document["stage"] in _OF_A_SEED and Path(one.place).name not in shared
    }


def artifacts(root: Path) -> Iterator[Artifact]:
    """Yield every finished step of the store."""
    for manifest in sorted((root / "store" / "artifacts").glob("??/*/manifest.json")):
        document = json.loads(manifest.read_text(encoding="utf-8"))["document"]
        yield Artifact(manifest.parent.relative_to(root).as_posix(), document)


def _travels(document: dict[str, Any], finished: dict[str, Artifact]) -> bool:
    """Say whether an artifact is worth carrying and complete without its samples."""
    stage, inputs = document["stage"], document["inputs"]
    if stage == "predict":
        train = finished.get(_place(inputs["train"]))
        return train is not None and _travels(train.document, finished)
    return stage in {"fit", "evaluate"} or (stage in {"train", "embed"} and "sample" not in inputs)


def _place(key: str) -> str:
    return f"store/artifacts/{key[:2]}/{key}"


def _checkpoints(root: Path, finished: dict[str, Artifact]) -> Iterator[Group]:
    """Yield the scratch of unfinished steps, where it is small."""
    done = {Path(place).name for place in finished}
    for folder in sorted((root / "store" / "work").glob("*")):
        if folder.is_dir() and key_of(folder) not in done:
            group = make_group(root, folder.relative_to(root).as_posix())
            if 0 < group.size <= CHECKPOINT_BYTES:
                yield group
