"""What the program says of its store and its outputs: nothing is lost, and there is no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from genbench.cli import program
from genbench.errors import GenbenchError, OutputError, UsageError
from genbench.leases import Leases
from genbench.manifests import _checksum
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import run
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

TOY_PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
TOYS = [
    "-d",
    "toy-data",
    "-c",
    "toy-net",
    "--reference",
    "toy-net",
    "-g",
    "toy",
    "-e",
    "accuracy",
    "--seeds",
    "1",
]
TOYS += ["--plugin", str(TOY_PLUGIN), "--jobs", "0"]


@pytest.fixture(scope="module")
def finished(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished run."""
    root = tmp_path_factory.mktemp("finished") / "store"
    store = Store(root)
    plan = toy_plan(registry, store, seeds=1, evaluators=["accuracy"])
    assert run(plan, store, registry, RunOptions(jobs=0)).failed == {}
    return root


@pytest.fixture
def used(finished: Path, store: Store) -> Store:
    """A copy of it, which commands use by default."""
    shutil.copytree(finished, store.root)
    return store


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(program, arguments)


def refused(*arguments: str) -> GenbenchError:
    problem = ask(*arguments).exception
    assert isinstance(problem, GenbenchError), problem
    return problem


def test_a_damaged_record_of_the_store_is_left_out_named_and_mended(used: Store, tmp_path: Path) -> None:
    before = ask("leaderboard", "--format", "csv")
    path = min((used.root / "records").glob("*.json"))
    path.write_text(path.read_text().replace('"ok"', '"no"'))
    board = ask("leaderboard", "--format", "csv")
    assert board.exit_code == 0
    assert f"left out records/{path.name}: " in board.stderr
    assert len(board.stdout.splitlines()) < len(before.stdout.splitlines())
    assert str(path) in str(refused("leaderboard", str(path)))  # a file that was asked for
    verified = ask("store", "verify")
    assert verified.exit_code == 4
    assert f"damaged records/{path.name}" in verified.stderr
    ran = ask("run", *TOYS, "-o", str(tmp_path / "out"))
    assert ran.exit_code == 0, ran.output
    assert Record.from_json(path.read_text()).result.status == "ok"
    assert ask("leaderboard", "--format", "csv").stdout == before.stdout


def test_verify_repairs_and_says_what(used: Store, tmp_path: Path) -> None:
    damaged = min((used.root / "artifacts").glob("??/*/evaluation.json"))
    damaged.write_bytes(b"")
    (used.root / "artifacts" / "aa").mkdir(exist_ok=True)
    (used.root / "artifacts" / "aa" / ".x.tmp").mkdir()
    found = ask("store", "verify")
    assert (found.exit_code, "1 damaged" in found.stdout) == (4, True)
    assert "--repair" in found.stderr
    mended = ask("store", "verify", "--repair")
    assert mended.exit_code == 0
    assert f"moved aside {damaged.parent.name[:16]}: {damaged.name}: size differs" in mended.stderr
    assert "removed 1 leftovers of a crash" in mended.stderr
    assert ask("store", "verify").stdout.endswith("results read, 0 damaged\n")
    assert "damaged results" in ask("store", "gc", "--dry-run").stdout
    assert ask("run", *TOYS, "-o", str(tmp_path / "out")).exit_code == 0


def test_gc_says_by_kind_what_it_would_free_and_what_it_spares(used: Store) -> None:
    key = next(used.finished())
    used.work_folder(key)
    with Leases(used.root).needing(used.finished()):
        said = ask("store", "gc", "--dry-run", "--stage", "train").stdout
        assert f"spared: results of stage train, needed by PID {os.getpid()} on this machine" in said
        assert "spared: unfinished work" in said
        assert "would free 0.0 MiB from 0 places" in said
    said = ask("store", "gc", "--dry-run", "--stage", "train").stdout.splitlines()
    assert said[0].split()[:3] == ["unfinished", "work", "1"]
    assert said[1].split()[:5] == ["results", "of", "stage", "train", "2"]
    assert ask("store", "gc", "--stage", "train").stdout.splitlines()[-1].startswith("freed ")
    assert not any(used.manifest(key)["document"]["stage"] == "train" for key in used.finished())  # type: ignore[index]
    assert "Did you mean train?" in str(refused("store", "gc", "--stage", "trian"))


@pytest.mark.parametrize("text", ["[]", "null", "7", "[" * 100_000, '{"document": {}}'])
def test_no_manifest_ends_a_command_in_a_traceback(used: Store, tmp_path: Path, text: str) -> None:
    for key in used.finished():
        (used.folder(key) / "manifest.json").write_text(text)
    cell = "toy-data/toy/x1-standard/toy-net/0"
    commands = (
        ["store", "ls"],
        ["store", "gc", "--dry-run"],
        ["plan", *TOYS[:-2]],
        ["why", cell, *TOYS[:-2]],
    )
    for command in (*commands, ["leaderboard"], ["store", "verify", "--repair"]):
        done = ask(*command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    ran = ask("run", *TOYS, "-o", str(tmp_path / "out"))
    assert ran.exit_code == 0, ran.output


def test_nothing_runs_if_the_output_cannot_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cell, plain = "toy-data/toy/x1-standard/toy-net/0", TOYS[:-2]
    for command in (
        ["run", *TOYS, "--out", str(tmp_path / "file" / "below")],
        ["preview", cell, *plain, "--output", str(tmp_path / "file" / "below.png")],
        ["export-images", cell, *plain, "--output", str(tmp_path / "file")],
        ["leaderboard", "--out", str(tmp_path / "file" / "board.md")],
    ):
        problem = refused(*command)
        assert isinstance(problem, UsageError)
        assert "cannot write to" in problem.message
        assert "nothing was done yet" in problem.hint
    assert not store.root.exists()


def test_a_full_disk_for_the_board_loses_no_result(
    used: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, os.strerror(28), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("genbench.publish.write_output", full)
        problem = refused("run", *TOYS, "-o", str(tmp_path / "out"))
    assert isinstance(problem, OutputError)
    assert problem.exit_code == 4
    assert "No space left" in problem.message
    assert "every result is in the store" in problem.hint
    again = ask("run", *TOYS, "-o", str(tmp_path / "out"))
    assert "nothing to run" in again.stderr


def test_half_a_record_in_the_output_folder_is_written_anew(used: Store, tmp_path: Path) -> None:
    arguments = ["run", *TOYS, "-o", str(tmp_path / "out")]
    assert ask(*arguments).exit_code == 0
    path = min((tmp_path / "out").rglob("cell-*.json"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert ask(*arguments).exit_code == 0
    assert path.read_bytes() == whole


@pytest.mark.parametrize("where", ["stdout", "--out"])
def test_a_full_output_is_one_message(used: Store, where: str) -> None:
    line = [
        sys.executable,
        "-m",
        "genbench.cli",
        "leaderboard",
        *(["-o", "/dev/full"] if where == "--out" else []),
    ]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            line, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ}
        )
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_edited_part_of_a_manifest_fails_one_record(used: Store, registry: Registry) -> None:
    """What a manifest says of the attempt is no part of the key: without it one record fails, not the run."""
    plan = toy_plan(registry, used, seeds=1, evaluators=["accuracy"])
    key = next(iter(plan.records))
    path = used.folder(plan.records[key].train) / "manifest.json"
    body = {**json.loads(path.read_text()), "run": {}}
    path.write_text(json.dumps({**body, "checksum": _checksum(body)}))
    for record in (used.root / "records").glob("*.json"):
        record.unlink()
    summary = run(plan, used, registry, RunOptions(jobs=0))
    reasons = [record.result.reason for record in summary.records if record.result.status == "failed"]
    assert len(reasons) == 1
    assert "it makes no valid record" in reasons[0]
