"""One record of every result: the best verified that succeeded, else the newest. No statistics here."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genbench.digest import differences, digest
from genbench.levels import LEVELS, Checked, level_of_record
from genbench.records import Component, Declaration, Record


def settle(
    records: Iterable[Record], verified: Mapping[str, Checked] | None = None
) -> tuple[list[Record], list[str]]:
    """Keep one record per result key: the best verified one that succeeded, else the newest of these.

    What any attempt declared was declared, and is kept with it. A failure is left out where the same cell
    succeeded later under another key, as by another version of a component.

    Returns:
        The records, in an order that does not depend on the given one, and notes on results that differ and
        on failures that were left out.
    """
    attempts: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        attempts[record.result.key].append(record)
    kept, notes = [], []
    for key in sorted(attempts):
        tried = attempts[key]
        if len(tried) > 1:
            tried.sort(
                key=lambda one: (
                    one.result.status == "ok",
                    LEVELS.index(level_of_record(one, verified or {})),
                    one.run.created,
                    one.result_digest,
                    one.file_name,
                )
            )
            notes += _disagreement(tried)
        kept.append(_with_all_declared(tried))
    shown = _without_mended(kept)
    return shown, notes + _left_out(len(kept) - len(shown))


def _without_mended(records: Sequence[Record]) -> list[Record]:
    """Leave out failures of cells that succeeded later."""
    if all(record.result.status == "ok" for record in records):
        return list(records)
    succeeded: dict[object, str] = {}
    for record in records:
        if record.result.status == "ok":
            about = _what_it_measures(record)
            succeeded[about] = max(record.run.created, succeeded.get(about, ""))
    return [
        record
        for record in records
        if record.result.status == "ok" or succeeded.get(_what_it_measures(record), "") < record.run.created
    ]


def _left_out(failures: int) -> list[str]:
    """Say that failures are not listed."""
    if not failures:
        return []
    what = "1 older failure is" if failures == 1 else f"{failures} older failures are"
    return [f"{what} left out: the same cell succeeded later, as by another version of a component"]


def _what_it_measures(record: Record) -> object:
    """Return what an evaluation is about, versions of components aside.

    A label is not enough: it has the last part of a path alone, which two stocks of images may share.
    """
    result = record.result
    parts = (result.dataset, result.generator, result.filter, result.classifier, result.evaluator)
    components = tuple(_without_version(part) if part else "" for part in parts)
    protocol = (result.protocol.version, result.protocol.preset, result.protocol.base_seed)
    return (result.subject, components, protocol, result.index, result.ratio, result.mix)


def _without_version(component: Component) -> str:
    """Return a digest of label, options and files of a component, and of those among its options."""

    def plain(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        is_component = {"use", "version", "config"} <= value.keys()
        return {name: plain(one) for name, one in value.items() if name != "version" or not is_component}

    return digest([component.name, plain(component.identity)])


def _with_all_declared(tried: Sequence[Record]) -> Record:
    """Return the last attempt, with what all of them declared, the oldest first."""
    declared: dict[Declaration, None] = {}
    last = tried[-1]
    for record in sorted(tried, key=lambda one: (one.run.created, len(one.run.declared))):
        if record.result.status == last.result.status:  # an attempt that failed read no test
            declared |= dict.fromkeys(record.run.declared)
    if tuple(declared) == last.run.declared:
        return last
    return last.declaring(tuple(declared))


def _disagreement(attempts: Sequence[Record]) -> list[str]:
    """Say so when attempts at the same key left different results.

    Results are what was measured: numbers, counts and the ledger. How large the plan was, and what an older
    schema did not say, is no difference.
    """
    done = [_measured(one) for one in attempts if one.result.status == "ok"]
    if not all(result["ledger"] for result in done):  # one was composed after its training was removed
        done = [{**result, "ledger": {}} for result in done]
    if len({digest(result) for result in done}) < 2:
        return []
    paths = sorted({path for result in done[:-1] for path, _, _ in differences(result, done[-1])})
    last = attempts[-1].result
    what = f"{last.generator.name}, seed {last.index}, {last.evaluator.use}"
    return [
        f"not reproducible: {len(done)} attempts at {last.key[:12]} ({what}) differ in "
        f"{', '.join(paths[:3])}; the newest counts"
    ]


def _measured(record: Record) -> dict[str, Any]:
    """Return what a record measured, as JSON data."""
    result = record.result
    metrics = {metric.label: metric.value for metric in result.metrics}
    ledger = {
        name: [source.available_images, source.distinct_images, source.consumed_images]
        for name, source in (("real", result.ledger.real), ("synthetic", result.ledger.synthetic))
        if source
    }
    return {"metrics": metrics, "tables": dict(result.tables), "ledger": ledger}
