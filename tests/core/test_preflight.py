"""What can be known before a run: one error, before any step, with its exit code."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from PIL import Image

from genbench import preflight
from genbench.cli import program
from genbench.errors import DataError, ExitCode, GenbenchError, StoreUnwritableError, UsageError
from genbench.options import ComponentConfig
from genbench.outlook import missing_steps
from genbench.plan import Plan
from genbench.records import read_records
from genbench.registry import PluginSource, Registry
from genbench.runner import Observer, run
from genbench.spec import load_suite
from genbench.store import Store
from genbench.worker import RunOptions
from toy_suites import toy_plan

TOY = str(Path(__file__).parents[1] / "toy_plugin.py")
Usage = namedtuple("Usage", "total used free")


def refusal(plan: Plan, store: Store, registry: Registry, **options: Any) -> GenbenchError:
    """Return what a run raises; nothing must have run."""
    began: list[str] = []
    watcher = Observer(event=lambda step, event: began.append(step.label))
    with pytest.raises(GenbenchError) as raised:
        run(plan, store, registry, RunOptions(**{"jobs": 0, **options}), watcher)
    assert began == []
    return raised.value


def test_what_a_dataset_holds_out_is_compared_with_what_is_asked_for(
    registry: Registry, store: Store
) -> None:
    data = "toy-data:limit_train=60,reserve={}"
    entries: dict[str, Any] = {"generators": ["real_extra"], "classifiers": ["toy-net"]}
    for reserve, held_out in ((0, "none"), (29, "29 of the 30 that ratio 0.5 takes")):
        plan = toy_plan(registry, store, datasets=[data.format(reserve)], mixes=[{"ratio": 0.5}], **entries)
        problem = refusal(plan, store, registry)
        assert f"real_extra hands over held-out real images, and {data.format(reserve)} holds out" in str(
            problem
        )
        assert held_out in str(problem)
        assert problem.hint.endswith("reserve=N with N of at least 30")
        assert problem.exit_code == ExitCode.USAGE
    enough = toy_plan(registry, store, datasets=[data.format(30)], mixes=[{"ratio": 0.5}], **entries)
    assert list(preflight.would_fail(enough, missing_steps(enough, store), store, registry)) == []


def test_an_executor_is_looked_for_even_where_all_is_cached(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store)
    with pytest.raises(
        UsageError, match=r"unknown executor 'proceses'. Did you mean processes\? Known: inline"
    ):
        preflight.check(plan, [], store, registry, "proceses")


def test_everything_that_is_missing_is_named_at_once(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store, generators=["toy", "real_extra"])
    monkeypatch.setattr(preflight, "missing_modules", lambda spec: ("no.such",) * (spec.name == "toy"))
    problem = refusal(plan, store, registry)
    assert "2 things would keep this from running:" in str(problem)
    assert "- generator toy: needs the Python module 'no.such', which is not installed" in str(problem)
    assert "pip install no\n" in str(problem)
    assert "toy-data holds out none" in str(problem)
    assert list(preflight.would_fail(plan, [], store, registry)) == []  # all cached: nothing is needed


def test_a_key_that_is_not_there_is_missed_before_anything_runs(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOY_KEY", raising=False)
    service = "image_variations:price_per_image_usd=0,base_url=https://127.0.0.1:9,key_env=TOY_KEY"
    plan = toy_plan(registry, store, generators=[service])
    assert "key_env names TOY_KEY, which is not set" in str(refusal(plan, store, registry))
    monkeypatch.setenv("TOY_KEY", "set")
    assert list(preflight.would_fail(plan, missing_steps(plan, store), store, registry)) == []


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        ("vit:patch=16", r"patches of 16x16, which do not fill 8x8 pixels"),
        ("cnn:architecture=s4", r"three 3x3 convolutions without padding: it takes 22x22 pixels or more"),
        ("cnn:widths=[4,4,4,4,4]", r"halves the image 4 times: it takes 16x16 pixels or more, found 8x8"),
    ],
)
def test_images_that_are_too_small_are_found_when_they_are_there(
    registry: Registry, store: Store, classifier: str, message: str
) -> None:
    plan = toy_plan(registry, store, classifiers=[classifier], evaluators=["accuracy"])
    done: list[str] = []
    watcher = Observer(event=lambda step, event: done.append(step.stage) if event.status == "done" else None)
    with pytest.raises(UsageError, match=message):
        run(plan, store, registry, RunOptions(jobs=0), watcher)
    assert done == ["dataset"]
    with pytest.raises(UsageError, match=message):  # from now on it is known without loading
        raise next(preflight.would_fail(plan, missing_steps(plan, store), store, registry))


def test_a_batch_above_the_smallest_training_set_is_refused_before_anything_is_fitted(
    registry: Registry, store: Store
) -> None:
    plan = toy_plan(
        registry,
        store,
        datasets=["toy-data:limit_train=12"],
        classifiers=["toy-net:recipe.batch_size_images=13"],
        reference="toy-net:recipe.batch_size_images=20",
    )
    done: list[str] = []
    watcher = Observer(event=lambda step, event: done.append(step.stage) if event.status == "done" else None)
    with pytest.raises(UsageError, match="2 things would keep this from running") as raised:
        run(plan, store, registry, RunOptions(jobs=0), watcher)
    assert done == ["dataset"]
    said = str(raised.value)
    assert "recipe.batch_size_images is 13, but this training set has 12 images" in said  # the baseline's
    assert "--classifier toy-net:recipe.batch_size_images=8 " in said
    assert "--reference toy-net:recipe.batch_size_images=8 " in said
    found = list(preflight.would_fail(plan, missing_steps(plan, store), store, registry))
    assert [problem.exit_code for problem in found] == [ExitCode.USAGE] * 2


def test_few_images_are_trained_on_in_smaller_batches(tmp_path: Path) -> None:
    """At the first run, when the dataset was never loaded, and later; what is recorded is what was done."""

    def said(command: str, *more: str) -> str:
        toys = ["-d", "toy-data:limit_train=12", "-g", "toy", "-c", "toy-net", "--reference", "toy-net"]
        line = [command, *toys, "-e", "accuracy", "--seeds", "1", "--store", str(tmp_path / "store"), *more]
        return CliRunner().invoke(program, [*line, "--plugin", TOY], catch_exceptions=False).output

    change = "12 training images do not fill a batch of 16: toy-net is trained in batches of 8, in all arms"
    ran = ["-j", "0", "-q", "-o", str(tmp_path / "results")]
    assert change not in said("plan")  # it is not known yet
    assert change in said("run", *ran)
    run = next((tmp_path / "results").iterdir())
    results = [one.result for one in read_records([run / "records"])]
    recipes = [one.classifier.config["recipe"] for one in results if one.classifier is not None]
    assert [one["batch_size_images"] for one in recipes] == [8, 8]
    assert load_suite(run / "suite.toml").classifiers[0].options == {"recipe": {"batch_size_images": 8}}
    planned = " ".join(said("plan").split())
    assert change in planned
    assert "nothing to run: every step is cached" in planned
    with pytest.raises(UsageError, match=r"batch_size_images is 13, but this training set has 12 images"):
        said("run", *ran, "-c", "toy-net:recipe.batch_size_images=13")


def test_a_dataset_that_cannot_be_used_stops_the_run_with_one_error(registry: Registry, store: Store) -> None:
    data = "toy-data:limit_train=2"
    plan = toy_plan(registry, store, datasets=[data])
    told: list[str] = []
    watcher = Observer(event=lambda step, event: told.append(event.status))
    with pytest.raises(DataError, match="some of the 3 classes have none") as raised:
        run(plan, store, registry, RunOptions(jobs=0), watcher)
    assert raised.value.exit_code == ExitCode.DATA
    assert "failed" not in told  # the error says it
    # With another dataset beside it, the cells of that one are run.
    both = toy_plan(registry, store, datasets=[data, "toy-data"], generators=[], evaluators=["accuracy"])
    summary = run(both, store, registry, RunOptions(jobs=0))
    assert {record.result.status for record in summary.records} == {"ok", "failed"}


def test_a_disk_that_is_nearly_full_is_said_or_refused(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store)
    missing = missing_steps(plan, store)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 500 * 2**20))
    preflight.check(plan, missing, store, registry)
    assert f"500 MiB are free where the store is ({store.root})" in list(
        preflight.remarks(plan, missing, store, registry)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 50 * 2**20))
    with pytest.raises(StoreUnwritableError, match=r"50 MiB are free .* a run needs 100 MiB to begin with"):
        preflight.check(plan, missing, store, registry)


def test_a_preset_of_some_components_is_said_of_the_others(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, preset="source-s4", classifiers=["cnn", "toy-net"])
    (remark,) = preflight.remarks(plan, [], store, registry)
    assert remark == "preset 'source-s4' is unknown to toy-data, toy, toy-net: defaults are used there"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("1 / 0", "ZeroDivisionError"),
        ("def genbench_generaters(): ...", "unknown hook 'genbench_generaters'"),
    ],
)
def test_a_plugin_that_was_named_must_load(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "odd_plugin.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=f"--plugin {path}: .*{reason}"):
        Registry(PluginSource(files=(str(path),))).check_files()


class _Odd(ComponentConfig):
    presets: ClassVar[dict[str, dict[str, object]]] = {}

    def check_machine(self) -> None:
        raise ZeroDivisionError("odd")


def test_what_a_check_of_a_third_party_raises_is_named(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(registry, store)
    arm = next(cell.arm for cell in plan.cells if cell.arm.generator.name == "toy")
    monkeypatch.setattr(type(arm.generator.config), "check_machine", _Odd.check_machine)
    assert "generator 'toy': its options raise ZeroDivisionError: odd" in str(refusal(plan, store, registry))


def test_a_map_of_classes_that_the_dataset_lacks_is_found_when_they_are_known(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "0.png")
    generators = [f"folder:{tmp_path},classes.catt=cat"]
    plan = toy_plan(registry, store, generators=generators, evaluators=["accuracy"])
    done: list[str] = []
    watcher = Observer(event=lambda step, event: done.append(step.stage) if event.status == "done" else None)
    for _ in range(2):  # the second time it is known without loading
        with pytest.raises(GenbenchError, match="maps 'catt', which is no class of the dataset"):
            run(plan, store, registry, RunOptions(jobs=0), watcher)
    assert done == ["dataset"]
