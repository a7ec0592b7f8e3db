"""Hostile plugins: each does its worst in one run with all others, whose results must stay what they are.

The components are in `tests/hostile_plugin.py`. A deed either fails its own step, with a reason, or does
nothing to anybody: the cell of a generator that only spoils its own process equals that of an innocent one.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from faults.campaign import Size, Trial
from genbench.errors import PluginError
from genbench.planner import make_plan
from genbench.records import Record
from genbench.registry import PluginSource, Registry
from genbench.rooms import can_confine
from genbench.runner import Observer, RunSummary, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions

PLUGIN = Path(__file__).parents[1] / "hostile_plugin.py"
DATA = {"use": "digits", "limit_train": 100, "reserve": 40}


class Deed(NamedTuple):
    """What a hostile generator does in `fit`, and what is to become of it."""

    name: str
    fails: str = ""  # words of the reason; empty where its cell is as good as an innocent one's
    named: str = ""  # words of what its record says that it changed
    place: str = ""


HARMLESS = [
    Deed("relu", named="torch.relu was replaced"),
    Deed("grad", named="torch's grad mode is False, was True"),
    Deed("dtype", named="torch's default dtype is torch.float64"),
    Deed("numpy", named="numpy.mean was replaced"),
    Deed("harness", named="genbench.steps.stages.STAGES['predict'] was replaced"),
    Deed("children", named="process sleep was left behind", place="36123"),
    Deed("seeds", named="was left behind"),
    Deed("environment", named="$GENBENCH_RESIDENT_MIB was set"),
    Deed("determinism", named="torch's deterministic algorithms is True"),
    Deed("device", named="torch's default device is meta"),
    Deed("signals", named="handler of SIGTERM"),
    Deed("threads", named="was left behind"),
    Deed("noise"),
    Deed("stdout"),
    Deed("stdin"),
    Deed("progress"),
]
FAILING = [
    Deed("message", fails="RuntimeError: zzz"),
    Deed("surrogate", fails="ValueError: cannot read caf\\udce9.png"),
    Deed("spoiled", fails="spoiled by me"),
    Deed("exit", fails="SystemExit: 0"),
    Deed("hard exit", fails="its process ended without a word"),
    Deed("crash", fails="its process was killed by SIGSEGV"),
    Deed("store error", fails="FileExistsError"),
    Deed("disk full", fails="No space left on device"),
    Deed("own error", fails="the store is mine"),
    Deed("keyboard", fails="KeyboardInterrupt"),
    Deed("interrupted", fails="I was told so"),
    Deed("symlink", fails="left link.npy, which is a link"),
    Deed("hard link", fails="which is a link"),
    Deed("fifo", fails="left pipe, which is a link or no file"),
    Deed("empty", fails="yields empty batches without end"),
    Deed("close files", fails="its process"),
    Deed("memory", fails="MemoryError"),
    Deed("recursion", fails="RecursionError"),
    Deed("pickle", fails="its process said what nobody understands"),
]


def trials(size: Size) -> Iterator[Trial]:
    short = [*HARMLESS[:6], *FAILING[:6], FAILING[11]]
    deeds = [*HARMLESS, *FAILING] if size == "long" else short
    yield Trial("side by side", lambda folder: _side_by_side(folder, deeds), count=len(deeds))
    yield Trial("out of bounds", _out_of_bounds, count=7)
    yield Trial("at import", _at_import, count=2)
    if size == "long":
        for jobs in (1, 2, 4):
            yield Trial(
                f"side by side, {jobs} workers, not confined",
                lambda folder, jobs=jobs: _side_by_side(folder, deeds, jobs=jobs, confine="off"),
                count=len(deeds),
            )
        yield Trial("hangs", _hangs, count=3)


def _side_by_side(folder: Path, deeds: Sequence[Deed], jobs: int = 2, confine: str = "auto") -> None:
    """Run all deeds together, and compare with a run without any."""
    clean = results(_run(folder / "clean", ["copies"]), "none", "copies")
    before = _sleepers()
    generators = ["copies", *(_hostile(deed.name, deed.place) for deed in (Deed("none"), *deeds))]
    summary = _run(folder / "all", generators, jobs=jobs, confine=confine)
    assert results(summary, "none", "copies") == clean, "others' results differ"
    again = _run(folder / "all", ["copies"])
    assert again.ran == 0
    assert results(again, "none", "copies") == clean, "others' cached results differ"
    innocent = _metrics(summary, "none")
    for deed in deeds:
        reasons = [why for why in summary.failed.values() if deed.fails and deed.fails in why]
        if deed.fails:
            assert _metrics(summary, deed.name) == [], f"{deed.name} has a result"
            assert reasons, f"{deed.name}: no reason has {deed.fails!r}: {summary.failed}"
            assert max(map(len, reasons)) < 3000
        else:
            assert _metrics(summary, deed.name) == innocent, f"{deed.name} is not as good as innocent"
            said = [text for code in _codes(summary, deed.name) for text in code.changed]
            assert any(deed.named in text for text in said) or not deed.named, f"{deed.name}: {said}"
    assert _sleepers() == before, "a process was left behind"
    logs = sum(path.stat().st_size for path in (folder / "all" / "logs").iterdir())
    assert logs < 40 << 20, f"{logs} bytes of logs"


def _out_of_bounds(folder: Path) -> None:
    """Let plugins reach for test, other artifacts, the mirror, home, a socket: none gets there."""
    if not can_confine():  # what such a machine does is told by `genbench doctor`
        return
    (folder / "mirror").mkdir()
    (folder / "mirror" / "test.txt").write_text("hidden")
    home = Path.home() / ".genbench-hostile-probe"
    home.write_text("hidden")
    _run(folder / "store", ["copies"])
    with _listening() as port, _environment("GENBENCH_HUB_MIRROR", str(folder / "mirror")):
        splits = next((folder / "store").glob("artifacts/??/*/dataset.json")).parent
        reach = {
            "read": [*(str(splits / name) for name in ("test", "val", "reserve")), str(folder / "mirror")],
            "write": [str(folder / "store" / "records")],
            "connect": [str(port)],
        }
        places = [(deed, place) for deed, many in reach.items() for place in many] + [("read", str(home))]
        generators = [_hostile(deed, place) for deed, place in places]
        with _environment("GENBENCH_HOSTILE_SPLITS", str(splits)):
            summary = _run(folder / "store", generators, classifiers=["mlp", "cheat"], evaluators=["liar"])
    home.unlink()
    reasons = sorted(summary.failed.values())
    assert len(reasons) == len(places), reasons
    assert all("Permission denied" in why or "read 0 files" in why or "0 sockets" in why for why in reasons)
    assert not (folder / "store" / "work" / "never").exists()
    logs = "".join(path.read_text(errors="replace") for path in (folder / "store" / "logs").glob("*.log"))
    assert "CAN READ train" in logs
    assert not any(f"CAN READ {split}" in logs for split in ("test", "val", "reserve"))
    (liar,) = [
        record for record in summary.records if record.result.evaluator.use == "liar" and _is_clean(record)
    ]
    assert "torch.relu was replaced" in liar.run.plugins[-1].changed


def _at_import(folder: Path) -> None:
    """Misbehave when the module is imported, in options, and in an observer: named, and nothing else."""
    for deed, words in {"exit": "SystemExit: 0", "harness": "genbench.records.Record.to_json"}.items():
        sys.modules.pop(PLUGIN.stem, None)
        before = Record.to_json
        with _environment("GENBENCH_HOSTILE_IMPORT", deed):
            registry = Registry(PluginSource(files=(str(PLUGIN),)))
        (found,) = [plugin for plugin in registry.plugins if plugin.name == PLUGIN.stem]
        assert (found.state, words in found.reason) == ("failed", True), found
        assert Record.to_json is before
        sys.modules.pop(PLUGIN.stem, None)
    for deed in ("validator", "validator-exit"):
        with pytest.raises(PluginError, match="its options raise"):
            _run(folder / "store", [_hostile(deed)])
    said: list[str] = []
    with _environment("GENBENCH_HOSTILE_OBSERVER", "1"):
        assert _run(folder / "store", [], notices=said).failed == {}
    assert [line for line in said if "an observer broke" in line] == said[-1:]


def _hangs(folder: Path) -> None:
    """Hang in `fit`, and when the module is imported in a room: the time limit ends both."""
    summary = _run(folder / "one", [_hostile("hang")], timeout=10)
    assert ["no end within 10 s" in why for why in summary.failed.values()] == [True]
    summary = _run(folder / "three", [_hostile("flood")], timeout=10)
    assert ["no end within 10 s" in why for why in summary.failed.values()] == [True]
    with _environment("GENBENCH_HOSTILE_IMPORT", "hang in a room"):
        summary = _run(folder / "two", [_hostile("none")], timeout=10)
    assert ["no end within 10 s" in why for why in summary.failed.values()] == [True]
    assert len(results(summary, "none")) == 1


# ---------------------------------------------------------------------------------------------- the tools


def _run(  # a run with the hostile plugin loaded
    store: Path,
    generators: Sequence[Any],
    *,
    classifiers: Sequence[str] = ("mlp",),
    evaluators: Sequence[str] = (),
    jobs: int = 2,
    confine: str = "auto",
    timeout: float | None = 120,
    notices: list[str] | None = None,
) -> RunSummary:
    entries = {
        "datasets": [DATA], "generators": list(generators), "classifiers": list(classifiers), "seeds": 1,
        "evaluators": ["accuracy", *evaluators], "preset": "smoke", "reference": "mlp",
    }  # fmt: skip
    registry = Registry(PluginSource(files=(str(PLUGIN),)))
    opened = Store(store)
    plan = make_plan(resolve_suite(registry, make_suite(entries, "campaign"), opened.fingerprint))
    options = RunOptions(jobs=jobs, confine=confine, step_timeout_seconds=timeout)  # type: ignore[arg-type]
    observer = Observer(notice=(notices if notices is not None else []).append)
    return run(plan, opened, registry, options, observer)


def _is_clean(record: Record) -> bool:
    """Say whether a record is of built-in components, but for its evaluator."""
    classifier = record.result.classifier
    return record.result.generator.use == "none" and classifier is not None and classifier.use == "mlp"


def _hostile(deed: str, place: str = "") -> Mapping[str, Any]:
    return {"use": "hostile", "deed": deed, **({"place": place} if place else {})}


def results(summary: RunSummary, *generators: str) -> list[str]:
    """Return the digests of the results of some generators."""
    return sorted(
        record.result_digest
        for record in summary.records
        if record.result.generator.use in generators and record.result.evaluator.use == "accuracy"
    )


def _of(summary: RunSummary, deed: str) -> Iterator[Record]:
    for record in summary.records:
        if record.result.generator.use == "hostile" and record.result.generator.config["deed"] == deed:
            yield record


def _metrics(summary: RunSummary, deed: str) -> list[str]:
    found = [record.result for record in _of(summary, deed) if record.result.status == "ok"]
    return [json.dumps([[metric.label, metric.value] for metric in result.metrics]) for result in found]


def _codes(summary: RunSummary, deed: str) -> Iterator[Any]:
    for record in _of(summary, deed):
        yield from record.run.plugins


def _sleepers() -> set[str]:
    """Return the processes that `children` would leave."""
    found = set()
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if one.read_bytes() == b"sleep\x0036123\x00":
                found.add(one.parent.name)
        except OSError:
            continue
    return found


@contextmanager
def _listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
