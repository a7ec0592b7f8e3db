"""The program itself: its names, how wide it prints, and what it says while it works."""

import logging
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from genbench import __version__, terminal
from genbench.cli import COMMANDS, program
from genbench.cli._progress import Lines
from genbench.errors import UsageError
from genbench.executors import Event, Failure
from genbench.steps.remarks import keep_remarks, noted_in


def said(*arguments: str, width: int = 120) -> str:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(program, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_version_in_every_way() -> None:
    assert said("--version") == said("version") == f"{__version__}\n"
    line = [sys.executable, "-m", "genbench", "--version"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == f"{__version__}\n"


def test_a_mistyped_command_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no command 'rnu'. Did you mean run\? Known: .*doctor") as found:
        said("rnu", "-g", "ddpm")
    assert found.value.hint == "genbench --help"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_text_for_the_shell(shell: str) -> None:
    text = said("completion", shell)
    assert f"_GENBENCH_COMPLETE={shell}_complete" in text
    assert "genbench" in text


def test_a_suite_is_shown_without_its_data() -> None:
    page = said("show", "suite", "cifar10-paper")
    assert "Arms B to F on CIFAR-10 at the settings that one would publish: hours on a GPU" in page
    assert "40 cells, " in page
    assert "declares 2 contrasts with real images alone" in page
    assert "ddpm:epochs=100, +1.0x strong" in page
    with pytest.raises(UsageError, match=r"no suite 'digits-quik'.* Did you mean digits-quick\?"):
        said("show", "suite", "digits-quik")


def test_it_is_said_which_dataset_is_taken_where_none_is_named() -> None:
    told = " ".join(said("plan", "-c", "mlp").split())
    assert "note: no dataset was named: digits:few trains on so few images that there is something" in told
    assert "optimizer steps" in told  # how much there is to do is known though nothing was loaded yet
    assert "no dataset was named" not in said("plan", "-c", "mlp", "-d", "digits")


PAGES = (
    ["list"],
    ["show", "generator", "ddpm"],
    ["show", "suite", "digits-quick"],
    ["doctor", "--no-plugins"],
    ["plan", "digits-quick", "--budget", "1h"],
    ["leaderboard", str(Path(__file__).parents[2] / "leaderboard" / "records" / "cifar10-cnn")],
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page[0])
def test_pages_fit_from_60_columns_up_and_break_no_word(page: list[str]) -> None:
    whole = said(*page, width=160)
    for width in (60, 100):
        text = said(*page, width=width)
        too_long = [line for line in text.splitlines() if len(line) > width and not is_one_word(line)]
        assert too_long == []
        assert words(text) - words(whole) == set(), "a word was cut"


def is_one_word(line: str) -> bool:
    """Say whether a line could not have been broken: a path, a formula, or a command that one copies."""
    is_path = line.rsplit(maxsplit=1)[-1].startswith("/")
    return len(line.split()) < 2 or is_path or line.startswith(("  genbench ", "genbench ", "      "))


def words(text: str) -> set[str]:
    """Return the words of sentences; names may be folded at their signs, and boxes are drawn otherwise."""
    return {word for word in text.split() if word.isalpha()}


def test_published_markdown_does_not_depend_on_the_terminal(tmp_path: Path) -> None:
    board = PAGES[-1]
    for width in (60, 160):
        said(*board, "-o", str(tmp_path / f"{width}.md"), width=width)
    assert (tmp_path / "60.md").read_bytes() == (tmp_path / "160.md").read_bytes()
    assert (tmp_path / "60.md").read_text().startswith("# Leaderboard\n")


FORMS = [("csv", "comparison,row,dataset,classifier"), ("json", "{\n"), ("txt", "On CIFAR-10 images with")]


@pytest.mark.parametrize(("suffix", "begin"), FORMS)
def test_a_boards_suffix_is_its_form(suffix: str, begin: str, tmp_path: Path) -> None:
    said(*PAGES[-1], "-o", str(tmp_path / f"x.{suffix}"))
    assert (tmp_path / f"x.{suffix}").read_text().startswith(begin)
    with pytest.raises(UsageError, match=r"no form of a board is called \.pdf; known are \.md, "):
        said(*PAGES[-1], "-o", str(tmp_path / "x.pdf"))


def test_the_width_is_that_of_columns_and_fixed_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal.width() == terminal.PIPED
    for columns, width in (("75", 75), ("20", 60), ("999", 160), ("no number", 120), ("²", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal.width() == width


# ------------------------------------------------------------------------------------- while it works


def plan_of(cells: int, steps: int) -> Any:
    return SimpleNamespace(cells=range(cells), steps=range(steps))


def test_the_first_minute_says_what_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines, fit = Lines(), SimpleNamespace(label="fit ddpm on digits, seed 0")
    lines.planned(range(2), plan_of(1, 2))  # type: ignore[arg-type]
    for _ in range(40):
        now[0] += 0.5
        lines.observer.waiting()
    lines.event(fit, Event("k", "started"))  # type: ignore[arg-type]
    for _ in range(70):
        now[0] += 0.5
        lines.observer.waiting()
    assert capsys.readouterr().err.splitlines() == [
        "1 cell, 2 steps: 2 to run",
        "  starting workers, which load torch: 3 s so far",
        "  starting workers, which load torch: 18 s so far",
        "  fit ddpm on digits, seed 0: 13 s so far",
        "  fit ddpm on digits, seed 0: 28 s so far",
    ]


def test_a_long_step_says_how_much_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines, fit = Lines(), SimpleNamespace(label="fit ddpm")
    lines.planned(range(1), plan_of(1, 1))  # type: ignore[arg-type]

    def tell(seconds: float, *told: Event) -> None:
        now[0] += seconds
        for event in told:
            lines.event(fit, event)  # type: ignore[arg-type]
        lines.observer.waiting()

    tell(0, Event("k", "started"))
    tell(2, Event("k", "progress", 40, 100, {"loss": 0.5}))  # it resumed: 40 steps are no pace
    tell(2)
    tell(6, Event("k", "progress", 44, 100))
    tell(9, Event("k", "progress", 45, 100))
    tell(1, Event("k", "progress", 50, 100))
    tell(20, Event("k", "progress", 1, 3))  # it counts something else
    assert capsys.readouterr().err.splitlines() == [
        "1 cell, 1 step: 1 to run",
        "  fit ddpm: 40/100, 4 s so far  loss 0.5",
        "  fit ddpm: 45/100, about 3.1 min left  loss 0.5",
        "  fit ddpm: 1/3",
    ]


def test_steps_that_others_did_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    step = SimpleNamespace(label="fit")
    with Lines() as lines:
        lines.planned(range(3), plan_of(2, 5))  # type: ignore[arg-type]
        lines.event(step, Event("k", "done", seconds=1.0))  # type: ignore[arg-type]
        lines.event(step, Event("l", "found"))  # type: ignore[arg-type]
        lines.event(step, Event("m", "found"))  # type: ignore[arg-type]
    out = capsys.readouterr().err.splitlines()
    assert out[0] == "2 cells, 5 steps: 3 to run, 2 cached or not needed"
    assert out[-1] == "2 steps not run here: another genbench did them meanwhile"
    lines = Lines()
    lines.planned(range(3), plan_of(2, 5))  # type: ignore[arg-type]
    lines.__exit__(KeyError)
    assert "not run" not in capsys.readouterr().err


def test_lines_say_what_is_waited_for_what_was_lost_and_where_a_step_ran(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, fit = Lines(), SimpleNamespace(label="fit ddpm")
    lost = Failure("its process was killed by SIGKILL", kind="lost")
    here = socket.gethostname()
    for event in (
        Event("k", "queued", note="waits for memory: about 20.0 GiB"),
        Event("k", "started", host="node7"),
        Event("k", "retried", failure=lost, host="node7", attempt=2),
        Event("k", "started", host=here, attempt=2),
        Event("k", "done", seconds=3.0, host=here, attempt=2),
        Event("l", "done", seconds=4.0, host="node7"),
    ):
        lines.event(fit, event)  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        "  fit ddpm waits for memory: about 20.0 GiB",
        "  fit ddpm on node7: its process was killed by SIGKILL; attempt 2 follows",
        "[1/0] fit ddpm  3.0 s, attempt 2",
        "[2/0] fit ddpm  4.0 s on node7",
    ]


def test_what_libraries_print_goes_into_the_log_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    keep_remarks()
    log = logging.Logger("step")
    log.addHandler(logging.FileHandler(tmp_path / "log"))
    library = logging.StreamHandler()  # as diffusers has one: made when it is imported
    with noted_in(log):
        library.emit(logging.makeLogRecord({"msg": "should be kept in float32"}))
        sys.stderr.write("no end of line")
    sys.stderr.write("outside of steps\n")
    log.handlers[0].close()
    assert capfd.readouterr().err == "outside of steps\n"
    text = (tmp_path / "log").read_text()
    for line in ("printed: should be kept in float32", "printed: no end of line"):
        assert line in text


def test_every_command_has_its_own_page() -> None:
    for name, summary in COMMANDS.items():
        page = " ".join(said(name, "--help").split())
        assert page.startswith("Usage: ")
        assert summary.split(" ")[0] in page
