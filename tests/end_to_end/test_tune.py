"""`genbench tune`: trials are cells, resuming is running again, and val alone chooses."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.errors import UsageError
from genbench.metrics import Metric
from genbench.notation import parse_reference
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record, Result, Run, read_records
from genbench.registry import Registry
from genbench.runner import Observer
from genbench.spec import Resolved, make_suite, resolve, resolve_suite
from genbench.store import Store
from genbench.tune import (
    METRIC,
    SPLIT,
    Dimension,
    Search,
    Trial,
    best_of,
    make_dimensions,
    reference_line,
    scored,
    tune,
    with_values,
)
from genbench.worker import RunOptions
from genbench_classifiers.configs.cnn import CnnConfig

TOY_PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
RATE = Dimension("recipe.learning_rate", low=0.001, high=1.0)
OPTIMIZER = Dimension("recipe.optimizer", ("sgd", "adam"))
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run `genbench tune ARGUMENTS` on toys in an empty folder."""

    def run(
        *arguments: str, plugin: Path = TOY_PLUGIN, store: str = "store"
    ) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "GENBENCH_STORE": str(tmp_path / store), "OMP_NUM_THREADS": "1"}
        toys = ["-d", "toy-data", "-c", "toy-net", "--preset", "smoke", "--plugin", str(plugin), "-j", "0"]
        return subprocess.run(
            [sys.executable, "-m", "genbench.cli", "tune", *toys, *arguments],
            env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def make_search(registry: Registry, store: Store) -> Callable[..., Search]:
    """Build a search on toys."""

    def make(trials: int, *dimensions: Dimension, seeds: int = 1) -> Search:
        content = {"datasets": ["toy-data"], "classifiers": ["toy-net"], "preset": "smoke", "base_seed": 1}
        suite = make_suite({**content, "seeds": seeds, "evaluators": ["accuracy"]}, "test")
        return Search(suite, dimensions or (RATE, OPTIMIZER), trials, registry, store, RunOptions(jobs=0))

    return make


@pytest.fixture
def toy_net(registry: Registry) -> Resolved:
    """The toy classifier with its defaults."""
    return resolve(registry, "classifier", parse_reference("toy-net"), "smoke", lambda path: "")


def record(**top1: float) -> Record:
    """Fabricate a record with top-1 on splits."""
    result = Result(
        "cell",
        "ok",
        dataset=Component("toy-data"),
        generator=Component("none"),
        filter=Component("none"),
        classifier=Component("toy-net"),
        evaluator=Component("accuracy"),
        index=0,
        protocol=Protocol(),
        key="",
        planned_indices=1,
        mix=Mix(ratio=0.0),
        metrics=tuple(Metric("top1", value, "%", split=split) for split, value in top1.items()),
    )
    return Record(result, Run("", ""))


# ---------------------------------------------------------------------------------------- the objective


def test_the_score_is_val_and_not_test() -> None:
    trials = [
        scored(0, {}, [record(test=99.0, val=60.0), record(test=97.0, val=70.0)]),
        scored(1, {}, [record(test=10.0, val=80.0), record(test=20.0, val=70.0)]),
    ]
    assert [trial.score for trial in trials] == [65.0, 75.0]
    assert best_of(trials) == trials[1]
    assert (METRIC, SPLIT) == ("top1", "val")


def test_a_trial_without_a_score_is_a_failure_and_never_best() -> None:
    failed = scored(0, {}, [record(test=99.0)])
    assert failed.score is None
    assert "no top1 on val" in failed.reason
    assert best_of([failed]) is None
    assert best_of([failed, Trial(1, {}, 0.0)]) == Trial(1, {}, 0.0)


def test_scores_are_those_of_the_stored_records(make_search: Callable[..., Search], store: Store) -> None:
    trials = list(tune(make_search(3, seeds=2)))
    records = list(read_records([store.root / "records"]))
    for trial in trials:
        assert trial.score is not None
        mine = [
            entry
            for entry in records
            if entry.result.classifier is not None
            and entry.result.classifier.config["recipe"]["learning_rate"]
            == trial.values["recipe.learning_rate"]
        ]
        assert sorted(entry.result.index for entry in mine) == [0, 1]
        values = [metric.value for entry in mine if (metric := entry.result.metric("top1", "val"))]
        assert trial.score == pytest.approx(sum(value or 0 for value in values) / 2, abs=1e-9)
    assert all(entry.result.protocol.base_seed == 1 for entry in records)


@pytest.mark.slow(reason="two searches")
def test_a_test_split_with_wrong_labels_changes_nothing(program: Program, tmp_path: Path) -> None:
    """The same search where test's labels are rotated: other test accuracy, the same choice."""
    spoilt = tmp_path / "spoilt" / "toy_plugin.py"
    spoilt.parent.mkdir()
    text = TOY_PLUGIN.read_text()
    rotated = text.replace(
        "TensorImages(pixels, labels.numpy(),",
        'TensorImages(pixels, ((labels + (split == "test")) % config.classes).numpy(),',
    )
    assert rotated != text
    spoilt.write_text(rotated)
    honest, wrong = program("--trials", "4", store="a"), program("--trials", "4", plugin=spoilt, store="b")
    assert honest.returncode == wrong.returncode == 0, honest.stderr + wrong.stderr
    assert honest.stdout == wrong.stdout
    found = [
        sorted(path.read_text() for path in (tmp_path / name / "artifacts").rglob("evaluation.json"))
        for name in "ab"
    ]
    assert len(found[0]) == len(found[1]) == 4
    assert found[0] != found[1]


# ---------------------------------------------------------------------------------------------- resuming


def test_a_longer_search_goes_on_where_a_shorter_one_ended(make_search: Callable[..., Search]) -> None:
    def count(search: Search) -> tuple[list[Trial], int]:
        trained: list[str] = []

        def note(step: Any, event: Any) -> None:
            trained.extend([step.key] * (event.status == "done" and step.stage == "train"))

        return list(tune(search, Observer(event=note))), len(trained)

    short, trained = count(make_search(12))
    assert trained == 12
    longer, added = count(make_search(15))
    assert longer[:12] == short
    assert added == 3
    assert count(make_search(15)) == (longer, 0)
    assert len({trial.values["recipe.learning_rate"] for trial in longer}) > 10


def test_the_first_trial_is_the_recipe_as_it_stands(
    make_search: Callable[..., Search], toy_net: Resolved
) -> None:
    (first,) = tune(make_search(1))
    recipe = toy_net.config.recipe  # type: ignore[attr-defined]
    assert first.values == {"recipe.learning_rate": recipe.learning_rate, "recipe.optimizer": "sgd"}
    outside = Dimension("recipe.learning_rate", low=0.5, high=1.0)
    (other,) = tune(make_search(1, outside))
    assert 0.5 <= float(str(other.values["recipe.learning_rate"])) <= 1.0


def test_the_program_prints_a_line_that_is_the_recipe_it_tried(
    program: Program, registry: Registry, make_search: Callable[..., Search], tmp_path: Path
) -> None:
    done = program("--trials", "3", "--search", "learning_rate=0.001..1", "--search", "dropout=0.0..0.5")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "store" / "records").exists()  # trials are no results: no board lists them
    lines = re.findall(r"^trial +(\d+)  val top-1 +([\d.]+) %", done.stdout, flags=re.MULTILINE)
    assert [int(number) for number, _ in lines] == [0, 1, 2]
    found = re.search(r'best: trial (\d+), val top-1 ([\d.]+) %.*\n  classifiers = \["(.*)"\]', done.stdout)
    assert found
    assert float(found[2]) == max(float(score) for _, score in lines)
    pasted = resolve(registry, "classifier", parse_reference(found[3]), "paper", lambda path: "")
    values = dict(
        word.split("=") for word in found[3].split(":", 1)[1].split(",") if not word.startswith("preset")
    )
    typed = {name: float(value) for name, value in values.items()}
    tried = resolve_suite(registry, with_values(make_search(1).suite, typed), lambda path: "").classifiers[0]
    assert pasted.identity == tried.identity


def test_lists_and_earlier_options_survive_in_the_line() -> None:
    suite = make_suite({"classifiers": ["cnn:widths=[8,16],recipe.epochs=2"], "preset": "quick"}, "test")
    line = reference_line(suite, {"recipe.nesterov": True, "dropout": 0.25}, 12)
    options = "preset=quick,widths=[8,16],recipe.epochs=2,recipe.nesterov=true,dropout=0.25,tuning_trials=12"
    assert line == f"cnn:{options}"
    assert parse_reference(line).options["recipe"] == {"epochs": 2, "nesterov": True}


def test_trials_of_the_preset_that_a_search_starts_from_count(
    registry: Registry, make_search: Callable[..., Search]
) -> None:
    search = make_search(2)
    assert search.earlier_trials == 0
    tuned = search.suite.model_copy(update={"classifiers": (parse_reference("cnn:preset=quick"),)})
    preset = CnnConfig.presets["quick"]["tuning_trials"]
    assert preset > 0
    assert replace(search, suite=tuned).earlier_trials == preset


def test_a_bare_value_stays_in_front(registry: Registry) -> None:
    suite = make_suite({"classifiers": ["vit:small"], "preset": "smoke"}, "test")
    line = reference_line(suite, {"recipe.learning_rate": 0.01}, 3)
    assert line == "vit:small,preset=smoke,recipe.learning_rate=0.01,tuning_trials=3"
    changed = resolve(registry, "classifier", parse_reference(line), "paper", lambda path: "").config
    assert changed.size == "small"  # type: ignore[attr-defined]
    assert changed.recipe.learning_rate == 0.01  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------- the space


def test_without_a_wish_rate_and_decay_are_searched_around_the_recipe(toy_net: Resolved) -> None:
    assert make_dimensions(toy_net, []) == [
        Dimension("recipe.learning_rate", low=0.005, high=0.5),
        Dimension("recipe.weight_decay", low=5e-5, high=5e-3),
    ]


def test_no_decay_is_not_searched_by_itself(registry: Registry) -> None:
    reference = parse_reference("vit:preset=source-s1")
    vit = resolve(registry, "classifier", reference, "smoke", lambda path: "")
    assert [dimension.option for dimension in make_dimensions(vit, [])] == ["recipe.learning_rate"]


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("dropout=0.0..0.5", Dimension("dropout", low=0.0, high=0.5)),
        ("recipe.learning_rate=1e-4..1", Dimension("recipe.learning_rate", low=1e-4, high=1)),
        ("batch_size_images=8..32", Dimension("recipe.batch_size_images", low=8, high=32)),
        ("optimizer=sgd|adam", Dimension("recipe.optimizer", ("sgd", "adam"))),
        ("schedule", Dimension("recipe.schedule", ("constant", "multistep", "cosine", "onecycle"))),
        ("nesterov", Dimension("recipe.nesterov", (False, True))),
        ("milestones=[0.5]|[0.3,0.6]", Dimension("recipe.milestones", ((0.5,), (0.3, 0.6)))),
    ],
)
def test_searches_are_read(toy_net: Resolved, text: str, dimension: Dimension) -> None:
    assert make_dimensions(toy_net, [text]) == [dimension]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learnin_rate"], r"toy-net has no option 'learnin_rate'. Did you mean learning_rate\?"),
        (["recipe"], r"toy-net has no option 'recipe'"),
        (["learning_rate=1..0.1"], r"'learning_rate=1..0.1': a range is LOW..HIGH, two numbers"),
        (["learning_rate=a..b"], r"a range is LOW..HIGH, two numbers"),
        (["optimizer=sgd"], r"name a range LOW..HIGH, or at least two choices"),
        (["clip_norm"], r"recipe.clip_norm: it is null, which has no usual range\n.*LOW..HIGH"),
        (["epochs", "recipe.epochs=1..3"], r"names 'recipe.epochs' twice"),
    ],
)
def test_searches_that_cannot_be_read_say_what_is_allowed(
    toy_net: Resolved, texts: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_dimensions(toy_net, texts)


def test_a_recipe_that_is_not_followed_is_not_searched(registry: Registry) -> None:
    idle = resolve(
        registry, "classifier", parse_reference("toy-net:recipe.epochs=0"), "smoke", lambda path: ""
    )
    for wanted in ([], ["momentum=0.1..0.9"]):
        with pytest.raises(
            UsageError, match=r"toy-net has recipe.epochs=0 and is not trained: recipe\.(l|m)"
        ):
            make_dimensions(idle, wanted)
    assert len(make_dimensions(idle, ["epochs=1|2", "momentum=0.1..0.9"])) == 2


def test_tried_numbers_lie_in_their_ranges_and_have_three_digits(make_search: Callable[..., Search]) -> None:
    batch = Dimension("recipe.batch_size_images", low=8, high=32)
    for trial in tune(make_search(6, RATE, batch)):
        rate, size = trial.values["recipe.learning_rate"], trial.values["recipe.batch_size_images"]
        assert isinstance(rate, float)
        assert 0.001 <= rate <= 1
        assert float(f"{rate:.3g}") == rate
        assert isinstance(size, int)
        assert 8 <= size <= 32


# ---------------------------------------------------------------------------------------------- failures


def test_without_optuna_the_message_names_the_command(
    make_search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"needs Optuna, .* not installed\n  pip install 'genbench\[tune\]'"):
        next(tune(make_search(1)))


def test_a_failed_trial_does_not_end_the_search(make_search: Callable[..., Search]) -> None:
    diverges = Dimension("recipe.learning_rate", (1e30, 0.05))
    trials = list(tune(make_search(8, diverges)))
    failed = [trial for trial in trials if trial.score is None]
    assert {trial.values["recipe.learning_rate"] for trial in failed} == {1e30}
    assert all("diverged" in trial.reason for trial in failed)
    best = best_of(trials)
    assert best is not None
    assert best.values == {"recipe.learning_rate": 0.05}


@pytest.mark.slow(reason="a search with its workers")
def test_a_search_whose_trials_all_fail_ends_with_one(program: Program) -> None:
    done = program("--trials", "2", "--search", "learning_rate=1e30..1e32")
    assert done.returncode == 1
    assert "all 2 trials failed" in done.stderr
    assert "best" not in done.stdout


@pytest.mark.slow(reason="a search with its workers")
def test_a_value_that_the_recipe_refuses_is_an_error_in_the_users_words(program: Program) -> None:
    done = program("--trials", "2", "--search", "momentum=0.5..2")
    assert done.returncode == 2
    assert "option 'recipe.momentum' is 2: Input should be less than 1" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
