"""What a board shows below its main tables: shifts, other measurements, and findings without a value."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from genbench.digest import digest
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import Component, PluginCode, Protocol, Record, Result, Run, pack_bits
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Row
from genbench_leaderboard.tables import render_json, render_markdown, render_terminal

NONE, MADE = Component("none"), Component("ddpm")


def record(
    generator: Component,
    index: int,
    evaluator: str,
    subject: Any,
    metrics: Sequence[Metric],
    **entries: Any,
) -> Record:
    mix = Mix(ratio=0.0 if generator is NONE else 1.0)
    result = Result(
        subject=subject,
        status="ok",
        dataset=Component("digits"),
        generator=generator,
        filter=NONE,
        ratio=mix.ratio,
        mix=mix if subject == "cell" else None,
        classifier=Component("cnn") if subject == "cell" else None,
        index=index,
        protocol=Protocol(version=1),
        evaluator=Component(evaluator),
        key=digest([generator.use, index, evaluator]),
        planned_indices=3,
        metrics=tuple(metrics),
        **entries,
    )
    return Record(result, Run(f"2026-01-0{index + 1}T00:00:00Z", "genbench run"))


def cells(generator: Component, fog: Sequence[int]) -> list[Record]:
    """Cells that are right on the first of a hundred images of a shift."""
    return [
        record(
            generator, index, "accuracy", "cell",
            [
                Metric("top1", 90.0, "%", split="test"),
                Metric("top1", float(right), "%", split="fog-3", n=100),
                Metric("balanced_accuracy", 1.0, "%", split="fog-3", n=100),
            ],
            tables={"fog-3": {"n": 100, "correct_bits": pack_bits(image < right for image in range(100))}},
        )
        for index, right in enumerate(fog)
    ]  # fmt: skip


def images(index: int, *metrics: Metric) -> Record:
    return record(MADE, index, "precision_recall", "image_set", metrics)


def row_of(records: Sequence[Record]) -> Row:
    return next(row for row in build_board(records).groups[0].rows if not row.is_baseline)


RECORDS = [*cells(NONE, [50, 52, 54]), *cells(MADE, [53, 56, 59])]


def test_accuracy_on_shifts_is_shown_with_its_paired_difference() -> None:
    (shift,) = row_of(RECORDS).shifts
    assert (shift.name, shift.images, shift.top1.mean) == ("fog-3", 100, 56.0)
    assert shift.difference is not None
    assert shift.difference.mean == pytest.approx(4.0)  # 3, 4, 5: paired by seed
    assert shift.difference.images == 100
    half = shift.difference.half_width
    assert half is not None
    assert half > 2.48, "t(0.975, 2) / sqrt(3), of seeds alone: images vary, too"
    for page in (render_markdown(build_board(RECORDS)), render_terminal(build_board(RECORDS))):
        assert "Shifts" in page
        assert f"56.0 (+4.0 ±{half:.1f})" in page
        assert "52.0" in page
        assert "balanced_accuracy[fog-3]" not in page


def test_a_seed_that_the_baseline_lacks_is_in_no_difference() -> None:
    (shift,) = row_of([*cells(NONE, [50]), *cells(MADE, [53, 56])]).shifts
    assert shift.top1.mean == 54.5
    assert shift.difference is not None
    assert (shift.difference.mean, shift.difference.n) == (pytest.approx(3.0), 1)


def test_of_many_shifts_the_largest_changes_are_shown() -> None:
    def many(generator: Component, step: float) -> Record:
        metrics = [
            Metric("top1", 90.0, "%", split="test"),
            *(Metric("top1", 50 + step * k, "%", split=f"s{k:02d}", n=10) for k in range(30)),
        ]
        return record(generator, 0, "accuracy", "cell", metrics)

    page = render_markdown(build_board([many(NONE, 0.0), many(MADE, 1.0)]))
    assert "| s29 " in page
    assert "| s09 " not in page
    assert "Of 30 shifts, the 20 with the largest differences." in page


def test_a_metric_of_a_third_party_is_named_as_theirs() -> None:
    flattering = Metric("fid", 0.0, split="synthetic", against="train", extractor="reference", n=600)
    metrics = [Metric("top1", 100.0, "%", split="test"), flattering]
    theirs = record(MADE, 0, "flattering", "image_set", metrics)
    code = PluginCode("evaluator", "flattering", distribution="flatter 1.2", sha256="ab" * 32)
    theirs = replace(theirs, run=replace(theirs.run, plugins=(code,)))
    page = render_markdown(build_board([*RECORDS, theirs]))
    assert "top1 (%) by flatter 1.2" in page
    assert "Distances of" not in page, "none of theirs stands beside the harness's own"
    assert "third-party code: flatter 1.2 (abababababab)" in page


def test_everything_else_that_was_measured_is_shown_once() -> None:
    made: dict[str, Any] = {"split": "synthetic", "extractor": "reference"}
    recall = {**made, "against": "train", "n": 600, "qualifiers": ("k=3",)}
    measured = [
        images(0, Metric("recall", 0.5, **recall), Metric("fid", 3.0, **made, against="train", n=600)),
        images(
            1,
            Metric("recall", 0.7, **recall),
            Metric("vendi", None, **made),
            Metric("mmd2", 0.5, **made, against="val", n=9, role="p_value", average="none"),
        ),
        record(
            MADE,
            0,
            "ood_accuracy",
            "cell",
            [Metric("ood_top1", 1.0, "%", split="fog-3"), Metric("mean_computed_top1", 33.0, "%")],
        ),
    ]
    row = row_of([*RECORDS, *measured])
    averaged = [one.value for one in row.measures]
    found = {one.identity.label: (one.value, one.identity.unit, one.n) for one in averaged}
    assert found == {
        "recall[reference,k=3,train]": (pytest.approx(0.6), "", (600, 600)),
        "mean_computed_top1": (33.0, "%", None),
    }
    page = render_markdown(build_board([*RECORDS, *measured]))
    assert "<summary>Other measurements</summary>" in page
    assert "mean_computed_top1 (%)" in page
    assert '"mean_computed_top1"' in render_json(build_board([*RECORDS, *measured]))
    assert "Other measurements" not in render_markdown(build_board(RECORDS))


def pooled(value: float, n: int | None, average: Any = "pooled") -> Metric:
    about: dict[str, Any] = {"split": "synthetic", "against": "train", "extractor": "pixels"}
    return Metric("copies", value, "%", False, (0, 100), **about, n=n, average=average)


def test_shares_of_sets_of_different_sizes_are_weighted_by_n() -> None:
    shares = [images(0, pooled(10.0, 100)), images(1, pooled(20.0, 100)), images(2, pooled(90.0, 400))]
    (measured,) = row_of([*RECORDS, *shares]).measures
    found = measured.value
    assert found.value == pytest.approx((10 * 100 + 20 * 100 + 90 * 400) / 600)
    assert (found.seeds, found.n) == (3, (100, 400))
    page = render_markdown(build_board([*RECORDS, *shares]))
    (line,) = [line for line in page.splitlines() if line.startswith("| copies[pixels,train] (%)")]
    assert [cell.strip() for cell in line.strip("|").split("|")][1] == "100-400"


def test_a_mean_is_not_weighted_and_without_every_n_nothing_is() -> None:
    plain = [images(0, pooled(10.0, 100, "mean")), images(1, pooled(90.0, 400, "mean"))]
    assert [one.value.value for one in row_of([*RECORDS, *plain]).measures] == [50.0]
    unknown = [images(0, pooled(10.0, None)), images(1, pooled(90.0, 400))]
    assert [one.value.value for one in row_of([*RECORDS, *unknown]).measures] == [50.0]


def test_what_has_no_average_is_shown_for_no_row() -> None:
    assert row_of([*RECORDS, images(0, pooled(10.0, 100, "none"))]).measures == ()


def test_there_is_no_n_column_where_no_number_says_its_n() -> None:
    page = render_markdown(build_board([*RECORDS, images(0, pooled(10.0, None))]))
    table = page[page.index("<summary>Other measurements") :].splitlines()[2]
    assert [cell.strip() for cell in table.strip("|").split("|")][:2] == ["metric", "DDPM"]


def test_findings_without_a_value_share_a_line() -> None:
    why = "2 rows have both, and 5 are needed"
    metrics = [Metric("spearman", None, note=why, qualifiers=(name,)) for name in ("fid", "kid", "mmd")]
    metrics.append(Metric("spearman", -0.7, note="6 rows", qualifiers=("vendi",)))
    suite = record(NONE, 0, "usefulness", "suite", metrics)
    for page in (
        render_markdown(build_board([*RECORDS, suite])),
        render_terminal(build_board([*RECORDS, suite])),
    ):
        assert page.count(why) == 1
        assert "3 metrics" in page
        assert "-0.700" in page
        across = page[page.index("Across the rows") :]
        assert "dataset" not in across.splitlines()[2]  # there is one alone


@pytest.mark.parametrize(
    ("made", "real", "is_said"),
    [(24.0, 69.0, True), (34.4, 69.0, True), (34.5, 69.0, False), (80.0, 69.0, False)],
)
def test_images_that_do_not_show_their_label_are_said(made: float, real: float, *, is_said: bool) -> None:
    def shares(index: int) -> Record:
        about: dict[str, Any] = {"unit": "%", "extractor": "resnet32", "n": 150, "average": "pooled"}
        of_made = Metric("label_fidelity", made, split="synthetic", **about)
        of_real = Metric("label_fidelity", real, split="val", role="floor", **about)
        return record(MADE, index, "label_fidelity", "image_set", [of_made, of_real])

    page = render_markdown(build_board([*RECORDS, *(shares(index) for index in range(3))]))
    assert ("sees their class less than half as often" in page) == is_said
    assert (f"{made:.0f} instead of {real:.0f} % (DDPM)" in page) == is_said
    alone = [
        replace(one, result=replace(one.result, metrics=one.result.metrics[:1]))
        for one in map(shares, range(3))
    ]
    assert "less than half as often" not in render_markdown(build_board([*RECORDS, *alone]))
