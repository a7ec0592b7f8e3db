"""Which device a run takes, which GPU a worker sees, its threads, and how float32 is computed there."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from genbench import devices
from genbench.cli import doctor_command
from genbench.cli._output import warn
from genbench.devices import Workers, choose_workers
from genbench.errors import UsageError
from genbench.executors import Setup, Task, cores
from genbench.executors.config import ProcessesConfig
from genbench.executors.processes import ProcessExecutor
from genbench.steps.provenance import choose_arithmetic, hardware, tf32
from genbench.worker import _further_devices, worker_environments, worker_threads


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine whose driver sees some GPUs, of which torch can use some."""

    def make(driver: int, usable: int, cuda: str | None = "13.0") -> None:
        monkeypatch.setattr(devices, "driver_gpus", lambda: driver)
        monkeypatch.setattr(doctor_command, "driver_gpus", lambda: driver)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: usable)
        monkeypatch.setattr(torch.version, "cuda", cuda)

    return make


# ------------------------------------------------------------------------------------------------- choosing


def test_auto_takes_every_gpu_that_torch_can_use(machine: Any) -> None:
    machine(driver=4, usable=4)
    assert choose_workers("auto", None) == choose_workers("cuda", None) == Workers("cuda", 4, 4)
    assert choose_workers("cuda", 6) == Workers("cuda", 4, 6)
    assert choose_workers("cpu", None) == Workers("cpu", 0, cores())


def test_auto_does_without_a_gpu_that_torch_cannot_use(
    machine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(driver=2, usable=0, cuda=None)
    assert choose_workers("auto", None, warn) == Workers("cpu", 0, cores())
    assert (
        f"sees 2 GPU(s), but torch {torch.__version__} is built for the CPU alone" in capsys.readouterr().err
    )
    machine(driver=0, usable=0)
    assert choose_workers("auto", 3, warn) == Workers("cpu", 0, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("driver", "cuda", "reason"),
    [
        (0, "13.0", "no NVIDIA driver, or none that sees a GPU"),
        (1, None, "is built for the CPU alone"),
        (1, "13.0", "built for CUDA 13.0, cannot use them"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_message(
    driver: int, cuda: str | None, reason: str, machine: Any
) -> None:
    machine(driver=driver, usable=0, cuda=cuda)
    with pytest.raises(UsageError, match=f"--device cuda: .*{reason}") as raised:
        choose_workers("cuda", None)
    assert "--device cpu" in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("command", ["run", "tune"])
def test_nothing_runs_before_the_device_is_settled(command: str, tmp_path: Any, machine: Any) -> None:
    from genbench.cli import program

    machine(driver=0, usable=0)
    arguments = [
        command,
        "-c",
        "mlp",
        "--preset",
        "smoke",
        "--device",
        "cuda",
        "--store",
        str(tmp_path / "s"),
    ]
    done = CliRunner().invoke(program, arguments)
    assert isinstance(done.exception, UsageError)
    assert not list((tmp_path / "s").glob("logs/*"))


@pytest.mark.parametrize(
    ("driver", "usable", "mark", "finding"),
    [
        (2, 2, "ok ", "2 CUDA device(s)"),
        (2, 0, "BAD", "the driver sees 2 GPU(s), but torch"),
        (0, 0, "ok ", "cpu, "),
    ],
)
def test_the_doctor_says_whether_torch_can_use_what_the_driver_sees(
    driver: int, usable: int, mark: str, finding: str, machine: Any
) -> None:
    machine(driver=driver, usable=usable, cuda=None)
    lines = CliRunner().invoke(doctor_command.command, ["--no-plugins"]).output.splitlines()
    assert any(line.startswith(f"{mark} device") and finding in line for line in lines), lines


# -------------------------------------------------------------------------------------------------- workers


def test_workers_share_out_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert worker_environments(0) == worker_environments(1) == ()
    assert [one["CUDA_VISIBLE_DEVICES"] for one in worker_environments(3)] == ["0", "1", "2"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in worker_environments(3, 7)] == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7f")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in worker_environments(2)] == ["5", "GPU-7f"]


def test_fewer_workers_than_gpus_share_them_out_and_compute_on_their_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in worker_environments(4, 1)] == ["0,1,2,3"]
    shared = worker_environments(5, 2)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in shared] == ["0,2,4", "1,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shared[0]["CUDA_VISIBLE_DEVICES"])
    assert _further_devices("cpu") == ()
    helpers = _further_devices("cuda")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in helpers] == ["2", "4"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert _further_devices("cuda") == ()


def test_threads_are_shared_out_where_the_gpu_does_the_work() -> None:
    assert worker_threads("cpu", 1) == worker_threads("cpu", 8) == 1
    assert worker_threads("cuda", 1) == cores()
    assert worker_threads("cuda", 2 * cores()) == 1


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessExecutor]:
    """Three workers on two made-up GPUs, with two threads each."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    setup = Setup("worker_probe:make_probe", {}, threads=2, environments=worker_environments(2), jobs=3)
    made = ProcessExecutor(ProcessesConfig(), setup)
    yield made
    made.close()


def ask(executor: ProcessExecutor, payloads: list[str]) -> list[str]:
    """Give each payload to a worker of its own; return why each failed."""
    for number, payload in enumerate(payloads):
        executor.submit([Task(f"{payload}{number}", payload)])
    reasons: list[str] = []
    while len(reasons) < len(payloads):
        reasons += [event.failure.reason for event in executor.events(0.2) if event.failure is not None]
    return reasons


def test_a_worker_sees_its_gpu_and_its_threads_and_so_does_its_successor(executor: ProcessExecutor) -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6"  # ours is as it was
    before = [json.loads(reason) for reason in ask(executor, ["look"] * 3)]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in before) == ["5", "5", "6"]
    assert {(one["OMP_NUM_THREADS"], one["threads"]) for one in before} == {("2", 2)}
    assert "ended without a word" in ask(executor, ["die"])[0]
    after = [json.loads(reason) for reason in ask(executor, ["look"] * 3)]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in after) == ["5", "5", "6"]


# ----------------------------------------------------------------------------------------------- arithmetic


def test_float32_is_float32_on_a_gpu_and_the_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    facts = hardware.__wrapped__
    assert tf32() == facts("cuda")["tf32"] == "convolutions"
    choose_arithmetic()
    assert tf32() == facts("cuda")["tf32"] == "off"
    assert "tf32" not in facts("cpu")
