"""A SLURM cluster of one node on this machine, from Debian's packages: no systemd, no accounting.

`python tests/slurm_cluster.py FOLDER` starts one, says what to export, and ends it on Ctrl-C.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
_START_SECONDS = 20.0
_CONFIG = """\
ClusterName=genbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
InactiveLimit=0
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
DefMemPerCPU=200
MinJobAge=300
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=60 DefaultTime=10 PriorityTier=1 GraceTime=2 State=UP
PartitionName=high Nodes={host} MaxTime=60 DefaultTime=10 PriorityTier=9 PreemptMode=off State=UP
"""


def lacking() -> str:
    """Say why no cluster can be started here; empty where one can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        what = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
        return f"no {', '.join(missing)} here ({what})"
    return "" if os.geteuid() == 0 else "starting daemons takes root"


class NotStartedError(RuntimeError):
    """A daemon did not start."""


@dataclass
class Cluster:
    """A cluster, and its daemons."""

    folder: Path
    cpus: int = 4  # that it says it has; tests wait more than they compute
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes SLURM's commands talk to it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start munge, the controller and the node's daemon.

        Raises:
            NotStartedError: One did not; the message has the ends of their logs.
        """
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o755, parents=True)
        host = socket.gethostname().partition(".")[0]
        config = _CONFIG.format(
            host=host, folder=self.folder, ports=_free_ports(2), cpus=self.cpus, megabytes=8000
        )
        (self.folder / "slurm.conf").write_text(config)
        munge = self.folder / "munge"
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self._spawn("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *files)
        self._until((munge / "socket").exists, "munged")
        self._spawn("slurmctld", "-D", "-c")
        self._spawn("slurmd", "-D")
        self._until(lambda: b"idle" in self.call("sinfo", "-h", "-o", "%T"), "the node")

    def stop(self) -> None:
        """End all jobs and daemons."""
        with contextlib.suppress(NotStartedError, subprocess.SubprocessError):
            self.call("scancel", "--user=root")
            self.call("scancel", "--user=root", "--signal=KILL", "--full")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons.clear()

    def call(self, *words: str) -> bytes:
        """Call one of SLURM's commands; return what it prints, or nothing if it fails."""
        environment = {**os.environ, **self.environment}
        found = subprocess.run(words, env=environment, capture_output=True, timeout=30, check=False)
        return found.stdout if found.returncode == 0 else b""

    def _spawn(self, name: str, *words: str) -> None:
        program = _program(name)
        assert program is not None
        environment = {**os.environ, **self.environment}
        log = (self.folder / f"{name}.out").open("wb")
        with log:
            self.daemons.append(
                subprocess.Popen(
                    [program, *words],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    preexec_fn=_end_with_parent,  # noqa: PLW1509 - it takes no lock
                )
            )

    def _until(self, is_there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while not is_there():
            if time.monotonic() > end or any(one.poll() is not None for one in self.daemons):
                logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
                ends = "\n".join(f"{one.name}: {one.read_text(errors='replace')[-800:]}" for one in logs)
                raise NotStartedError(f"{what} did not start:\n{ends}")
            time.sleep(0.1)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="genbench-slurm-"))
    folder.chmod(0o755)
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    """Have the kernel end a daemon when the tests die (Linux, where SLURM runs)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster() as running:
        sys.stdout.writelines(f"export {name}={value}\n" for name, value in running.environment.items())
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)
    sys.exit()
