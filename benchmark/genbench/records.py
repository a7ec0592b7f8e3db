"""`Record`, the published schema: the metrics of one `evaluate` step with full provenance.

A record is one immutable JSON file. `result` is deterministic and hashed ("byte-identical" always means
this part); `run` is what this attempt took: time, cost, host, command. The leaderboard reads nothing else.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from genbench.digest import canonical_json, digest
from genbench.errors import DataError

SCHEMA_VERSION = 1

Subject = Literal["cell", "image_set", "suite"]
Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Metric:
    """One number and the facts about it that no table should have to know.

    Attributes:
        name: For example `top1` or `fid[reference,n=1437,train]`; distances name extractor, n and reference.
        value: None where it cannot be computed; `note` says why.
        unit: `%`, `points`, `nats`, ... or empty.
        higher_is_better: None where neither direction is better.
        bounds: Smallest and largest possible value; None is unbounded.
        tolerance: Largest difference from the named reference implementation that a test allows.
        note: One sentence that a reader of the number needs.
    """

    name: str
    value: float | None
    unit: str = ""
    higher_is_better: bool | None = None
    bounds: tuple[float | None, float | None] = (None, None)
    tolerance: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Result:
    """The deterministic part of a record.

    Attributes:
        subject: What was evaluated: a trained cell, an image set, or a whole suite.
        status: `ok`, `failed` or `skipped`; the last two carry a `reason`.
        dataset: Resolved reference `{use, version, config}`; so are `generator`, `filter`, `classifier`.
        mix: How images formed the training set, resolved.
        index: The seed index: equal indices are paired.
        protocol: The parts of the protocol that comparisons must share.
        evaluator: Resolved reference of the evaluator.
        metrics: The numbers.
        tables: Larger JSON results, such as confusion counts.
        ledger: Images that entered gradient steps, per source.
        key: The store key of the `evaluate` step.
        planned_indices: How many seed indices the suite planned: n is fixed before test is read.
    """

    subject: Subject
    status: Status
    dataset: Mapping[str, Any]
    generator: Mapping[str, Any]
    filter: Mapping[str, Any]
    mix: Mapping[str, Any]
    classifier: Mapping[str, Any] | None
    index: int
    protocol: Mapping[str, Any]
    evaluator: Mapping[str, Any]
    key: str
    planned_indices: int
    metrics: tuple[Metric, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def metric(self, name: str) -> Metric | None:
        """Return the metric called `name`, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


@dataclass(frozen=True)
class Cost:
    """What one stage of a cell took: wall seconds, peak memory in bytes, and on which device."""

    stage: str
    seconds: float
    peak_memory_bytes: int = 0
    device: str = ""


@dataclass(frozen=True)
class Run:
    """The part of a record that differs from attempt to attempt.

    Attributes:
        created: UTC time, ISO 8601.
        command: What repeats the run.
        hardware: Device, processor and instruction set.
        versions: Versions of the libraries that touch numbers.
        costs: One entry per stage of the cell, shared steps included.
        code: Digest of the plugin source per component.
        log: Path of the log of a failed step, relative to the store.
    """

    created: str
    command: str
    hardware: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True)
class Record:
    """One published measurement."""

    result: Result
    run: Run

    @property
    def result_digest(self) -> str:
        """SHA-256 of `result`: equal for byte-identical results."""
        return digest(asdict(self.result))

    @property
    def file_name(self) -> str:
        """A name that is unique per attempt and sorts by subject."""
        return f"{self.result.subject}-{self.result.key[:16]}-{digest(asdict(self.run))[:8]}.json"

    def to_json(self) -> str:
        """Write the record as indented JSON that `read_record` reads back equal."""
        body = {
            "schema_version": SCHEMA_VERSION,
            "result_sha256": self.result_digest,
            "result": asdict(self.result),
            "run": asdict(self.run),
        }
        return (
            json.dumps(json.loads(canonical_json(body)), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        )

    @classmethod
    def from_json(cls, text: str, origin: str = "record") -> Self:
        """Read a record of this or an older schema.

        Raises:
            DataError: The text is not a record, is newer than this genbench, or its result was edited.
        """
        try:
            body = json.loads(text)
            version = body["schema_version"]
            if version > SCHEMA_VERSION:
                raise DataError(
                    f"{origin}: schema_version {version}, this genbench reads up to {SCHEMA_VERSION}",
                    hint="pip install --upgrade genbench",
                )
            record = cls(_result(body["result"]), _run(body["run"]))
        except (KeyError, TypeError, ValueError) as problem:
            raise DataError(f"{origin}: not a genbench record ({problem!r})") from problem
        if record.result_digest != body["result_sha256"]:
            raise DataError(
                f"{origin}: `result` does not match its `result_sha256`: the file was edited or damaged",
                hint="remove the file, or repeat the run that wrote it (`run.command`)",
            )
        return record


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Read records from files, and from folders by their names (`Record.file_name`), in order of path."""
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files |= {file: None for subject in get_args(Subject) for file in path.rglob(f"{subject}-*.json")}
        else:
            files[path] = None
    for file in sorted(files):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise DataError(f"{file}: cannot be read ({problem})") from problem
        yield Record.from_json(text, origin=str(file))


def pack_bits(values: Iterable[bool]) -> str:
    """Pack booleans into base64, eight to a byte, first value in the highest bit (see `unpack_bits`)."""
    bits = "".join("1" if value else "0" for value in values)
    padded = bits + "0" * (-len(bits) % 8)
    return base64.b64encode(bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))).decode()


def unpack_bits(packed: str, count: int) -> list[bool]:
    """Return the `count` booleans that `pack_bits` packed."""
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(packed))
    return [bit == "1" for bit in bits[:count]]


def _result(body: Mapping[str, Any]) -> Result:
    metrics = tuple(
        Metric(**{**metric, "bounds": tuple(metric["bounds"])}) for metric in body.get("metrics", ())
    )
    return Result(**{**_known(Result, body), "metrics": metrics})


def _run(body: Mapping[str, Any]) -> Run:
    return Run(**{**_known(Run, body), "costs": tuple(Cost(**cost) for cost in body.get("costs", ()))})


def _known(schema: type[Result | Run], body: Mapping[str, Any]) -> dict[str, Any]:
    known = {entry.name for entry in fields(schema)}
    unknown = body.keys() - known
    if unknown:
        raise TypeError(f"unknown entries: {', '.join(sorted(unknown))}")
    return dict(body)
