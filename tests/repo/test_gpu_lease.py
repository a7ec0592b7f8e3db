"""What a borrowed GPU machine is used with: pieces, limits, tasks that hang, and slots that continue."""

import json
import os
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "perf" / name) for name in ("", "gpu", "gpu/checks")]  # scripts, not a package

import _cargo  # noqa: E402
import _delivery  # noqa: E402
import _freight  # noqa: E402
import _machine  # noqa: E402
import _process  # noqa: E402
import _tasks  # noqa: E402
import collect  # noqa: E402
import prepare  # noqa: E402
import slot  # noqa: E402
from _freight import CargoError, Room, make_group, pack, unpack  # noqa: E402
from _state import Ended, State  # noqa: E402

from genbench.planner import make_plan  # noqa: E402

ANY_ROOM = Room(100, 1 << 30, 1 << 30)
PYTHON = sys.executable


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a group of three files, of which one takes several pieces and one is empty."""
    monkeypatch.setattr(_freight, "PIECE_BYTES", 1000)
    folder = tmp_path / "home"
    write(folder / "data/set/large.bin", os.urandom(4321))
    write(folder / "data/set/small.bin", b"small")
    write(folder / "data/set/empty.bin", b"")
    return folder


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def shipments(home: Path, to: Path, room: Room) -> list[tuple[Path, dict[str, Any]]]:
    """Pack all pieces into as many shipments as it takes."""
    left, made = list(make_group(home, "data").pieces()), []
    while left:
        packed = pack(home, left, to / str(len(made)), "part-", room)
        assert packed.sent
        made.append((to / str(len(made)), packed.shipment))
        left = packed.left
    return made


# ---------------------------------------------------------------------------------------------- freight


def test_pieces_are_joined_to_the_same_bytes_in_any_order_and_appear_only_when_whole(
    home: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    made = shipments(home, tmp_path / "parts", Room(1, 16_000, 16_000))
    assert len(made) > 1
    for folder, shipment in reversed(made[1:]):
        arrived = unpack(folder, shipment, there)
        assert arrived.complete == []
        assert 0 < arrived.missing_bytes["data"] < 4326
        assert not (there / "data").exists()
    assert unpack(*made[0], there).complete == ["data"]
    assert contents(there / "data") == contents(home / "data")
    assert unpack(*made[0], there).complete == ["data"]  # carried again: nothing to do
    assert not any((there / "incoming").iterdir())


def test_a_damaged_part_is_refused_by_its_name(home: Path, tmp_path: Path) -> None:
    (folder, shipment), *_ = shipments(home, tmp_path / "parts", ANY_ROOM)
    part = folder / "part-0.tar"
    content = bytearray(part.read_bytes())
    content[1500] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(CargoError, match=r"part-0\.tar is damaged: .* carry its folder again"):
        unpack(folder, shipment, tmp_path / "there")
    part.unlink()
    with pytest.raises(CargoError, match=r"part-0\.tar is missing"):
        unpack(folder, shipment, tmp_path / "there")
    assert contents(tmp_path / "there") == {}


def test_a_joined_file_that_is_not_what_was_sent_is_refused_by_its_name(home: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    first, *others = shipments(home, tmp_path / "parts", Room(1, 16_000, 16_000))
    unpack(*first, there)
    (waiting,) = (there / "incoming").glob("*/files/set/large.bin")
    waiting.write_bytes(b"x" * 1000)
    with pytest.raises(CargoError, match=r"data/set/large\.bin was joined from its pieces, but is damaged"):
        [unpack(*one, there) for one in others]
    assert not (there / "data").exists()


def test_parts_obey_the_limits(home: Path, tmp_path: Path) -> None:
    room = Room(2, 14_000, 27_000)
    made = shipments(home, tmp_path / "parts", room)
    assert len(made) > 1
    for folder, _ in made:
        sizes = [file.stat().st_size for file in folder.iterdir()]
        assert len(sizes) <= room.files
        assert max(sizes) <= room.file_bytes
        assert sum(sizes) <= room.all_bytes


def test_every_command_has_room_for_its_folder_and_the_tree(home: Path, tmp_path: Path) -> None:
    room = _machine.MIB // 4 + 15_000
    sizes = list(prepare.lay_out(home, [make_group(home, "data")], tmp_path / "to", room))
    assert len(sizes) > 1
    assert max(sizes) <= room
    assert {folder.name for folder in (tmp_path / "to").iterdir()} == {
        f"call-{number}" for number in range(1, len(sizes) + 1)
    }
    with pytest.raises(CargoError, match="there is no room"):
        list(prepare.lay_out(home, [make_group(home, "data")], tmp_path / "to", 1000))


# --------------------------------------------------------------------------------------------- delivery


def fill_store(root: Path, steps: dict[str, dict[str, Any]], size: int = 100) -> None:
    for key, document in steps.items():
        folder = root / "store/artifacts" / key[:2] / key
        write(folder / "manifest.json", json.dumps({"document": document}).encode())
        write(folder / "content.bin", os.urandom(size))


STEPS: dict[str, dict[str, Any]] = {
    "d0": {"stage": "dataset", "inputs": {}},
    "f0": {"stage": "fit", "inputs": {"dataset": "d0"}},
    "s0": {"stage": "sample", "inputs": {"fit": "f0"}},
    "n0": {"stage": "train", "inputs": {"dataset": "d0"}},
    "r0": {"stage": "train", "inputs": {"dataset": "d0"}},
    "t0": {"stage": "train", "inputs": {"dataset": "d0", "sample": "s0"}},
    "p0": {"stage": "predict", "inputs": {"dataset": "d0", "train": "n0"}},
    "p1": {"stage": "predict", "inputs": {"dataset": "d0", "train": "t0"}},
    "m0": {"stage": "embed", "inputs": {"dataset": "d0", "network": "r0"}},
    "m1": {"stage": "embed", "inputs": {"dataset": "d0", "sample": "s0", "network": "r0"}},
    "e0": {"stage": "evaluate", "inputs": {"predict": "p1"}},
}


def travelling(root: Path, spent: set[str]) -> set[str]:
    return {Path(group.place).name for group in _cargo.cargo(root, spent)}


def test_what_travels_is_complete_without_samples_and_no_longer_than_needed(tmp_path: Path) -> None:
    fill_store(tmp_path, STEPS)
    write(tmp_path / "store/records/cell.json", b"{}")
    write(tmp_path / "store" / "work" / "w0" / "checkpoint.json", b"{}")
    write(tmp_path / "store" / "work" / "e0" / "checkpoint.json", b"{}")  # its step is done
    lasting = {"records", "r0", "m0", "e0", "w0"}
    assert travelling(tmp_path, set()) == {*lasting, "f0", "n0", "p0"}
    assert travelling(tmp_path, _cargo.spent_artifacts(tmp_path)) == lasting


def test_a_delivery_obeys_the_limits_and_says_what_stays_behind(tmp_path: Path) -> None:
    limits = _machine.Limits(files=3, file_bytes=40_000, returned_bytes=(4 << 20) + 60_000)
    fill_store(tmp_path, {f"{n}e": {"stage": "evaluate", "inputs": {}} for n in range(9)}, size=5_000)
    state = State()
    for number in range(1, 20):
        state.slots = number
        found = _delivery.deliver(tmp_path, tmp_path / "out", state, {"tree": "x"}, limits)
        listed = json.loads((tmp_path / "out" / f"slot-{number:02}.json").read_text())
        new = [file for file in (tmp_path / "out").iterdir() if file.name.startswith(f"slot-{number:02}")]
        assert len(new) == found.files <= limits.files
        assert all(file.stat().st_size <= limits.file_bytes for file in new)
        assert listed["left_bytes"] == found.left_bytes
        assert unpack(tmp_path / "out", listed["shipment"], tmp_path / "home").missing_bytes.keys() <= set(
            found.left
        )
        if not found.left:
            break
    assert number > 1
    assert contents(tmp_path / "home/store") == contents(tmp_path / "store")


def test_what_would_not_come_back_is_named(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path / f"{number}.tar", b"x" * (20 if number == 3 else 1))
    write(tmp_path / "a name", b"")
    limits = _machine.Limits(file_bytes=10, returned_bytes=25)
    with pytest.raises(
        CargoError, match=r"10 files, 8 come back; 3\.tar: 20 bytes of at most 10; 'a name'.*28 bytes"
    ):
        _delivery.check_limits(tmp_path, limits)


# ---------------------------------------------------------------------------------------------- processes

CHILD_THAT_STAYS = (
    "import subprocess, sys, time, signal\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print('up', flush=True); time.sleep(60)"
)


def is_alive(group: int) -> bool:
    """Say whether a process of a group is left that is not just waiting to be buried."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_a_task_that_hangs_is_killed_in_time_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    running, groups = tmp_path / "running.json", []
    original = _freight.write_json

    def spy(file: Path, content: Any) -> None:
        groups.append(content["group"])
        original(file, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_process, "write_json", spy)
        found = _process.run(
            [PYTHON, "-c", CHILD_THAT_STAYS], tmp_path / "log", 1.5, tmp_path, os.environ, running, grace=0.3
        )
    assert found.code is None
    assert 1.8 <= time.monotonic() - began < 6
    assert (tmp_path / "log").read_text() == "up\n"
    assert not running.exists()
    wait_for(lambda: not is_alive(groups[0]))


def test_the_next_slot_stops_what_a_killed_slot_left_running(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'perf/gpu')!r})\n"
        "import os, _process; from pathlib import Path\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "_process.run(command, Path('log'), 60, Path('.'), os.environ, Path('running.json'))"
    )
    killed = subprocess.Popen([PYTHON, "-c", code], cwd=tmp_path)
    running = tmp_path / "running.json"
    wait_for(running.is_file)
    group = json.loads(running.read_text())["group"]
    killed.kill()
    killed.wait()
    assert is_alive(group)
    assert _process.stop_leftover(running)
    wait_for(lambda: not is_alive(group))
    assert not _process.stop_leftover(running)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# -------------------------------------------------------------------------------------------------- slots

FACTS = {"device": "a GPU", "versions": {"torch": "2"}}
GOOD = (PYTHON, "-c", "print('good')")
BAD = (PYTHON, "-c", "import sys; sys.exit('this is why')")
HANGS = (PYTHON, "-c", "import time; time.sleep(60)")


@pytest.fixture
def run_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Ended]]:
    """Run a slot over a given work list, without wheels; return how the tasks ended."""
    monkeypatch.setattr(slot, "_PACKING_SECONDS", 0.2)
    monkeypatch.setattr(slot, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(slot, "_LEAST_SECONDS", 0.1)
    monkeypatch.setattr(slot, "install", lambda work, rehearsal: None)
    monkeypatch.setattr(slot, "_facts", lambda work, variables: FACTS)
    monkeypatch.setattr(slot._Slot, "_keep_records", lambda self, task: None)

    def go(tasks: list[_tasks.Task], seconds: float = 30, *options: str) -> dict[str, Ended]:
        monkeypatch.setattr(slot, "work_list", lambda work, rehearsal: tasks)
        folders = [f"--{name}={tmp_path / name}" for name in ("work", "out", "carried")]
        slot.main([*folders, "--seconds", str(seconds), *options])
        return State.read(tmp_path / "work/state.json").tasks

    return go


def task(name: str, command: tuple[str, ...], limit: float = 20, **options: Any) -> _tasks.Task:
    return _tasks.Task(name, (command,), expected_seconds=0.1, limit_seconds=limit, **options)


def test_a_slot_keeps_what_is_finished_and_the_next_one_continues(
    run_slot: Callable[..., dict[str, Ended]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [
        task("a", GOOD),
        task("b", BAD),
        task("c", HANGS, limit=0.5),
        task("d", HANGS, limit=60),
        task("e", GOOD),
    ]
    began = time.monotonic()
    ended = run_slot(first, 20)
    assert time.monotonic() - began < 55  # c and d alone would take two minutes
    assert {name: one.status for name, one in ended.items()} == {
        "a": "passed", "b": "failed", "c": "failed", "d": "unfinished",
    }  # fmt: skip
    assert ended["b"].note == "this is why"
    assert ended["c"].note.startswith("killed after")
    back = json.loads((tmp_path / "out/slot-01.json").read_text())
    assert back["state"]["tasks"]["a"]["status"] == "passed"
    assert "PASS a" in capsys.readouterr().out.splitlines()[-5]

    again = run_slot([task("a", BAD), task("b", GOOD), task("c", GOOD), task("d", GOOD), task("e", GOOD)])
    assert {name: (one.status, one.slot) for name, one in again.items()} == {
        "a": ("passed", 1), "b": ("failed", 1), "c": ("failed", 1), "d": ("passed", 2), "e": ("passed", 2),
    }  # fmt: skip
    retried = run_slot([task("b", GOOD), task("c", BAD)], 30, "--retry", "b")
    assert (retried["b"].status, retried["c"].slot) == ("passed", 1)


def test_a_slot_without_a_gpu_is_refused(
    run_slot: Callable[..., dict[str, Ended]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS, "device", "cpu")
    with pytest.raises(SystemExit, match="torch sees no GPU here"):
        run_slot([task("a", GOOD)])
    assert run_slot([task("a", GOOD)], 30, "--rehearsal")["a"].status == "passed"


def test_a_task_longer_than_a_slot_fails_unless_it_resumes(run_slot: Callable[..., dict[str, Ended]]) -> None:
    assert run_slot([task("long", HANGS)], 2)["long"].status == "failed"
    assert run_slot([task("records", HANGS, resumes=True)], 2)["records"].status == "unfinished"
    assert run_slot([task("records", GOOD, resumes=True)])["records"].status == "passed"


def test_a_task_waits_for_what_it_needs_and_says_so(
    run_slot: Callable[..., dict[str, Ended]], tmp_path: Path
) -> None:
    tasks = [task("records", GOOD, needs=("hub/data",)), task("last", GOOD)]
    ended = run_slot(tasks)
    assert (ended["records"].status, ended["last"].status) == ("unfinished", "passed")
    assert "waits for hub/data to be carried in" in ended["records"].note
    write(tmp_path / "work/hub/data/x", b"")
    assert run_slot(tasks)["records"].status == "passed"


def test_a_fresh_machine_continues_from_what_was_collected(
    run_slot: Callable[..., dict[str, Ended]], tmp_path: Path
) -> None:
    tasks = [task("first", GOOD), task("records", HANGS, resumes=True)]
    fill_store(tmp_path / "work", {"e0": STEPS["e0"]})
    run_slot(tasks, 3)
    arguments = [str(tmp_path / "out"), "--to", str(tmp_path / "gpu"), "--records", str(tmp_path / "records")]
    assert collect.main(arguments) == 0
    made = contents(tmp_path / "work/store/artifacts")
    (tmp_path / "work").rename(tmp_path / "lost")
    (tmp_path / "carried").mkdir()
    tasks = [task("first", BAD), task("records", GOOD, resumes=True)]
    for number, status in enumerate(("unfinished", "passed")):
        (tmp_path / f"gpu/state-{number}").rename(tmp_path / f"carried/state-{number}")
        ended = run_slot(tasks)
        assert (ended["first"].status, ended["first"].slot) == ("passed", 1)
        assert (ended["records"].status, ended["records"].slot) == (status, 2 + number)
        assert ("waits for" in ended["records"].note) == (number == 0)
    assert State.read(tmp_path / "work/state.json").carried == []
    assert contents(tmp_path / "work/store/artifacts") == made
    assert made


def test_cells_that_a_lost_machine_left_open_cost_what_they_would_have(tmp_path: Path) -> None:
    """What travels is enough for records that say the same, without a second fit."""
    from genbench.records import Record, read_records
    from genbench.registry import Registry
    from genbench.runner import run
    from genbench.spec import resolve_suite
    from genbench.store import Store
    from genbench.suite import make_suite
    from genbench.worker import RunOptions

    entries = {
        "preset": "smoke",
        "seeds": 1,
        "datasets": ["digits:limit_train=120"],
        "generators": ["ddpm:fit_steps=10", "copies"],
        "classifiers": ["mlp"],
        "evaluators": ["accuracy"],
    }
    suite = make_suite(entries, "a test")
    lost, fresh = Store(tmp_path / "lost/store"), Store(tmp_path / "fresh/store")

    def go(store: Store) -> dict[str, Record]:
        plan = make_plan(resolve_suite(Registry(), suite, store.fingerprint))
        done = run(plan, store, Registry(), RunOptions(jobs=0))
        return {one.result.key: one for one in done.records if one.result.subject == "cell"}

    whole = go(lost)
    labels = {key: record.result.generator.label for key, record in whole.items()}
    assert sorted(labels.values()) == ["copies", "ddpm:fit_steps=10", "none"]
    for key, label in labels.items():
        if label.startswith("ddpm"):  # the machine was lost before this cell was evaluated
            lost.remove(key)
            saved = (lost.root / "records").glob(f"cell-{key[:16]}-*.json")
            [file.unlink() for file in saved]
    left = [one.result.subject for one in read_records([lost.root / "records"])]
    assert left.count("cell") == 2
    groups = _cargo.cargo(lost.root.parent, set())
    pieces = [piece for group in groups for piece in group.pieces()]
    packed = pack(lost.root.parent, pieces, tmp_path / "to", "", ANY_ROOM)
    unpack(tmp_path / "to", packed.shipment, fresh.root.parent)
    again = go(fresh)
    for key, record in whole.items():
        assert again[key].result == record.result, labels[key]
        assert [cost.stage for cost in again[key].run.costs] == [cost.stage for cost in record.run.costs]
    made = [line["stage"] for line in fresh.index.lines()]
    assert "fit" not in made
    assert (made.count("sample"), made.count("train"), made.count("evaluate")) == (1, 1, 1)


def test_records_are_published_with_where_they_come_from(tmp_path: Path) -> None:
    work, state = tmp_path / "work", State(slots=1, tasks={"records-1": Ended("passed", 1, 1)})
    for suite in _tasks.SUITES:
        write(work / "boards/records-1" / suite / "records/cell-1.json", b"{}")
    report = {"tree": slot.tree_digest(), "facts": {"device": "test"}, "figures": {}}
    _delivery.deliver(work, tmp_path / "back", state, report)
    folders = ["--to", str(tmp_path / "gpu"), "--records", str(tmp_path / "records")]
    assert collect.main([str(tmp_path / "back"), *folders, "--seeds", "1"]) == 0
    for suite in _tasks.SUITES:
        assert (tmp_path / "records" / suite / "cell-1.json").is_file()
        (found,) = json.loads((tmp_path / "records" / suite / "provenance.json").read_text())["slots"]
        assert found["facts"] == {"device": "test"}
        assert found["tree"] == slot.tree_digest()
        assert set(found["files"]) == {"slot-01-0.tar"}
    (tmp_path / "back/slot-01-0.tar").write_bytes(b"")
    with pytest.raises(CargoError, match=r"slot-01-0\.tar is damaged"):
        collect.main([str(tmp_path / "back"), *folders])


# ------------------------------------------------------------------------------------- machine and work list


def test_the_machine_holds_or_is_sent_every_dependency() -> None:
    """Also of what is sent, as its metadata here says."""
    import importlib.metadata

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    carried, held, unknown = _machine.carried_packages(), _machine.held_packages(), set[str]()
    wanted = list(project["dependencies"])
    for name in carried:
        wanted += importlib.metadata.requires(name) or []
    assert len(wanted) > len(project["dependencies"])
    assert [(line, why) for line in wanted if (why := prepare.unmet(line, carried, held, unknown))] == []
    assert prepare.unmet("no-such-package>=1", carried, held, unknown) == "neither carried nor held"
    assert prepare.unmet("torch>=99", carried, held, unknown) == "there it is 2.11.0"


@pytest.mark.parametrize("rehearsal", [False, True])
def test_the_work_list_fits_its_slots(tmp_path: Path, rehearsal: bool) -> None:
    tasks = _tasks.work_list(tmp_path, rehearsal=rehearsal)
    assert len({one.name for one in tasks}) == len(tasks)
    assert all(_machine.FILE_NAME.fullmatch(one.name) for one in tasks)
    usable = _machine.SLOT_SECONDS - slot._PACKING_SECONDS - _process.GRACE_SECONDS
    assert all(one.limit_seconds <= usable for one in tasks if not one.resumes)
    assert [one.name for one in tasks if one.resumes] == [
        f"records-{n}" for n in range(1, (2 if rehearsal else 5) + 1)
    ]
    assert _machine.LIMITS.command_seconds > _machine.SLOT_SECONDS


def test_every_script_of_the_work_list_takes_its_arguments(tmp_path: Path) -> None:
    from genbench.cli import program

    for one in _tasks.work_list(tmp_path, rehearsal=False):
        for command in one.commands:
            if command[1] == "-m":
                program.make_context("genbench", list(command[3:]), resilient_parsing=False)
                continue
            text = (ROOT / command[1]).read_text()
            flags = [word.removeprefix("--") for word in command[2:] if word.startswith("--")]
            unknown = [flag for flag in flags if f'"--{flag}"' not in text and f'"{flag}":' not in text]
            assert unknown == [], command


def test_the_suites_share_one_fit_and_the_protocol() -> None:
    from genbench.notation import parse_reference
    from genbench.registry import Registry
    from genbench.spec import resolve_suite
    from genbench.suite import load_suite

    plans, digits = [], (parse_reference("digits"),)
    for name in _tasks.SUITES:
        suite = load_suite(ROOT / "perf/gpu/suites" / f"{name}.toml").model_copy(
            update={"seeds": 1, "datasets": digits}
        )
        assert (suite.name, suite.preset) == (name, "paper")
        plans.append(make_plan(resolve_suite(Registry(), suite, lambda path: "0")))
    stages = [step.stage for step in plans[0].steps.values()]
    assert (stages.count("fit"), stages.count("sample")) == (1, 3)
    assert plans[0].protocol == plans[1].protocol
    assert {cell.arm.mix.augment for cell in plans[1].cells} == {"cutmix"}


def test_waits_are_recorded_with_their_place_and_other_warnings_pass() -> None:
    from _watch import waits_recorded

    places: list[str] = []

    def warn_twice() -> None:
        warnings.warn("called a synchronizing CUDA operation (use a debugger)", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)

    def watched() -> None:
        with waits_recorded(places):
            warn_twice()

    with pytest.warns(UserWarning, match="something else"):
        watched()
    assert len(places) == 1
    assert places[0].startswith("test_gpu_lease.py:")


def test_a_watch_sees_the_steps_it_should(tmp_path: Path) -> None:
    from _watch import take

    asked: list[int] = []

    def work(ctx: Any) -> None:
        for step in range(100):
            asked.append(step)
            if ctx.checkpoint_due():
                ctx.checkpoint({}, {})

    watched = take(work, before=3, watched=4)
    assert len(asked) == 7
    assert watched.seconds > 0
    with pytest.raises(AssertionError, match="ended before step 150"):
        take(work, before=50, watched=100)


def test_figures_of_perf_scripts_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from _timing import verdict

    monkeypatch.setenv("PERF_FIGURES", str(tmp_path / "seeds.jsonl"))
    assert verdict("together", 1.5, 2.0, at_least=False)
    assert not verdict("speed", 1.5, 2.0, at_least=True)
    found = _delivery.figures(tmp_path)["seeds"]
    assert [(one["name"], one["value"], one["unit"], one["ok"]) for one in found] == [
        ("together", 1.5, "x", True), ("speed", 1.5, "x", False),
    ]  # fmt: skip
    lines = list(_delivery.table(State(tasks={"seeds": Ended("failed", 1.0, 1)}), {"seeds": found}))
    assert lines[2].strip() == "FAIL speed: 1.5 x (target >= 2 x)"
