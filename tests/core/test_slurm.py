"""Steps as jobs of SLURM: of a real cluster of one node where its daemons start, else of a double."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import slurm_cluster
import slurm_double
from genbench.cli import program
from genbench.devices import choose_workers
from genbench.errors import StoreError, UsageError
from genbench.executors import Event, Needs, Setup, Task
from genbench.executors.failures import Failure
from genbench.executors.making import check_engine, engine_named, is_here
from genbench.executors.probe import TARGET
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen, SlurmError
from genbench.executors.slurm.config import Profile, Resources, SlurmConfig, read_profile
from genbench.executors.slurm.engine import SlurmExecutor
from genbench.executors.slurm.script import ArrayOf, array_script, controller_script
from genbench.journals import Journal
from genbench.registry import Registry
from genbench.runner import run as run_here
from genbench.runs import Place, new_run, write_run
from genbench.store import Store
from genbench.suite import make_suite
from genbench.testing.suites import ExecutorConformance
from genbench.worker import RunOptions
from toy_program import TOYS
from toy_suites import toy_plan

PATIENCE_SECONDS = 90.0
PROFILE = """\
partition = "low"
time = "00:05:00"
memory_gib = 0.5
poll_seconds = 0.5
idle_seconds = 0.5
"""


@dataclass
class Site:
    """Where jobs run in these tests.

    Attributes:
        is_real: Whether that is a cluster.
        preempt: Takes the node of a job away for a moment, given the job's number.
        why_not: Why it is not real.
    """

    is_real: bool
    preempt: Callable[[str], None]
    why_not: str = ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("SLURM_", "SBATCH_"))]:
            patch.delenv(name)
        why_not = slurm_cluster.lacking()
        if os.environ.get("GENBENCH_TEST_SLURM") == "double":
            why_not = "GENBENCH_TEST_SLURM=double"
        if not why_not:
            try:
                with slurm_cluster.cluster() as cluster:
                    for name, value in cluster.environment.items():
                        patch.setenv(name, value)
                    yield Site(True, _preempt)
                return
            except slurm_cluster.NotStartedError as problem:
                why_not = str(problem)
        folder = tmp_path_factory.mktemp("double")
        for name, value in slurm_double.install(folder).items():
            patch.setenv(name, value)
        yield Site(False, lambda job: slurm_double.preempt(folder / "state", job), why_not)
        commands.scancel([one.id for one in commands.queue() if not one.is_over])


def _preempt(job: str) -> None:
    """Submit a job that takes the whole node, for a moment."""
    script = "#!/bin/bash\n#SBATCH --partition=high\n#SBATCH --exclusive\n#SBATCH -o /dev/null\nsleep 1\n"
    commands.sbatch(script, commands.job_environment({**os.environ}))


@pytest.fixture
def run_with(site: Site, tmp_path: Path) -> Iterator[Callable[..., "Run"]]:
    """Build executors of the probe, with lines of a profile and fields of the setup."""
    made: list[Run] = []

    def make(lines: str = "", *, shared: bool = False, **fields: Any) -> Run:
        (tmp_path / "profile.toml").write_text(PROFILE + f'folder = "{tmp_path}/jobs"\n' + lines)
        read_profile.cache_clear()
        folder = str(tmp_path / "shared") if shared else ""
        setup = Setup(TARGET, {"greeting": ""}, shared_folder=folder, **fields)
        made.append(Run(SlurmExecutor(SlurmConfig(profile=tmp_path / "profile.toml"), setup)))
        return made[-1]

    yield make
    for one in made:
        one.executor.close()


class Run:
    """An executor, and what it told."""

    def __init__(self, executor: SlurmExecutor) -> None:
        self.executor = executor
        self.events: list[Event] = []

    def until(self, is_reached: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_reached():
            assert time.monotonic() < end, [(one.id, one.status, one.note) for one in self.events]
            self.events += self.executor.events(0.1)

    def finish(self, *bundles: list[Task]) -> dict[str, Event]:
        for bundle in bundles:
            self.executor.submit(bundle)
        names = {task.id for bundle in bundles for task in bundle}
        self.until(lambda: names <= self.ended().keys())
        return self.ended()

    def ended(self) -> dict[str, Event]:
        return {one.id: one for one in self.events if one.is_final}

    def told(self, name: str) -> list[str]:
        return [one.status for one in self.events if one.id == name and one.status != "queued"]

    def has(self, name: str, status: str) -> bool:
        return any(one.id == name and one.status == status for one in self.events)


def task(name: str, do: str = "nothing", needs: Needs | None = None, **asked: Any) -> Task:
    return Task(name, {"do": do, **asked}, needs or Needs(), label=name, kind="train")


def jobs_at_work() -> list[str]:
    return [one.id for one in commands.queue() if one.state == "RUNNING" and one.name == "genbench-train"]


def test_these_tests_ran_on_a_cluster(site: Site) -> None:
    if not site.is_real:
        pytest.skip(f"no cluster here, a double of its commands instead: {site.why_not}")
    assert (
        "slurm" in subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.slow(reason="starts some twenty jobs")
class TestConformance(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _at(self, site: Site) -> None:
        """The cluster is there first."""

    def reference(self, folder: Path) -> str:
        profile = folder / "profile.toml"
        profile.write_text(PROFILE + f'folder = "{folder}/jobs"\n')
        return f"slurm:{profile}"


# ----------------------------------------------------------------------------------- jobs and steps


def test_a_job_that_is_cancelled_fails_its_step_alone(run_with: Callable[..., Run]) -> None:
    run = run_with()
    run.executor.submit([task("a", "wait"), task("b")])
    run.until(lambda: run.has("a", "progress"))
    commands.scancel(jobs_at_work())
    ended = run.finish([task("c")])
    run.until(lambda: {"a", "b", "c"} <= run.ended().keys())
    failure = run.ended()["a"].failure
    assert failure is not None
    assert failure.kind == "cancelled"
    assert "was cancelled (scancel)" in failure.reason
    assert ended["c"].status == run.ended()["b"].status == "done"


def test_preempted_and_timed_out_steps_save_and_go_on(site: Site, run_with: Callable[..., Run]) -> None:
    run = run_with()
    run.executor.submit([task("a", "wait"), task("b")])
    run.until(lambda: run.has("a", "progress"))
    site.preempt(jobs_at_work()[0])
    run.until(lambda: run.has("a", "retried"))
    (again,) = [one for one in run.events if one.status == "retried"]
    assert again.attempt == 2
    assert again.failure is not None
    assert again.failure.reason == "its job was preempted; its work is saved"
    run.until(lambda: run.told("a")[-1] == "progress")
    commands.scancel(jobs_at_work(), "--signal=USR2", "--batch")  # what SLURM sends before the time is over
    run.until(lambda: run.told("a").count("retried") == 2)
    second = [one for one in run.events if one.status == "retried"][1]
    assert second.failure is not None
    assert second.failure.reason == "its time ended; its work is saved"
    run.until(lambda: run.told("a")[-1] == "progress")
    run.executor.cancel("a")
    run.until(lambda: "a" in run.ended() and "b" in run.ended())
    assert run.ended()["a"].attempt == 3
    assert run.ended()["b"].status == "done"


def test_a_job_that_is_preempted_while_its_run_closes_saves_all_the_same(
    run_with: Callable[..., Run],
) -> None:
    run = run_with()
    run.executor.submit([task("a", "wait")])
    run.until(lambda: run.has("a", "progress"))
    session = run.executor._session
    place = b"genbench.executors.slurm.job\0" + os.fsencode(session.root)
    found = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if place in path.read_bytes()]
    (job,) = [int(path.name) for path in found if (path / "comm").read_text() != "srun"]
    os.kill(job, signal.SIGSTOP)
    session.ask_to_stop("close")
    os.kill(job, signal.SIGTERM)
    os.kill(job, signal.SIGCONT)
    end = time.monotonic() + PATIENCE_SECONDS
    while not (saved := [one.saved for one in session.claims("0-0") if one.saved]):
        assert time.monotonic() < end, [vars(one) for one in session.claims("0-0")]
        time.sleep(0.2)
    assert saved == ["its job was preempted; its work is saved"]


def test_requeues_have_a_limit(run_with: Callable[..., Run]) -> None:
    run = run_with("requeues = 0\n")
    run.executor.submit([task("a", "wait")])
    run.until(lambda: run.has("a", "progress"))
    commands.scancel(jobs_at_work(), "--signal=USR2", "--batch")
    run.until(lambda: "a" in run.ended())
    failure = run.ended()["a"].failure
    assert failure is not None
    assert (failure.kind, failure.reason) == ("lost", "its time ended; its work is saved")


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("OUT_OF_MEMORY", "memory", "more memory than it had asked for"),
        ("TIMEOUT", "timeout", "time limit was reached before it could save"),
        ("NODE_FAIL", "lost", "its node failed"),
        ("", "lost", "does not know it any more"),
    ],
)
def test_the_state_of_a_lost_job_says_how_its_step_failed(
    run_with: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, state: str, kind: str, words: str
) -> None:
    run = run_with()
    run.executor.submit([task("a", "wait")])
    run.until(lambda: run.has("a", "progress"))
    (job,) = jobs_at_work()
    array, _, index = job.partition("_")
    shown = [Seen(job, array, index, state)] if state else []
    monkeypatch.setattr("genbench.executors.slurm.engine._FORGOTTEN_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(commands, "queue", lambda states="all": shown)
        run.until(lambda: "a" in run.ended())
    commands.scancel([job])
    failure = run.ended()["a"].failure
    assert failure is not None
    assert failure.kind == kind
    assert words in failure.reason


def test_many_short_steps_are_few_jobs(run_with: Callable[..., Run]) -> None:
    before = {one.id for one in commands.queue()}
    run = run_with("most_jobs = 2\n")
    ended = run.finish(*([task(f"t{number}")] for number in range(30)))
    assert {one.status for one in ended.values()} == {"done"}
    assert len({one.id for one in commands.queue()} - before) == 2
    # Of a minute each, all of them are worth one job.
    before = {one.id for one in commands.queue()}
    known = run_with("job_seconds = 600\n")
    known.finish(*([task(f"k{number}", needs=Needs(seconds=20.0))] for number in range(30)))
    assert len({one.id for one in commands.queue()} - before) == 1


def test_a_run_that_leaves_finds_its_jobs_again(run_with: Callable[..., Run]) -> None:
    first = run_with('on_interrupt = "detach"\n')
    first.executor.submit([task("a", "wait", seconds=6.0)])
    first.until(lambda: first.has("a", "progress"))
    before = {one.id for one in commands.queue()}
    first.executor.stop(1.0)
    first.executor.close()
    assert jobs_at_work()
    second = run_with()
    ended = second.finish([task("a", "wait", seconds=6.0)])
    assert second.told("a")[0] == "started"
    assert ended["a"].status == "done"
    assert ended["a"].attempt == 1
    assert {one.id for one in commands.queue()} == before
    first.executor.close = lambda: None  # type: ignore[method-assign] - the session is the second one's


def test_a_folder_that_is_not_shared_is_one_error(run_with: Callable[..., Run], tmp_path: Path) -> None:
    run = run_with(shared=True)
    (mark,) = (tmp_path / "shared").glob(".slurm-*")
    mark.unlink()
    with pytest.raises(
        StoreError, match=r"does not see .*shared.*: the store must be in a folder that all nodes"
    ):
        run.finish([task("a")])


def test_a_job_that_cannot_begin_says_why(run_with: Callable[..., Run]) -> None:
    run = run_with('python = "/nowhere/python"\n')
    with pytest.raises(SlurmError, match=r"(?s)could not begin: .*/nowhere/python.*No such file"):
        run.finish([task("a")])
    refused = run_with('[steps.train]\npartition = "nowhere"\n')
    with pytest.raises(SlurmError, match=r"sbatch: .*nvalid partition"):
        refused.finish([task("a")])


# -------------------------------------------------------------------------------------- the profile


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("particion = 1", r"unknown option 'particion'. Did you mean partition or"),
        ("[steps.trian]\ngpus = 1", r"unknown kind of step 'trian'. Did you mean train\?"),
        ("[steps.train]\ngpu = 1", r"Did you mean gpus\?"),
        ('time = "2 hours"', r"option 'time' is '2 hours': use SLURM's notation"),
        ('options = ["--array=1-5"]', "genbench sets --array itself"),
        ("cpus = 0", "option 'cpus' is 0: .*greater than or equal to 1"),
        ("cpus = [", "cannot read profile"),
    ],
)
def test_a_wrong_profile_is_told_before_anything_runs(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    engine = engine_named(Registry(), f"slurm:profile={path}")
    with pytest.raises(UsageError, match=message):
        check_engine(Registry(), engine)


def test_without_slurm_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="executor slurm: no command sbatch on this machine"):
        check_engine(Registry(), engine_named(Registry(), "slurm"))


def test_a_profile_says_what_each_kind_of_step_asks_for(tmp_path: Path) -> None:
    profile = Profile(
        partition="gpu",
        time="04:00:00",
        gpus="a100:1",
        steps={"evaluate": Resources(gpus=0, partition="cpu")},
    )
    needs = Needs(cpus=4, memory_bytes=3 * 2**30)
    train, evaluate = profile.resources("train", needs), profile.resources("evaluate", Needs())
    assert (train.partition, train.gpus, train.cpus, train.memory_gib) == ("gpu", "a100:1", 4, 3.0)
    assert (evaluate.partition, evaluate.gpus, evaluate.time) == ("cpu", 0, "04:00:00")
    setup = train.model_copy(
        update={"modules": ("cuda/12",), "setup": ("ulimit -n 4096",), "options": ("--nice",)}
    )
    script = array_script(profile, setup, ArrayOf(3, "pool", "train", 5), tmp_path / "a b", "note")
    for line in (
        "#SBATCH --array=0-4", "#SBATCH --gres=gpu:a100:1", "#SBATCH --mem=3072M", "#SBATCH --nice",
        "#SBATCH --signal=B:USR2@120", "#SBATCH --cpus-per-task=4", "module load cuda/12", "ulimit -n 4096",
    ):  # fmt: skip
        assert f"{line}\n" in script
    assert "gres" not in array_script(profile, evaluate, ArrayOf(0, "p", "evaluate", 1), tmp_path, "")
    controller = controller_script(profile, ["genbench", "run"], tmp_path, tmp_path / "log", "name", "note")
    assert "#SBATCH --cpus-per-task=1\n" in controller
    assert "gres" not in controller
    for text in (script, controller):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_gpus_of_a_cluster_need_not_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_here(engine_named(Registry(), "slurm"))
    assert is_here(engine_named(Registry(), "processes"))
    monkeypatch.setattr("genbench.devices.torch_gpus", lambda: 0)
    assert choose_workers("cuda", 3, is_here=False) == ("cuda", 0, 3)
    with pytest.raises(UsageError, match="--device cuda"):
        choose_workers("cuda", 3)


def test_the_profile_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].partition("```")[0]
    place = Path(os.environ.get("TMPDIR", "/tmp")) / f"profile-{os.getpid()}.toml"
    place.write_text(example)
    try:
        assert read_profile(place).steps["evaluate"].gpus == 0
    finally:
        place.unlink()


# ---------------------------------------------------------------------------------------------- detached runs


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
            assert all(one.is_over for one in commands.queue() if "far" in one.name or "fit" in one.name)
    assert await_status("far", lambda found: [found])[0]["state"] == "stopped"
    assert list((tmp_path / "store").glob("work/*/checkpoint*"))
    assert not list((tmp_path / "store" / "leases").glob("*"))


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
