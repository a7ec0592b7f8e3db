"""Records in little room: what a board reads of them, with every part that many share held once.

`compacted` takes a record apart, `Restorer` puts it together again: a `Record` whose components, protocol,
mix and the like are the same objects for all records, and whose tables and curves are fetched when they are
asked for (`Fetcher`). Its digests are those of the whole record. Shared parts pass the schema as those of a
file do; what a record has alone (numbers of metrics, costs, times) passed it when it was taken apart, and
whoever keeps it sees to it that it is still the same (`genbench.indexed` does by a checksum).
"""

import base64
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from pydantic import TypeAdapter

from genbench import records
from genbench.answered import Answered, ClassAnswers, KnownTables, answered
from genbench.counts import CopyTable, read_copies
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import (
    Component,
    Cost,
    DatasetImages,
    Declaration,
    Ledger,
    PluginCode,
    Record,
    Result,
    Run,
)

Part = tuple[str, str]  #: its kind, and its JSON
T = TypeVar("T")

_KINDS: Mapping[str, TypeAdapter[Any]] = {
    "component": TypeAdapter(Component),
    "protocol": TypeAdapter(records.Protocol),
    "mix": TypeAdapter(Mix),
    "data": TypeAdapter(DatasetImages),
    "ledger": TypeAdapter(Ledger),
    "metric": TypeAdapter(Metric),  # without value and n
    "text": TypeAdapter(str),
    "facts": TypeAdapter(Mapping[str, Any]),
    "plugins": TypeAdapter(tuple[PluginCode, ...]),
    "declared": TypeAdapter(tuple[Declaration, ...]),
    "cost": TypeAdapter(Cost),  # without seconds and memory
}
_COPIES = TypeAdapter(CopyTable)
read_json = TypeAdapter(Any).validate_json  #: of `Compact`: three times as fast as `json.loads`
_NONE = ("text", '""')
_HEAD = 17  #: parts of a record before those of its metrics
_KEPT_TABLES = 1_024
_NOTHING: Mapping[str, Any] = {}


class Compact(NamedTuple):
    """A record, taken apart.

    Attributes:
        parts: What it shares with others.
        own: What it has alone, as JSON.
        tables: What comparisons read of its tables, as JSON; empty where they read nothing.
        result_digest: Of the whole record.
    """

    parts: tuple[Part, ...]
    own: str
    tables: str
    result_digest: str


class Fetcher(Protocol):
    """Where what a compact record lacks comes from."""

    def tables(self, place: str, result_digest: str) -> str:
        """Return `Compact.tables`."""
        ...

    def whole(self, place: str, result_digest: str) -> Record:
        """Return the record as its file says it."""
        ...


def compacted(record: Record) -> Compact:
    """Take a record apart."""
    result, run = record.result, record.run
    parts = [
        *(
            _part("component", getattr(result, name))
            for name in ("dataset", "generator", "filter", "evaluator")
        ),
        _NONE if result.classifier is None else _part("component", result.classifier),
        _part("protocol", result.protocol),
        _NONE if result.mix is None else _part("mix", result.mix),
        _NONE if result.data is None else _part("data", result.data),
        _part("ledger", result.ledger),
        *(_part("text", text) for text in (result.reason, run.command, run.commit, run.log)),
        *(_part("facts", facts) for facts in (run.hardware, run.versions)),
        _part("plugins", run.plugins),
        _part("declared", run.declared),
        *(_part("metric", _copied(one, value=None, n=None)) for one in result.metrics),
        *(_part("cost", _copied(one, seconds=None, peak_memory_bytes=0)) for one in run.costs),
    ]
    own = [
        *(result.subject, result.status, result.index, result.key, result.planned_indices, result.ratio),
        *(run.created, record.result_digest, record.run_digest),
        [[one.value, one.n] for one in result.metrics],
        [[one.seconds, one.peak_memory_bytes] for one in run.costs],
        list(result.tables),
        list(run.curves),
    ]
    return Compact(tuple(parts), json.dumps(own, ensure_ascii=False), _tables(result), record.result_digest)


def _part(kind: str, value: object) -> Part:
    return kind, _KINDS[kind].dump_json(value).decode()


def _tables(result: Result) -> str:
    """Return what comparisons read: of `accuracy` right images and classes, of `copies` all but its pairs."""
    if result.evaluator.use == "accuracy":
        known = {split: answered(table) for split, table in result.tables.items()}
        rows = {
            split: [one.images, base64.b64encode(one.packed).decode(), one.classes]
            for split, one in known.items()
            if one is not None
        }
        return json.dumps({"answered": rows}, ensure_ascii=False)
    if result.evaluator.use == "copies" and "copies" in result.tables:
        table = _copied(read_copies(result.tables["copies"]), worst=())
        return json.dumps({"copies": _COPIES.dump_python(table, mode="json")})
    return ""


def _copied(value: T, /, **changes: Any) -> T:
    """Return a frozen object with some fields changed. Nothing is validated, which `replace` would do."""
    names = _names(cast("Any", type(value)))
    made = _made(type(value), names, [getattr(value, name) for name in names])
    for name, changed in changes.items():
        object.__setattr__(made, name, changed)
    return made


def _made(kind: type[T], names: Iterable[str], values: Iterable[Any]) -> T:
    """Make a frozen object without validation, by attributes: so it needs no dictionary of its own."""
    made = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def _completed(shape: T, own: dict[str, Any]) -> T:
    """Return what only lacks its two numbers with these.

    Attributes are copied at once, nearly twice as fast as one by one; of an object that was made by
    attributes, as by `_copied`, in half the room that another takes.
    """
    made = object.__new__(type(shape))
    object.__setattr__(made, "__dict__", shape.__dict__ | own)
    return made


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(kind))


# --------------------------------------------------------------------------------------- together again


class _InFile(Mapping[str, Any]):
    """What a compact record knows the names of alone: the rest is read from its file."""

    __slots__ = ()
    _names: tuple[str, ...]

    @abstractmethod
    def _all(self) -> Mapping[str, Any]:
        """Read it."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._all()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Tables(_InFile, KnownTables):
    """The tables of a compact record; whatever is not known of them is read from its file."""

    __slots__ = ("_digest", "_names", "_place", "_restorer", "_text")

    def __init__(
        self, names: tuple[str, ...], restorer: "Restorer", place: str, result_digest: str, text: str | None
    ) -> None:
        self._names, self._restorer, self._place = names, restorer, place
        self._digest, self._text = result_digest, text

    def answered(self, split: str) -> Answered | None:
        return self._restorer.answers(self._place, self._digest, self._text).get(split)

    def copies(self) -> CopyTable:
        if "copies" not in self._names:
            raise KeyError("copies")
        return self._restorer.copies(self._place, self._digest, self._text)

    def _all(self) -> Mapping[str, Any]:
        return self._restorer.source.whole(self._place, self._digest).result.tables


class _Curves(_InFile):
    """The curves of a compact record, read from its file."""

    __slots__ = ("_digest", "_names", "_place", "_source")

    def __init__(self, names: tuple[str, ...], source: Fetcher, place: str, result_digest: str) -> None:
        self._names, self._source, self._place, self._digest = names, source, place, result_digest

    def _all(self) -> Mapping[str, Any]:
        return self._source.whole(self._place, self._digest).run.curves


class Restorer:
    """Puts compact records together again.

    Args:
        source: Where their tables and files are.
        shared: Parts of records that were put together before, for several restorers to share.
    """

    def __init__(self, source: Fetcher, shared: dict[Part, Any]) -> None:
        self.source, self._shared = source, shared
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        # A board goes from group to group: tables of the same group are asked for again and again.
        self.answers = lru_cache(_KEPT_TABLES)(self._answers)
        self.copies = lru_cache(_KEPT_TABLES)(self._copies)

    def part(self, part: Part) -> Any:
        """Return a part as an object: the same for all records that share it.

        Raises:
            ValueError: It does not pass the schema.
        """
        if part not in self._shared:
            kind, text = part
            value = None if part == _NONE else _KINDS[kind].validate_json(text, strict=True)
            if isinstance(value, Metric | Cost):
                value = _copied(value)  # for `_completed`
            if isinstance(value, Metric):
                _ = value.identity  # is kept with the others, and so taken once
            self._shared[part] = value
        return self._shared[part]

    def restored(self, parts: Sequence[Any], own: str, place: str, tables: str | None) -> Record:
        """Put a record together.

        Args:
            parts: As `part` returned them.
            own: `Compact.own`.
            place: What the source calls it by.
            tables: `Compact.tables`; None where the source is asked for them.
        """
        subject, status, index, key, planned, ratio, created, result_digest, run_digest, *rest = read_json(
            own
        )
        values, taken, names, curves = rest
        head, metrics, costs = parts[:_HEAD], parts[_HEAD : _HEAD + len(values)], parts[_HEAD + len(values) :]
        dataset, generator, image_filter, evaluator, classifier, protocol, mix, data, ledger, *rest = head
        reason, command, commit, log, hardware, versions, plugins, declared = rest
        measured = (
            *(subject, status, dataset, generator, image_filter, classifier, evaluator, index, protocol, key),
            *(planned, ratio, mix, data),
            tuple(
                _completed(one, {"value": value, "n": n})
                for one, (value, n) in zip(metrics, values, strict=True)
            ),
            _Tables(self._known(names), self, place, result_digest, tables) if names else _NOTHING,
            *(ledger, reason or ""),
        )
        ran = (
            *(created, command or "", hardware, versions, commit or ""),
            tuple(
                _completed(one, {"seconds": seconds, "peak_memory_bytes": peak})
                for one, (seconds, peak) in zip(costs, taken, strict=True)
            ),
            plugins,
            _Curves(self._known(curves), self.source, place, result_digest) if curves else _NOTHING,
            *(declared, log or ""),
        )
        return _made(
            Record,
            ("result", "run", "result_digest", "run_digest"),
            (
                _made(Result, _names(Result), measured),
                _made(Run, _names(Run), ran),
                *(result_digest, run_digest),
            ),
        )

    def _known(self, names: Sequence[str]) -> tuple[str, ...]:
        found = tuple(names)
        return self._names.setdefault(found, found)

    def _answers(self, place: str, result_digest: str, text: str | None) -> dict[str, Answered]:
        found = self._tables(place, result_digest, text).get("answered", {})
        return {
            split: Answered(images, base64.b64decode(bits), tuple(ClassAnswers(*one) for one in classes))
            for split, (images, bits, classes) in found.items()
        }

    def _copies(self, place: str, result_digest: str, text: str | None) -> CopyTable:
        return _COPIES.validate_python(self._tables(place, result_digest, text)["copies"])

    def _tables(self, place: str, result_digest: str, text: str | None) -> dict[str, Any]:
        if text is None:
            text = self.source.tables(place, result_digest)
        found: dict[str, Any] = read_json(text) if text else {}
        return found
