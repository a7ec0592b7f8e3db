"""An executor by its name and options: `processes`, `ray:address=auto`."""

from genbench.digest import file_digest
from genbench.errors import UsageError
from genbench.executors.base import Executor, Setup
from genbench.executors.config import ExecutorConfig
from genbench.notation import parse_reference
from genbench.registry import Registry, import_target, missing_modules
from genbench.spec import Resolved, resolve


def engine_named(registry: Registry, text: str) -> Resolved:
    """Settle what `--executor` names, as every component is settled; no engine is imported.

    Raises:
        UsageError: There is no such executor or option, or a value is out of bounds.
    """
    return resolve(registry, "executor", parse_reference(text), "quick", file_digest)


def check_engine(registry: Registry, engine: Resolved) -> None:
    """Refuse an executor that could not work here, before anything runs.

    Raises:
        GenbenchError: A module, a program or a cluster is missing.
    """
    missing = missing_modules(engine.spec)
    if missing:
        own = registry.owner("executor", engine.name).builtin
        raise UsageError(
            f"executor {engine.name}: needs the Python module {missing[0]!r}, which is not installed",
            hint=f"pip install {f'genbench[{engine.name}]' if own else missing[0].partition('.')[0]}",
        )
    engine.config.check_machine()


def has_workers(engine: Resolved) -> bool:
    """Say whether tasks of an executor run in processes of their own."""
    return bool(_class_of(engine).has_workers)


def jobs_elsewhere(engine: Resolved) -> int | None:
    """Return how many tasks an executor does at a time that are not on this machine; None: they are."""
    assert isinstance(engine.config, ExecutorConfig)
    return None if engine.config.is_here else engine.config.jobs_elsewhere


def make_executor(engine: Resolved, setup: Setup) -> Executor:
    """Build an executor; its workers may start at once.

    Raises:
        PluginError: It cannot be imported.
        GenbenchError: It cannot work here.
    """
    assert isinstance(engine.config, ExecutorConfig)
    return _class_of(engine)(engine.config, setup)


def _class_of(engine: Resolved) -> type[Executor]:
    found: type[Executor] = import_target(engine.spec.target, engine.name)
    return found
