"""Standard error as JSON lines (`--log-format json`): docs/logs.md has every event and its fields.

Whatever else is written there meanwhile, by this process, its workers or a library, becomes a line of its
own: who reads them meets nothing but JSON.
"""

import contextlib
import json
import logging
import math
import os
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, TextIO

from genbench import __version__
from genbench.cli._stray_lines import StrayLines
from genbench.errors import ExitCode
from genbench.escaping import LONGEST_MESSAGE, exception_text, shortened, writable

SCHEMA = 1  #: raised where a field goes or changes its meaning; not where one is added
Level = Literal["info", "warning", "error"]

#: Fields of every line; within a run, `run` is its id.
COMMON = ("time", "level", "event", "message")
#: Further fields of every event about a step.
OF_STEPS = ("key", "label", "stage", "seed", "host", "attempt")
#: Every event: when it is told, and its own fields.
EVENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "program_started": ("the first line", ("schema", "version", "arguments", "process")),
    "run_started": (
        "before the first step of a run",
        (
            *("suite", "command", "host", "process", "version", "store", "executor", "device", "jobs"),
            *("cells", "steps", "missing"),
        ),
    ),
    "step_queued": ("a step could run, and waits for something: a GPU, memory", ("note",)),
    "step_started": ("a worker began it", ()),
    "step_progress": ("how far it is, once a second at most", ("done", "total", "metrics")),
    "step_retried": ("its worker was lost; the attempt named follows", ("reason",)),
    "step_found": ("another run made its result meanwhile", ()),
    "step_done": ("its result is in the store", ("seconds",)),
    "step_failed": ("it failed; what needs it is given up", ("seconds", "reason", "log")),
    "step_interrupted": ("its worker was told to stop", ("seconds",)),
    "waiting": ("nothing was told for a minute", ("steps_done", "steps", "running")),
    "notice": ("a remark for whoever started the run", ()),
    "warning": ("a warning of Python, or of a library's logger", ("category", "where")),
    "output": ("a line that anything else wrote to standard error", ()),
    "run_finished": (
        "after the last step of a run",
        ("status", "reason", "seconds", "steps_done", "steps_failed", "evaluations", "evaluations_failed"),
    ),
    "written": ("results were written", ("folder", "records", "headline")),
    "exit": ("the last line", ("exit_code", "error", "hint", "traceback")),
}


class JsonLog:
    """Writes events as lines. A reader that leaves, or a full disk, ends the log and not the run.

    Attributes:
        run: Id of the run that lines are about; empty outside of one.
    """

    def __init__(self) -> None:
        self.run = ""
        self._lock, self._is_lost = threading.Lock(), False
        self._error: dict[str, str] = {}
        self._stray = StrayLines(lambda line: self.tell("output", shortened(line, LONGEST_MESSAGE)))

    def tell(self, event: str, message: str, level: Level = "info", **fields: Any) -> None:
        """Write an event; `fields` are those of `EVENTS`."""
        about = {"run": self.run} if self.run else {}
        line = _plain({"level": level, "event": event, **about, "message": message, **fields})
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            text = json.dumps({"time": now, **line}, allow_nan=False)
            if self._is_lost:
                return
            try:
                self._stray.out.write(f"{text}\n")
                self._stray.out.flush()
            except (OSError, ValueError):
                self._is_lost = True

    def fails(self, error: str, message: str, hint: str = "", details: str = "") -> None:
        """Note why the program is about to end: the last line says it."""
        self._error = {"error": error, "message": message, "hint": hint, "traceback": details}

    def exit(self, code: int) -> None:
        """Write the last line; standard error is what it was."""
        self._stray.give_back()
        self.run = ""
        said = "some cells failed" if code == ExitCode.CELLS_FAILED else f"exit {code}"
        why = {"message": said, "error": "", "hint": "", "traceback": "", **self._error}
        self.tell("exit", level="error" if code else "info", exit_code=int(code), **why)

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Write a warning of Python: it stands for `warnings.showwarning`."""
        where = f"{filename}:{lineno}"
        self.tell("warning", str(message), "warning", category=category.__name__, where=where)


class _Handler(logging.Handler):
    """Writes what libraries log and nobody handles: it stands for `logging.lastResort`."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        where = f"{record.pathname}:{record.lineno}"
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.tell("warning", record.getMessage(), level, category=record.name, where=where)


_State: dict[str, JsonLog] = {}  #: standard error is one for the process


def active() -> JsonLog | None:
    """Return the log, if standard error is one."""
    return _State.get("log")


def tell(event: str, message: str, **fields: Any) -> None:
    """Write an event, if standard error is a log."""
    log = active()
    if log is not None:
        log.tell(event, message, **fields)


def wants_json(arguments: Sequence[str]) -> bool:
    """Say whether a command line asks for JSON, before it is parsed: its mistakes are lines, too.

    >>> wants_json(["run", "--log-format", "json"]), wants_json(["run", "--log-format=text"])
    (True, False)
    """
    asked = [*arguments[: arguments.index("--")]] if "--" in arguments else list(arguments)
    said = [next_one for word, next_one in pairwise(asked) if word == "--log-format"]
    said += [word.partition("=")[2] for word in asked if word.startswith("--log-format=")]
    return said[-1:] == ["json"]


@contextlib.contextmanager
def standard_error(arguments: Sequence[str]) -> Iterator[None]:
    """Make standard error a log within, if a command line asks for that; `ended` writes its last line."""
    if not wants_json(arguments):
        yield
        return
    for library in ("HF_HUB", "HF_DATASETS"):
        os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
    log = _State["log"] = JsonLog()
    before = warnings.showwarning, logging.lastResort
    warnings.showwarning, logging.lastResort = log.warn, _Handler(log)
    log.tell(
        "program_started",
        f"genbench {' '.join(arguments)}",
        schema=SCHEMA,
        version=__version__,
        arguments=list(arguments),
        process=os.getpid(),
    )
    code = int(ExitCode.CELLS_FAILED)
    try:
        yield
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        raise
    except BaseException as problem:  # a mistake of ours: its traceback is no JSON
        details = "".join(traceback.format_exception(problem))
        log.fails(type(problem).__name__, exception_text(problem), details=details)
        raise SystemExit(code) from None
    finally:
        warnings.showwarning, logging.lastResort = before
        log.exit(code)
        del _State["log"]


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it: no NaN, no half characters."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, Mapping):
        return {writable(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | None) else writable(value)
