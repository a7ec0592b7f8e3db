"""Evaluators of a whole suite: what its records say together, one record per dataset.

They run after the cells, in the main process: they read records, and records are small.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from genbench.digest import digest
from genbench.errors import GenbenchError
from genbench.plan import Plan, PlannedFinding
from genbench.protocols import SuiteEvaluator
from genbench.records import Metric, Record, Result, Run
from genbench.registry import code_digest, import_target
from genbench.steps.context import StepContext
from genbench.steps.evaluation import write_evaluation
from genbench.steps.provenance import hardware, versions
from genbench.store import Store


def suite_records(
    plan: Plan, store: Store, records: Sequence[Record], command: str
) -> Iterator[tuple[str, Record]]:
    """Yield (key, record) of every evaluator of the suite; one that raised has a failed record."""
    for planned in plan.findings:
        own = [
            record
            for record in records
            if record.result.status == "ok" and _is_of(record.result.dataset, planned.dataset.identity)
        ]
        document = {
            "stage": "evaluate",
            "subject": "suite",
            "component": planned.evaluator.identity,
            "records": sorted(record.result_digest for record in own),
        }
        key = digest(document)
        try:
            content = _evaluated(key, document, planned, own, store)
        except Exception as problem:
            reason = str(problem) if isinstance(problem, GenbenchError) else repr(problem)
            yield key, _record(plan, planned, key, command, reason=reason)
        else:
            yield key, _record(plan, planned, key, command, content)


def _evaluated(
    key: str, document: Mapping[str, Any], planned: PlannedFinding, records: Sequence[Record], store: Store
) -> Mapping[str, Any]:
    """Return what the evaluator found, from the store if it is there."""
    artifact = store.open(key)
    if artifact is None:
        spec = planned.evaluator.spec
        evaluator: SuiteEvaluator = import_target(spec.target, spec.name)(planned.evaluator.config)

        def fill(folder: Any) -> Mapping[str, Any]:
            started = time.perf_counter()
            ctx = StepContext(
                step_seed=int(key[:15], 16),
                device="cpu",
                work=store.work_folder(key),
                files=folder,
                log=logging.Logger("genbench.suite"),
                report=lambda done, total, metrics: None,
            )
            write_evaluation(evaluator.evaluate(records, ctx), folder)
            return {
                "seconds": time.perf_counter() - started,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "hardware": hardware("cpu"),
                "versions": versions(),
                "code": {f"evaluator {spec.name}": code_digest(spec.target)},
            }

        artifact = store.put(key, document, fill)
    return {**artifact.read_json("evaluation.json"), "run": artifact.run}


def _record(
    plan: Plan,
    planned: PlannedFinding,
    key: str,
    command: str,
    content: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Record:
    found = content or {"metrics": (), "tables": {}, "run": {}}
    facts = found["run"]
    result = Result(
        subject="suite",
        status="ok" if content else "failed",
        dataset=_named(planned.dataset),
        generator=_named(planned.generator),
        filter=_named(planned.filter),
        mix={},
        classifier=None,
        index=0,
        protocol=plan.protocol,
        evaluator=_named(planned.evaluator),
        key=key,
        planned_indices=plan.planned_indices,
        metrics=tuple(Metric(**{**one, "bounds": tuple(one["bounds"])}) for one in found["metrics"]),
        tables=found["tables"],
        reason=reason,
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entries = {name: facts[name] for name in ("hardware", "versions", "code") if name in facts}
    return Record(result, Run(facts.get("finished", now), command, **entries))


def _named(component: Any) -> dict[str, Any]:
    return {**component.identity, "label": component.label}


def _is_of(component: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    return {name: value for name, value in component.items() if name != "label"} == identity
