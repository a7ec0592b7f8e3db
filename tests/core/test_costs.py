"""What a plan would cost: scaled from like to like, and unknown otherwise."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from genbench import hub
from genbench.cli._durations import duration
from genbench.cli._plan_cost import Cost, budget_lines, cost_json, cost_lines, cost_table
from genbench.cli.plan_command import command
from genbench.costs import Estimator, Place, by_clock
from genbench.errors import UsageError
from genbench.outlook import due_steps, survey
from genbench.plan import Plan, Step
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite

HERE = Place("cpu", "a small CPU")
GPU = Place("a large GPU", "a small CPU")
TRAIN, SHAPE = 1000, (3, 8, 8)
Planner = Callable[..., Plan]
Rate = Callable[[Step], float]


@pytest.fixture
def planned(registry: Registry, store: Store) -> Planner:
    def plan(seeds: int = 1, dataset: str = "toy-data:images=1000", **entries: Any) -> Plan:
        usual = {"generators": ["ddpm"], "classifiers": ["cnn"], "evaluators": ["accuracy", "fid"]}
        content = {**usual, "datasets": [dataset], "seeds": seeds, **entries}
        return make_plan(resolve_suite(registry, make_suite(content, "test"), store.fingerprint))

    return plan


def measure(store: Store, plan: Plan, seconds: Mapping[str, float], place: Place = HERE) -> None:
    """Store an artifact for every step, as if it had taken so many seconds by stage."""
    for step in plan.steps.values():

        def fill(folder: Path, step: Step = step) -> dict[str, Any]:
            if step.stage == "dataset":
                card = {"image_shape": SHAPE, "splits": {"train": TRAIN, "val": 100, "test": 200}}
                (folder / "dataset.json").write_text(json.dumps(card))
            if step.stage == "sample":
                asked = step.document["images"]
                made = 0 if "top_up" in asked else round(TRAIN * asked["ratio"] * asked["oversample"])
                (folder / "counts.json").write_text(json.dumps({"made_images": made}))
            (folder / "content").write_bytes(bytes(1000))
            device = "cpu" if step.stage == "dataset" else place.device
            hardware = {"device": device, "processor": place.processor}
            return {"seconds": seconds.get(step.stage, 1.0), "hardware": hardware}

        store.put(step.key, step.document, fill)


def costs(plan: Plan, store: Store, registry: Registry, place: Place = HERE, workers: int = 1) -> Cost:
    todo = due_steps(plan, survey(plan, store))
    return Cost.of(plan, todo, Estimator(plan, store, registry, place), place.of("train"), workers)


def of_stage(cost: Cost, stage: str, text: str = "") -> float | None:
    """Return the seconds of the steps of a stage, which are all alike."""
    steps = cost.plan.steps
    found = {
        cost.estimates[key].seconds
        for key in cost.todo
        if steps[key].stage == stage and text in steps[key].label
    }
    assert len(found) == 1
    return found.pop()


MEASURED = {"fit": 80.0, "sample": 10.0, "train": 24.0, "predict": 3.0, "embed": 2.0, "evaluate": 5.0}


@pytest.mark.parametrize(
    ("entries", "stage", "text", "seconds"),
    [
        ({"seeds": 2}, "fit", "", 80.0),
        ({"generators": ["ddpm:fit_steps=8000"]}, "fit", "", 800.0),  # 800 steps took 80 s
        ({"generators": ["ddpm:epochs=4"]}, "fit", "", 12.5),  # ceil(4 x 1000 / 32) steps
        ({"generators": ["ddpm:learning_rate=0.001,fit_steps=400"]}, "fit", "", 40.0),
        ({"generators": ["ddpm:channels=32"]}, "fit", "", None),
        ({"generators": ["ddpm:batch_size_images=64"]}, "fit", "", None),
        ({"generators": ["ddpm:precision=bf16"]}, "sample", "", None),
        ({"mixes": [{"ratio": 3.0}]}, "sample", "", 30.0),
        ({"generators": ["ddpm:sampling_steps=8"]}, "sample", "", None),
        ({"classifiers": ["cnn:recipe.epochs=90"]}, "train", "seed", 72.0),  # quick has 30 epochs
        ({"classifiers": ["cnn:recipe.learning_rate=0.3"]}, "train", "seed", 24.0),
        ({"classifiers": ["cnn:recipe.precision=bf16"]}, "train", "seed", None),
        ({"classifiers": ["cnn:recipe.freeze=backbone"]}, "train", "seed", None),
        ({"classifiers": ["cnn:widths=[8,8]"]}, "train", "seed", None),
        ({"mixes": [{"augment": "strong"}]}, "train", "seed", None),
        ({"mixes": [{"budget_scale": 2.0}]}, "train", "seed", 48.0),
        ({"mixes": [{"ratio": 3.0, "budget": "epochs"}]}, "train", "ddpm", 96.0),
        ({"dataset": "toy-data:images=1000,epoch_repeats=3"}, "train", "seed", 72.0),
        ({"generators": ["cvae"]}, "fit", "", None),
        ({"dataset": "toy-data:images=1000,size=16"}, "fit", "", None),  # of other pixels
        ({"dataset": "toy-data:images=1000,limit_train=500"}, "sample", "", 5.0),  # of the same ones
        ({"dataset": "digits:shifts=[computed]"}, "train", "seed", None),
        ({"dataset": "digits"}, "train", "seed", 24.0 * 253 / 235),  # never loaded: by what it declares
    ],
)
def test_seconds_are_scaled_between_like_things_alone(
    entries: dict[str, Any], stage: str, text: str, seconds: float | None,
    planned: Planner, store: Store, registry: Registry,
) -> None:  # fmt: skip
    measure(store, planned(), MEASURED)
    assert of_stage(costs(planned(**entries), store, registry), stage, text) == (
        None if seconds is None else pytest.approx(seconds, rel=0.005)  # steps are whole
    )


def test_another_device_is_another_matter(planned: Planner, store: Store, registry: Registry) -> None:
    measure(store, planned(), MEASURED, GPU)
    wider = planned(seeds=2)
    assert of_stage(costs(wider, store, registry, GPU), "fit") == 80.0
    here = costs(wider, store, registry)
    assert of_stage(here, "fit") is None
    told = "\n".join(cost_lines(here))
    assert told.startswith("time: unknown. No estimate of ")
    assert "measured on a large GPU alone: " in told
    assert "1 x fit ddpm of 800 fitting steps" in told


def test_what_is_unknown_is_never_left_out_of_the_sum(
    planned: Planner, store: Store, registry: Registry
) -> None:
    measure(store, planned(), MEASURED)
    cost = costs(planned(generators=["ddpm:channels=32,fit_steps=800000"]), store, registry)
    lines = list(cost_lines(cost))
    assert lines[0].startswith("time: unknown. No estimate of 2 of ")
    assert "on cpu (a small CPU)" in lines[0]
    assert "nothing alike was measured: 1 x fit ddpm of 800,000 fitting steps, 1 x sample ddpm" in lines[1]
    assert cost_json(cost)["seconds"] is None
    assert cost_json(cost)["known_seconds"] > 0
    _, rows = cost_table(cost)
    assert next(row for row in rows if row[0] == "fit ddpm")[2:5] == ("800,000 fitting steps", "unknown", "")


def test_a_fresh_store_knows_what_does_not_depend_on_the_images(
    planned: Planner, store: Store, registry: Registry
) -> None:
    cost = costs(planned(generators=["ddpm:fit_steps=5000"]), store, registry)
    told = "\n".join(cost_lines(cost))
    assert "is known once the dataset was loaded: " in told
    assert "1 x fit ddpm of 5,000 fitting steps" in told
    by_images = costs(planned(generators=["ddpm:epochs=3"]), store, registry)
    assert "1 x fit ddpm, " in "\n".join(cost_lines(by_images))


def test_disk_counts_images_exactly_and_the_rest_by_what_is_alike(
    planned: Planner, store: Store, registry: Registry
) -> None:
    measure(store, planned(), MEASURED)
    plan = planned(generators=["ddpm:channels=32"], mixes=[{"ratio": 2.0}])
    cost = costs(plan, store, registry)
    sample = next(key for key in cost.todo if plan.steps[key].stage == "sample")
    assert cost.estimates[sample].size_bytes == 2 * TRAIN * 3 * 8 * 8
    assert "disk: unknown for " in "\n".join(cost_lines(cost))  # the network has another size
    alike = costs(planned(seeds=2), store, registry)
    assert cost_json(alike)["bytes"] == pytest.approx(1000 * len(alike.todo), rel=0.05)


def test_a_budget_says_how_many_seeds_fit(planned: Planner, store: Store, registry: Registry) -> None:
    measure(store, planned(), MEASURED)
    cost = costs(planned(seeds=5), store, registry)
    one = sum(
        cost.seconds(
            [
                key
                for key in cost.todo
                if "seed 1" in cost.plan.steps[key].label or "/1" in cost.plan.steps[key].label
            ]
        ).values()
    )
    assert next(iter(budget_lines(cost, 2.5 * one))).endswith(": --seeds 3")  # the first is cached
    assert "everything fits" in next(iter(budget_lines(cost, 5 * one)))
    none = list(
        budget_lines(costs(planned(seeds=5, generators=["ddpm:fit_steps=80000"]), store, registry), 60.0)
    )
    assert "0 of 5 seeds fit" in none[0]
    assert any(line.startswith("  no ") and "ddpm" in line for line in none[1:])
    unknown = costs(planned(seeds=5, generators=["cvae"]), store, registry)
    assert "cannot say how many of 5 seeds fit" in next(iter(budget_lines(unknown, 1e9)))


def test_a_row_that_fits_has_its_baseline_with_it(planned: Planner, store: Store, registry: Registry) -> None:
    measure(store, planned(), MEASURED)
    cost = costs(planned(seeds=3), store, registry)
    lines = list(budget_lines(cost, 100.0))
    took = {line.split()[1].split("/")[1]: line.rpartition(": ")[2] for line in lines[1:]}
    baseline = 2 * sum(MEASURED[stage] for stage in ("train", "predict", "evaluate"))
    assert took == {"none": duration(baseline), "ddpm": duration(cost.clock(cost.counted))}


def test_what_trains_nothing_is_known_once_it_was_done(
    planned: Planner, store: Store, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "a.pth").write_bytes(b"never opened")
    given = f"weights={tmp_path}/a.pth,normalisation=train"
    idle: dict[str, Any] = {"generators": [], "evaluators": ["accuracy"]}
    measure(store, planned(classifiers=[f"cnn:{given},recipe.epochs=0"], **idle), MEASURED)
    again = planned(classifiers=[f"cnn:{given},recipe.epochs=0,recipe.learning_rate=0.3"], **idle)
    assert of_stage(costs(again, store, registry), "train") == 24.0
    longer = planned(classifiers=[f"cnn:{given}"], **idle)
    assert of_stage(costs(longer, store, registry), "train") is None


def test_workers_share_what_does_not_wait(planned: Planner, store: Store, registry: Registry) -> None:
    measure(store, planned(), MEASURED)
    plan = planned(seeds=3)
    known = (alone := costs(plan, store, registry)).seconds(alone.counted)
    assert by_clock(plan, known, 1) == pytest.approx(sum(known.values()))
    chain = by_clock(plan, known, 1000)
    assert chain == pytest.approx(80 + 10 + 24 + 3 + 5)
    assert by_clock(plan, known, 2) == pytest.approx(sum(known.values()) / 2)


def test_top_ups_are_listed_and_not_counted(planned: Planner, store: Store, registry: Registry) -> None:
    filtered = {"filters": ["toy-filter"], "generators": ["toy"]}
    measure(store, planned(**filtered), MEASURED)
    cost = costs(planned(seeds=2, **filtered), store, registry)
    assert cost.unknown(cost.counted) == []
    assert "not counted: 4 top-ups" in "\n".join(cost_lines(cost))


# ------------------------------------------------------------------------------------------------ the command


def plan_lines(*arguments: str) -> str:
    said = CliRunner().invoke(command, [*arguments, "-c", "cnn"], catch_exceptions=False)
    assert said.exit_code == 0
    return said.output


def test_a_plan_downloads_nothing_and_says_what_a_run_would(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = hub.Absent("uoft-cs/cifar10", ("*",), "dataset")
    assert absent.download_bytes() is None, "offline, nobody can be asked"
    monkeypatch.setattr(hub.Absent, "download_bytes", lambda self: 170 * 2**20)
    said = plan_lines("-d", "cifar10", "--seeds", "1")
    assert "download: dataset uoft-cs/cifar10 (plain_text/*.parquet," in said.replace("\n  ", " ")
    assert "170 MiB" in said
    assert "cifar10/none/standard/cnn/0" in said
    content = json.loads(plan_lines("-d", "cifar10", "--seeds", "1", "--json"))
    assert [one["bytes"] for one in content["downloads"]] == [170 * 2**20]
    assert content["cost"]["seconds"] is None


def test_a_plan_waits_for_files_that_options_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline's options read its index: where that is not here yet, the plan says what is fetched."""
    monkeypatch.setattr(hub.Absent, "download_bytes", lambda self: 4 * 2**30)
    said = " ".join(plan_lines("-g", "diffusemix:editor=instruct_pix2pix").split())
    assert "download: model timbrooks/instruct-pix2pix (model_index.json, tokenizer/*," in said
    assert "...), 4.0 GiB" in said
    assert "the plan depends on these files" in said
    wrong = CliRunner().invoke(command, ["-g", "instruct_pix2pix:template={nobody}", "-c", "cnn"])
    assert wrong.exit_code != 0, "a mistake is one, whatever is fetched"


def test_the_budget_of_a_plan_is_a_time_or_that_of_a_run() -> None:
    assert "budget of 1 h 30 min on cpu" in plan_lines("--budget", "90m", "--device", "cpu")
    steps = json.loads(plan_lines("--budget", "epochs", "--budget", "2h", "--json"))
    assert {
        one["document"]["mix"]["budget"] for one in steps["steps"].values() if "mix" in one["document"]
    } >= {"epochs"}
    assert steps["budget"][0].startswith("budget of 2 h 0 min")
    bad = CliRunner().invoke(command, ["-c", "cnn", "--budget", "2 weeks"])
    assert "'2 weeks' is no time such as 30s, 90m, 2h or 1d" in bad.output
    with pytest.raises(UsageError, match="give one time"):
        CliRunner().invoke(command, ["-c", "cnn", "--budget", "2h", "--budget", "3h"], catch_exceptions=False)
