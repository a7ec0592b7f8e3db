"""Runs that go on without us: jobs that a run left, and runs that a cluster controls itself."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import slurm_site
from genbench.cli import program
from genbench.detached import Standing, cancel
from genbench.errors import UsageError
from genbench.executors import Event, Setup, Task
from genbench.executors.failures import Failure
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen, SlurmError
from genbench.executors.slurm.config import read_profile
from genbench.executors.slurm.session import Session, Work
from genbench.journals import Journal, Submitted
from genbench.registry import Registry
from genbench.runner import run as run_here
from genbench.runs import Place, new_run, write_run
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions
from slurm_site import JOBS, PATIENCE_SECONDS, PROFILE, Run, Site, eventually, jobs_at_work, task
from toy_program import TOYS
from toy_suites import toy_plan

site, run_with = slurm_site.site, slurm_site.run_with  # fixtures


def detached(run_with: Callable[..., Run], *bundles: list[Task]) -> Session:
    """Return the session of a run that left its jobs at work."""
    run = run_with('on_interrupt = "detach"\n')
    for bundle in bundles:
        run.executor.submit(bundle)
    run.until(lambda: all(run.has(bundle[0].id, "progress") for bundle in bundles))
    run.executor.stop(1.0)
    run.executor.close()
    vars(run.executor)["close"] = lambda: None  # the folder may be gone by then
    assert jobs_at_work()
    return run.executor._session


def ended_in(session: Session) -> dict[str, str]:
    """Return what jobs told of tasks that have ended, whoever listens."""
    told = [
        one for path in (session.root / "events").iterdir() for one in Session(session.root).hear(path.name)
    ]
    return {one.id: one.status for one in told if isinstance(one, Event) and one.is_final}


def test_a_step_that_a_run_left_is_begun_again_it_alone(run_with: Callable[..., Run]) -> None:
    left = detached(run_with, [task("a", "wait"), task("c")], [task("b", "wait", seconds=8.0)])
    live = run_with()
    live.executor.submit([task("a", "wait")])
    live.until(lambda: live.has("a", "progress"))
    eventually(lambda: "a" in ended_in(left))
    run = run_with()
    assert run.finish([task("a")])["a"].attempt == 1
    # The other steps, which nobody wants now, are finished; then nobody needs the keys any more.
    eventually(lambda: not (left.root / "setup").exists())
    assert ended_in(left) == {"a": "failed", "b": "done", "c": "done"}
    assert left.stop == "close"
    # A run that lives keeps its step: leases say whose it is.
    assert "a" not in live.ended()
    assert live.executor._session.cancelled() == set()


def test_a_session_that_has_nothing_of_its_own_left_is_ended(run_with: Callable[..., Run]) -> None:
    left = detached(run_with, [task("a", "wait")], [task("b", "wait")])
    (gone,) = {one for one in commands.queue() if one.id == jobs_at_work()[0]}
    run = run_with()
    run.finish([task("a")], [task("b")])
    assert not left.root.exists()
    assert gone.comment.endswith(left.root.name)
    eventually(lambda: all(one.is_over for one in commands.queue() if one.comment == gone.comment))


def test_a_session_whose_process_died_is_left(run_with: Callable[..., Run], tmp_path: Path) -> None:
    first = run_with()
    session = first.executor._session
    owner = json.loads((session.root / "run").read_text())
    assert not list(Session.left(tmp_path / JOBS))
    owner["holder"]["started"] += 1  # as of a process that has the number of a dead one
    (session.root / "run").write_text(json.dumps(owner))
    assert [one.root for one in Session.left(tmp_path / JOBS)] == [session.root]
    elsewhere = {**owner, "holder": {**owner["holder"], "boot": "another"}, "job": "7"}
    (session.root / "run").write_text(json.dumps(elsewhere))
    assert not list(Session.left(tmp_path / JOBS))  # nobody knows
    with pytest.MonkeyPatch.context() as patch:  # the controller of a detached run, requeued on another node
        patch.setenv("SLURM_JOB_ID", "7")
        assert not list(Session.left(tmp_path / JOBS))
        patch.setenv("SLURM_RESTART_COUNT", "1")
        assert [one.root for one in Session.left(tmp_path / JOBS)] == [session.root]
    (session.root / "run").write_text(json.dumps({**owner, "store": "another"}))
    session.put("pool", "000001", [task("a")])
    run_with().finish([task("a")])
    assert not session.cancelled()


# ---------------------------------------------------------------- runs that a cluster controls


@pytest.mark.slow(reason="a run in jobs, each of which loads torch")
def test_a_detached_run_survives_preemption_and_equals_the_local_one(
    site: Site, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENBENCH_STORE", str(tmp_path / "store"))
    # Jobs wait for steps of the next kind: torch is loaded once in each.
    (tmp_path / "p.toml").write_text(PROFILE.replace("idle_seconds = 0.5", "idle_seconds = 20"))
    read_profile.cache_clear()
    cells = [*TOYS, "-g", SLOW, "-e", "accuracy", "--seeds", "1"]
    words = [*cells, "--executor", "slurm:p.toml", "--name", "far"]
    monkeypatch.setattr(sys, "argv", ["genbench", "submit", *words])
    told = CliRunner().invoke(program, ["submit", *words], catch_exceptions=False).output
    assert "far: submitted as job " in told
    assert "far (job" not in told
    again = CliRunner().invoke(program, ["submit", *words]).exception
    assert isinstance(again, UsageError)
    assert "far is queued" in str(again) or "far is running" in str(again)
    fit = await_status("far", lambda found: [one for one in steps(found, "fit") if one["state"] == "running"])
    time.sleep(2.0)
    if site.is_real:  # the controller is preempted with its steps: it is requeued, too, and resumes
        site.preempt("")
    else:
        at_work = [one for one in commands.queue() if one.state == "RUNNING"]
        for one in at_work:
            if not one.name.startswith("genbench-run"):
                site.preempt(one.id)
    found = await_status("far", lambda found: found["state"] == "done" and [found])[0]
    assert {one["state"] for one in found["steps"].values()} == {"done"}
    log = (tmp_path / "store" / "logs" / f"{fit[0]['key']}.log").read_text()
    assert "resum" in log, log
    page = CliRunner().invoke(program, ["status", "far"], catch_exceptions=False).output
    assert page.startswith("far  is done (job ")
    assert isinstance(CliRunner().invoke(program, ["cancel", "far"]).exception, UsageError)

    local = Store(tmp_path / "local")
    plan = toy_plan(registry, local, generators=[SLOW], evaluators=["accuracy"], seeds=1)
    run_here(plan, local, registry, RunOptions(jobs=0))
    there = results_in(tmp_path / "genbench-results" / "far" / "records")
    assert there == results_in(local.root / "records")
    assert len(there) == 3


@pytest.mark.slow(reason="runs are begun, and called off")
@pytest.mark.parametrize("where", ["in a job", "here"])
def test_a_run_that_is_called_off_has_saved_its_work(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    assert site
    tmp_path /= "my work"
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENBENCH_STORE", str(tmp_path / "store"))
    (tmp_path / "p.toml").write_text(PROFILE)
    read_profile.cache_clear()
    words = [
        *TOYS,
        "-g",
        "toy:seconds_per_iteration=0.1,fit_iterations=3000",
        "-e",
        "accuracy",
        "--seeds",
        "1",
    ]
    words += ["--name", "far"]
    with contextlib.ExitStack() as ended:
        if where == "in a job":
            words += ["--executor", "slurm:p.toml"]
            monkeypatch.setattr(sys, "argv", ["genbench", "submit", *words])
            CliRunner().invoke(program, ["submit", *words], catch_exceptions=False)
        else:
            command = [sys.executable, "-m", "genbench.cli", "run", *words, "-j", "1"]
            process = ended.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            ended.callback(process.kill)
            while not (tmp_path / "genbench-results" / "far" / "run.json").exists():
                assert process.poll() is None
                time.sleep(0.2)
        await_status("far", lambda found: [one for one in steps(found, "fit") if one["state"] == "running"])
        told = CliRunner().invoke(program, ["cancel", "far"], catch_exceptions=False).output
        if where == "here":
            assert f"process {process.pid} was asked to stop" in told
            assert process.wait(60) == 143
        else:
            assert "and its steps have ended; what they had done is kept" in told
            names = re.compile("far|fit")
            eventually(lambda: all(one.is_over for one in commands.queue() if names.search(one.name)))
    assert await_status("far", lambda found: [found])[0]["state"] == "stopped"
    assert list((tmp_path / "store").glob("work/*/checkpoint*"))
    assert not list((tmp_path / "store" / "leases").glob("*"))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_requeued_run_that_is_called_off_leaves_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    session = Session.new(tmp_path, Work(Setup("", {}), {}, 0.5, 0))
    log = tmp_path / "controllers" / "far.txt"
    submitted = Submitted("7", "far", str(tmp_path), str(log), "", str(tmp_path), 1, time.time())
    jobs = {"7": ("genbench:controller", "PENDING"), "8_0": ("genbench:7:run-1", "RUNNING")}
    jobs |= {"8_1": ("genbench:7:run-1", "PENDING"), "9_0": ("genbench:77:run-2", "RUNNING")}
    asked: list[float] = []

    def queue() -> list[Seen]:
        asked.append(0.0)
        if len(asked) in {1, 3}:
            raise SlurmError("squeue: it does not answer")
        return [Seen(job, job, "", where, comment=comment) for job, (comment, where) in jobs.items()]

    def scancel(names: list[str], *options: str) -> None:
        for name in names if options[:1] != ("--signal=INT",) else ():
            del jobs[name]

    monkeypatch.setattr(commands, "queue", queue)
    monkeypatch.setattr(commands, "scancel", scancel)
    monkeypatch.setattr("genbench.detached._CANCEL_SECONDS", 1.5)
    told = cancel(Standing("far", state, tmp_path, submitted=submitted))
    assert list(jobs) == ["9_0"]
    assert "nothing" not in told
    assert not (session.root / "setup").exists()


def results_in(folder: Path) -> list[str]:
    """Return the results of all records in a folder, as text."""
    found = [json.loads(path.read_text())["result"] for path in folder.glob("*.json")]
    return sorted(json.dumps(one, sort_keys=True) for one in found)


SLOW = "toy:seconds_per_iteration=0.1,fit_iterations=200"


def steps(found: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    return [{"key": key, **one} for key, one in found["steps"].items() if one["stage"] == stage]


def await_status(name: str, wanted: Callable[[dict[str, Any]], Any]) -> Any:
    """Ask `genbench status` until it says what is wanted."""
    end = time.monotonic() + 3 * PATIENCE_SECONDS
    while True:
        page = CliRunner().invoke(program, ["status", name, "--json"], catch_exceptions=False).output
        result = wanted(json.loads(page))
        if result:
            return result
        assert time.monotonic() < end, page
        time.sleep(1.0)


def test_status_tells_of_runs_with_every_executor(
    tmp_path: Path, store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_STORE", str(store.root))
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    monkeypatch.chdir(tmp_path)
    plan = toy_plan(registry, store, evaluators=["accuracy"], seeds=1)
    journal = Journal(store.root, "0123456789ab")
    (first, second, third, *_) = plan.steps.values()
    journal.planned([first, second, third], plan)
    journal.event(first, Event(first.key, "started", host="node1"))
    lost = Failure("its node failed", kind="lost")
    journal.event(first, Event(first.key, "retried", failure=lost, attempt=2))
    journal.event(first, Event(first.key, "started", host="node2", attempt=2))
    journal.event(second, Event(second.key, "queued", note="waits for job 7 of SLURM"))
    journal.event(third, Event(third.key, "failed", host="node3", failure=Failure("too big", kind="memory")))
    with (store.root / "journals" / "0123456789ab.jsonl").open("a") as file:
        file.write('{"at": 1.0, "key": "half a li')
    folder = tmp_path / "genbench-results" / "mine"
    suite = make_suite({"name": "mine", **toys()}, "test")
    run = new_run(plan, suite, Place(folder), "genbench run").model_copy(update={"id": "0123456789ab"})
    folder.mkdir(parents=True)
    write_run(folder, run)
    page = CliRunner().invoke(program, ["status", "mine"], catch_exceptions=False).output
    assert page.startswith(f"mine  runs on {socket.gethostname()} (PID {os.getpid()})\n")
    assert re.search(r"^all +- +1 +1 +- +1$", page, re.MULTILINE), page
    words = " ".join(page.split())
    assert f"{first.label}: on node2 since" in words
    assert "attempt 2 (before: its node failed)" in words
    assert f"{second.label}: waits for job 7 of SLURM" in words
    assert f"{third.label}: memory on node3: too big" in words
    unknown = CliRunner().invoke(program, ["status", "yours"]).exception
    assert "no run 'yours'. Known: mine." in str(unknown)


def toys() -> dict[str, Any]:
    return {
        "datasets": ["toy-data"],
        "classifiers": ["toy-net"],
        "generators": ["toy"],
        "reference": "toy-net",
    }
