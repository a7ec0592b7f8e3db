"""Suites and options: what users type becomes resolved components, or a message that says what is allowed."""

from pathlib import Path
from typing import Any

import pytest

from genbench.digest import file_digest
from genbench.errors import UsageError
from genbench.notation import LONGEST_REFERENCE, as_suite_name, is_suite_name, parse_reference, scalar
from genbench.protocols import ComponentRef, Mix
from genbench.registry import Registry
from genbench.request import read_suite
from genbench.spec import Resolved, load_suite, make_suite, resolve


def settle(registry: Registry, text: str, kind: str = "classifier", preset: str = "smoke") -> Resolved:
    return resolve(registry, kind, parse_reference(text), preset, file_digest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("cnn", {}),
        ("ddpm:timesteps=100,schedule=cosine", {"timesteps": 100, "schedule": "cosine"}),
        ("cnn:recipe.epochs=2.5,widths=[8,16]", {"recipe": {"epochs": 2.5}, "widths": [8, 16]}),
        (
            "digits:shifts=[computed, fog-3],severities=[1]",
            {"shifts": ["computed", "fog-3"], "severities": [1]},
        ),
        ("imagefolder:some/path=x.y", {"some/path": "x.y"}),
        ("imagefolder:a b,size=8", {"": "a b", "size": 8}),
        ("sdedit:base=ddpm,base.schedule=cosine", {"base": {"use": "ddpm", "schedule": "cosine"}}),
        ("x:flag=true,other=null", {"flag": True, "other": None}),
    ],
)
def test_references_are_parsed(text: str, options: dict[str, object]) -> None:
    assert parse_reference(text).options == options


@pytest.mark.parametrize("text", ["", ":a=1", "cnn:", "cnn:a=1,b", "cnn:=3"])
def test_unreadable_references_say_how_to_write_them(text: str) -> None:
    with pytest.raises(UsageError, match=r"use (NAME|OPTION=VALUE)"):
        parse_reference(text)


def test_preset_then_options_are_laid_over_the_defaults(registry: Registry) -> None:
    smoke, changed = settle(registry, "cnn"), settle(registry, "cnn:recipe.learning_rate=0.123")
    paper = settle(registry, "cnn:preset=paper")
    assert changed.identity["config"]["recipe"]["epochs"] == smoke.identity["config"]["recipe"]["epochs"]
    assert changed.identity["config"]["recipe"]["learning_rate"] == 0.123
    assert paper.identity["config"]["recipe"]["epochs"] > smoke.identity["config"]["recipe"]["epochs"]
    assert changed.label == "cnn:recipe.learning_rate=0.123"
    assert paper.label == "cnn:preset=paper"


def test_only_resolved_values_reach_the_identity(registry: Registry) -> None:
    default = settle(registry, "toy-net").identity
    spelled_out = settle(registry, "toy-net:dropout=0,recipe.epochs=4").identity
    assert default == spelled_out
    assert settle(registry, "toy-net:dropout=0.5").identity != default


def test_setting_one_entry_of_a_recipe_keeps_the_others(registry: Registry) -> None:
    before, after = (
        settle(registry, text).identity["config"]["recipe"] for text in ("toy-net", "toy-net:recipe.epochs=9")
    )
    assert before["learning_rate"] == 0.05  # the toy's own default, not the TrainRecipe's
    assert after == {**before, "epochs": 9.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cnn:widhts=[1]", r"classifier 'cnn': unknown option 'widhts'. Did you mean widths"),
        ("cnn:recipe.epoch=1", r"unknown option 'recipe.epoch'. Did you mean epochs"),
        ("cnn:recipe.epochs=-1", r"option 'recipe.epochs' is -1: Input should be greater than or equal to 0"),
        (
            "cnn:recipe.optimizer=sgdd",
            r"option 'recipe.optimizer' is 'sgdd': Input should be 'sgd', 'adam' or",
        ),
        ("cnn:recipe.learning_rate=NaN", r"option 'recipe.learning_rate' is 'NaN'"),
        ("cnn:preset=huge", r"has no preset 'huge'. Known: .*paper"),
        ("cnn:bare", r"takes no bare value, found 'bare'"),
    ],
)
def test_wrong_options_name_the_component_the_value_and_the_next_command(
    registry: Registry, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        settle(registry, text)


def test_an_option_that_came_later_is_no_part_of_an_identity_at_its_default(registry: Registry) -> None:
    digits = settle(registry, "digits", "dataset")
    assert "limit_test" not in digits.identity["config"]
    assert settle(registry, "digits:limit_test=null", "dataset").identity == digits.identity
    assert settle(registry, "digits:limit_test=50", "dataset").identity["config"]["limit_test"] == 50
    names = {"limit_train", "val_fraction", "reserve", "split_seed", "augment_shift_pixels", "augment_flip"}
    assert digits.identity["config"].keys() == names | {"shifts", "severities", "size", "test_fraction"}


def test_paths_stay_out_of_identities_and_labels(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a" / "cat").mkdir(parents=True)
    (tmp_path / "a" / "cat" / "1.png").write_bytes(b"pixels")
    (tmp_path / "a").rename(tmp_path / "b")
    first = settle(registry, f"imagefolder:{tmp_path}/b", "dataset")
    (tmp_path / "b").rename(tmp_path / "c")
    second = settle(registry, f"imagefolder:{tmp_path}/c", "dataset")
    assert first.identity == second.identity
    assert str(tmp_path) not in str(first.identity)
    assert first.label == "imagefolder:path=b"
    assert first.location == {"path": str(tmp_path / "b"), "labels": None, "follow_links": False}
    (tmp_path / "c" / "cat" / "1.png").write_bytes(b"other pixels")
    assert settle(registry, f"imagefolder:{tmp_path}/c", "dataset").identity != second.identity


def test_a_suite_reads_tables_and_strings_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'classifiers = ["cnn:recipe.epochs=3"]\n'
        "[[generators]]\nuse = 'ddpm'\nschedule = 'cosine'\n[[mixes]]\nratio = 2.0\naugment = 'strong'\n"
    )
    suite = load_suite(tmp_path / "mine.toml")
    assert suite.name == "mine"
    assert suite.classifiers == (ComponentRef(use="cnn", options={"recipe": {"epochs": 3}}),)
    assert suite.generators == (ComponentRef(use="ddpm", options={"schedule": "cosine"}),)
    assert suite.mixes == (Mix(ratio=2.0, augment="strong"),)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("classifier = ['cnn']", r"unknown option 'classifier'. Did you mean classifiers"),
        ("classifiers = []", r"option 'classifiers' is \(?\[?.*at least 1"),
        ("classifiers = ['cnn']\nseeds = 0", r"option 'seeds' is 0"),
        ("classifiers = ['cnn']\n[[mixes]]\nmode = 'replace'\nratio = 2", r"mode 'replace' needs ratio <= 1"),
        ("classifiers = ['cnn'", r"not valid TOML"),
    ],
)
def test_a_wrong_suite_names_the_entry(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(toml)
    with pytest.raises(UsageError, match=message):
        load_suite(tmp_path / "mine.toml")
    with pytest.raises(UsageError, match=r"cannot read suite"):
        load_suite(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ({}, {"preset": "few"}),
        ({"limit_test": 99}, {"preset": "few", "limit_test": 99}),
        ({"preset": "smoke"}, {}),
        ({"limit_train": 300}, {"limit_train": 300}),
        ({"datasets": ("digits",)}, {}),
    ],
)
def test_a_suite_that_names_no_dataset_leaves_room_for_a_gain(
    flags: dict[str, Any], options: dict[str, Any]
) -> None:
    (dataset,) = read_suite(None, {"classifiers": ("cnn",), **flags}).datasets
    assert (dataset.use, dataset.options) == ("digits", options)


def test_a_suite_needs_a_classifier() -> None:
    with pytest.raises(UsageError, match="option 'classifiers' is missing"):
        make_suite({}, "options")


# ---------------------------------------------------------------------------------- names, sizes and depths


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "~",
        ".a",
        "-a",
        " a",
        "a ",
        "a.",
        "a\0",
        "a\nb",
        "NUL",
        "x" * 201,
    ],
)
def test_the_name_of_a_suite_is_no_path(name: str) -> None:
    with pytest.raises(UsageError, match=r"option 'name' is [\s\S]*use letters, digits, spaces"):
        make_suite({"name": name, "classifiers": ["cnn"]}, "suite x")
    assert is_suite_name(as_suite_name(name))


@pytest.mark.parametrize("name", ["run", "s2-ddpm-cnn", "My suite (2)", "größe_1.5+x", "digits-none-cnn"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert make_suite({"name": name, "classifiers": ["cnn"]}, "suite x").name == as_suite_name(name) == name


def test_a_file_with_an_odd_name_makes_a_suite_with_a_name(tmp_path: Path) -> None:
    file = tmp_path / "a:b?.toml"
    file.write_text('classifiers = ["cnn"]\n')
    assert load_suite(file).name == "a-b-"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x:" + "a" * LONGEST_REFERENCE, "is too long: at most 4,000 characters"),
        ("x:" + ".".join("b" * 12) + "=1", "at most 10 dots are read"),
        ("x:a=1,a.b=2", "'a' is 1 already, and has no options"),
        ("x:a=" + "[" * 11 + "]" * 11, "at most 10 lists in lists are read"),
        ("x:a=" + "[" * 1_500, "at most 10 lists in lists are read"),
    ],
)
def test_components_are_bounded(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_reference(text)
    assert scalar("[[[1]]]") == [[[1]]]


def test_many_mistakes_are_counted_and_not_all_listed() -> None:
    odd = {f"colour{number}": 1 for number in range(1_000)}
    with pytest.raises(UsageError, match=r"suite x: and 990 more") as raised:
        make_suite({"classifiers": ["cnn"], **odd}, "suite x")
    assert len(raised.value.message.splitlines()) == 11


def test_a_list_of_wrong_entries_is_not_called_empty_as_well() -> None:
    with pytest.raises(UsageError, match="ratio") as raised:
        make_suite({"classifiers": ["cnn"], "mixes": [{"ratio": -1}]}, "suite x")
    assert len(raised.value.message.splitlines()) == 1
