"""The Ray cluster of a run: joining or starting it, its machines, whether each can do steps of this run."""

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

import genbench
from genbench.errors import UsageError
from genbench.executors.at_work import environment, private_environment
from genbench.executors.base import Needs, Setup
from genbench.executors.on_ray.config import RayConfig, no_cluster

_OBJECT_STORE_BYTES = 100 * 2**20  # of a cluster of our own: steps exchange files, not objects
_LOOK_SECONDS = 60.0  # that a machine may take to say whether it sees the store
_MOST_NAMED = 5  # machines in one message


@dataclass(frozen=True)
class Shared:
    """What every machine must have in common with the one that the run was started on.

    Attributes:
        version: Of genbench.
        folder: That all must see; empty: none.
        mark: Name of a file in it that was made for this run.
    """

    version: str
    folder: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Handover:
    """What a worker is given once.

    Attributes:
        setup: Of the executor.
        private: Keys and tokens: `at_work.private_environment`.
        folder: Where the run was started.
        shared: What its machine must have.
    """

    setup: Setup
    private: Mapping[str, str]
    folder: str
    shared: Shared


# -------------------------------------------------- joining it


def join_cluster(config: RayConfig, jobs: int) -> bool:
    """Connect to the cluster, or start one; say whether that was done here, and is to be undone.

    Raises:
        UsageError: None answers.
    """
    if ray.is_initialized():  # by whoever calls us
        return False
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell Ray's makers of our cluster
        # A token of its own, or Ray leaves one in the home folder. That it is asked for is Ray's default; the
        # variable that says so must not be set here: Ray read it when it was imported.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it would announce that
    with _own_signals(), _nothing_private():
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                **own,
            )
        except (ConnectionError, RuntimeError, ValueError) as problem:
            raise no_cluster(address, _first_line(problem)) from None
    return True


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what signals do: Ray takes SIGTERM for itself, and would end the process where we save work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _nothing_private() -> contextlib.AbstractContextManager[None]:
    """Keep keys and tokens out of the environment that processes of a cluster of our own start with."""
    return environment(dict.fromkeys(name for name in private_environment() if not name.startswith("RAY_")))


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


# -------------------------------------------------- what it consists of


@dataclass(frozen=True)
class Machines:
    """What the cluster has now.

    Attributes:
        count: Machines.
        cpus: Cores of all together.
        most_cpus: Of one machine.
        most_gpus: As above.
        most_memory_bytes: As above.
        cpus_per_gpu: Cores that each GPU's share of its machine has, where they are fewest; 0 without GPUs.
    """

    count: int
    cpus: float
    most_cpus: float
    most_gpus: float
    most_memory_bytes: float
    cpus_per_gpu: float = 0.0

    def asked(self, needs: Needs, gpu_share: float) -> dict[str, float]:
        """Return what Ray is asked for: never more than the largest machine has, but for GPUs.

        How much memory a step takes is an estimate, and alone on the largest machine it may well fit; without
        the GPU that it needs it could not run. How many cores such a step keeps busy was found on the machine
        where the run was started: it takes no more than its GPU's share, or other GPUs would idle.
        """
        asked: dict[str, float] = {"num_cpus": min(float(needs.cpus), self.most_cpus or 1.0)}
        if needs.gpus:
            asked["num_gpus"] = gpu_share if needs.gpus == 1 else float(needs.gpus)
            if self.cpus_per_gpu:
                share = max(1.0, float(int(self.cpus_per_gpu * asked["num_gpus"])))
                asked["num_cpus"] = min(asked["num_cpus"], share)
        if needs.memory_bytes and self.most_memory_bytes:
            asked["memory"] = float(int(min(needs.memory_bytes, self.most_memory_bytes)))
        return asked

    def lacking(self, needs: Needs) -> str:
        """Say what a bundle waits for that no machine has; nothing where it is a matter of time."""
        if needs.gpus <= self.most_gpus:
            return ""
        wanted = "a GPU" if needs.gpus == 1 else f"{needs.gpus} GPUs"
        have = f"at most {self.most_gpus:g}" if self.most_gpus else "none"
        return f"waits for a machine with {wanted}: of {self.count} in the Ray cluster, each has {have}"


def machines() -> Machines:
    """Look at the cluster."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def most(name: str) -> float:
        return max((float(one.get(name, 0.0)) for one in found), default=0.0)

    cpus = sum(float(one.get("CPU", 0.0)) for one in found)
    shares = [float(one.get("CPU", 0.0)) / one["GPU"] for one in found if one.get("GPU")]
    least = min(shares, default=0.0)
    return Machines(len(found), cpus, most("CPU"), most("GPU"), most("memory"), least)


# -------------------------------------------------- whether each can do steps of ours


@contextlib.contextmanager
def shared_by_all(folder: str) -> Iterator[Shared]:
    """Leave a mark in a folder by which other machines know it again; it is gone in the end."""
    if not folder:
        yield Shared(genbench.__version__)
        return
    mark = Path(folder) / f".seen-by-ray-{secrets.token_hex(8)}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield Shared(genbench.__version__, str(mark.parent.absolute()), mark.name)
    finally:
        mark.unlink(missing_ok=True)


def _make_look() -> Callable[[Any], str]:
    """Return the function that machines are asked by: it travels whole, as genbench may be missing there."""

    def look(shared: Any) -> str:
        import os
        import time

        try:
            import genbench
        except ImportError as problem:
            return f"has no genbench ({problem})"
        version, folder, mark = shared
        if genbench.__version__ != version:
            return f"has genbench {genbench.__version__}, not {version}"
        for pause in (0.0, 0.5, 1.0, 2.0):  # a network's folder may show a new file late
            time.sleep(pause)
            if not folder or os.path.exists(os.path.join(folder, mark)):
                break
        else:
            there = "is another folder there" if os.path.isdir(folder) else "is not there"
            return f"does not see the store: {folder} {there}"
        return "" if not folder or os.access(folder, os.W_OK) else f"may not write to the store: {folder}"

    return look


def complaint(shared: Shared) -> str:
    """Say what keeps this machine from doing steps of a run, or nothing."""
    return _make_look()((shared.version, shared.folder, shared.mark))


def check_machines(shared: Shared) -> None:
    """Ask every machine whether it can do steps of this run. Those that join later are asked when they do.

    Raises:
        UsageError: One cannot.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(_make_look())
    facts = (shared.version, shared.folder, shared.mark)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[look.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(facts)] = node
    ray.wait(list(asked), num_returns=len(asked), timeout=_LOOK_SECONDS)
    found = [
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}) {said}"
        for answer, node in asked.items()
        if (said := _said(answer))
    ]
    if found:
        raise unfit(found)


def _said(answer: Any) -> str:
    try:
        return str(ray.get(answer, timeout=0.1))
    except ray.exceptions.GetTimeoutError:
        return f"says nothing within {_LOOK_SECONDS:g} s"
    except ray.exceptions.NodeDiedError:
        return ""  # it left meanwhile, and takes no steps
    except ray.exceptions.RayError as problem:
        return f"cannot run a task: {_first_line(problem)}"


def unfit(found: list[str]) -> UsageError:
    """Return the error about machines that cannot do steps of this run."""
    more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
    lines = "; ".join([*found[:_MOST_NAMED], *more])
    return UsageError(
        f"executor ray: {len(found)} of the cluster's machines cannot do steps of this run: {lines}",
        hint="every machine needs the same genbench, and the store in a folder that all see under the same "
        "name: --store DIR   (`genbench docs ray` says more)",
    )
