"""Records: read back equal, protected against edits, consistent, and deterministic where it matters."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genbench.digest import digest
from genbench.errors import DataError
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import (
    Component,
    Cost,
    Counts,
    DatasetImages,
    Ledger,
    PluginCode,
    Protocol,
    Record,
    Result,
    Run,
    Sampled,
    Source,
    pack_bits,
    read_records,
    unpack_bits,
)

RIGHT = [True] * 39 + [False]  # 97.5 % of 40 images of two classes
RECORD = Record(
    Result(
        subject="cell",
        status="ok",
        dataset=Component("digits"),
        generator=Component("ddpm", config={"steps": 20}, external_data=("somewhere",)),
        filter=Component("none"),
        classifier=Component("cnn", tuning_trials=8),
        evaluator=Component("accuracy"),
        index=0,
        protocol=Protocol(preset="quick", reference=Component("cnn")),
        key="ab" * 32,
        planned_indices=5,
        ratio=1.0,
        mix=Mix(),
        data=DatasetImages("cd" * 32, train=100, val=20, test=40, shifts={"noisy": 40}),
        metrics=(
            Metric("top1", 97.5, "%", True, (0.0, 100.0), 1e-9, split="test", n=40),
            Metric("top1", 95.0, "%", True, (0.0, 100.0), 1e-9, split="val", n=20),
            Metric("log_loss", 0.3, "nats", False, (0.0, None), split="test", n=40, qualifiers=("k=3",)),
        ),
        tables={
            "test": {
                "n": 40,
                "correct_bits": pack_bits(RIGHT),
                "per_class": [{"class": "a", "n": 20, "correct": 20}, {"class": "b", "n": 20, "correct": 19}],
                "confusion": [[20, 0], [1, 19]],
            }
        },
        ledger=Ledger(
            Source(100, 100, 600),
            Source(90, 90, 600),
            Sampled(100, 103, 95, {"blank": 8}, {"test": 0}, 90),
            steps=10,
        ),
    ),
    Run(
        "2026-01-01T00:00:00+00:00",
        "genbench run",
        {"device": "cpu"},
        {"torch": "2.9"},
        costs=(Cost("fit", 1.5, 10, "cpu"),),
        plugins=(PluginCode("generator", "ddpm", sha256="ef" * 32),),
        curves={"train": ({"step": 1.0, "loss": 2.0},)},
    ),
)


def test_a_record_reads_back_equal() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_the_result_digest_ignores_the_attempt_and_nothing_else() -> None:
    later = replace(RECORD, run=replace(RECORD.run, created="2027-01-01T00:00:00+00:00"))
    other = replace(RECORD, result=replace(RECORD.result, index=1))
    assert later.result_digest == RECORD.result_digest != other.result_digest
    assert later.run_digest != RECORD.run_digest == other.run_digest
    assert later.file_name != RECORD.file_name


@pytest.mark.parametrize(
    ("part", "found", "edited"),
    [("result", "97.5", "99.5"), ("run", '"seconds": 1.5', '"seconds": 0.5')],
)
def test_an_edited_number_is_refused(part: str, found: str, edited: str) -> None:
    text = RECORD.to_json()
    assert text.count(found) == 1
    with pytest.raises(DataError, match=rf"here\.json: `{part}` does not match its `{part}_sha256`"):
        Record.from_json(text.replace(found, edited), "here.json")


def test_a_newer_schema_asks_for_an_upgrade() -> None:
    body = json.loads(RECORD.to_json()) | {"schema_version": 99}
    with pytest.raises(
        DataError, match=r"schema_version 99, this genbench reads up to 2[\s\S]*pip install --upgrade"
    ):
        Record.from_json(json.dumps(body))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2, "result": [], "run": {}}',
        '{"schema_version": true, "result": {}, "run": {}}',
        '{"schema_version": 0, "result": {}, "run": {}}',
        '{"schema_version": NaN}',
        "[" * 100_000,
    ],
)
def test_what_is_not_a_record_is_named(text: str) -> None:
    with pytest.raises(DataError, match=r"notes\.json: not a genbench record") as raised:
        Record.from_json(text, "notes.json")
    assert raised.value.hint.startswith("give the folder of records, or a record's file")
    assert "remove" not in raised.value.hint, "it may be a file of the user's"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html>\n<html>", "this is a page, not a genbench record"),
        (b'{"groups": [], "schema_version": 3}', "this is the JSON of a board, not a genbench record"),
        (b"\x89PNG\r\n\xff", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_told_and_never_to_be_removed(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "board.html"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"board\.html: {said}") as raised:
        list(read_records([file]))
    assert raised.value.hint.startswith("give the folder of records, or a record's file")
    assert "remove" not in raised.value.hint


@pytest.mark.parametrize("version", [1, 2])
def test_empty_parts_are_no_record(version: int) -> None:
    with pytest.raises(DataError, match=r"notes\.json: not a (genbench|usable) record"):
        Record.from_json(sealed({"schema_version": version, "result": {}, "run": {}}), "notes.json")


def test_folders_and_files_are_read_once_each(tmp_path: Path) -> None:
    file = tmp_path / "deep" / RECORD.file_name
    file.parent.mkdir()
    file.write_text(RECORD.to_json())
    assert list(read_records([tmp_path, file])) == [RECORD]


def test_a_name_that_stands_there_twice_is_refused() -> None:
    text = RECORD.to_json().replace('"index": 0', '"index": 0, "index": 0')
    with pytest.raises(
        DataError, match=r"here\.json: not a genbench record \(the name 'index' stands there twice"
    ):
        Record.from_json(text, "here.json")


def test_no_link_leads_out_of_a_folder(tmp_path: Path) -> None:
    inner, other = tmp_path / "inner", tmp_path / RECORD.file_name
    inner.mkdir()
    other.write_text(RECORD.to_json())
    link = inner / RECORD.file_name
    link.symlink_to(other)
    with pytest.raises(DataError, match=r"cannot be read \(a link that leads out of the folder\)"):
        list(read_records([inner]))
    assert list(read_records([link])) == [RECORD]  # whoever names a link means it


def test_a_hostile_path_is_shown_in_one_printable_line(tmp_path: Path) -> None:
    file = tmp_path / "cell-\x1b[2J\n.json"
    file.write_text("{}")
    with pytest.raises(DataError, match=r"cell-\\x1b\[2J \.json: not a genbench record") as raised:
        list(read_records([tmp_path]))
    assert raised.value.message.isprintable()


def test_more_than_fits_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"cell-{number}.json").write_text("no record")
    monkeypatch.setattr("genbench.records.MOST_FILES", 2)
    with pytest.raises(DataError, match=r"3 records of 0\.0 GiB: at most 2 of 4 GiB are read at once"):
        list(read_records([tmp_path]))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cell-0.json"
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"cell-0\.json: cannot be read"):
        list(read_records([file]))


@given(st.lists(st.booleans(), max_size=70))
def test_bits_unpack_to_what_was_packed(values: list[bool]) -> None:
    assert unpack_bits(pack_bits(values), len(values)) == values


# ------------------------------------------------------------------------------- fields that are added later


def test_a_body_without_a_field_that_has_a_default_stays_readable() -> None:
    """Records of schema 2 from before a field was added lack it; their digests are of what they hold."""
    body = json.loads(RECORD.to_json())
    for metric in body["result"]["metrics"]:
        del metric["average"], metric["role"]
    for name in ("data", "reason"):
        del body["result"][name]
    del body["result"]["ledger"]["images"]["kept_images"]
    del body["run"]["commit"]
    found = Record.from_json(sealed(body))
    assert found.result.metrics == RECORD.result.metrics
    assert found.result.data is None
    assert found.run == RECORD.run
    assert Record.from_json(found.to_json()) == found


# ------------------------------------------------------------------------------------- what cannot have been


def sealed(body: dict[str, Any]) -> str:
    """Write a body with the digests of what it holds, as somebody does who knows how."""
    parts = {f"{part}_sha256": digest(body[part]) for part in ("result", "run")}
    return json.dumps({**body, **parts})


def forged(edit: Callable[[dict[str, Any]], object]) -> str:
    """Return the record with an edit of its parts, digests recomputed."""
    body = json.loads(RECORD.to_json())
    edit(body)
    return sealed(body)


def put(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    """Return an edit that sets an entry."""

    def edit(body: Any) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = value

    return edit


def both(*edits: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """Return one edit after the other."""

    def edit(body: dict[str, Any]) -> None:
        for one in edits:
            one(body)

    return edit


def claim(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    """Return an edit that adds a metric of test."""

    def edit(body: dict[str, Any]) -> None:
        metrics = body["result"]["metrics"]
        metrics.append({**metrics[0], "name": name, "value": value})

    return edit


BINS = [
    {"images": 30, "confidence": 0.9, "accuracy": 1.0},
    {"images": 10, "confidence": 0.6, "accuracy": 0.9},
]
TOP1, TEST, LEDGER = ("result", "metrics", 0), ("result", "tables", "test"), ("result", "ledger")
IMPOSSIBLE = {
    "a top-1 of 1,700": (put(1700.0, *TOP1, "value"), r"top1: 1700 does not lie within 0 and 100"),
    "the same without its bounds": (
        both(put(1700.0, *TOP1, "value"), put([None, None], *TOP1, "bounds")),
        r"top1: 1700 does not lie within 0 and 100",
    ),
    "a value below its bounds": (
        put(-0.1, "result", "metrics", 2, "value"),
        r"log_loss\[k=3\]: -0\.1 does not lie within 0 and infinity",
    ),
    "another accuracy than the counts": (
        put(95.0, *TOP1, "value"),
        r"top1 on test is 95 %, but 39 of 40 images are right",
    ),
    "bits of another number of images": (
        put(pack_bits([*RIGHT, *RIGHT]), *TEST, "correct_bits"),
        r"tables\.test\.correct_bits: 10 bytes do not hold 40 bits",
    ),
    "bits that are none": (put("?", *TEST, "correct_bits"), r"tables\.test\.correct_bits: no base64"),
    "classes that do not add up": (
        put(21, *TEST, "per_class", 0, "n"),
        r"tables\.test: per_class n gives 41, not 40",
    ),
    "classes with other right answers": (
        put(18, *TEST, "per_class", 1, "correct"),
        r"tables\.test: per_class correct gives 38, not 39",
    ),
    "confusion of another number of images": (
        put(5, *TEST, "confusion", 0, 1),
        r"tables\.test: confusion gives 45, not 40",
    ),
    "confusion with other right answers": (
        put([[19, 1], [1, 19]], *TEST, "confusion"),
        r"tables\.test: confusion's diagonal gives 38, not 39",
    ),
    "another balanced accuracy than the counts": (
        claim("balanced_accuracy", 99.0),
        r"balanced_accuracy on test is 99 %, and its counts say 97\.5 %",
    ),
    "another macro F1 than the confusion": (
        claim("macro_f1", 99.0),
        r"macro_f1 on test is 99 %, and its counts say 97\.4984 %",
    ),
    "another calibration error than the bins": (
        both(put(BINS, *TEST, "reliability"), claim("calibration_error", 1.0)),
        r"calibration_error on test is 1 %, and its counts say 15 %",
    ),
    "bins of other images": (
        put([{**BINS[0], "images": 31}, BINS[1]], *TEST, "reliability"),
        r"tables\.test: reliability gives 41, not 40",
    ),
    "bins with other right answers": (
        put([{**BINS[0], "accuracy": 0.9}, BINS[1]], *TEST, "reliability"),
        r"tables\.test: reliability's accuracy gives 36\.0, not 39",
    ),
    "classes that the confusion contradicts": (
        both(put(19, *TEST, "per_class", 0, "correct"), put(20, *TEST, "per_class", 1, "correct")),
        r"tables\.test: per_class and confusion differ for class 0",
    ),
    "used what the filter dropped": (
        put(89, *LEDGER, "images", "kept_images"),
        r"90 synthetic images in the training set, and the filter kept 89",
    ),
    "confusion that is no square": (put([[20], [1, 19]], *TEST, "confusion"), r"confusion's columns"),
    "negative counts": (put(-1, *TEST, "n"), r"n: Input should be greater than or equal to 0"),
    "consumed what was not made": (
        both(put(96, *LEDGER, "synthetic", "available_images")),
        r"96 synthetic images in the training set, and 95 were made",
    ),
    "more distinct images than available": (
        put(101, *LEDGER, "real", "distinct_images"),
        r"101 distinct images of 100 available in 600 consumed",
    ),
    "more distinct images than consumed": (
        put(50, *LEDGER, "synthetic", "consumed_images"),
        r"90 distinct images of 90 available in 50 consumed",
    ),
    "made more than was asked for": (
        put(94, *LEDGER, "images", "asked_images"),
        r"95 images made of 94 asked for",
    ),
    "attempts that are not images and faults": (
        put(104, *LEDGER, "images", "attempts"),
        r"95 images made of 100 asked for, in 104 attempts with 8 faults",
    ),
    "kept more than was made": (put(96, *LEDGER, "images", "kept_images"), r"more images kept or copied"),
    "copied more than was made": (
        put({"test": 96}, *LEDGER, "images", "copies"),
        r"more images kept or copied than the 95",
    ),
    "failed without a reason": (
        both(put("failed", "result", "status"), put([], "result", "metrics")),
        r"a failed record has a reason and no metrics",
    ),
    "failed with numbers": (
        both(put("failed", "result", "status"), put("it broke", "result", "reason")),
        r"a failed record has a reason and no metrics",
    ),
    "a metric twice": (
        lambda body: body["result"]["metrics"].append(body["result"]["metrics"][0]),
        r"metric top1 is there twice",
    ),
    "a cell without a classifier": (put(None, "result", "classifier"), r"a cell names its classifier"),
    "a cell without a mix": (put(None, "result", "mix"), r"a cell names its classifier and its mix"),
    "another ratio than the mix": (put(2.0, "result", "ratio"), r"ratio is 2, and that of the mix 1"),
    "a mix that is refused": (put("replace it", "result", "mix", "mode"), r"result\.mix\.mode|mix\.mode"),
    "an unknown subject": (put("planet", "result", "subject"), r"subject: Input should be 'cell'"),
    "an unknown status": (put("skipped", "result", "status"), r"status: Input should be 'ok' or 'failed'"),
    "an unknown field": (put(1, "result", "colour"), r"colour: Unexpected keyword argument"),
    "an unknown field of the run": (put(1, "run", "colour"), r"colour: Unexpected keyword argument"),
    "an unknown field of a metric": (put(1, *TOP1, "colour"), r"metrics\.0\.colour: Unexpected keyword"),
    "a name that is a sentence": (put("fid[reference]", *TOP1, "name"), r"metric name 'fid\[reference\]'"),
    "a negative index": (put(-1, "result", "index"), r"index: Input should be greater than or equal to 0"),
    "a number as text": (put("97.5", *TOP1, "value"), r"metrics\.0\.value: Input should be a valid number"),
    "a yes for a number": (put(True, "result", "index"), r"index: Input should be a valid integer"),
    "a top-1 of 1,700 within its own tolerance": (
        both(put(1700.0, *TOP1, "value"), put(1e9, *TOP1, "tolerance")),
        r"top1: 1700 does not lie within 0 and 100",
    ),
    "a top-1 in no unit": (put("", *TOP1, "unit"), r"top1 is in '', not in '%'"),
    "no top-1": (put("top2", *TOP1, "name"), r"status ok, but no value for the metric top1"),
    "a value whose square is no number": (
        put(1e200, "result", "metrics", 2, "value"),
        r"1e\+200 does not lie within -1e\+100 and 1e\+100",
    ),
    "counts beyond floats": (
        put(2**60, "result", "planned_indices"),
        r"planned_indices: Input should be less",
    ),
    "images beyond memory": (put(2**50, *TEST, "n"), r"n: Input should be less than or equal to 10000000"),
    "a number as text in a table": (put("40", *TEST, "n"), r"n: Input should be a valid integer"),
    "a class without a name": (
        lambda body: body["result"]["tables"]["test"]["per_class"][0].pop("class"),
        r"per_class\.0\.class: Field required",
    ),
    "more right answers than images": (
        both(put(22, *TEST, "per_class", 0, "correct"), put(17, *TEST, "per_class", 1, "correct")),
        r"tables\.test: 22 of 20 images of a class are right",
    ),
    "confusion of texts": (
        put([["20", 0], [1, 19]], *TEST, "confusion"),
        r"holds something that is no count",
    ),
    "a table of accuracy in another form": (
        put({"p": 0.0}, "result", "tables", "other"),
        r"n: Field required",
    ),
    "a key that is a path": (put("../../x", "result", "key"), r"key: String should match pattern"),
    "more metrics than fit a page": (
        lambda body: body["result"].update(metrics=body["result"]["metrics"] * 4_000),
        r"metrics: Tuple should have at most 10000 items",
    ),
    "seconds beyond sums": (
        put(1e308, "run", "costs", 0, "seconds"),
        r"costs\.0\.seconds: Input should be less",
    ),
    "negative seconds": (put(-1.0, "run", "costs", 0, "seconds"), r"costs\.0\.seconds: Input should be"),
    "a digest that is none": (
        put("zz", "run", "plugins", 0, "sha256"),
        r"plugins\.0\.sha256: String should match pattern",
    ),
}


def test_the_example_itself_passes_so_that_each_edit_is_what_is_refused() -> None:
    assert Record.from_json(forged(lambda body: None)) == RECORD
    following = (claim("balanced_accuracy", 97.5), claim("calibration_error", 15.0))
    Record.from_json(forged(both(put(BINS, *TEST, "reliability"), *following)))


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_have_been_measured_is_refused(case: str) -> None:
    edit, reason = IMPOSSIBLE[case]
    with pytest.raises(DataError, match=reason) as raised:
        Record.from_json(forged(edit), "there.json")
    assert raised.value.message.startswith("there.json: ")
    assert "\n" not in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("value", [101.0, -1.0])
def test_values_outside_of_their_bounds_are_refused_where_they_are_made(value: float) -> None:
    with pytest.raises(ValidationError, match="does not lie within 0 and 100"):
        Metric("top1", value, "%")
    with pytest.raises(ValidationError, match="does not lie within"):
        Metric("top1", value, bounds=(0, 100))
    assert Metric("top1", value).value == value


def test_counts_are_read_with_their_defaults() -> None:
    assert Counts(40, pack_bits(RIGHT)).confusion == ()


# -------------------------------------------------------------------------------------------- any edit at all

JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**70, -(2**70), 0.5, -0.5, 1e308, 97.5, "", "x", "97.5", "ä\n\u2028",
    [], {}, [1], {"x": 1}, [[]], {"n": 1}, [None, None], [[1, 2], [3]], "test", ["test"],
]  # fmt: skip
VALID = json.loads(RECORD.to_json())


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value below a value."""
    entries: dict[Any, Any] = value if isinstance(value, dict) else {}
    for name, inner in [*entries.items(), *(enumerate(value) if isinstance(value, list) else ())]:
        yield (*path, name)
        yield from places(inner, (*path, name))


def mutate(body: dict[str, Any], rng: random.Random) -> None:
    """Change one place of the parts: remove, replace, repeat, rename, negate or nest."""
    *above, last = rng.choice([path for path in places(body) if path[0] in {"result", "run"} and path[1:]])
    inner: Any = body
    for step in above:
        inner = inner[step]
    kinds = ["remove", "replace", "replace", "repeat", "rename", "negate", "enlarge", "nest", "swap"]
    kind = rng.choice(kinds)
    value = inner[last]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "remove":
        del inner[last]
    elif kind == "repeat" and isinstance(inner, list):
        inner.insert(rng.randrange(len(inner) + 1), copy.deepcopy(value))
    elif kind == "rename" and isinstance(inner, dict):
        inner[rng.choice(["", "x", "test", f"{last}_"])] = inner.pop(last)
    elif kind == "negate" and is_number:
        inner[last] = -value
    elif kind == "enlarge" and is_number:
        inner[last] = min(value * rng.choice([2, 10**6, 10**40]), 1e308)  # infinity has no digest
    elif kind == "nest":
        inner[last] = rng.choice([[value], {"value": value}])
    elif kind == "swap" and isinstance(inner, dict):
        other = rng.choice(list(inner))
        inner[last], inner[other] = inner[other], inner[last]
    else:
        inner[last] = copy.deepcopy(rng.choice(JSON_VALUES))


def refusal(text: str) -> str:
    """Return why a text is no record; empty if it is one. Nothing but `DataError` may be raised."""
    try:
        record = Record.from_json(text, "odd.json")
    except DataError as problem:
        return problem.message
    assert Record.from_json(record.to_json()) == record  # what is read can be written
    return ""


def assert_reads_or_is_refused(text: str) -> bool:
    """Read a text as a record, or see one line that names the file; say whether it is one."""
    reason = refusal(text)
    assert not reason or (reason.startswith("odd.json: ") and len(reason.splitlines()) == 1), reason
    return not reason


@settings(max_examples=600, deadline=None)
@given(seed=st.integers(0, 2**48), edits=st.integers(1, 4))
def test_any_edit_reads_or_is_refused_with_one_line(seed: int, edits: int) -> None:
    rng, body = random.Random(seed), copy.deepcopy(VALID)
    for _ in range(edits):
        mutate(body, rng)
    assert_reads_or_is_refused(sealed(body))


def test_most_random_edits_reach_validation_and_are_refused() -> None:
    """That the test above tests anything: it meets both ends, and many different reasons."""
    reasons, read = set(), 0
    for seed in range(400):
        rng, body = random.Random(seed), copy.deepcopy(VALID)
        mutate(body, rng)
        reason = refusal(sealed(body))
        read += not reason
        reasons.add(reason)
    assert read > 20
    assert len(reasons) > 60


TEXT = RECORD.to_json().encode()


@settings(max_examples=400, deadline=None)
@given(start=st.integers(0, len(TEXT)), stop=st.integers(0, len(TEXT)), put_there=st.binary(max_size=6))
def test_any_damage_of_the_text_reads_or_is_refused(start: int, stop: int, put_there: bytes) -> None:
    damaged = TEXT[: min(start, stop)] + put_there + TEXT[max(start, stop) :]
    text = damaged.decode(errors="replace")
    if assert_reads_or_is_refused(text):
        assert json.loads(text) == VALID  # only white space can have changed


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" * 5000, "1" * 400, '"\\ud800"'])
def test_what_json_writes_and_no_record_holds_is_refused(number: str) -> None:
    text = TEXT.decode().replace('"value": 97.5', f'"value": {number}')
    assert text.encode() != TEXT
    assert not assert_reads_or_is_refused(text)


@pytest.mark.parametrize("depth", [150, 900, 5_000, 100_000])
@pytest.mark.parametrize("part", ["tables", "ledger", "config"])
def test_deep_nesting_reads_or_is_refused(part: str, depth: int) -> None:
    deep = '{"x": ' * depth + "1" + "}" * depth
    text = TEXT.decode().replace(f'"{part}": {{', f'"{part}": {{"deep": {deep}, ', 1)
    assert text.count(deep) == 1
    assert not assert_reads_or_is_refused(text)


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
), max_leaves=8))  # fmt: skip
def test_any_other_json_is_refused(value: Any) -> None:
    assert not assert_reads_or_is_refused(json.dumps(value))
    assert not assert_reads_or_is_refused(json.dumps({"schema_version": 2, "result": value, "run": {}}))
