"""The conformance kit finds each of a set of wrong plugins, by exactly the check that is about its fault."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from genbench.cli import program
from genbench.errors import UsageError
from genbench.registry import PluginSource, Registry
from genbench.testing import CHECKS, checks_of, make_subject, needed_by, outcomes

WRONG_PLUGINS = Path(__file__).parents[1] / "wrong_plugins.py"
WRONG = [
    ("generator", "undocumented", "options_are_documented", "option 'level' has no description"),
    ("generator", "missing", "requirements_are_installed", "requires nonsense_module_x"),
    ("generator", "presets", "presets_are_usable", "preset 'paper' gives no valid options"),
    ("generator", "path", "paths_stay_out_of_keys", "option weights is a path"),
    ("generator", "address", "paths_stay_out_of_keys", "names that do not depend on where it lies"),
    ("generator", "gen:float", "samples_are_what_was_asked_for", "torch.float32, not uint8"),
    ("generator", "gen:0-1", "samples_are_what_was_asked_for", "pixels are 0-255, not 0-1"),
    ("generator", "gen:grey", "samples_are_what_was_asked_for", r"[12, 1, 8, 8], not [12, 3, 8, 8]"),
    ("generator", "gen:short", "samples_are_what_was_asked_for", "labels are not those"),
    ("generator", "gen:other labels", "samples_are_what_was_asked_for", "labels are not those"),
    ("generator", "gen:sources", "samples_are_what_was_asked_for", "must be a row of train"),
    ("generator", "gen:prompts", "samples_are_what_was_asked_for", "1 prompts for 12 images"),
    ("generator", "gen:unseeded", "samples_repeat", "draw randomness from request.seeds"),
    ("generator", "gen:with replacement", "samples_do_not_depend_on_the_split", "changes with the split"),
    ("generator", "gen:by place", "samples_do_not_depend_on_the_split", "changes with the split"),
    ("generator", "gen:global torch", "random_state_is_left_alone", "generator of torch was used"),
    ("generator", "gen:global numpy", "random_state_is_left_alone", "generator of numpy was used"),
    ("generator", "gen:global python", "random_state_is_left_alone", "generator of Python was used"),
    ("generator", "gen:fit changes train", "inputs_are_left_alone", "fit changes train"),
    ("generator", "gen:changes train", "inputs_are_left_alone", "sample changes train"),
    ("generator", "gen:changes seeds", "inputs_are_left_alone", "sample changes seeds"),
    ("generator", "gen:fit draws", "fits_repeat", "a second fit differs"),
    ("generator", "gen:torch.save", "nothing_is_pickled", "found pickles: means.safetensors"),
    ("generator", "gen:pickle", "nothing_is_pickled", "found pickles: means.data"),
    ("generator", "gen:load forgets", "saved_state_is_complete", "a loaded generator makes other images"),
    ("generator", "gen:never asks", "fit_can_be_stopped", "reports progress 3 times, and never asks"),
    ("generator", "gen:no json", "fit_can_be_stopped", "not JSON serializable"),
    ("generator", "gen:loses state", "fit_can_be_stopped", "a resumed fit differs"),
    ("generator", "gen:asks once and forgets", "fit_can_be_stopped", "a resumed fit differs"),
    ("generator", "gen:ignores the answer", "fit_can_be_stopped", "did not call ctx.checkpoint"),
    ("filter", "sieve:short", "filter_judges_every_image", "24 verdicts and 24 reasons for 48 images"),
    ("filter", "sieve:numbers", "filter_judges_every_image", "keep must be bool, found float64"),
    ("filter", "sieve:no reason", "filter_judges_every_image", "dropped without a reason"),
    ("filter", "sieve:unseeded", "verdicts_repeat", "judged differently"),
    ("filter", "sieve:by position", "verdicts_do_not_depend_on_the_order", "in another order"),
    ("filter", "sieve:drops a class", "every_class_keeps_images", "none is left of class1"),
    ("filter", "sieve:draws half", "every_class_keeps_images", "first_draw() is 0.5"),
    ("filter", "sieve:changes images", "inputs_are_left_alone", "keep changes the synthetic images"),
    ("filter", "sieve:global", "random_state_is_left_alone", "generator of numpy was used"),
    ("classifier", "net:one class more", "network_has_the_expected_face", "[24, 4], not [24, 3]"),
    ("classifier", "net:maps", "network_has_the_expected_face", "[24, 16, 1], not [24, D]"),
    ("classifier", "net:two ways", "network_has_the_expected_face", "forward differs from forward_head"),
    ("classifier", "net:own randomness", "weights_are_drawn_from_the_seed", "body.weight begins differently"),
    ("classifier", "net:batch statistics", "predictions_do_not_depend_on_the_batch", "others in its batch"),
    ("classifier", "net:state outside", "network_can_be_saved", "in parameters and buffers"),
    ("classifier", "net:stuck", "network_learns", "no gradient reaches unused.weight"),
    ("classifier", "net:no gradient", "network_learns", "no gradient reaches"),
    ("evaluator", "lost", "evaluator_is_what_its_options_say", "SuiteEvaluator needs `subject"),
    (
        "evaluator",
        "no-evaluator",
        "target_is_of_its_kind",
        "must be a subclass of genbench.protocols.Evaluator",
    ),
    ("evaluator", "meter:bounds", "metrics_are_well_formed", "does not lie within 0 and 100"),
    ("evaluator", "photometer:twice", "metrics_are_well_formed", "cannot be told apart"),
    ("evaluator", "probe:no note", "metrics_are_well_formed", "other is None and does not say why"),
    ("evaluator", "meter:list", "metrics_are_well_formed", "must return an Evaluation, found list"),
    ("evaluator", "meter:empty", "metrics_are_well_formed", "no metric was returned"),
    ("evaluator", "census:unseeded", "metrics_repeat", "metrics do not repeat"),
    ("evaluator", "photometer:changes images", "inputs_are_left_alone", "work on a copy"),
    ("evaluator", "meter:changes logits", "inputs_are_left_alone", "work on a copy"),
    ("evaluator", "probe:changes weights", "inputs_are_left_alone", "work on a copy"),
    ("evaluator", "census:global", "random_state_is_left_alone", "generator of torch was used"),
    ("dataset", "data:two sizes", "splits_can_be_used", "test has images of (3, 4, 4)"),
    ("dataset", "data:no training image", "splits_can_be_used", "no training image of: c"),
    ("dataset", "data:outside", "splits_can_be_used", "labels of night must lie in 0..2, found 1..3"),
    ("dataset", "data:shift called val", "splits_can_be_used", "a shift may not be called 'val'"),
    ("dataset", "data:other classes", "splits_have_the_same_classes", "test has the classes"),
    ("dataset", "data:val of other classes", "splits_have_the_same_classes", "val has the classes"),
    ("dataset", "data:unseeded", "dataset_loads_twice_the_same", "train differs between two loads"),
    ("dataset", "data:global", "random_state_is_left_alone", "generator of torch was used"),
]


@pytest.fixture(scope="module")
def wrong() -> Registry:
    return Registry(PluginSource(files=(str(WRONG_PLUGINS),), third_party=False))


def found(registry: Registry, kind: Any, text: str, work: Path, **options: Any) -> list[tuple[str, str]]:
    """Return what fails, with what is said of it."""
    name, _, fault = text.partition(":")
    subject = make_subject(registry, kind, f"{name}:fault={fault}", work, **options)
    every = list(outcomes(subject, checks_of(subject)))
    assert [outcome.check for outcome in every] == list(CHECKS[kind])
    return [(outcome.check.__name__, outcome.message) for outcome in every if outcome.status == "FAIL"]


@pytest.mark.parametrize(("kind", "text", "check", "message"), WRONG, ids=[text for _, text, _, _ in WRONG])
def test_a_wrong_plugin_is_found_by_exactly_its_check(
    wrong: Registry, tmp_path: Path, kind: str, text: str, check: str, message: str
) -> None:
    failures = found(wrong, kind, text, tmp_path)
    assert [name for name, _ in failures] == [check], failures
    assert message in failures[0][1]


RIGHT = [
    *(("generator", f"gen:{fault}") for fault in ("", "asks once", "asks nothing")),
    *(("filter", "sieve:"), ("classifier", "net:"), ("dataset", "data:")),
    *(("evaluator", f"{name}:") for name in ("meter", "photometer", "probe", "census")),
]


@pytest.mark.parametrize(("kind", "text"), RIGHT)
def test_without_a_fault_every_check_passes(wrong: Registry, tmp_path: Path, kind: str, text: str) -> None:
    assert found(wrong, kind, text, tmp_path) == []


def test_every_check_finds_something() -> None:
    """A check that no wrong plugin fails might as well not be there."""
    in_tests_of_their_own = {check.__name__ for check in CHECKS["executor"]}  # test_executors.py
    in_tests_of_their_own -= {check.__name__ for check in CHECKS["dataset"]}
    in_tests_of_their_own |= {"config_imports_without_torch", "files_that_are_read_are_named"}
    pairs = {(kind, check) for kind, _, check, _ in WRONG}
    every = {(kind, check.__name__) for kind, checks in CHECKS.items() for check in checks}
    common = {check.__name__ for check in set(CHECKS["dataset"]) & set(CHECKS["filter"])}
    specific = {(kind, check) for kind, check in every if check not in common | in_tests_of_their_own}
    assert specific - pairs == set()
    assert common - {check for _, check in pairs} - in_tests_of_their_own == set()


def test_checks_stand_behind_those_that_they_rest_on() -> None:
    for checks in CHECKS.values():
        for place, check in enumerate(checks):
            assert set(needed_by(check)) <= set(checks[:place]), check.__name__


def test_data_that_is_read_and_not_named_is_found(wrong: Registry, tmp_path: Path) -> None:
    folder, work = tmp_path / "data", tmp_path / "work"
    for path in (folder, work):
        path.mkdir()
    (folder / "levels.txt").write_text("1")
    subject = make_subject(wrong, "dataset", f"data:fault=reads a file,folder={folder}", work)
    failed = {one.check.__name__: one.message for one in outcomes(subject, checks_of(subject)) if one.message}
    assert failed.keys() == {"paths_stay_out_of_keys", "files_that_are_read_are_named"}
    assert (
        "load reads levels.txt, and source_files() names no file" in failed["files_that_are_read_are_named"]
    )
    assert "option folder is a path" in failed["paths_stay_out_of_keys"]


def test_options_that_import_torch_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module of its own: a single-file plugin is one module with its implementation."""
    (tmp_path / "heavy_options.py").write_text(
        "import torch\nfrom genbench.protocols import FilterConfig\nclass Heavy(FilterConfig): pass\n"
    )
    (tmp_path / "heavy_plugin.py").write_text(
        WRONG_PLUGINS.read_text()
        .replace('_spec("sieve", "Sieve")', 'genbench.ComponentSpec(name="heavy", summary="s", '
                 'target="heavy_plugin:Sieve", config="heavy_options:Heavy")')
        .replace("self.fault = config.fault", 'self.fault = ""')
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry(PluginSource(files=(str(tmp_path / "heavy_plugin.py"),), third_party=False))
    subject = make_subject(registry, "filter", "heavy", tmp_path)
    failed = [one for one in outcomes(subject, checks_of(subject)) if one.status != "ok"]
    assert [one.check.__name__ for one in failed] == ["config_imports_without_torch"]
    assert "importing heavy_options imports torch" in failed[0].message
    for name in ("heavy_options", "heavy_plugin"):
        sys.modules.pop(name, None)


def test_a_dataset_lends_its_classes_and_images(wrong: Registry, tmp_path: Path) -> None:
    subject = make_subject(wrong, "filter", "sieve", tmp_path, dataset="digits")
    assert subject.images().class_names == tuple("0123456789")
    assert subject.images().class_counts().tolist() == [8] * 10
    assert not (subject.images(0).all() == subject.images(1).all()).all()
    assert found(wrong, "filter", "sieve:", tmp_path, dataset="digits") == []
    with pytest.raises(
        UsageError, match=r"dataset 'data' is checked on its own images\s+leave out --dataset"
    ):
        make_subject(wrong, "dataset", "data", tmp_path, dataset="digits")


@pytest.fixture
def check() -> Callable[..., tuple[int, str]]:
    """Run `genbench plugin check` in this process."""

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(program, ["plugin", "check", *arguments, "--plugin", str(WRONG_PLUGINS)])
        return done.exit_code, done.output

    return run


def test_the_command_says_what_failed_and_what_was_not_asked(check: Callable[..., tuple[int, str]]) -> None:
    code, said = check("sieve:fault=short")
    assert code == 1
    assert "FAIL filter_judges_every_image: 24 verdicts and 24 reasons for 48 images" in said
    assert "skip verdicts_repeat: asked once filter_judges_every_image passes" in said
    assert "1 of 12 checks failed; 5 that rest on them were not asked" in said
    code, said = check("sieve", "--dataset", "digits")
    assert (code, said.splitlines()[-1]) == (0, "all 12 checks passed")


def test_components_that_need_files_can_be_checked(
    check: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.txt").write_text("3\n5\n")
    code, said = check("cull_list:rows.txt")
    assert code == 0, said
