"""A step whose code is a stranger's, seen from outside: its room is opened, and what it left is looked at."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from genbench import watch
from genbench.artifacts import ENGINE_FACTS, read_curve, read_evaluation, read_training
from genbench.documents import the
from genbench.errors import GuestError, PluginError, SpoiledProcessError
from genbench.escaping import exception_text
from genbench.hub import MIRROR_VARIABLE
from genbench.manifests import entries
from genbench.plan import Guest
from genbench.rooms import Order, Rights, can_confine, is_private, merged, stay, usual_rights
from genbench.steps.dataset import open_splits
from genbench.steps.embed import open_features, open_summary
from genbench.steps.filtering import check_left
from genbench.steps.guest import TARGET, Visit, rights
from genbench.steps.predict import PIXELS, Questions
from genbench.steps.samples import open_sample
from genbench.steps.workshop import Facts, Job, Rooms
from genbench.store import Artifact

SHARED = "no: it shared a process with other code (--jobs 0)"
_CANNOT, _OFF = "no: this machine cannot", "no: --confine off"
_CACHES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}  # of weights, below the user's cache folder


def visit(job: Job[Any], rooms: Rooms) -> Facts:
    """Do a step in a room, and check what it left before anything of it is read.

    Raises:
        GenbenchError: The step cannot be done.
        GuestError: Whatever else its code raised.
    """
    step, ctx, guest = job.step, job.ctx, job.step.guest
    assert guest is not None  # or it would not be here
    questions = Questions(open_splits(the(job.given.dataset)), step.key) if step.stage == "predict" else None
    answers: Mapping[str, Callable[[], bytes]] = {PIXELS: questions.next_batch} if questions else {}
    with job.workshop.store.room_folder(step.key) as home, tempfile.TemporaryDirectory(prefix="gb-") as short:
        payload = Visit(
            step,
            job.given,
            [record.to_json() for record in job.records],
            rooms.source.limited_to(guest.plugins),
            ctx.files,
            ctx.work,
            ctx.device,
            ctx.checkpoint_seconds,
            rooms.max_memory_gib,
        )
        order = Order(
            TARGET,
            payload,
            home,
            Path(short),
            _rights(job, guest, rooms, [home, Path(short)]),
            network=guest.network,
            threads=torch.get_num_threads(),
            environment=_environment(guest, home),
        )
        try:
            found = stay(order, job.workshop.store.log_path(step.key), ctx.report, ctx.must_stop, answers)
        except GuestError as problem:
            raise _explained(problem, order) from None
    refuse_odd_files(ctx.files)
    if questions is not None:
        questions.write_answers(ctx.files)
    _read_back(job, ctx.files)
    for change in found.left:
        ctx.log.warning("in its process: %s", change)
    confined = found.in_force or (_OFF if rooms.confine == "off" else _CANNOT)
    plugin = {**guest.facts, "confined": confined, "changed": list(found.left)}
    return {**_known(found.facts), "plugin": plugin}


def _known(facts: Facts) -> dict[str, Any]:
    """Return what a room may say of an attempt: single values by the names that we know, and nothing else."""
    peak = facts.get("peak_memory_bytes")
    found: dict[str, Any] = {"peak_memory_bytes": peak if type(peak) is int and peak >= 0 else 0}
    engine = {name: facts[name] for name in ENGINE_FACTS if name in facts}
    return found | {name: one for name, one in engine.items() if isinstance(one, bool | int | str)}


@contextlib.contextmanager
def watched(job: Job[Any]) -> Iterator[None]:
    """Let a stranger's code run in this process, and see whether the process can be used afterwards.

    Raises:
        SpoiledProcessError: It changed what others use.
    """
    before = watch.take(watch.attributes(core=True))
    yield
    watch.let_threads_end(before)
    found = watch.changes(before, watch.take(watch.attributes(core=True)))
    if found:
        raise SpoiledProcessError(
            f"{job.step.label}: code of a third party changed the process that it shares with all others "
            f"(--jobs 0): {'; '.join(found)}",
            hint="--jobs 1 runs it in a process of its own",
        )


def _read_back(job: Job[Any], folder: Path) -> None:
    """Read what is read of a step later, when it would be too late to say whose fault it is.

    Raises:
        PluginError: It cannot be read.
    """
    step = job.step
    left = Artifact(folder, step.document, {}, {})
    readers: Mapping[str, Callable[[], object]] = {
        "dataset": lambda: [images.labels for images in open_splits(left).opened.values()],
        "fit": lambda: read_curve(left),
        "sample": lambda: open_sample(left),
        "filter": lambda: check_left(job.given, left),
        "train": lambda: read_training(left),
        "embed": lambda: open_features(left) if "split" in step.document else open_summary(left),
        "evaluate": lambda: read_evaluation(left, step.document["subject"]),
    }
    try:
        readers.get(step.stage, lambda: None)()
    except Exception as problem:  # of whatever kind: it is about files that a stranger's process wrote
        said = exception_text(problem, 200)
        raise PluginError(f"the step left files that cannot be read: {said}") from problem


def refuse_odd_files(folder: Path) -> None:
    """Refuse what is no plain file of the step's own: a link could lead to any other file.

    Raises:
        PluginError: There is such a thing.
    """
    try:
        for name, state in entries(folder):
            is_file = stat.S_ISREG(state.st_mode) and state.st_nlink == 1
            if not (is_file or stat.S_ISDIR(state.st_mode)):
                raise PluginError(
                    f"the step left {name}, which is a link or no file: "
                    "only plain files become part of a result"
                )
    except OSError as problem:
        raise PluginError(f"the step left {problem.filename}, which cannot be read") from None


def _rights(job: Job[Any], guest: Guest, rooms: Rooms, own: list[Path]) -> Rights | None:
    """Return what a room may read and write; None where it keeps all rights."""
    if rooms.confine == "off" or not can_confine():
        return None
    mirror = os.environ.get(MIRROR_VARIABLE)
    data = [Path(path) for path in (*guest.protected, *([mirror] if mirror else []))]
    gpu = job.ctx.device.startswith("cuda")
    usual = usual_rights(gpu=gpu, network=guest.network, protected=[job.workshop.store.root, *data])
    caches = [Path(path) for path in _cache_folders().values()] if guest.network else []
    for cache in caches:  # a rule needs something that is there
        cache.mkdir(parents=True, exist_ok=True)
    inner = rights(job.step, guest, job.given, [job.ctx.files, job.ctx.work, *own, *caches])
    return merged(usual, inner, Rights(listed=(Path(mirror),) if mirror else ()))


def _environment(guest: Guest, home: Path) -> dict[str, str]:
    """Return the variables that a room needs: where weights are, and keys where it may use the network."""
    own = {"HF_DATASETS_CACHE": str(home / "datasets")}  # what it writes of data is its own
    if guest.network:
        keys = {name: value for name, value in os.environ.items() if is_private(name)}
        return {**_cache_folders(), **own, **keys}
    # A token that lies in the cache of weights may not be read, which is no reason to fail.
    return {**_cache_folders(), **own, "HF_TOKEN_PATH": str(home / "token")}


def _cache_folders() -> dict[str, str]:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = {name: os.environ.get(name) or str(caches / folder) for name, folder in _CACHES.items()}
    return {**found, "HF_HUB_CACHE": os.environ.get("HF_HUB_CACHE") or str(Path(found["HF_HOME"]) / "hub")}


def _explained(problem: GuestError, order: Order) -> GuestError:
    """Add to a refusal by the guards what they are, and how to do without."""
    is_refusal = problem.errno == errno.EACCES or os.strerror(errno.EACCES) in str(problem)
    if not is_refusal or (order.rights is None and order.network):
        return problem
    return GuestError(
        f"{problem} (its process is confined: it may read its inputs and the files that its options name, "
        "and use the network if it declares so; --confine off runs it without)",
        problem.details,
        problem.errno,
    )
