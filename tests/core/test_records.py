"""Records: read back equal, protected against edits, upgradable, and deterministic where it matters."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genbench.errors import DataError
from genbench.metrics import Metric
from genbench.records import Cost, Record, Result, Run, pack_bits, read_records, unpack_bits

RECORD = Record(
    Result(
        subject="cell",
        status="ok",
        dataset={"use": "digits"},
        generator={"use": "ddpm"},
        filter={"use": "none"},
        mix={"ratio": 1.0},
        classifier={"use": "cnn"},
        index=0,
        protocol={"base_seed": 0},
        evaluator={"use": "accuracy"},
        key="ab" * 32,
        planned_indices=5,
        metrics=(Metric("top1", 97.5, "%", True, (0.0, 100.0), 0.0),),
        tables={"test": {"n": 40}},
    ),
    Run("2026-01-01T00:00:00+00:00", "genbench run", costs=(Cost("fit", 1.5, 10, "cpu"),)),
)


def test_a_record_reads_back_equal() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_the_result_digest_ignores_the_attempt_and_nothing_else() -> None:
    later = replace(RECORD, run=replace(RECORD.run, created="2027-01-01T00:00:00+00:00"))
    other = replace(RECORD, result=replace(RECORD.result, index=1))
    assert later.result_digest == RECORD.result_digest != other.result_digest
    assert later.file_name != RECORD.file_name


def test_an_edited_number_is_refused() -> None:
    edited = RECORD.to_json().replace("97.5", "99.5")
    with pytest.raises(DataError, match="does not match its `result_sha256`"):
        Record.from_json(edited, "here.json")


def test_a_newer_schema_asks_for_an_upgrade() -> None:
    body = json.loads(RECORD.to_json()) | {"schema_version": 99}
    with pytest.raises(
        DataError, match=r"schema_version 99, this genbench reads up to 1[\s\S]*pip install --upgrade"
    ):
        Record.from_json(json.dumps(body))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "result": {}, "run": {}}'])
def test_what_is_not_a_record_is_named(text: str) -> None:
    with pytest.raises(DataError, match=r"notes\.json: not a genbench record"):
        Record.from_json(text, "notes.json")


def test_folders_and_files_are_read_once_each(tmp_path: Path) -> None:
    file = tmp_path / "deep" / RECORD.file_name
    file.parent.mkdir()
    file.write_text(RECORD.to_json())
    assert list(read_records([tmp_path, file])) == [RECORD]


@given(st.lists(st.booleans(), max_size=70))
def test_bits_unpack_to_what_was_packed(values: list[bool]) -> None:
    assert unpack_bits(pack_bits(values), len(values)) == values
