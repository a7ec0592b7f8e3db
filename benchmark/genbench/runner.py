"""Walk a plan: skip what the store has, hand the rest to an executor, compose the records."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from genbench import preflight
from genbench.addresses import is_address
from genbench.compose import Composer
from genbench.devices import gpu_memory_bytes
from genbench.errors import Interrupted, UsageError
from genbench.executors import Executor, Setup
from genbench.executors.config import ExecutorConfig
from genbench.executors.making import engine_named, has_workers, make_executor
from genbench.interrupts import cleaning, heeded, saving
from genbench.needs import needs_of
from genbench.observers import facts_of, told, with_first_look, with_plugins
from genbench.outlook import changed_code
from genbench.parcels import Parcel
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.rooms import can_confine
from genbench.spec import Resolved
from genbench.store import Store
from genbench.walk import Observer, RunSummary, Walk
from genbench.worker import RunOptions, worker_environments, worker_threads

__all__ = ["GRACE_SECONDS", "WORKER", "Observer", "RunSummary", "run"]

GRACE_SECONDS = 10.0  #: how long a step may take to save its work after Ctrl-C
WORKER = "genbench.worker:make_worker"


def run(
    plan: Plan, store: Store, registry: Registry, options: RunOptions, observer: Observer | None = None
) -> RunSummary:
    """Run every step that the store lacks, and return the records of the plan.

    A failed step fails the cells that need it; the others still run, if there are any. Ctrl-C, SIGTERM and
    SIGHUP save the work of running steps; the next one ends the run at once.

    Raises:
        Interrupted: A signal; the same plan resumes where it stopped.
        StoreError: The store is full, read-only or failing.
        GenbenchError: The plan could not succeed (`genbench.preflight`), or every cell of it needs a dataset
            that cannot be loaded.
    """
    _check_confinement(options.confine)
    watcher = with_first_look(observer or Observer(), plan, store)
    watcher = with_plugins(watcher, plan, store, registry, options.command)
    with heeded(), contextlib.ExitStack() as held:
        try:
            # The mark comes before the look at the store: what is there now, `store gc` spares.
            held.enter_context(store.leases.beating())
            held.enter_context(store.leases.needing(plan.steps))
            walk = Walk(plan, store, registry, watcher, options)
            preflight.check(plan, walk.missing, store, registry, options.executor)
            with told(watcher, facts_of(plan, len(walk.missing), store, options), walk.summary):
                _carry_out(walk, plan, store, registry, options, watcher)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command resumes") from None
        finally:
            with cleaning():
                held.close()
    return walk.summary


def _carry_out(
    walk: Walk, plan: Plan, store: Store, registry: Registry, options: RunOptions, watcher: Observer
) -> None:
    """Do what is missing, and compose the records."""
    watcher.planned([plan.steps[key] for key in walk.missing], plan)
    for remark in (
        *_remarks(plan, walk.missing, store, registry),
        *preflight.remarks(plan, walk.missing, store, registry),
    ):
        watcher.notice(remark)
    if walk.missing:
        _execute(walk, lambda: _make_executor(plan, store, registry, options, walk))
    composer = Composer(plan, store, options.command, keep=options.keep_records)
    walk.summary.records = list(composer.all_records(walk.summary.failed))


def _remarks(plan: Plan, missing: Sequence[str], store: Store, registry: Registry) -> Iterator[str]:
    """Say how data are read, which results were damaged, and which plugins changed since theirs were made."""
    yield from store.backend.remarks()
    yield from plan.remarks({plan.steps[key].stage for key in missing})
    while store.found_damaged:
        damage = store.found_damaged.pop()
        what = plan.steps[damage.key].label if damage.key in plan.steps else damage.key[:12]
        yield f"a damaged result is made again: {what} ({damage.reason})"
    yield from changed_code(plan, store, registry)


def _execute(walk: Walk, make_executor: Callable[[], Executor]) -> None:
    """Walk with an executor of its own, which a signal lets save its work; the next one ends it at once."""
    executor: Executor | None = None
    try:
        executor = make_executor()
        walk.go(executor)
    except KeyboardInterrupt:
        if executor is not None:
            with saving():
                executor.stop(GRACE_SECONDS)
        raise
    finally:
        with cleaning():
            if executor is not None:
                executor.close()


def _make_executor(plan: Plan, store: Store, registry: Registry, options: RunOptions, walk: Walk) -> Executor:
    engine = engine_named(registry, "inline" if options.jobs == 0 else options.executor)
    settings: Mapping[str, object] = {
        "root": store.address,
        "plugins": Parcel.of(registry),
        "options": options,
        "shares_process": not has_workers(engine),
        "expects_guests": bool(walk.guests),
    }
    jobs = max(1, min(options.jobs, len(walk.missing)))
    threads = _threads(engine, options.device, jobs)
    if has_workers(engine):
        walk.needs = needs_of(plan, walk.missing, store, registry, options.device, threads)
    setup = Setup(
        WORKER,
        settings,
        threads=threads,
        environments=worker_environments(options.gpus, jobs),
        jobs=jobs,
        timeout_seconds=options.step_timeout_seconds,
        retries=_retries(engine, options),
        gpu_memory_bytes=gpu_memory_bytes() if options.gpus else (),
        shared_folder="" if is_address(store.address) else store.address,
    )
    return make_executor(engine, setup)


def _threads(engine: Resolved, device: str, jobs: int) -> int:
    """Return the threads of each worker; with one elsewhere, the cores of this machine have nothing to do."""
    assert isinstance(engine.config, ExecutorConfig)
    if engine.config.is_here:
        return worker_threads(device, jobs)
    return engine.config.threads_elsewhere if device.startswith("cuda") else 1


def _retries(engine: Resolved, options: RunOptions) -> int:
    assert isinstance(engine.config, ExecutorConfig)
    return engine.config.usual_retries if options.retries is None else options.retries


def _check_confinement(confine: str) -> None:
    """Refuse to start where plugins shall be confined and cannot be."""
    if confine in {"require", "all"} and not can_confine():
        raise UsageError(
            f"--confine {confine}: this machine cannot confine a process: it needs Linux 5.13 or newer with "
            "Landlock",
            hint="--confine auto runs plugins in processes of their own that keep their rights",
        )
