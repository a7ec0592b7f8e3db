"""Compose the records of a plan from what the store holds, and save them beside it.

A record that was saved is not composed again: a cached run reads files. It is composed anew where its names
or the number of planned seeds changed, or where its artifact was made again. What only removed artifacts
could tell (their cost, their ledger) is then taken from the saved record of the same key.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from genbench.artifacts import (
    ENGINE_FACTS,
    dataset_images,
    read_counts,
    read_curve,
    read_evaluation,
    read_filter_report,
    read_training,
)
from genbench.documents import Stage, the
from genbench.errors import DataError, PluginError
from genbench.family import trains
from genbench.plan import Plan, PlannedRecord
from genbench.planner import as_component
from genbench.records import (
    MOST_DECLARATIONS,
    Cost,
    Curve,
    DatasetImages,
    Ledger,
    PluginCode,
    Record,
    Result,
    Run,
    Sampled,
    explained,
    read_record,
    together,
)
from genbench.store import Artifact, Store

_BEFORE = "generation"  # stage of costs that arose before the images came here


class Composer:
    """Composes the records of one plan.

    Args:
        plan: What was run.
        store: Where its results are.
        command: What repeats the run.
        keep: Whether records that are new are saved in the store.
        afresh: Whether saved records are left aside: what is composed then follows from artifacts alone.
    """

    def __init__(
        self, plan: Plan, store: Store, command: str, *, keep: bool = True, afresh: bool = False
    ) -> None:
        self._plan, self._store, self._command, self._keep = plan, store, command, keep
        self._saved = {} if afresh else store.record_files()

    def all_records(self, failed: Mapping[str, str]) -> Iterator[Record]:
        """Yield the record of every evaluation in the plan, failed ones included."""
        for key in self._plan.records:
            yield self.record(key) or self.failed(key, failed)

    def record(self, key: str) -> Record | None:
        """Return the record of an evaluation; None while its artifact is not there."""
        planned = self._plan.records[key]
        if not self._store.has(key):
            return None
        older = self._saved_record(planned)
        if older is not None and self._is_valid(older, planned):
            return self._with_declaration(older, planned)
        artifact = self._store.open(key)
        return self._made(planned, artifact, older) if artifact is not None else None

    def _made(self, planned: PlannedRecord, artifact: Artifact, older: Record | None) -> Record:
        """Compose a record and keep it; what cannot be one is a failure of its evaluation alone."""
        key = planned.key
        try:
            composed = self._composed(planned, artifact, older)
            record = self._declared(composed, planned, older)
        except ValidationError as problem:  # what a plugin left cannot be a record; the other records can
            return self.failed(key, {key: f"it makes no valid record: {explained(problem)}"})
        except (DataError, PluginError) as problem:
            return self.failed(key, {key: f"it makes no valid record: {problem}"})
        except (LookupError, TypeError, ValueError, AttributeError) as problem:  # a manifest's `run`, edited
            return self.failed(key, {key: f"it makes no valid record: {problem!r}"})
        if self._keep:
            self._saved[key[:16]] = self._store.save_record(record)
        return record

    def failed(self, key: str, failed: Mapping[str, str]) -> Record:
        """Return the record of an evaluation that did not come to be."""
        culprit = self._culprit(key, failed)
        where = f"{self._plan.steps[culprit].label}: " if culprit else ""
        head = self._head(self._plan.records[key])
        reason = f"{where}{failed.get(culprit, 'not run')}"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        log = f"logs/{culprit}.log" if culprit else ""
        record = Record(Result(**head, status="failed", reason=reason), Run(now, self._command, log=log))
        return self._declared(record, self._plan.records[key], self._saved_record(self._plan.records[key]))

    # ------------------------------------------------------------------------------------- looks at test

    def _declared(self, record: Record, planned: PlannedRecord, older: Record | None) -> Record:
        """Add to a record what this plan declares, after what earlier ones of the same cell declared."""
        before = older.run.declared if older is not None else ()
        family, arm = self._plan.declared, planned.arm
        if family is None:
            return replace(record, run=replace(record.run, declared=before))
        own = family.of(arm.generator, arm.filter, arm.mix)
        is_known = any((one.family, one.look) == (own.family, own.look) for one in before)
        declared = before if is_known else (*before, own)
        return replace(record, run=replace(record.run, declared=declared[-MOST_DECLARATIONS:]))

    def _with_declaration(self, record: Record, planned: PlannedRecord) -> Record:
        """Return a saved record; where this plan is another look at it, it is saved anew."""
        found = self._declared(record, planned, record)
        if self._keep and found.run.declared != record.run.declared:
            self._saved[planned.key[:16]] = self._store.save_record(found)
        return found

    # ----------------------------------------------------------------------------------------- one record

    def _saved_record(self, planned: PlannedRecord) -> Record | None:
        """Return the record that an earlier run saved of this evaluation."""
        path = self._saved.get(planned.key[:16])
        if path is None:
            return None
        with contextlib.suppress(DataError):
            record = read_record(path)
            return record if record.result.status == "ok" and record.result.key == planned.key else None
        return None

    def _is_valid(self, record: Record, planned: PlannedRecord) -> bool:
        """Say whether a saved record is what composing it now would give."""
        says = all(getattr(record.result, name) == value for name, value in self._head(planned).items())
        is_whole = record.result.data is not None  # older schemas did not say what the dataset holds
        return says and is_whole and self._store.is_current(self._saved[planned.key[:16]], planned.key)

    def _composed(self, planned: PlannedRecord, artifact: Artifact, older: Record | None) -> Record:
        found = read_evaluation(artifact, planned.subject)
        manifests = self._manifests([planned.dataset, *planned.costs, planned.key])
        trained = self._store.open(planned.train) if planned.train else None
        is_removed = len(manifests) < len({planned.dataset, *planned.costs, planned.key})
        if is_removed and older is not None:
            about = {**self._head(planned), "metrics": tuple(found.metrics), "tables": found.tables}
            data = older.result.data or self._data(planned)  # what was measured on, here or elsewhere
            return Record(
                replace(older.result, **about, data=data), replace(older.run, command=self._command)
            )
        result = Result(
            **self._head(planned),
            status="ok",
            data=self._data(planned),
            metrics=tuple(found.metrics),
            tables=found.tables,
            ledger=self._ledger(planned, trained),
        )
        source = trained.run if trained is not None else artifact.run
        classifier = planned.arm.classifier
        learned = classifier is None or trains(classifier)
        facts = {name: source[name] for name in ENGINE_FACTS if name in source}
        run = Run(
            source["finished"],
            self._command,
            hardware={**source["hardware"], **facts},
            versions=source["versions"],
            commit=source.get("commit", ""),
            costs=(
                *(
                    Cost(_BEFORE, cost.seconds, 0, cost.device)
                    for cost in planned.arm.generator.generation_costs
                ),
                *(
                    _cost(one, learned=learned)
                    for one in manifests
                    if _stage(one) not in {"dataset", "evaluate"}
                ),
            ),
            plugins=tuple(dict.fromkeys(code for one in manifests for code in _plugin_codes(one))),
            curves=self._curves(manifests, trained),
        )
        return Record(result, run)

    def _head(self, planned: PlannedRecord) -> dict[str, Any]:
        """Return what the plan alone says of a record."""
        arm = planned.arm
        return {
            "subject": planned.subject,
            "dataset": as_component(arm.dataset),
            "generator": as_component(arm.generator, arm.filter),
            "filter": as_component(arm.filter),
            "classifier": as_component(arm.classifier) if arm.classifier else None,
            "evaluator": as_component(planned.evaluator),
            "index": arm.index,
            "protocol": self._plan.protocol,
            "key": planned.key,
            "planned_indices": self._plan.planned_indices if arm.trains else 1,
            "ratio": arm.ratio,
            "mix": arm.mix,
        }

    # ------------------------------------------------------------------------------------------- the books

    def _manifests(self, keys: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the manifests of steps; those of artifacts that were removed since are left out."""
        found = map(self._store.manifest, dict.fromkeys(keys))
        return [manifest for manifest in found if manifest is not None]

    def _data(self, planned: PlannedRecord) -> DatasetImages | None:
        artifact = self._store.open(planned.dataset)
        return dataset_images(artifact) if artifact is not None else None

    def _ledger(self, planned: PlannedRecord, trained: Artifact | None) -> Ledger:
        """Say what became of the images, from the steps that made, kept and consumed them."""
        books = read_training(trained) if trained is not None else None
        kept = self._last(planned, "filter")
        images = self._sampled(planned)
        if images is not None and kept is not None:
            images = replace(images, kept_images=sum(read_filter_report(kept)["after"]))
        if books is None:
            return Ledger(images=images)
        return Ledger(books.sources["real"], books.sources["synthetic"], images, books.steps)

    def _sampled(self, planned: PlannedRecord) -> Sampled | None:
        """Say what became of the images asked for: those of the first step, and of its top-ups."""
        judged = self._keys(planned, "filter")[-1:]
        if judged:
            inputs = self._plan.steps[judged[0]].work.inputs
            keys = [the(inputs.sample), *inputs.more.values()]
        else:  # of several `sample` steps, the last is the one whose images are the cell's
            keys = self._keys(planned, "sample")[-1:]
        found = [artifact for artifact in map(self._store.open, keys) if artifact is not None]
        return together([read_counts(one.folder) for one in found]) if found else None

    def _last(self, planned: PlannedRecord, stage: Stage) -> Artifact | None:
        """Open the last step of a stage."""
        keys = self._keys(planned, stage)
        return self._store.open(keys[-1]) if keys else None

    def _keys(self, planned: PlannedRecord, stage: Stage) -> list[str]:
        return [key for key in planned.costs if self._plan.steps[key].stage == stage]

    def _curves(self, manifests: Sequence[Mapping[str, Any]], trained: Artifact | None) -> dict[str, Curve]:
        """Return what the losses did: `fit ddpm`, `fit ddpm 2` where two were fitted, and `train`."""
        found: dict[str, Curve] = {}
        for manifest in manifests:
            fitted = self._store.open(str(manifest["key"])) if _stage(manifest) == "fit" else None
            curve = read_curve(fitted) if fitted is not None else ()
            if curve:
                name = f"fit {manifest['document']['component']['use']}"
                alike = sum(one == name or one.startswith(f"{name} ") for one in found)
                found[f"{name} {alike + 1}" if alike else name] = curve
        if trained is not None:
            found["train"] = read_training(trained).history
        return found

    def _culprit(self, key: str, failed: Mapping[str, str]) -> str:
        """Return the failed step that kept this one from being done, or an empty string."""
        left, seen = [key], {key}  # steps share inputs: each is looked at once, depth first
        while left:
            step = left.pop()
            if step in failed:
                return step
            new = [one for one in self._plan.steps[step].inputs.values() if one not in seen]
            left += reversed(new)
            seen.update(new)
        return ""


def _stage(manifest: Mapping[str, Any]) -> Stage:
    stage: Stage = manifest["document"]["stage"]
    return stage


def _cost(manifest: Mapping[str, Any], *, learned: bool) -> Cost:
    """Return what a step took; what training took elsewhere, where nothing was trained here, nobody said."""
    facts = manifest["run"]
    if _stage(manifest) == "train" and not learned:
        return Cost("train", None)
    device = facts["hardware"]["device"]
    return Cost(_stage(manifest), facts["seconds"], facts["peak_memory_bytes"], device)


def _plugin_codes(manifest: Mapping[str, Any]) -> Iterator[PluginCode]:
    """Yield the code of a step's component, as its manifest says it, now or before packages were digested."""
    facts = manifest["run"]
    if "plugin" in facts:
        yield PluginCode(**facts["plugin"])
    for name, sha256 in facts.get("code", {}).items():
        kind, _, component = name.partition(" ")
        version = manifest["document"]["component"]["version"]
        yield PluginCode(kind, component, version, sha256=sha256, covers="file")
