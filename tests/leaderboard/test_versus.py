"""Two boards: what differs is named first, and gains are told apart by seeds and test images."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind_from_stats

import made_records
from genbench.digest import digest
from genbench.errors import DataError
from genbench.records import Component, DatasetImages, Record, Result
from genbench_leaderboard.board import build_board
from genbench_leaderboard.crossed import Answers, compare, mean_squares
from genbench_leaderboard.export import render_json
from genbench_leaderboard.versus import Versus, compare_sides, render, side_of_board, side_of_records
from genbench_leaderboard.versus.outcome import Outcome, squares_of

DATA = DatasetImages("1" * 64, 500, 100, made_records.TEST)


def changed(records: Iterable[Record], **parts: Any) -> list[Record]:
    """Return records of the same dataset, as another run leaves them."""
    mark = str(sorted(parts))

    def change(result: Result) -> Result:
        about: dict[str, Any] = {"data": DATA, "key": digest([result.key, mark]), **parts}
        return replace(result, **about)

    return [replace(one, result=change(one.result)) for one in records]


def suite(ddpm: list[int] | None = None) -> list[Record]:
    made = made_records
    return [
        *made.arm("none", made.BASE),
        *made.arm("ddpm", ddpm or made.BETTER),
        *made.arm("cvae", made.SAME),
    ]


def versus(a: list[Record], b: list[Record]) -> Versus:
    return compare_sides(side_of_records("one", a), side_of_records("two", b))


def outcome(found: Versus, name: str) -> Outcome:
    return next(one for one in found.groups[0].outcomes if one.a.name.startswith(name))


def test_mean_squares_of_whole_numbers_are_those_of_bits() -> None:
    draw = np.random.default_rng(1)
    left, right = (draw.integers(0, 2, (5, 83)) for _ in range(2))
    packed = [
        Answers({seed: np.packbits(row.astype(np.uint8)) for seed, row in enumerate(side)}, 83)
        for side in (left, right)
    ]
    expected = mean_squares(packed[0], packed[1], tuple(range(5)))
    assert squares_of(left - right) == expected
    d = draw.integers(-2, 3, (4, 9))  # the sums of squares of a two-way layout, taken apart one by one
    found, mean = squares_of(d), d.mean()
    seeds, images = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    assert found.seed == pytest.approx(9 * ((seeds - mean) ** 2).sum() / 3)
    assert found.image == pytest.approx(4 * ((images - mean) ** 2).sum() / 8)
    assert found.rest == pytest.approx(((d - seeds - images + mean) ** 2).sum() / 24)


def test_gains_of_the_same_seeds_and_images_are_paired() -> None:
    other = [right + 30 for right in made_records.BETTER]
    found = versus(changed(suite()), changed(suite(other), data=DATA))
    ddpm, cvae = outcome(found, "ddpm"), outcome(found, "cvae")
    assert (ddpm.paired, ddpm.n, ddpm.verdict) == (True, 8, "B is higher")
    assert ddpm.mean == pytest.approx(3.0)
    # Both baselines are the same, so that their part of the difference of gains cancels.
    answers = [one.answers for one in (ddpm.b, ddpm.a)]
    assert answers[0] is not None
    assert answers[1] is not None
    plain = compare(answers[0], answers[1])
    assert plain is not None
    assert ddpm.p == pytest.approx(plain.p)
    assert ddpm.half_width == pytest.approx(plain.half_width)
    assert (cvae.mean, cvae.verdict, cvae.paired) == (0.0, "cannot tell", True)
    text = render(found, "text")
    assert "Nothing differs in configuration that is known." in text
    assert "Paired: both sides have the same seeds and test images." in text


def test_seeds_that_only_one_side_has_are_told_apart_from_those_that_both_have() -> None:
    few = [one for one in changed(suite()) if one.result.index < 2]
    found = versus(few, changed(suite([right + 30 for right in made_records.BETTER])))
    ddpm = outcome(found, "ddpm")
    assert (ddpm.paired, ddpm.n) == (True, 2)
    for form in ("text", "markdown"):
        told = " ".join(render(found, form).split())
        assert "B - A is over the n seeds that both have; A and B are over all their own." in told
        assert "n: the seeds that it rests on" in told
        assert "2 (A 2, B 8)" in told
        assert "both sides have the same seeds" not in told
    apart = versus(few, [one for one in changed(suite()) if one.result.index >= 2])
    told = " ".join(render(apart, "text").split())
    assert "Not paired, since no seed is known on both sides" in told
    assert "Paired: both sides" not in told


def test_cells_that_both_have_are_the_same_and_prove_nothing() -> None:
    records = changed(suite())
    assert {one.verdict for one in versus(records, records).groups[0].outcomes} == {"the same cells"}


WAYS: dict[str, tuple[Callable[[list[Record]], list[Record]], str]] = {
    "images": (
        lambda records: changed(records, data=replace(DATA, fingerprint="2" * 64)),
        "other images, or other splits of them",
    ),
    "base seed": (
        lambda records: changed(records, protocol=replace(records[0].result.protocol, base_seed=7)),
        "base seeds 0 and 7",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_other_seeds_or_images_are_compared_by_welchs_test(way: str) -> None:
    change, why = WAYS[way]
    found = versus(changed(suite()), change(suite([right - 60 for right in made_records.BETTER])))
    ddpm = outcome(found, "ddpm")
    assert (ddpm.paired, ddpm.verdict) == (False, "B is lower")
    assert found.groups[0].why_unpaired == why
    assert f"Not paired ({why})" in render(found, "text")
    a, b = ddpm.a.gain, ddpm.b.gain
    assert a is not None
    assert b is not None
    # A gain with standard error e and f degrees of freedom is a mean of f + 1 values of standard deviation
    # e sqrt(f + 1).
    stats = []
    for one in (b, a):
        values = (one.degrees_of_freedom or 0) + 1
        stats += [one.mean, (one.standard_error or 0) * values**0.5, values]
    expected = ttest_ind_from_stats(*stats, equal_var=False)
    assert ddpm.p == pytest.approx(float(expected.pvalue))
    none = outcome(found, "none")
    assert (none.of, none.verdict, none.mean) == ("top-1", "cannot tell", 0.0)
    assert none.detectable_points is not None


def test_what_differs_in_configuration_is_named_by_option() -> None:
    b = suite()
    classifier = replace(b[0].result.classifier, config={"recipe": {"epochs": 9}})  # type: ignore[type-var]
    b = [
        one
        for record in changed(b, classifier=classifier)
        for one in [replace(record, run=replace(record.run, versions={"torch": "9.9"}))]
    ]
    b = [
        replace(one, result=replace(one.result, generator=replace(one.result.generator, config={"steps": 5})))
        if one.result.generator.use == "ddpm"
        else one
        for one in b
        if one.result.generator.use != "cvae"
    ]
    found = versus(changed(suite()), b)
    paths = {one.path: (one.a, one.b) for one in found.groups[0].differences}
    assert paths["versions.torch"][1] == "9.9"
    assert paths["classifier.recipe"][1] == {"epochs": 9}
    assert [one.path for one in outcome(found, "ddpm").differences] == ["generator.steps"]
    assert [row.name for row in found.groups[0].only_a] == ["cvae, +1.0x standard"]
    text = render(found, "text")
    assert text.index("versions.torch: A (absent), B 9.9") < text.index("told apart?")
    assert "ddpm, +1.0x standard: generator.steps: A (absent), B 5" in text
    assert "Only A has: cvae, +1.0x standard (gain" in text


def mixed(records: Iterable[Record], **parts: Any) -> list[Record]:
    """Return records whose synthetic images are mixed otherwise; real images alone stay as they are."""

    def change(result: Result) -> Result:
        assert result.mix is not None
        if result.generator.use == "none":
            return result
        mix = result.mix.model_copy(update=parts)
        return replace(result, mix=mix, ratio=mix.ratio, key=digest([result.key, mix.label, sorted(parts)]))

    return [replace(one, result=change(one.result)) for one in records]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"ratio": 2.0}, "ratio: A 1, B 2"),
        ({"ratio": 0.5, "mode": "replace"}, "mode: A append, B replace"),
    ],
)
def test_rows_alike_but_for_what_sets_the_sides_apart_are_compared(parts: dict[str, Any], said: str) -> None:
    better = [right + 30 for right in made_records.BETTER]
    found = versus(changed(suite()), mixed(changed(suite(better)), **parts))
    group, ddpm = found.groups[0], outcome(found, "ddpm")
    assert (group.only_a, group.only_b) == ((), ())
    assert (ddpm.but_for, ddpm.paired, ddpm.verdict) == (tuple(sorted(parts)), True, "B is higher")
    assert ddpm.mean == pytest.approx(3.0)
    assert outcome(found, "none").but_for == ()
    for form in ("text", "markdown"):
        text = " ".join(render(found, form).split())
        assert said in text
        assert text.count("A append, B replace") <= 1  # of all rows, so not of every row again
        assert "Nothing differs" not in text
        assert (
            f"are alike but for {', '.join(sorted(parts))}, in which the two sides differ throughout" in text
        )
    row = json.loads(render(found, "json"))["groups"][0]["rows"][1]
    assert row["but_for"] == sorted(parts)
    assert "mix.ratio" in {one["path"] for one in row["differences"]}


def test_what_rows_vary_is_named_though_only_some_of_it_is_shared() -> None:
    both = [*changed(suite()), *mixed(changed(suite())[8:16], ratio=2.0)]
    found = versus(both, mixed(changed(suite()), ratio=2.0))
    assert [(one.path, one.a, one.b) for one in found.groups[0].differences] == [("ratio", "1 and 2", "2")]
    assert outcome(found, "ddpm").but_for == ()  # 2 and 2, whatever else A has
    left = {row.name.partition(",")[0] for row in found.groups[0].only_a}
    assert left == {"ddpm", "cvae"}
    crossed = [*changed(suite())[:16], *mixed(changed(suite())[16:], ratio=2.0)]
    swapped = [*changed(suite())[:8], *mixed(changed(suite())[8:16], ratio=2.0), *changed(suite())[16:]]
    said = render(versus(crossed, swapped), "text")
    assert "What differs in configuration: rows that only one side has, which are named below." in said


def test_groups_that_only_one_side_has_are_told_by_what_they_vary() -> None:
    more = changed(suite(), classifier=Component("resnet32"))
    third = changed(suite(), classifier=Component("vit"))
    found = versus(changed(suite()), [*changed(suite()), *more, *third])
    said = [("classifiers", "cnn", "cnn and resnet32 and vit")]
    assert [(one.path, one.a, one.b) for one in found.differences] == said
    text = " ".join(render(found, "text").split())
    assert "Over all groups, what differs: classifiers: A cnn, B cnn and resnet32 and vit." in text


def test_other_generators_are_compared_if_each_side_has_one() -> None:
    found = versus(changed(suite()[:16]), changed([*suite()[:8], *suite()[16:]]))
    told = outcome(found, "ddpm")
    assert (told.b.name, told.but_for) == ("cvae, +1.0x standard", ("generator",))
    text = render(found, "text")
    assert "generators: A ddpm, B cvae" in text
    assert "ddpm, +1.0x standard (A)," in text.replace("\n", " ")


def test_few_seeds_tell_nothing() -> None:
    few = [one for one in suite([990] * 8) if one.result.index < 4]
    found = versus(changed(suite()), changed(few))
    assert (outcome(found, "ddpm").n, outcome(found, "ddpm").verdict) == (4, "too few seeds")


def test_the_json_of_a_board_is_compared_as_independent() -> None:
    records = changed(suite())
    board = json.loads(render_json(build_board(records)))
    found = compare_sides(side_of_records("one", records), side_of_board("board.json", board))
    ddpm = outcome(found, "ddpm")
    assert (ddpm.paired, ddpm.mean, ddpm.verdict) == (False, 0.0, "cannot tell")
    assert found.groups[0].differences == ()
    assert "does not say which test images were right" in render(found, "markdown")
    with pytest.raises(DataError, match="not the JSON of a board") as refused:
        side_of_board("x.json", {"groups": [{}]})
    assert "folders of records say more" in str(refused.value)


def test_every_form_says_the_same_and_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = changed(suite(), dataset=replace(suite()[0].result.dataset, label="a|b\x1b[2J"))
    found = versus(odd, changed(suite([right + 30 for right in made_records.BETTER])))
    body = json.loads(render(found, "json"))
    assert [row["verdict"] for row in body["groups"][0]["rows"]] == [
        one.verdict for one in found.groups[0].outcomes
    ]
    assert "\x1b" not in render(found, "text")
    markdown = render(found, "markdown")
    assert "a\\|b" in markdown
    assert "| B is higher" in markdown
    monkeypatch.setenv("COLUMNS", "60")
    narrow = render(found, "text")
    assert max(map(len, narrow.splitlines())) <= 60
    assert "told apart?: B is higher" in narrow


def unchecked(records: list[Record]) -> list[Record]:
    """Return records whose rows are void: by protocol 2 images are checked for copies, and these were not."""
    return changed(records, protocol=replace(records[0].result.protocol, version=2))


@pytest.mark.parametrize("sides", ["A", "B", "both"])
def test_void_rows_have_no_verdict_and_are_not_in_the_family(sides: str) -> None:
    plain, better = suite(), suite([right + 30 for right in made_records.BETTER])
    assert outcome(versus(changed(plain), changed(better, data=DATA)), "ddpm").verdict == "B is higher"
    a = unchecked(plain) if sides in ("A", "both") else changed(plain)
    b = unchecked(better) if sides in ("B", "both") else changed(better, data=DATA)
    found = versus(a, b)
    why = "its images were not checked for copies of test"
    name = "A and B" if sides == "both" else sides
    for row in ("ddpm", "cvae"):
        one = outcome(found, row)
        assert one.verdict == f"void ({name}: {why})"
        assert (one.mean, one.p, one.adjusted_p, one.detectable_points) == (None, None, None, None)
    for form in ("text", "markdown", "json"):
        assert "B is higher" not in render(found, form)
    assert why in " ".join(render(found, "text").split())


def test_a_void_row_does_not_raise_the_p_of_the_others() -> None:
    one = changed(suite())
    other = changed(suite([right + 30 for right in made_records.BETTER]), data=DATA)
    a, b = side_of_records("one", one), side_of_records("two", other)
    whole = compare_sides(a, b)
    groups = [
        replace(
            group,
            rows=tuple(replace(row, void="why" if row.name.startswith("cvae") else "") for row in group.rows),
        )
        for group in b.groups
    ]
    found = compare_sides(a, replace(b, groups=tuple(groups)))
    assert outcome(found, "cvae").verdict == "void (B: why)"
    p, among = outcome(found, "ddpm").adjusted_p, outcome(whole, "ddpm").adjusted_p
    alone = outcome(found, "ddpm").p
    assert alone is not None
    assert p == pytest.approx(2 * alone), "real images alone are a row, too"
    assert among == pytest.approx(3 * alone)
