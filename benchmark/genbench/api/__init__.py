"""The Python interface: what the program does, for scripts and notebooks.

`run`, `plan` and `leaderboard` take what the command line takes, under the names that suites use for it
(`generators` for `--generator`), and return objects. What goes wrong is raised as a `GenbenchError`.

>>> import genbench
>>> outlook = genbench.plan(datasets="digits", generators="classical", classifiers=["mlp", "cnn"], seeds=2)
>>> len(outlook.cells), outlook.cells[0].name
(8, 'digits/none/standard/mlp/0')
>>> genbench.run(generator="classical")
Traceback (most recent call last):
    ...
genbench.errors.UsageError: genbench takes no option 'generator'. Did you mean generators? ...
"""

import contextlib
import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from pydantic import Field, ValidationError

from genbench.adoption import adopt
from genbench.api.cells import Cell
from genbench.api.results import Board, Outlook, Records, Results
from genbench.devices import choose_workers
from genbench.errors import UsageError, did_you_mean
from genbench.executors import Event
from genbench.executors.making import engine_named, jobs_elsewhere
from genbench.indexed import indexed_records
from genbench.options import Options
from genbench.outlook import survey
from genbench.plan import Plan, Step
from genbench.publish import Publication
from genbench.records import Record, explained
from genbench.request import make_registry, make_store, read_suite, settled, shell_line, suite_path
from genbench.runner import Observer
from genbench.runner import run as walk
from genbench.store import Store
from genbench.upkeep import saved_records
from genbench.worker import RunOptions

__all__ = ["Board", "Cell", "Outlook", "Records", "Results", "leaderboard", "plan", "run"]

Component = str | Mapping[str, Any]  #: `"ddpm:timesteps=100"`, or `{"use": "ddpm", "timesteps": 100}`
Components = Component | Sequence[Component]
F = TypeVar("F", bound=Callable[..., Any])
_LOG = logging.getLogger("genbench")
_NO_RESULT = frozenset({"store", "device", "jobs", "progress", "out", "records"})


class PlanOptions(TypedDict, total=False):
    """What to run: see `genbench run --help`. What can be given several times is one value or a list."""

    datasets: Components
    generators: Components
    filters: Components
    classifiers: Components
    evaluators: Components
    ratios: float | Sequence[float]
    modes: str | Sequence[str]
    augments: str | Sequence[str]
    budget: Literal["steps", "epochs"]
    budget_scales: float | Sequence[float]
    batch_fraction: float
    preset: str
    seeds: int
    choosing_seeds: int
    looks: int | Sequence[int]
    look: int
    base_seed: int
    limit_train: int
    limit_test: int
    reference: Component
    store: str | Path
    plugins: str | Path | Sequence[str | Path]
    no_plugins: bool


class AllOptions(PlanOptions, total=False):
    """What to run, and how.

    `jobs=0` runs in this process. `out` names a folder that gets what `genbench run` writes, in a folder of
    this run's, which `name` calls otherwise; without it, nothing is written but the store. `records` names
    records of an earlier run, or folders of them: what they tell is not measured again. `progress=True`
    prints a line per step.
    """

    device: Literal["auto", "cpu", "cuda"]
    jobs: int
    step_timeout: float
    checkpoint_every: float
    executor: str
    retries: int
    max_memory: float
    vectorize: Literal["auto", "on", "off"]
    confine: Literal["auto", "require", "off", "all"]
    out: str | Path
    name: str
    records: str | Path | Sequence[str | Path]
    progress: bool


_MANY = frozenset(
    ("datasets", "generators", "filters", "classifiers", "evaluators", "ratios", "modes", "augments")
) | {"budget_scales", "looks", "plugins", "records"}


def _shows(options: type[Any]) -> Callable[[F], F]:
    """Let `help` and completion show the options that a function takes as keywords."""

    def mark(function: F) -> F:
        own = [one for one in inspect.signature(function).parameters.values() if one.kind != one.VAR_KEYWORD]
        named: dict[str, Any] = {}
        for base in reversed(options.__mro__):
            named |= getattr(base, "__annotations__", {})
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in (options.__annotations__ | named).items()
        ]
        vars(function)["__signature__"] = inspect.Signature([*own, *added])
        return function

    return mark


@_shows(AllOptions)
def run(suite: str | Path | Mapping[str, Any] | None = None, **options: Unpack[AllOptions]) -> Results:
    """Run a suite, or the cells that options name, and return what came out.

    Args:
        suite: The name of a ready suite, a TOML file, or the entries of one; options override them.
        options: As on the command line; see `AllOptions`.

    Returns:
        Records, cells and the board. A cell that failed is a record with its reason, not an exception
        (`Results.failed`).

    Raises:
        GenbenchError: A name or value is wrong (UsageError), data cannot be read (DataError), the store is
            full (StoreError), or the run was interrupted: the same call resumes (Interrupted).
    """
    said = _checked(options, AllOptions)
    observer = _lines() if said.get("progress") else Observer(notice=_LOG.warning)
    return carry_out(suite, said, _command(suite, options), observer)


def carry_out(
    suite: str | Path | Mapping[str, Any] | None, said: Mapping[str, Any], command: str, observer: Observer
) -> Results:
    """Run what was asked for, as `run` does; for callers that show progress and name the command themselves.

    Args:
        suite: As for `run`.
        said: The options of `run` that were set; what may be given several times as tuples.
        command: The line of a shell that repeats the call.
        observer: What is told of steps and notices.

    Raises:
        GenbenchError: As for `run`.
    """
    asked_how, typed = _How.of(said), command
    asked = _Asked.of(suite, said)
    publication = None
    if "out" in said:
        out = Path(said["out"]).expanduser()
        publication = Publication.prepared(
            asked.plan,
            asked.suite,
            asked.store,
            out,
            command,
            named="name" in said,
            suite_file=suite_path(str(suite)) if isinstance(suite, str | Path) else None,
        )
        command = publication.run.command
    elsewhere = jobs_elsewhere(engine_named(asked.registry, asked_how.executor))
    how = RunOptions(
        **choose_workers(asked_how.device, asked_how.jobs, _LOG.warning, elsewhere=elsewhere)._asdict(),
        step_timeout_seconds=asked_how.step_timeout,
        checkpoint_seconds=asked_how.checkpoint_every,
        executor=asked_how.executor,
        retries=asked_how.retries,
        command=command,
        max_memory_gib=asked_how.max_memory,
        vectorize=asked_how.vectorize,
        confine=asked_how.confine,
    )
    try:
        with publication.claimed() if publication else contextlib.nullcontext():
            for change in asked.changes:
                observer.notice(change)
            if "records" in said:
                places = [Path(place).expanduser() for place in said["records"]]
                observer.notice(adopt(asked.plan, asked.store, places).remark)
            watched = publication.watched(observer) if publication else observer
            summary = walk(asked.plan, asked.store, asked.registry, how, watched)
    except UsageError:
        if _Asked.of(suite, said).changes == asked.changes:
            raise
        return carry_out(suite, said, typed, observer)  # how many images there are was not known before
    published = publication.publish(summary) if publication else None
    return Results(
        asked.plan, asked.store, asked.registry, summary, folder=published.folder if published else None
    )


@_shows(PlanOptions)
def plan(suite: str | Path | Mapping[str, Any] | None = None, **options: Unpack[PlanOptions]) -> Outlook:
    """Return the cells and steps of a run, and which of them the store has; nothing is run.

    Args:
        suite: As for `run`.
        options: As for `run`, as far as they say what to run.

    Raises:
        GenbenchError: As for `run`.
    """
    asked = _Asked.of(suite, _checked(options, PlanOptions))
    return Outlook(asked.plan, asked.store, asked.registry, survey(asked.plan, asked.store))


def leaderboard(
    records: str | Path | Record | Iterable[str | Path | Record] | None = None,
    *,
    store: str | Path | None = None,
    verified: Sequence[str | Path] = (),
    evaluate: str | Sequence[str] = (),
) -> Board:
    """Return the board of records.

    Args:
        records: Files or folders of records, records themselves, or both; None is all records of the store.
        store: Which store, where none are named.
        verified: What `genbench leaderboard verify` wrote, by somebody you trust.
        evaluate: Suite evaluators over all of these records: `"usefulness"`.

    Raises:
        DataError: A file is no record, or was edited.
        UsageError: There are no records.
    """
    found = list(_records_of(records)) if records is not None else list(_saved(_store(store)))
    if not found:
        raise UsageError("no records found", hint='genbench.run(generators="ddpm", classifiers="resnet32")')
    if evaluate:
        names = [evaluate] if isinstance(evaluate, str) else evaluate
        from genbench.findings import with_findings

        found = with_findings(names, found, make_registry((), no_plugins=True))
    return Board.of(found, verified=[Path(one) for one in verified])


# ------------------------------------------------------------------------------------------------ the request


class _How(Options):
    """The options that say how a run is done, with the bounds of the command line."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    jobs: int | None = Field(default=None, ge=0)
    step_timeout: float | None = Field(default=None, gt=0)
    checkpoint_every: float = Field(default=30.0, gt=0)
    executor: str = "processes"
    retries: int | None = Field(default=None, ge=0)
    max_memory: float | None = Field(default=None, ge=0.5)
    vectorize: Literal["auto", "on", "off"] = "auto"
    confine: Literal["auto", "require", "off", "all"] = "auto"

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "_How":
        """Take them from all options.

        Raises:
            UsageError: A value is none of those allowed.
        """
        try:
            return cls.model_validate({name: said[name] for name in cls.model_fields if name in said})
        except ValidationError as problem:
            raise UsageError(f"genbench.run: {explained(problem)}", hint="help(genbench.run)") from None


class _Asked:
    """What a call asked for, settled."""

    def __init__(self, registry: Any, store: Store, suite: Any) -> None:
        self.registry, self.store = registry, store
        self.plan, self.suite, self.changes = settled(registry, store, suite)

    @classmethod
    def of(cls, suite: str | Path | Mapping[str, Any] | None, said: Mapping[str, Any]) -> "_Asked":
        registry = make_registry(tuple(map(str, said.get("plugins", ()))), said.get("no_plugins", False))
        named = str(suite) if isinstance(suite, Path) else suite
        return cls(registry, _store(said.get("store")), read_suite(_plain(named), said, "genbench"))


def _checked(options: Mapping[str, Any], known: type[Any]) -> dict[str, Any]:
    """Return the options that were set, those that may be given several times as tuples.

    Raises:
        UsageError: There is no such option; the message names near ones.
    """
    names = [name for base in reversed(known.__mro__) for name in getattr(base, "__annotations__", {})]
    for name in options:
        if name not in names:
            raise UsageError(f"genbench takes no option {name!r}. {did_you_mean(name, set(names))}")
    said = {name: _plain(value) for name, value in options.items() if value is not None}
    for name in _MANY & said.keys():
        value = said[name]
        is_many = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
        said[name] = tuple(value) if is_many else (value,)
    return said


def _plain(value: Any) -> Any:
    """Return an option with texts for paths among the options of components, as suites have them."""
    if isinstance(value, Mapping):
        return {name: _text(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_text(one) for one in value]
    return str(value) if isinstance(value, Path) else _plain(value)


def _command(suite: object, options: Mapping[str, Any]) -> str:
    """Return the line of a shell that repeats a call; where and how it ran is left out."""
    said = {name: value for name, value in options.items() if value is not None and name not in _NO_RESULT}
    words = [_written(suite)] if suite is not None else []
    words += [f"{name}={_written(value)}" for name, value in said.items()]
    return shell_line(["python", "-c", f"import genbench; print(genbench.run({', '.join(words)}).board)"])


def _written(value: object) -> str:
    """Write a value for Python with double quotes, which need no others in a shell."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_written(key)}: {_written(one)}' for key, one in value.items())}}}"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Iterable):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value)


def _store(place: str | Path | None) -> Store:
    return make_store(place)


def _records_of(records: str | Path | Record | Iterable[str | Path | Record]) -> Iterable[Record]:
    if isinstance(records, str | Path | Record):
        records = [records]
    for one in records:
        if isinstance(one, Record):
            yield one
        elif not Path(one).exists():
            raise UsageError(f"no file or folder {str(one)!r}", hint="genbench.leaderboard('FOLDER/records')")
        else:
            yield from indexed_records([Path(one)])


def _saved(store: Store) -> Iterable[Record]:
    for path, found in saved_records(store):
        if isinstance(found, str):
            _LOG.warning("left out records/%s: %s", path.name, found)
        else:
            yield found


def _lines() -> Observer:
    """Return an observer that prints a line per finished step."""
    state = {"done": 0, "all": 0}

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def planned(steps: Sequence[Step], whole: Plan) -> None:
        state["all"] = len(steps)
        say(
            f"{len(whole.cells)} cells: {len(steps)} steps to run, {len(whole.steps) - len(steps)} are cached"
        )

    def event(step: Step, news: Event) -> None:
        if news.status in {"done", "failed"}:
            state["done"] += 1
            how = f"FAILED: {news.failure.reason}" if news.failure is not None else f"{news.seconds:.1f} s"
            say(f"[{state['done']}/{state['all']}] {step.label}  {how}")

    return Observer(planned=planned, event=event, notice=lambda message: say(f"note: {message}"))
