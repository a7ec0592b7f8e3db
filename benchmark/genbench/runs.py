"""Which folder a run has, so that none overwrites another one's board; and the index of runs.

A folder holds one run: `run.json` says what it compares. A run with everything that a folder's run has, and
perhaps more (seeds, generators, evaluators), updates that folder; any other one gets a folder of its own,
`NAME-2`, `NAME-3`. A folder without a measurement is free. A run looks when it begins, and again before it
publishes, both while it locks the folder of folders: of two that begin at once only one gets a new folder,
and one that was overtaken by a larger run leaves that one's board alone. The store keeps a line about every
run, by which `genbench runs` finds folders wherever they are; the folders themselves are believed first.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from genbench.digest import digest
from genbench.disk import make_folder, remove_place, write_atomically
from genbench.errors import GenbenchError, Interrupted, UsageError
from genbench.locks import locking, named_once
from genbench.notation import paths_begin_in
from genbench.plan import Plan, mix_label
from genbench.spec import Resolved
from genbench.store import Store
from genbench.suite import Suite, load_suite
from genbench.untrusted import parse_json, read_text

FILE, SUITE, RECORDS = "run.json", "suite.toml", "records"
BOARDS = ("leaderboard.md", "leaderboard.csv", "leaderboard.json")
#: What a run writes into its folder, besides records and pictures.
WRITTEN = (*BOARDS, "pictures.md", SUITE, FILE)
_INDEX = "index_of_runs"  #: in the store; its folder `runs` holds the marks of living ones
_MOST_BYTES, _MOST_DEPTH = 64 * 2**20, 10
_MOST_FOLDERS = 1000  #: of one name
_MOST_ATTEMPTS = 20  #: at taking a folder, where others are faster
_PUBLISHING_SECONDS = 60.0  #: after which whoever writes to a folder must have been stopped
_LONGEST_DIFFERENCE = 3  #: labels of a kind that a message names

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
State = Literal["running", "stopped", "done"]


class Scope(BaseModel):
    """What a run compares: the product of its parts, for the first seeds.

    Attributes:
        shared: What all cells have in common, by name: preset, base seed, reference, rules.
        parts: Datasets, classifiers, rows and evaluators: label by digest of everything that enters a key.
        seeds: How many are planned.
        look: After how many of them test is read.
        looks: The planned looks before that.
    """

    model_config = ConfigDict(frozen=True)

    shared: Mapping[str, str]
    parts: Mapping[str, Mapping[str, str]]
    seeds: int
    look: int
    looks: tuple[int, ...] = ()

    def covers(self, other: "Scope") -> bool:
        """Say whether this run has everything that the other one has."""
        return not any(self._differences(other))

    def difference(self, other: "Scope") -> str:
        """Say in a few words why this run does not cover the other one."""
        return "; ".join(self._differences(other))

    def _differences(self, other: "Scope") -> Iterator[str]:
        for name in sorted({*self.shared, *other.shared}):
            mine, theirs = self.shared.get(name, "none"), other.shared.get(name, "none")
            if mine != theirs:
                yield f"{name} {_named(theirs)}, not {_named(mine)}"
        for kind, part in other.parts.items():
            own = self.parts.get(kind, {})
            lacking = [label for key, label in part.items() if key not in own]
            alike = [label for label in lacking if label in own.values()]
            if alike:
                yield f"{kind} {_listed(alike)} with other content, options or version"
            elif lacking:
                yield f"{kind} {_listed(lacking)}"
        if self.seeds < other.seeds or self.look < other.look:
            yield f"{_seeds(other.look)}, not {self.look}"
        if not set(other.looks) <= {*self.looks, self.look, self.seeds}:
            yield f"looks at {list(other.looks)}"


class Run(BaseModel):
    """One line of the index, and what `run.json` holds.

    Attributes:
        id: Of the folder's run, from its first attempt on.
        name: The suite's.
        began: When the latest attempt began, UTC, ISO 8601.
        ended: When it ended, or empty.
        state: `running` until it ended; whether its process lives, `Listed.state` says.
        command: What repeats it.
        typed_in: The folder where that was typed, as seen from the run's folder.
        paths_from: The folder in which the suite's paths begin, as seen from there; empty if it is the same.
        what: What it compares, in a line.
        cells: How many cells it planned.
        measured: How many of them are on the board.
        failed: How many failed.
        headline: What came out, in words.
        host: Where it ran.
        pid: Its process there.
        scope: What it compares.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    id: Key
    name: str
    began: str
    ended: str = ""
    state: State = "running"
    command: str
    typed_in: str = ""
    paths_from: str = ""
    what: str
    cells: int
    measured: int = 0
    failed: int = 0
    headline: str = ""
    host: str = ""
    pid: int = 0
    scope: Scope

    @property
    def is_alive(self) -> bool:
        """Whether its process may still be at it."""
        if self.state != "running" or self.host != socket.gethostname():
            return self.state == "running"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # it is another user's
            return True
        return True


class Place(NamedTuple):
    """The folder that a run writes to.

    Attributes:
        folder: Which.
        before: The run that it held, and that this one continues; None for a new one.
        notice: What to say of that choice; empty where there is nothing to say.
    """

    folder: Path
    before: Run | None = None
    notice: str = ""


def scope_of(plan: Plan) -> Scope:
    """Return what a plan compares."""
    parts: dict[str, dict[str, str]] = {"dataset": {}, "row": {}, "classifier": {}, "evaluator": {}}
    seen: set[tuple[int, ...]] = set()
    for arm in (cell.arm for cell in plan.cells):
        about = (id(arm.dataset), id(arm.generator), id(arm.filter), id(arm.mix), id(arm.classifier))
        if about in seen or arm.classifier is None or arm.mix is None:
            continue
        seen.add(about)
        _add(parts["dataset"], arm.dataset)
        _add(parts["classifier"], arm.classifier)
        row = [arm.generator.identity, arm.filter.identity, arm.mix.model_dump(mode="json")]
        images = arm.generator.label + (f"+{arm.filter.label}" if arm.filter.name != "none" else "")
        parts["row"][digest(row)] = f"{images} {mix_label(arm)}"
    for planned in plan.records.values():
        _add(parts["evaluator"], planned.evaluator)
    protocol, declared = plan.protocol, plan.declared.declaration if plan.declared else None
    shared = {
        "preset": protocol.preset,
        "base seed": str(protocol.base_seed),
        "reference": digest(protocol.reference.identity)[:12] if protocol.reference else "",
        "protocol": str(protocol.version),
        "choosing seeds": str(declared.choosing_seeds if declared else 0),
    }
    seeds = plan.planned_indices
    looks = declared.looks if declared else ()
    return Scope(
        shared=shared, parts=parts, seeds=seeds, look=declared.look if declared else seeds, looks=looks
    )


def choose_place(out: Path, suite: Suite, scope: Scope, *, named: bool = False) -> Place:
    """Return the folder of a run in `out`: that of the run it continues, else a free one.

    Args:
        out: Where the folders of runs are.
        suite: What is run; its name is the folder's.
        scope: What it compares.
        named: Whether somebody chose that very name: no other one is taken then.

    Raises:
        UsageError: The chosen name is that of another run.
    """
    free, covered, first = None, None, ""
    base = out / suite.name
    for folder in [base] if named else _folders(base):
        before = read_run(folder)
        if before is not None and before.scope == scope:
            return Place(folder, before)
        if is_free(folder, before):
            free = free or folder
            if not folder.exists():
                break
        elif before is not None and scope.covers(before.scope):
            covered = covered or Place(folder, before, _growth(folder, before.scope, scope))
        elif before is None and _is_older_genbenchs(folder, suite):
            return Place(folder)
        else:
            difference = scope.difference(before.scope) if before else "nothing that says what it compares"
            first = first or f"{folder} holds another run, with {difference}"
    if covered is not None:
        return covered
    if free is None:
        raise UsageError(f"--name {suite.name}: {first}", hint="choose another name, or remove that folder")
    return Place(free, None, f"{first}: this one is written to {free}" if first else "")


def is_free(folder: Path, held: Run | None) -> bool:
    """Say whether nothing would be lost if a run wrote here: there is no board, and no run at work."""
    if any((folder / name).exists() for name in BOARDS):
        return False
    if held is not None:
        return not held.measured and not held.is_alive
    return not (folder / RECORDS).exists()


MakeRun = Callable[[Place], Run]


@contextlib.contextmanager
def claimed(
    out: Path, suite: Suite, scope: Scope, store: Store, make_run: MakeRun, *, named: bool = False
) -> Iterator[tuple[Place, Run]]:
    """Choose the folder of a run and mark it as this run's while it runs, before anybody else can.

    A new folder that got nothing else is removed again. A folder that the run continues stays as it is until
    there is something to write. The mark of a process that died gives way.

    Args:
        out: As for `choose_place`; so are `suite`, `scope` and `named`.
        suite: See there.
        scope: See there.
        store: Where the run is remembered.
        make_run: Returns the run's line, given its folder.
        named: See there.

    Raises:
        UsageError: The chosen name is that of another run.
    """
    place, run, is_new = _claim(out, suite, scope, make_run, named=named)
    _index(store, place.folder, run)
    try:
        yield place, run
    except Interrupted:
        stopped = run.model_copy(update={"state": "stopped", "ended": now()})
        with _only_one(out):
            is_marked = _is_marked(place.folder, run)
            if is_marked:
                write_run(place.folder, stopped)
        if is_marked or place.before is not None:
            _index(store, place.folder, stopped)
        raise
    except GenbenchError:
        with _only_one(out):
            if _is_marked(place.folder, run):  # by now it may be that of a larger run
                _forget(store, run)
                if is_new and [one.name for one in place.folder.iterdir()] == [FILE]:
                    remove_place(place.folder)
        if is_new:
            with contextlib.suppress(OSError):  # other runs are in it
                out.rmdir()
        raise


def _claim(
    out: Path, suite: Suite, scope: Scope, make_run: MakeRun, *, named: bool
) -> tuple[Place, Run, bool]:
    """Choose a folder and mark it; say, too, whether it was made for that."""
    for _ in range(_MOST_ATTEMPTS):
        make_folder(out)
        with _only_one(out):
            place = choose_place(out, suite, scope, named=named)
            run, is_new = make_run(place), not place.folder.exists()
            if place.before is not None:
                return place, run, False
            with contextlib.suppress(FileExistsError, FileNotFoundError):  # no locks here: look again
                make_folder(place.folder)
                _write_mark(place.folder, run)
                return place, run, is_new
    raise UsageError(f"{place.folder} cannot be taken for a run", hint="name another one with --name")


@contextlib.contextmanager
def place_to_publish(place: Place, run: Run, suite: Suite, make_run: MakeRun) -> Iterator[tuple[Place, Run]]:
    """Find the folder that a finished run may write to, its own or another one, and keep others out of it.

    While a run was at work, another one may have taken its folder or updated it: what that has and this run
    lacks would be lost.

    Args:
        place: What the run claimed.
        run: Its line.
        suite: What was run.
        make_run: Returns the run's line, given another folder.
    """
    make_folder(place.folder)
    with _only_one(place.folder, _PUBLISHING_SECONDS):
        found = _keep_or_leave(place, run, suite, make_run)
        moved = found[0].folder != place.folder
        lock = _only_one(found[0].folder, _PUBLISHING_SECONDS) if moved else contextlib.nullcontext()
        with lock:
            yield found


def _keep_or_leave(place: Place, run: Run, suite: Suite, make_run: MakeRun) -> tuple[Place, Run]:
    folder = place.folder
    with _only_one(folder.parent):
        held = read_run(folder)
        if is_free(folder, None) if held is None else run.scope.covers(held.scope):
            if held is None or held.scope != run.scope:
                write_run(folder, run)  # from now on nobody who covers less writes here
            return place, run
    other, its_run, _ = _claim(folder.parent, suite, run.scope, make_run, named=False)
    lacks = run.scope.difference(held.scope) if held is not None else "nothing that says what it compares"
    said = f"{folder} holds another run by now, with {lacks}: this one is written to {other.folder}"
    return other._replace(notice=said), its_run


@contextlib.contextmanager
def _only_one(folder: Path, seconds: float = 5.0) -> Iterator[None]:
    """Keep out other runs that look for a place in a folder, or write to it, where folders can be locked."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locking(folder, seconds=seconds))
        yield


def _write_mark(folder: Path, run: Run) -> None:
    """Write the `run.json` of a folder that is free; a new one only if there is none yet.

    Raises:
        FileExistsError: There is one by now.
    """
    if (folder / FILE).exists():  # what is left of a run that died, or failed
        write_run(folder, run)
        return
    draft = folder / f".{FILE}.{run.id}.tmp"
    write_atomically(draft, _as_json(run))
    try:
        if not named_once(draft, folder / FILE):
            raise FileExistsError(errno.EEXIST, "a run has it", str(folder / FILE))
    finally:
        draft.unlink(missing_ok=True)


def _is_marked(folder: Path, run: Run) -> bool:
    """Say whether a folder has the mark of this very attempt; two may begin in the same millisecond."""
    held = read_run(folder)
    return held is not None and _attempt(held) == _attempt(run)


def _attempt(run: Run) -> tuple[object, ...]:
    return run.id, run.began, run.host, run.pid, run.scope


def new_run(
    plan: Plan,
    suite: Suite,
    place: Place,
    command: str,
    scope: Scope | None = None,
    suite_file: Path | None = None,
) -> Run:
    """Return the line of a run that begins now.

    Args:
        plan: What is run.
        suite: The suite that it was made of.
        place: The folder that it has.
        command: What was typed. It repeats the run, unless it names the run's own folder: then that which
            made the folder does.
        scope: What it compares.
        suite_file: The file that the suite was read from.
    """
    found = scope or scope_of(plan)
    before, typed_in, paths_from = place.before, _relative(Path.cwd(), place.folder), ""
    base = paths_begin_in(suite_file) if suite_file is not None else None
    if base is not None:
        paths_from = _relative(base, place.folder)
    is_own = suite_file is not None and suite_file.parent.resolve() == place.folder.resolve()
    if before is not None and is_own and before.scope == found:
        command, typed_in = before.command, before.typed_in
        paths_from = before.paths_from
    return Run(
        id=place.before.id if place.before is not None else secrets.token_hex(6),
        name=suite.name,
        began=now(),
        command=command,
        typed_in=typed_in,
        paths_from=paths_from,
        what=_what(found),
        cells=len(plan.cells),
        host=socket.gethostname(),
        pid=os.getpid(),
        scope=found,
    )


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json`."""
    write_atomically(folder / FILE, _as_json(run))


def finish(folder: Path, run: Run, store: Store) -> None:
    """Write what became of a run, into its folder and the store's index."""
    write_run(folder, run)
    _index(store, folder, run)


def read_run(folder: Path) -> Run | None:
    """Return what a folder's `run.json` says; None where there is none that can be read."""
    return _read(folder / FILE)


# -------------------------------------------------------------------------------------------------- the index


class Listed(NamedTuple):
    """A run as it is listed.

    Attributes:
        run: What is known of it.
        folder: Its folder, absolute.
        is_there: Whether the folder is where it was.
    """

    run: Run
    folder: Path
    is_there: bool

    @property
    def state(self) -> State:
        """What it is at; a run whose process died is `stopped`."""
        return "stopped" if self.run.state == "running" and not self.run.is_alive else self.run.state


def list_runs(store: Store | None, folders: Iterable[Path]) -> list[Listed]:
    """Return the runs that the store remembers or the folders hold, the newest first.

    A folder that was moved is found where it is now, if that is among `folders`; one that holds another run
    by now is that run's alone.

    Args:
        store: Whose index is read; None for none.
        folders: Of runs, or with folders of runs in them, one or two levels down.
    """
    found: dict[Path, Listed] = {}
    for folder in folders:
        for file in sorted(path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}{FILE}")):
            run = _read(file)
            if run is not None:
                place = file.parent.resolve()
                found[place] = Listed(run, place, True)
    known = {one.run.id for one in found.values()}
    for folder, remembered in _indexed(store) if store is not None else ():
        here = read_run(folder)
        if here is not None and here.id == remembered.id:
            newest = max(here, remembered, key=lambda one: one.began)
            found.setdefault(folder, Listed(newest, folder, True))
        elif here is None and remembered.id not in known:
            found.setdefault(folder, Listed(remembered, folder, False))
    return sorted(found.values(), key=lambda one: (one.run.began, str(one.folder)), reverse=True)


def _index(store: Store, folder: Path, run: Run) -> None:
    """Remember a run in the store, which may lose it."""
    content = {"folder": str(folder.resolve()), "run": run.model_dump(mode="json")}
    with contextlib.suppress(OSError):
        place = make_folder(store.root / _INDEX)
        write_atomically(place / f"{run.id}.json", json.dumps(content).encode())


def _indexed(store: Store) -> Iterator[tuple[Path, Run]]:
    for file in sorted((store.root / _INDEX).glob("*.json")):
        with contextlib.suppress(ValueError, ValidationError, TypeError, KeyError):
            content = parse_json(read_text(file, _MOST_BYTES), _MOST_DEPTH)
            yield Path(content["folder"]), Run.model_validate(content["run"])


def _forget(store: Store, run: Run | None) -> None:
    if run is not None:
        with contextlib.suppress(OSError):
            (store.root / _INDEX / f"{run.id}.json").unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------- helpers


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _as_json(run: Run) -> bytes:
    text = json.dumps(run.model_dump(mode="json"), indent=1, ensure_ascii=False, sort_keys=True)
    return f"{text}\n".encode()


def _read(file: Path) -> Run | None:
    try:
        return Run.model_validate(parse_json(read_text(file, _MOST_BYTES), _MOST_DEPTH))
    except (ValueError, ValidationError):
        return None


def _folders(base: Path) -> Iterator[Path]:
    """Yield the folders that a run of this name may have, the first one first."""
    yield base
    for number in range(2, _MOST_FOLDERS):
        yield base.with_name(f"{base.name}-{number}")
    raise UsageError(
        f"{base} and {_MOST_FOLDERS - 2} more folders hold other runs", hint="name one with --name"
    )


def _is_older_genbenchs(folder: Path, suite: Suite) -> bool:
    """Say whether a folder without `run.json` holds this very suite, by the `suite.toml` in it."""
    try:
        return load_suite(folder / SUITE).model_copy(update={"name": suite.name}) == suite
    except GenbenchError:
        return False


def _growth(folder: Path, before: Scope, after: Scope) -> str:
    more = [
        f"{kind} {_listed(new)}"
        for kind, found in after.parts.items()
        if (new := [label for key, label in found.items() if key not in before.parts.get(kind, {})])
    ]
    more += [f"{_seeds(after.look)} instead of {before.look}"] if after.look > before.look else []
    return f"{folder} is updated: {'; '.join(more) or 'more is planned'}"


def _add(part: dict[str, str], component: Resolved) -> None:
    part[digest(component.identity)] = component.label


def _what(scope: Scope) -> str:
    """Say what is compared: `digits: none, ddpm x1-standard; resnet32; 5 seeds; preset quick`."""
    named = {kind: _listed(list(found.values()), 6) for kind, found in scope.parts.items()}
    parts = [f"{named['dataset']}: {named['row']}", named["classifier"], _seeds(scope.look)]
    return "; ".join([*parts, f"preset {scope.shared['preset']}"])


def _listed(labels: Sequence[str], most: int = _LONGEST_DIFFERENCE) -> str:
    rest = len(labels) - most
    return ", ".join([*labels[:most], *([f"and {rest} more"] if rest > 0 else [])])


def _seeds(number: int) -> str:
    return f"{number} seed{'s' * (number != 1)}"


def _named(value: str) -> str:
    return value or "none"


def _relative(there: Path, here: Path) -> str:
    """Return the way from a folder to another one, which holds where both are moved together."""
    try:
        return Path(os.path.relpath(there.resolve(), here.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(there)
