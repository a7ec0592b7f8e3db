"""The folder through which the process of a run and its jobs exchange tasks, events and marks.

    setup              what workers are made with; keys and tokens, too: readable by its owner alone
    run                whose it is: process, controlling job, store; touched now and then while that runs
    queue/POOL/N       bundles that no job has taken; a job takes one by renaming it, which only one can
    claims/JOB/N       what a job has taken and not ended; it is still there when the job is requeued, or lost
    events/JOB         what a job tells, one message a line; appended by the job, read by the run
    cancelled/TASK     tasks that were called off, by the run, or by another that does them now
    stop               jobs shall save their work and end (`save`), or end at once (`close`)
    detached           the run has left its jobs: they finish what they have, and nobody listens
    logs/              what jobs print, one file each

A job is named after its array and its place in there: `3-0`. Files are opened anew for each message, and only
folders of few files are listed: what one node writes so, another one sees soon on NFS, too.
"""

import base64
import contextlib
import json
import os
import pickle
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from genbench.disk import make_folder, remove_place
from genbench.errors import StoreError
from genbench.executors.base import Setup, Task
from genbench.holders import Holder, new_holder

_OLD_SECONDS = 7 * 86400.0  # without a sign of life, after which what is left of a session is of no use
Stop = Literal["", "save", "close"]


@dataclass(frozen=True)
class Work:
    """What a job is told once.

    Attributes:
        setup: Of the executor.
        private: Variables that workers get when they have started.
        idle_seconds: How long it waits for one more bundle.
        requeues: How often a task may be begun again after it was saved.
        sees: A file that it must see; empty for none.
    """

    setup: Setup
    private: Mapping[str, str]
    idle_seconds: float
    requeues: int
    sees: str = ""


@dataclass(frozen=True)
class Claim:
    """A bundle that a job has taken.

    Attributes:
        name: Of its file.
        tasks: What is left of it.
        begun: The task that has begun, or empty.
        saved: Why that one was stopped, after which its work was saved; empty while it runs.
        requeues: How often tasks of it were saved and begun again.
    """

    name: str
    tasks: Sequence[Task]
    begun: str = ""
    saved: str = ""
    requeues: int = 0


@dataclass(frozen=True)
class Hello:
    """The first message of a job, each time that it starts.

    Attributes:
        host: Where.
        restarts: How often it was requeued.
    """

    host: str
    restarts: int = 0


@dataclass(frozen=True)
class Bye:
    """The last message of a job that ends by itself; `reason` where it could not begin at all."""

    reason: str = ""


@dataclass(frozen=True)
class Owner:
    """Whose a session is.

    Attributes:
        holder: The process of the run.
        job: The job of SLURM that it is in; empty outside of one.
        restarts: How often that job was requeued before.
        store: What it fills; tasks of equal names in another store are other work.
        sees: As of `Work`.
    """

    holder: Holder
    job: str
    restarts: int
    store: str
    sees: str

    @classmethod
    def here(cls, work: Work) -> "Owner":
        """Return this process as one."""
        job, restarts = _own_job()
        # A store in a bucket is no folder that could be shared.
        store = str(work.setup.settings.get("root", "")) or work.setup.shared_folder
        return cls(new_holder(secrets.token_hex(8)), job, restarts, store, work.sees)

    @property
    def is_gone(self) -> bool:
        """Whether it is certain that the run is over: its process ended here, or its job began anew."""
        job, restarts = _own_job()
        began_anew = self.job != "" and self.job == job and self.restarts < restarts
        return began_anew or self.holder.is_alive() is False


def _own_job() -> tuple[str, int]:
    """Return the job of SLURM that we are in, and how often it was requeued."""
    return os.environ.get("SLURM_JOB_ID", ""), int(os.environ.get("SLURM_RESTART_COUNT", "0"))


@dataclass
class Session:
    """One exchange."""

    root: Path
    _read_to: dict[str, int] = field(default_factory=dict, repr=False)

    # ------------------------------------------------------------------------------------------- life and end

    @classmethod
    def new(cls, folder: Path, work: Work) -> "Session":
        """Begin one in a folder that all nodes see."""
        make_folder(folder)
        _sweep(folder)
        root = folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        root.mkdir(mode=0o700)
        _replace(root / "run", json.dumps(asdict(Owner.here(work))).encode())
        for name in ("queue", "claims", "events", "cancelled", "logs"):
            (root / name).mkdir()
        _write(root / "setup", work)
        return cls(root)

    @classmethod
    def left(cls, folder: Path) -> Iterator["Session"]:
        """Yield one's own sessions whose run has left them, or is certainly over."""
        for root in sorted(folder.glob("run-*")):
            with contextlib.suppress(OSError):
                session = cls(root)
                if _is_own(root) and session.owner is not None and session.is_left:
                    yield session

    @classmethod
    def of_job(cls, folder: Path, job: str) -> Iterator["Session"]:
        """Yield one's own sessions of runs that were in a job."""
        for root in sorted(folder.glob("run-*")):
            with contextlib.suppress(OSError):
                owner = cls(root).owner if _is_own(root) else None
                if owner is not None and owner.job == job:
                    yield cls(root)

    @property
    def owner(self) -> Owner | None:
        """Whose it is; None where that was not written, or not by this version."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads((self.root / "run").read_text(encoding="utf-8"))
            return Owner(**{**found, "holder": Holder(**found["holder"])})
        return None

    @property
    def is_left(self) -> bool:
        """Whether nobody listens to its jobs any more."""
        owner = self.owner
        return (self.root / "detached").exists() or (owner is not None and owner.is_gone)

    @property
    def work(self) -> Work:
        """What jobs are told.

        Raises:
            StoreError: The folder is somebody else's: what is in it would be run.
        """
        path = self.root / "setup"
        if not _is_own(path):
            raise StoreError(f"{self.root} belongs to another user: nothing in it is run")
        work: Work = _read(path)
        return work

    def beat(self) -> None:
        """Say that the run lives."""
        with contextlib.suppress(OSError):
            os.utime(self.root / "run")

    def leave(self) -> None:
        """Let jobs go on without us."""
        (self.root / "detached").touch()

    def retire(self) -> None:
        """As a job that ends: if the run has left and nothing is left to do, let no keys stay."""
        if (self.root / "detached").exists() and not self.unfinished():
            self.ask_to_stop("close")  # for jobs that begin only now
            self.forget_keys()

    def forget_keys(self) -> None:
        """Remove what jobs begin with: keys are in it; and the mark that they had to see."""
        (self.root / "setup").unlink(missing_ok=True)
        owner = self.owner
        if owner is not None and owner.sees:
            with contextlib.suppress(OSError):
                Path(owner.sees).unlink(missing_ok=True)

    def remove(self, *, keep_logs: bool) -> None:
        """Remove it; what jobs printed stays where that may be of use."""
        self.forget_keys()  # first
        if keep_logs:
            for place in self.root.iterdir():
                if place.name != "logs":
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
        else:
            shutil.rmtree(self.root, ignore_errors=True)

    # -------------------------------------------------------------------------------------------------- tasks

    def put(self, pool: str, name: str, tasks: Sequence[Task], requeues: int = 0) -> None:
        """Offer a bundle to the jobs of a pool."""
        make_folder(self.root / "queue" / pool)
        _write(self.root / "queue" / pool / name, Claim(name, tuple(tasks), requeues=requeues))

    def take_back(self, pool: str, name: str) -> Claim | None:
        """Take a bundle out of the queue; None where a job was faster."""
        mine = self.root / f"taken-{name}"
        try:
            (self.root / "queue" / pool / name).rename(mine)
        except FileNotFoundError:
            return None
        claim: Claim = _read(mine)
        mine.unlink()
        return claim

    def unfinished(self) -> set[str]:
        """Return the tasks that no job has ended; of jobs that are gone, too."""
        found: set[str] = set()
        for pattern in ("queue/*/[0-9]*", "claims/*/[0-9]*"):  # in the order in which they move
            for path in self.root.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    claim: Claim = _read(path)
                    found |= {task.id for task in claim.tasks}
        return found

    def claim(self, pool: str, job: str) -> Claim | None:
        """Take the oldest bundle of a pool, as a job."""
        folder = self.root / "queue" / pool
        mine = self.root / "claims" / job
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            if name.startswith("."):
                continue
            make_folder(mine)  # not before: of a session that was removed nothing shall come back
            with contextlib.suppress(FileNotFoundError):  # another job was faster
                (folder / name).rename(mine / name)
                found: Claim = _read(mine / name)
                return found
        return None

    def claims(self, job: str) -> list[Claim]:
        """Return what a job has taken and not ended."""
        folder = self.root / "claims" / job
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return [_read(folder / name) for name in names if not name.startswith(".")]

    def keep(self, job: str, claim: Claim) -> None:
        """Write down what is left of a bundle; nothing may be."""
        path = self.root / "claims" / job / claim.name
        if claim.tasks:
            _write(path, claim)
        else:
            path.unlink(missing_ok=True)

    def drop(self, job: str) -> None:
        """Forget what a job has taken."""
        remove_place(self.root / "claims" / job)

    # ------------------------------------------------------------------------------------------------- events

    def expect(self, jobs: Sequence[str]) -> None:
        """Make the files that jobs will write to: a file that was there is seen to grow at once."""
        for job in jobs:
            (self.root / "events" / job).touch()

    def tell(self, job: str, message: Any) -> None:
        """Append a message, as a job."""
        line = base64.b64encode(pickle.dumps(message)) + b"\n"
        with (self.root / "events" / job).open("ab") as file:
            file.write(line)

    def hear(self, job: str) -> Iterator[Any]:
        """Yield the messages of a job that were not read before."""
        begin = self._read_to.get(job, 0)
        try:
            with (self.root / "events" / job).open("rb") as file:
                file.seek(begin)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        self._read_to[job] = begin + len(whole)
        for line in whole.splitlines():
            yield pickle.loads(base64.b64decode(line))

    # -------------------------------------------------------------------------------------------------- marks

    def cancel(self, task_id: str) -> None:
        """Call off a task that a job may have taken."""
        (self.root / "cancelled" / quote(task_id, safe="")).touch()

    def renew(self, task_id: str) -> None:
        """Let a task be done that was called off before."""
        (self.root / "cancelled" / quote(task_id, safe="")).unlink(missing_ok=True)

    def cancelled(self) -> set[str]:
        """Return the tasks that were called off."""
        with contextlib.suppress(FileNotFoundError):  # the session has ended
            return {unquote(name) for name in os.listdir(self.root / "cancelled")}
        return set()

    def ask_to_stop(self, how: Stop) -> None:
        """Ask all jobs to stop."""
        _replace(self.root / "stop", how.encode())

    @property
    def stop(self) -> Stop:
        """Whether jobs shall stop; at once, if the session is gone."""
        try:
            text = (self.root / "stop").read_text(encoding="ascii")
        except FileNotFoundError:
            return "" if self.root.is_dir() else "close"
        return "close" if text == "close" else "save"


def _write(path: Path, content: Any) -> None:
    _replace(path, pickle.dumps(content))


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is seen whole or not at all; these files need not outlast a power failure."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


def _is_own(path: Path) -> bool:
    """Say whether a file or folder is ours: what is in that of another user is not believed."""
    return not hasattr(os, "geteuid") or path.lstat().st_uid == os.geteuid()


def _sweep(folder: Path) -> None:
    """Remove sessions of which nothing was heard for long, of their run or of any of their jobs."""
    for root in folder.glob("run-*"):
        with contextlib.suppress(OSError):
            signs = (root, root / "run", root / "logs", *(root / "events").glob("*"))
            newest = max(place.stat().st_mtime for place in signs if place.exists())
            if time.time() - newest > _OLD_SECONDS and _is_own(root):
                Session(root).remove(keep_logs=False)
