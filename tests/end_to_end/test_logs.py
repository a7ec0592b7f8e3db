"""`--log-format json`: standard error is JSON lines and nothing else, whoever writes there."""

import io
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genbench import cli
from genbench.cli import _json_progress, _logs
from genbench.cli._json_progress import JsonProgress
from genbench.errors import ExitCode, Interrupted
from genbench.executors import Event, Failure
from genbench.telemetry import RunEnd, RunFacts
from toy_program import RUN_OF_TOYS, called

DOCS = Path(__file__).parents[2] / "docs"
NOISY = """
import logging, os, subprocess, sys, warnings
import genbench

@genbench.hookimpl
def genbench_run_started(run):
    os.write(2, b"10%\\r100%\\n")                                    # as a library in C does
    subprocess.run(["sh", "-c", "echo a child >&2"], check=True)
    warnings.warn("an old function", UserWarning)
    logging.getLogger("some.library").warning("weights of %s are old", "x")
    print("no end of line", end="", file=sys.stderr)

@genbench.hookimpl
def genbench_step_finished(step):
    raise RuntimeError("no server \\udce9")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run with a worker in which much is said, and a fit fails; its lines, parsed."""
    folder = tmp_path_factory.mktemp("logged")
    (folder / "noisy.py").write_text(NOISY)
    broken = ("-g", "toy:fault=raise", "-e", "accuracy", "--plugin", "noisy.py")
    arguments = [*RUN_OF_TOYS, *broken, "--seeds", "1", "--jobs", "1", "--log-format", "json"]
    done = called(folder, *arguments)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return SimpleNamespace(folder=folder, done=done, lines=lines, arguments=arguments)


def of(run: Any, event: str) -> list[dict[str, Any]]:
    return [line for line in run.lines if line["event"] == event]


@pytest.mark.slow(reason="starts the program with a worker")
def test_every_line_has_the_fields_of_its_event(run: Any) -> None:
    before, kinds = "", set()
    for line in run.lines:
        own = _logs.EVENTS[line["event"]][1]
        steps = _logs.OF_STEPS if line["event"].startswith("step_") else ()
        assert line.keys() - {"run"} == {*_logs.COMMON, *steps, *own}
        moment = datetime.fromisoformat(line["time"])
        assert moment.utcoffset() == timedelta(0)
        assert before <= line["time"] <= datetime.now(UTC).isoformat()
        before = line["time"]
        kinds.add(line["event"])
    never = {"step_queued", "step_found", "step_retried", "step_interrupted", "waiting"}
    assert kinds == _logs.EVENTS.keys() - never
    assert (run.lines[0]["event"], run.lines[-1]["event"]) == ("program_started", "exit")
    assert run.lines[0]["arguments"] == run.arguments
    assert run.lines[0]["schema"] == 1
    assert run.lines[-1]["exit_code"] == run.done.returncode == ExitCode.CELLS_FAILED


@pytest.mark.slow(reason="as above")
def test_the_lines_tell_what_every_step_did(run: Any) -> None:
    (began,), (ended,) = of(run, "run_started"), of(run, "run_finished")
    assert began["run"] == ended["run"]
    assert re.fullmatch("[0-9a-f]{32}", began["run"])
    assert (began["cells"], began["suite"], began["jobs"]) == (3, "toy-data-toy-toy-toy-net", 1)
    done, failed = of(run, "step_done"), of(run, "step_failed")
    for step in (*done, *failed):
        (start,) = [one for one in of(run, "step_started") if one["key"] == step["key"]]
        assert {name: start[name] for name in _logs.OF_STEPS} == {name: step[name] for name in _logs.OF_STEPS}
        assert step["run"] == began["run"]
        assert step["seconds"] > 0
        assert int(step["seed"]) >= 0
    (broken,) = failed
    assert (broken["stage"], broken["reason"], broken["level"]) == (
        "fit",
        "RuntimeError: the toy broke",
        "error",
    )
    assert "the toy broke" in (Path(began["store"]) / broken["log"]).read_text()
    assert (ended["steps_done"], ended["steps_failed"], ended["status"]) == (len(done), 1, "failed")
    assert ended["evaluations"] == 3 + 2  # accuracy of three cells, copies of two image sets
    assert ended["evaluations_failed"] == 2
    progress = [one for one in of(run, "step_progress") if one["stage"] == "train"]
    assert any("loss" in one["metrics"] for one in progress)
    (written,) = of(run, "written")
    assert len(list((run.folder / written["folder"] / "records").glob("*.json"))) == written["records"] == 5


@pytest.mark.slow(reason="as above")
def test_what_others_write_is_wrapped_and_tables_stay_where_they_were(run: Any) -> None:
    output = [line["message"] for line in of(run, "output")]
    assert {"10%", "100%", "a child", "no end of line"} <= set(output)
    by_category = {line["category"]: line for line in of(run, "warning")}
    assert by_category["UserWarning"]["message"] == "an old function"
    assert by_category["some.library"]["message"] == "weights of x are old"
    assert re.fullmatch(r".*noisy\.py:\d+", by_category["UserWarning"]["where"])
    notices = " ".join(line["message"] for line in of(run, "notice"))
    assert (
        "'noisy' no longer observes this run: its observer raised RuntimeError: no server \\udce9" in notices
    )
    assert "genbench retry" in notices
    assert "real images alone" in run.done.stdout
    assert '"event"' not in run.done.stdout


# --------------------------------------------------------------------------------------- how a program ends


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Call the program in this process; return its exit code and what it wrote to standard error."""

    def call(*arguments: str, raising: BaseException | None = None) -> Any:
        monkeypatch.setattr(sys, "argv", ["genbench", *arguments])
        if raising is not None:

            def fail(**_: object) -> None:
                raise raising

            monkeypatch.setattr(cli.program, "main", fail)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["event"] for line in lines] == ["program_started", "exit"]
        assert lines[-1]["exit_code"] == ended.value.code
        return lines[-1]

    return call


def test_the_last_line_says_why_and_what_to_do(ends: Callable[..., Any]) -> None:
    typed = ends("run", "--log-format", "json", "--bogus")
    assert (typed["exit_code"], typed["error"], typed["level"]) == (ExitCode.USAGE, "UsageError", "error")
    assert typed["message"].startswith("No such option '--bogus'")
    assert typed["hint"].endswith("run --help")
    named = ends("run", "-g", "nope", "-c", "cnn", "--log-format=json")
    assert (named["exit_code"], named["hint"]) == (ExitCode.USAGE, "genbench list generators")
    assert named["message"].startswith("unknown generator 'nope'")
    assert named["traceback"] == ""


def test_a_signal_and_a_mistake_of_ours_have_a_last_line_too(ends: Callable[..., Any]) -> None:
    before = warnings.showwarning
    stopped = ends("run", "--log-format", "json", raising=Interrupted("stopped; the same command resumes"))
    assert (stopped["exit_code"], stopped["error"]) == (ExitCode.INTERRUPTED, "Interrupted")
    assert stopped["message"] == "stopped; the same command resumes"
    broken = ends("run", "--log-format", "json", raising=KeyError("oops"))
    assert (broken["exit_code"], broken["error"]) == (1, "KeyError")
    assert broken["message"] == "KeyError: 'oops'"
    assert "Traceback" in broken["traceback"]
    assert _logs.active() is None
    assert warnings.showwarning is before


def test_which_command_lines_ask_for_json() -> None:
    assert _logs.wants_json(["run", "--log-format", "json"])
    assert _logs.wants_json(["tune", "--log-format=json", "-c", "cnn"])
    assert not _logs.wants_json(["run", "--log-format", "json", "--log-format", "text"])
    assert not _logs.wants_json(["run", "json", "--log-format"])
    assert not _logs.wants_json(["run", "--", "--log-format", "json"])


def test_a_reader_that_leaves_ends_the_log_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        calls = 0

        def write(self, text: str) -> int:
            Gone.calls += 1
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    log = _logs.JsonLog()
    log.tell("notice", "one")
    log.tell("notice", "two")
    assert Gone.calls == 1


def test_lines_of_others_survive_a_process_that_keeps_the_pipe() -> None:
    """In a process of its own, since it is about file descriptor 2; the child outlives it."""
    code = (
        "import sys, subprocess, os\n"
        "from genbench.cli._stray_lines import StrayLines\n"
        "found = []\n"
        "stray = StrayLines(found.append)\n"
        "left = subprocess.Popen(['sleep', '60'])\n"
        "os.write(2, b'x' * 25000 + b'\\xff\\nlast')\n"
        "stray.give_back()\n"
        "left.kill(); left.wait()\n"
        "print([len(one) for one in found], found[-1])\n"
        "sys.stderr.write('as before')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split("]")[1].strip() == "last"
    assert sum(json.loads(done.stdout.split("]")[0] + "]")) == 25000 + len("\\xff") + len("last")
    assert done.stderr == "as before"


# ---------------------------------------------------------------------------------------------- single events


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A progress whose lines are kept, and whose clock stands still."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(_json_progress.time, "monotonic", lambda: clock.now)
    lines: list[dict[str, Any]] = []
    log: Any = SimpleNamespace(
        run="", tell=lambda event, message, level="info", **more: lines.append({"event": event, **more})
    )
    return SimpleNamespace(lines=lines, clock=clock, make=lambda **how: JsonProgress(log, **how))


STEP: Any = SimpleNamespace(key="k", label="fit toy", stage="fit", seed=2**60)


def test_progress_is_told_once_a_second_and_silence_once_a_minute(told: Any) -> None:
    progress = told.make()
    progress.event(STEP, Event("k", "queued", note="waits for a GPU"))
    progress.event(STEP, Event("k", "started", host="node7", attempt=2))
    for done in range(10):
        progress.event(STEP, Event("k", "progress", done=done, total=10, metrics={"loss": float("nan")}))
        told.clock.now += 0.25
    assert [line["done"] for line in told.lines if line["event"] == "step_progress"] == [0, 4, 8]
    progress.waiting()
    assert told.lines[-1]["event"] == "step_progress"
    told.clock.now += 60
    progress.waiting()
    progress.waiting()
    assert [line["event"] for line in told.lines[-2:]] == ["step_progress", "waiting"]
    assert told.lines[-1]["running"] == [{"key": "k", "label": "fit toy", "seconds": 62.5}]
    lost = Failure("killed by signal 9")
    progress.event(STEP, Event("k", "retried", failure=lost, attempt=3))
    told.clock.now += 60
    progress.waiting()
    assert told.lines[-1]["running"] == []
    progress.event(STEP, Event("k", "started"))
    progress.event(STEP, Event("k", "queued", note="another run has taken it over"))
    told.clock.now += 60
    progress.waiting()
    assert told.lines[-1]["running"] == []
    progress.event(STEP, Event("k", "found"))
    assert told.lines[-1]["event"] == "step_found"
    queued, started = told.lines[:2]
    assert (queued["note"], queued["seed"]) == ("waits for a GPU", str(2**60))
    assert (started["host"], started["attempt"]) == ("node7", 2)
    (retried,) = [line for line in told.lines if line["event"] == "step_retried"]
    assert retried["reason"] == "killed by signal 9"


def test_quiet_tells_no_progress(told: Any) -> None:
    progress = told.make(quiet=True)
    progress.started(
        RunFacts("r", "s", "c", datetime.now(UTC), "h", 1, "0", "d", "processes", "cpu", 1, 1, 1, 1)
    )
    progress.event(STEP, Event("k", "started"))
    progress.event(STEP, Event("k", "failed", failure=Failure("no")))
    progress.event(STEP, Event("k", "interrupted"))
    progress.notice("a remark")
    progress.ended(RunEnd("failed", "no"))
    assert [line["event"] for line in told.lines] == [
        *("run_started", "step_failed", "notice", "run_finished"),
    ]


def test_numbers_that_are_none_and_half_characters_are_still_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _logs.JsonLog().tell("notice", "caf\udce9", metrics={"loss": float("nan"), "top1": 1.5}, place=Path("x"))
    found = json.loads(capsys.readouterr().err)
    assert (found["message"], found["metrics"], found["place"]) == (
        "caf\\udce9",
        {"loss": None, "top1": 1.5},
        "x",
    )


def test_the_page_lists_every_event_with_its_fields() -> None:
    page = (DOCS / "logs.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| ?([^|\n]*)\|$", page, re.MULTILINE)
    listed = {name: (when, tuple(re.findall(r"`(\w+)`", fields))) for name, when, fields in rows}
    assert listed == {name: _logs.EVENTS[name] for name in _logs.EVENTS}
    named = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE))
    assert named == {*_logs.COMMON, "run", *_logs.OF_STEPS}
