"""Compose the records of a plan from what the store holds, and save them beside it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from genbench.errors import DataError
from genbench.plan import Plan, PlannedRecord
from genbench.records import Cost, Metric, Record, Result, Run
from genbench.spec import Resolved
from genbench.store import Artifact, Store, write_atomically

# Of a training: they touch its last bits.
_ENGINE_FACTS = ("trained_together", "micro_batch_images", "whole_step_graph")


def gather(plan: Plan, store: Store, failed: Mapping[str, str], command: str) -> Iterator[Record]:
    """Compose the record of every evaluation in the plan; failed cells have one, too."""
    for planned in plan.records.values():
        artifact = store.open(planned.key)
        if artifact is not None:
            yield _record(plan, store, planned, artifact, command)
        else:
            culprit = _culprit(plan, planned.key, failed)
            reason = failed.get(culprit, "not run") if culprit else "not run"
            yield _failed_record(plan, planned, culprit, reason, command)


def save_records(store: Store, records: Sequence[Record]) -> None:
    """Write each record once: a result that is already recorded is not written again."""
    folder = store.root / "records"
    with store.writing():
        folder.mkdir(parents=True, exist_ok=True)
        for record in records:
            path = (
                folder / f"{record.result.subject}-{record.result.key[:16]}-{record.result_digest[:8]}.json"
            )
            if record.result.status == "ok" and not path.exists():
                write_atomically(path, record.to_json().encode())


def _record(plan: Plan, store: Store, planned: PlannedRecord, artifact: Artifact, command: str) -> Record:
    content = artifact.read_json("evaluation.json")
    metrics = tuple(Metric(**{**metric, "bounds": tuple(metric["bounds"])}) for metric in content["metrics"])
    books = _books(store, planned, artifact, command)
    result = _result(plan, planned, "ok", metrics=metrics, tables=content["tables"], ledger=books.ledger)
    return Record(result, books.run)


class _Books(NamedTuple):
    """What a record says of the steps before its evaluation."""

    ledger: Mapping[str, Any]
    run: Run


def _books(store: Store, planned: PlannedRecord, artifact: Artifact, command: str) -> _Books:
    """Read ledger and cost off the steps; off the saved record, where those were cleaned up since."""
    wanted = [*planned.costs, planned.key]
    manifests = [manifest for manifest in map(store.manifest, wanted) if manifest is not None]
    trained = store.open(planned.train) if planned.train else None
    if len(manifests) < len(wanted) or (planned.train and trained is None):
        saved = _saved(store, planned)
        if saved is not None:
            return _Books(saved.result.ledger, replace(saved.run, command=command))
    code = {name: found for manifest in manifests for name, found in manifest["run"].get("code", {}).items()}
    costs = tuple(_cost(manifest) for manifest in manifests if manifest["document"]["stage"] != "evaluate")
    source = trained.run if trained is not None else artifact.run
    hardware = {**source["hardware"], **{name: source[name] for name in _ENGINE_FACTS if name in source}}
    run = Run(source["finished"], command, hardware, source["versions"], costs, code)
    ledger = trained.read_json("ledger.json") if trained is not None else {}
    counts = _counts(store, manifests)
    return _Books({**ledger, "images": counts} if counts else ledger, run)


def _counts(store: Store, manifests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what the last `sample` step says of its images: asked, made, faults and copies."""
    sampled = [manifest["key"] for manifest in manifests if manifest["document"]["stage"] == "sample"]
    artifact = store.open(sampled[-1]) if sampled else None
    return artifact.read_json("counts.json") if artifact is not None else {}


def _saved(store: Store, planned: PlannedRecord) -> Record | None:
    """Return the record that an earlier run saved for this evaluation, or None."""
    for path in sorted((store.root / "records").glob(f"{planned.subject}-{planned.key[:16]}-*.json")):
        with contextlib.suppress(DataError):
            return Record.from_json(path.read_text(encoding="utf-8"), str(path))
    return None


def _failed_record(plan: Plan, planned: PlannedRecord, culprit: str, reason: str, command: str) -> Record:
    where = f"{plan.steps[culprit].label}: " if culprit else ""
    result = _result(plan, planned, "failed", reason=f"{where}{reason}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(result, Run(now, command, log=f"logs/{culprit}.log" if culprit else ""))


def _result(plan: Plan, planned: PlannedRecord, status: Any, **entries: Any) -> Result:
    arm = planned.arm
    classifier = None if arm.classifier is None else _with_sources(arm.classifier)
    generator = {**arm.generator.identity, "label": arm.generator.label}
    external = list(dict.fromkeys([*arm.generator.external_data, *arm.filter.external_data]))
    return Result(
        subject=planned.subject,
        status=status,
        dataset={**arm.dataset.identity, "label": arm.dataset.label},
        generator={**generator, "external_data": external} if external else generator,
        filter={**arm.filter.identity, "label": arm.filter.label},
        mix=arm.mix,
        classifier=classifier,
        index=arm.index,
        protocol=plan.protocol,
        evaluator={**planned.evaluator.identity, "label": planned.evaluator.label},
        key=planned.key,
        planned_indices=plan.planned_indices,
        **entries,
    )


def _with_sources(classifier: Resolved) -> dict[str, Any]:
    """Return a classifier's identity and label, and what its weights know from elsewhere."""
    named = {**classifier.identity, "label": classifier.label}
    known = list(classifier.external_data)
    return {**named, "external_data": known} if known else named


def _cost(manifest: Mapping[str, Any]) -> Cost:
    facts = manifest["run"]
    stage, device = manifest["document"]["stage"], facts["hardware"]["device"]
    return Cost(stage, facts["seconds"], facts["peak_memory_bytes"], device)


def _culprit(plan: Plan, key: str, failed: Mapping[str, str]) -> str:
    """Return the failed step that kept this one from being done, or an empty string."""
    if key in failed:
        return key
    for needed in plan.steps[key].inputs.values():
        found = _culprit(plan, needed, failed)
        if found:
            return found
    return ""
