"""The inside of a room: rights are given up first, then a stranger's code is imported and run.

The order of things matters. The process was forked from a server that has torch and genbench loaded and one
thread; it gives up its rights while it still has one, because another thread would keep them.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from genbench import watch
from genbench.errors import Interrupted, PluginError
from genbench.registry import import_target
from genbench.rooms.capabilities import drop_capabilities
from genbench.rooms.landlock import confine
from genbench.rooms.messages import Talk, described
from genbench.rooms.order import Order, is_private
from genbench.rooms.seccomp import deny_network
from genbench.rooms.tree import adopt_orphans, end_descendants, end_with_parent

stop = threading.Event()  #: set when the room is asked to save its work and leave
known: Mapping[str, Any] | None = None  #: attributes of libraries, which the server noted before it forked


def live(connection: Connection, output: Connection, parent: int) -> None:
    """Do what is ordered, tell how it ended, and return; the life of a room.

    Args:
        connection: To the process that opened the room; the order comes through it.
        output: Where everything that is printed goes.
        parent: Number of the process that this one must not outlive.
    """
    talk = Talk(connection)
    try:
        _detach(output, parent)
        order: Order = connection.recv()  # a pickle, from the side that is trusted
        _move_in(order)
        in_force = _give_up_rights(order)
    except BaseException as problem:  # whatever it is, nothing may run with rights that were to go
        talk.tell("failed", **described(problem), left=[])
        return
    import torch

    torch.set_num_threads(order.threads)
    before = watch.take(known)
    talk.tell("ready", in_force=in_force)
    kind, content = _carried_out(order, talk)
    left = [*_changes(before), *_children()]
    try:
        talk.tell(kind, **content, left=left)
    except PluginError as problem:  # what it says of itself cannot be said
        talk.tell("failed", **described(problem), left=left)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _carried_out(order: Order, talk: Talk) -> tuple[str, dict[str, Any]]:
    """Do what was ordered; return how it ended."""
    try:
        return "done", {"facts": import_target(order.target, "room")(order.payload, talk) or {}}
    except Interrupted as problem:
        return "interrupted", described(problem)
    except BaseException as problem:  # a stranger's code may raise anything, SystemExit included
        return "failed", described(problem)


def _changes(before: watch.Snapshot) -> list[str]:
    """Name what changed; where that cannot be found out, something did."""
    try:
        watch.let_threads_end(before)
        return watch.changes(before, watch.take())
    except Exception as problem:  # a default device without data, a module that is gone
        return [f"the state of its process cannot be read ({type(problem).__name__})"]


def _detach(output: Connection, parent: int) -> None:
    """Leave the terminal: signals for the foreground are not for us, and what we print goes into the log."""
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):  # it leads a session already
            os.setsid()
    end_with_parent(parent)
    adopt_orphans()
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    # What multiprocessing remembers is the opener's: its folder, and its tracker of shared memory.
    vars(multiprocessing.current_process()).get("_config", {}).pop("tempdir", None)
    vars(resource_tracker._resource_tracker).update(_fd=None, _pid=None)


def _move_in(order: Order) -> None:
    """Keep everything that libraries write in the room's own folders."""
    sys.path[:] = order.path or sys.path
    if not order.network:
        for name in filter(is_private, list(os.environ)):
            del os.environ[name]
    own = {
        "HOME": str(order.home),
        "TMPDIR": str(order.temporary or order.home),
        "XDG_CACHE_HOME": str(order.home / ".cache"),
    }
    os.environ.update(own | dict(order.environment))
    os.chdir(order.home)
    tempfile.tempdir = None  # the server's choice was made before this folder existed


def _give_up_rights(order: Order) -> str:
    """Confine this process; say with what."""
    words = []
    if order.rights is not None:
        words.append(f"Landlock {confine(order.rights, network=order.network)}")
        drop_capabilities()
    if not order.network and deny_network():
        words.append("seccomp")
    return ", ".join(words)


def _children() -> list[str]:
    """End and name what is running below; multiprocessing's own helpers leave by themselves."""
    return [f"process {name} was left behind" for name in end_descendants(os.getpid())]
