"""The board against records made by hand, whose right answers are known beforehand."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from genbench.digest import digest
from genbench.errors import DataError, ProtocolError
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import (
    Component,
    Cost,
    Protocol,
    Record,
    Result,
    Run,
    pack_bits,
    read_records,
)
from genbench_leaderboard.board import build_board
from genbench_leaderboard.export import to_frame
from genbench_leaderboard.rows import Board, Contrast, Row
from genbench_leaderboard.settled import settle
from genbench_leaderboard.statistics import paired_t
from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

N_TEST = 400


def component(use: str, label: str = "", **config: Any) -> Component:
    return Component(use, config=config, label=label or use)


def top1(percent: float, split: str = "test") -> Metric:
    return Metric("top1", percent, "%", split=split)


def cell(
    generator: str | Component = "none",
    index: int = 0,
    right: int = 360,
    *,
    planned: int = 5,
    augment: Any = "standard",
    ratio: float = 1.0,
    scale: float = 1.0,
    image_filter: str = "none",
    val: float | None = 90.0,
    seconds: float = 60.0,
    start: int = 0,
    **changes: Any,
) -> Record:
    """Fabricate an accuracy record that is right on `right` test images from image `start` on, cyclically."""
    chosen = component(generator) if isinstance(generator, str) else generator
    baseline = chosen.use == "none"
    mix = Mix(ratio=0.0 if baseline else ratio, augment=augment, budget_scale=scale).augmented()
    correct = [(image - start) % N_TEST < right for image in range(N_TEST)]
    result = Result(
        subject="cell",
        status="ok",
        dataset=component("digits"),
        generator=chosen,
        filter=component(image_filter),
        ratio=mix.ratio,
        mix=mix,
        classifier=component("cnn", epochs=20),
        index=index,
        protocol=Protocol(1, preset="quick", reference=component("cnn")),
        evaluator=component("accuracy"),
        key="",
        planned_indices=planned,
        metrics=(
            top1(100.0 * right / N_TEST),
            *([top1(val, "val")] if val is not None else []),
            Metric("nll", 0.25, "nats", split="test"),
        ),
        tables={"test": {"n": N_TEST, "correct_bits": pack_bits(correct)}},
    )
    run = Run(
        created="2025-01-01T00:00:00Z",
        command="genbench run --suite digits.toml",
        hardware={"device": "cpu", "processor": "x86-64-v3"},
        versions={"numpy": "2.4.6", "torch": "2.9.0"},
        costs=(
            Cost("train", 40.0, 2**30, "cpu"),
            *([] if baseline else [Cost("sample", seconds, 2**31, "cpu")]),
        ),
    )
    return rekeyed(Record(replace(result, **changes), run))


def rekeyed(record: Record) -> Record:
    """Give a record the key that its content would have."""
    result = record.result
    parts = (result.dataset, result.generator, result.filter, result.classifier, result.evaluator)
    about = [part.identity if part else None for part in parts]
    mix = result.mix.model_dump() if result.mix else None
    key = digest([*about, result.subject, mix, result.ratio, result.index])
    return replace(record, result=replace(result, key=key))


def arm(generator: str | Component, rights: Sequence[int], **options: Any) -> list[Record]:
    options = {"planned": len(rights), **options}
    return [cell(generator, index, right, **options) for index, right in enumerate(rights)]


def failed(record: Record, reason: str = "CUDA out of memory") -> Record:
    result = replace(record.result, status="failed", reason=reason, metrics=(), tables={})
    return replace(record, result=result, run=replace(record.run, log="logs/ab12/run.log", costs=()))


def distance(
    name: str, value: float, n: int, against: str = "train", extractor: str = "reference", **about: Any
) -> Metric:
    return Metric(name, value, **{"split": "synthetic", **about}, against=against, extractor=extractor, n=n)


def distances(generator: str, index: int, fid: float, ratio: float = 1.0, **changes: Any) -> list[Record]:
    """Fabricate the fid and mmd records of one image set."""
    made = []
    for use, family, factor in (("fid", "fid", 1.0), ("mmd", "mmd2", 1e-3)):
        metrics = (
            distance(family, fid * factor, 1150),
            distance(family, (fid + 3) * factor, 287, "val"),
            distance(family, 2.5 * factor, 287, "val", split="train", role="floor"),
        )
        about: dict[str, Any] = {"subject": "image_set", "classifier": None, "mix": None}
        like = cell(generator, index, ratio=ratio, **about, metrics=metrics)
        changed = replace(like.result, evaluator=component(use), tables={}, **changes)
        made.append(rekeyed(replace(like, result=changed)))
    return made


BASELINE = [356, 358, 360, 362, 364]
BETTER = [373, 374, 377, 378, 381]
SAME = [357, 356, 362, 360, 366]


def whole_board() -> list[Record]:
    records = arm("none", BASELINE) + arm("none", [361, 362, 365, 365, 369], augment="strong")
    records += arm("ddpm", BETTER, seconds=380.0) + arm("classical", SAME, seconds=2.0)
    for index in range(5):
        records += distances("ddpm", index, 12.0 + index) + distances("classical", index, 40.0 + index)
    return records


def row(board: Board, generator: str, mix: str = "") -> Row:
    found = [
        one for group in board.groups for one in group.rows if one.generator == generator and mix in one.mix
    ]
    assert len(found) == 1, [one.name for one in found]
    return found[0]


def contrast(found: Row) -> Contrast:
    assert found.contrast is not None
    return found.contrast


# --------------------------------------------------------------------------------------------- verdicts


def test_better_cannot_tell_and_ranks() -> None:
    board = build_board(whole_board())
    ddpm, classical, strong = row(board, "ddpm"), row(board, "classical"), row(board, "none", "strong")
    assert [one.contrast and one.contrast.verdict for one in (ddpm, classical, strong)] == [
        "better",
        "reference",
        "reference",
    ]
    assert [one.role for one in (ddpm, classical, strong)] == ["contender", "control", "control"]
    plain = row(board, "none", "standard")
    assert [one.rank for one in (ddpm, plain, strong, classical)] == [1, 2, None, None]
    found = contrast(ddpm)
    assert found.family == 1
    assert found.found is not None
    assert found.found.mean == pytest.approx(4.15)
    assert found.found.interval is not None
    assert found.found.interval.low > 0
    assert found.points_per_minute == pytest.approx(4.15 / ((380 + 40 - 40) / 60))


def test_cannot_tell_says_what_would_have_been_found() -> None:
    board = build_board(whole_board() + arm("cvae", SAME))
    one = contrast(row(board, "cvae"))
    assert one.found is not None
    assert one.level == pytest.approx(0.05), "the largest p of the family is held to the full alpha"
    assert one.detectable_points == pytest.approx(one.found.detectable(0.05 / 2)), (
        "an effect would stand first"
    )
    assert one.guarded_points == pytest.approx(one.found.guarded(0.05 / 2))
    assert one.guarded_points > one.detectable_points > 0
    says = f"{one.detectable_points:.2f} ({one.guarded_points:.2f}) (CVAE)."
    assert says in render_markdown(board)


@pytest.mark.parametrize(
    ("n", "says", "has_interval"),
    [
        (1, "1 seed: no interval, no verdict, no rank.", False),
        (2, "2 seeds: no interval, no verdict, no rank.", False),
        (3, "3 seeds: intervals, but no verdict and no rank before 5.", True),
        (4, "4 seeds: intervals, but no verdict and no rank before 5.", True),
    ],
)
def test_few_seeds_say_so(n: int, says: str, has_interval: bool) -> None:
    board = build_board(arm("none", BASELINE[:n]) + arm("ddpm", BETTER[:n]))
    ddpm = row(board, "ddpm")
    assert ddpm.rank is None
    assert contrast(ddpm).family == 0
    assert contrast(ddpm).verdict == "too few seeds"
    for text in (render_markdown(board), render_terminal(board)):
        assert says in " ".join(text.split())
        assert ("±" in text.split("top-1: accuracy")[0]) is has_interval
        assert "verdict  " not in text


def test_a_row_with_few_seeds_beside_a_full_one_says_so_in_its_cell() -> None:
    board = build_board(arm("none", BASELINE) + arm("ddpm", BETTER) + arm("cvae", [355]))
    assert "| 1 seed: no interval |" in render_markdown(board)


def test_without_any_spread_nothing_can_be_told() -> None:
    # Every seed gains the same 12 images: neither seeds nor images vary beyond that.
    everyone = [cell("none", index, 0, planned=5) for index in range(5)]
    perfect = [cell("ddpm", index, N_TEST, planned=5) for index in range(5)]
    board = build_board(everyone + perfect)
    one = contrast(row(board, "ddpm"))
    assert (one.verdict, one.adjusted_p) == ("cannot tell", 1)
    assert not one.detectable_points
    text = render_markdown(board)
    assert "no spread between seeds or images, so no test: DDPM." in text
    assert "every test image right in every seed, which says little: DDPM." in text


def test_a_gain_on_some_images_that_is_lost_on_others_is_none() -> None:
    # Two more right answers per seed, steadily, but on other images: 120 gained, 118 lost.
    gained = [
        cell("ddpm", index, right + 2, start=120, planned=5)
        for index, right in enumerate([280, 281, 283, 284, 286])
    ]
    base = [280, 281, 283, 284, 285]
    board = build_board(arm("none", base) + gained)
    seeds_alone = paired_t([right + 2 for right in [280, 281, 283, 284, 286]], base)
    assert seeds_alone is not None
    assert seeds_alone < 0.05, "a test over seeds alone would call it better"
    assert contrast(row(board, "ddpm")).verdict == "cannot tell"


def test_without_per_image_results_nothing_is_better() -> None:
    bare = [replace(one, result=replace(one.result, tables={})) for one in arm("ddpm", BETTER)]
    board = build_board(arm("none", BASELINE) + bare)
    assert contrast(row(board, "ddpm")).verdict == "cannot tell"
    assert "no results per test image, so no test: DDPM." in render_markdown(board)


def test_failures_count_as_p_one() -> None:
    alone = build_board(whole_board())
    broken = [failed(one) if one.result.index == 2 else one for one in arm("cvae", BETTER)]
    board = build_board(whole_board() + broken)
    cvae = row(board, "cvae")
    assert (contrast(cvae).adjusted_p, contrast(cvae).verdict, cvae.rank) == (1.0, "incomplete", None)
    before, after = contrast(row(alone, "ddpm")), contrast(row(board, "ddpm"))
    assert (before.family, after.family) == (1, 2)
    assert before.adjusted_p is not None
    assert after.adjusted_p == pytest.approx(before.adjusted_p * 2)
    text = render_markdown(board)
    assert "| 4 of 5 |" in text
    assert "24 cells measured, 1 failed." in text
    assert "- failed: cvae, +1.0x standard, seed 2: CUDA out of memory (log: logs/ab12/run.log)" in text


def test_a_failure_is_left_out_where_the_same_cell_succeeded_later() -> None:
    """As where a component's version was raised: the key is another one."""
    good = whole_board()
    old = [one for one in good if one.result.index == 1]
    older, newer = ("2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00")

    def broken(created: str) -> list[Record]:
        other = [of_version_7(one) for one in old]
        return [replace(failed(one), run=replace(one.run, created=created)) for one in other]

    def of_version_7(one: Record) -> Record:
        generator = replace(one.result.generator, version=7)
        return replace(one, result=replace(one.result, generator=generator, key=digest([one.result.key])))

    board = build_board(good + broken(older))
    note = f"{len(old)} older failures are left out: the same cell succeeded later"
    assert [text.partition(", as by")[0] for text in board.notes] == [note]
    assert replace(board, notes=()) == build_board(good)
    page = render_markdown(build_board(good + broken(newer)))  # it broke since: that is said
    assert f"{len(old)} failed" in page
    assert page.count("CUDA out of memory") == 2  # one line for cells, one for image sets
    assert page.count(" others alike (of ") == 2


def test_another_stock_of_the_same_name_hides_no_failure() -> None:
    """`folder:a/train.npz` failed, `folder:b/train.npz` succeeded later: both are labelled alike."""
    first, second = (Component("folder", label="folder:train.npz", fingerprint=one) for one in ("aa", "bb"))
    broken = [failed(one) for one in arm(first, BETTER)]
    late = [
        replace(one, run=replace(one.run, created="2999-01-01T00:00:00+00:00")) for one in arm(second, BETTER)
    ]
    page = render_markdown(build_board(arm("none", BASELINE) + broken + late))
    assert "CUDA out of memory" in page
    assert "left out" not in page
    mended = [replace(one, result=replace(one.result, generator=second)) for one in broken]
    assert [len(settle([*mended, *late])[0]), len(settle([*broken, *late])[0])] == [5, 10]


def test_a_row_that_failed_throughout_stays_in_the_table() -> None:
    board = build_board(arm("none", BASELINE) + [failed(one) for one in arm("cvae", BETTER)])
    assert contrast(row(board, "cvae")).verdict == "incomplete"
    assert "| 0 of 5 |" in render_markdown(board)


def test_a_row_whose_baseline_failed_throughout_has_its_seeds() -> None:
    board = build_board([failed(one) for one in arm("none", BASELINE)] + arm("cvae", BETTER))
    lines = [one for one in render_markdown(board).splitlines() if "| CVAE " in one]
    assert re.search(r"\d \| no baseline \|", lines[0])


def test_a_missing_seed_is_incomplete_too() -> None:
    board = build_board(arm("none", BASELINE) + arm("ddpm", BETTER)[:4])
    assert "incomplete, so no verdict: DDPM (4 of 5 seeds)." in render_markdown(board)
    missing_baseline = build_board(arm("none", BASELINE)[1:] + arm("ddpm", BETTER))
    assert "DDPM (4 of 5 seeds)" in render_markdown(missing_baseline)


def test_external_data_is_ranked_apart() -> None:
    pretrained = replace(component("sd_img2img"), external_data=("LAION-5B",))
    board = build_board(whole_board() + arm(pretrained, [390, 392, 393, 396, 397]))
    assert row(board, "sd_img2img").rank is None, "alone in its pool, there is nothing to rank"
    assert row(board, "ddpm").rank == 1
    assert "§ external data, ranked apart: LAION-5B." in render_markdown(board)
    assert "Stable Diffusion from images §" in render_terminal(board)


def test_a_pretrained_classifier_is_marked_and_ranked_apart() -> None:
    """What a classifier knows from elsewhere counts like what a generator knows."""
    pretrained = replace(component("timm", "timm:pretrained"), external_data=("ImageNet-1k",))
    about: dict[str, Any] = {"classifier": pretrained}
    board = build_board(
        whole_board() + arm("none", [390, 391, 393, 394, 396], **about) + arm("ddpm", BETTER, **about)
    )
    plain, foreign = board.groups
    assert (plain.title, foreign.title) == ("digits, cnn", "digits, timm:pretrained")
    assert [one.external_data for one in foreign.rows] == [("ImageNet-1k",)] * 2
    assert not any(one.external_data for one in plain.rows)
    for text in (render_markdown(board), render_terminal(board)):
        assert "DDPM §" in text
        assert "real images alone §" in text
        assert "§ external data, ranked apart: ImageNet-1k." in " ".join(text.split())
    assert "§" not in render_markdown(build_board(whole_board()))
    lines = render_csv(board).splitlines()
    assert sum("ImageNet-1k" in line for line in lines) == 2


def test_data_of_generator_filter_and_classifier_are_named_together() -> None:
    known = {
        "generator": replace(component("ddpm"), external_data=("LAION-5B",)),
        "filter": replace(component("clip"), external_data=("WIT",)),
        "classifier": replace(component("timm"), external_data=("ImageNet-1k", "LAION-5B")),
    }
    classifier = {"classifier": known["classifier"]}
    made = arm(known["generator"], BETTER, **classifier, filter=known["filter"])
    board = build_board(arm("none", BASELINE, **classifier) + made)
    assert row(board, "ddpm").external_data == ("ImageNet-1k", "LAION-5B", "WIT")


# ---------------------------------------------------------------------------------------------- pairing


def test_the_baseline_has_the_same_augmentation() -> None:
    records = whole_board() + arm("ddpm", [365, 366, 369, 369, 373], augment="strong")
    one = contrast(row(build_board(records), "ddpm", "strong"))
    assert one.against == "none, strong"
    assert one.found is not None
    assert one.found.mean == pytest.approx(1.0)


def test_pairs_are_by_index_not_by_order() -> None:
    turned = [
        replace(one, result=replace(one.result, index=4 - one.result.index)) for one in arm("ddpm", BETTER)
    ]
    straight = contrast(row(build_board(arm("none", BASELINE) + arm("ddpm", BETTER)), "ddpm")).found
    crossed = contrast(
        row(build_board(arm("none", BASELINE) + [rekeyed(one) for one in turned]), "ddpm")
    ).found
    assert straight is not None
    assert straight.correlation is not None
    assert crossed is not None
    assert crossed.correlation == pytest.approx(-straight.correlation, abs=0.1)
    assert crossed.mean == pytest.approx(straight.mean)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classifier": component("cnn", epochs=40)}, r"classifier\.config\.epochs is 40, not 20"),
        (
            {"protocol": Protocol(1, base_seed=1, preset="quick", reference=component("cnn"))},
            r"protocol\.base_seed is 1, not 0",
        ),
    ],
)
def test_unequal_recipes_are_refused(changes: dict[str, Any], says: str) -> None:
    records = arm("none", BASELINE) + arm("ddpm", BETTER, **changes)
    with pytest.raises(ProtocolError, match=says) as caught:
        build_board(records)
    assert "ddpm, +1.0x standard on digits cannot be compared with its baseline (none, standard)" in (
        str(caught.value)
    )
    assert "run the baseline and the generator in one suite" in caught.value.hint


def test_rows_of_unequal_tests_are_not_compared_and_stop_nobody() -> None:
    eight: dict[str, Any] = {
        "tables": {"test": {"n": 8, "correct_bits": pack_bits([True] * 8)}},
        "metrics": (top1(100.0),),
    }
    short = [replace(one, result=replace(one.result, **eight)) for one in arm("cvae", BETTER)]
    board = build_board(arm("none", BASELINE) + arm("ddpm", BETTER) + short)
    assert contrast(row(board, "cvae")).verdict == "incomplete"
    assert contrast(row(board, "ddpm")).verdict == "better"
    says = "not comparable: its test has 8 images, and that of the other row 400 (CVAE)."
    assert says in render_markdown(board)


def test_two_recipes_with_their_own_baselines_are_two_groups() -> None:
    longer = {"classifier": component("cnn", "cnn:epochs=40", epochs=40)}
    records = whole_board() + arm("none", BASELINE, **longer) + arm("ddpm", BETTER, **longer)
    assert [group.title for group in build_board(records).groups] == ["digits, cnn", "digits, cnn:epochs=40"]


def test_a_board_without_a_baseline_says_so() -> None:
    board = build_board(arm("ddpm", BETTER))
    assert "| no baseline |" in render_markdown(board)


def test_budgets_are_never_mixed_and_limits_are_marked() -> None:
    larger = arm("none", BASELINE, scale=2.0, val=90.8) + arm("ddpm", BETTER, scale=2.0)
    board = build_board(whole_board() + larger)
    assert [group.title for group in board.groups] == ["digits, cnn", "digits, cnn, 2x budget"]
    limited = {one.generator: one.budget_limited for one in board.groups[0].rows}
    assert limited["classical"] is None, "it was not run at the larger budget"
    assert limited["ddpm"] is not None
    assert limited["ddpm"].val_rise == pytest.approx(0.8)
    text = render_markdown(board)
    assert "DDPM ‡" in text
    assert "‡ budget-limited: at 2 times the budget, val top-1 of none rises by 0.80 points" in text
    calm = arm("none", BASELINE, scale=2.0, val=90.5) + arm("ddpm", BETTER, scale=2.0)
    assert "‡" not in render_markdown(build_board(whole_board() + calm))


# ---------------------------------------------------------------------------------------------- records


def test_the_newest_attempt_that_succeeded_counts() -> None:
    records = arm("none", BASELINE) + arm("ddpm", BETTER)
    later = replace(failed(records[5]), run=replace(records[5].run, created="2025-02-01T00:00:00Z"))
    board = build_board([*records, later])
    assert board.notes == ()
    assert row(board, "ddpm").top1 == row(build_board(records), "ddpm").top1
    again = replace(records[5], run=replace(records[5].run, created="2025-03-01T00:00:00Z", command="again"))
    board = build_board([*records, again])
    assert board.notes == ()
    assert "again" in board.groups[0].commands


def test_results_that_differ_for_one_key_are_noted() -> None:
    records = arm("none", BASELINE) + arm("ddpm", BETTER)
    other = cell("ddpm", 0, N_TEST // 2)
    newer = replace(other, run=replace(records[5].run, created="2025-02-01T00:00:00Z"))
    assert newer.result.key == records[5].result.key
    board = build_board([newer, *records])
    assert len(board.notes) == 1
    assert board.notes[0].startswith("not reproducible: 2 attempts at ")
    differ = "(ddpm, seed 0, accuracy) differ in metrics.top1, tables.test.correct_bits; the newest counts"
    assert differ in board.notes[0]
    found = row(board, "ddpm").top1
    assert found is not None
    assert found.mean == pytest.approx((50 + sum(BETTER[1:]) / 4) / 5)
    assert "not reproducible" in render_terminal(board)


def test_mixed_environments_are_marked() -> None:
    records = whole_board()
    spot = next(i for i, one in enumerate(records) if one.result.generator.use == "ddpm")
    run = replace(records[spot].run, versions={"numpy": "2.4.6", "torch": "2.10.0"})
    records[spot] = replace(records[spot], run=run)
    text = render_markdown(build_board(records))
    assert "DDPM †" in text
    assert "frozen augmented copies †" not in text
    assert "† mixed environments: 1 of 20 cells come from torch 2.10.0 instead of 2.9.0." in text
    assert "†" not in render_markdown(build_board(whole_board()))


def test_equal_labels_are_told_apart() -> None:
    records = arm("none", BASELINE) + arm("ddpm", BETTER) + arm(replace(component("ddpm"), version=2), SAME)
    names = {one.generator for one in build_board(records).groups[0].rows}
    assert names == {"none", "ddpm v1", "ddpm v2"}


def test_bad_records_are_named(tmp_path: Path) -> None:
    good = cell("ddpm")
    edited = json.loads(good.to_json())
    edited["result"]["metrics"][0]["value"] = 99.9
    (tmp_path / "cell-edited.json").write_text(json.dumps(edited))
    with pytest.raises(DataError, match=r"edited\.json: `result` does not match its `result_sha256`"):
        build_board(read_records([tmp_path]))
    (tmp_path / "cell-edited.json").write_text("{}")
    with pytest.raises(DataError, match=r"edited\.json: not a genbench record \(schema_version is None\)"):
        build_board(read_records([tmp_path]))
    with pytest.raises(ValidationError, match="status ok, but no value for the metric top1"):
        replace(good.result, metrics=())
    with pytest.raises(ValidationError, match="a record of a cell names its classifier and its mix"):
        replace(good.result, classifier=None)


def test_records_survive_the_way_through_files(tmp_path: Path) -> None:
    records = whole_board()
    for position, record in enumerate(records):
        (tmp_path / f"{record.result.subject}-{position}.json").write_text(record.to_json(), encoding="utf-8")
    assert render_json(build_board(read_records([tmp_path]))) == render_json(build_board(records))


# --------------------------------------------------------------------------------------------- rendering


@pytest.mark.parametrize("render", [render_markdown, render_terminal, render_csv, render_json])
def test_order_of_records_changes_no_byte(render: Callable[[Board], str]) -> None:
    records = whole_board() + [failed(one) for one in arm("cvae", BETTER)]
    expected = render(build_board(records))
    for seed in range(3):
        shuffled = random.Random(seed).sample(records, len(records))
        assert render(build_board(shuffled)) == expected


def test_distances_have_a_table_of_their_own() -> None:
    text = render_markdown(build_board(whole_board()))
    assert "FID" not in text[: text.index("<details>")]
    line = next(line for line in text.splitlines() if line.startswith("| DDPM") and "| FID" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["DDPM", "FID", "reference", "1150/287", "14.0", "17.0", "2.50"]


def test_a_filter_that_leaves_other_numbers_of_images_keeps_all_seeds_in_the_mean() -> None:
    """n varies by seed: the mean is over all seeds, and the range of n is shown beside it."""
    sizes = [369, 411, 380, 402, 377]
    records = arm("none", BASELINE) + arm("ddpm", BETTER)
    for index, n in enumerate(sizes):
        metrics = (
            distance("fid", 10.0 + index, n),
            distance("fid", 20.0 + index, 287, "val"),
            distance("fid", 2.5, 287, "val", split="train", role="floor"),
        )
        records.append(distances("ddpm", index, 0.0, metrics=metrics)[0])
    board = build_board(records)
    to_train, to_val, floor = (
        next(one for one in row(board, "ddpm").distances if (one.against, one.floor) == what)
        for what in (("train", False), ("val", False), ("val", True))
    )
    assert (to_train.mean, to_train.seeds, to_train.n) == (pytest.approx(12.0), 5, (369, 411))
    assert (to_val.mean, to_val.seeds, to_val.n) == (pytest.approx(22.0), 5, (287, 287))
    assert (floor.mean, floor.seeds) == (2.5, 5)
    assert len(row(board, "ddpm").distances) == 3
    for text in (render_markdown(board), render_terminal(board, 300)):
        assert "369-411/287" in text
    assert "fid[reference,n=369-411,train]" in render_csv(board).splitlines()[0]


def test_the_newest_attempt_of_a_seed_counts_whatever_its_n() -> None:
    records = arm("none", BASELINE) + arm("ddpm", BETTER)
    older = distances("ddpm", 0, 30.0, metrics=(distance("fid", 30.0, 369),))[0]
    newer = distances("ddpm", 0, 10.0, metrics=(distance("fid", 10.0, 411),))[0]
    newer = replace(
        newer,
        result=replace(newer.result, key="f" * 64),
        run=replace(newer.run, created="2025-06-01T00:00:00Z"),
    )
    (found,) = row(build_board([*records, newer, older]), "ddpm").distances
    assert (found.mean, found.seeds, found.n) == (10.0, 1, (411, 411))


def test_other_metrics_reach_the_json() -> None:
    shifted = [
        rekeyed(
            replace(
                one,
                result=replace(
                    one.result,
                    evaluator=component("ood"),
                    metrics=(Metric("ood_top1", 70.0, split="test"),),
                    tables={},
                ),
            )
        )
        for one in arm("ddpm", BETTER)
    ]
    metrics = row(build_board(whole_board() + shifted), "ddpm").metrics
    assert metrics == {"nll": 0.25, "ood_top1": 70.0}
    line = written_row(build_board(whole_board() + shifted), "ddpm")
    assert float(line["measure[ood_top1]"]) == 70.0


def written_row(board: Board, generator: str) -> dict[str, str]:
    """Return a row as the CSV has it."""
    import csv
    import io

    lines = csv.DictReader(io.StringIO(render_csv(board)))
    return next(line for line in lines if line["generator"] == generator)


def test_every_table_says_how_it_was_made() -> None:
    for text in (
        render_markdown(build_board(whole_board())),
        render_terminal(build_board(whole_board()), 400),
    ):
        assert "p: of one contrast, nothing to adjust for; better, worse: p < 0.05." in text
        assert "Hardware: device cpu, processor x86-64-v3. Versions: numpy 2.4.6, torch 2.9.0." in text
        assert "genbench run --suite digits.toml" in text
        assert "Every row takes the same optimizer steps. Preset quick, base seed 0. 1 synthetic" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_terminal_is_wide_enough(width: int) -> None:
    records = whole_board() + arm(
        component("sdedit", "sdedit:base=ddpm,strength=0.55,steps=50"), SAME, image_filter="near_duplicates"
    )
    text = render_terminal(build_board(records), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    if width >= 100:
        assert "│ frozen augmented copies " in text, "a word is not cut where another column can give way"
        boxed = [line for line in text.split("╰")[0].splitlines() if line.startswith(("│", "╭"))]
        assert len(set(map(len, boxed))) == 1
    else:  # a row's name, and below it what the columns say
        assert re.search(r"^  DDPM, standard\n    top-1 \(%\): .*; Δ: ", text, re.MULTILINE)


def test_cells_cannot_break_a_markdown_table() -> None:
    records = arm("none", BASELINE) + arm(component("x", "x:name=a|b*c"), BETTER)
    assert r"x:name=a\|b\*c" in render_markdown(build_board(records))


def test_csv_and_json_hold_unrounded_numbers() -> None:
    board = build_board(whole_board())
    ddpm = written_row(board, "ddpm")
    assert float(ddpm["delta_points"]) == pytest.approx(4.15)
    assert float(ddpm["fid[reference,n=1150,train]"]) == 14.0
    assert ddpm["verdict"] == "better"
    assert float(ddpm["cost_seconds"]) == 420.0
    document = json.loads(render_json(board))
    made = next(one for one in document["groups"][0]["rows"] if one["generator"] == "ddpm")
    assert made["contrast"]["family"] == 1
    assert made["contrast"]["found"]["interval"].keys() == {"low", "high"}


def test_the_board_as_a_frame_is_the_csv() -> None:
    import io

    import pandas as pd

    board = build_board(whole_board())
    frame, written = to_frame(board), pd.read_csv(io.StringIO(render_csv(board)))
    assert list(frame.columns) == list(written.columns)
    for name in ("delta_points", "top1", "cost_seconds"):
        pd.testing.assert_series_equal(frame[name].astype(float), written[name].astype(float))
    assert frame["generator"].tolist() == written["generator"].tolist()


def test_no_records_say_what_to_do() -> None:
    for text in (render_markdown(build_board([])), render_terminal(build_board([]))):
        assert "No records of cells: run a suite first (genbench run)." in text


def test_image_set_failures_are_listed() -> None:
    broken = failed(distances("ddpm", 0, 1.0)[0], "features are singular")
    text = render_markdown(build_board([*whole_board()[:20], broken]))
    assert "- failed: fid of ddpm on digits, seed 0: features are singular (log: logs/ab12/run.log)" in text


# ------------------------------------------------------------------------------------------------- cost


def test_importing_the_package_costs_nothing() -> None:
    code = (
        "import sys, genbench_leaderboard\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'tabulate', 'torch'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "import genbench_leaderboard.tables, genbench_leaderboard.board\n"
        "heavy = {'pandas', 'scipy.stats', 'torch', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
