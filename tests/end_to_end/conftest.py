"""The program, called as a user calls it, and one finished run that all workers of pytest share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from genbench import cli
from toy_program import RUN_OF_TOYS, Program, called


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run `genbench ARGUMENTS` in an empty folder; keywords but `store` are environment variables."""

    def run(*arguments: str, store: str = "store", **more: str) -> subprocess.CompletedProcess[str]:
        return called(tmp_path, *arguments, store=store, **more)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """The same within this process, which has imported everything: for commands that start no workers."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, store: str = "store", **more: str) -> subprocess.CompletedProcess[str]:
        for name, value in {"GENBENCH_STORE": str(tmp_path / store), **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["genbench", *arguments])
        capsys.readouterr()
        code = cli._called()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two workers: made by whoever comes first, for all of xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "finished-run"
    with filelock.FileLock(shared / "finished-run.lock"):
        if not (folder / "stderr").is_file():
            folder.mkdir(exist_ok=True)
            done = called(folder, *RUN_OF_TOYS, "--jobs", "2")
            assert done.returncode == 0, done.stderr
            (folder / "stdout").write_text(done.stdout)
            (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Lay `store` and `out` of `RUN_OF_TOYS` into this test's folder; return what the run printed."""
    for name in ("store", "out"):
        shutil.copytree(_finished / name, tmp_path / name, symlinks=True)
    texts = [(_finished / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(RUN_OF_TOYS, 0, *texts)
