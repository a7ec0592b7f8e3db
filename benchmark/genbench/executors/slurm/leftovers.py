"""What runs before ours left in the cluster: sessions whose jobs go on, though nobody listens to them.

A run that detached, or died, leaves jobs that finish what they have. Results are the same whoever makes them,
so nobody need stop them until a run hands over a step that one of them has: then its lease fences theirs, and
what they go on with at that step would be in vain. Such a step is called off there, it alone, and a job of
ours goes on from its last checkpoint. A session of which every step was called off is ended, with its jobs.
One whose run lives is none of our business: leases keep the two apart.
"""

import contextlib
from pathlib import Path

from genbench.executors.slurm import commands
from genbench.executors.slurm.commands import SlurmError
from genbench.executors.slurm.session import Session


class Leftovers:
    """The sessions in a folder that runs of the same store left.

    Args:
        folder: Where sessions are.
        ours: That of the run that asks.
    """

    def __init__(self, folder: Path, ours: Session) -> None:
        self._tasks: dict[Path, set[str]] = {}  # that no job has ended, by session
        mine = ours.owner
        for session in Session.left(folder):
            owner = session.owner
            if session.root != ours.root and owner and mine and owner.store == mine.store:
                with contextlib.suppress(Exception):  # of another version: leases fence its jobs all the same
                    self._tasks[session.root] = session.unfinished()
        self.tidy()

    def take(self, task_id: str) -> None:
        """Call a task off that is ours from now on."""
        for root in [root for root, tasks in self._tasks.items() if task_id in tasks]:
            self._tasks[root].discard(task_id)
            with contextlib.suppress(OSError):
                Session(root).cancel(task_id)
            if not self._tasks[root]:
                self._end(root)

    def tidy(self) -> None:
        """End sessions in which nothing is left to do."""
        for root in list(self._tasks):
            with contextlib.suppress(Exception):  # as above
                if not Session(root).unfinished():
                    self._end(root)

    def _end(self, root: Path) -> None:
        """End the jobs of a session, and remove it: keys are in it."""
        del self._tasks[root]
        with contextlib.suppress(OSError):
            Session(root).ask_to_stop("close")
        with contextlib.suppress(SlurmError):
            seen = [one for one in commands.queue() if one.comment.endswith(f":{root.name}")]
            commands.scancel([one.id for one in seen if not one.is_over])
        with contextlib.suppress(OSError):
            Session(root).remove(keep_logs=False)
