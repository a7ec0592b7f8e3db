"""Evaluations that only their records tell of: a run goes on where one stopped whose store is elsewhere.

A record names the key of its evaluation, which is the digest of all that led to it: components, options,
seeds and what they read. Where a plan has an evaluation of that key, its metrics are those of the record, and
what they were computed from need not be made again. Nothing else can be had from a record: whoever adds an
evaluator makes the images, or trains the network, anew.

The digest in a record finds accidents, not inventions: what is adopted is believed as far as its author is.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from genbench.artifacts import write_evaluation
from genbench.errors import DataError
from genbench.plan import Plan
from genbench.protocols import Evaluation
from genbench.records import Record, files_of, read_record
from genbench.store import Store
from genbench.terminal import count


class Adopted(NamedTuple):
    """What came of records.

    Attributes:
        evaluations: How many of the plan's evaluations they told of, and the store lacked.
        files: How many records there were; others may be of other plans.
        planned: How many evaluations the plan has.
    """

    evaluations: int
    files: int
    planned: int

    @property
    def remark(self) -> str:
        """What a user is told."""
        found, planned = self.evaluations, count(self.planned, "evaluation")
        return f"taken from {count(self.files, 'record')} of an earlier run: {found} of {planned}"


def adopt(plan: Plan, store: Store, places: Iterable[Path]) -> Adopted:
    """Let a store hold the evaluations of a plan that records tell of; what it holds already stays.

    Args:
        plan: What is about to be run.
        store: Where its results go.
        places: Records, and folders of them.

    Raises:
        DataError: A place is not there, or what has the name of a wanted record is none.
        StoreUnwritableError: The disk is full, read-only or failing.
    """
    told, files = told_of(plan, store, places)
    for key, record in told.items():
        _put(record, plan.steps[key].document, store)
    return Adopted(len(told), files, len(plan.records))


def told_of(plan: Plan, store: Store, places: Iterable[Path]) -> tuple[dict[str, Record], int]:
    """Return the newest record of each evaluation that the store lacks, and how many records there are.

    Raises:
        DataError: A place is not there, or what has the name of a wanted record is none.
    """
    places = list(places)
    for place in places:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder of records")
    files = files_of(places)
    wanted = {key[:16]: key for key in plan.records if not store.has(key)}
    newest: dict[str, Record] = {}
    for file, inside in files.items():
        key = wanted.get("".join(file.stem.split("-")[-2:-1]))
        if key is None:
            continue
        record = read_record(file, inside)
        if record.result.status != "ok" or record.result.key != key:
            continue
        if key not in newest or record.run.created > newest[key].run.created:
            newest[key] = record
    return newest, len(files)


def _put(record: Record, document: Mapping[str, Any], store: Store) -> None:
    """Put an evaluation into the store, and after it the record: it counts, being the younger of the two."""
    result, run = record.result, record.run

    def fill(folder: Path) -> Mapping[str, Any]:
        write_evaluation(Evaluation(result.metrics, result.tables), folder)
        facts = {"hardware": run.hardware, "versions": run.versions, "commit": run.commit}
        return {"finished": run.created, "adopted": True, **facts}  # no time: none was measured here

    store.put(result.key, document, fill)
    store.save_record(record)
