"""Write a submission: records, predictions and the plan, from what the store holds."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.compose import Composer
from genbench.digest import file_digest
from genbench.documents import EvaluateDocument
from genbench.errors import GenbenchError, UsageError
from genbench.manifests import MANIFEST
from genbench.plan import Cell, Plan, PlannedRecord
from genbench.store import Store
from genbench.suite import Suite
from genbench.verification import layout


@dataclass(frozen=True)
class Packed:
    """What a submission holds.

    Attributes:
        records: How many records.
        cells: Names of the cells that have a record.
        left_out: Names of cells without one: they failed, or were not run.
        files: How many files.
        size_bytes: Of all of them.
    """

    records: int
    cells: tuple[str, ...]
    left_out: tuple[str, ...]
    files: int
    size_bytes: int


def pack(
    plan: Plan, suite: Suite, store: Store, names: Sequence[str], folder: Path, *, features: bool
) -> Packed:
    """Write the records of cells, and what a verifier needs to check them, into a new folder.

    Args:
        plan: Of the suite.
        suite: What was run.
        store: Where the results are.
        names: Of cells; all of the plan if empty.
        folder: Complete or not there at all.
        features: Whether the networks' features are packed, too: a few evaluators read them.

    Raises:
        UsageError: The folder exists, or there is no such cell.
        GenbenchError: None of the cells has a result, or a file would name a folder of this machine.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="choose another --out, or remove it")
    cells = [plan.find_cell(name) for name in names] if names else plan.cells
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / layout.RECORDS).mkdir(parents=True)
    try:
        found = _packed(plan, store, cells, unfinished, features=features)
        text = layout.suite_text(without_places(suite))
        (unfinished / layout.SUITE).write_text(text, encoding="utf-8")
        _check_places(unfinished, store)
        files = dict(_digests(unfinished))
        listed = {"schema_version": layout.SCHEMA_VERSION, "files": files}
        (unfinished / layout.LIST).write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n", "utf-8")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    size = sum((folder / name).stat().st_size for name in files)
    return Packed(*found, files=len(files) + 1, size_bytes=size)


def steps_of(plan: Plan, planned: PlannedRecord) -> tuple[str, ...]:
    """Return the keys of the steps that a record tells of, or that its numbers follow from."""
    document = plan.steps[planned.key].work
    assert isinstance(document, EvaluateDocument)
    given = document.inputs
    read = filter(None, (given.predict, given.baseline, given.twin, planned.train))
    return tuple(dict.fromkeys([planned.dataset, *planned.costs, *read, planned.key]))


def records_of(plan: Plan, cell: Cell) -> Iterator[PlannedRecord]:
    """Yield what is measured of a cell and of its images; what is measured of a whole suite is no cell's."""
    for key in cell.steps:
        if key in plan.records and plan.records[key].subject != "suite":
            yield plan.records[key]


def without_places(suite: Suite) -> Suite:
    """Return a suite whose options name files by their last part: nothing about somebody's disk.

    Locations are no part of a key, so that the same keys come out.
    """
    body = suite.model_dump(mode="json")
    return Suite.model_validate(
        {name: value if name == "name" else _placeless(value) for name, value in body.items()}
    )


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_placeless(one) for one in value]
    is_place = isinstance(value, str) and value.startswith(("/", "./", "../", "~"))
    return Path(value).name if is_place else value


# ----------------------------------------------------------------------------------------------- the pieces


def _packed(
    plan: Plan, store: Store, cells: Iterable[Cell], folder: Path, *, features: bool
) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Write records and steps; return how many records, the cells that have one, and those that have none."""
    composer = Composer(plan, store, layout.COMMAND, keep=False, afresh=True)
    steps: dict[str, None] = {}
    records: set[str] = set()
    there: list[str] = []
    left_out: list[str] = []
    for cell in cells:
        before = len(records)
        for planned in records_of(plan, cell):
            if planned.key in records:
                continue
            record = composer.record(planned.key)
            if record is not None and record.result.status == "ok" and _all_there(plan, store, planned):
                (folder / layout.RECORDS / record.file_name).write_text(record.to_json(), encoding="utf-8")
                records.add(planned.key)
                steps |= dict.fromkeys(steps_of(plan, planned))
        (there if len(records) > before else left_out).append(cell.name)
    if not records:
        raise GenbenchError(
            "none of these cells has a result in the store, with everything that it was made from",
            hint="`genbench run`, with the same options, makes it; `genbench store gc --stage` removes steps",
        )
    for key in steps:
        _copy_step(store, key, folder / layout.STEPS / key, features=features)
    return len(records), tuple(there), tuple(left_out)


def _all_there(plan: Plan, store: Store, planned: PlannedRecord) -> bool:
    return all(store.open(key) is not None for key in steps_of(plan, planned))


def _copy_step(store: Store, key: str, target: Path, *, features: bool) -> None:
    """Copy what a step says of itself, and of a prediction its arrays."""
    artifact = store.open(key)
    assert artifact is not None  # `_all_there` looked
    target.mkdir(parents=True)
    suffixes = (".logits.npy", ".features.npy") if features else (".logits.npy",)
    arrays = [
        name for name in artifact.files if artifact.document["stage"] == "predict" and name.endswith(suffixes)
    ]
    for name in [MANIFEST, *(name for name in artifact.files if name in layout.STEP_FILES), *arrays]:
        shutil.copyfile(artifact.folder / name, target / name)


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path.relative_to(folder).as_posix(), file_digest(path)


def _check_places(folder: Path, store: Store) -> None:
    """Refuse to hand out the name of a folder of this machine, whoever wrote it there.

    Raises:
        GenbenchError: A file names the store or the home folder.
    """
    places = [f"{store.root}/", *([f"{Path.home()}/"] if len(Path.home().parts) > 1 else [])]
    for path in (*folder.rglob("*.json"), *folder.rglob("*.toml")):
        text = path.read_text(encoding="utf-8")
        named = next((place for place in places if place in text), None)
        if named is not None:
            raise GenbenchError(
                f"{path.relative_to(folder)} names {named}, a folder of this machine",
                hint="name the component's files by a relative path, and run it again",
            )
