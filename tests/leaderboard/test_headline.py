"""The sentence that a board begins with, case by case: what its numbers support, and nothing else."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from genbench.records import Component, Cost, Record
from genbench_leaderboard.board import build_board
from genbench_leaderboard.footnotes import notes
from genbench_leaderboard.group_headline import group_headline
from genbench_leaderboard.headline import headline
from genbench_leaderboard.rows import BudgetLimit, Group, Outlier
from genbench_leaderboard.sentences import summary
from made_records import BASE, BETTER, SAME, STRONG, arm, declared, suite

WORSE = [651, 655, 644, 653, 650, 654, 648, 652]


def one_group(records: Sequence[Record]) -> Group:
    (group,) = build_board(records).groups
    return group


def said(records: Sequence[Record]) -> str:
    board = build_board(records)
    found = headline(board)
    assert found.endswith(".")
    assert found == group_headline(board.groups[0]), "a board of one group says what that found"
    return found


def roles(**changes: Any) -> tuple[Any, Any, Any]:
    changes = {"seeds": 8, "helps": 1, "adds": 0, **changes}
    return tuple(declared(role, **changes) for role in ("baseline", "contender", "control"))  # type: ignore[return-value]


def board_of(contenders: dict[str, list[int]], controls: dict[str, list[int]] | None = None) -> list[Record]:
    """Build records of a baseline, contenders by generator, and controls by augmentation or generator."""
    baseline, contender, control = roles(helps=len(contenders))
    records = arm("none", BASE, baseline)
    for name, rights in contenders.items():
        records += arm(name, rights, contender)
    for name, rights in (controls or {}).items():
        about = (name, {}) if name in {"copies", "real_extra"} else ("none", {"augment": name})
        records += arm(about[0], rights, control, **about[1])
    return records


@pytest.mark.parametrize(
    ("contenders", "controls", "says"),
    [
        ({"ddpm": BETTER}, {}, "with the small CNN?, DDPM (+5.2 ± # points) helped."),
        ({"ddpm": WORSE}, {}, ", nothing was shown to help; DDPM (-5.0 ± # points) hurt."),
        (
            {"ddpm": SAME},
            {},
            ", nothing was shown to help or to hurt; for DDPM (0.0 ± # points) the data cannot tell. "
            "An effect of # points would have been found with 80 % power.",
        ),
        (
            {"ddpm": BETTER, "cvae": SAME, "sdedit": WORSE},
            {},
            ", DDPM (+5.2 ± # points) helped; SDEdit (-5.0 ± # points) hurt; for CVAE (0.0 ± # points) "
            "the data cannot tell. An effect of # points would have been found with 80 % power.",
        ),
        (
            {"ddpm": SAME},
            {"cutmix": BETTER},
            ", nothing was shown to help but CutMix (+5.2 ± # points), without any generated image; for ",
        ),
        (
            {"ddpm": BETTER},
            {"strong": [right + 1 for right in BETTER], "copies": SAME},
            "DDPM (+5.2 ± # points) helped, and so did strong augmentation (+5.3 ± # points) without any ",
        ),
        (
            {"ddpm": SAME},
            {"real_extra": BETTER},
            "power. More real images instead: +5.2 ± # points.",
        ),
    ],
)
def test_what_the_verdicts_say(contenders: Any, controls: Any, says: str) -> None:
    pattern = re.escape(says).replace(r"\#", r"\d+\.\d+").replace(r"\?", "")
    found = said(board_of(contenders, controls))
    assert re.search(pattern, found), found
    assert found.startswith("On handwritten digits with the small CNN, ")


#: Gains of which the interval excludes zero, and whose p, times ten, is above alpha.
LUCKY = [right + (1, 19)[index % 2] for index, right in enumerate(SAME)]


def test_a_control_that_may_have_won_by_chance_is_not_said_to_help() -> None:
    alone = said(board_of({"ddpm": SAME}, {"strong": LUCKY}))
    assert "nothing was shown to help but strong augmentation" in alone
    names = ("colour", "shear_zoom", "randaugment", "trivialaugment", "augmix", "mixup", "cutmix", "copies")
    among = said(board_of({"ddpm": SAME}, {"strong": LUCKY, **dict.fromkeys(names, SAME)}))
    assert "nothing was shown to help or to hurt" in among


def test_more_rows_than_a_sentence_holds_are_counted() -> None:
    names = ("ddpm", "cvae", "sdedit", "style_transfer", "diffusemix")
    found = said(board_of(dict.fromkeys(names, SAME)))
    assert "CVAE (0.0 ± " in found
    assert "and 2 more the data cannot tell" in found
    assert "An effect of " in found


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        (1, ", 1 seed allows no statement: a verdict takes 5."),
        (2, ", 2 seeds allow no statement: a verdict takes 5."),
        (4, ", 4 seeds allow no verdict, which takes 5; so far, DDPM +5.2 ± "),
    ],
)
def test_few_seeds_are_no_claim(seeds: int, says: str) -> None:
    baseline, contender, _ = roles(seeds=seeds)
    found = said(arm("none", BASE[:seeds], baseline) + arm("ddpm", BETTER[:seeds], contender))
    assert says in found
    assert not re.search("helped|hurt", found)


def test_a_baseline_alone() -> None:
    assert said(arm("none", BASE)) == (
        "On handwritten digits with the small CNN, real images alone reach 70.0 % (± 0.3, 8 seeds); nothing "
        "is compared with them here."
    )


def test_reference_lines_alone() -> None:
    found = said(board_of({}, {"copies": SAME, "strong": STRONG}))
    assert "only reference lines were measured, which have no verdict: copied training images 0.0 ±" in found
    assert " and strong augmentation 0.0 ± 0.3 points, each against real images alone." in found


def test_without_a_baseline_nothing_is_compared() -> None:
    assert said(arm("ddpm", BETTER, roles()[1])) == (
        "On handwritten digits with the small CNN, there is no verdict: DDPM (no baseline)."
    )


def test_augmentations_where_no_generator_is_compared() -> None:
    baseline, contender, _ = roles()
    assert ", CutMix (+5.2 ± " in said(
        arm("none", BASE, baseline) + arm("none", BETTER, contender, augment="cutmix")
    )


def failure(record: Record) -> Record:
    result = replace(record.result, status="failed", reason="CUDA out of memory", metrics=(), tables={})
    return replace(record, result=result)


def test_failures_are_counted_and_rows_without_verdict_named() -> None:
    records = board_of({"ddpm": BETTER, "cvae": SAME})
    records[-1] = failure(records[-1])
    found = said(records)
    assert "DDPM (+5.2 ± " in found
    assert "No verdict on CVAE (7 of 8 seeds). 1 run failed." in found
    assert said([failure(one) for one in board_of({"ddpm": BETTER})]) == (
        "On handwritten digits with the small CNN, nothing was measured: 16 runs failed."
    )


def test_void_rows_have_no_verdict() -> None:
    records = board_of({"ddpm": BETTER})
    found = said(unchecked(records))
    assert "there is no verdict: DDPM (its images were not checked for copies of test)." in found


def test_more_than_what_is_simpler() -> None:
    group = one_group(suite())
    assert "DDPM was also shown to do more than frozen augmented copies and strong augmentation." in (
        group_headline(group)
    )
    equal = [
        *suite(),
        *arm("classical", [right + 1 for right in BETTER], declared("control"), augment="strong"),
    ]
    baseline, contender, control = roles(helps=1, adds=2)
    equal = [
        *arm("none", BASE, baseline),
        *arm("none", [right - 1 for right in BETTER], control, augment="strong"),
        *arm("classical", SAME, control),
        *arm("ddpm", BETTER, contender),
    ]
    found = said(equal)
    assert "DDPM was not shown to do more than strong augmentation." in found


def costing(records: Sequence[Record], seconds: dict[str, float | None], **where: str) -> list[Record]:
    """Give cells their costs, by generator, on a device, by generator."""
    made = []
    for one in records:
        use = one.result.generator.use
        cost = Cost("train", seconds[use], 2**30, where.get(use, "cpu"))
        made.append(replace(one, run=replace(one.run, costs=(cost,))))
    return made


@pytest.mark.parametrize(
    ("seconds", "where", "says"),
    [
        ({"none": 10.0, "ddpm": 402.0}, {}, " points at 40 times the baseline's cost)"),
        ({"none": 10.0, "ddpm": 15.0}, {}, " points at 1.5 times the baseline's cost)"),
        ({"none": 10.0, "ddpm": 11.0}, {}, " points at about the baseline's cost)"),
        ({"none": 10.0, "ddpm": None}, {}, " points at unknown cost)"),
        ({"none": 0.0, "ddpm": 9.0}, {}, " points) "),
        ({"none": 10.0, "ddpm": 20.0}, {"ddpm": "cuda"}, " points) "),
        ({"none": 0.05, "ddpm": 0.9}, {}, " points) "),
        ({"none": 0.05, "ddpm": 1.5}, {}, " points at 30 times the baseline's cost)"),
    ],
)
def test_costs_are_compared_where_they_can_be(seconds: Any, where: Any, says: str) -> None:
    assert says in said(costing(board_of({"ddpm": BETTER}), seconds, **where))


def stages(records: Sequence[Record], generator: str, seconds: Sequence[tuple[float, ...]]) -> list[Record]:
    """Give each seed of a generator what its fit and its training took."""
    costs = [tuple(map(Cost, ("fit", "train"), made, (1, 1), ("cpu", "cpu"))) for made in seconds]
    return [
        replace(one, run=replace(one.run, costs=costs[one.result.index]))
        if one.result.generator.use == generator
        else one
        for one in records
    ]


def test_a_seed_that_paid_for_a_cold_process_moves_no_cost() -> None:
    records = costing(board_of({"ddpm": BETTER}), {"none": 10.0, "ddpm": None})
    warm, cold = (30.0, 10.0), [(70.0, 10.0), (30.0, 60.0)]  # one paid in its fit, one in its training
    records = stages(records, "ddpm", [*cold, *[warm] * 6])
    row = next(row for row in one_group(records).rows if row.generator == "ddpm")
    assert row.cost is not None
    assert (row.cost.seconds, row.cost.quartiles) == (40.0, (40.0, 50.0))
    assert " points at 4.0 times the baseline's cost)" in said(records)


@pytest.mark.parametrize(("slow", "says"), [(19.0, "at 3.5 times the"), (30.0, "points) ")])
@pytest.mark.parametrize("of", ["none", "ddpm"])
def test_costs_that_differ_by_seed_as_much_have_no_ratio(of: str, slow: float, says: str) -> None:
    other = "ddpm" if of == "none" else "none"
    seeds = [(4.0, 6.0)] * 4 + [(4.0, slow - 4.0)] * 4
    middle = (10 + slow) / 2
    constant = middle * 3.5 if of == "none" else middle / 3.5
    records = costing(board_of({"ddpm": BETTER}), {of: None, other: constant})
    assert says in said(stages(records, of, seeds))


def test_costs_of_other_environments_are_not_compared() -> None:
    records = costing(board_of({"ddpm": BETTER}), {"none": 10.0, "ddpm": 400.0})
    mixed = [
        replace(one, run=replace(one.run, hardware={"processor": "other"}))
        if one.result.generator.use == "ddpm" and one.result.index < 3
        else one
        for one in records
    ]
    assert "times the baseline's cost" in said(records)
    assert "cost" not in said(mixed)


def test_a_baseline_without_room_is_named() -> None:
    perfect = [999, 1000, 998, 999, 999, 1000, 999, 998]
    baseline, contender, _ = roles()
    found = said(arm("none", perfect, baseline) + arm("ddpm", perfect[::-1], contender))
    assert (
        "The baseline (99.9 %) leaves no room: not even a network without a mistake could be better." in found
    )
    assert "power" not in found


def changed(group: Group, generator: str, **changes: Any) -> Group:
    rows = tuple(replace(row, **changes) if row.generator == generator else row for row in group.rows)
    return replace(group, rows=rows)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outliers": (Outlier(3, 40.0, 70.0),)}, "Some seeds of DDPM stand apart from the others"),
        ({"budget_limited": BudgetLimit(2.0, 0.83)}, "too short to judge: at 2 times the budget, the "
         "baseline gains 0.8 points on val."),
        ({"external_data": ("LAION-5B",)}, " points, with external data) helped"),
    ],
)  # fmt: skip
def test_what_makes_a_reader_careful(changes: dict[str, Any], says: str) -> None:
    group = one_group(board_of({"ddpm": BETTER}))
    assert says not in group_headline(group)
    assert says in group_headline(changed(group, "ddpm", **changes))


def test_an_interval_without_zero_beside_cannot_tell_is_explained() -> None:
    baseline, contender, _ = roles(helps=40)
    found = said(arm("none", BASE, baseline) + arm("ddpm", LUCKY, contender))
    assert "the data cannot tell once 40 contrasts are accounted for." in found


def test_a_larger_budget_is_exploratory() -> None:
    records = arm("none", BASE, declared("baseline")) + arm("ddpm", BETTER, declared("diagnostic"))
    assert said(twice_the_budget(records)).endswith(
        "with the small CNN, at 2 times the usual steps, this is exploratory and has no verdict: DDPM +5.2 ± "
        "1.3 points against real images alone."
    )


# --------------------------------------------------------------------------------------- void, and missing


def unchecked(records: Sequence[Record]) -> list[Record]:
    """Make records of a protocol under which images are to be checked for copies of test; nobody did."""
    return [
        replace(one, result=replace(one.result, protocol=replace(one.result.protocol, version=2)))
        for one in records
    ]


def twice_the_budget(records: Sequence[Record]) -> list[Record]:
    return [
        replace(one, result=replace(one.result, mix=one.result.mix.model_copy(update={"budget_scale": 2.0})))
        for one in records
        if one.result.mix
    ]


def with_contrast(group: Group, generator: str, **changes: Any) -> Group:
    rows = tuple(
        replace(row, contrast=replace(row.contrast, **changes))
        if row.generator == generator and row.contrast
        else row
        for row in group.rows
    )
    return replace(group, rows=rows)


EXPLORED = arm("none", BASE, declared("baseline")) + arm("ddpm", BETTER, declared("diagnostic"))
VOID = "3 synthetic images are test images"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "void", "void": VOID}, f"nothing can be said of DDPM ({VOID})."),
        ({"verdict": "incomplete", "problem": "other images"}, "nothing can be said of DDPM (other images)."),
    ],
)
def test_what_is_void_has_no_number_where_nothing_is_judged(changes: dict[str, Any], says: str) -> None:
    group = one_group(twice_the_budget(EXPLORED))
    assert "+5.2" in group_headline(group)
    found = group_headline(with_contrast(group, "ddpm", **changes))
    assert says in found
    assert "+5.2" not in found


def test_records_that_nobody_checked_have_no_number() -> None:
    found = said(unchecked(twice_the_budget(EXPLORED)))
    assert found.endswith("nothing can be said of DDPM (its images were not checked for copies of test).")
    few = said(twice_the_budget(EXPLORED[:11]))
    assert few.endswith("nothing can be said of DDPM (3 of 8 seeds).")
    assert "+5" not in found + few


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "void", "void": VOID}, f"More real images instead: no result ({VOID})."),
        ({"verdict": "incomplete", "problem": "other images"}, "instead: no result (other images)."),
    ],
)
def test_a_ceiling_that_is_void_has_no_number(changes: dict[str, Any], says: str) -> None:
    group = one_group(board_of({"ddpm": SAME}, {"real_extra": BETTER}))
    assert "More real images instead: +5.2" in group_headline(group)
    found = group_headline(with_contrast(group, "real_extra", **changes))
    assert says in found
    assert "+5.2" not in found


def test_a_ceiling_of_too_few_seeds_has_no_number() -> None:
    found = said(board_of({"ddpm": SAME}, {"real_extra": BETTER[:3]}))
    assert "More real images instead: no result (3 of 8 seeds)." in found


# ---------------------------------------------------------------------------------- reference lines, levels


@pytest.mark.parametrize(("looks", "alpha", "helped"), [((), 0.05, True), ((8,), 0.0125, False)])
def test_a_control_is_held_to_the_level_of_its_look(looks: Any, alpha: float, helped: bool) -> None:
    baseline, contender, control = roles(seeds=16 if looks else 8, look=8, looks=looks)
    records = arm("none", BASE, baseline) + arm("ddpm", SAME, contender)
    group = one_group(records + arm("none", LUCKY, control, augment="strong"))
    (line,) = [row.contrast for row in group.rows if row.role == "control" and row.contrast]
    assert line.alpha == pytest.approx(alpha)
    assert line.found is not None
    assert line.found.p is not None
    assert 0.0125 < line.found.p < 0.05
    assert ("help but strong augmentation" in group_headline(group)) is helped
    assert any("better than real images alone" in note for note in notes(group)) is helped


def test_a_control_is_held_to_what_unplanned_looks_leave() -> None:
    group = one_group(board_of({"ddpm": SAME}, {"strong": LUCKY}))
    assert "help but strong augmentation" in group_headline(group)
    before = [
        replace(
            one,
            run=replace(one.run, declared=(replace(one.run.declared[0], family="ef" * 32, seeds=6, look=6),
                                           *one.run.declared)),
        )
        if one.result.generator.use == "ddpm"
        else one
        for one in board_of({"ddpm": SAME}, {"strong": LUCKY})
    ]  # fmt: skip
    (held,) = [one for one in build_board(before).groups if one.unplanned_looks]
    assert "help but strong augmentation" not in group_headline(held)


@pytest.mark.parametrize(
    ("control", "says"),
    [
        ("cutmix", "and so did CutMix (+5.2 ± # points) without any generated image."),
        ("copies", "and so did copied training images (+5.2 ± # points) without a generative model."),
    ],
)
def test_copies_are_generated_images_without_a_model(control: str, says: str) -> None:
    found = said(board_of({"ddpm": BETTER}, {control: BETTER}))
    assert re.search(re.escape(says).replace(r"\#", r"\d\.\d"), found), found


def test_one_baseline_without_room_leaves_the_others_theirs() -> None:
    perfect = [999, 1000, 998, 999, 999, 1000, 999, 998]
    baseline, contender, control = roles(helps=2)
    found = said(
        [
            *arm("none", BASE, baseline),
            *arm("ddpm", SAME, contender),
            *arm("none", perfect, control, augment="strong"),
            *arm("ddpm", perfect[::-1], contender, augment="strong"),
        ]
    )
    assert "The baseline with strong augmentation (99.9 %) leaves no room: " in found
    assert re.search(r"For the other rows, an effect of \d\.\d+ points would have been found", found)
    assert "70" not in found


# --------------------------------------------------------------------------------------------- whole boards


def elsewhere(records: Sequence[Record], dataset: str = "letters") -> list[Record]:
    """Move records to another dataset and another family."""
    return [
        replace(
            one,
            result=replace(one.result, dataset=Component(dataset), key="ab" + one.result.key[2:]),
            run=replace(one.run, declared=tuple(replace(d, family="cd" * 32) for d in one.run.declared)),
        )
        for one in records
    ]


def test_a_whole_board_counts_its_verdicts_and_names_the_largest_gain() -> None:
    better, same = board_of({"ddpm": BETTER, "cvae": SAME}), board_of({"ddpm": SAME})
    found = headline(build_board([*better, *elsewhere(same)]))
    assert re.fullmatch(
        r"Of 3 contenders with a verdict, in 2 comparisons, 1 helped and for 2 the data cannot tell\. The "
        r"largest gain: DDPM, \+5\.2 ± \d\.\d points \(Handwritten digits, small CNN\)\. An effect of "
        r"\d\.\d( to \d\.\d)? points(, depending on the row,)? would have been found with 80 % power\.",
        found,
    ), found


def simpler(gain: int = 2) -> list[Record]:
    """DDPM helps; strong augmentation and frozen copies gain more."""
    baseline, contender, control = roles(adds=2)
    more = [right + gain for right in BETTER]
    return [
        *arm("none", BASE, baseline),
        *arm("none", more, control, augment="strong"),
        *arm("classical", more, control),
        *arm("ddpm", BETTER, contender),
    ]


def without_ceremony(records: Sequence[Record]) -> str:
    return headline(build_board([*records, *elsewhere(board_of({"ddpm": SAME}))]))


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (simpler(), r"small CNN\); there, strong augmentation \(\+5\.4 ± \d\.\d points\) and frozen "
         r"augmented copies \(\+5\.4 ± \d\.\d points\) helped, too, without a generative model\."),
        (simpler(), r"DDPM was not shown to do more than frozen augmented copies or strong augmentation\."),
        (costing(board_of({"ddpm": BETTER}), {"none": 10.0, "ddpm": 400.0}),
         r"DDPM, \+5\.2 ± \d\.\d points at 40 times the baseline's cost \("),
        (board_of({"ddpm": SAME}, {"cutmix": BETTER}),
         r"Reference lines without any generated image helped in 1 of 2 comparisons\."),
        ([*board_of({"ddpm": BETTER, "cvae": SAME})[:-5]], r"No verdict on 1 contender \(3 of 8 seeds\)\."),
        ([*board_of({"ddpm": BETTER}), failure(arm("cvae", SAME, roles()[1])[0])], r"1 run failed\."),
        (arm("none", [999, 1000, 998, 999, 999, 1000, 999, 998], roles()[0])
         + arm("ddpm", [998, 999, 1000, 999, 999, 998, 1000, 999], roles()[1]),
         r"Elsewhere, an effect of .* Of the 2 comparisons, in 1 a baseline leaves no room to be better\."),
    ],
)  # fmt: skip
def test_a_whole_board_claims_nothing_that_a_group_takes_back(records: list[Record], says: str) -> None:
    found = without_ceremony(records)
    assert found.startswith("Of "), found
    assert re.search(says, found), found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outliers": (Outlier(3, 40.0, 70.0),)}, "in 1 some seeds stand apart from the others."),
        ({"budget_limited": BudgetLimit(2.0, 0.83)}, "in 1 the training may be too short to judge."),
        ({"external_data": ("LAION-5B",)}, " points, with external data (Handwritten digits"),
    ],
)
def test_a_whole_board_keeps_the_doubts_of_its_groups(changes: dict[str, Any], says: str) -> None:
    board = build_board([*board_of({"ddpm": BETTER}), *elsewhere(board_of({"ddpm": SAME}))])
    assert says not in headline(board)
    groups = [changed(one, "ddpm", **changes) if one.dataset == "digits" else one for one in board.groups]
    assert says in headline(replace(board, groups=tuple(groups)))


def with_more_real(gain: int) -> list[Record]:
    """Return a board with a ceiling: more real images, so many more right than real images alone."""
    more = [right + gain + (-1) ** index for index, right in enumerate(BASE)]
    return [*board_of({"ddpm": SAME}), *arm("real_extra", more, roles()[2])]


@pytest.mark.parametrize(
    ("here", "there", "says"),
    [
        (40, 60, "More real images instead, in 2 comparisons: +4.0 to +6.0 points."),
        (0, 60, "More real images instead, in 2 comparisons: 0.0 to +6.0 points; in 1 of them they were not "
         "shown to help either, so there is little to gain."),
        (0, None, "More real images instead, in 1 comparison: 0.0 points; they were not shown to help "
         "either, so there is little to gain."),
        (None, None, ""),
    ],
)  # fmt: skip
def test_a_whole_board_says_what_more_real_images_gain(
    here: int | None, there: int | None, says: str
) -> None:
    """Where they gain nothing, a generator could not either: its row tells nothing of its images."""
    one, two = (board_of({"ddpm": SAME}) if gain is None else with_more_real(gain) for gain in (here, there))
    found = headline(build_board([*one, *elsewhere(two)]))
    assert says in found
    assert ("More real images" in found) == bool(says)


def test_a_whole_board_says_where_no_longer_training_was_tried() -> None:
    plain = [*board_of({"ddpm": BETTER}), *elsewhere(board_of({"ddpm": SAME}))]
    longer = []
    for number, one in enumerate(arm("none", BASE, declared("baseline", family="34" * 32))):
        assert one.result.mix is not None
        mix = one.result.mix.model_copy(update={"budget_scale": 2.0})
        longer.append(replace(one, result=replace(one.result, mix=mix, key=f"{number:064x}")))
    assert "no longer training" not in headline(build_board(plain))
    assert "in 1 no longer training was tried." in headline(build_board([*plain, *longer]))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ([failure(one) for one in board_of({"ddpm": BETTER})],
         " No verdict on 1 contender in other comparisons (0 of 8 seeds). 16 runs failed in other "
         "comparisons."),
        (unchecked(board_of({"ddpm": BETTER})),
         " No verdict on 1 contender in other comparisons (its images were not checked for copies of test)."),
    ],
)  # fmt: skip
def test_the_headline_of_one_group_does_not_hide_the_others(other: list[Record], says: str) -> None:
    alone = said(board_of({"ddpm": BETTER}))
    assert headline(build_board([*board_of({"ddpm": BETTER}), *elsewhere(other)])) == alone + says


def test_a_board_of_failures_counts_them() -> None:
    failed = [failure(one) for one in board_of({"ddpm": BETTER})]
    board = build_board([*failed, *elsewhere(failed)])
    assert headline(board) == "Nothing was measured yet. 32 runs failed."
    assert summary(board) == "0 cells measured, 32 failed."


@pytest.mark.parametrize(("second", "verdicts"), [(WORSE, "1 better and 1 worse"), (BETTER, "")])
def test_base_seeds_that_contradict_each_other_are_the_same_question(second: Any, verdicts: str) -> None:
    again = [
        replace(one, result=replace(one.result, protocol=replace(one.result.protocol, base_seed=1)))
        for one in elsewhere(board_of({"ddpm": second}), "digits")
    ]
    found = headline(build_board([*board_of({"ddpm": BETTER}), *again]))
    assert found.startswith("Of 2 contenders with a verdict, in 2 comparisons, ")
    says = "The same question was asked more than once, with different verdicts: DDPM on Handwritten digits"
    assert (says in found) is bool(verdicts)
    assert verdicts in found
