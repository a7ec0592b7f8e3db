"""Steps as jobs of SLURM: of a real cluster of one node where its daemons start, else of a double."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import slurm_site
from genbench.devices import choose_workers
from genbench.errors import StoreError, UsageError
from genbench.executors import Needs, Setup
from genbench.executors.making import check_engine, engine_named, jobs_elsewhere
from genbench.executors.probe import TARGET
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen, SlurmError
from genbench.executors.slurm.config import Profile, Resources, read_profile
from genbench.executors.slurm.script import ArrayOf, array_script, controller_script
from genbench.executors.slurm.session import Bye, Session, Work
from genbench.registry import Registry
from genbench.runner import _threads
from genbench.testing.suites import ExecutorConformance
from slurm_site import PATIENCE_SECONDS, PROFILE, Run, Site, eventually, jobs_at_work, task

site, run_with = slurm_site.site, slurm_site.run_with  # fixtures


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


def test_a_step_that_was_called_off_may_be_handed_over_again(run_with: Callable[..., Run]) -> None:
    run = run_with("idle_seconds = 20\n")
    for number in range(2):  # as where another run takes it, twice, and does not do it
        run.executor.submit([task("a", "wait", number=number)])
        run.until(lambda: run.told("a")[-1:] == ["progress"])
        run.executor.cancel("a")
        run.until(lambda: "a" in run.ended())
        run.events.clear()
    assert run.finish([task("a", "nothing", seconds=3.0)])["a"].status == "done"


def test_no_keys_stay_whatever_jobs_say_at_the_end(run_with: Callable[..., Run]) -> None:
    run = run_with()
    run.executor.submit([task("a", "wait")])
    run.until(lambda: run.has("a", "progress"))
    session = run.executor._session
    session.tell("0-0", Bye("it does not see the store"))
    run.executor.close()
    assert not (session.root / "setup").exists()
    eventually(lambda: not jobs_at_work())


def test_old_sessions_are_swept_up_but_for_those_that_give_a_sign_of_life(tmp_path: Path) -> None:
    work = Work(Setup(TARGET, {}), {"HF_TOKEN": "secret"}, 0.5, 0, str(tmp_path / "seen"))
    sessions = {name: Session.new(tmp_path, work) for name in ("detached", "with a job", "of a run")}
    sessions["detached"].leave()
    for session in sessions.values():
        session.expect(["0-0"])
        for place in (session.root, *session.root.rglob("*")):
            os.utime(place, (0, time.time() - 8 * 86400))
    (sessions["with a job"].root / "events" / "0-0").touch()
    sessions["of a run"].beat()
    new = Session.new(tmp_path, work)
    left = {sessions["with a job"].root, sessions["of a run"].root, new.root}
    assert set(tmp_path.glob("run-*")) == left


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
    monkeypatch.setattr("genbench.devices.torch_gpus", lambda: 0)
    assert choose_workers("cuda", 3, elsewhere=8) == ("cuda", 0, 3)
    with pytest.raises(UsageError, match="--device cuda"):
        choose_workers("cuda", 3)


@pytest.mark.parametrize("cores_here", [1, 64])
def test_what_a_cluster_is_asked_for_does_not_depend_on_the_cores_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores_here: int
) -> None:
    monkeypatch.setattr("genbench.executors.cores", lambda: cores_here)
    monkeypatch.setattr("genbench.worker.cores", lambda: cores_here)
    (tmp_path / "p.toml").write_text("most_jobs = 16\ncpus = 8\nworkers = 2\n")
    plain, engine = (engine_named(Registry(), one) for one in ("slurm", f"slurm:{tmp_path / 'p.toml'}"))
    assert jobs_elsewhere(engine_named(Registry(), "processes")) is None
    assert choose_workers("cuda", None, elsewhere=jobs_elsewhere(plain)) == ("cuda", 0, 32)
    assert choose_workers("cuda", None, elsewhere=jobs_elsewhere(engine)) == ("cuda", 0, 32)
    assert [_threads(plain, device, 1) for device in ("cpu", "cuda")] == [1, 1]
    assert [_threads(engine, device, 1) for device in ("cpu", "cuda")] == [1, 4]
    assert Profile().resources("train", Needs(_threads(plain, "cuda", 1), gpus=1)).cpus is None


def test_the_profile_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].partition("```")[0]
    place = Path(os.environ.get("TMPDIR", "/tmp")) / f"profile-{os.getpid()}.toml"
    place.write_text(example)
    try:
        assert read_profile(place).steps["evaluate"].gpus == 0
    finally:
        place.unlink()
