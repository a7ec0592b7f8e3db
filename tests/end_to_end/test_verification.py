"""Rows of others: a run is packed, verified and shown; who edits a submission is found out, or is not.

What is not found out stands here, too: tests named `..._is_not_found_...` say what a level does not mean.
"""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from genbench.digest import digest
from genbench.errors import DataError, GenbenchError, UsageError
from genbench.levels import Checked, Verification, level_of, merged, read_verification, record_mark
from genbench.metrics import Metric
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.protocols import Evaluation
from genbench.records import Record, read_records
from genbench.registry import PluginSource, Registry
from genbench.runner import run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import Suite, load_suite, make_suite
from genbench.verification.comparing import recounted
from genbench.verification.layout import COMMAND, suite_text
from genbench.verification.packing import Packed, pack
from genbench.verification.rerun import Wanted, compared
from genbench.verification.verify import verify
from genbench.worker import RunOptions
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_markdown
from genbench_leaderboard.verification import read_verified
from toy_program import TOY_PLUGIN, Program

SUITE = {
    "name": "quick rows",
    "preset": "smoke",
    "seeds": 2,
    "datasets": ["digits:limit_train=100"],
    "generators": ["copies"],
    "classifiers": ["mlp"],
    "reference": "mlp",
    "evaluators": ["accuracy", "activation_mmd", "memorization:extractor=pixels", "train_accuracy"],
}
Body = dict[str, Any]
Edit = Callable[[Body], object]


class Made:
    """A run of built-in components and its submission, made once for all tests of this file.

    Attributes:
        store: Where the run's results are.
        folder: The submission, without features.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.folder = root, Store(root / "store"), root / "submission"
        self.suite = make_suite(SUITE, "test")
        self.registry = Registry(PluginSource(third_party=False))
        self.plan = self.planned(self.suite)
        summary = run(self.plan, self.store, self.registry, RunOptions(jobs=0, command="genbench run secret"))
        assert not summary.failed
        self.packed = self.pack(self.folder)

    def planned(self, suite: Suite) -> Plan:
        return make_plan(resolve_suite(self.registry, suite, self.store.fingerprint))

    def pack(self, folder: Path, *cells: str, features: bool = False) -> Packed:
        return pack(self.plan, self.suite, self.store, cells, folder, features=features)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


class Forger:
    """Edits a copy of the submission, with every digest that can be taken again taken again."""

    def __init__(self, folder: Path, place: Path, store: Store) -> None:
        self.folder, self._place, self._store = folder, place, store

    def record(self, *edits: Edit, evaluator: str = "accuracy", generator: str = "copies") -> None:
        """Edit the record of seed 0."""
        for path in sorted((self.folder / "records").iterdir()):
            body = json.loads(path.read_text())
            about = body["result"]
            if (about["evaluator"]["use"], about["generator"]["use"], about["index"]) == (
                evaluator,
                generator,
                0,
            ):
                break
        for edit in edits:
            edit(body)
        for part in ("result", "run"):
            body[f"{part}_sha256"] = digest(body[part])
        path.unlink()
        name = f"{about['subject']}-{about['key'][:16]}-{body['run_sha256'][:8]}.json"
        (path.parent / name).write_text(json.dumps(body))
        self.seal()

    def step(self, stage: str, place: int = 0) -> Path:
        """Return the folder of one of the steps of a stage, in the order of their keys."""
        return [
            path.parent
            for path in sorted(self.folder.glob("steps/*/manifest.json"))
            if json.loads(path.read_text())["document"]["stage"] == stage
        ][place]

    def manifest(self, step: Path, *edits: Edit) -> None:
        """Edit what a step says of itself, its checksum and the digests of its files included."""
        path = step / "manifest.json"
        body = json.loads(path.read_text())
        for name in body["files"]:
            if (step / name).is_file():
                content = (step / name).read_bytes()
                body["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for edit in edits:
            edit(body)
        del body["checksum"]
        path.write_text(json.dumps({**body, "checksum": digest(body)}))
        self.seal()

    def seal(self) -> None:
        """Write the list of files anew."""
        listed = self.folder / "submission.json"
        files = {
            path.relative_to(self.folder).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink() and path != listed
        }
        listed.write_text(json.dumps({"schema_version": 1, "files": files}))

    def verified(self, wanted: Wanted | None = None) -> Verification:
        self._place.mkdir(exist_ok=True)
        return verify(self.folder, self._place, self._store, wanted)

    def levels(self, found: Verification) -> dict[str, str]:
        """Return the level of each row by its name."""
        records = list(read_records([self.folder / "records"]))
        board = build_board(records, merged([found]))
        return {row.name: row.level for group in board.groups for row in group.rows}


@pytest.fixture
def forger(made: Made, tmp_path: Path) -> Forger:
    shutil.copytree(made.folder, tmp_path / "submission")
    return Forger(tmp_path / "submission", tmp_path / "scratch", made.store)


def put(value: Any, *path: str | int) -> Edit:
    def edit(body: Any) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = value

    return edit


def lines(found: Verification) -> list[str]:
    return [line for one in found.records for line in one.contradictions] + list(found.contradictions)


def only(found: Verification, said: str) -> Checked:
    """Return the only contradicted record, one of whose contradictions begins so."""
    (one,) = [one for one in found.records if one.contradictions]
    assert any(line.startswith(said) for line in one.contradictions), one.contradictions
    assert one.level == "reported"
    assert found.contradicts
    return one


HONEST = {"none, standard": "recomputed", "copies, +1.0x standard": "recomputed"}
EDITED = {**HONEST, "copies, +1.0x standard": "reported"}


# ------------------------------------------------------------------------------------------ an honest one


def test_an_honest_submission_is_recomputed_as_far_as_predictions_go(forger: Forger) -> None:
    found = forger.verified()
    assert lines(found) == []
    assert not found.contradicts
    levels = {(one.name.rpartition(": ")[2], one.level) for one in found.records}
    assert levels == {
        ("accuracy", "recomputed"),
        ("activation_mmd", "reported"),
        ("train_accuracy", "reported"),
        ("memorization:extractor=pixels", "reported"),
        ("copies", "reported"),
    }
    reasons = {line for one in found.records for line in one.unchecked}
    assert reasons == {
        "memorization reads images, which are not submitted",
        "copies reads images, which are not submitted",
        "train_accuracy reads a network, which is not submitted",
        "it reads features, which were not submitted (submit --features)",
    }
    assert forger.levels(found) == HONEST


def test_with_features_whatever_reads_predictions_is_recomputed(made: Made, tmp_path: Path) -> None:
    made.pack(tmp_path / "with", features=True)
    found = verify(tmp_path / "with", tmp_path / "scratch", made.store)
    assert lines(found) == []
    assert {one.level for one in found.records if "activation_mmd" in one.name} == {"recomputed"}


def test_a_submission_holds_numbers_and_json_and_says_nothing_of_the_machine(made: Made) -> None:
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".toml", ".npy"}
    assert len(files) == made.packed.files
    for path in files:
        content = path.read_bytes()
        assert str(made.root).encode() not in content
        assert b"genbench run secret" not in content
    records = list(read_records([made.folder]))
    assert {record.run.command for record in records} == {COMMAND}
    assert len(records) == made.packed.records == 16
    assert made.packed.left_out == ()
    assert load_suite(made.folder / "suite.toml") == made.suite


def test_some_cells_are_packed_and_the_others_are_counted(made: Made, tmp_path: Path) -> None:
    packed = made.pack(tmp_path / "part", made.plan.cells[0].name)
    assert packed.cells == (made.plan.cells[0].name,)
    found = verify(tmp_path / "part", tmp_path / "scratch", made.store)
    assert lines(found) == []
    assert any(note.startswith("13 of the 16 evaluations that the suite plans") for note in found.notes)
    with pytest.raises(UsageError, match="exists already"):
        made.pack(tmp_path / "part")
    with pytest.raises(UsageError, match="no cell 'nowhere'"):
        made.pack(tmp_path / "other", "nowhere")
    assert not (tmp_path / "other").exists()


def test_what_was_not_run_cannot_be_submitted(made: Made, tmp_path: Path) -> None:
    with pytest.raises(GenbenchError, match="none of these cells has a result"):
        pack(made.plan, made.suite, Store(tmp_path / "empty"), (), tmp_path / "out", features=False)
    assert list(tmp_path.iterdir()) == []


def test_a_suite_is_written_as_toml_that_reads_back_equal(tmp_path: Path) -> None:
    entries = {
        "datasets": [{"use": "imagefolder", "options": {"path": "caf\u00e9 \U0001f600\x7f", "size": 16}}],
        "classifiers": ["cnn:recipe.clip_norm=null,recipe.learning_rate=1e-05", "mlp"],
        "generators": ["sdedit:base=ddpm,base.timesteps=5", "chain"],
        "mixes": [{"ratio": 0.5, "batch_fraction": 0.25}, {"ratio": 2.0}],
        "name": "a b",
        "evaluators": ["accuracy"],
    }
    suite = make_suite(entries, "test")
    (tmp_path / "suite.toml").write_text(suite_text(suite), encoding="utf-8")
    assert load_suite(tmp_path / "suite.toml") == suite


# ------------------------------------------------------------------------------------- one edit at a time

RECORD_EDITS = {
    "a metric": (put(99.99, "result", "metrics", 3, "value"), "result.metrics.log_loss.value is 99.99"),
    "its tolerance": (put(1e9, "result", "metrics", 3, "tolerance"), "result.metrics.log_loss.tolerance"),
    "a table": (
        put(0.25, "result", "tables", "test", "per_class", 0, "f1"),
        "result.tables.test.per_class.0.f1 is 0.25, and should be",
    ),
    "the cost": (put(0.001, "run", "costs", 0, "seconds"), "run.costs.0.seconds is 0.001, and should be"),
    "the hardware": (
        put("an abacus", "run", "hardware", "processor"),
        'run.hardware.processor is "an abacus"',
    ),
    "a version": (put("9.9", "run", "versions", "torch"), 'run.versions.torch is "9.9"'),
    "the command": (put("genbench run -g other", "run", "command"), 'run.command is "genbench run -g other"'),
    "the date": (put("2020-01-01T00:00:00+00:00", "run", "created"), "run.created is"),
    "the plan's size": (put(3, "result", "planned_indices"), "result.planned_indices is 3, and should be 2"),
    "the books": (
        put(1, "result", "ledger", "real", "distinct_images"),
        "result.ledger.real.distinct_images",
    ),
    "tuning": (put(50, "result", "classifier", "tuning_trials"), "result.classifier.tuning_trials is 50"),
    "the data": (put("ab" * 32, "result", "data", "fingerprint"), "result.data.fingerprint is"),
    "the dataset": (put("cd" * 32, "result", "dataset", "fingerprint"), "result.dataset.fingerprint is"),
    "the key": (put("ef" * 32, "result", "key"), "result.key efefefefefefefef is that of no evaluation"),
    "the family": (put(3, "run", "declared", 0, "helps"), "run.declared is of"),
    "an index": (put(1, "result", "index"), "result.index is 1, and should be 0"),
}


@pytest.mark.parametrize("case", RECORD_EDITS)
def test_an_edited_record_is_reported_and_what_was_edited_is_named(forger: Forger, case: str) -> None:
    edit, said = RECORD_EDITS[case]
    forger.record(edit)
    found = forger.verified()
    only(found, said)
    if case not in {"the key", "an index", "the dataset"}:  # those form rows of their own
        assert forger.levels(found) == EDITED


def test_a_claim_of_any_length_and_of_any_characters_is_named_in_a_line(forger: Forger) -> None:
    forger.record(put("\x1b[2J\n" * 5_000, "run", "command"), put(1e12, "run", "costs", 0, "seconds"))
    found = forger.verified()
    only(found, 'run.command is "')
    assert all(line.isprintable() and len(line) <= 2_100 for line in lines(found))


def test_an_edit_without_new_digests_is_no_record_any_more(forger: Forger) -> None:
    path = sorted((forger.folder / "records").iterdir())[0]
    path.write_text(path.read_text().replace('"n": 449', '"n": 450', 1))
    found = forger.verified()
    assert any("`result` does not match its `result_sha256`" in line for line in found.contradictions)
    assert path.name not in {one.file for one in found.records}


def test_a_metric_that_evaluation_and_record_agree_on_is_recomputed(forger: Forger) -> None:
    """Record, evaluation, manifest and list are edited together: predictions contradict all of them."""
    loss = put(0.0001, "metrics", 3, "value")
    for step in (forger.step("evaluate", place) for place in range(16)):
        body = json.loads((step / "evaluation.json").read_text())
        if "test" in body["tables"]:
            loss(body)
            (step / "evaluation.json").write_text(json.dumps(body))
            forger.manifest(step)
    for generator in ("copies", "none"):
        forger.record(put(0.0001, "result", "metrics", 3, "value"), generator=generator)
    found = forger.verified()
    contradicted = [one for one in found.records if one.contradictions]
    assert any(line.startswith("metric log_loss is 0.0001, and recomputed ") for line in lines(found))
    assert len(contradicted) == 4


# ----------------------------------------------------------------------------------------- predictions


def predictions_of(forger: Forger, generator: str, index: int) -> Path:
    """Return the folder of a cell's predictions."""
    wanted = f"{generator}-{index}"
    records = {
        f"{record.result.generator.use}-{record.result.index}": record.result.key
        for record in read_records([forger.folder / "records"])
        if record.result.evaluator.use == "accuracy"
    }
    manifest = json.loads((forger.folder / "steps" / records[wanted] / "manifest.json").read_text())
    return forger.folder / "steps" / manifest["document"]["inputs"]["predict"]


def swapped_cells(forger: Forger) -> None:
    ours, theirs = (predictions_of(forger, "copies", index) for index in (0, 1))
    shutil.copyfile(theirs / "test.logits.npy", ours / "test.logits.npy")
    forger.manifest(ours)


def swapped_splits(forger: Forger) -> None:
    ours = predictions_of(forger, "copies", 0)
    shutil.copyfile(ours / "val.logits.npy", ours / "test.logits.npy")
    forger.manifest(ours)


def unlisted_swap(forger: Forger) -> None:
    ours, theirs = (predictions_of(forger, "copies", index) for index in (0, 1))
    shutil.copyfile(theirs / "test.logits.npy", ours / "test.logits.npy")
    forger.seal()


def array(value: object) -> bytes:
    content = io.BytesIO()
    np.save(content, value, allow_pickle=True)  # type: ignore[arg-type]
    return content.getvalue()


def replaced(content: bytes) -> Callable[[Forger], None]:
    def attack(forger: Forger) -> None:
        ours = predictions_of(forger, "copies", 0)
        (ours / "test.logits.npy").write_bytes(content)
        forger.manifest(ours)

    return attack


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made_of:
        made_of.writestr("logits.npy", b"\0" * 50_000_000)
    return content.getvalue()


class Trap:
    """Would create a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.mkdir, ("it-was-unpickled",))


LIE = array(np.zeros((1, 10), np.float32)).replace(b"(1, 10)", b"(9**9, 10)"[:7])
HUGE = array(np.zeros((449, 10), np.float32)).replace(b"(449, 10)", b"(449, 99)")
PREDICTIONS = {
    "another cell's": (swapped_cells, "metric top1"),
    "another cell's, and no new digests": (unlisted_swap, "predict with mlp"),
    "another split's": (swapped_splits, "test.logits.npy is unusable: ValueError: float32 ["),
    "objects": (
        replaced(array(np.array([Trap()], dtype=object))),
        "test.logits.npy is unusable: ValueError: object",
    ),
    "a pickle": (replaced(pickle.dumps(Trap())), "test.logits.npy is unusable"),
    "an archive that grows": (replaced(archive()), "test.logits.npy is unusable"),
    "a header that lies": (replaced(HUGE), "test.logits.npy is unusable"),
    "a header that is code": (replaced(LIE), "test.logits.npy is unusable"),
    "half of them": (replaced(array(np.zeros((200, 10), np.float32))), "test.logits.npy is unusable"),
    "doubles": (replaced(array(np.zeros((449, 10)))), "test.logits.npy is unusable: ValueError: float64"),
    "NaN": (
        replaced(array(np.full((449, 10), np.nan, np.float32))),
        "from its predictions there is no result: accuracy: logits of split 'test' are NaN",
    ),
    "nothing": (replaced(b""), "test.logits.npy is unusable"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_other_predictions_are_found(
    forger: Forger, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attack, said = PREDICTIONS[case]
    attack(forger)
    found = forger.verified()
    own = [one for one in found.records if one.contradictions]
    assert any(line.startswith(said) for one in own for line in one.contradictions), lines(found)
    assert {one.level for one in own} == {"reported"}
    assert forger.levels(found)["copies, +1.0x standard"] == "reported"
    assert not (tmp_path / "it-was-unpickled").exists()


def test_two_cells_with_the_same_predictions_are_named_though_all_else_agrees(forger: Forger) -> None:
    """The better seed handed in twice, with every record and every digest to match."""
    good, bad = (predictions_of(forger, "copies", index) for index in (0, 1))
    for name in ("test.logits.npy", "val.logits.npy"):
        shutil.copyfile(good / name, bad / name)
    forger.manifest(bad)
    found = forger.verified()
    assert sum("byte for byte, those of another cell" in line for line in lines(found)) >= 2


def test_made_up_predictions_with_everything_to_match_are_not_found_but_by_running_again(
    forger: Forger, made: Made, tmp_path: Path
) -> None:
    """What *recomputed* does not mean: whoever makes up logits and writes all else anew is believed."""
    ours = predictions_of(forger, "copies", 0)
    logits = np.load(ours / "test.logits.npy")
    labels = np.load(next(made.store.root.glob("artifacts/*/*/test/labels.npy")))
    logits[np.arange(len(labels)), labels] += 100
    np.save(ours / "test.logits.npy", logits)
    forger.manifest(ours)
    honest = forger.verified()
    (one,) = [one for one in honest.records if one.contradictions and "accuracy" in one.name]
    perfect = {line.split(",")[0]: line for line in one.contradictions}
    assert any("top1" in line and "recomputed 100" in line for line in perfect.values())
    _write_perfect(forger, ours, labels, tmp_path)
    believed = forger.verified()
    assert forger.levels(believed) == HONEST
    caught = forger.verified(Wanted(4, 1, RunOptions(jobs=0, command=COMMAND, keep_records=False)))
    assert any(line.startswith("run again: result.metrics.top1.value is 100") for line in lines(caught))
    assert forger.levels(caught) == {
        **HONEST,
        "none, standard": "reproduced",
        "copies, +1.0x standard": "reported",
    }


def _write_perfect(forger: Forger, predict: Path, labels: Any, scratch: Path) -> None:
    """Write evaluation, manifest and record that follow from made-up logits."""
    from genbench.artifacts import write_evaluation
    from genbench.protocols import Predictions
    from genbench.verification.recompute import _context
    from genbench_evaluators.accuracy import Accuracy
    from genbench_evaluators.configs.accuracy import AccuracyConfig

    val = np.load(next(Path(forger._store.root).glob("artifacts/*/*/val/labels.npy")))
    names = tuple(map(str, range(10)))
    empty = np.zeros((len(labels), 1), np.float32)
    given = {
        split: Predictions(np.load(predict / f"{split}.logits.npy"), empty, truth, names)
        for split, truth in (("test", labels), ("val", val))
    }
    found = Accuracy(AccuracyConfig()).evaluate(given, None, _context(0, scratch / "forge", {}))
    for record in read_records([forger.folder / "records"]):
        about = record.result
        if (about.evaluator.use, about.generator.use, about.index) == ("accuracy", "copies", 0):
            step = forger.folder / "steps" / about.key
    write_evaluation(found, step)
    forger.manifest(step)
    body = json.loads((step / "evaluation.json").read_text())
    forger.record(lambda one: one["result"].update(metrics=body["metrics"], tables=body["tables"]))


# -------------------------------------------------------------------------------------------- the folder


def linked(forger: Forger) -> None:
    path = sorted((forger.folder / "records").iterdir())[0]
    target = forger.folder.parent / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)


def linked_folder(forger: Forger) -> None:
    (forger.folder / "records").rename(forger.folder.parent / "elsewhere")
    (forger.folder / "records").symlink_to(forger.folder.parent / "elsewhere")


def piped(forger: Forger) -> None:
    os.mkfifo(forger.folder / "records" / f"cell-{'0' * 16}-{'0' * 8}.json")


def added(name: str) -> Callable[[Forger], None]:
    def attack(forger: Forger) -> None:
        path = forger.folder / name.replace("DATASET", forger.step("dataset").name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"anything")
        forger.seal()

    return attack


def without(name: str) -> Callable[[Forger], None]:
    return lambda forger: (forger.folder / name).unlink()


def list_of(text: str) -> Callable[[Forger], None]:
    def attack(forger: Forger) -> None:
        (forger.folder / "submission.json").write_text(text)

    return attack


FOLDERS = {
    "a link": (linked, r"records/cell-.*: a link, and only plain files are read"),
    "a linked folder": (linked_folder, r"records: a link, and only plain files are read"),
    "a pipe": (piped, r"a pipe, and only plain files are read"),
    "code": (added("plugin.py"), r"plugin\.py: no part of a submission"),
    "a pickle": (added("steps/x.pkl"), r"steps/x\.pkl: no part of a submission"),
    "labels of their own": (added("steps/DATASET/labels.npy"), r"labels\.npy: no part of a submission"),
    "a verification of their own": (
        added("verification.json"),
        r"verification\.json: no part of a submission",
    ),
    "deeper folders": (added("steps/a/b/c/d"), r"a folder, and only plain files are read"),
    "no list": (without("submission.json"), r"submission\.json is missing"),
    "no suite": (without("suite.toml"), r"suite\.toml is missing"),
    "a list of another form": (list_of("[]"), r"schema_version is None, not 1"),
    "a newer list": (list_of('{"schema_version": 2, "files": {}}'), r"schema_version is 2, not 1"),
    "a list of no digests": (
        list_of('{"schema_version": 1, "files": [1]}'),
        r"`files` is no list of digests",
    ),
    "a list that is deep": (list_of("[" * 100_000), r"nested deeper|no JSON|Expecting|recursion"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_what_has_no_place_in_a_submission_is_refused(forger: Forger, case: str) -> None:
    attack, said = FOLDERS[case]
    attack(forger)
    with pytest.raises(DataError, match=said) as raised:
        forger.verified()
    assert "genbench leaderboard submit" in raised.value.hint
    assert raised.value.exit_code == 3


@pytest.mark.parametrize("stage", ["predict", "train", "dataset", "evaluate"])
def test_a_missing_step_is_named_by_every_record_that_needs_it(forger: Forger, stage: str) -> None:
    shutil.rmtree(forger.step(stage))
    found = forger.verified()
    assert any("manifest.json: missing, though submission.json lists it" in line for line in lines(found))
    forger.seal()
    found = Forger(forger.folder, forger.folder.parent / "again", forger._store).verified()
    assert any("not in the submission" in line or "are missing" in line for line in lines(found))


def test_a_list_that_says_otherwise_is_named(forger: Forger) -> None:
    with (forger.folder / "suite.toml").open("a") as file:
        file.write("# a remark\n")
    found = forger.verified()
    assert found.contradictions == ("suite.toml: its content is not what submission.json says",)
    assert found.contradicts


# -------------------------------------------------------------------------------------------------- the plan


def resuited(forger: Forger, **entries: Any) -> None:
    suite = make_suite({**SUITE, **entries}, "test")
    (forger.folder / "suite.toml").write_text(suite_text(suite))
    forger.seal()


def test_another_suite_is_not_that_of_these_records(forger: Forger) -> None:
    resuited(forger, base_seed=1)
    found = forger.verified()
    assert all(
        "is that of no evaluation of the submitted suite" in one.contradictions[0] for one in found.records
    )
    resuited(forger, seeds=5)
    found = Forger(forger.folder, forger.folder.parent / "again", forger._store).verified()
    assert any(line == "result.planned_indices is 2, and should be 5" for line in lines(found))


def test_components_of_third_parties_are_not_loaded_and_their_rows_are_reported(forger: Forger) -> None:
    def renamed(body: Body) -> None:
        body["result"]["generator"]["use"] = "stranger"
        body["result"]["key"] = "ab" * 32

    forger.record(renamed)
    resuited(forger, generators=["copies", "stranger:strength=3"])
    found = forger.verified()
    assert not any("no evaluation" in line for line in lines(found))
    (one,) = [one for one in found.records if "abababab" in one.file]
    assert one.unchecked == (
        "the generator 'stranger' is no built-in one: its code is not run here",
        "its metrics are not recomputed either",
    )
    assert one.level == "reported"
    assert forger.levels(found)["none, standard"] == "recomputed"


def test_a_third_partys_row_is_recomputed_though_it_stays_reported(forger: Forger) -> None:
    """Its plan is not made here; but its predictions are numbers, and labels and evaluator are ours."""

    def renamed(body: Body) -> None:
        body["result"]["generator"]["use"] = "stranger"

    stranger = {"generators": ["stranger"]}
    forger.record(renamed)
    resuited(forger, **stranger)
    (one,) = [one for one in forger.verified().records if "follow from its predictions" in str(one.unchecked)]
    assert (one.level, one.contradictions) == ("reported", ())
    forger.record(put(0.5, "result", "metrics", 3, "value"), generator="stranger")
    found = Forger(forger.folder, forger.folder.parent / "again", forger._store).verified()
    assert any(line.startswith("metric log_loss is 0.5, and recomputed") for line in lines(found))
    train = forger.step("train").name
    forger.record(
        put(train, "result", "key"), put(0.1, "result", "metrics", 3, "value"), generator="stranger"
    )
    found = Forger(forger.folder, forger.folder.parent / "third", forger._store).verified()
    assert "the step of its key is no evaluation" in lines(found)


@pytest.mark.parametrize(
    ("dataset", "why"),
    [
        ("imagefolder:/etc", "the dataset 'imagefolder' names a place by its option 'path'"),
        ("stranger-data", "the dataset 'stranger-data' is no built-in one"),
    ],
)
def test_a_suite_of_which_nothing_can_be_planned_is_reported(forger: Forger, dataset: str, why: str) -> None:
    resuited(forger, datasets=[dataset])
    found = forger.verified()
    assert {one.level for one in found.records} == {"reported"}
    assert all("none of its datasets can be used here" in one.unchecked[0] for one in found.records)
    assert any(note.startswith(why) for note in found.notes)


@pytest.mark.parametrize(
    "generator", ["chain:second=style_transfer,second.styles=/etc", "sd_text2img:model=/etc"]
)
def test_no_place_that_a_stranger_names_is_opened(forger: Forger, generator: str) -> None:
    resuited(forger, generators=["copies", generator])
    found = forger.verified()
    assert any("names a place by its option" in note for note in found.notes)
    assert forger.levels(found) == HONEST


def test_a_suite_that_is_no_toml_is_said(forger: Forger) -> None:
    (forger.folder / "suite.toml").write_text("= = =")
    forger.seal()
    found = forger.verified()
    assert all(
        one.unchecked[0].startswith("the submitted suite cannot be planned here") for one in found.records
    )


def test_a_dataset_that_is_another_one_here_is_named(forger: Forger) -> None:
    """Our images under the key that the records name are not those that they were made from."""

    def other(body: Body) -> None:
        body["files"]["test/images-00000.npy"]["sha256"] = "0" * 64

    step = forger.step("dataset")
    forger.manifest(step, other)
    listed = json.loads((step / "manifest.json").read_text())["files"]
    content = {name: entry["sha256"] for name, entry in listed.items() if name != "dataset.json"}
    forger.record(put(digest(content), "result", "data", "fingerprint"))
    found = forger.verified()
    (said,) = [line for line in lines(found) if "as loaded here" in line]
    assert said.startswith("result.data: 100 + ")
    assert digest(content)[:16] in said


# ------------------------------------------------------------------------------------------------ again


def test_a_rerun_is_drawn_by_its_seed_and_reproduces_rows(forger: Forger) -> None:
    options = RunOptions(jobs=0, command=COMMAND, keep_records=False)
    found = forger.verified(Wanted(1, 5, options))
    assert lines(found) == []
    assert len(found.drawn) == 1
    again = [one for one in found.records if one.rerun is not None]
    assert {one.level for one in again} == {"reproduced"}
    assert all(one.rerun and one.rerun.agrees and one.rerun.same_machine for one in again)
    levels = forger.levels(found)
    assert sorted(levels.values()) == ["recomputed", "reproduced"]
    assert found.to_json() == read_back(found, forger.folder.parent).to_json()
    records = list(read_records([forger.folder]))
    assert "| reproduced (1 of 2) |" in render_markdown(build_board(records, merged([found])))


def read_back(found: Verification, folder: Path) -> Verification:
    (folder / "found.json").write_text(found.to_json())
    return read_verification(folder / "found.json")


def top1(record: Record, value: float) -> Record:
    body = json.loads(record.to_json())
    body["result"]["metrics"] = [{**body["result"]["metrics"][0], "value": value, "n": 400}]
    body["result"]["tables"] = {}
    body["result"]["data"] = None
    body["run"]["hardware"]["processor"] = f"one that scores {value}"
    for part in ("result", "run"):
        body[f"{part}_sha256"] = digest(body[part])
    return Record.from_json(json.dumps(body))


def test_on_another_kind_of_machine_three_standard_errors_are_allowed(made: Made) -> None:
    record = next(one for one in read_records([made.folder]) if one.result.evaluator.use == "accuracy")
    near, said = compared(top1(record, 93.0), top1(record, 90.0))
    assert (near.agrees, near.same_machine, said) == (True, False, [])
    assert near.tolerance_points == pytest.approx(300 * (0.9 * 0.1 / 400) ** 0.5)
    far, said = compared(top1(record, 95.0), top1(record, 90.0))
    assert not far.agrees
    assert said == [
        "run again: metric top1 is 95, and 90 here, on another kind of machine; 4.5 points apart are allowed"
    ]


# --------------------------------------------------------------------------------------------- levels


def test_the_level_of_a_row_is_that_of_its_lowest_cell(made: Made) -> None:
    records = [
        one
        for one in read_records([made.folder])
        if one.result.generator.use == "copies" and one.result.evaluator.use in {"accuracy", "memorization"}
    ]
    first, second = (one for one in records if one.result.evaluator.use == "accuracy")
    images = next(one for one in records if one.result.evaluator.use == "memorization")

    def known(*levels: Any, broken: Record | None = None) -> dict[str, Checked]:
        found = {}
        for record, level in zip((first, second), levels, strict=False):
            found[record_mark(record)] = Checked(record_mark(record), "f", "n", level)
        if broken is not None:
            found[record_mark(broken)] = Checked(
                record_mark(broken), "f", "n", "reported", ("it is another",)
            )
        return found

    assert level_of(records, {}) == "reported"
    assert level_of(records, known("recomputed")) == "reported"
    assert level_of(records, known("recomputed", "recomputed")) == "recomputed"
    assert level_of(records, known("recomputed", "reproduced")) == "reproduced"
    assert level_of(records, known("reported", "reproduced")) == "reported"
    assert level_of(records, known("reproduced", "reproduced", broken=images)) == "reported"
    assert level_of([images], known("reproduced", "reproduced")) == "reported"


def test_of_two_verifications_a_contradiction_counts_then_the_higher_level() -> None:
    def one(level: Any, *contradictions: str) -> Verification:
        return Verification("now", "g", "", records=(Checked("ab" * 32, "f", "n", level, contradictions),))

    assert merged([one("recomputed"), one("reproduced"), one("reported")])["ab" * 32].level == "reproduced"
    assert merged([one("reported", "no"), one("reproduced")])["ab" * 32].contradictions == ("no",)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema_version": 1}', '{"schema_version": 9}'])
def test_what_is_no_verification_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(DataError, match="not a verification"):
        read_verified([tmp_path])


def test_recounted_names_what_is_missing_and_what_is_too_many(made: Made) -> None:
    record = next(one for one in read_records([made.folder]) if one.result.evaluator.use == "accuracy")
    metrics = [*record.result.metrics[1:], Metric("top9", 1.0, split="test")]
    found = recounted(record, Evaluation(list(metrics), dict(record.result.tables)))
    assert found == ["metric top9 is missing: it is 1", "metric top1 is no metric of accuracy"]


# ------------------------------------------------------------------------------------- as users do it

ROWS = ("-d", "digits:limit_train=100", "-c", "mlp", "-g", "copies", "-e", "accuracy")
QUICK = ("--preset", "smoke", "--seeds", "2", "--reference", "mlp")


@pytest.mark.slow(reason="a run, two verifications, three boards")
def test_a_strangers_rows_from_the_run_to_the_board(program: Program, here: Program, tmp_path: Path) -> None:
    """What docs/results-repository says: run, submit, verify, board; then the same with an edited cost."""
    done = program("run", *ROWS, *QUICK, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    done = here("leaderboard", "submit", "-o", "submissions/mine")
    assert done.returncode == 0, done.stderr
    assert "6 records of 4 cells" in done.stdout
    (tmp_path / "verifications").mkdir()
    line = ("leaderboard", "verify", "submissions/mine", "-o", "verifications/mine.json")
    done = here(*line, "--rerun", "1", "--seed", "3", store="other")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 reported, 3 recomputed, 2 reproduced; 0 contradicted" in done.stdout
    assert "(--rerun 1 --seed 3)" in done.stdout
    board = ("leaderboard", "submissions", "--verified", "verifications")
    shown = here(*board, "--format", "markdown").stdout
    assert "| checked" in shown
    assert "| recomputed " in shown

    forger = Forger(tmp_path / "submissions" / "mine", tmp_path, Store(tmp_path / "other"))
    forger.record(put(0.001, "run", "costs", 0, "seconds"))
    edited = here(*board).stdout  # before anybody verifies it again: an edited record has no level
    assert "reported" in edited.partition("top-1: accuracy")[0]
    done = here(*line, store="other")
    assert done.returncode == 5
    assert "contradiction: run.costs.0.seconds is 0.001, and should be" in done.stdout
    assert "1 contradicted" in done.stdout
    assert "run.costs.0.seconds is 0.001" in here(*board).stdout


@pytest.mark.slow(reason="a run with its workers")
def test_rows_of_a_plugin_are_submitted_and_reported(program: Program, here: Program, tmp_path: Path) -> None:
    plugin = ("--plugin", str(TOY_PLUGIN))
    done = program("run", *ROWS, "-g", "toy", *QUICK, *plugin, "--jobs", "1", "-o", "out")
    assert done.returncode == 0, done.stderr
    folder = ("--run", "out/digits-copies-toy-mlp")
    done = here("leaderboard", "submit", *folder, "-o", "mine", "--no-plugins")
    assert done.returncode == 2
    assert "unknown generator 'toy'" in done.stderr
    done = here("leaderboard", "submit", *folder, "-o", "mine", *plugin)
    assert done.returncode == 0, done.stderr
    done = here("leaderboard", "verify", "mine")
    assert done.returncode == 0, done.stdout
    assert "not recomputed: the generator 'toy' is no built-in one: its code is not run here" in done.stdout
    assert (
        done.stdout.count("its metrics follow from its predictions; its plan and its cost were not checked")
        == 2
    )
    assert "6 reported, 4 recomputed, 0 reproduced; 0 contradicted" in done.stdout
    forger = Forger(tmp_path / "mine", tmp_path, Store(tmp_path / "store"))
    forger.record(put(0.5, "result", "metrics", 3, "value"), generator="toy")
    done = here("leaderboard", "verify", "mine")
    assert done.returncode == 5
    assert "contradiction: metric log_loss is 0.5, and recomputed " in done.stdout


# --------------------------------------------------------------------------- the results repository

TEMPLATE = Path(__file__).parents[2] / "docs" / "results-repository"


class Forge:
    """A results repository on this disk, whose CI file is run step by step, without its first steps."""

    def __init__(self, root: Path) -> None:
        self.root, self.repository, self.summary = root, root / "repository", root / "summary.md"
        shutil.copytree(TEMPLATE, self.repository)
        workflow = (TEMPLATE / ".github" / "workflows" / "verify.yml").read_text(encoding="utf-8")
        self.jobs = yaml.safe_load(workflow)["jobs"]
        (root / "bin").mkdir()
        program = root / "bin" / "genbench"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genbench.cli "$@"\n')
        program.chmod(0o755)
        self.git("init", "-q", "-b", "main")
        self.commit("main")

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *words], cwd=self.repository, check=True, capture_output=True)

    def commit(self, branch: str) -> None:
        if branch != "main":
            self.git("switch", "-q", "-C", branch)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a change")

    def ci(self, job: str, *names: str) -> list[subprocess.CompletedProcess[str]]:
        """Run named steps of a job, each although one before it failed."""
        environment = {
            **os.environ,
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "GENBENCH_STORE": str(self.root / "ci-store"),
            "RUNNER_TEMP": str(self.root),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "BASE": "main",
        }
        steps = {step["name"]: step["run"] for step in self.jobs[job]["steps"] if "name" in step}
        return [
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", steps[name]],
                cwd=self.repository,
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            for name in names
        ]


@pytest.mark.slow(reason="what CI does with two pull requests, and on main")
def test_the_results_repository_takes_rows_in_by_pull_request(made: Made, tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    rows = forge.repository / "submissions" / "some-rows"
    shutil.copytree(made.folder, rows)
    forge.commit("honest")
    which, verified, board = forge.ci("verify", "which folders", "verify", "board")
    assert which.returncode == 0, which.stdout + which.stderr
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "run again: digits" in verified.stdout
    assert board.returncode == 0, board.stderr
    assert "| recomputed " in forge.summary.read_text()

    forger = Forger(rows, tmp_path / "scratch", made.store)
    forger.record(put("an abacus", "run", "hardware", "processor"))
    forge.commit("edited")
    forge.summary.unlink()
    _, verified, board = forge.ci("verify", "which folders", "verify", "board")
    assert verified.returncode == 5
    assert 'contradiction: run.hardware.processor is "an abacus"' in verified.stdout
    assert "run.hardware.processor is" in forge.summary.read_text()

    for place in ("verifications/some-rows.json", "submissions/../README.md", "submissions/a b/x"):
        forge.git("switch", "-q", "main")
        path = forge.repository / place
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        forge.commit("foreign")
        (which,) = forge.ci("verify", "which folders")
        assert which.returncode == 1
        assert "touches nothing else" in which.stdout

    forge.git("switch", "-q", "edited")
    new, board = forge.ci("publish", "verify what is new", "board")
    assert new.returncode == 0, new.stderr
    assert board.returncode == 0, board.stderr
    found = read_verification(forge.repository / "verifications" / "some-rows.json")
    assert sum(bool(one.contradictions) for one in found.records) == 1
    page = (forge.repository / "LEADERBOARD.md").read_text()
    assert "| reported" in page
    (again,) = forge.ci("publish", "verify what is new")
    assert again.stdout == ""  # what was verified is not verified again


def test_the_ci_file_of_the_results_repository_gives_strangers_no_rights() -> None:
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "verify.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow[True]  # YAML reads `on` as a truth value
    strangers, own = workflow["jobs"]["verify"], workflow["jobs"]["publish"]
    assert "permissions" not in strangers
    assert strangers["if"] == "github.event_name == 'pull_request'"
    assert own["if"] == "github.event_name == 'push'"
    for step in strangers["steps"] + own["steps"]:
        assert "${{" not in step.get("run", "")  # names of others reach a shell as variables alone
