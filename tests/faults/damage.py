"""Damaged files: whatever was changed in an artifact is noticed before it is used, and made again.

Each trial damages one artifact of a finished store and takes away what was made from it, so that it is
needed; then everything must come out as before. The caches beside the artifacts have damages of their own.
"""

import functools
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults import runs
from faults.campaign import Size, Trial
from genbench.digest import digest
from genbench.store import Store

_SHORT, _ROUNDS = 14, 2
Damage = Callable[[Store, str, random.Random], None]


def trials(size: Size) -> Iterator[Trial]:
    """Damage every artifact in every way, with several files and places of each; or a few of all these."""
    every = list(itertools.product(_DAMAGES, range(runs.STEPS), range(_ROUNDS)))
    for name, step, number in every if size == "long" else random.Random(4).sample(every, _SHORT):
        yield Trial(
            f"{name} of step {step}, {number}", functools.partial(noticed, _DAMAGES[name], step, number)
        )
    caches = [(shape, name) for shape in _SHAPES for name in _CACHES]
    for shape, name in caches if size == "long" else random.Random(5).sample(caches, 3):
        yield Trial(f"{name} is {shape[:20]!r}", functools.partial(ignored, name, shape))


def noticed(damage: Damage, step: int, number: int, folder: Path) -> None:
    """Damage an artifact that is needed: `verify` names it, and a run makes it again, with equal results."""
    key = list(runs.plan().steps)[step]
    store = _copy(folder)
    _remove_users(store, key)
    chance = random.Random(f"{key} {number}")
    damage(store, key, chance)
    is_there = store.has(key)  # without a manifest it is a miss, not damage
    named = {found.key for found in Store(store.root).verify()}
    assert (key in named) == is_there, f"`verify` names {named}"
    end = runs.run_in_child(folder)
    runs.check_no_traceback(end)
    assert end.code == 0, end.said[-2000:]
    assert ("a damaged result is made again" in end.said) == is_there, end.said[-2000:]
    _check_as_before(folder)


def ignored(name: str, shape: str, folder: Path) -> None:
    """Replace a cache by something else: every command goes on, and the run mends what it uses."""
    store = _copy(folder)
    key = next(step.key for step in runs.plan().steps.values() if step.stage == "train")
    _remove_users(store, key)
    store.remove(key)
    places = [store.root / name.format(key=key)] if "*" not in name else sorted(store.root.glob(name))
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if shape == "FOLDER":
            place.mkdir()
        else:
            place.write_bytes(shape.encode("utf-8", "surrogatepass"))
    for words in (("store", "verify"), ("store", "ls"), ("plan", *runs.arguments()), ("leaderboard",)):
        look = runs.command_in_child(folder, *words)
        runs.check_no_traceback(look)
        assert look.code in {0, 4 if words[-1] == "verify" else 0, 2 if words[0] == "leaderboard" else 0}, (
            look
        )
    end = runs.run_in_child(folder)
    runs.check_no_traceback(end)
    assert end.code == 0, end.said[-2000:]
    _check_as_before(folder)


def _check_as_before(folder: Path) -> None:
    runs.check_whole(folder, "out")
    repaired = runs.command_in_child(folder, "store", "verify", "--repair")
    assert repaired.code == 0, repaired.said
    looked = runs.command_in_child(folder, "store", "verify")
    assert looked.code == 0, looked.said


def _copy(folder: Path) -> Store:
    shutil.copytree(runs.finished() / "store", folder / "store")
    return Store(folder / "store")


def _remove_users(store: Store, key: str) -> None:
    """Remove every result that was made from one, and all records: it is needed again."""
    gone = {key}
    for step in runs.plan().steps.values():  # each comes after its inputs
        if gone & set(step.inputs.values()):
            gone.add(step.key)
            store.remove(step.key)
    shutil.rmtree(store.root / "records")


# ------------------------------------------------------------------------------------------------- damages


def _a_file(store: Store, key: str, chance: random.Random) -> Path:
    files = [path for path in sorted(store.folder(key).rglob("*")) if path.is_file()]
    return chance.choice(files)


def _flip(store: Store, key: str, chance: random.Random) -> None:
    path = _a_file(store, key, chance)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _cut(store: Store, key: str, chance: random.Random) -> None:
    path = _a_file(store, key, chance)
    os.truncate(path, chance.randrange(path.stat().st_size))


def _zero(store: Store, key: str, chance: random.Random) -> None:
    path = _a_file(store, key, chance)
    path.write_bytes(bytes(path.stat().st_size))


def _lengthen(store: Store, key: str, chance: random.Random) -> None:
    with _a_file(store, key, chance).open("ab") as file:
        file.write(b"\0")


def _delete(store: Store, key: str, chance: random.Random) -> None:
    _a_file(store, key, chance).unlink()


def _link(store: Store, key: str, chance: random.Random) -> None:
    path = _a_file(store, key, chance)
    elsewhere = store.root.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)  # the very same content: but whose?


def _pipe(store: Store, key: str, chance: random.Random) -> None:
    path = chance.choice(
        [one for one in sorted(store.folder(key).rglob("*.*")) if one.name != "manifest.json"]
    )
    path.unlink()
    os.mkfifo(path)


def _add(store: Store, key: str, chance: random.Random) -> None:
    (store.folder(key) / "more.json").write_text("{}")


def _swap_files(store: Store, key: str, chance: random.Random) -> None:
    """Exchange a file with one of the same name in another artifact, or of another name in this one."""
    path = _a_file(store, key, chance)
    others = [one for one in sorted((store.root / "artifacts").rglob(path.name)) if one != path]
    beside = [one for one in sorted(store.folder(key).rglob("*")) if one.is_file() and one != path]
    other = chance.choice([one for one in [*others, *beside] if one.read_bytes() != path.read_bytes()])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    if other in beside:
        other.write_bytes(content)


def _replace_whole(store: Store, key: str, chance: random.Random) -> None:
    """Put another artifact in the place of this one: of the same stage where there is one, or of any."""
    stage = runs.plan().steps[key].stage
    others = [step.key for step in runs.plan().steps.values() if step.key != key]
    alike = [other for other in others if runs.plan().steps[other].stage == stage]
    other = chance.choice(alike if alike and chance.random() < 0.5 else others)
    shutil.rmtree(store.folder(key))
    shutil.copytree(runs.finished() / "store" / "artifacts" / other[:2] / other, store.folder(key))


def _edit(change: Callable[[dict[str, Any]], Any], store: Store, key: str, chance: random.Random) -> None:
    """Change the manifest, and give it the checksum that it should have."""
    path = store.folder(key) / "manifest.json"
    manifest = change(json.loads(path.read_text()))
    if isinstance(manifest, dict):
        body = {name: value for name, value in manifest.items() if name != "checksum"}
        manifest = {**body, "checksum": digest(body)}
    path.write_text(json.dumps(manifest))


def _write(text: str, store: Store, key: str, chance: random.Random) -> None:
    (store.folder(key) / "manifest.json").write_text(text)


def _other_step(found: Mapping[str, Any]) -> dict[str, Any]:
    document = {**found["document"], "seed": 99}
    return {**found, "document": document, "key": digest(document)}


def _renamed(files: Mapping[str, Any]) -> dict[str, Any]:
    name = min(files)
    return {**{other: entry for other, entry in files.items() if other != name}, f"../x/{name}": files[name]}


_EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an edited document": lambda found: {**found, "document": {**found["document"], "seed": 99}},
    "an edited component": lambda found: {**found, "document": {**found["document"], "component": {}}},
    "an edited key": lambda found: {**found, "key": "0" * 64},
    "another document with its key": _other_step,
    "a path out of the folder": lambda found: {**found, "files": _renamed(found["files"])},
    "no files": lambda found: {**found, "files": {}},
    "files of numbers": lambda found: {**found, "files": dict.fromkeys(found["files"], 7)},
    "files as a list": lambda found: {**found, "files": list(found["files"])},
    "run as a list": lambda found: {**found, "run": []},
    "a manifest in a list": lambda found: [found],
}
_TEXTS = {
    "null": "null",
    "a number": "1e999",
    "deep nesting": "[" * 200_000,
    "deep objects": '{"document":' * 50_000,
    "not a number": '{"key": NaN, "checksum": NaN, "document": {}, "files": {}, "run": {}}',
    "an empty manifest": "",
}
_DAMAGES: dict[str, Damage] = {
    "a flipped bit": _flip,
    "a cut": _cut,
    "zeros": _zero,
    "a byte more": _lengthen,
    "a deleted file": _delete,
    "a link": _link,
    "a pipe": _pipe,
    "a file more": _add,
    "exchanged files": _swap_files,
    "another artifact in the place": _replace_whole,
    **{name: functools.partial(_edit, change) for name, change in _EDITS.items()},
    **{name: functools.partial(_write, text) for name, text in _TEXTS.items()},
}
_SHAPES = ("", "null", "7", "[]", "{", '{"a": 1}', "[" * 100_000, '"\ud800"', "\0" * 99, "FOLDER")
_CACHES = (
    *("index.jsonl", "fingerprints.json", "failures/{key}.json", "boards/*.json", "records/cell-0-0.json"),
    *("leases/{key}", "leases/run-1", "runs/run-1", "work/{key}/checkpoint.json", "work/{key}/seconds.json"),
)
