"""What a worker does with a bundle: Ray calls `work`, in a process that it keeps for runs of one setup."""

import os
import queue
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from genbench.executors.at_work import carry_out, prepare_worker
from genbench.executors.base import Event, Perform, Task
from genbench.executors.on_ray.board import LEAST_PAUSE_SECONDS, Begun, BoardOfRun, Orders
from genbench.executors.on_ray.cluster import Handover, complaint

_PATIENCE_SECONDS = 120.0  # for an answer of the board: after that, the main process is taken for gone


def work(board: BoardOfRun, number: int, bundle: Sequence[Task]) -> None:
    """Do a bundle. Its events go to the board; Ray itself hears only that the worker is gone, if it is.

    Args:
        board: Of the run.
        number: Of this submission of the bundle.
        bundle: The tasks.
    """
    line = _This.line = Line(board, number)
    try:
        if _This.run != board.run:
            handover = line.take_over()
            problem = complaint(handover.shared)
            line.tell(Begun(socket.gethostname(), problem))
            if problem:  # of the machine: the run ends with it
                return
            _go_where_the_run_began(handover.folder)
            _This.perform = prepare_worker(handover.setup, _must_stop, handover.private)
            _This.run = board.run
        else:
            line.tell(Begun(socket.gethostname()))
        assert _This.perform is not None
        carry_out(_This.perform, bundle, line.tell, _must_stop, line.is_cancelled)
    finally:
        line.close()


class _This:
    """This worker process: Ray keeps it for more bundles, and for a next run if that has the same setup."""

    run: str = ""
    perform: Perform | None = None
    line: "Line | None" = None


def _must_stop() -> bool:
    return _This.line is not None and _This.line.orders.stop


def _go_where_the_run_began(folder: str) -> None:
    """Options may name files relative to it; where it is not there, they name none."""
    if os.path.isdir(folder):
        os.chdir(folder)


class Line:
    """The connection of a running bundle to the board.

    A thread of its own makes all calls: Ray takes a task that waits in its main thread for idle, and would
    start another on its cores. Progress waits for the next call; whatever else happens is told at once.
    """

    def __init__(self, board: BoardOfRun, number: int) -> None:
        self._board, self._number = board, number
        self.orders: Orders = Orders()
        self._waiting: list[Event | Begun] = []
        self._lock = threading.Lock()
        self._questions: queue.Queue[_Question] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="genbench-line", daemon=True)
        self._thread.start()

    def tell(self, event: Event | Begun) -> None:
        """Pass on what happened."""
        with self._lock:
            both = _together(self._waiting[-1], event) if self._waiting else None
            if both is None:
                self._waiting.append(event)
            else:
                self._waiting[-1] = both
        if isinstance(event, Begun) or event.status != "progress":
            self._ask(_Question())

    def is_cancelled(self, task_id: str) -> bool:
        """Ask whether a task was called off, and whether to stop."""
        self._ask(_Question())
        return task_id in self.orders.cancelled

    def take_over(self) -> Handover:
        """Return what a worker is given once."""
        question = _Question(wants_handover=True)
        self._ask(question)
        if question.handover is None:
            raise ConnectionError("the run is over, or its main process is out of reach")
        return question.handover

    def close(self) -> None:
        """Tell what is left, and that there will be no more."""
        self._ask(_Question(leaves=True))
        self._thread.join()

    def _ask(self, question: "_Question") -> None:
        self._questions.put(question)
        question.answered.wait()

    def _run(self) -> None:
        pause = LEAST_PAUSE_SECONDS
        while True:
            try:
                question: _Question | None = self._questions.get(timeout=pause)
            except queue.Empty:
                question = None
            leaves = question is not None and question.leaves
            try:
                self._exchange(leaves)
                if question is not None and question.wants_handover:
                    given: Any = ray.get(self._board.call("take_over"), timeout=_PATIENCE_SECONDS)
                    question.handover = given
            except Exception:  # nobody listens any more: this attempt was given up, or its run
                self.orders = replace(self.orders, stop=True)
            pause = self.orders.pause_seconds
            if question is not None:
                question.answered.set()
            if leaves:
                return

    def _exchange(self, leaves: bool) -> None:
        with self._lock:
            told, self._waiting = self._waiting, []
        answer = self._board.call("tell", self._number, told, leaves)
        orders: Any = ray.get(answer, timeout=_PATIENCE_SECONDS)
        self.orders = orders


@dataclass
class _Question:
    """Something that the main thread waits for: all was told, and the answer is there."""

    leaves: bool = False
    wants_handover: bool = False
    answered: threading.Event = field(default_factory=threading.Event)
    handover: Handover | None = None


def _together(waiting: Event | Begun, event: Event | Begun) -> Event | None:
    """Return the progress that takes the place of older progress that waits to be told, if both are that."""
    if not isinstance(waiting, Event) or not isinstance(event, Event) or waiting.id != event.id:
        return None
    if not waiting.status == event.status == "progress":
        return None
    return replace(event, metrics={**waiting.metrics, **event.metrics})
