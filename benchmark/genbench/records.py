"""`Record`, the published schema: the metrics of one `evaluate` step with full provenance.

A record is one immutable JSON file with two parts and a digest of each. `result` is deterministic
("byte-identical" always means this part); `run` is what this attempt took: time, cost, host, command. The
leaderboard reads nothing else.

Digests are taken of the parts as they are stored. What is read is therefore checked first, then brought to
the present schema by one function per older version (`genbench.upgrades`), then validated as a whole: fields
can be added without making a published record unreadable.
"""

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from genbench.answered import Answered, KnownTables, answered
from genbench.books import Ledger, Sampled, Source, together
from genbench.counts import (
    CopyTable,
    Count,
    Counts,
    check_counts,
    pack_bits,
    read_copies,
    unpack_bits,
)
from genbench.digest import canonical_json, digest, text_digest
from genbench.errors import DataError, GenbenchError
from genbench.escaping import LONGEST_SENTENCE, one_line
from genbench.metrics import STRICT, Metric, Subject
from genbench.recipe import Mix
from genbench.roles import Role
from genbench.untrusted import files_below, parse_json, read_text
from genbench.upgrades import UPGRADES

__all__ = [
    "Component", "CopyTable", "Cost", "Count", "Counts", "Curve", "DatasetImages", "Declaration", "Ledger",
    "PluginCode", "Protocol", "Record", "Result", "Run", "Sampled", "Source", "check_amount", "explained",
    "files_of", "pack_bits", "read_copies", "read_record", "read_records", "together", "unpack_bits",
]  # fmt: skip

SCHEMA_VERSION = 2
PROTOCOL_VERSION = 2  #: of docs/protocol.md: raised when a rule changes what may be compared

Status = Literal["ok", "failed"]
Seconds = Annotated[float, Field(ge=0, le=1e12)]  # 30,000 years; a bound, so that sums stay finite
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]  # SHA-256, or empty: not known
Curve = tuple[Mapping[str, float], ...]
#: Some of a record may be fetched only when somebody asks (`genbench.compact`); it is written like any other.
AS_DICT = WrapSerializer(lambda value, write: write(dict(value)))

#: A record of 10 classes has 20 KB. With 1,000 classes every split adds 9 MB of confusion counts: this is
#: room for 14 splits of ImageNet.
MOST_BYTES = 128 * 2**20
MOST_DEPTH = 50  #: of the published records: 8
#: What the largest plan leaves: 100,000 cells with a few evaluations each, of some kilobytes.
MOST_FILES, MOST_BYTES_OF_FOLDERS = 500_000, 4 * 2**30
_MOST_ENTRIES = 1_000  # of what a page lists in a sentence; of the published records: 10
MOST_DECLARATIONS = 1_000  #: that a record remembers: the newest
_MOST_METRICS = 10_000  # of the published records: 14; `accuracy` has 8 per split and shift


# ---------------------------------------------------------------------------------------- what was compared


@dataclass(frozen=True, config=STRICT)
class Component:
    """A component with every option resolved.

    Attributes:
        use: Its name.
        version: Of the component.
        config: Its options.
        label: What users typed; no part of the identity.
        fingerprint: Digest of the content of the files it reads; empty when it reads none.
        external_data: What it (for a generator: or the filter) learned from beyond `train`.
        tuning_trials: Recipes that were tried on val to find this one; 0 where none was searched.
    """

    use: str
    version: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    fingerprint: str = ""
    external_data: Annotated[tuple[str, ...], Field(max_length=_MOST_ENTRIES)] = ()
    tuning_trials: Count = 0

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """What enters a key: everything but what is only for people."""
        found = {"use": self.use, "version": self.version, "config": self.config}
        return {**found, "fingerprint": self.fingerprint} if self.fingerprint else found

    @property
    def name(self) -> str:
        """Its short name for tables."""
        return self.label or self.use


@dataclass(frozen=True, config=STRICT)
class Protocol:
    """The parts of the protocol that comparisons must share.

    Attributes:
        version: Of the rules (docs/protocol.md).
        base_seed: Base of all seeds.
        preset: Of the suite.
        reference: The frozen reference classifier.
    """

    version: int = PROTOCOL_VERSION
    base_seed: int = 0
    preset: str = ""
    reference: Component | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What two comparable records have in common."""
        reference = self.reference.identity if self.reference else None
        about = {"base_seed": self.base_seed, "preset": self.preset, "reference": reference}
        return {"version": self.version, **about}


@dataclass(frozen=True, config=STRICT)
class DatasetImages:
    """The dataset as it was split.

    Attributes:
        fingerprint: Digest of the stored splits: equal for equal images and labels in equal splits.
        train: Number of images; so are `val`, `test` and `reserve`.
        shifts: Number of images of each shift.
        left_out: Files that cannot be used, and that the dataset's options had left out.
    """

    fingerprint: Digest
    train: Count
    val: Count
    test: Count
    reserve: Count = 0
    shifts: Mapping[str, Count] = field(default_factory=dict)
    left_out: Count = 0


# ------------------------------------------------------------------------------------------------- the parts


@dataclass(frozen=True, config=STRICT)
class Result:
    """The deterministic part of a record.

    Attributes:
        subject: What was evaluated: a trained cell, an image set, or a whole suite.
        status: `ok`, or `failed` with a `reason`.
        dataset: On which dataset.
        generator: Made the synthetic images; `none` for the baseline.
        filter: Dropped some of them.
        classifier: Was trained; None where nothing was.
        evaluator: Measured it.
        index: The seed index: equal indices are paired.
        protocol: The parts of the protocol that comparisons must share.
        key: The store key of the `evaluate` step.
        planned_indices: How many seed indices the suite planned: n is fixed before test is read.
        ratio: Synthetic images per real training image; 0 for the baseline.
        mix: How images formed the training set of a cell; None elsewhere.
        data: The dataset's images; None in records of schema 1 and of steps that failed.
        metrics: The numbers.
        tables: Larger JSON results, such as confusion counts.
        ledger: Which images became what.
        reason: Why it failed.
    """

    subject: Subject
    status: Status
    dataset: Component
    generator: Component
    filter: Component
    classifier: Component | None
    evaluator: Component
    index: Count
    protocol: Protocol
    key: Digest
    planned_indices: Count
    ratio: float = Field(default=0.0, ge=0)
    mix: Mix | None = None
    data: DatasetImages | None = None
    metrics: Annotated[tuple[Metric, ...], Field(max_length=_MOST_METRICS)] = ()
    tables: Annotated[Mapping[str, Any], AS_DICT] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    reason: str = ""

    @model_validator(mode="after")
    def _names_its_subject(self) -> Self:
        if self.subject == "cell" and (self.classifier is None or self.mix is None):
            raise ValueError("a record of a cell names its classifier and its mix")
        if self.subject != "cell" and (self.classifier is not None or self.mix is not None):
            raise ValueError("a classifier and a mix belong to the record of a cell")
        if self.planned_indices and self.index >= self.planned_indices:
            raise ValueError(f"seed index {self.index} of {self.planned_indices} planned ones")
        if self.mix is not None and self.mix.ratio != self.ratio:
            raise ValueError(f"ratio is {self.ratio:g}, and that of the mix {self.mix.ratio:g}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.status == "failed" and (self.metrics or not self.reason):
            raise ValueError("a failed record has a reason and no metrics")
        if self.status == "ok" and self.reason:
            raise ValueError("a reason belongs to a failed record")
        times = Counter(metric.label for metric in self.metrics)
        twice = next((label for label, count in times.items() if count > 1), None)
        if twice:
            raise ValueError(f"metric {twice} is there twice")
        if self.evaluator.use == "accuracy":
            self._check_accuracy()
        if self.evaluator.use == "copies" and self.status == "ok":
            self._check_copies()
        return self

    def _check_copies(self) -> None:
        """Refuse a table of the check for copies that is missing, or about another test."""
        if self.subject != "image_set" or "copies" not in self.tables:
            raise ValueError("a record of the check for copies is about an image set, and holds its table")
        stored, seen = self.data.test if self.data else None, read_copies(self.tables["copies"]).test
        if stored not in {None, seen}:
            raise ValueError(f"tables.copies is about {seen} test images, and the dataset has {stored}")

    def _check_accuracy(self) -> None:
        """Refuse what the ranking rests on where its number is missing, or is another than its counts."""
        found = [metric for metric in self.metrics if metric.name == "top1"]
        odd = next((metric for metric in found if metric.unit != "%"), None)
        if odd is not None:
            raise ValueError(f"{odd.label} is in {odd.unit!r}, not in '%'")
        by_split: dict[str, dict[str, float]] = {}
        for metric in reversed(self.metrics):  # the first of a name counts, as in `metric`
            if metric.value is not None:
                by_split.setdefault(metric.split, {})[metric.name] = metric.value
        if self.status == "ok" and self.subject == "cell" and "top1" not in by_split.get("test", {}):
            raise ValueError("status ok, but no value for the metric top1")
        for split, table in self.tables.items():
            n = check_counts(split, table, by_split.get(split, {}))
            stored = getattr(self.data, split, n) if split in {"val", "test"} else n
            if self.data is not None and stored != n:
                raise ValueError(f"tables.{split} has {n} images, and the dataset {stored}")

    def metric(self, name: str, split: str = "test") -> Metric | None:
        """Return the metric of a name on a split, or None; the first where there are several."""
        return next((one for one in self.metrics if one.name == name and one.split == split), None)

    def answered(self, split: str = "test") -> Answered | None:
        """Return which images of a split were predicted right; None where nothing says so."""
        tables = self.tables
        return tables.answered(split) if isinstance(tables, KnownTables) else answered(tables.get(split))

    def copies(self) -> CopyTable:
        """Return the table of the check for copies, which a record of that check has."""
        tables = self.tables
        return tables.copies() if isinstance(tables, KnownTables) else read_copies(tables["copies"])


@dataclass(frozen=True, config=STRICT)
class Cost:
    """What one stage of a cell took: wall seconds, peak memory in bytes, and on which device.

    Stage `generation` is what making the images took before they came here, as their owner told it; its
    seconds are None where nobody did.
    """

    stage: str
    seconds: Seconds | None
    peak_memory_bytes: Count = 0
    device: str = ""


@dataclass(frozen=True, config=STRICT)
class PluginCode:
    """The code of one component that took part.

    Attributes:
        kind: `generator`, `classifier`, ...
        name: Of the component.
        version: Of the component.
        distribution: Name and version of what installed it, or the file's name; empty in schema 1.
        sha256: Digest of its code.
        covers: What the digest is taken of: the whole `package`, or, in schema 1, one `file`.
        confined: What kept the process of a third party's code from files and networks: `Landlock 7,
            seccomp`, or `no` with the reason; empty for built-in code, which no third party's runs beside.
        changed: What it changed for others in its process, and left behind.
    """

    kind: str
    name: str
    version: int = 1
    distribution: str = ""
    sha256: Digest = ""
    covers: Literal["package", "file"] = "package"
    confined: str = ""
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Declaration:
    """What a suite said that it would compare, before test was read (protocol rule 7).

    A record lists all declarations that its cell took part in, the oldest first: they are the looks at test.

    Attributes:
        family: Digest of what was declared: protocol, rows with their roles, seeds and looks.
        suite: Name of the suite, for people.
        seeds: How many seeds it plans.
        look: How many of them were planned to be there when test was read.
        helps: How many contrasts with real images alone it plans: the first Holm family.
        adds: How many with copies and with free augmentation: the second one.
        role: What the row of this record is for; empty where the record is not about a cell.
        choosing_seeds: How many seeds, the first ones, choose configurations on val and confirm nothing.
        looks: After how many seeds test may be read before all are there, upwards.
    """

    family: Digest
    suite: str
    seeds: Count
    look: Count
    helps: Count
    adds: Count
    role: Role = ""
    choosing_seeds: Count = 0
    looks: Annotated[tuple[Count, ...], Field(max_length=_MOST_ENTRIES)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ascending = (0, *self.looks, self.seeds)
        if any(left >= right for left, right in pairwise(ascending)):
            raise ValueError(f"looks {list(self.looks)} do not lead upwards to {self.seeds} seeds")
        if self.look not in {*self.looks, self.seeds}:
            raise ValueError(f"a look at {self.look} seeds was not planned")
        if self.choosing_seeds >= min((*self.looks, self.seeds)):
            raise ValueError(f"{self.choosing_seeds} seeds that choose leave none that confirm")
        return self


@dataclass(frozen=True, config=STRICT)
class Run:
    """The part of a record that differs from attempt to attempt.

    Attributes:
        created: UTC time, ISO 8601.
        command: What repeats the run.
        hardware: Device, processor and instruction set.
        versions: Versions of genbench and of the libraries that touch numbers.
        commit: Commit of genbench's own source, `-dirty` where files were changed; empty where none is known.
        costs: One entry per step of the cell, shared ones included.
        plugins: The code of every component that took part.
        curves: Loss and more over the steps of `fit NAME` and `train`.
        declared: The families that the cell took part in, the oldest first; empty before protocol 2.
        log: Path of the log of a failed step, relative to the store.
    """

    created: str
    command: str
    hardware: Annotated[Mapping[str, Any], Field(max_length=_MOST_ENTRIES)] = field(default_factory=dict)
    versions: Annotated[Mapping[str, str], Field(max_length=_MOST_ENTRIES)] = field(default_factory=dict)
    commit: str = ""
    costs: tuple[Cost, ...] = ()
    plugins: tuple[PluginCode, ...] = ()
    curves: Annotated[Mapping[str, Curve], AS_DICT] = field(default_factory=dict)
    declared: Annotated[tuple[Declaration, ...], Field(max_length=MOST_DECLARATIONS)] = ()
    log: str = ""


@dataclass(frozen=True, config=STRICT)
class Record:
    """One published measurement."""

    result: Result
    run: Run

    @cached_property
    def result_digest(self) -> str:
        """SHA-256 of `result`: equal for byte-identical results."""
        return digest(_RESULT.dump_python(self.result, mode="json"))

    @cached_property
    def run_digest(self) -> str:
        """SHA-256 of `run`."""
        return digest(_RUN.dump_python(self.run, mode="json"))

    @property
    def file_name(self) -> str:
        """A name that is unique per attempt and sorts by subject."""
        return f"{self.result.subject}-{self.result.key[:16]}-{self.run_digest[:8]}.json"

    def declaring(self, declared: tuple[Declaration, ...]) -> "Record":
        """Return the record with other declarations, and the digests of the one that was published."""
        digests = {"result_digest": self.result_digest, "run_digest": self.run_digest}
        changed = copy(self), copy(self.run)  # nothing is validated again: that would read tables and curves
        object.__setattr__(changed[1], "declared", declared)
        for name, value in {"run": changed[1], **digests}.items():
            object.__setattr__(changed[0], name, value)
        return changed[0]

    def to_json(self) -> str:
        """Write the record as indented JSON that `from_json` reads back equal."""
        result = _RESULT.dump_python(self.result, mode="json")
        run = _RUN.dump_python(self.run, mode="json")
        body = {
            "schema_version": SCHEMA_VERSION,
            "result_sha256": digest(result),  # of what is written: it may say more than what was read
            "run_sha256": digest(run),
            "result": result,
            "run": run,
        }
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = "record") -> Self:
        """Read a record of this or an older schema.

        Args:
            text: The content of a record's file.
            origin: How a message calls it.

        Raises:
            DataError: The text is not a record, is newer than this genbench, was edited, or holds values
                that cannot be.
        """
        body = _body(text, origin)
        version = body["schema_version"]
        if version > SCHEMA_VERSION:
            raise DataError(
                f"{origin}: schema_version {version}, this genbench reads up to {SCHEMA_VERSION}",
                hint="pip install --upgrade genbench",
            )
        texts = _checked_parts(body, origin)
        try:
            if version < SCHEMA_VERSION:
                texts = _upgraded(body)
            # Through JSON, since only there strict means: no number from a text, but a tuple from a list.
            result = _RESULT.validate_json(texts["result"], strict=True)
            run = _RUN.validate_json(texts["run"], strict=True)
        except ValidationError as problem:
            raise DataError(f"{origin}: not a usable record: {explained(problem)}", hint=_MENDED) from None
        except GenbenchError as problem:
            raise _no_record(origin, problem.message) from problem
        except _ODD_SHAPES as problem:  # an older schema is upgraded before it is validated
            raise _no_record(origin, repr(problem)) from problem
        record = cls(result, run)
        if version == SCHEMA_VERSION:  # checked above: what is read again need not be digested again
            vars(record).update({f"{part}_digest": body[f"{part}_sha256"] for part in ("result", "run")})
        return record


_RESULT, _RUN = TypeAdapter(Result), TypeAdapter(Run)
_ODD_SHAPES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MENDED = "remove the file, or repeat the run that wrote it (`run.command`)"
_NAMED = (
    "give the folder of records, or a record's file (RUN/records/*.json)"  # it may be a file of the user's
)
_PAGE = re.compile(r"\s*<(!doctype|html|\?xml|svg)\b", re.IGNORECASE)


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Read records from files, and from folders by their names (`Record.file_name`), in order of path.

    Only regular files are read, and no link leads out of a folder.

    Raises:
        DataError: A file cannot be read or is no record, or there are more of them than fit into memory.
    """
    files = files_of(paths)
    check_amount(files)
    for file in sorted(files):
        yield read_record(file, inside=files[file])


def files_of(paths: Iterable[Path]) -> dict[Path, Path | None]:
    """Return the files that `read_records` reads, with the folder (resolved) that each was found in, or None.

    Raises:
        DataError: A folder cannot be listed.
    """
    files: dict[Path, Path | None] = {}
    prefixes = tuple(f"{subject}-" for subject in get_args(Subject))
    for path in paths:
        if not path.is_dir():
            files.setdefault(path, None)
            continue
        try:
            files |= dict.fromkeys(files_below(path, prefixes, ".json"), path.resolve())
        except ValueError as problem:
            raise DataError(one_line(f"{path}: cannot be read ({problem})", LONGEST_SENTENCE)) from None
    return files


def read_record(file: Path, inside: Path | None = None) -> Record:
    """Read one record; with `inside`, a folder (resolved), a link must not lead out of it.

    Raises:
        DataError: It cannot be read, or is no record.
    """
    origin = one_line(str(file))
    try:
        text = read_text(file, MOST_BYTES, inside)
    except ValueError as problem:
        raise DataError(f"{origin}: cannot be read ({problem})", hint=_NAMED) from problem
    return Record.from_json(text, origin)


def check_amount(files: Iterable[Path]) -> None:
    """Refuse more than could be held in memory, before the first is read."""
    sizes = []
    for file in files:
        with contextlib.suppress(OSError):  # one that is gone is named when it is read
            sizes.append(os.lstat(file).st_size)
    count, total = len(sizes), sum(size for size in sizes if size <= MOST_BYTES)  # others are refused by name
    if count > MOST_FILES or total > MOST_BYTES_OF_FOLDERS:
        raise DataError(
            f"{count:,} records of {total / 2**30:.1f} GiB: at most {MOST_FILES:,} of "
            f"{MOST_BYTES_OF_FOLDERS / 2**30:.0f} GiB are read at once",
            hint="name fewer folders: rows are compared only within one dataset, classifier and protocol",
        )


def explained(problem: ValidationError) -> str:
    """Say in one line what pydantic found, and where: `result.metrics.0: top1: 1700 does not lie ...`."""
    findings = problem.errors(include_url=False, include_context=False, include_input=False)
    where, what = ".".join(map(str, findings[0]["loc"])), findings[0]["msg"].removeprefix("Value error, ")
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return one_line(f"{where or 'the whole'}: {what}", LONGEST_SENTENCE) + more


# --------------------------------------------------------------------------------------------------- reading


def _body(text: str, origin: str) -> dict[str, Any]:
    """Parse the text as far as schema version and parts."""
    if _PAGE.match(text):
        raise DataError(f"{origin}: this is a page, not a genbench record", hint=_NAMED)
    try:
        body = parse_json(text, MOST_DEPTH)
    except ValueError as problem:
        raise _no_record(origin, str(problem)) from problem
    version = body.get("schema_version") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(body.get("groups"), list):
        raise DataError(
            f"{origin}: this is the JSON of a board, not a genbench record",
            hint=f"{_NAMED}; genbench compare takes the JSON of boards",
        )
    if type(version) is not int or version < 1:
        raise _no_record(origin, f"schema_version is {version!r}")
    found: dict[str, Any] = body
    if not all(isinstance(found.get(part), dict) for part in ("result", "run")):
        raise _no_record(origin, "it has no `result` and `run`")
    return found


def _upgraded(body: dict[str, Any]) -> dict[str, str]:
    """Return the parts of an older record in the present schema, as JSON."""
    for older in range(body["schema_version"], SCHEMA_VERSION):
        body = UPGRADES[older](body)
    return {part: canonical_json(body[part]) for part in ("result", "run")}


def _checked_parts(body: Mapping[str, Any], origin: str) -> dict[str, str]:
    """Return the stored parts that have a digest as JSON, compared with it before anything is read."""
    texts = {}
    for part in ("result", "run") if body["schema_version"] > 1 else ("result",):
        try:
            texts[part] = canonical_json(body[part])
            found = text_digest(texts[part])
        except GenbenchError as problem:  # numbers and texts that JSON can spell and no record holds
            raise _no_record(origin, problem.message) from problem
        if found != body.get(f"{part}_sha256"):
            raise DataError(
                f"{origin}: `{part}` does not match its `{part}_sha256`: the file was edited or damaged",
                hint=_MENDED,
            )
    return texts


def _no_record(origin: str, why: str) -> DataError:
    return DataError(f"{origin}: not a genbench record ({one_line(why, LONGEST_SENTENCE)})", hint=_NAMED)
