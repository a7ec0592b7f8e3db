"""Steps as tasks of a Ray cluster: four nodes on this machine, shared by all tests of this module."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from genbench.cli import program
from genbench.errors import UsageError
from genbench.executors import Event, Executor, Needs, Setup, Task
from genbench.executors.making import engine_named, make_executor
from genbench.executors.on_ray.config import RayConfig
from genbench.executors.probe import TARGET
from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.registry import PluginSource, Registry
from genbench.runner import Observer, RunSummary, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.testing.executor_checks import Watched, task
from genbench.testing.suites import ExecutorConformance
from genbench.worker import RunOptions

pytest.importorskip("ray", reason="needs ray: pip install 'genbench[ray]'")

_TOY_PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
_SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
_MANY_BYTES = 100 * 2**30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that takes no steps, and three more nodes of one core; nothing of it is left in the end."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray")  # a short name: sockets are in it
    Path("/tmp/ray").mkdir(exist_ok=True)  # where a cluster notes its address, whatever its folder is
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "disabled")  # else a token is left in the home folder
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {**_SMALL, "num_cpus": 0, "include_dashboard": False, "temp_dir": folder}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(3):
            made.add_node(**_SMALL)
        ray.init(address=made.address, log_to_driver=False, configure_logging=False, logging_level="ERROR")
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    until = time.monotonic() + 30
    while left := [words for _, words in _processes() if folder in words]:
        assert time.monotonic() < until, f"left running: {left}"
        time.sleep(0.2)


def _processes() -> Iterator[tuple[int, str]]:
    """Yield number and command line of all processes."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(entry.parent.name), entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")


@contextlib.contextmanager
def watching(**fields: Any) -> Iterator[Watched]:
    """Build the executor on the cluster that is there."""
    engine = engine_named(Registry(PluginSource(third_party=False)), "ray")
    executor: Executor = make_executor(engine, Setup(TARGET, {"greeting": "from the settings"}, **fields))
    try:
        yield Watched(executor)
    finally:
        executor.close()


def needing(name: str, do: str, **needs: Any) -> Task:
    """Return a task of the probe that needs something."""
    return Task(name, {"do": do, "names": ["CUDA_VISIBLE_DEVICES"], "greeting": ""}, Needs(**needs))


# ------------------------------------------------------------ every engine


@pytest.mark.usefixtures("cluster")
class TestRay(ExecutorConformance):
    component = "ray"


# ------------------------------------------------------------ this engine


@pytest.mark.usefixtures("cluster")
def test_progress_comes_soon_and_not_once_a_step() -> None:
    with watching() as watched:
        watched.finish([task("a", "count", total=20_000)])
        told = watched.of("a", "progress")
        assert told[-1].done == 20_000
        assert len(told) < 200  # a call for each would be 20,000
        watched.submit([task("b", "wait")])
        watched.until(lambda: watched.of("b", "started"), "start")
        began = time.monotonic()
        watched.until(lambda: watched.has_begun("b"), "progress")
        assert time.monotonic() - began < 5  # a quarter of a second, on a machine that is not busy


def test_a_step_waits_for_a_gpu_until_a_machine_with_one_joins(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genbench.executors.on_ray.executor._LOOK_SECONDS", 0.3)
    with watching() as watched:
        watched.submit([needing("a", "look", gpus=1)], [task("b")])
        watched.until(lambda: watched.of("a", "queued"), "word of what is waited for")
        (waits,) = watched.of("a", "queued")
        assert waits.note == "waits for a machine with a GPU: of 4 in the Ray cluster, each has none"
        watched.until(lambda: watched.last("b"), "end of a step that needs none")
        assert not watched.of("a", "started")
        node = cluster.add_node(**_SMALL, num_gpus=1)
        watched.until(lambda: watched.last("a"), "end of the step that waited")
        assert watched.last("a").status == "done"  # type: ignore[union-attr]
        assert watched.metrics("a")["CUDA_VISIBLE_DEVICES"] == 0  # Ray's choice
    cluster.remove_node(node)


def test_a_worker_that_runs_out_of_memory_is_told_from_a_lost_one(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:  # whatever runs there is too much
        patched.setenv("RAY_memory_usage_threshold", "0.001")
        node = cluster.add_node(**_SMALL, memory=_MANY_BYTES)
    with watching(retries=2) as watched:
        watched.finish([needing("a", "wait", memory_bytes=_MANY_BYTES // 2)])
        failure = watched.failure("a", "a task that runs out of memory")
        assert failure.kind == "memory"
        assert failure.reason == "its machine ran out of memory, and Ray ended its worker"
        assert "memory" in failure.details
        assert not watched.of("a", "retried")  # it would run out of it again
    cluster.remove_node(node)


@pytest.mark.usefixtures("cluster")
def test_every_machine_must_see_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    with watching(shared_folder=str(folder)) as watched:
        (mark,) = folder.iterdir()
        mark.unlink()  # as on a machine that has another folder there, and joined since
        watched.submit([task("a")])
        with pytest.raises(UsageError, match=r"1 of the .* machines cannot .* is another folder there"):
            watched.until(lambda: watched.last("a"), "end")
    assert not list(folder.iterdir())
    monkeypatch.setattr("genbench.__version__", "0.0.7")
    with pytest.raises(UsageError, match=r"of the cluster's .* has genbench \S+, not 0.0.7") as raised:
        watching(shared_folder=str(folder)).__enter__()
    assert "--store DIR" in raised.value.hint


# ------------------------------------------------------------ real steps


def _ran(
    executor: str, folder: Path, event: Callable[[Step, Event], None] = lambda step, event: None
) -> tuple[Plan, RunSummary]:
    store, registry = Store(folder), Registry(PluginSource(third_party=False))
    named = {"datasets": ["digits"], "generators": ["ddpm"], "classifiers": ["cnn"], "seeds": 1}
    suite = make_suite({**named, "preset": "smoke", "evaluators": ["accuracy"]}, "test")
    plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
    return plan, run(plan, store, registry, RunOptions(jobs=1, executor=executor), Observer(event=event))


@pytest.mark.slow(reason="a diffusion model and networks are trained twice")
def test_results_are_the_local_ones_though_a_node_is_killed_and_one_joins(
    cluster: Any, tmp_path: Path
) -> None:
    told: list[Event] = []

    def kill_its_node(step: Step, event: Event) -> None:
        told.append(event)
        if step.stage == "fit" and event.status == "progress" and not killed:
            pid = next(pid for pid, words in _processes() if words.startswith(f"ray::{step.label}"))
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            raylets = {one.all_processes["raylet"][0].process.pid: one for one in cluster.worker_nodes}
            cluster.remove_node(raylets[parent], allow_graceful=False)
            cluster.add_node(**_SMALL)
            killed.append(event.id)

    killed: list[str] = []
    _, found = _ran("ray", tmp_path / "ray", kill_its_node)
    again = [event for event in told if event.status == "retried"]
    assert [event.id for event in again] == killed
    assert again[0].failure is not None
    assert again[0].failure.kind == "lost"
    (ended,) = [event for event in told if event.id == killed[0] and event.is_final]
    assert (ended.status, ended.attempt) == ("done", 2)

    _, expected = _ran("inline", tmp_path / "local")
    assert _results(found) == _results(expected)
    assert len(expected.records) == 3


def _results(summary: RunSummary) -> list[str]:
    assert not summary.failed
    return sorted(json.dumps(json.loads(record.to_json())["result"]) for record in summary.records)


@pytest.mark.slow(reason="a program of its own, which is stopped, and resumes")
@pytest.mark.timeout(600)
def test_ctrl_c_saves_work_and_the_same_command_resumes(cluster: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    generator = "toy:fit_iterations=80,seconds_per_iteration=0.1"
    words = ["run", "-d", "toy-data", "-g", generator, "-c", "toy-net", "--preset", "smoke", "--seeds", "1"]
    words += ["--executor", f"ray:address={cluster.address}", "--plugin", str(_TOY_PLUGIN)]
    words += ["--checkpoint-every", "0.2", "--store", str(store), "--reference", "toy-net"]
    # Where tests run in the background, their programs are born deaf to Ctrl-C.
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    begin += "from genbench.cli import main; main()"
    command = [sys.executable, "-c", begin, *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 120
        while not list(store.glob("work/*/checkpoint*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "no checkpoint"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the same command resumes" in errors
    assert not list((store / "leases").glob("*")), "a lease is left"
    assert list(store.glob("work/*/checkpoint*"))
    # What was saved is any executor's: the last one that is named counts.
    again = CliRunner().invoke(program, [*words, "--executor", "inline", "-o", str(tmp_path / "out")])
    assert again.exit_code == 0, again.output


# ------------------------------------------------------------ without a cluster


@pytest.mark.slow(reason="a program that starts a cluster of its own")
def test_without_a_cluster_one_is_started_and_nothing_of_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["run", "-d", "digits", "-c", "mlp", "-e", "accuracy", "--preset", "smoke", "--seeds", "1"]
    command = [sys.executable, "-m", "genbench.cli", *words, "--executor", "ray", "--store", "store"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "[4/4] evaluate accuracy" in done.stderr
    assert "oken" not in done.stderr
    assert not (tmp_path / ".ray").exists()
    assert not [words for _, words in _processes() if str(tmp_path) in words]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://127.0.0.1:1", r"no Ray cluster answers at address 'ray://127.0.0.1:1': .*refused"),
        ("127.0.0.1:1", r"no Ray cluster answers at address '127.0.0.1:1'"),
        ("head", r"address is 'head', not auto, local, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_message(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RayConfig(address=address).check_machine()
    RayConfig(address="auto").check_machine()


def test_ray_is_asked_for_what_a_machine_could_have() -> None:
    from genbench.executors.on_ray.cluster import Machines

    there = Machines(count=2, cpus=6, most_cpus=4, most_gpus=1, most_memory_bytes=8e9)
    assert there.asked(Needs(cpus=2), 1.0) == {"num_cpus": 2}
    greedy = Needs(cpus=16, gpus=1, memory_bytes=10**10)
    assert there.asked(greedy, 1.0) == {"num_cpus": 4, "num_gpus": 1, "memory": 8e9}
    assert there.asked(greedy, 0.5)["num_gpus"] == 0.5
    assert there.asked(Needs(gpus=2), 0.5)["num_gpus"] == 2  # whole ones, and it waits
    shared = replace(there, most_cpus=32, most_gpus=4, cpus_per_gpu=8)  # or one step would keep four GPUs
    assert shared.asked(greedy, 1.0)["num_cpus"] == 8
    assert shared.asked(greedy, 0.1)["num_cpus"] == 1
    assert shared.asked(Needs(cpus=16), 1.0)["num_cpus"] == 16
    assert there.lacking(greedy) == ""
    assert there.lacking(Needs(gpus=2)) == (
        "waits for a machine with 2 GPUs: of 2 in the Ray cluster, each has at most 1"
    )


def test_ray_is_imported_by_those_alone_who_choose_it() -> None:
    asked = "import sys, genbench.runner, genbench.preflight, genbench.executors.making as made\n"
    asked += "from genbench.registry import *\n"
    asked += "made.engine_named(Registry(PluginSource(third_party=False)), 'ray:auto')\n"
    asked += "print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
