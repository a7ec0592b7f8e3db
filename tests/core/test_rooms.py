"""Rooms: what their processes may reach, what they say, and what is left of them."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genbench import watch
from genbench.errors import (
    DataError,
    GuestError,
    Interrupted,
    PluginError,
    SpoiledProcessError,
    StoreUnwritableError,
    UsageError,
)
from genbench.guests import guests_of
from genbench.registry import PluginSource, Registry
from genbench.rooms import Order, Rights, can_confine, merged, stay, usual_rights
from genbench.rooms.allowed import _around
from genbench.rooms.messages import described, rebuilt
from genbench.rooms.tree import descendants, end_descendants
from genbench.runner import run
from genbench.steps.dataset import open_splits
from genbench.steps.predict import Questions
from genbench.steps.visits import refuse_odd_files
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

needs_landlock = pytest.mark.skipif(not can_confine(), reason="needs a kernel with Landlock")
Stay = Callable[..., Any]


@pytest.fixture
def enter(tmp_path: Path) -> Stay:
    """Do something from tests/room_probe.py in a room, which may write `own` and read nothing else."""

    def do(what: str, confined: bool = True, network: bool = False, **payload: Any) -> Any:
        home, own = tmp_path / "home", tmp_path / "own"
        own.mkdir(exist_ok=True)
        tests = Path(__file__).parents[1]
        rights = merged(usual_rights(gpu=False, network=network), Rights(read=(tests,), write=(home, own)))
        home.mkdir(exist_ok=True)
        must_stop = payload.pop("must_stop", lambda: False)
        answers = payload.pop("answers", None)
        with tempfile.TemporaryDirectory(prefix="gb-") as short:
            held = merged(rights, Rights(write=(Path(short),))) if confined and can_confine() else None
            order = Order(f"room_probe:{what}", payload, home, Path(short), rights=held, network=network)
            return stay(order, tmp_path / "log.txt", reported.append, must_stop, answers)

    reported = _Reported()
    do.reported = reported  # type: ignore[attr-defined]
    return do


class _Reported(list[tuple[int, int, Mapping[str, float]]]):
    def append(self, *progress: Any) -> None:  # type: ignore[override]
        super().append(progress)


# ------------------------------------------------------------------------------------------------ what is out


@needs_landlock
def test_a_room_reaches_its_own_folders_and_nothing_else(enter: Stay, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.txt"
    hidden.write_text("the labels of test")
    found = enter("reach", hidden=str(hidden), own=str(tmp_path / "own")).facts
    found["hard link"] = "refused" if found["hard link"] in {"OSError", "PermissionError"} else "made"
    assert found == {
        "read": "PermissionError", "through a link": "PermissionError", "through /proc": "PermissionError",
        "hard link": "refused", "by a child": "", "write": "PermissionError", "own": "mine",
        "list": "PermissionError", "parent": "PermissionError", "signal": "PermissionError",
    }  # fmt: skip
    free = enter("reach", confined=False, hidden=str(hidden), own=str(tmp_path / "own")).facts
    assert free["read"] == free["through a link"] == free["by a child"] == "the labels of test"


@needs_landlock
def test_a_room_has_no_network_unless_its_component_declares_it(enter: Stay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        denied = enter("connect", port=port).facts
        allowed = enter("connect", network=True, port=port).facts
    assert set(denied) == {"tcp", "udp", "mptcp", "unix"}
    assert [denied[kind] for kind in ("tcp", "udp", "mptcp")] == ["PermissionError"] * 3
    assert denied["unix"] == allowed["tcp"] == allowed["udp"] == "open"


@needs_landlock
def test_what_was_in_force_is_known(enter: Stay) -> None:
    assert enter("nothing").in_force.startswith("Landlock ")
    assert "seccomp" in enter("nothing").in_force
    assert enter("nothing", confined=False, network=True).in_force == ""


def test_folders_of_code_are_allowed_around_what_is_protected(tmp_path: Path) -> None:
    for name in ("code/a", "code/b/store", "code/b/more"):
        (tmp_path / name).mkdir(parents=True)
    found = list(_around(tmp_path / "code", [tmp_path / "code/b/store"]))
    assert found == [tmp_path / "code/a", tmp_path / "code/b/more"]
    assert list(_around(tmp_path / "code", [tmp_path / "elsewhere"])) == [tmp_path / "code"]
    assert list(_around(tmp_path / "code", [tmp_path / "code"])) == []


def test_links_and_pipes_do_not_become_part_of_a_result(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "plain.npy").write_bytes(b"x")
    refuse_odd_files(tmp_path)
    for make in (
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to(tmp_path / "inner"),
        lambda path: path.hardlink_to(tmp_path / "inner" / "plain.npy"),
        os.mkfifo,
    ):
        make(tmp_path / "inner" / "odd")
        with pytest.raises(PluginError, match="which is a link or no file"):
            refuse_odd_files(tmp_path)
        (tmp_path / "inner" / "odd").unlink()
    refuse_odd_files(tmp_path)


def test_keys_and_tokens_are_for_rooms_with_a_network(enter: Stay, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enter("variables").facts["names"] == []
    monkeypatch.setenv("A_SECRET_TOKEN", "x")  # the server of rooms was started before, without it
    assert enter("variables").facts["names"] == []


# ------------------------------------------------------------------------------------------- what is heard


def test_errors_cross_as_what_they_are() -> None:
    known = rebuilt(json.loads(json.dumps(described(DataError("no paint", hint="buy paint")))))
    assert (type(known), str(known)) == (DataError, "no paint\n  buy paint")
    for mine in (StoreUnwritableError("mine"), Interrupted("now"), SpoiledProcessError("mine")):
        assert type(rebuilt(described(mine))) is PluginError
    other = rebuilt(described(FileNotFoundError(2, "nothing", "here")))
    assert isinstance(other, GuestError)
    assert (str(other), other.errno) == ("FileNotFoundError: [Errno 2] nothing: 'here'", 2)
    assert "Traceback" not in other.details or "FileNotFoundError" in other.details
    assert type(rebuilt({"error": "os", "message": 3})) is PluginError
    assert type(rebuilt({"error": ["x"], "message": "x"})) is GuestError
    odd = rebuilt(described(ValueError("caf\udce9.png")))
    assert str(odd) == "ValueError: caf\\udce9.png"
    assert type(rebuilt(described(PluginError(ValueError("no text"))))) is PluginError  # type: ignore[arg-type]
    assert len(str(rebuilt(described(ValueError("x" * 10**7))))) < 2100


def test_what_a_room_prints_is_in_the_log_up_to_a_megabyte(enter: Stay, tmp_path: Path) -> None:
    enter("loud", megabytes=5)
    log = (tmp_path / "log.txt").read_text()
    assert log.startswith("xxxx")
    assert 1 << 20 <= len(log) < (1 << 20) + 100
    assert log.endswith(f"... and {4 << 20} bytes more\n")


def test_messages_are_bounded_and_json(enter: Stay) -> None:
    with pytest.raises(PluginError, match=r"a step said \d+ bytes of itself at once"):
        enter("chatty", size=2 << 20)
    with pytest.raises(PluginError, match="must be JSON"):
        enter("chatty", size=-1)
    for nonsense in ("pickle", "[1, 2]", "deep", "{"):
        with pytest.raises(GuestError, match="nobody understands"):
            enter("nonsense", said=nonsense)


def test_a_room_that_floods_is_heard_now_and_then(enter: Stay) -> None:
    enter("flood", count=20_000)
    assert 1 <= len(enter.reported) < 200  # type: ignore[attr-defined]


def test_progress_is_made_of_numbers(enter: Stay) -> None:
    enter("progress")
    assert enter.reported == [(1, 2, {"loss": 0.5})]  # type: ignore[attr-defined]


def test_a_room_is_answered(enter: Stay) -> None:
    batches = [b"one", b"two", b""]
    assert enter("asks", answers={"more": lambda: batches.pop(0)}).facts == {"heard": ["one", "two"]}


def test_a_room_is_asked_to_stop(enter: Stay) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        enter("waits", must_stop=lambda: time.monotonic() - began > 1)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("how", "said"),
    [("exit", "SystemExit: 7"), ("kill", "killed by SIGKILL"), ("leave", r"without a word \(exit code 3\)")],
)
def test_the_end_of_a_room_is_told(enter: Stay, how: str, said: str) -> None:
    with pytest.raises(GuestError, match=said):
        enter("end", how=how)


def test_interrupted_is_what_was_asked_for(enter: Stay) -> None:
    with pytest.raises(PluginError, match="nobody asked"):
        enter("claims")


# ------------------------------------------------------------------------------------------ what is left


def test_a_child_that_outlives_its_room_holds_nobody_up(enter: Stay) -> None:
    began = time.monotonic()
    with pytest.raises(GuestError, match="killed by SIGKILL"):
        enter("orphan", mark="40123")
    assert time.monotonic() - began < 30
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _reads(path) == b"sleep\x0040123\x00"]
    assert left == []


def _reads(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_nobody_in_a_room_can_have_another_process_opened(enter: Stay) -> None:
    found = enter("open_files").facts
    assert found["sockets"] == 1, found  # that of its own connection
    assert not any("listener" in name or "pymp" in name for name in found["names"])


@pytest.mark.parametrize("way", ["fork", "spawn", "manager"])
def test_multiprocessing_works_in_a_room(enter: Stay, way: str) -> None:
    found = enter("loads", way=way)
    assert found.facts == {"sum": 28}
    assert found.left == ()


def test_children_and_changes_are_named_and_children_ended(enter: Stay) -> None:
    found = enter("spoil")
    assert found.left == (
        "$ROOM_PROBE was set",
        "torch's default dtype is torch.float64, was torch.float32",
        "working folder is /, was " + found.left[2].rpartition(" ")[2],
        "torch.Storage was replaced",
        "torch.relu was replaced",
        "thread sleeper was left behind",
        "process sleep was left behind",
    )
    stat = Path(f"/proc/{found.facts['child']}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
    assert torch.get_default_dtype() == torch.float32


def test_processes_below_are_found_and_ended() -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    child.start()
    assert child.pid in descendants(os.getpid())
    assert child.pid is not None
    assert end_descendants(child.pid) == []
    child.kill()
    child.join()


def test_a_process_knows_its_parent_by_number() -> None:
    """In a container, number 1 may well be the parent; elsewhere it adopts those whose parent died."""
    call = "from genbench.rooms.tree import end_with_parent; import os; end_with_parent({}); os._exit(5)"
    for parent, code in ((os.getpid(), 5), (1, 1)):
        assert subprocess.run([sys.executable, "-c", call.format(parent)], check=False).returncode == code


def test_libraries_at_work_change_nothing() -> None:
    before = watch.take()
    layer = torch.nn.Linear(3, 3)
    torch.compile(layer, backend="eager")(torch.ones(2, 3)).sum().backward()
    torch.optim.Adam(layer.parameters()).step()
    assert watch.changes(before, watch.take()) == []


def test_replaced_parts_of_the_harness_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genbench import digest, records

    before = watch.harness()
    kept = records.Record.to_json, digest.digest
    monkeypatch.setattr(records.Record, "to_json", lambda self: "{}")
    monkeypatch.setattr(digest, "digest", lambda value: "0" * 64)
    found = watch.restore_harness(before, tmp_path)
    assert sorted(found) == ["genbench.digest.digest", "genbench.records.Record.to_json"]
    assert (records.Record.to_json, digest.digest) == kept
    assert watch.restore_harness(before, tmp_path) == []


# -------------------------------------------------------------------------------------------- in a run


def test_whose_code_a_step_runs_decides_where(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, generators=["toy", "copies"], classifiers=["toy-net", "mlp"])
    labels = {step.label: key for key, step in plan.steps.items()}
    found = guests_of(plan, plan.steps, registry, "auto")
    for built_in in ("predict with mlp on toy-data + copies", "sample copies x1 for toy-data"):
        assert labels[f"{built_in}, seed 0"] not in found
    sampled = found[labels["sample toy x1 for toy-data, seed 0"]]
    predicted = found[labels["predict with toy-net on toy-data, seed 0"]]
    assert (sampled.plugins, sampled.facts["name"]) == (("toy_plugin",), "toy")
    assert (predicted.plugins, predicted.facts["name"]) == (("toy_plugin",), "toy-net")
    everything = guests_of(plan, plan.steps, registry, "all")
    assert labels["train mlp on toy-data, seed 0"] in everything
    assert not any(
        label.startswith("predict with mlp") and key in everything for label, key in labels.items()
    )


def test_pixels_are_handed_out_without_order_and_answers_brought_back(
    make_images: Any, ctx: Any, tmp_path: Path, run_cells: Any, store: Store
) -> None:
    plan, _ = run_cells()
    (key,) = [key for key, step in plan.steps.items() if step.stage == "dataset"]
    artifact = store.open(key)
    assert artifact is not None
    splits = open_splits(artifact)
    questions = Questions(splits, key="3")
    batches = []
    while content := questions.next_batch():
        import io

        batches.append(np.load(io.BytesIO(content)))
    seen = np.concatenate(batches)
    real = np.concatenate([images.all().numpy() for images in splits.evaluated.values()])
    assert seen.shape == real.shape
    assert not np.array_equal(seen, real)
    means = seen.reshape(len(seen), -1).mean(axis=1, dtype=np.float32)[:, None].repeat(3, axis=1)
    np.save(tmp_path / "answers.logits.npy", means)
    np.save(tmp_path / "answers.features.npy", means)
    questions.write_answers(tmp_path)
    for name, images in splits.evaluated.items():
        expected = images.all().numpy().reshape(len(images), -1).mean(axis=1, dtype=np.float32)
        expected = expected[:, None].repeat(3, axis=1)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.logits.npy"), expected)
    np.save(tmp_path / "answers.logits.npy", means[1:])
    with pytest.raises(PluginError, match="a row for each"):
        questions.write_answers(tmp_path)


def test_a_process_that_a_plugin_spoiled_is_not_used_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostile = Path(__file__).parents[1] / "hostile_plugin.py"
    registry = Registry(PluginSource(files=(str(hostile),)))
    entries = {
        "generators": [{"use": "hostile", "deed": "dtype"}],
        "classifiers": ["mlp:recipe.batch_size_images=16"],
        "reference": "mlp:recipe.batch_size_images=16",
    }
    data = {"datasets": [{"use": "digits", "limit_train": 50}], "evaluators": ["accuracy"]}
    plan = toy_plan(registry, store, **entries, **data)
    try:
        with pytest.raises(SpoiledProcessError, match=r"default dtype is torch.float64.*\n.*--jobs 1"):
            run(plan, store, registry, RunOptions(jobs=0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert not any(store.has(key) for key, step in plan.steps.items() if "hostile" in step.label)


def test_where_plugins_must_be_confined_nothing_runs_that_cannot_be(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genbench.runner.can_confine", lambda: "")
    with pytest.raises(UsageError, match="--confine require: this machine cannot confine a process"):
        run(toy_plan(registry, store), store, registry, RunOptions(jobs=0, confine="require"))
    assert not list(store.finished())
