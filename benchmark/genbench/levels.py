"""What a verification says of records: how far each was checked, and what contradicts it.

Written by `genbench leaderboard verify` (`genbench.verification`), read by the leaderboard. A level belongs
to a record by its two digests: an edited record is another one, and has no level. The file is as good as who
wrote it: a results repository takes it from its own CI, never from a pull request.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from genbench.digest import canonical_json, digest
from genbench.errors import DataError
from genbench.escaping import LONGEST_SENTENCE, one_line
from genbench.metrics import STRICT
from genbench.records import Digest, Record, Seconds, explained
from genbench.untrusted import parse_json, read_text

SCHEMA_VERSION = 1

#: `reported`: as its author says; `recomputed`: its numbers follow from the predictions and from labels that
#: the verifier loaded; `reproduced`: the cell was run again, and gave the same.
Level = Literal["reported", "recomputed", "reproduced"]
LEVELS: tuple[Level, ...] = get_args(Level)

_MOST_BYTES, _MOST_DEPTH = 512 * 2**20, 10
_MOST_LINES = 1_000  # of what is said of one record
Sentence = Annotated[str, Field(max_length=2 * LONGEST_SENTENCE)]
Sentences = Annotated[tuple[Sentence, ...], Field(max_length=_MOST_LINES)]


@dataclass(frozen=True, config=STRICT)
class Rerun:
    """What became of a cell that was drawn and run again.

    Attributes:
        agrees: Whether the result was the same.
        same_machine: Whether hardware and versions were those of the record, so that results were compared
            byte for byte; else top-1 was compared within `tolerance_points`.
        tolerance_points: Largest difference of top-1 that was allowed; 0 on the same kind of machine.
        seconds: What the cell's steps took here.
        seconds_reported: What they took by the record.
    """

    agrees: bool
    same_machine: bool
    tolerance_points: float = 0.0
    seconds: Seconds = 0.0
    seconds_reported: Seconds = 0.0


@dataclass(frozen=True, config=STRICT)
class Checked:
    """What was found about one record.

    Attributes:
        record: See `record_mark`.
        file: Name of the record's file in the submission.
        name: Cell and evaluator, for people.
        level: How far it was checked.
        contradictions: What does not fit together; none above *reported*.
        unchecked: Why it was not recomputed, where nothing contradicts it.
        rerun: What became of it when it was run again; None where it was not drawn.
    """

    record: Digest
    file: str
    name: str
    level: Level
    contradictions: Sentences = ()
    unchecked: Sentences = ()
    rerun: Rerun | None = None


@dataclass(frozen=True, config=STRICT)
class Verification:
    """What `genbench leaderboard verify` found about one submission.

    Attributes:
        created: UTC time, ISO 8601.
        genbench: Version and commit of the verifier's genbench.
        submission: SHA-256 of the submission's list of files: what was looked at.
        seed: From which the cells to run again were drawn; None where none were.
        drawn: Names of these cells.
        records: One entry per record that could be read.
        contradictions: What belongs to no single record.
        notes: What a reader should know, and contradicts nothing.
    """

    created: str
    genbench: str
    submission: Digest
    seed: int | None = None
    drawn: tuple[str, ...] = ()
    records: tuple[Checked, ...] = ()
    contradictions: Sentences = ()
    notes: Sentences = ()

    @property
    def contradicts(self) -> bool:
        """Whether anything in the submission does not fit together."""
        return bool(self.contradictions) or any(one.contradictions for one in self.records)

    def to_json(self) -> str:
        """Write it as indented JSON."""
        body = {"schema_version": SCHEMA_VERSION, **_VERIFICATION.dump_python(self, mode="json")}
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


_VERIFICATION = TypeAdapter(Verification)


def record_mark(record: Record) -> str:
    """Return what a level is kept under: a digest of the record's two digests."""
    return digest([record.result_digest, record.run_digest])


def read_verification(path: Path) -> Verification:
    """Read what `to_json` wrote.

    Raises:
        DataError: The file cannot be read, or is no verification.
    """
    try:
        body = parse_json(read_text(path, _MOST_BYTES), _MOST_DEPTH)
        if not isinstance(body, dict) or body.pop("schema_version", None) != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is not {SCHEMA_VERSION}")
        return _VERIFICATION.validate_json(canonical_json(body), strict=True)
    except ValidationError as problem:
        why = explained(problem)
    except ValueError as problem:
        why = str(problem)
    raise DataError(
        one_line(f"{path}: not a verification ({why})", LONGEST_SENTENCE),
        hint="genbench leaderboard verify FOLDER -o FILE writes one",
    )


def merged(verifications: Iterable[Verification]) -> dict[str, Checked]:
    """Return what is known of every record, by `record_mark`: a contradiction wins, then the higher level."""
    found: dict[str, Checked] = {}
    for verification in verifications:
        for one in verification.records:
            known = found.get(one.record)
            weight = (bool(one.contradictions), LEVELS.index(one.level))
            if known is None or weight > (bool(known.contradictions), LEVELS.index(known.level)):
                found[one.record] = one
    return found


def level_of_record(record: Record, verified: Mapping[str, Checked]) -> Level:
    """Return how far a record was checked."""
    checked = verified.get(record_mark(record)) if verified else None
    return checked.level if checked is not None and not checked.contradictions else "reported"


def level_of(records: Iterable[Record], verified: Mapping[str, Checked]) -> Level:
    """Return the level of a row: that of the records which its top-1 rests on, the lowest of all.

    A row is *reproduced* where all its cells were recomputed and at least one was run again. Where any of the
    given records is contradicted, the row is *reported*.

    Args:
        records: Of the row, of whatever evaluator.
        verified: See `merged`; empty where nobody verified anything.
    """
    levels: set[Level] = set()
    for record in records:
        checked = verified.get(record_mark(record)) if verified else None
        if checked is not None and checked.contradictions:
            return "reported"
        result = record.result
        if result.subject == "cell" and result.evaluator.use == "accuracy" and result.status == "ok":
            levels.add(checked.level if checked is not None else "reported")
    if not levels or "reported" in levels:
        return "reported"
    return "reproduced" if "reproduced" in levels else "recomputed"
