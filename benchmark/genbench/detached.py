"""Runs that go on without us: handed to a cluster, looked at from anywhere, called off."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from genbench import preflight
from genbench.addresses import is_address
from genbench.disk import make_folder
from genbench.errors import UsageError
from genbench.executors.at_work import private_environment
from genbench.executors.making import engine_named
from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import Seen
from genbench.executors.slurm.config import SlurmConfig
from genbench.executors.slurm.script import controller_script
from genbench.executors.slurm.session import Session
from genbench.journals import Story, Submitted, all_submitted, note_submitted, read_story
from genbench.outlook import missing_steps
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.runs import Listed, Run, list_runs
from genbench.store import Store

_CANCEL_SECONDS = 90.0  # that a controller may take to let steps save
_ANSWER_SECONDS = 60.0  # for a cluster that does not answer at once
_LOG_CHARACTERS = 600
State = Literal["queued", "running", "stopped", "done"]


# ---------------------------------------------------------------------------------------------------- submit


def submit(
    plan: Plan, store: Store, registry: Registry, executor: str, words: Sequence[str], folder: Path
) -> Submitted:
    """Submit a job that runs a plan on the cluster, once it is known that the plan could run.

    Args:
        plan: What is run.
        store: Where results go.
        registry: The components.
        executor: `slurm`, with its options.
        words: What is typed after `genbench run`.
        folder: That the run will have.

    Raises:
        UsageError: Of another executor; or the plan, or the profile, cannot be used.
        GenbenchError: SLURM refuses it, or the plan could not succeed.
    """
    engine = engine_named(registry, executor)
    config = engine.config
    if not isinstance(config, SlurmConfig):
        raise UsageError(
            f"--executor {executor}: only slurm takes a run that goes on without us",
            hint="genbench submit ... --executor slurm:profile=FILE   (genbench docs slurm)",
        )
    for known in standings(store):
        if known.folder == folder.absolute() and known.state in {"queued", "running"} and known.submitted:
            name = known.name
            raise UsageError(
                f"{name} is {known.state} as job {known.submitted.job} already",
                hint=f"genbench status {name}   says how it stands; genbench cancel {name}   ends it",
            )
    missing = missing_steps(plan, store)
    preflight.check(plan, missing, store, registry, executor)
    profile = config.settled
    usual = Path("genbench-slurm") if is_address(store.address) else store.root / "slurm"
    place = make_folder((profile.folder or usual).expanduser().absolute() / "controllers")
    log = place / f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    command = [profile.python or sys.executable, "-m", "genbench.cli", "run", *words]
    script = controller_script(profile, command, Path.cwd(), log, folder.name, "genbench:controller")
    private = private_environment()
    job = commands.sbatch(script, commands.job_environment({**os.environ, **dict.fromkeys(private)}))
    one = Submitted(
        job,
        folder.name,
        str(folder.absolute()),
        str(log),
        " ".join(words),
        os.getcwd(),
        len(missing),
        time.time(),
    )
    note_submitted(store.root, one)
    return one


# ---------------------------------------------------------------------------------------------------- status


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        name: Of its folder.
        state: What it is at.
        folder: Where it is, or will be.
        story: What its journal tells; None where it has not begun, or never wrote one.
        submitted: How it was handed to a cluster; None for a run that somebody watches.
        controller: The job that controls it, as squeue shows it.
        log: The end of what that job printed, where the run has not begun.
        is_certain: Whether `running` was seen from here: of another machine's process only its journal tells.
        run_id: Of the folder's run; empty where it has not begun.
    """

    name: str
    state: State
    folder: Path
    story: Story | None = None
    submitted: Submitted | None = None
    controller: Seen | None = None
    log: str = ""
    is_certain: bool = True
    run_id: str = ""


def standings(store: Store, folders: Sequence[Path] = ()) -> list[Standing]:
    """Return how runs stand, the newest first, without `story` and `log`: `whole` adds those of one.

    The journal of a large run takes seconds to read, and a store has those of all runs that there ever were.

    Args:
        store: Whose runs.
        folders: Where further ones may be.
    """
    seen = _controllers()
    listed = {str(one.folder): one for one in list_runs(store, folders)}
    found: dict[str, tuple[float, Standing]] = {}
    for one in all_submitted(store.root):
        if one.folder not in found:
            found[one.folder] = (one.at, _of_submitted(store, one, listed.get(one.folder), seen))
    for folder, listing in listed.items():
        if folder not in found:
            found[folder] = (_began(listing.run), _of_listed(store, listing, seen))
    return [standing for _, standing in sorted(found.values(), key=lambda pair: pair[0], reverse=True)]


def whole(store: Store, standing: Standing) -> Standing:
    """Return how a run stands, with what its journal tells and the end of its job's output."""
    one, log = standing.submitted, ""
    story = _story(store, standing.run_id, one)
    if one is not None and standing.state != "done" and (story is None or standing.state == "stopped"):
        with contextlib.suppress(OSError):
            log = Path(one.log).read_text(encoding="utf-8", errors="replace").strip()[-_LOG_CHARACTERS:]
    return replace(standing, story=story, log=log)


def standing_of(store: Store, name: str, folders: Sequence[Path] = ()) -> Standing:
    """Return how a run stands, as a whole, that is named by its name, its folder, or its job.

    Raises:
        UsageError: There is no such run.
    """
    known = standings(store, folders)
    place = str(Path(name).resolve())
    for one in known:
        job = one.submitted.job if one.submitted else ""
        if name in {one.name, job} or place == str(one.folder):
            return whole(store, one)
    names = ", ".join(dict.fromkeys(one.name for one in known[:10])) or "none"
    raise UsageError(f"no run {name!r}. Known: {names}.", hint="genbench runs   lists them")


def _controllers() -> Mapping[str, Seen] | None:
    """Return one's jobs by number; None where no cluster answers."""
    if shutil.which("squeue") is None:
        return None
    with contextlib.suppress(commands.SlurmError):
        return {one.id: one for one in commands.queue()}
    return None


def _of_submitted(
    store: Store, one: Submitted, listing: Listed | None, seen: Mapping[str, Seen] | None
) -> Standing:
    run, job = listing.run if listing else None, seen.get(one.job) if seen is not None else None
    state: State = "running"
    if run is not None and run.state == "done" and _is_since(store, run, one):
        state = "done"
    elif seen is not None:
        state = "stopped" if job is None or job.is_over else "queued" if job.waits else "running"
    is_certain, run_id = seen is not None or state == "done", run.id if run is not None else ""
    place = Path(one.folder)
    return Standing(
        one.name, state, place, submitted=one, controller=job, is_certain=is_certain, run_id=run_id
    )


def _is_since(store: Store, run: Run, one: Submitted) -> bool:
    """Say whether a folder's run is that of a job, or a later one, and not one that the job carries on."""
    # By clocks of two machines it may seem to have begun before it was submitted: its journal knows the job.
    return _began(run) >= one.at or _story(store, run.id, one) is not None


def _story(store: Store, run_id: str, one: Submitted | None) -> Story | None:
    """Return what the journal of a run tells; if it was submitted, since then."""
    story = read_story(store.root, run_id) if run_id else None
    if story is None or one is None or story.began >= one.at or story.job == one.job:
        return story
    # The folder's run was carried on: what its journal tells is older than this job.
    return None if story.told < one.at else story


def _began(run: Run) -> float:
    """Return when a run began, in seconds since 1970; 0 where that is no time."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(run.began).timestamp()
    return 0.0


def _of_listed(store: Store, listing: Listed, seen: Mapping[str, Seen] | None) -> Standing:
    run, folder = listing.run, listing.folder
    state: State = listing.state
    is_certain = run.host in {"", socket.gethostname()} or state != "running"
    story = _story(store, run.id, None) if not is_certain and seen is not None else None
    if story is not None and story.job and seen is not None:  # it is in a job of a cluster
        job, is_certain = seen.get(story.job), True
        state = "running" if job is not None and not job.is_over else "stopped"
    return Standing(folder.name, state, folder, is_certain=is_certain, run_id=run.id)


# ---------------------------------------------------------------------------------------------------- cancel


def cancel(standing: Standing) -> str:
    """Call a run off: its steps save their work. Returns what was done, in words.

    Raises:
        UsageError: It is over, or its process is on another machine.
    """
    if standing.state in {"done", "stopped"}:
        _end_jobs_of(standing)
        raise UsageError(
            f"{standing.name} does not run: it is {standing.state}", hint=f"genbench status {standing.name}"
        )
    if standing.submitted is not None:
        return _cancel_job(standing.submitted, standing.state == "queued")
    story = standing.story
    if story is None or story.host != socket.gethostname():
        where = f"PID {story.pid} on {story.host}" if story else "not known"
        raise UsageError(
            f"{standing.name} runs elsewhere: {where}",
            hint=f"ssh {story.host} kill {story.pid}" if story else "",
        )
    os.kill(story.pid, signal.SIGTERM)
    return f"process {story.pid} was asked to stop; its steps save their work"


def _cancel_job(one: Submitted, is_queued: bool) -> str:
    """Ask a controller to stop; then end what is left of it, and of its jobs."""
    job = one.job
    if not is_queued:
        commands.scancel([job], "--signal=INT", "--batch")
        until = time.monotonic() + _CANCEL_SECONDS
        while time.monotonic() < until and _may_run(job):
            time.sleep(1.0)
    commands.scancel([job])
    ended = _end_workers(one, _ANSWER_SECONDS)
    kept = "what they had done is kept, and the same command resumes"
    if not is_queued:
        return f"job {job} and its steps have ended; {kept}"
    if not ended:
        return f"job {job} was taken out of the queue: nothing of it was running"
    # It had begun before: it was requeued, and could not end its jobs, as where its node failed.
    return f"job {job} was taken out of the queue, and {ended} job(s) that it had begun were ended; {kept}"


def _may_run(job: str) -> bool:
    """Say whether a job may still be there; it may, as long as the cluster does not answer."""
    with contextlib.suppress(commands.SlurmError):
        return any(one.id == job and not one.is_over for one in commands.queue())
    return True


def _end_jobs_of(standing: Standing) -> None:
    """End the jobs that a controller left which is gone."""
    if standing.submitted is not None:
        with contextlib.suppress(commands.SlurmError):
            _end_workers(standing.submitted, 0.0)


def _end_workers(one: Submitted, patience_seconds: float) -> int:
    """End the jobs of a controller, and let none of its keys stay; return how many jobs there were.

    Raises:
        SlurmError: The cluster does not answer.
    """
    mine, until = f"genbench:{one.job}:", time.monotonic() + patience_seconds
    while True:
        try:
            seen = commands.queue()
            break
        except commands.SlurmError:
            if time.monotonic() >= until:
                raise
        time.sleep(1.0)
    workers = [found.id for found in seen if found.comment.startswith(mine) and not found.is_over]
    commands.scancel(workers)
    for session in Session.of_job(Path(one.log).parents[1], one.job):
        with contextlib.suppress(OSError):
            session.forget_keys()
    return len(workers)
