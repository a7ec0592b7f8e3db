"""What is printed: no name, label or reason steers the terminal, and none fills it."""

import sys
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from genbench.cli import main
from genbench.cli._output import Styled, echo
from genbench.cli._progress import Bars, Lines
from genbench.escaping import LONGEST_MESSAGE
from genbench.executors import Event

HOSTILE = "a\x1b]0;title\x07\r\u202eb[bold]c[/bold] :smile:\nd"
SHOWN = r"a\x1b]0;title\x07 \u202eb[bold]c[/bold] :smile:"


def test_lines_stay_lines_and_style_is_ours_alone() -> None:
    @click.command()
    def command() -> None:
        echo(Styled("\x1b[31mred", bold=True), "\x1b[2J", "\nnext")

    assert CliRunner().invoke(command, color=True).output == "\x1b[1m\\x1b[31mred\x1b[0m\\x1b[2J\nnext\n"


def test_long_parts_say_how_long_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    echo("x" * 10**7, most=5)
    assert capsys.readouterr().out == "xxxxx... (10,000,000 characters)\n"


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_progress_is_one_line_of_text(kind: type[Lines], capsys: pytest.CaptureFixture[str]) -> None:
    step: Any = SimpleNamespace(label=HOSTILE)
    failure = SimpleNamespace(reason="y" * 10**7)
    event: Any = SimpleNamespace(
        id="1", status="progress", done=1, total=2, metrics={"\x1b[2J": 1.0}, host="", attempt=1
    )
    progress = kind()
    with progress:
        progress.planned([step], SimpleNamespace(cells=[], steps=[step]))  # type: ignore[arg-type]
        progress.event(step, event)
        event.status, event.failure = "failed", failure
        progress.event(step, event)
    said = capsys.readouterr().err.replace("\n", "")
    assert f"[1/1] {SHOWN}" in said
    assert "\x1b" not in said
    assert "characters)" in said
    assert len(said) < 2 * LONGEST_MESSAGE


def test_a_terminal_shows_a_few_of_many_running_steps_and_the_others_when_those_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps: list[Any] = [SimpleNamespace(label=f"step {number}") for number in range(40)]
    with Bars() as progress:
        progress.planned(steps, SimpleNamespace(cells=[], steps=steps))  # type: ignore[arg-type]
        for number, step in enumerate(steps[:30]):
            progress.event(step, Event(f"{number}", "started"))
        assert [task.description for task in progress._bars.tasks[1:]] == [f"step {n}" for n in range(12)]
        progress.event(steps[3], Event("3", "done"))
        shown = [task.description for task in progress._bars.tasks[1:]]
        assert shown == [f"step {n}" for n in range(13) if n != 3]
        assert progress._bars.tasks[0].fields["metrics"] == "29 running, 12 shown"
        for number in range(30):
            progress.event(steps[number], Event(f"{number}", "done"))
        assert progress._bars.tasks[0].fields["metrics"] == ""


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_a_step_that_is_left_to_another_run_is_no_running_one(
    kind: type[Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[Any] = [SimpleNamespace(label=f"step {number}") for number in range(2)]
    with kind() as progress:
        progress.planned(steps, SimpleNamespace(cells=[], steps=steps))  # type: ignore[arg-type]
        for number, ending in enumerate(["queued", "interrupted"]):
            progress.event(steps[number], Event(f"{number}", "started"))
            assert f"{number}" in progress._running
            progress.event(steps[number], Event(f"{number}", ending))  # type: ignore[arg-type]
            assert not progress._running
        progress.event(steps[0], Event("0", "found"))
        if isinstance(progress, Bars):
            (overall,) = progress._bars.tasks
            assert (overall.completed, overall.fields["metrics"]) == (2, "")
    said = " ".join(capsys.readouterr().err.split())
    assert "step 1 FAILED: its worker was told to stop; the same command resumes it" in said
    assert "1 step not run here: another genbench did them meanwhile" in said


def test_errors_are_escaped_and_bounded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["genbench", "run", "\x1b[2J" * 10**5, "-c", "cnn"])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert r"no suite '\x1b[2J" in said
    assert said.replace("\n", "").isprintable()
    assert len(said) < LONGEST_MESSAGE + 100
