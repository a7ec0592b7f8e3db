"""Suite evaluators over records that are there already, of one run or of many: what their rows say together.

Within a run a suite evaluator is a step with a key, and its record is published. Here nothing is stored: the
records that it makes are for the board of the records that it read.
"""

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genbench.digest import digest
from genbench.errors import UsageError
from genbench.notation import parse_reference
from genbench.planner import as_component
from genbench.protocols import EvaluatorConfig, SuiteEvaluator
from genbench.records import Component, Protocol, Record, Result, Run
from genbench.registry import Registry, import_target
from genbench.spec import Resolved, resolve
from genbench.steps.context import StepContext
from genbench.suite import BASELINE

_LOG = logging.getLogger("genbench")


def with_findings(evaluators: Iterable[str], records: Sequence[Record], registry: Registry) -> list[Record]:
    """Return records and what suite evaluators find across them, instead of what single runs had found.

    Args, errors: as of `find`.
    """
    found = find(evaluators, records, registry)
    anew = {record.result.evaluator.use for record in found}
    kept = [one for one in records if one.result.subject != "suite" or one.result.evaluator.use not in anew]
    return [*kept, *found]


def find(evaluators: Iterable[str], records: Sequence[Record], registry: Registry) -> list[Record]:
    """Return records of what suite evaluators find across other records.

    Args:
        evaluators: As on the command line: `usefulness`, `usefulness:fewest_rows=8`.
        records: Of cells and image sets, of any number of runs; others and failed ones are left out.
        registry: Where evaluators are found: built-in ones alone, since their code runs in this process.

    Raises:
        UsageError: There is no such evaluator, it is not about a suite, or it is not built in.
    """
    found = []
    usable = _settled(records)
    for text in evaluators:
        evaluator = resolve(registry, "evaluator", parse_reference(text), "", _no_files)
        _check(evaluator, registry)
        spans = isinstance(evaluator.config, EvaluatorConfig) and evaluator.config.spans_datasets
        by_dataset: dict[str, list[Record]] = {}
        for record in usable:
            by_dataset.setdefault(digest(record.result.dataset.identity), []).append(record)
        parts = [usable] if spans and usable else list(by_dataset.values())
        found += [_evaluated(evaluator, part) for part in parts]
    return found


def _check(evaluator: Resolved, registry: Registry) -> None:
    config = evaluator.config
    if not isinstance(config, EvaluatorConfig) or config.subject != "suite":
        readers = [
            spec.name
            for spec in registry.specs("evaluator")
            if getattr(registry.schema(spec, "evaluator"), "subject", "") == "suite"
        ]
        raise UsageError(
            f"--evaluate {evaluator.name}: it measures images or networks, and there are only records here; "
            f"those that read records are {', '.join(sorted(readers))}",
            hint=f"genbench run ... --evaluator {evaluator.name}",
        )
    if not registry.owner("evaluator", evaluator.name).builtin:
        raise UsageError(
            f"--evaluate {evaluator.name}: it is not built in, and code of others runs in a room of its own, "
            "as a step of a run",
            hint=f"genbench run SUITE --evaluator {evaluator.name}",
        )


def _settled(records: Sequence[Record]) -> list[Record]:
    """Return what was measured of cells and image sets: per key the newest, in the order of keys."""
    newest: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: (one.run.created, one.file_name)):
        if record.result.status == "ok" and record.result.subject != "suite":
            newest[record.result.key] = record
    return [newest[key] for key in sorted(newest)]


def _evaluated(evaluator: Resolved, records: Sequence[Record]) -> Record:
    """Call an evaluator as its step would, and compose the record of what it says."""
    key = digest([evaluator.identity, [record.result.key for record in records]])
    suite_evaluator: SuiteEvaluator = import_target(evaluator.spec.target, evaluator.name)(evaluator.config)
    with tempfile.TemporaryDirectory() as scratch:
        work, files = Path(scratch, "work"), Path(scratch, "files")
        work.mkdir()
        files.mkdir()
        ctx = StepContext(int(key[:15], 16), "cpu", work, files, _LOG, _no_report)
        said = suite_evaluator.evaluate(records, ctx)
    none = Component(BASELINE)
    protocols = {digest(record.result.protocol.identity): record.result.protocol for record in records}
    result = Result(
        subject="suite",
        status="ok",
        dataset=_datasets(records),
        generator=none,
        filter=none,
        classifier=None,
        evaluator=as_component(evaluator),
        index=0,
        protocol=next(iter(protocols.values())) if len(protocols) == 1 else Protocol(),
        key=key,
        planned_indices=max(record.result.planned_indices for record in records),
        metrics=tuple(said.metrics),
        tables=said.tables,
    )
    return Record(result, Run(datetime.now(UTC).isoformat(timespec="seconds"), ""))


def _datasets(records: Sequence[Record]) -> Component:
    """Name the datasets: the one that there is, or how many."""
    named: Mapping[str, Component] = {
        digest(record.result.dataset.identity): record.result.dataset for record in records
    }
    first = next(iter(named.values()))
    return first if len(named) == 1 else Component(first.use, label=f"all {len(named)} datasets")


def _no_files(path: Path) -> str:
    raise UsageError(f"an evaluator of records reads no files, and {path} is one")


def _no_report(done: int, total: int, metrics: Mapping[str, Any]) -> None:
    """Nobody waits for it."""
