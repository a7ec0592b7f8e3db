"""What is done in rooms by tests/core/test_rooms.py: rooms import it by name."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genbench.errors import Interrupted
from genbench.rooms import guest

Payload = Mapping[str, Any]


def nothing(payload: Payload, talk: Any) -> None:
    pass


def reach(payload: Payload, talk: Any) -> dict[str, str]:
    hidden, own = Path(payload["hidden"]), Path(payload["own"])
    link, twin = own / "link", own / "twin"
    for path in (link, twin):
        path.unlink(missing_ok=True)
    link.symlink_to(hidden)
    (own / "mine.txt").write_text("mine")
    tried: dict[str, Callable[[], object]] = {
        "read": hidden.read_text,
        "through a link": link.read_text,
        "through /proc": Path(f"/proc/self/root{hidden}").read_text,
        "hard link": lambda: twin.hardlink_to(hidden) or twin.read_text(),
        "by a child": lambda: (
            subprocess.run(["cat", str(hidden)], capture_output=True, text=True, check=False).stdout
        ),
        "write": lambda: hidden.write_text("changed"),
        "own": (own / "mine.txt").read_text,
        "list": lambda: os.listdir(hidden.parent),
        "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "signal": lambda: os.kill(os.getppid(), 0),
    }
    return {name: _tried(act) for name, act in tried.items()}


def connect(payload: Payload, talk: Any) -> dict[str, str]:
    def opened(*kind: int) -> str:
        with socket.socket(*kind) as one:
            if kind[0] == socket.AF_INET:
                one.connect(("127.0.0.1", payload["port"]))
        return "open"

    kinds = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM),
        "mptcp": (socket.AF_INET, socket.SOCK_STREAM, 262),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    }
    return {name: _tried(lambda kind=kind: opened(*kind)) for name, kind in kinds.items()}


def _tried(act: Callable[[], object]) -> str:
    try:
        return str(act())
    except OSError as problem:
        return type(problem).__name__


def variables(payload: Payload, talk: Any) -> dict[str, Any]:
    return {"names": [name for name in os.environ if "TOKEN" in name]}


def loud(payload: Payload, talk: Any) -> None:
    for _ in range(payload["megabytes"]):
        sys.stdout.write("x" * (1 << 20))


def chatty(payload: Payload, talk: Any) -> dict[str, Any]:
    return {"text": "x" * payload["size"] if payload["size"] > 0 else object()}


def nonsense(payload: Payload, talk: Any) -> None:
    said = {"deep": "[" * 100_000, "pickle": "\x80\x04."}.get(payload["said"], payload["said"])
    talk._connection.send_bytes(said.encode())
    time.sleep(60)


def progress(payload: Payload, talk: Any) -> None:
    talk.report(1, 2, {"loss": 0.5})
    talk._connection.send_bytes(json.dumps({"kind": "progress", "done": "1", "total": 2}).encode())
    talk._connection.send_bytes(json.dumps({"kind": "sing"}).encode())


def flood(payload: Payload, talk: Any) -> None:
    for done in range(payload["count"]):
        talk.report(done, 1, {"loss": 1.0})


def claims(payload: Payload, talk: Any) -> None:
    raise Interrupted("nobody asked")


def orphan(payload: Payload, talk: Any) -> None:
    if os.fork() == 0:
        os.setsid()
        os.execvp("sleep", ["sleep", payload["mark"]])
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def open_files(payload: Payload, talk: Any) -> dict[str, Any]:
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if link.is_symlink()]
    return {"sockets": sum(name.startswith("socket:") for name in names), "names": names}


def loads(payload: Payload, talk: Any) -> dict[str, int]:
    """Sum 0 to 7 with worker processes."""
    if payload["way"] == "manager":
        with multiprocessing.Manager() as manager:
            return {"sum": sum(manager.list(range(8)))}
    from torch.utils.data import DataLoader

    loader = DataLoader(list(range(8)), num_workers=2, multiprocessing_context=payload["way"])  # type: ignore[arg-type]
    return {"sum": sum(int(batch) for batch in loader)}


def asks(payload: Payload, talk: Any) -> dict[str, Any]:
    heard = []
    while answer := talk.ask("more"):
        heard.append(answer.decode())
    return {"heard": heard}


def waits(payload: Payload, talk: Any) -> None:
    while not guest.stop.wait(0.05):
        pass
    raise Interrupted("as asked")


def end(payload: Payload, talk: Any) -> None:
    if payload["how"] == "exit":
        sys.exit(7)
    if payload["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def spoil(payload: Payload, talk: Any) -> dict[str, Any]:
    import torch

    torch.relu = torch.sigmoid
    torch.set_default_dtype(torch.float64)
    os.environ["ROOM_PROBE"] = "set"
    os.chdir("/")
    threading.Thread(target=time.sleep, args=(600,), name="sleeper", daemon=True).start()
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    return {"child": child.pid}
