"""Replays: experiments as data, their columns, verdicts, and what is shown of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import made_records
from genbench import hub
from genbench.cli import program
from genbench.copy_judgement import CopyJudgement
from genbench.digest import canonical_json
from genbench.errors import DataError, UsageError
from genbench.plan import Arm
from genbench.planner import make_plan
from genbench.recipe import TrainRecipe, total_steps
from genbench.registry import PluginSource, Registry
from genbench.replays.columns import rows_of, suite_of
from genbench.replays.conclusions import concluded, conclusions_markdown, conclusions_text
from genbench.replays.experiment import Experiment, experiments, load_experiment, replaced, scaled
from genbench.replays.listed import docs_rows, list_text
from genbench.replays.runs import How, Replayed, replay
from genbench.replays.shown import RENDERED, as_text, numbers_table
from genbench.spec import resolve, resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench_evaluators import accuracy
from genbench_leaderboard.crossed import Answers, Comparison, Interval
from genbench_leaderboard.replays import Asked, Found, agreement, difference, judge

TOY = Path(__file__).parents[1] / "toy_plugin.py"
CONTENT = """
title = "noise added to toys"
source = "T"
paper = "a made-up paper"
known = "partly"
departures = ["toys"]

[datasets]
toys = "toy-data"

[generators]
noise = "toy"
copies = "copies"

[classifiers]
net = "toy-net"

[mixes]
concat = { ratio = 1.0, augment = "off", budget = "epochs" }
matched = { ratio = 1.0, augment = "off" }

[replayed]
preset = "smoke"
datasets = ["toys"]
generators = ["noise"]
classifiers = ["net"]
mixes = ["concat"]
reference = "toy-net"

[replayed.arms]
none = { classifier = "net", mix = "concat" }
noise = { classifier = "net", generator = "noise", mix = "concat" }

[controlled]
preset = "smoke"
datasets = ["toys"]
generators = ["noise"]
classifiers = ["net"]
mixes = ["matched"]
reference = "toy-net"
seeds = 2

[controlled.arms]
none = { classifier = "net", mix = "matched" }
noise = { classifier = "net", generator = "noise", mix = "matched" }
copies = { classifier = "net", generator = "copies", mix = "matched", title = "copies instead" }

[[reported]]
name = "real toys"
value = 1.5
error = 0.05
images = 100
where = "page 3"
arm = "none"

[[reported]]
name = "a secret"
value = 54
error = 0.5
where = "page 4"
unanswered = "it is a secret"

[[effects]]
name = "noise helps"
sign = 1
value = 60.0
error = 0.5
where = "page 5"
of = "noise"
over = "none"

[scale]
core_minutes = 1
changes = ["fewer toys"]
preset = "smoke"
datasets = { toys = "toy-data:limit_train=40" }

[scale.replayed]
seeds = 2

[scale.controlled]
seeds = 1
with_generators = ["copies"]
"""


@pytest.fixture(scope="module")
def toy_registry() -> Registry:
    return Registry(PluginSource(files=(str(TOY),), third_party=False))


def written(folder: Path) -> tuple[str, Experiment]:
    path = folder / "toys.toml"
    path.write_text(CONTENT, encoding="utf-8")
    return load_experiment(str(path))


class Silent:
    """Progress that nobody looks at."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def observer(self) -> Any:
        from genbench.runner import Observer

        return Observer()


Run = Callable[..., Replayed]


@pytest.fixture(scope="module")
def run_toys(toy_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Replay the toys in one store; options are those of `How`."""
    folder = tmp_path_factory.mktemp("toys")
    name, experiment = written(folder)

    def run(out: str = "results", **options: Any) -> Replayed:
        how = How(
            toy_registry,
            Store(folder / "store"),
            folder / out,
            command="genbench replay toys",
            passed_on={"jobs": 0, "plugins": (str(TOY),), "no_plugins": True, "store": folder / "store"},
            **options,
        )
        return replay(name, experiment, how, Silent)

    with pytest.MonkeyPatch.context() as patch:  # drawing takes longer than training toys
        for name_of_picture in ("draw_confusion", "draw_reliability"):
            patch.setattr(accuracy, name_of_picture, lambda *_: None)
        yield run


# ------------------------------------------------------------------------------------------------- the files


def test_experiments_that_come_with_genbench_are_complete() -> None:
    """Every row of section D of the sources is there; what has no smaller version says what it needs."""
    found = {name: load_experiment(name)[1] for name in experiments()}
    assert {one.known for one in found.values()} == {"replayable", "partly", "claim only"}
    assert len(found) == 17
    for name, experiment in found.items():
        if experiment.scale:
            assert 5 <= experiment.scale.core_minutes <= 75, name
            assert list(replaced(experiment)), "a scaled version is smaller"
            for what, whole, small in replaced(experiment):
                assert whole != small, f"{name}: {what}"
        elif not experiment.stored:
            assert experiment.needs, name
        for one in experiment.reported:
            assert one.images or one.split != "test" or one.unanswered, f"{name}: {one.name}"


def _identities(arm: Arm) -> tuple[Any, ...]:
    parts = (arm.dataset, arm.generator, arm.filter, arm.classifier)
    return (*(canonical_json(part.identity) if part else "" for part in parts), arm.mix)


#: Whose whole version edits images by a pipeline, of which the first file is read to plan it.
NEED_WEIGHTS = {"s1-resnet32-diffusemix", "s1-vit-medium-diffusemix"}


@pytest.mark.parametrize("name", [name for name in experiments() if load_experiment(name)[1].columns])
def test_both_columns_plan_and_every_arm_is_a_planned_row(
    name: str, registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "fingerprint", lambda *_: "")
    _, experiment = load_experiment(name)
    for form in (*([] if name in NEED_WEIGHTS else [experiment]), scaled(experiment)):
        for column, one in form.columns.items():
            assert one.seeds >= 5, "fewer tell nothing"
            suite = make_suite(suite_of(form, one, f"{name}-{column}"), "test")
            with hub.looking():
                plan = make_plan(resolve_suite(registry, suite, store.fingerprint))
                rows = rows_of(form, one, registry, store)
            planned = {_identities(cell.arm) for cell in plan.cells}
            about_images = {parts[:3] for parts in planned}
            assert rows
            for arm, row in rows.items():
                parts = (row.dataset, row.generator, row.filter)
                whole = (*parts, row.classifier, row.mix)
                found = whole in planned if row.classifier else parts in about_images
                assert found, f"{name}, {column}: no cell is {arm}"


def test_the_page_lists_every_experiment_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
    found = {name: load_experiment(name)[1] for name in experiments()}
    assert "\n".join(docs_rows(found)) in page


def test_the_list_of_experiments_says_what_was_run(tmp_path: Path) -> None:
    (tmp_path / "s4-mmd-replay-scaled").mkdir()
    (tmp_path / "s4-mmd-replay-scaled" / "replay.json").write_text("{}")
    printed = CliRunner().invoke(program, ["replay", "--format", "json", "-o", str(tmp_path)]).output
    states = {row["experiment"]: row["results"] for row in json.loads(printed)}
    assert (states["s4-mmd"], states["s1-vit"]) == ("scaled", "not run")
    assert len(states) == len(experiments())
    printed = CliRunner().invoke(program, ["replay", "-o", str(tmp_path)]).output
    assert "replay.json is not what a replay leaves" in printed.replace("\n", " ")
    assert "`genbench replay s4-mmd --scale`" in printed.replace("\n", " ")


def test_the_list_keeps_names_whole_and_what_cannot_be_run_last(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: load_experiment(name)[1] for name in experiments()}
    monkeypatch.setenv("COLUMNS", "80")
    listed = list_text(found, {})
    assert max(map(len, listed.splitlines())) <= 80
    able, _, unable = listed.partition("cannot be run here")
    for name, one in found.items():
        assert f"\n{name} " in able if one.runs_here else f"\n  {name} (" in unable
    assert "--scale\n" in able, "the option is in one piece"
    assert "results" not in able, "a column that says nothing is dropped"
    assert "scaled" in list_text(found, {"s4-mmd": "scaled"})


def test_a_dry_run_prints_a_plan_and_no_empty_table(toy_registry: Registry, tmp_path: Path) -> None:
    name, experiment = written(tmp_path)
    how = How(toy_registry, Store(tmp_path / "store"), tmp_path / "out", "genbench replay toys --scale",
              is_scaled=True, columns=())  # fmt: skip
    dry = replay(name, experiment, how, Silent)
    text = RENDERED["text"](dry.found, dry.plan)
    assert "Reported: 2 numbers, 1 effect. Nothing was run yet." in text
    assert "replayed: 2 arms, 2 seeds; 4 cells, 4 to run;" in text
    assert "controlled: 3 arms, 1 seed; 3 cells, 3 to run;" in text
    assert "  * copies instead" in text
    assert "takes about: 1 core-minutes" in text
    assert "--scale changes\n  * fewer toys" in text
    assert "Run it with:\n  genbench replay toys --scale" in text
    assert "replayed  verdict" not in text, "columns of nothing are dropped"
    assert "cannot tell" not in text
    content = json.loads(RENDERED["json"](dry.found, dry.plan))["plan"]
    assert [one["cells_to_run"] for one in content["columns"]] == [4, 3]
    for one in content["columns"]:
        assert one["steps_to_run"] > one["cells_to_run"]
        assert one["steps_cached"] == 0
    assert "* controlled: 3 arms" in RENDERED["markdown"](dry.found, dry.plan)
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("https://github.com/a/b", "<https://github.com/a/b>"),
        ("https://a.b/<img>", None),
        ("javascript:x", None),
    ],
)
def test_the_address_of_a_source_can_be_followed_and_copied(
    address: str, line: str | None, toy_registry: Registry, tmp_path: Path
) -> None:
    name, experiment = written(tmp_path)
    how = How(toy_registry, Store(tmp_path / "store"), tmp_path / "out", "genbench replay toys",
              is_scaled=False, columns=())  # fmt: skip
    found = replay(name, experiment.model_copy(update={"url": address}), how, Silent).found
    page = RENDERED["markdown"](found)
    assert ("\n<https://" in page) == (line is not None)
    assert line is None or line in page.splitlines()
    assert "<img>" not in page.replace("\\<img>", "")
    assert address in RENDERED["text"](found)


def test_numbers_that_somebody_looked_up_come_first(toy_registry: Registry, tmp_path: Path) -> None:
    name, experiment = written(tmp_path)
    first, *others = experiment.reported
    doubtful = first.model_copy(update={"source": "quoted from memory"})
    how = How(toy_registry, Store(tmp_path / "store"), tmp_path / "out", "genbench replay toys",
              is_scaled=False, columns=())  # fmt: skip
    found = replay(name, experiment.model_copy(update={"reported": (doubtful, *others)}), how, Silent).found
    names = [row[0] for row in numbers_table(found).rows]
    assert names[: len(others)] == [one.name for one in others]
    assert names[len(others)] == first.name


def test_a_dry_run_of_what_was_reported_in_words_alone_has_one_table(
    toy_registry: Registry, tmp_path: Path
) -> None:
    name, experiment = written(tmp_path)
    experiment = experiment.model_copy(update={"reported": ()})
    how = How(toy_registry, Store(tmp_path / "store"), tmp_path / "out", "genbench replay toys --scale",
              is_scaled=True, columns=())  # fmt: skip
    dry = replay(name, experiment, how, Silent)
    text, page = (RENDERED[form](dry.found, dry.plan) for form in ("text", "markdown"))
    assert "noise helps" in text
    assert "\n\n\n" not in text, "a table without rows left its blank lines"
    headers = [line for line in page.splitlines() if "| reported" in line]
    assert headers == ["| effect | reported |"]


def test_every_number_of_the_sources_stands_in_an_experiment() -> None:
    """Numbers that section A of the sources has, by hand: none was lost or mistyped."""
    wanted = {
        "s1-resnet32-search": [87.50, 84.09, 83.72, 83.42, 82.66],
        "s1-vit": [65.7, 69.2, 72.4, 69.3, 62.3, 69.5, 65.6, 58.2],
        "s1-vit-medium-diffusemix": [72.4, 79.29],
        "s1-resnet32-diffusemix": [87.50, 88.99, 88.99],
        "s2-ddpm-mlp": [44.05, 41.14],
        "s3-ddpm-cnn": [54, 57.12],
        "s4-catsdogs": [87.70, 84.18, 90.86],
        "s4-mmd": [0.00148, 0.00215, 0.00235],
        "md-cas-cifar10": [93.8, 87.3],
        "adainf-cifar10": [
            *(91.56, 91.38, 93.42, 92.75, 92.51, 94.19),
            *(92.46, 92.90, 92.87, 91.24, 92.09, 93.64),
        ],
        "dm-at-1m": [92.44, 67.31],
        "he-clip-zeroshot": [70.31, 80.06],
    }
    for name, values in wanted.items():
        assert [one.value for one in load_experiment(name)[1].reported] == values, name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('arm = "none"', 'arm = "nobody"', r"no 'nobody' among its arms"),
        (
            'generators = ["noise"]',
            'generators = ["nose"]',
            r"no 'nose' among its generators\. Did you mean noise",
        ),
        ('unanswered = "it is a secret"', "", "say one of `arm`, `stored` and `unanswered`"),
        ("value = 60.0", "value = -60.0", r"sign 1 contradicts the value -60"),
        ('error = 0.5\nwhere = "page 5"', 'where = "page 5"', "say in `error` how far 60 may be off"),
        ('known = "partly"', 'known = "surely"', "'replayable', 'partly' or 'claim only'"),
        ("core_minutes = 1", "core_minutes = 1\ncor_minutes = 2", r"unknown option 'scale\.cor_minutes'"),
        ('title = "noise added', 'title = "noise \u0000', "cannot read experiment"),
        ('over = "none"', 'over = "noise"', "the arm 'noise' cannot be held against itself"),
        (
            'generators = ["noise"]',
            "generators = []",
            r"arm 'noise' of \[replayed\] uses 'noise', which is not among its generators: nothing",
        ),
        (
            'with_generators = ["copies"]',
            "",
            r"arm 'copies' of \[controlled\] uses 'copies', which is not among its generators: noise",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "toys.toml"
    content = CONTENT
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_experiment(str(path))


def test_a_file_of_yours_does_not_pass_for_a_published_experiment(tmp_path: Path) -> None:
    path = tmp_path / "s3-ddpm-cnn.toml"
    path.write_text(CONTENT, encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"another content: what it finds would pass for a replay of s3-ddpm-cnn"
    ):
        load_experiment(str(path))
    path.write_bytes(experiments()["s3-ddpm-cnn"].read_bytes())
    assert load_experiment(str(path)) == load_experiment("s3-ddpm-cnn")
    other = path.rename(tmp_path / "s3-ddpm-cnn.txt")
    with pytest.raises(
        UsageError, match=r"s3-ddpm-cnn\.txt is no experiment: the name of its file does not end in"
    ):
        load_experiment(str(other))


@pytest.mark.parametrize(
    ("arm", "says"),
    [('metric = "fidd"', "arm 'noise' asks for fidd of test (score); its records have balanced_accuracy, "),
     ('split = "tset"', "arm 'noise' asks for top1 of tset (score); its records have top1 of noisy, top1 of "
      "test, top1 of val")],
)  # fmt: skip
def test_a_number_that_no_record_has_is_told(tmp_path: Path, arm: str, says: str) -> None:
    path = tmp_path / "odd.toml"
    old = 'noise = { classifier = "net", generator = "noise", mix = "concat"'
    path.write_text(CONTENT.replace(old, f"{old}, {arm}", 1), encoding="utf-8")
    options = [
        "--scale",
        "--plugin",
        str(TOY),
        "--store",
        str(tmp_path / "store"),
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(program, ["replay", str(path), *options, "-q", "--only", "replayed"])
    assert isinstance(done.exception, DataError)
    assert says in str(done.exception)
    assert says in " ".join(done.output.split())
    assert "asked for and not found" in done.output
    dry = CliRunner().invoke(program, ["replay", str(path), *options, "-q", "--dry-run"])
    assert dry.exit_code == 0, "a dry run tells what would be run"


def test_an_arm_has_one_title(tmp_path: Path) -> None:
    path = tmp_path / "toys.toml"
    one, two = 'noise", mix = "concat" }', 'noise", mix = "matched" }'
    titled = CONTENT.replace(one, one.replace(" }", ', title = "2 steps" }'))
    path.write_text(titled.replace(two, two.replace(" }", ', title = "2 steps" }')), encoding="utf-8")
    load_experiment(str(path))
    path.write_text(titled.replace(two, two.replace(" }", ', title = "9 steps" }')), encoding="utf-8")
    with pytest.raises(UsageError, match="arm 'noise' has two titles, '2 steps' and '9 steps'"):
        load_experiment(str(path))


def test_a_name_that_is_none_and_what_cannot_be_run_are_refused() -> None:
    with pytest.raises(UsageError, match=r"with genbench\. Did you mean s3-ddpm-cnn or s2-ddpm-mlp\?\n"):
        load_experiment("s3-ddpm")
    with pytest.raises(UsageError, match=r"Did you mean s1-vit or s1-vit-medium-diffusemix\?\n"):
        load_experiment("vit")
    with pytest.raises(UsageError, match=r"nor one that comes with genbench\.\n"):
        load_experiment("xyzzy")
    for options, message in (
        (["dm-at-1m"], "dm-at-1m cannot be run: adversarial training"),
        (["dm-at-1m", "--scale"], "dm-at-1m cannot be run, with --scale or without: adversarial training"),
        (["recht-c10.1", "--scale"], "recht-c10.1 needs no --scale: no network is trained"),
        (
            ["recht-c10.1", "--only", "controlled"],
            "recht-c10.1 has no column 'controlled' to run; found: none",
        ),
    ):
        found = CliRunner().invoke(program, ["replay", *options])
        assert message in str(found.exception)


# -------------------------------------------------------------------------------------------------- the runs


def test_three_columns_and_their_verdicts(run_toys: Run) -> None:
    found = run_toys().found
    real, secret, noise = found.numbers
    assert real.replayed is not None
    assert real.controlled is not None
    assert (real.replayed.n, real.controlled.n) == (5, 2)
    assert real.verdict is not None
    assert real.verdict.word == "differs", "nobody is right on 1.5 % of three classes"
    assert real.verdict.interval is not None
    assert real.verdict.interval.low > 1.5
    assert secret.verdict is not None
    assert (secret.verdict.word, secret.verdict.why) == ("cannot be checked", "it is a secret")
    assert noise.name == "noise", "an arm without a reported number; copies are in the scaled version alone"
    assert noise.verdict is None
    (effect,) = found.conclusions
    assert effect.replayed is not None
    assert effect.replayed.found is not None
    assert noise.replayed is not None
    assert effect.replayed.found.mean == pytest.approx(noise.replayed.mean - real.replayed.mean)
    assert effect.replayed.interval is not None
    assert effect.replayed.interval.high < 60
    assert effect.replayed.word != "cannot tell", "60 points are excluded, if nothing else is found"
    assert effect.controlled is not None
    assert (effect.controlled.word, effect.controlled.why) == ("cannot tell", "2 of 5 seeds")
    text = as_text(found)
    assert "54 %" in text
    assert "cannot be checked (it is a secret)" in text
    assert "Reported numbers: 1 differs, 1 cannot be checked." in text


def test_a_replay_is_resumed_and_its_files_say_what_was_printed(
    run_toys: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = run_toys().found
    folder = next(tmp_path_factory.getbasetemp().glob("toys*/results/toys-replay"))
    assert (folder / "toys-replayed" / "leaderboard.md").is_file()
    assert (folder / "replay.md").read_text() == RENDERED["markdown"](whole)
    content = json.loads((folder / "replay.json").read_text())
    assert whole.numbers[0].replayed is not None
    assert content["numbers"][0]["replayed"]["mean"] == whole.numbers[0].replayed.mean
    assert content["effects"][0]["controlled"]["why"] == "2 of 5 seeds"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("cell-*.json")}
    planned = run_toys(columns=())
    dry = planned.found
    assert RENDERED["json"](dry) == RENDERED["json"](whole), "a dry run reads what an earlier run left"
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("cell-*.json")}
    assert planned.plan is not None
    left = [(one.cells, one.cells_to_run, one.steps_to_run) for one in planned.plan.columns]
    assert left == [(10, 0, 0), (4, 0, 0)], "everything is cached"
    assert all(one.steps_cached for one in planned.plan.columns)
    (left_behind,) = concluded(folder.parent, ["other", "toys"])
    assert (left_behind.name, left_behind.version) == ("toys", "whole")
    assert left_behind.conclusions == whole.conclusions, "what was read is what was computed"
    text, page = conclusions_text([left_behind]), conclusions_markdown([left_behind], folder.parent)
    assert "Of 1 reported effect, as controlled: 1 cannot be told." in text
    assert "cannot tell (2 of 5 seeds): " in page
    assert "[toys](toys-replay/replay.md), whole" in page


def test_one_column_alone_leaves_the_other_one_not_run(run_toys: Run) -> None:
    found = run_toys(out="elsewhere", columns=("controlled",)).found
    assert found.numbers[0].verdict is not None
    assert found.numbers[0].verdict.word == "not run"
    assert found.numbers[0].controlled is not None
    assert found.numbers[0].controlled.n == 2
    assert found.conclusions[0].replayed is not None
    assert found.conclusions[0].replayed.word == "not run"


@pytest.mark.parametrize(
    ("sign", "difference", "word"),
    [(1, 2.0, "same direction"), (-1, 2.0, "other direction"), (0, 2.0, "a difference"),
     (1, 0.01, "cannot tell"), (0, 0.01, "cannot tell")],
)  # fmt: skip
def test_a_smaller_version_confirms_and_refutes_nothing(sign: int, difference: float, word: str) -> None:
    asked = Asked(sign, None, found(difference, 0.2), is_scaled=True)
    (judged,) = judge([asked])
    (whole,) = judge([replace(asked, is_scaled=False)])
    assert judged.word == word
    assert (judged.word == whole.word) == (word == "cannot tell")


def test_the_words_of_a_scaled_replay_are_those_that_it_can_say(run_toys: Run) -> None:
    small, whole = (as_text(run_toys(is_scaled=one).found) for one in (True, False))
    assert "same direction, other direction: " in small
    assert "does not stand" not in small
    assert "stands, reversed: " in whole
    assert "direction" not in whole


def test_a_scaled_replay_compares_no_absolute_number(
    run_toys: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = run_toys(is_scaled=True).found
    assert found.seeds == {"replayed": 2, "controlled": 1}
    verdict = found.numbers[0].verdict
    assert verdict is not None
    assert (verdict.word, verdict.why) == ("cannot be checked", "scaled")
    assert {one.name for one in found.numbers} == {"real toys", "a secret", "noise", "copies instead"}
    (effect,) = found.conclusions
    assert effect.replayed is not None
    assert (effect.replayed.word, effect.replayed.why) == ("cannot tell", "2 of 5 seeds")
    for render in RENDERED.values():
        assert "fewer toys" in render(found)
    folder = next(tmp_path_factory.getbasetemp().glob("toys*/results/toys-replay-scaled"))
    for column in ("replayed", "controlled"):
        board = (folder / f"toys-{column}-scaled" / "leaderboard.md").read_text()
        assert board.startswith("> scaled: fewer toys\n\n")


# ---------------------------------------------------------------------------------------- stored predictions


def test_published_predictions_are_counted_again(hub_mirror: Path, tmp_path: Path) -> None:
    name, experiment = load_experiment("recht-c10.1")
    how = How(Registry(), Store(tmp_path / "store"), tmp_path)
    found = replay(name, experiment, how, Silent).found
    assert len(found.numbers) == 36
    assert {one.verdict.word for one in found.numbers if one.verdict} == {"agrees"}
    by_name = {one.name: one.replayed.mean for one in found.numbers if one.replayed}
    assert by_name["resnet_basic_32, v6"] == pytest.approx(85.20, abs=1e-9)
    text = as_text(found)
    assert "Reported numbers (36, of 30 models): 3 agree, 30 agree (unverified), 3 agree (recount)." in text
    assert "quoted from memory, nobody looked it up" in " ".join(text.split())
    assert "controlled" not in text.partition("left open")[0], "a column that says nothing is dropped"
    assert "2.2 ±0.1 points" in text
    assert "[" not in text, "rounding is no interval of confidence"
    rows = {(one["name"], one["verdict"]["word"]) for one in json.loads(RENDERED["json"](found))["numbers"]}
    assert ("vgg16_keras, v4 (in the text)", "agrees") in rows
    assert ("vgg16_keras, v4", "agrees (unverified)") in rows
    assert {name for name, word in rows if word == "agrees"} == {
        one.name for one in experiment.reported if one.where == "text of the paper"
    }
    values = [one.value for one in experiment.reported if one.stored and one.stored.version == "v4"]
    assert values[:-2] == sorted(values[:-2], reverse=True), "by accuracy; two differences last"
    (in_text,) = [one for one in experiment.reported if one.name == "vgg16_keras, v4 (in the text)"]
    wrong = in_text.model_copy(update={"value": 85.26})
    other = replay(name, experiment.model_copy(update={"reported": (wrong,)}), how, Silent).found
    assert other.numbers[0].verdict is not None
    assert other.numbers[0].verdict.word == "differs"
    assert "Reported numbers (1, of 1 model): 1 differs." in as_text(other)


def test_stored_predictions_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, experiment = load_experiment("recht-c10.1")
    folder = tmp_path / "modestyachts" / "CIFAR-10.1"
    labels = folder / "datasets" / "cifar10.1_v4_labels.npy"
    said = folder / "model_predictions" / "v4_predictions" / "vgg16_keras_predictions.json"
    for path in (labels, said):
        path.parent.mkdir(parents=True)
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path))
    reported = tuple(one for one in experiment.reported if one.name == "vgg16_keras, v4")
    one = experiment.model_copy(update={"reported": reported})
    how = How(Registry(), Store(tmp_path / "store"), tmp_path)
    np.save(labels, np.array([1, 2, 3]))
    for content, message in (
        ("[1, 2]", r"vgg16_keras, v4: 2 predictions for 3 labels"),
        ("[1, 2, 10]", r"classes must be from 0 to 9"),
        ('["cat", "dog", "cat"]', r"expected a list of whole numbers"),
        ("[1, 2", r"cannot be read"),
    ):
        said.write_text(content)
        with pytest.raises(DataError, match=message):
            replay(name, one, how, Silent)


# --------------------------------------------------------------------------------------------- the statistics


def test_agreement_holds_its_level() -> None:
    """Of runs of one experiment, 95 % agree: with one reported run, and with the mean of three."""
    rng = np.random.default_rng(0)
    for runs in (1, 3):
        ours = rng.normal(80, 0.7, (1500, 5))
        theirs = rng.normal(80, 0.7, (1500, runs)).mean(1)
        words = [
            agreement(float(one), list(map(float, row)), runs=runs).word
            for one, row in zip(theirs, ours, strict=True)
        ]
        assert words.count("agrees") / len(words) == pytest.approx(0.95, abs=0.02)


def test_agreement_counts_other_test_images_and_what_was_rounded_away() -> None:
    ours = [79.9, 80.0, 80.1, 80.0, 80.0]
    plain = agreement(81.5, ours)
    assert plain.word == "differs"
    assert agreement(81.5, ours, images=(5000, 1000)).word == "agrees", "1.4 points is the error of such sets"
    assert agreement(81.5, ours, error=1.5).word == "agrees"
    # By hand: sd .0707, t(4, .975) = 2.776, sqrt(1 + 1/5): half-width .2151.
    assert plain.interval is not None
    assert plain.interval.high - plain.interval.low == pytest.approx(
        2 * 2.7764 * 0.070711 * 1.2**0.5, rel=1e-4
    )
    assert agreement(80.0, ours[:4]).why == "4 of 5 seeds"
    assert agreement(80.0, []).word == "not run"


def found(mean: float, error: float, n: int = 5) -> Comparison:
    from scipy.special import stdtr

    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return Comparison(mean, n, 1000, error, n - 1, p, Interval(mean - 2.8 * error, mean + 2.8 * error))


@pytest.mark.parametrize(
    ("sign", "size", "comparison", "word"),
    [
        (1, 3.0, found(2.0, 0.5), "stands"),
        (1, 3.0, found(2.0, 0.1), "stands, smaller than reported"),
        (-1, -3.0, found(-2.0, 0.1), "stands, smaller than reported"),
        (1, 1.49, found(0.2, 0.02), "stands, smaller than reported"),
        (1, 1.0, found(2.0, 0.1), "stands"),
        (1, None, found(2.0, 0.1), "stands"),
        (-1, -3.0, found(2.0, 0.1), "reversed"),
        (0, None, found(2.0, 0.1), "does not stand"),
        (1, 3.0, found(0.1, 0.2), "does not stand"),
        (-1, -3.0, found(0.1, 0.2), "does not stand"),
        (1, 3.0, found(0.5, 2.0), "cannot tell"),
        (1, None, found(0.1, 0.2), "cannot tell"),
        (0, None, found(0.1, 0.2), "cannot tell"),
        (1, 3.0, found(2.0, 0.1, n=4), "cannot tell"),
        (1, 3.0, None, "not run"),
    ],
)
def test_words_for_an_effect(sign: int, size: float | None, comparison: Comparison | None, word: str) -> None:
    (one,) = judge([Asked(sign, size, comparison)])
    assert one.word == word


def test_effects_of_a_column_are_one_family_and_voids_tell_nothing() -> None:
    close = found(1.0, 0.3)
    assert close.p is not None
    assert 0.025 < close.p < 0.05, "enough alone, and not as one of two"
    (alone,) = judge([Asked(1, None, close)])
    assert alone.word == "stands"
    assert {one.word for one in judge([Asked(1, None, close)] * 2)} == {"cannot tell"}
    once = judge([Asked(1, None, close, contrast="c"), Asked(0, None, close, contrast="c")])
    assert [one.word for one in once] == ["stands", "does not stand"], "two conclusions from one contrast"
    assert {one.adjusted_p for one in once} == {close.p}
    three = judge([Asked(1, None, close, contrast=name) for name in "ccd"])
    assert {one.adjusted_p for one in three} == {2 * close.p}
    (void,) = judge([Asked(1, None, found(2.0, 0.1), void="it copied")])
    assert (void.word, void.why) == ("cannot tell", "it copied")


def test_an_effect_that_rests_on_copies_of_test_is_not_told() -> None:
    far, near = found(2.0, 0.1), found(0.1, 0.2)
    for clean in (near, None):  # None: every test image was copied
        (copied,) = judge([Asked(1, None, far, clean=clean, is_copied=True)])
        assert (copied.word, copied.why) == ("cannot tell", "it rests on copies of test")
    (kept,) = judge([Asked(1, None, far, clean=found(1.5, 0.1), is_copied=True)])
    assert (kept.word, kept.why) == ("stands", "")
    (smaller,) = judge([Asked(1, 1.8, far, clean=found(1.0, 0.1), is_copied=True)])
    assert smaller.word == "stands", "that it is smaller is said where it holds on all images, too"
    (few,) = judge([Asked(1, None, found(2.0, 0.1, n=4), is_copied=True)])
    assert few.why == "4 of 5 seeds"


@pytest.mark.parametrize(
    ("flagged", "word"), [(None, "stands"), (0, "stands"), (50, "stands"), (83, "cannot tell")]
)
def test_test_images_that_were_copied_take_no_part(
    flagged: int | None, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(2)
    sides = {}
    for name, share in (("a", 0.95), ("b", 0.4)):
        packed = {seed: np.packbits(draw.random(83) < share) for seed in range(5)}
        sides[name] = SimpleNamespace(answers=partial(Answers, packed, 83))
    mask = None if flagged is None else np.arange(83) < flagged
    judgements = {"a": CopyJudgement(flagged=mask), "b": CopyJudgement()}
    monkeypatch.setattr(Found, "_entry", lambda _, name: (sides[name], judgements[name]))
    asked: Any = Found([]).compared("a", "b")  # type: ignore[arg-type]
    assert asked.is_copied == bool(flagged)
    assert (asked.clean.images if asked.clean else None) == {50: 33}.get(flagged)
    (one,) = judge([replace(asked, sign=1)])
    assert one.word == word
    assert one.why == ("it rests on copies of test" if word == "cannot tell" else "")


@pytest.mark.parametrize("helps", [1, 2])
def test_records_that_contradict_each_other_tell_nothing(helps: int) -> None:
    made = made_records
    none = made.arm("none", made.BASE, made.declared("baseline", seeds=8, helps=1))
    ddpm = made.arm("ddpm", made.BETTER, made.declared("contender", seeds=8, helps=helps))
    measured = Found([*none, *ddpm])
    why = "" if helps == 1 else "its records contradict each other about what the suite declared"
    assert measured.void(ddpm) == why
    (one,) = judge([replace(measured.compared(ddpm, none), sign=1)])
    assert (one.word, one.why) == ("cannot tell" if why else "stands", why)


@pytest.mark.parametrize(
    ("size", "error", "word"),
    [(3.12, 0.0, "does not stand"), (3.12, 0.505, "cannot tell"), (-3.12, 0.0, "does not stand"),
     (-3.12, 0.505, "cannot tell")],
)  # fmt: skip
def test_a_size_that_was_rounded_may_be_smaller(size: float, error: float, word: str) -> None:
    sign = 1 if size > 0 else -1
    # By hand: t(4, .975) = 2.776, half-width 2.776: up to 2.876, between 3.12 - 0.505 and 3.12.
    (one,) = judge([Asked(sign, size, found(sign * 0.1, 1.0), error=error)])
    assert one.word == word


def test_sizes_of_the_sources_are_as_exact_as_their_numbers() -> None:
    wanted = {
        "s3-ddpm-cnn": [0.505],  # 54, and 57.12
        "s1-vit": [0.4, 0.4, 0.4],  # read from a plot, to 0.2 each
        "s1-resnet32-search": [0.01, 0.31],
        "s1-resnet32-diffusemix": [0.01, 0.0],
    }
    for name, errors in wanted.items():
        _, experiment = load_experiment(name)
        assert [experiment.error_of(one) for one in experiment.effects] == pytest.approx(errors), name


def test_no_effect_of_images_changes_the_network_too() -> None:
    for name in experiments():
        _, experiment = load_experiment(name)
        for column in experiment.columns.values():
            for effect in experiment.effects:
                if {effect.of, effect.over} <= column.arms.keys():
                    of, over = column.arms[effect.of], column.arms[effect.over]
                    unlike = (of.classifier != over.classifier, of.generator != over.generator)
                    assert unlike != (True, True), f"{name}: {effect.name}"


def test_steps_of_cats_and_dogs_are_what_its_words_say(registry: Registry) -> None:
    _, experiment = load_experiment("s4-catsdogs")
    assert all("running accuracy" in one.unanswered for one in experiment.reported)
    network = resolve(registry, "classifier", experiment.classifiers["cnn"], "quick", lambda _: "")
    recipe = TrainRecipe.model_validate(network.identity["config"]["recipe"])
    assert scaled(experiment).classifiers == experiment.classifiers
    scales = [experiment.mixes[name].budget_scale for name in ("uniform", "more-steps")]
    scales.append(scaled(experiment).mixes["more-steps"].budget_scale)
    steps = [total_steps(recipe, 481, 481, "steps", scale) for scale in scales]
    assert steps == [721, 6843, 2882]
    assert any(
        "721 steps in place of 900; controlled: 9.5 times as many, 6,843" in one
        for one in experiment.departures
    )
    assert experiment.scale is not None
    assert any("(2,882) in place of 9.5 times (6,843)" in one for one in experiment.scale.changes)
    titles = [arm.title for column in experiment.columns.values() for arm in column.arms.values()]
    assert not [title for title in titles if "steps" in title], "a row shows both columns"


def test_numbers_that_are_no_accuracies_are_paired_by_seed() -> None:
    one, other = {0: 3.0, 1: 4.0, 2: 5.5, 7: 0.0}, {0: 1.0, 1: 2.5, 2: 3.0, 8: 9.0}
    compared = difference(one, other)
    assert compared is not None
    assert (compared.n, compared.mean) == (3, 2.0)
    assert compared.p == pytest.approx(0.020204, abs=1e-6)  # t = 2 / (.5 / sqrt 3) = 6.928, 2 df
    assert difference({0: 1.0}, {1: 1.0}) is None
    same = difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert same is not None
    assert same.p == 1.0
