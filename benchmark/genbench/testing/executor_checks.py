"""What is asked of executors. Every check builds one, gives it small tasks, and listens.

Whatever an engine is made of, a task ends once and every failure has its kind: a run rests on no more.
"""

import contextlib
import os
import socket
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genbench.errors import StoreUnwritableError, UsageError
from genbench.executors import Event, Executor, Setup, Task
from genbench.executors.failures import KINDS, Failure
from genbench.executors.making import make_executor
from genbench.executors.probe import HINT, TARGET
from genbench.testing.asking import Check, after
from genbench.testing.subject import Subject

PATIENCE_SECONDS = 120.0  #: for anything to happen: a cluster may have to start a worker first
_GREETING = "from the settings"
_LARGE_BYTES = 8 * 2**20
_TIMEOUT_SECONDS = 1.5
_GRACE_SECONDS = 20.0
_THREADS = 3
LATE_SECONDS = 15.0  #: of a task that shall not end by itself while a check waits for its end
CLOSING_SECONDS = 20.0  #: that a process may take to end after close()


class Watched:
    """An executor, and everything that it told."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.events: list[Event] = []

    def submit(self, *bundles: Sequence[Task]) -> None:
        """Hand over bundles as soon as there is room for each."""
        for bundle in bundles:
            self.until(lambda: self.executor.free > 0, "room for a bundle (`free` is 0)")
            self.executor.submit(list(bundle))

    def until(self, is_reached: Any, what: str) -> None:
        """Listen until something is reached."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_reached():
            assert time.monotonic() < end, f"{PATIENCE_SECONDS:g} s, and still no {what}"
            self.events += self.executor.events(0.1)

    def finish(self, *bundles: Sequence[Task]) -> dict[str, Event]:
        """Run bundles; return the last event of each task."""
        self.submit(*bundles)
        names = [task.id for bundle in bundles for task in bundle]
        self.until(lambda: all(self.last(name) for name in names), f"end of {', '.join(names)}")
        return {name: event for name in names if (event := self.last(name)) is not None}

    def last(self, name: str) -> Event | None:
        """Return how a task ended, if it has."""
        return next((event for event in self.events if event.id == name and event.is_final), None)

    def failure(self, name: str, what: str) -> Failure:
        """Return how a task failed, which it should have.

        Args:
            name: Of the task.
            what: Which kind of task that is, for people.
        """
        last = self.last(name)
        said = "has no end" if last is None else f"is {last.status}"
        assert last is not None, f"{what} {said}, not failed"
        assert last.status == "failed", f"{what} {said}, not failed"
        assert last.failure is not None, "a failed task has a `failure`"
        assert last.failure.kind in KINDS, f"{last.failure.kind!r} is no kind of failure"
        return last.failure

    def of(self, name: str, status: str) -> list[Event]:
        """Return what was told of a task."""
        return [event for event in self.events if event.id == name and event.status == status]

    def metrics(self, name: str) -> dict[str, float]:
        """Return all numbers that a task told."""
        return {key: one for event in self.of(name, "progress") for key, one in event.metrics.items()}

    def has_begun(self, name: str) -> bool:
        """Say whether a task has told its first progress."""
        return bool(self.of(name, "progress"))


@contextlib.contextmanager
def watching(subject: Subject, **fields: Any) -> Iterator[Watched]:
    """Build the executor with a setup; it is closed in the end."""
    setup = Setup(TARGET, {"greeting": _GREETING}, **{"jobs": 1, "threads": 1, **fields})
    executor = make_executor(subject.resolved, setup)
    try:
        yield Watched(executor)
    finally:
        executor.close()


def task(name: str, do: str = "nothing", **asked: Any) -> Task:
    """Return a task of the probe."""
    return Task(name, {"do": do, **asked}, label=f"task {name}")


# ------------------------------------------------------------------------------------------------ every one


def tasks_end_once(subject: Subject) -> None:
    """Each task of each bundle is begun and ended once, in any order among bundles."""
    bundles = [[task("a1"), task("a2"), task("a3")], [task("b1")], [task("c1"), task("c2")]]
    with watching(subject, jobs=2) as watched:
        ended = watched.finish(*bundles)
        watched.events += watched.executor.events(0.2)
        for name, last in ended.items():
            told = [one.status for one in watched.events if one.id == name and one.status != "queued"]
            assert told == ["started", "done"], f"of a task was told {told}, not started and done, once each"
            assert last.attempt == 1, f"attempt {last.attempt} of a task that was begun once"
            assert last.host, "an event of a task that ran says on which `host`"
            assert last.seconds >= 0, f"it took {last.seconds} s"
        known = {one.id for bundle in bundles for one in bundle}
        unknown = {event.id for event in watched.events} - known
        assert not unknown, f"events of tasks that nobody submitted: {', '.join(sorted(unknown))}"
        assert watched.executor.free > 0, "`free` is 0 though nothing runs"


@after(tasks_end_once)
def progress_is_passed_on(subject: Subject) -> None:
    """Progress arrives in order, with its numbers, before the end of its task."""
    with watching(subject) as watched:
        watched.finish([task("a", "count", total=4)])
        told = [(one.done, one.total, one.metrics.get("square")) for one in watched.of("a", "progress")]
        assert told, "progress was reported 4 times, and none arrived"
        assert told[-1] == (4, 4, 16.0), f"the last progress is {told[-1]}, not (4, 4, 16.0)"
        assert told == sorted(told), f"progress arrives out of order: {told}"
        assert watched.events[-1].is_final, "progress arrives after the end of its task"


@after(progress_is_passed_on)
def bundles_are_announced(subject: Subject) -> None:
    """A worker learns of a bundle before its first task, once, and gets it whole."""
    with watching(subject) as watched:
        watched.finish([task(name, "bundle") for name in ("a", "b", "c")])
        for name in ("a", "b", "c"):
            found = watched.metrics(name)
            assert found.get("times") == 1, f"announce() was called {found.get('times', 0):g} times"
            assert found["tasks"] == 3, f"a bundle of 3 was announced as one of {found['tasks']:g}"


@after(tasks_end_once)
def one_failure_is_one_task(subject: Subject) -> None:
    """What fails fails alone: the rest of its bundle is done."""
    with watching(subject, retries=2) as watched:
        ended = watched.finish([task("a"), task("b", "raise", what="error"), task("c")])
        states = [ended[name].status for name in "abc"]
        assert states == ["done", "failed", "done"], f"the second of a bundle fails; its tasks are {states}"
        failure = watched.failure("b", "a task that raises")
        assert failure.reason.startswith("ValueError: a mistake"), f"the reason is {failure.reason!r}"
        assert "probe.py" in failure.details, "`details` has no traceback"
        assert not watched.of("b", "retried"), "what the step itself raised must not be tried again"


@after(one_failure_is_one_task)
def failures_have_their_kind(subject: Subject) -> None:
    """What a task raises has its kind, and errors of genbench's own their class."""
    with watching(subject) as watched:
        kinds = ("error", "user", "store", "memory")
        watched.finish([task(kind, "raise", what=kind) for kind in kinds])
        for kind in kinds:
            found = watched.failure(kind, "a task that raises").kind
            assert found == kind, f"a failure of kind {kind!r} arrives as {found!r}"
        user, store = watched.failure("user", "").error, watched.failure("store", "").error
        assert isinstance(user, UsageError), "a UsageError arrives without its class"
        assert user.hint == HINT, f"its hint arrives as {user.hint!r}"
        assert isinstance(store, StoreUnwritableError), "a StoreUnwritableError arrives without its class"


@after(failures_have_their_kind)
def odd_exceptions_arrive(subject: Subject) -> None:
    """What cannot be pickled or written, SystemExit, errors of unknown classes: each is one failed task."""
    names = {"odd": "OddError", "exit": "SystemExit", "own": "of a class of its own"}
    with watching(subject) as watched:
        ended = watched.finish([*(task(name, "raise", what=name) for name in names), task("last")])
        for name, words in names.items():
            failure = watched.failure(name, f"{words}: a task that raises it")
            assert failure.kind in {"error", "user"}, f"{words} arrives as {failure.kind}: {failure.reason}"
            assert words in failure.reason, f"{words} arrives as {failure.reason!r}"
        own = watched.failure("own", "").error
        assert type(own) is UsageError, (
            "an error of an unknown class must arrive as one of genbench.errors (`failures.failure_of`)"
        )
        assert ended["last"].status == "done", "after odd exceptions, the rest of the bundle is not done"


@after(progress_is_passed_on)
def large_payloads_arrive(subject: Subject) -> None:
    """A payload of 8 MiB arrives whole."""
    content = os.urandom(_LARGE_BYTES)
    with watching(subject) as watched:
        watched.finish([task("a", "sum", content=content)])
        found = watched.metrics("a")
        came = found.get("bytes", 0.0)
        assert came == len(content), f"of a payload of {len(content):,} bytes came {came:,.0f}"
        assert found["sum"] == zlib.crc32(content), "a large payload arrives changed"


@after(failures_have_their_kind)
def queued_tasks_can_be_cancelled(subject: Subject) -> None:
    """A task that has not begun is called off, and nothing else; one that has ended is left alone."""
    with watching(subject) as watched:
        watched.submit([task("a"), task("b"), task("c")])
        watched.executor.cancel("c")
        watched.executor.cancel("unheard-of")
        watched.until(lambda: all(map(watched.last, "abc")), "end of a bundle with a cancelled task")
        _assert_cancelled(watched, "c", rest="ab")
        watched.executor.cancel("a")
        watched.events += watched.executor.events(0.2)
        _assert_ended_once(watched, "abc")


@after(progress_is_passed_on, queued_tasks_can_be_cancelled)
def cancelled_tasks_can_be_submitted_again(subject: Subject) -> None:
    """What was called off is done where it is submitted again: another run gave it back."""
    with watching(subject) as watched:
        has_workers = watched.executor.has_workers
        first = task("a", "wait", seconds=LATE_SECONDS) if has_workers else task("a")
        watched.submit([first, task("b"), task("c")])
        if has_workers:
            watched.until(lambda: watched.has_begun("a"), "progress of a running task")
        cancelled = ("a", "b") if has_workers else ("b",)
        for name in cancelled:
            watched.executor.cancel(name)
        watched.until(lambda: all(map(watched.last, "abc")), "end of a bundle with cancelled tasks")
        watched.events.clear()
        ended = watched.finish([task(name) for name in cancelled])
        for last in ended.values():
            assert last.status == "done", f"a task that was cancelled and is submitted again is {last.status}"


# ---------------------------------------------------------------------------------------- those with workers


@after(progress_is_passed_on)
def workers_have_their_environment(subject: Subject) -> None:
    """Threads and what belongs to them are set before torch is loaded, and settings arrive."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.pop(name, None) for name in names}
    try:
        with watching(subject, threads=_THREADS) as watched:
            watched.finish([task("a", "look", names=names, greeting=_GREETING)])
            found = watched.metrics("a")
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
    for name in names:
        told = f"{name} is {found.get(name)}, not the setup's {_THREADS}"
        assert found.get(name) == _THREADS, f"{told}: see genbench.executors.at_work"
    assert found["settings"] == 1.0, "the settings did not arrive"
    assert found["pid"] != os.getpid(), "`has_workers`, but a task ran in the process of the run"


@after(failures_have_their_kind)
def a_lost_worker_is_one_failed_task(subject: Subject) -> None:
    """A worker that is killed fails the task that it was at, as `lost`; the rest of its bundle is done."""
    with watching(subject) as watched:
        ended = watched.finish([task("a"), task("b", "die", times=1), task("c")])
        kind = watched.failure("b", "a task whose worker was killed").kind
        assert kind in {"lost", "memory"}, f"a killed worker is of kind {kind!r}, not 'lost'"
        state = ended["c"].status
        assert state == "done", f"after a killed worker, the rest of its bundle is {state}"
        assert not watched.of("b", "retried"), "a task was begun again, and retries is 0"
        _assert_ended_once(watched, "abc")


@after(a_lost_worker_is_one_failed_task)
def lost_tasks_are_begun_again(subject: Subject) -> None:
    """With `retries`, a task whose worker was lost is begun again, and not more often; each time is told."""
    with watching(subject, retries=1) as watched:
        ended = watched.finish([task("a", "die", times=1), task("b")], [task("c", "die", times=9)])
        again = watched.of("a", "retried")
        assert len(again) == 1, f"one worker was lost, and `retried` was told {len(again)} times"
        assert again[0].attempt == 2, f"`retried` is about attempt {again[0].attempt}, not 2, which follows"
        assert again[0].failure is not None, "`retried` has no `failure`: it says what ended the attempt"
        kind = again[0].failure.kind
        assert kind == "lost", f"it was retried after a failure of kind {kind!r}"
        last = (ended["a"].status, ended["a"].attempt)
        assert last == ("done", 2), f"the second attempt is {last[0]}, as attempt {last[1]}"
        last = (ended["c"].status, ended["c"].attempt)
        assert last == ("failed", 2), f"lost twice with 1 retry: {last[0]} in attempt {last[1]}"
        _assert_ended_once(watched, "abc")


@after(failures_have_their_kind)
def late_tasks_are_ended(subject: Subject) -> None:
    """What takes longer than it may is ended, as `timeout`; others are done."""
    with watching(subject, timeout_seconds=_TIMEOUT_SECONDS, retries=1) as watched:
        ended = watched.finish([task("a", "wait", seconds=LATE_SECONDS)], [task("b")])
        kind = watched.failure("a", f"a task that takes longer than {_TIMEOUT_SECONDS} s").kind
        assert kind == "timeout", f"what takes too long is of kind {kind!r}, not 'timeout'"
        assert ended["b"].status == "done", f"after a timeout, another task is {ended['b'].status}"


@after(progress_is_passed_on, queued_tasks_can_be_cancelled)
def running_tasks_can_be_cancelled(subject: Subject) -> None:
    """The task that runs is called off, without waiting for it; the rest of its bundle is done."""
    with watching(subject) as watched:
        watched.submit([task("a", "wait", seconds=LATE_SECONDS), task("b")])
        watched.until(lambda: watched.has_begun("a"), "progress of a running task")
        watched.executor.cancel("a")
        watched.until(lambda: all(map(watched.last, "ab")), "end of a running task that is cancelled")
        _assert_cancelled(watched, "a", rest="b")
        _assert_ended_once(watched, "ab")


@after(progress_is_passed_on)
def stopping_saves_work(subject: Subject) -> None:
    """Who is asked to stop may save its work: it is `interrupted`, and nothing new begins."""
    with watching(subject) as watched:
        watched.submit([task("a", "wait"), task("b")])
        watched.until(lambda: watched.has_begun("a"), "progress of a running task")
        watched.executor.stop(_GRACE_SECONDS)
        watched.until(lambda: watched.last("a"), "end of a running task after stop()")
        said = (
            "a task that stops when it is asked to is not `interrupted`: ask it (must_stop), and give it time"
        )
        assert watched.of("a", "interrupted"), said
        assert watched.metrics("a").get("saved") == 1.0, "a task was ended before it had saved its work"
        assert not watched.of("b", "started"), "a task was begun after stop()"
        assert watched.executor.free == 0, "`free` is positive after stop()"
        ends = Counter(event.id for event in watched.events if event.is_final)
        assert max(ends.values()) == 1, f"tasks must end once each; they ended {dict(ends)} times"


@after(progress_is_passed_on)
def closing_ends_what_runs(subject: Subject) -> None:
    """After close(), the process of a running task is gone."""
    with watching(subject) as watched:
        watched.submit([task("a", "wait", seconds=LATE_SECONDS)])
        watched.until(lambda: watched.has_begun("a"), "progress of a running task")
        (begun,) = watched.of("a", "started")
        pid = int(watched.metrics("a")["pid"])
    end = time.monotonic() + CLOSING_SECONDS
    while begun.host == socket.gethostname() and _is_alive(pid):
        assert time.monotonic() < end, (
            f"{CLOSING_SECONDS:g} s after close(), process {pid} is still at a task"
        )
        time.sleep(0.1)


#: Not asked of an executor without workers of its own.
OF_WORKERS: tuple[Check, ...] = (
    workers_have_their_environment,
    a_lost_worker_is_one_failed_task,
    lost_tasks_are_begun_again,
    late_tasks_are_ended,
    running_tasks_can_be_cancelled,
    stopping_saves_work,
    closing_ends_what_runs,
)
#: All that is asked of executors alone, in the order in which it is asked.
ALL: tuple[Check, ...] = (
    tasks_end_once,
    progress_is_passed_on,
    bundles_are_announced,
    one_failure_is_one_task,
    failures_have_their_kind,
    odd_exceptions_arrive,
    large_payloads_arrive,
    queued_tasks_can_be_cancelled,
    cancelled_tasks_can_be_submitted_again,
    *OF_WORKERS,
)

# -------------------------------------------------------------------------------------------------- helpers


def _assert_cancelled(watched: Watched, name: str, rest: str) -> None:
    kind = watched.failure(name, "a cancelled task").kind
    assert kind == "cancelled", f"a cancelled task failed as {kind!r}, not 'cancelled'"
    for other in rest:
        ended = watched.last(other)
        state = ended.status if ended else "not ended"
        assert state == "done", f"a task was cancelled, and another is {state}"


def _assert_ended_once(watched: Watched, names: str) -> None:
    ends = Counter(event.id for event in watched.events if event.is_final)
    assert ends == Counter(names), f"tasks must end once each; they ended {dict(ends)} times"


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended, and that nobody has asked about, does not."""
    if Path("/proc/self").exists():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            return text.rpartition(")")[2].split()[0] not in {"Z", "X"}
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
