"""Plugins: one that is broken is reported by name with its reason, and everything else goes on."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import genbench
from genbench.errors import PluginError, UsageError
from genbench.hookspecs import ComponentSpec
from genbench.registry import PluginSource, Registry, import_target, plugin_files

GOOD = """
import genbench
@genbench.hookimpl
def genbench_generators():
    return [genbench.ComponentSpec(name="{name}", target="a:B", config="a:C", summary="s")]
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Registry]:
    """Write single-file plugins and load them."""

    def loaded(**sources: str) -> Registry:
        files = []
        for name, text in sources.items():
            (tmp_path / f"{name}.py").write_text(text)
            files.append(str(tmp_path / f"{name}.py"))
            sys.modules.pop(name, None)
        return Registry(PluginSource(files=tuple(files)))

    return loaded


def state(registry: Registry, name: str) -> tuple[str, str]:
    plugin = next(plugin for plugin in registry.plugins if plugin.name == name)
    return plugin.state, plugin.reason


def test_built_ins_come_in_through_entry_points() -> None:
    groups = importlib.metadata.entry_points(group="genbench")
    own = {entry.name for entry in groups if entry.dist and entry.dist.name == "genbench"}
    registry = Registry(PluginSource(third_party=False))
    assert own == {"datasets", "generators", "filters", "classifiers", "evaluators"}
    assert {plugin.name for plugin in registry.plugins if plugin.builtin} == {*own, "genbench"}
    assert all(plugin.state == "ok" for plugin in registry.plugins), registry.plugins


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import nonsense_module_x", "ModuleNotFoundError: No module named 'nonsense_module_x'"),
        ("def broken(:", "SyntaxError"),
        ("genbench_api = 99", "asks for plugin API 99; this genbench has API 3"),
        (
            GOOD.replace("generators", "generator").format(name="x"),
            r"unknown hook 'genbench_generator'. Did you mean",
        ),
        (
            GOOD.replace(
                '[genbench.ComponentSpec(name="{name}", target="a:B", config="a:C", summary="s")]', "[3]"
            ),
            "must return ComponentSpecs, found 3",
        ),
        (GOOD.format(name="Bad Name"), "component name 'Bad Name': use lower-case"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_go_on(
    load: Callable[..., Registry], source: str, reason: str
) -> None:
    registry = load(plugin_broken=source, plugin_good=GOOD.format(name="good-one"))
    found_state, found_reason = state(registry, "plugin_broken")
    assert found_state == "failed"
    assert reason.partition("'")[0] in found_reason
    assert registry.spec("generator", "good-one").name == "good-one"
    assert registry.spec("dataset", "digits").name == "digits"


def test_built_ins_win_a_name_and_strangers_conflict(load: Callable[..., Registry]) -> None:
    registry = load(
        plugin_thief=GOOD.format(name="ddpm"),
        plugin_first=GOOD.format(name="contested"),
        plugin_second=GOOD.format(name="contested"),
    )
    assert state(registry, "plugin_thief") == (
        "conflict",
        "generator 'ddpm' is already registered by plugin 'generators'",
    )
    assert registry.spec("generator", "ddpm").target.startswith("genbench_generators")
    assert state(registry, "plugin_first")[0] == state(registry, "plugin_second")[0] == "conflict"
    with pytest.raises(UsageError, match=r"unknown generator 'contested'[\s\S]*did not load: .*plugin_first"):
        registry.spec("generator", "contested")


def test_unknown_names_get_a_suggestion_and_the_next_command(registry: Registry) -> None:
    with pytest.raises(
        UsageError, match=r"unknown classifier 'resnet23'. Did you mean resnet32\?[\s\S]*genbench list"
    ):
        registry.spec("classifier", "resnet23")


def test_plugins_can_be_disabled_and_left_out(tmp_path: Path) -> None:
    registry = Registry(PluginSource(disabled=frozenset({"generators"}), third_party=False))
    assert state(registry, "generators") == ("disabled", "named in GENBENCH_DISABLE")
    assert registry.specs("generator") == []


def test_single_files_are_named_absolutely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert plugin_files(["a.py", "./a.py"]) == (str(tmp_path / "a.py"),)
    registry = Registry(PluginSource(files=(str(tmp_path / "a.py"),)))
    assert "does not exist" in state(registry, "a")[1]


def test_targets_that_cannot_be_imported_name_the_component() -> None:
    message = (
        r"component 'x': cannot import genbench\.errors:Nothing [\s\S]*define Nothing in genbench\.errors"
    )
    with pytest.raises(PluginError, match=message):
        import_target("genbench.errors:Nothing", "x")
    with pytest.raises(PluginError, match=r"target must be 'module:Class'"):
        ComponentSpec(name="x", target="module.Class", config="a:B", summary="")


def test_a_plugin_needs_three_names_from_the_package() -> None:
    assert {"ComponentSpec", "Resources", "hookimpl"} <= set(genbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        genbench.nothing  # noqa: B018 - the access is the test


STEP = "genbench_step_finished"
FACTS = {"stage": "fit", "key": "k", "status": "done", "seconds": 1.0}


def test_observers_and_commands_of_plugins_are_called(load: Callable[..., Registry], tmp_path: Path) -> None:
    registry = load(
        plugin_observer=f"""
import click, genbench
@genbench.hookimpl
def genbench_step_finished(status, stage):
    __import__("pathlib").Path({str(tmp_path / "seen")!r}).write_text(stage + status)
@genbench.hookimpl
def genbench_commands():
    return [click.Command("extra")]
"""
    )
    assert registry.heard(STEP) == {"status", "stage"}
    assert registry.heard("genbench_run_started") == set()
    assert registry.tell(STEP, FACTS) == []
    assert (tmp_path / "seen").read_text() == "fitdone"
    assert [command.name for command in registry.commands()] == ["extra"]


def test_an_observer_that_raises_is_named_once_and_silenced(load: Callable[..., Registry]) -> None:
    registry = load(
        plugin_loud="""
import genbench
@genbench.hookimpl
def genbench_step_finished(stage):
    raise RuntimeError(stage)
@genbench.hookimpl
def genbench_commands():
    raise SystemExit(3)
"""
    )
    (said,) = registry.tell(STEP, FACTS)
    assert "'plugin_loud' no longer observes this run: its observer raised RuntimeError: fit" in said
    assert registry.tell(STEP, FACTS) == []
    assert registry.heard(STEP) == set()
    assert list(registry.commands()) == []


def test_an_observer_changes_nothing_in_genbench(load: Callable[..., Registry]) -> None:
    from genbench import seeding

    registry, before = (
        load(
            plugin_sly="""
import genbench
@genbench.hookimpl
def genbench_step_finished(stage):
    from genbench import seeding
    seeding.derive_seed = lambda *names: 0
"""
        ),
        seeding.derive_seed,
    )
    (said,) = registry.tell(STEP, FACTS)
    assert "PluginError: it replaces genbench.seeding.derive_seed when it is called" in said
    assert seeding.derive_seed is before


def test_packages_of_others_may_be_called_genbench_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, about = tmp_path / "genbench_tested", tmp_path / "genbench_tested-1.0.dist-info"
    for folder in (package, about):
        folder.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(GOOD.format(name="installed"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: genbench-tested\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[genbench]\nof_a_test = genbench_tested.plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    assert state(registry, "of_a_test") == ("ok", "")
    assert registry.owner("generator", "installed").origin == "genbench-tested 1.0"


@pytest.mark.parametrize(
    "target", ["import sys; sys.exit(0)", "import genbench.metrics as m; m.shown_range = id"]
)
def test_what_a_plugin_does_to_the_program_when_it_is_imported_is_its_failure(
    load: Callable[..., Registry], target: str
) -> None:
    from genbench import metrics

    before = metrics.shown_range
    registry = load(plugin_rude=target)
    assert state(registry, "plugin_rude")[0] == "failed"
    assert metrics.shown_range is before
