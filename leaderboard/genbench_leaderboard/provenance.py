"""Where the records of a group come from: what a reader needs to repeat or to doubt a number."""

from collections.abc import Iterable

from genbench.digest import canonical_json
from genbench.records import PluginCode, Record
from genbench_leaderboard.groups import RawGroup
from genbench_leaderboard.rows import Provenance

_OWN = "genbench "  #: how the name and version of genbench's own distribution begin
_SHOWN_DIGITS = 12


def provenance(group: RawGroup, image_sets: Iterable[Record]) -> Provenance:
    """Collect dates, versions, data and code of the records of a group and of its image sets."""
    records = [record for entry in group.entries.values() for record in entry.measured.values()]
    records += [record for entry in group.entries.values() for record in entry.others]
    records += image_sets
    days = sorted({record.run.created[:10] for record in records})
    data = {
        canonical_json(one.fingerprint): one for one in (r.result.data for r in records) if one is not None
    }
    recipe = group.classifier.config.get("recipe", {})
    return Provenance(
        created=tuple(dict.fromkeys((days[0], days[-1]))) if days else (),
        protocol=group.protocol.version,
        commits=tuple(sorted({record.run.commit for record in records} - {""})),
        data=tuple(data[key] for key in sorted(data)),
        plugins=tuple(sorted({_named(code) for record in records for code in third_party(record)})),
        recipe=recipe if isinstance(recipe, dict) else {},
        tuning_trials=group.classifier.tuning_trials,
    )


def third_party(record: Record) -> Iterable[PluginCode]:
    """Return the code of third parties that took part in a record; older schemas named none."""
    return [
        code for code in record.run.plugins if code.distribution and not code.distribution.startswith(_OWN)
    ]


def author_of(record: Record) -> str:
    """Return who wrote the evaluator of a record, where that is a third party; else an empty text."""
    evaluator = record.result.evaluator.use
    found = (code for code in third_party(record) if (code.kind, code.name) == ("evaluator", evaluator))
    return next((code.distribution for code in found), "")


def _named(code: PluginCode) -> str:
    return f"{code.distribution} ({code.sha256[:_SHOWN_DIGITS] or 'no digest'})"
