"""What all tests share: a store of their own, one thread, and small made-up components."""

import importlib.metadata
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genbench.images import TensorImages
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.protocols import RunContext
from genbench.registry import PluginSource, Registry
from genbench.runner import RunSummary, run
from genbench.spec import resolve_suite
from genbench.steps.context import StepContext
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions

TOY_PLUGIN = Path(__file__).parent / "toy_plugin.py"
HUB_MIRROR = Path(__file__).parents[2] / "shared" / "hub"

torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # what is printed is as wide as into a pipe, whatever pytest runs in


def _foreign_plugins() -> str:
    """Name the plugins that somebody installed beside genbench: no test is about them."""
    entries = importlib.metadata.entry_points(group="genbench")
    own = {entry.name for entry in entries if entry.dist and entry.dist.name == "genbench"}
    return ",".join(sorted({entry.name for entry in entries} - own))


os.environ["GENBENCH_DISABLE"] = FOREIGN_PLUGINS = _foreign_plugins()  # also while tests are collected


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store, mirror or Hub."""
    monkeypatch.setenv("GENBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("GENBENCH_INDEX", "off")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", os.environ.get("HF_HOME", str(tmp_path / "huggingface")))
    monkeypatch.setenv("GENBENCH_DISABLE", FOREIGN_PLUGINS)
    for name in ("GENBENCH_HUB_MIRROR", "GENBENCH_RESIDENT_MIB"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_power_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing takes milliseconds, and holds against power failures alone (tests/faults/power.py)."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The built-in components and the toys."""
    return Registry(PluginSource(files=(str(TOY_PLUGIN),), third_party=False))


@pytest.fixture
def run_cells(registry: Registry, store: Store) -> Callable[..., tuple[Plan, RunSummary]]:
    """Run small cells in this process; keyword arguments are entries of the suite."""
    toys = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "reference": "toy-net", "seeds": 1}

    def run_them(**entries: Any) -> tuple[Plan, RunSummary]:
        suite = make_suite({**toys, "evaluators": ["accuracy"], "preset": "smoke", **entries}, "test")
        plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
        return plan, run(plan, store, registry, RunOptions(jobs=0))

    return run_them


@pytest.fixture
def hub_mirror(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data beside the checkout; tests that need it say so where it is missing."""
    if not HUB_MIRROR.is_dir():
        pytest.skip(f"needs the real data in {HUB_MIRROR.parent.name}/{HUB_MIRROR.name} beside the checkout")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(HUB_MIRROR))
    return HUB_MIRROR


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., StepContext]:
    """Build a context as steps get it; keyword arguments override its fields."""

    def make(**fields: Any) -> StepContext:
        def ignore(done: int, total: int, metrics: Mapping[str, float]) -> None:
            """Progress has no reader here."""

        base: dict[str, Any] = {
            "step_seed": 1,
            "device": "cpu",
            "work": tmp_path / "work",
            "files": tmp_path / "files",
            "log": logging.getLogger("test"),
            "report": ignore,
        }
        context = StepContext(**{**base, **fields})
        context.files.mkdir(parents=True, exist_ok=True)
        context.work.mkdir(parents=True, exist_ok=True)
        return context

    return make


@pytest.fixture
def ctx(make_context: Callable[..., StepContext]) -> RunContext:
    """A context as steps get it."""
    return make_context()


@pytest.fixture
def make_images() -> Callable[..., TensorImages]:
    """Build random images, classes in turn."""

    def make(count: int = 40, classes: int = 4, size: int = 8, seed: int = 0) -> TensorImages:
        pixels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed))
        names = [f"class{label}" for label in range(classes)]
        return TensorImages(pixels.byte(), np.arange(count, dtype=np.int64) % classes, names)

    return make
