"""Evaluators of a whole suite: against scipy, against a line drawn by hand, and through a run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

import genbench
from copy_tables import CODE, copy_table
from genbench.cli import program
from genbench.digest import digest
from genbench.errors import UsageError
from genbench.findings import find, with_findings
from genbench.metrics import INTERVALS, Metric
from genbench.plan import Plan
from genbench.protocols import RunContext
from genbench.recipe import Mix
from genbench.records import Component, Protocol, Record, Result, Run
from genbench.registry import Registry
from genbench.runner import RunSummary
from genbench.store import Store
from genbench_evaluators.configs.effective_robustness import EffectiveRobustnessConfig
from genbench_evaluators.configs.usefulness import UsefulnessConfig
from genbench_evaluators.effective_robustness import EffectiveRobustness, above_line
from genbench_evaluators.usefulness import Usefulness, spearman
from genbench_leaderboard.board import build_board
from genbench_leaderboard.tables import render_markdown, render_terminal

RunCells = Callable[..., tuple[Plan, RunSummary]]
NONE = Component("none")


def record(
    generator: str,
    index: int = 0,
    *,
    network: str = "cnn",
    ratio: float = 1.0,
    subject: Any = "cell",
    external_data: tuple[str, ...] = (),
    metrics: tuple[Metric, ...] = (),
    **values: float,
) -> Record:
    """Fabricate a record; keywords are metrics: `shift` is top-1 on a shift."""
    is_cell = subject == "cell"
    mix = Mix(ratio=0.0 if generator == "none" else ratio)
    usual = "test" if is_cell else "synthetic"
    made = [
        Metric("top1", value, "%", split="shift")
        if name == "shift"
        else Metric(name, value, "%" if name == "top1" else "", split=usual)
        for name, value in values.items()
    ]
    family = network.partition("-")[0]
    classifier = Component(family, config={"n": network}, label=network, external_data=external_data)
    result = Result(
        subject=subject,
        status="ok",
        dataset=Component("digits"),
        generator=NONE if generator == "none" else Component(generator, label=generator),
        filter=NONE,
        ratio=mix.ratio,
        mix=mix if is_cell else None,
        classifier=classifier if is_cell else None,
        index=index,
        protocol=Protocol(),
        evaluator=Component("accuracy" if is_cell else "fid"),
        key=digest([generator, network, index, subject]),
        planned_indices=2,
        metrics=(*made, *metrics),
    )
    return Record(result, Run("", ""))


def suite(gains: list[float], distances: list[float], **names: Any) -> list[Record]:
    records = [record("none", index, top1=90.0 + index) for index in range(2)]
    for number, (gain, distance) in enumerate(zip(gains, distances, strict=True)):
        for index in range(2):
            records.append(record(f"g{number}", index, top1=90.0 + index + gain))
            records.append(record(f"g{number}", index, subject="image_set", fid=distance + index))
    return records


# -------------------------------------------------------------------------------------------- usefulness


def test_spearman_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        left, right = rng.integers(0, 5, 12).astype(float), rng.normal(size=12)
        assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)
    assert spearman(np.ones(5), np.arange(5.0)) is None


def test_a_metric_that_orders_the_gains_has_correlation_minus_one(ctx: RunContext) -> None:
    found = Usefulness(UsefulnessConfig()).evaluate(suite([3, 1, 2, 0, -1], [1, 3, 2, 4, 5]), ctx)
    (metric,) = found.metrics
    assert metric.label == "spearman[fid]"
    assert metric.n == 5
    assert metric.value == pytest.approx(-1)
    assert (
        metric.note == "with the gain, 5 rows of 5 generators; 95 % interval over generators -1.00 to -0.16"
    )
    (group,) = found.tables[metric.label]
    assert (group["group"], group["spearman"]) == ("digits, cnn, standard", pytest.approx(-1))
    pairs = {pair["row"]: (pair["value"], pair["gain"]) for pair in group["rows"]}
    assert pairs["g0, +1.0x standard"] == (1.5, 3.0)  # means over the two seeds


@pytest.mark.parametrize("makers", [4, 5, 8, 12])
def test_a_perfect_order_of_few_is_no_certainty(ctx: RunContext, makers: int) -> None:
    """Five sets are in perfect order, one way or the other, once in 60 times by chance."""
    gains = [n / 4 for n in range(makers)]
    (metric,) = Usefulness(UsefulnessConfig(fewest_rows=4)).evaluate(suite(gains, gains), ctx).metrics
    r = 1 - 6 / (makers**3 - makers)
    low = math.tanh(math.atanh(r) - 1.959964 * math.sqrt((1 + r * r / 2) / (makers - 3)))
    assert (low > 0) == (makers > 4)
    assert bounds(metric) == (pytest.approx(low, abs=0.005), 1.0)


def test_real_images_say_nothing_of_generated_ones(ctx: RunContext) -> None:
    """Copies have no distance and no gain, and more real images both: their ranks are known beforehand."""
    records = suite([-3, -1, -2, -5, -4], [1, 2, 3, 4, 5])
    alone = Usefulness(UsefulnessConfig()).evaluate(records, ctx).metrics[0]
    for control, gain in (("copies", -0.1), ("real_extra", 1.0), ("classical", -0.2)):
        records.append(record(control, top1=90.0 + gain))
        records.append(record(control, subject="image_set", fid=0.0))
    left_out, taken_in = (
        Usefulness(UsefulnessConfig(controls=one)).evaluate(records, ctx).metrics[0] for one in (False, True)
    )
    assert left_out == alone
    assert (taken_in.n, left_out.n) == (8, 5)
    assert taken_in.value is not None
    assert left_out.value is not None
    assert taken_in.value < left_out.value


def test_an_unrelated_metric_has_an_interval_that_says_so(ctx: RunContext) -> None:
    rng = np.random.default_rng(1)
    gains, distances = rng.normal(size=(2, 20))
    (metric,) = Usefulness(UsefulnessConfig()).evaluate(suite(list(gains), list(distances)), ctx).metrics
    assert metric.value == pytest.approx(spearmanr(gains, distances).statistic)
    low, high = bounds(metric)
    assert low < 0 < high
    assert high - low > 0.7, "20 independent pairs: Bonett and Wright's interval is no narrower"


def test_one_generator_at_many_ratios_is_one_generator(ctx: RunContext) -> None:
    """Four generators at five ratios: twenty rows that follow FID, of which four are independent."""
    records = [record("none", index, top1=90.0) for index in range(2)]
    for number in range(4):
        for ratio in (0.25, 0.5, 1.0, 2.0, 4.0):
            gain = [3.0, 1.0, 2.0, 0.5][number] + ratio / 10
            records.append(record(f"g{number}", ratio=ratio, top1=90.0 + gain))
            records.append(record(f"g{number}", ratio=ratio, subject="image_set", fid=number + ratio / 100))
    (metric,) = Usefulness(UsefulnessConfig()).evaluate(records, ctx).metrics
    assert metric.n == 20
    assert "20 rows of 4 generators" in metric.note
    assert bounds(metric)[1] > 0.5, "as 20 independent rows it would be below 0"
    fewer = [one for one in records if one.result.generator.use != "g3"]
    (metric,) = Usefulness(UsefulnessConfig()).evaluate(fewer, ctx).metrics
    assert metric.note.endswith("15 rows of 3 generators; no interval: 4 generators are needed")


def test_ranks_are_taken_within_what_shares_a_baseline(ctx: RunContext) -> None:
    """The gains of a second dataset are larger and so is its FID: across both FID seems to be good."""
    records = suite([5, 4, 3, 2, 1], [1, 2, 3, 4, 5])
    other = suite([8.5, 8, 7.5, 7], [11, 12, 13, 14])
    records += [replace(one, result=replace(one.result, dataset=Component("cifar10"))) for one in other]
    found = Usefulness(UsefulnessConfig()).evaluate(records, ctx)
    (metric,) = found.metrics
    assert metric.value == pytest.approx(-1)
    assert "9 rows of 5 generators, within 2 baselines" in metric.note
    groups = {one["group"]: one["spearman"] for one in found.tables["spearman[fid]"]}
    assert groups == {"digits, cnn, standard": pytest.approx(-1), "cifar10, cnn, standard": pytest.approx(-1)}


def test_groups_are_weighted_by_their_rows_less_one(ctx: RunContext) -> None:
    records = suite([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    records += [record("none", network="mlp", top1=50.0)]
    records += [record(f"g{n}", network="mlp", top1=50.0 - n) for n in range(3)]
    (metric,) = Usefulness(UsefulnessConfig()).evaluate(records, ctx).metrics
    assert metric.value == pytest.approx((4 * 1 + 2 * -1) / 6)


def bounds(metric: Metric) -> tuple[float, float]:
    low, high = (float(word) for word in metric.note.rpartition("generators ")[2].split(" to "))
    return low, high


def test_numbers_that_say_nothing_of_the_images_are_left_out(ctx: RunContext) -> None:
    records = suite([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    for number in range(5):
        others = (
            Metric("fid", 1.0, split="train", against="val", role="floor"),
            Metric("vendi", 2.0, split="train", role="floor"),
            Metric("mmd2", 0.5, split="synthetic", against="val", role="p_value", average="none"),
            Metric("dataset_duplicates", 0.0, split="test", against="train", role="check"),
        )
        made = record(f"g{number}", subject="image_set", kid=float(number), metrics=others)
        records.append(made)
    labels = [metric.label for metric in Usefulness(UsefulnessConfig()).evaluate(records, ctx).metrics]
    assert labels == ["spearman[fid]", "spearman[kid]"]


def test_rows_whose_n_varies_over_seeds_find_their_pairs(ctx: RunContext) -> None:
    """A filter leaves other numbers of images for every seed; they are one metric of one row all the same."""
    records = [one for one in suite([1, 2, 3, 4, 5], [0] * 5) if one.result.subject == "cell"]
    for number in range(5):
        for index in range(2):
            fid = Metric(
                "fid", 10.0 - number + index, split="synthetic", against="train", extractor="reference",
                n=369 + 7 * number + 42 * index,
            )  # fmt: skip
            records.append(record(f"g{number}", index, subject="image_set", metrics=(fid,)))
    found = Usefulness(UsefulnessConfig()).evaluate(records, ctx)
    (metric,) = found.metrics
    assert metric.label == "spearman[fid[reference,train]]"
    assert (metric.value, metric.n) == (pytest.approx(-1), 5)
    assert [pair["value"] for pair in found.tables[metric.label][0]["rows"]] == [10.5, 9.5, 8.5, 7.5, 6.5]


def test_pooled_shares_are_weighted_by_their_images(ctx: RunContext) -> None:
    records = [one for one in suite([1, 2, 3, 4, 5], [0] * 5) if one.result.subject == "cell"]
    for number in range(5):
        for index, n in enumerate((100, 300)):
            share = Metric(
                "copies",
                40.0 * index + number,
                "%",
                split="synthetic",
                against="train",
                n=n,
                average="pooled",
            )
            records.append(record(f"g{number}", index, subject="image_set", metrics=(share,)))
    tables = Usefulness(UsefulnessConfig()).evaluate(records, ctx).tables
    ((table,),) = (tables[name] for name in tables.keys() - {INTERVALS})
    assert [pair["value"] for pair in table["rows"]] == [30.0, 31.0, 32.0, 33.0, 34.0]


def test_rows_with_copies_of_test_are_left_out_and_counted(ctx: RunContext) -> None:
    """One generator hands out test images: the best FID, and a gain that is theirs."""
    records = suite([3, 1, 2, 0, -1, 8], [3, 1, 2, 0, -1, 0.1])
    table = copy_table(100, exact={"val": 0, "test": 7, "reserve": 0})
    made = record("g5", subject="image_set")
    result = replace(made.result, evaluator=Component("copies"), tables={"copies": table}, key=digest("g5"))
    check = Record(result, replace(made.run, plugins=(CODE,)))
    (tricked,) = Usefulness(UsefulnessConfig()).evaluate(records, ctx).metrics
    assert (tricked.n, "void" in tricked.note) == (6, False)
    assert tricked.value != pytest.approx(1)
    (metric,) = Usefulness(UsefulnessConfig()).evaluate([*records, check], ctx).metrics
    assert (metric.n, metric.value) == (5, pytest.approx(1))
    assert metric.note.endswith("; without 1 row void for copies of test")
    clean = replace(result, tables={"copies": copy_table(100)})
    (kept,) = Usefulness(UsefulnessConfig()).evaluate([*records, replace(check, result=clean)], ctx).metrics
    assert kept.n == 6


def test_too_few_rows_are_not_correlated(ctx: RunContext) -> None:
    (metric,) = Usefulness(UsefulnessConfig()).evaluate(suite([1, 2, 3], [3, 2, 1]), ctx).metrics
    assert metric.value is None
    assert metric.note == "only 3 rows have both; 5 are needed"
    willing = Usefulness(UsefulnessConfig(fewest_rows=3))
    assert willing.evaluate(suite([1, 2, 3], [3, 2, 1]), ctx).metrics[0].value == pytest.approx(-1)


# ---------------------------------------------------------------------------------- effective robustness


def line(
    count: int = 12, families: tuple[str, ...] = ("cnn", "mlp", "vit"), span: float = 0.3
) -> list[Record]:
    """Real-only models on the line logit y = -1 + 0.8 logit x."""
    records = []
    for number, x in enumerate(np.linspace(0.6, 0.6 + span, count)):
        y = 1 / (1 + np.exp(1 - 0.8 * np.log(x / (1 - x))))
        network = f"{families[number % len(families)]}-{number}"
        records.append(record("none", network=network, top1=100 * x, shift=100 * y))
    return records


def test_a_model_on_the_line_has_none_and_one_above_has_the_difference(ctx: RunContext) -> None:
    x = 0.75
    y = 1 / (1 + np.exp(1 - 0.8 * np.log(x / (1 - x))))
    scored = [record("on", top1=75.0, shift=100 * y), record("above", top1=75.0, shift=100 * y + 4)]
    found = EffectiveRobustness(EffectiveRobustnessConfig()).evaluate([*line(), *scored], ctx)
    values = {metric.label: metric.value for metric in found.metrics}
    assert values["effective_robustness[shift,on, +1.0x standard, cnn]"] == pytest.approx(0, abs=1e-9)
    assert values["effective_robustness[shift,above, +1.0x standard, cnn]"] == pytest.approx(4)


def test_the_line_is_numpys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 0.9, 15), rng.uniform(0.3, 0.7, 15)
    slope, height = np.polyfit(np.log(x / (1 - x)), np.log(y / (1 - y)), 1)
    expected = 1 / (1 + np.exp(-(height + slope * np.log(0.7 / 0.3))))
    assert above_line(x, y, 0.7, 0.6) == pytest.approx(0.6 - expected, abs=1e-12)
    assert np.isnan(above_line(np.full(5, 0.5), y[:5], 0.5, 0.5))


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (line(9), "9 real-only models of 3 families spanning 30.0 points"),
        (line(families=("cnn", "mlp")), "12 real-only models of 2 families"),
        (line(span=0.09), "spanning 9.0 points; 10, 3 and 10 are needed"),
    ],
)
def test_without_a_line_nothing_is_reported(ctx: RunContext, models: list[Record], words: str) -> None:
    scored = record("g", top1=65.0, shift=50.0)
    (metric,) = EffectiveRobustness(EffectiveRobustnessConfig()).evaluate([*models, scored], ctx).metrics
    assert metric.value is None
    assert words in metric.note


def test_models_that_saw_other_images_are_no_part_of_the_line(ctx: RunContext) -> None:
    """Of ten models without synthetic images four are pretrained: six are real-only, which is too few."""
    models = [
        replace(
            one,
            result=replace(
                one.result,
                classifier=replace(one.result.classifier, external_data=("ImageNet-1k",)),
            ),
        )
        if number % 3 == 0
        else one
        for number, one in enumerate(line(10))
    ]
    assert sum(bool(one.result.classifier and one.result.classifier.external_data) for one in models) == 4
    scored = record("g", top1=75.0, shift=60.0)
    evaluator = EffectiveRobustness(EffectiveRobustnessConfig())
    (metric,) = evaluator.evaluate([*models, scored], ctx).metrics
    assert metric.value is None
    assert metric.note.startswith("not reported: 6 real-only models of 2 families")
    assert all(one.value is not None for one in evaluator.evaluate([*line(10), scored], ctx).metrics)


def test_rows_that_differ_in_their_ratio_alone_are_scored_apart(ctx: RunContext) -> None:
    scored = [record("g", top1=75.0, shift=60.0), record("g", ratio=0.5, top1=75.0, shift=62.0)]
    found = EffectiveRobustness(EffectiveRobustnessConfig()).evaluate([*line(), *scored], ctx)
    values = {metric.label: metric.value for metric in found.metrics}
    low = values["effective_robustness[shift,g, +1.0x standard, cnn]"]
    high = values["effective_robustness[shift,g, +0.5x standard, cnn]"]
    assert low is not None
    assert high == pytest.approx(low + 2)


def test_a_pretrained_model_is_scored_beside_the_line_and_moves_it_not(ctx: RunContext) -> None:
    evaluator, scored = EffectiveRobustness(EffectiveRobustnessConfig()), record("g", top1=75.0, shift=60.0)
    foreign = record("none", network="vit-big", external_data=("LAION-2B",), top1=70.0, shift=69.0)
    alone = {one.label: one for one in evaluator.evaluate([*line(), scored], ctx).metrics}
    found = evaluator.evaluate([*line(), scored, foreign], ctx)
    values = {one.label: one for one in found.metrics}
    own = "effective_robustness[shift,g, +1.0x standard, cnn]"
    assert values[own] == alone[own]
    assert values.keys() - alone.keys() == {"effective_robustness[shift,none, standard, vit-big]"}
    assert len(found.tables["shift"]) == 12


def test_nothing_is_extrapolated(ctx: RunContext) -> None:
    scored = record("g", top1=95.0, shift=80.0)
    (metric,) = EffectiveRobustness(EffectiveRobustnessConfig()).evaluate([*line(), scored], ctx).metrics
    assert metric.value is None
    assert "95.0 % on test lies outside" in metric.note


# ------------------------------------------------------------------------------- over records of many runs


def test_records_of_several_runs_are_evaluated_together(registry: Registry) -> None:
    one = suite([3, 1, 2, 0, -1], [1, 3, 2, 4, 5])
    two = [replace(each, result=replace(each.result, dataset=Component("cifar10"))) for each in one]
    two = [replace(each, result=replace(each.result, key=digest(["two", each.result.key]))) for each in two]
    (found,) = find(["usefulness"], [*one, *two, *one], registry)
    assert found.result.subject == "suite"
    assert found.result.dataset.label == "all 2 datasets"
    assert found.result.metrics[0].n == 10, "what is there twice counts once"
    again = with_findings(["usefulness"], [*one, *two, found], registry)
    assert [each.result.subject for each in again].count("suite") == 1, "instead of what a run had found"
    apart = find(["effective_robustness"], [*one, *two], registry)
    assert {each.result.dataset.use for each in apart} == {"digits", "cifar10"}
    (alone,) = find(["usefulness:fewest_rows=6"], one, registry)
    assert alone.result.metrics[0].note == "only 5 rows have both; 6 are needed"
    assert alone.result.dataset.name == "digits"


def test_the_command_puts_them_on_the_board(tmp_path: Path) -> None:
    for each in suite([3, 1, 2, 0, -1], [1, 3, 2, 4, 5]):
        (tmp_path / each.file_name).write_text(each.to_json())
    done = CliRunner().invoke(program, ["leaderboard", str(tmp_path), "--evaluate", "usefulness"])
    assert done.exit_code == 0, done.output
    assert "5 rows of 5 generators" in " ".join(done.output.split())
    board = genbench.leaderboard(tmp_path, evaluate="usefulness")
    assert "over 5 rows of 5 generators" in board.to_markdown()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "fid",
            "there are only records here; those that read records are effective_robustness, exchange_rate",
        ),
        ("usefullness", "usefulness"),
        ("toy-suite", "it is not built in, and code of others runs in a room"),
    ],
)
def test_what_reads_no_records_is_refused(registry: Registry, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find([name], suite([1, 2], [1, 2]), registry)


# ------------------------------------------------------------------------------------------- through a run


def test_a_run_leaves_suite_records_and_the_board_shows_them(run_cells: RunCells, store: Store) -> None:
    entries = {
        "generators": ["toy", "copies", "classical"],
        "datasets": ["digits:limit_train=60"],
        "evaluators": ["accuracy", "fid:extractor=pixels", "usefulness:fewest_rows=3,controls=true"],
    }
    _, outcome = run_cells(**entries)
    assert outcome.failed == {}
    (found,) = [one for one in outcome.records if one.result.subject == "suite"]
    labels = [metric.label for metric in found.result.metrics]
    assert labels
    assert all(label.startswith("spearman[fid[pixels,") for label in labels)
    board = build_board(outcome.records)
    for page in (render_markdown(board), render_terminal(board)):
        assert "Across the rows" in page
        assert "controls=true" in page, page[-3000:]
    _, again = run_cells(**entries)
    (same,) = [one for one in again.records if one.result.subject == "suite"]
    assert same.result_digest == found.result_digest


def test_a_suite_evaluator_that_fails_is_a_failed_record(
    run_cells: RunCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, records: Any, ctx: Any) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(Usefulness, "evaluate", broken)
    _, outcome = run_cells(evaluators=["accuracy", "usefulness"])
    assert list(outcome.failed.values()) == ["ZeroDivisionError: by nothing"]
    (found,) = [one.result for one in outcome.records if one.result.subject == "suite"]
    assert found.status == "failed"
    assert found.reason == "evaluate usefulness of toy-data: ZeroDivisionError: by nothing"


def test_the_terminal_shows_the_largest_findings_and_says_so() -> None:
    from genbench_leaderboard.rows import Finding

    board = build_board([record("none", index, top1=90.0) for index in range(2)])
    many = tuple(Finding("digits", "usefulness", f"m{k:02d}", k / 20, "", "") for k in range(20))
    page = render_terminal(replace(board, findings=many))
    assert "m19" in page
    assert "m05" not in page
    assert "10 more, with smaller values, are in the Markdown." in page
    assert "m05" in render_markdown(replace(board, findings=many))
