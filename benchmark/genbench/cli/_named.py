"""The cells that somebody means: by a cell's or a row's name, a run's folder, or the file of a record.

A run's folder holds its suite, and a record lies in one or says which command made it: neither asks for the
options of the run again.
"""

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from genbench.cli._options import make_plan_of, make_registry, make_store, read_suite, ready_suites
from genbench.cli._output import warn
from genbench.errors import DataError, UsageError
from genbench.notation import BARE, label_of, parse_reference
from genbench.request import OF_A_RUN

if TYPE_CHECKING:
    from genbench.plan import Cell, Plan
    from genbench.records import Record
    from genbench.registry import Registry
    from genbench.spec import Recorded, Resolved
    from genbench.store import Store
    from genbench.suite import Suite

_SUITE, _RECORDS = "suite.toml", "records"
_SHOWN_ROWS = 12
_FORM = (
    "genbench {command} FOLDER [ROW]   FOLDER is one of a run, as genbench-results/RUN (genbench runs lists "
    "them); a row or cell alone needs the options of its run"
)

#: The argument of commands that take any of these names.
named_argument: Callable[[Any], Any] = click.argument("what", metavar="CELL|FOLDER|RECORD")


class Named(NamedTuple):
    """Cells, with what is needed to open them.

    Attributes:
        registry: The components.
        store: Where results are.
        plan: The run that the cells are part of.
        cells: Those that were named, in the plan's order.
        folder: The run's, if one was named.
        command: What runs them.
    """

    registry: "Registry"
    store: "Store"
    plan: "Plan"
    cells: "Sequence[Cell]"
    folder: Path | None
    command: str


def named_cells(what: str, options: Mapping[str, Any]) -> Named:
    """Return the cells that are meant.

    Args:
        what: A cell or row of the run that `options` describe; a run's folder, of which `options["suite"]`
            may name a row; or a record's file.
        options: Those of the command.

    Raises:
        UsageError: There is no such thing; the message lists what there is.
    """
    place = Path(what)
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    if place.is_file() and (place.name == _SUITE or place.name in OF_A_RUN):
        if not (place.parent / _SUITE).is_file():
            raise _no_file_of_a_run(what)
        place = place.parent  # any file of a run's folder stands for the run
    if place.is_dir():
        file = _suite_of(place)
        plan = _plan_of(registry, store, read_suite(str(file), options), file.parent / _RECORDS)
        row = options["suite"]
        cells = _rows(plan, row, file.parent) if row else plan.cells
        return Named(registry, store, plan, cells, file.parent, f"genbench run {shlex.quote(str(file))}")
    if place.is_file():
        if place.suffix != ".json":
            raise UsageError(
                f"{what} is neither the folder of a run nor the file of a record (RUN/records/*.json)",
                hint=_form(),
            )
        record = _record(place)
        suite, command = _suite_of_record(place, record, options)
        plan = _plan_of(registry, store, suite, place)
        return Named(registry, store, plan, _cells_of(plan, record, place), None, command)
    if what.endswith(".json") or what.startswith((".", "/", "~")):
        raise UsageError(
            f"{what} is neither a folder nor a file", hint="a run is named as genbench-results/RUN"
        )
    if options["suite"] is None and not options["classifiers"]:
        raise UsageError(f"there is no folder, record, row or cell {what!r}", hint=_form())
    plan = make_plan_of(registry, store, read_suite(options["suite"], options))
    command = "the same options with `genbench run`"
    return Named(registry, store, plan, _rows(plan, what, None), None, command)


def run_folder(what: str, store: "Store") -> Path:
    """Return the folder of a run: named by itself, by any file in it, or by the run's name.

    Raises:
        UsageError: There is no such run; the message says which there are.
    """
    place = Path(what)
    if place.is_file():
        below = (place.parent, place.parent.parent)  # also records, pictures and what is shown
        found = next((folder for folder in below if (folder / _SUITE).is_file()), None)
        if found is None:
            for folder in below:
                check_finished(folder)
            raise _no_file_of_a_run(what)
        return found
    if place.is_dir():
        return _suite_of(place).parent
    from genbench.runs import list_runs

    usual = Path("genbench-results")
    known = [one for one in list_runs(store, [usual] if usual.is_dir() else []) if one.is_there]
    # A folder's own name goes first: of R and R-2, the run is called R in both.
    by_folder = [one.folder for one in known if what == one.folder.name]
    by_run = [one.folder for one in known if what in {one.run.name, one.run.id}]
    found = next(iter([*by_folder, *by_run]), None)
    if found is not None:
        return _suite_of(found).parent
    names = list(dict.fromkeys(one.folder.name for one in known))
    near = get_close_matches(what, names, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    there = f" The newest are {', '.join(names[:_SHOWN_ROWS])}." if names else ""
    raise UsageError(
        f"there is no run, folder or file {what!r}.{meant}{there}", hint="genbench runs   lists them"
    )


def check_finished(folder: Path) -> None:
    """Refuse the folder of a run that left no suite: it is at work, was stopped, or measured nothing.

    Args:
        folder: Any folder; one without a readable `run.json` is left to the caller.

    Raises:
        UsageError: It is one; the message says what became of it, and what goes on with it.
    """
    from genbench.runs import Listed, read_run

    run = read_run(folder)
    if run is None or (folder / _SUITE).is_file():
        return
    state = Listed(run, folder, is_there=True).state
    told = {
        "running": "is still at work",
        "stopped": "was stopped before it ended",
        "done": f"ended without a measured cell ({run.failed} of {run.cells} failed)",
    }[state]
    if state == "done" and run.measured:
        told = "ended, and what it wrote was changed since"
    place = (folder / run.typed_in).resolve()
    moved = "" if place == Path.cwd() or not run.typed_in else f"cd {shlex.quote(str(place))} && "
    hint = f"genbench status {shlex.quote(str(folder))}   says how far it is"
    if state != "running":
        hint = f"{moved}{run.command}   goes on with it, and names what fails"
    raise UsageError(f"{folder}: the run {run.name} {told}, and its folder has no {_SUITE}", hint=hint)


def row_name(cell: "Cell") -> str:
    """Name a cell's row as the board prints it: `ddpm, +1.0x standard`, `folder:a.npz #efb7, ...`."""
    arm = cell.arm
    images = _marked(cell, "generator", arm.generator.label)
    if arm.filter.name != "none":
        images += f" + {_marked(cell, 'filter', arm.filter.label)}"
    return f"{images}, {arm.mix.label}" if arm.mix is not None else images


def with_images(cells: "Sequence[Cell]") -> "list[Cell]":
    """Return the first cell of every row of synthetic images: those of other networks show the same."""
    found: dict[tuple[float, ...], Cell] = {}
    for cell in cells:
        arm = cell.arm
        if cell.sample:
            about = (id(arm.dataset), id(arm.generator), id(arm.filter), arm.ratio)  # labels may be equal
            found.setdefault(about, cell)
    return list(found.values())


# ------------------------------------------------------------------------------------------------ private


def _marked(cell: "Cell", kind: str, label: str) -> str:
    """Return a component's label as boards print it, told apart from equal ones."""
    mark = cell.marks.get(kind, "")
    return f"{label} {mark}" if mark else label


def _no_file_of_a_run(what: str) -> UsageError:
    return UsageError(
        f"{what} is a file, but none of a run: the folder that it lies in has no {_SUITE}",
        hint="name the folder of a run, any file in it, or the run: genbench runs   lists them",
    )


def _suite_of(folder: Path) -> Path:
    """Return the suite that a run left in its folder; its `records` may be named instead."""
    for place in (folder, *([folder.parent] if folder.name == _RECORDS else [])):
        if (place / _SUITE).is_file():
            return place / _SUITE
        check_finished(place)
    runs = sorted(one.parent.name for one in folder.glob(f"*/{_SUITE}"))
    inside = f" It holds {', '.join(runs[:_SHOWN_ROWS])}: name one of these." if runs else ""
    raise UsageError(
        f"{folder} is no folder of a run: it has no {_SUITE}.{inside}",
        hint="genbench run ... -o FOLDER writes FOLDER/RUN",
    )


def _rows(plan: "Plan", name: str, folder: Path | None) -> "Sequence[Cell]":
    """Return the cells of a name: a cell, a row as plan or board name it, or a generator."""
    found = [cell for cell in plan.cells if name == cell.name]
    found = found or [cell for cell in plan.cells if name in {cell.name.rpartition("/")[0], row_name(cell)}]
    found = found or [cell for cell in plan.cells if name in _generator_names(cell)]
    found = found or [cell for cell in plan.cells if _is_typed(cell.arm.generator, name)]
    if found:
        return found
    if folder is None and "/" in name:
        plan.find_cell(name)  # which says what is near
    rows = list(
        dict.fromkeys(name for cell in plan.cells for name in (_generator_names(cell)[-1], row_name(cell)))
    )
    near = get_close_matches(name, rows, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    known = [f"  {one}" for one in rows[:_SHOWN_ROWS]]
    known += [f"  and {len(rows) - _SHOWN_ROWS} more"] if len(rows) > _SHOWN_ROWS else []
    raise UsageError(
        "\n".join([f"no cell or row {name!r} in this run.{meant} Its generators and rows:", *known]),
        hint=f"genbench plan {folder / _SUITE if folder else '...'}   lists its cells",
    )


def _generator_names(cell: "Cell") -> list[str]:
    """Return what a cell's generator is called: its label, and that with its mark."""
    label, mark = cell.arm.generator.label, cell.marks.get("generator", "")
    return [label, f"{label} {mark}", f"{label}{mark}"] if mark else [label]


def _is_typed(generator: "Resolved", name: str) -> bool:
    """Say whether a generator may be typed like this: `folder:synth`, whose label is `folder:path=synth`."""
    try:
        reference = parse_reference(name)
    except UsageError:
        return False
    if reference.use != generator.name:
        return False
    typed, primary = dict(reference.options), generator.config.primary
    if BARE in typed and primary is not None:
        typed = {primary: typed.pop(BARE), **typed}
    return label_of(generator.name, typed) == generator.label


def _plan_of(registry: "Registry", store: "Store", suite: "Suite", records: Path) -> "Plan":
    """Plan a run; where files that it read are gone, by what its records say that these held.

    Raises:
        DataError: They are gone, and no record tells of them.
    """
    try:
        return make_plan_of(registry, store, suite)
    except DataError as problem:
        with contextlib.suppress(DataError):
            plan = make_plan_of(registry, store, suite, _recorded(records))
            warn(f"note: {problem.message}: what is in the store is found by what {records} says of it")
            return plan
        raise DataError(
            f"{problem.message}\nFiles that {records} tells of are not there, or cannot be read. "
            f"Its images are in the store ({store.root}), under keys for which these files are read",
            hint="put them back, or give their new place: RUN -g folder:NEW   (a dataset's: -d)",
        ) from problem


def _recorded(records: Path) -> "Recorded":
    """Return what looks a component's fingerprint up in records; of several, it finds none."""
    from genbench.digest import digest
    from genbench.records import read_records

    known: dict[str, set[str]] = {}
    parts = ("use", "version", "config")

    def learn(component: Mapping[str, Any]) -> None:
        if component.get("fingerprint"):
            about = digest({name: component[name] for name in parts})
            known.setdefault(about, set()).add(component["fingerprint"])
        for inner in component["config"].values():
            if isinstance(inner, Mapping) and inner.keys() >= set(parts):
                learn(inner)

    for record in read_records([records]):
        about = record.result
        for one in (about.dataset, about.generator, about.filter, about.classifier, about.evaluator):
            if one is not None:
                learn(one.identity)

    def fingerprint(identity: Mapping[str, Any]) -> str:
        found = known.get(digest(dict(identity)), set())
        return next(iter(found)) if len(found) == 1 else ""

    return fingerprint


def _form() -> str:
    context = click.get_current_context(silent=True)
    return _FORM.format(command=(context and context.info_name) or "preview")


def _record(path: Path) -> "Record":
    from genbench.records import read_records

    return next(iter(read_records([path])))


def _suite_of_record(path: Path, record: "Record", options: Mapping[str, Any]) -> "tuple[Suite, str]":
    """Find the run that a record is part of, and what runs it."""
    records = path.resolve().parent
    beside = records.parent / _SUITE if records.name == _RECORDS else None
    ready = {file.stem: file for file in ready_suites()}.get(records.name)
    for file in (beside, ready):
        if file is not None and file.is_file():
            return read_suite(str(file), options), f"genbench run {shlex.quote(str(file))}"
    said = _words(record.run.command)
    try:
        from genbench.cli.run_command import command

        # Options of the suite alone: a record of somebody else's must not make us load their plugins.
        flags = command.make_context("run", said).params
    except (click.ClickException, click.exceptions.Exit) as problem:
        raise UsageError(
            f"{path} does not say how it was made: {record.run.command!r}",
            hint="genbench preview CELL SUITE   names the run itself",
        ) from problem
    return read_suite(flags["suite"], flags), record.run.command


def _words(command: str) -> list[str]:
    """Return the arguments of `[NAME=VALUE ...] genbench run ...`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ["--unreadable"]
    while words and "=" in words[0]:
        del words[0]
    return words[2:] if words[:2] == ["genbench", "run"] else ["--unreadable"]


def _cells_of(plan: "Plan", record: "Record", path: Path) -> "Sequence[Cell]":
    """Return the cells that a record is about: one, or those that share an image set."""
    about = record.result
    names = [about.generator.label, about.filter.label, about.dataset.label]

    def is_meant(cell: "Cell") -> bool:
        arm = cell.arm
        labels = [arm.generator.label, arm.filter.label, arm.dataset.label]
        if labels != names or (arm.index, arm.ratio) != (about.index, about.ratio):
            return False
        if about.classifier is None or arm.classifier is None:
            return True
        return arm.mix == about.mix and arm.classifier.label == about.classifier.label

    def is_identical(cell: "Cell") -> bool:
        pairs = [
            (cell.arm.dataset, about.dataset),
            (cell.arm.generator, about.generator),
            (cell.arm.filter, about.filter),
            (cell.arm.classifier, about.classifier),
        ]
        return all(mine is None or one is None or mine.identity == one.identity for mine, one in pairs)

    cells = [cell for cell in plan.cells if is_meant(cell)]
    cells = [cell for cell in cells if is_identical(cell)] or cells  # one of an older version is meant, too
    if not cells:
        raise UsageError(
            f"{path} is about {', '.join(names)}, seed {about.index}: no cell of the run that it names",
            hint="genbench plan ... prints its cells",
        )
    return cells
