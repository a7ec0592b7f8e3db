"""Power failures: what a run wrote is replayed into every state that a file system may leave, and resumed.

Two models. *journal*: changes of names survive in their order, up to some point, and a file's content if it
was flushed before. *unordered*: every change of a name that no flush of its folder made durable survives or
not, as chance has it. Content that was not flushed is missing, or there by half.
"""

import functools
import hashlib
import os
import pickle
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults import runs
from faults.campaign import Size, Trial
from faults.operations import watch

_SHORT = 6


@dataclass(frozen=True)
class Operation:
    """One thing that the run did, in paths relative to its folder.

    Attributes:
        name: `create`, `mkdir`, `move`, `remove`, `flush`.
        path: What it is about.
        target: Where a move goes.
        content: Of a file that is flushed, or moved.
    """

    name: str
    path: str
    target: str = ""
    content: bytes = b""


@dataclass
class State:
    """What a disk holds: folders, and files with their content."""

    folders: set[str] = field(default_factory=lambda: {"."})
    files: dict[str, bytes] = field(default_factory=dict)

    def digest(self) -> str:
        """Tell states apart."""
        content = [sorted(self.folders), sorted(self.files.items())]
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Make it real."""
        for name in sorted(self.folders):
            (folder / name).mkdir(exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def trials(size: Size) -> Iterator[Trial]:
    """Resume from every state that is not like another one, or from a few."""
    if size == "long":
        for number, (name, _) in enumerate(possible_states()):
            yield Trial(name, functools.partial(resumed_from, number, 1))
    else:
        for number in range(_SHORT):
            yield Trial(f"state {number} of {_SHORT}", functools.partial(resumed_from, number, _SHORT))


def resumed_from(number: int, of: int, folder: Path) -> None:
    """Write a state down and run the same command: equal results, and nothing wrong was there.

    Args:
        number: Of the state, if `of` is 1; else of a part of all states, of which one is taken.
        of: Number of parts.
        folder: An empty one.
    """
    states = possible_states()
    part = range(number, len(states), of)
    _, state = states[part[0] if of == 1 else random.Random(number).choice(part)]
    state.write(folder)
    runs.check_resumes(folder)


@functools.cache
def possible_states() -> list[tuple[str, State]]:
    """Return what may be left of a run by a power failure at any time."""
    operations = recorded()
    found: dict[str, tuple[str, State]] = {}
    for point in range(len(operations) + 1):
        past = operations[:point]
        for share in (0.0, 0.5):
            state = surviving(past, set(), share)
            name = f"journal up to operation {point}, {share:.0%} of what waits"
            found.setdefault(state.digest(), (name, state))
        chance = random.Random(point)
        lost = {number for number in unflushed(past) if chance.random() < 0.5}
        state = surviving(past, lost, chance.choice((0.0, 0.5, 1.0)))
        found.setdefault(state.digest(), (f"unordered up to operation {point}", state))
    return list(found.values())


def unflushed(past: Sequence[Operation]) -> list[int]:
    """Return the changes of names whose folders were not flushed since."""
    waiting: dict[int, set[str]] = {}
    for number, operation in enumerate(past):
        if operation.name == "flush":
            for folders in waiting.values():
                folders.discard(operation.path)
        else:
            names = filter(None, (operation.path, operation.target))
            waiting[number] = {os.path.dirname(name) or "." for name in names}
    return [number for number, folders in waiting.items() if folders]


def surviving(past: Sequence[Operation], lost: set[int], share: float) -> State:
    """Return what is left without the `lost` changes, and with a share of what was not flushed."""
    state, numbers, flushed = State(), {}, set()
    contents: dict[int, bytes] = {}
    is_known: dict[str, int] = {}  # which file a name means, whether or not that name survives
    for number, operation in enumerate(past):
        _follow(operation, number, is_known, contents, flushed)
        if number not in lost:
            _apply(operation, number, state, numbers, is_known)
    for name, file in numbers.items():
        whole = contents.get(file, b"")
        state.files[name] = whole if file in flushed else whole[: int(len(whole) * share)]
    return state


def _follow(
    operation: Operation, number: int, known: dict[str, int], contents: dict[int, bytes], flushed: set[int]
) -> None:
    """Keep track of what the running system saw."""
    if operation.name == "create":
        known[operation.path] = number
    elif operation.name == "flush" and operation.path in known:
        contents[known[operation.path]] = operation.content
        flushed.add(known[operation.path])
    elif operation.name == "move" and operation.path in known:
        file = known.pop(operation.path)
        known[operation.target] = file
        if file not in flushed:
            contents[file] = operation.content
    elif operation.name == "move":
        start = f"{operation.path}/"
        for name in [name for name in known if name.startswith(start)]:
            known[f"{operation.target}/{name.removeprefix(start)}"] = known.pop(name)
    elif operation.name == "remove":
        known.pop(operation.path, None)


def _apply(
    operation: Operation, number: int, state: State, files: dict[str, int], known: dict[str, int]
) -> None:
    """Change the names on the disk; what cannot be, since something else was lost, is not."""
    path, target = operation.path, operation.target
    above = os.path.dirname(target or path) or "."
    if above not in state.folders:
        return
    if operation.name == "create":
        files[path] = known[path]
    elif operation.name == "mkdir":
        state.folders.add(path)
    elif operation.name == "remove":
        files.pop(path, None)
        if not any(name.startswith(f"{path}/") for name in (*files, *state.folders)):
            state.folders.discard(path)
    elif operation.name == "move" and path in files:
        files[target] = files.pop(path)
    elif operation.name == "move" and path in state.folders:
        for name in [name for name in state.folders if name == path or name.startswith(f"{path}/")]:
            state.folders.remove(name)
            state.folders.add(target + name.removeprefix(path))
        for name in [name for name in files if name.startswith(f"{path}/")]:
            files[target + name.removeprefix(path)] = files.pop(name)


# ----------------------------------------------------------------------------------------------- recording


@functools.cache
def recorded() -> list[Operation]:
    """Return what an undisturbed run does to its disk."""
    with tempfile.TemporaryDirectory(prefix="genbench-recorded-") as name:
        folder = Path(name).resolve()
        notes = folder / "notes"
        descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT)
        end = runs.run_in_child(folder, lambda: watch(_Recorder(folder, descriptor).note))
        os.close(descriptor)
        assert end.code == 0, end.said
        with notes.open("rb") as file:
            return list(_read_all(file))


def _read_all(file: object) -> Iterator[Operation]:
    while True:
        try:
            yield pickle.load(file)  # type: ignore[arg-type] - our own child wrote it
        except EOFError:
            return


class _Recorder:
    """Writes every operation below a folder to a descriptor."""

    def __init__(self, root: Path, descriptor: int) -> None:
        self._root, self._descriptor = f"{root}/", descriptor
        self._write = os.write  # before it is watched itself
        self._known: set[str] = set()

    def note(self, name: str, path: str, target: str) -> None:
        """Take note of one operation before it happens."""
        if path.startswith(self._root):
            for operation in self._operations(name, path, target):
                self._write(self._descriptor, pickle.dumps(operation))

    def _operations(self, name: str, path: str, target: str) -> Iterator[Operation]:
        local = path.removeprefix(self._root)
        exists, is_file = os.path.lexists(path), Path(path).is_file()
        content = _content(path) if is_file and name in {"fsync", "rename", "replace"} else b""
        is_new = path not in self._known and (is_file if name == "fsync" else not exists)
        if name in {"fsync", "open"} and is_new:  # at `fsync`: a library in another language made it
            self._known.add(path)
            yield Operation("create", local)
        if name == "fsync":
            yield Operation("flush", local, content=content)
        elif name in {"rename", "replace"}:
            self._known.add(target)
            yield Operation("move", local, target.removeprefix(self._root), content)
        elif name == "mkdir" and not exists and Path(path).parent.exists():
            yield Operation("mkdir", local)
        elif name in {"unlink", "remove", "rmdir"} and exists:
            self._known.discard(path)
            yield Operation("remove", local)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
