"""The store: whole artifacts or none, damage found and mended, and messages for full and read-only disks."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from genbench import caches, disk
from genbench.addresses import default_root
from genbench.caches import BELIEVED_SECONDS, Fingerprints
from genbench.digest import canonical_json, digest
from genbench.errors import (
    Interrupted,
    OutputError,
    PluginError,
    StoreError,
    StoreUnwritableError,
    UsageError,
)
from genbench.store import Store
from genbench.upkeep import find_garbage, remove_garbage, repair

DOCUMENT = {"stage": "fit", "seed": 1}
KEY = digest(DOCUMENT)
OTHER = {"stage": "train", "seed": 2}


def put(store: Store, document: Mapping[str, Any] = DOCUMENT, content: bytes = b"content") -> Path:
    def fill(folder: Path) -> Mapping[str, object]:
        (folder / "data.bin").write_bytes(content)
        return {"seconds": 1.5}

    return store.put(digest(document), document, fill, family="f").folder


def test_an_artifact_reads_back_with_its_document(store: Store) -> None:
    assert not store.has(KEY)
    assert store.open(KEY) is None
    put(store)
    artifact = store.open(KEY)
    assert artifact is not None
    assert (artifact.folder / "data.bin").read_bytes() == b"content"
    assert artifact.document == {"stage": "fit", "seed": 1}
    assert artifact.run["seconds"] == 1.5
    assert list(store.finished()) == [KEY]
    assert next(store.index.lines())["family"] == "f"


def test_a_failing_fill_leaves_nothing(store: Store) -> None:
    def fill(folder: Path) -> Mapping[str, object]:
        (folder / "half").write_text("half")
        raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        store.put(KEY, DOCUMENT, fill)
    assert not store.has(KEY)
    assert [path for path in (store.root / "artifacts").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove", "manifest"])
def test_every_damage_is_found_and_is_a_miss(store: Store, damage: str) -> None:
    put(store)
    folder = store.folder(KEY)
    if damage == "flip":
        (folder / "data.bin").write_bytes(b"c0ntent")
    elif damage == "shorten":
        (folder / "data.bin").write_bytes(b"con")
    elif damage == "remove":
        (folder / "data.bin").unlink()
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["document"]["seed"] = 2
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [found.key for found in store.verify()] == [KEY]
    assert store.open(KEY) is None
    assert not store.has(KEY)
    put(store)  # it is made again
    assert store.open(KEY) is not None


def test_damage_after_a_first_good_read_is_found(store: Store) -> None:
    put(store)
    assert store.open(KEY) is not None
    (store.folder(KEY) / "data.bin").write_bytes(b"CONTENT")
    assert store.open(KEY) is None


def test_the_second_writer_keeps_the_first_artifact(store: Store) -> None:
    put(store, content=b"first")
    put(store, content=b"second")
    artifact = store.open(KEY)
    assert artifact is not None
    assert (artifact.folder / "data.bin").read_bytes() == b"first"


# ------------------------------------------------------------------------------------------------ integrity


def sealed(manifest: Any) -> str:
    """Write a manifest with the checksum that it should have."""
    if isinstance(manifest, dict):
        body = {name: value for name, value in manifest.items() if name != "checksum"}
        manifest = {**body, "checksum": digest(body)}
    return json.dumps(manifest)


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(sealed(change(manifest)))

    return edit


def linked(folder: Path) -> None:
    (folder / "data.bin").rename(folder.parent / "elsewhere")
    (folder / "data.bin").symlink_to(folder.parent / "elsewhere")


def piped(folder: Path) -> None:
    (folder / "data.bin").unlink()
    os.mkfifo(folder / "data.bin")


def moved(folder: Path) -> None:
    folder.rename(folder.parent / "real")
    folder.symlink_to(folder.parent / "real")


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_text(content) and None


FILES = {"../other": {"bytes": 7, "sha256": digest("x")}}
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "another document": edited(lambda found: {**found, "document": {**found["document"], "seed": 2}}),
    "another key": edited(lambda found: {**found, "key": "0" * 64}),
    "a list": text("[]"),
    "null": text("null"),
    "a number": text("7"),
    "deep": text("[" * 100_000 + "]" * 100_000),
    "deep inside": text('{"document": ' * 100_000 + "{}" + "}" * 100_000),
    "NaN": text('{"checksum": "x", "run": NaN}'),
    "surrogate": text('{"checksum": "x", "run": {"a": "\\ud800"}, "key": "", "document": {}, "files": {}}'),
    "a long number": text('{"checksum": ' + "1" * 5000 + "}"),
    "half": text('{"key": '),
    "bytes": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"),
    "files as a list": edited(lambda found: {**found, "files": []}),
    "files of numbers": edited(lambda found: {**found, "files": {"data.bin": 7}}),
    "a name elsewhere": edited(lambda found: {**found, "files": {**found["files"], **FILES}}),
    "no files": edited(lambda found: {**found, "files": {}}),
    "run as text": edited(lambda found: {**found, "run": "quick"}),
    "plugin as text": edited(lambda found: {**found, "run": {"plugin": "mine"}}),
    "document as text": edited(lambda found: {**found, "document": "x"}),
    "a file more": lambda folder: (folder / "more").write_text(""),
    "a link": linked,
    "a pipe": piped,
    "its folder is a link": moved,
    "manifest a pipe": lambda folder: [
        (folder / "manifest.json").unlink(),
        os.mkfifo(folder / "manifest.json"),
    ],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_wrong_with_an_artifact_is_damage_and_mended(store: Store, damage: str) -> None:
    DAMAGES[damage](put(store))
    if damage != "manifest a pipe":  # that is no artifact at all
        assert [found.key for found in store.verify()] == [KEY]
    garbage = find_garbage(store, frozenset({"fit"}))
    assert KEY in {place.key for place in garbage.places} or damage == "a file more"
    fresh = Store(store.root)
    assert fresh.open(KEY) is None
    put(fresh)
    assert fresh.open(KEY) is not None
    assert list(fresh.verify()) == []


def test_swapped_results_are_not_served(store: Store) -> None:
    one, other = put(store), put(store, OTHER)
    one.rename(store.root / "aside")
    other.rename(one)
    (store.root / "aside").rename(other)
    fresh = Store(store.root)
    assert {found.key for found in fresh.verify()} == {KEY, digest(OTHER)}
    assert fresh.manifest(KEY) is None
    assert fresh.open(KEY) is None
    assert f"it is another result, {digest(OTHER)[:16]}" in fresh.found_damaged[0].reason


def test_a_key_is_that_of_its_document(store: Store) -> None:
    with pytest.raises(StoreError, match="not that of its document"):
        store.put("0" * 64, DOCUMENT, lambda folder: {})


def test_what_may_not_be_read_is_not_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    fresh = Store(store.root)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(StoreError, match=r"cannot read the store: .*Too many open files"):
            fresh.open(KEY)
    assert fresh.open(KEY) is not None


def test_damage_that_another_process_mends_meanwhile_is_none(store: Store) -> None:
    shutil.rmtree(put(store))
    assert store.open(KEY) is None
    assert list(store.verify()) == []
    assert store.found_damaged == []


def test_a_step_leaves_files_and_nothing_else(store: Store) -> None:
    def link(folder: Path) -> Mapping[str, object]:
        (folder / "secret").symlink_to("/etc/hostname")
        return {}

    def remove(folder: Path) -> Mapping[str, object]:
        shutil.rmtree(folder)
        return {}

    for fill, words in ((link, "neither a file nor a folder"), (remove, "removed the folder")):
        with pytest.raises(PluginError, match=words):
            store.put(KEY, DOCUMENT, fill)
    assert not store.has(KEY)


def test_a_step_that_another_process_finished_meanwhile_is_done(store: Store) -> None:
    """Its lease was taken over: the other one clears the scratch folder of both."""

    def fill(folder: Path) -> Mapping[str, object]:
        put(Store(store.root), content=b"theirs")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "checkpoint")

    made = store.put(KEY, DOCUMENT, fill)
    assert (made.folder / "data.bin").read_bytes() == b"theirs"

    def stop(folder: Path) -> Mapping[str, object]:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        store.put(KEY, DOCUMENT, stop)


# ---------------------------------------------------------------------------------------- what is refused


def refuse_all(patched: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("mkdir", "open", "rename", "replace"):
        patched.setattr(os, name, refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_every_write_that_the_disk_refuses_is_one_message(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    writes: list[Callable[[], object]] = [
        lambda: put(store),
        lambda: store.leases.acquire(KEY),
        lambda: store.failures.note(KEY, {"reason": "x"}),
        lambda: store.work_folder(KEY),
        lambda: store.log_path(KEY),
        lambda: list(repair(store)),
    ]
    (store.root / "artifacts").mkdir(parents=True)
    (store.root / "artifacts" / "aa").mkdir()
    (store.root / "artifacts" / "aa" / ".x.tmp").mkdir()
    for write in writes:
        with monkeypatch.context() as patched:
            refuse_all(patched, number)
            with pytest.raises(StoreUnwritableError, match="cannot write to the store") as raised:
                write()
        assert os.strerror(number) in str(raised.value)
        assert "gc --dry-run" in raised.value.hint
    with monkeypatch.context() as patched:
        refuse_all(patched, number)
        store.boards.keep("0" * 64, {})  # caches do without
        store.fingerprints.of(Path(__file__))
        store.fingerprints.keep()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EEXIST, errno.EACCES, errno.EROFS])
def test_what_a_plugin_cannot_write_is_its_own_while_the_store_can_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(folder: Path) -> Mapping[str, object]:
        raise OSError(number, os.strerror(number), str(folder / "weights.bin"))

    with pytest.raises(OSError, match=r"weights\.bin") as raised:
        store.put(KEY, DOCUMENT, fail)
    assert raised.value.errno == number

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("genbench.store.probe", full)
    with pytest.raises(StoreUnwritableError, match="No space left"):
        store.put(KEY, DOCUMENT, fail)


def test_a_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the store .*Not a directory"):
        put(Store(tmp_path / "file" / "store"))


def test_files_and_folders_are_flushed_before_they_are_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is durable when: contents before the manifest, all of it before the rename, then the folder."""
    said: list[str] = []
    sync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        said.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        said.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    put(store)
    (temporary,) = {name for name in said if name.startswith(f".{KEY}")}
    manifest = next(number for number, name in enumerate(said) if name.startswith(".manifest.json"))
    assert said.index("artifacts") < said.index("data.bin") < manifest < said.index(temporary)
    assert said[said.index(temporary) + 1 :][:2] == [f"rename to {KEY}", KEY[:2]]


# ------------------------------------------------------------------------------------- outside the store


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "board.md").mkdir(parents=True)
    refused: list[tuple[Path, list[str], list[str], str]] = [
        (tmp_path / "file", ["records"], [], "is a file, not a folder"),
        (tmp_path / "file" / "below", ["records"], [], "is a file, not a folder"),
        (tmp_path / "folder", ["records"], ["board.md"], "is a folder, not a file"),
        (tmp_path / "folder", [], [], "is a folder, not a file"),
        (tmp_path / "file" / "board.md", [], [], "is a file, not a folder"),
    ]
    for path, folders, files, words in refused:
        with pytest.raises(UsageError, match=f"cannot write to {path}: .*{words}") as raised:
            disk.check_output(path, "--out", folders, files)
        assert "--out" in raised.value.hint
    disk.check_output(tmp_path / "new" / "deep", "--out", ["records"], ["board.md"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match=f"there is no folder {tmp_path / 'new' / 'a b'}\n") as raised:
        disk.check_file(tmp_path / "new" / "a b" / "board.md", "--out")
    assert raised.value.hint.startswith(f"mkdir -p '{tmp_path / 'new' / 'a b'}'")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        disk.check_file(tmp_path / "file" / "board.md", "--out")
    disk.check_file(tmp_path / "folder" / "board.html", "--out")
    for number, kind in ((errno.EROFS, UsageError), (errno.ENOSPC, OutputError)):

        def refuse(folder: Path, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(disk, "probe", refuse)
        with pytest.raises(kind, match="cannot write to") as found:
            disk.check_output(tmp_path / "new", "--out", ["records"])
        assert "nothing was done yet" in found.value.hint


def test_outputs_go_through_links_and_into_devices(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "target")
    disk.write_output(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "deep" / "target").read_bytes() == b"one"
    disk.write_output(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()
    full = Path("/dev/full")
    with (
        pytest.raises(OutputError, match="cannot write /dev/full: No space left"),
        disk.writing_output(full, "--out", kept="all is kept"),
    ):
        disk.write_output(full, b"x" * 10**6)


def test_without_a_home_the_store_is_somewhere_or_the_message_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GENBENCH_STORE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    assert default_root().is_absolute()

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(UsageError, match="no folder for the store"):
        default_root()


# -------------------------------------------------------------------------------------------------- caches

SHAPES = ["", "null", "7", "[]", "[1]", "{", '{"a": 1}', "[" * 100_000, '{"a": NaN}', '"\\ud800"', "\x00" * 9]


@pytest.mark.parametrize("shape", [*SHAPES, "FOLDER"])
def test_caches_of_a_wrong_shape_are_ignored_and_rewritten(store: Store, shape: str) -> None:
    put(store)
    board = dict.fromkeys(caches.BOARD_FORMS, "text")
    names = ("index.jsonl", "fingerprints.json", f"failures/{KEY}.json", "boards/b.json", f"leases/{KEY}")
    for name in names:
        path = store.root / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.mkdir() if shape == "FOLDER" else path.write_text(shape)
    fresh = Store(store.root)
    assert list(fresh.index.lines()) == []
    assert fresh.failures.find(KEY) is None
    assert fresh.boards.find("b") is None
    assert fresh.leases.holder(KEY) is None
    fresh.fingerprint(Path(__file__))
    fresh.fingerprints.keep()
    fresh.boards.keep("b", board)
    fresh.failures.note(KEY, {"label": "l", "reason": "r", "log": "g"})
    assert fresh.leases.acquire(KEY)
    put(fresh, OTHER)
    last = Store(store.root)
    assert json.loads((store.root / "fingerprints.json").read_text())
    assert last.boards.find("b") == board
    assert last.failures.find(KEY) == {"label": "l", "reason": "r", "log": "g"}
    assert last.leases.holder(KEY) is not None
    assert [line["key"] for line in last.index.lines()] == [digest(OTHER)]


def test_a_line_of_the_index_that_was_cut_short_takes_no_other_with_it(store: Store) -> None:
    put(store)
    with (store.root / "index.jsonl").open("a") as file:
        file.write('{"key": "half')
    put(store, OTHER)
    assert [line["key"] for line in store.index.lines()] == [KEY, digest(OTHER)]
    assert "dropped 1 damaged lines of index.jsonl" in list(repair(store))


@pytest.mark.parametrize("seconds", ["NaN", "1e999", '"long"', "[]", "null"])
def test_a_time_of_the_index_that_is_none_is_none(store: Store, seconds: str) -> None:
    store.root.mkdir()
    (store.root / "index.jsonl").write_text(f'{{"key": "{KEY}", "seconds": {seconds}}}\n')
    assert [line["seconds"] for line in store.index.lines()] == [None]


def test_failures_are_notes_and_never_results(store: Store) -> None:
    store.failures.note(KEY, {"reason": "boom"})
    assert store.failures.keys() == {KEY}
    assert not store.has(KEY)
    put(store)
    assert store.failures.keys() == set()


def test_fingerprints_are_remembered_until_the_file_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    first = store.fingerprint(file)
    store.fingerprints.keep()
    with monkeypatch.context() as patched:
        patched.setattr(caches, "file_digest", lambda path: "not asked for")
        assert Store(store.root).fingerprint(file) == first
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    assert Store(store.root).fingerprint(file) != first


@pytest.mark.parametrize("days", [8, -1])
def test_a_wrong_fingerprint_is_not_believed_for_ever(store: Store, tmp_path: Path, days: float) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    right = store.fingerprint(file)
    store.fingerprints.keep()
    path = store.root / "fingerprints.json"
    path.write_text(path.read_text().replace(right, digest("wrong")))
    now = json.loads(path.read_text()).popitem()[1]["read"]
    later = Fingerprints(store.root, now=lambda: now + days * BELIEVED_SECONDS / 7)
    assert later.of(file) == right
    assert Store(store.root).fingerprint(file) == digest("wrong")  # within a week, unless somebody checks
    assert f"forgot a wrong digest of {file}" in list(repair(Store(store.root)))
    assert Store(store.root).fingerprint(file) == right


def test_a_board_of_another_key_is_not_shown(store: Store) -> None:
    store.boards.keep("one", dict.fromkeys(caches.BOARD_FORMS, "text"))
    shutil.copyfile(store.root / "boards" / "one.json", store.root / "boards" / "two.json")
    assert store.boards.find("two") is None
    content = {"sha256": digest({"key": "one", "board": {"md": "x"}}), "board": {"md": "x"}}
    (store.root / "boards" / "one.json").write_text(canonical_json(content))
    assert store.boards.find("one") is None


# -------------------------------------------------------------------------------------------------- upkeep


def crash(store: Store) -> list[Path]:
    """Leave what a crash leaves; return it."""
    folder = put(store).parent
    left = [folder / f".{KEY}.123-abcd.tmp", folder / f"{KEY[:2]}{'0' * 62}", store.root / "work" / KEY]
    for path in left:
        path.mkdir(parents=True)
        (path / "half").write_bytes(b"x" * 100)
    (left[0] / "manifest.json").write_text("{}")
    return left


def test_what_a_crash_left_is_no_damage_and_is_cleared_away(store: Store) -> None:
    left = crash(store)
    assert list(store.verify()) == []
    assert list(store.finished()) == [KEY]
    assert list(repair(store)) == ["removed 2 leftovers of a crash"]
    assert [path.exists() for path in left] == [False, False, True]
    assert list(repair(store)) == []


def test_garbage_is_unfinished_damaged_left_over_or_named(store: Store) -> None:
    left = crash(store)
    put(store, OTHER)
    (store.folder(digest(OTHER)) / "data.bin").unlink()
    Store(store.root).open(digest(OTHER))
    found = find_garbage(store, frozenset({"fit"}))
    kinds = sorted((place.kind, place.size_bytes) for place in found.places)
    left_over = ["leftovers of a crash", "leftovers of a crash"]
    expected = ["damaged results", *left_over, "results of stage fit", "unfinished work"]
    assert [kind for kind, _ in kinds] == expected
    assert [size for kind, size in kinds if kind in {*left_over, "unfinished work"}] == [100, 102, 100]
    assert store.has(KEY)  # nothing was removed yet
    assert len(remove_garbage(store, found)) == 5
    assert not store.has(KEY)
    assert not any(path.exists() for path in left)
    assert find_garbage(store, frozenset({"fit"})).places == []


def test_garbage_that_others_remove_meanwhile_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = store.root / "work" / ("0" * 64)
    (work / "inner").mkdir(parents=True)
    (work / "inner" / "half.bin").write_bytes(b"12345")
    scandir = os.scandir

    def removed_first(path: str) -> object:
        if str(path).endswith("inner"):
            shutil.rmtree(path, ignore_errors=True)
        return scandir(path)

    assert [one.size_bytes for one in find_garbage(store, frozenset()).places] == [5]
    monkeypatch.setattr("os.scandir", removed_first)
    assert [one.size_bytes for one in find_garbage(store, frozenset()).places] == [0]


def test_what_a_living_process_needs_is_spared(store: Store) -> None:
    left = crash(store)
    other = Store(store.root)
    other.leases.acquire(KEY)
    found = find_garbage(store, frozenset({"fit"}))
    assert {place.path for place in found.places} == {left[1]}
    assert {holder.pid for _, holder in found.spared} == {os.getpid()}
    assert not [line for line in repair(store) if "2 leftovers" in line]
    assert left[0].exists()
    other.leases.release(KEY)
    with other.leases.needing([KEY]):
        assert {place.path for place, _ in find_garbage(store, frozenset({"fit"})).spared} == {
            left[0], left[2], store.folder(KEY)
        }  # fmt: skip
    assert find_garbage(store).spared == []


def test_what_a_run_has_come_to_need_since_is_spared(store: Store) -> None:
    put(store)
    found = find_garbage(store, frozenset({"fit"}))
    with Store(store.root).leases.needing([KEY]):
        assert remove_garbage(store, found) == []
    assert store.open(KEY) is not None


def test_a_lease_that_was_taken_over_since_its_holder_was_found_dead_stays(store: Store) -> None:
    (store.root / "leases").mkdir(parents=True)
    for name in (KEY, f".{'1' * 16}.claim"):
        (store.root / "leases" / name).write_text("{}")
    found = find_garbage(store)
    assert [place.path.name for place in found.places] == [KEY, f".{'1' * 16}.claim"]
    other = Store(store.root)
    assert other.leases.acquire(KEY)
    assert [place.path.name for place in remove_garbage(store, found)] == [f".{'1' * 16}.claim"]
    assert other.leases.holds(KEY)


def test_damage_is_moved_aside_by_a_repair(store: Store) -> None:
    (put(store) / "data.bin").write_bytes(b"c0ntent")
    said = list(repair(store))
    assert said == [f"moved aside {KEY[:16]}: data.bin: content differs from the manifest"]
    assert list(store.verify()) == []
    assert len(list((store.root / "damaged").iterdir())) == 1
