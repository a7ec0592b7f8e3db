"""What a suite declares beforehand, and what a board makes of it: families, roles, looks, choosing seeds."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from genbench.records import Component
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Board, Contrast, Row
from genbench_leaderboard.tables import render_markdown
from made_records import BASE, BETTER, FAMILY, SAME, STRONG, TEST, arm, cell, declared, suite


def row(board: Board, generator: str, mix: str = "") -> Row:
    rows = [one for group in board.groups for one in group.rows]
    (found,) = [one for one in rows if one.generator == generator and mix in one.mix]
    return found


def contrast(board: Board, generator: str, mix: str = "") -> Contrast:
    found = row(board, generator, mix).contrast
    assert found is not None
    return found


def p_of(board: Board, generator: str) -> float:
    found = contrast(board, generator)
    assert found.adjusted_p is not None
    return found.adjusted_p


# ----------------------------------------------------------------------------------------------- families


def test_the_family_is_what_was_declared() -> None:
    board = build_board(suite())
    assert contrast(board, "ddpm").family == 2
    assert contrast(board, "ddpm").verdict == "better"
    assert "Holm-adjusted over the 2 contrasts that the suite mine declared" in render_markdown(board)
    gone = build_board([one for one in suite() if one.result.generator.use != "cvae"])
    assert p_of(gone, "ddpm") == p_of(board, "ddpm"), "a contrast that left no record counts as p = 1"
    assert p_of(build_board(suite(helps=4)), "ddpm") == pytest.approx(2 * p_of(board, "ddpm"))


def test_nothing_else_in_the_folder_changes_a_verdict() -> None:
    other = declared("contender", family="cd" * 32, suite="theirs", helps=40)
    base = declared("baseline", family="cd" * 32, suite="theirs", helps=40)
    foreign = arm("none", BASE, base, dataset="letters") + arm("broken", SAME, other, dataset="letters")
    undeclared = arm("none", BASE, dataset="shapes") + arm("older", SAME, dataset="shapes")
    alone, beside = build_board(suite()), build_board([*foreign, *undeclared, *suite()])
    for generator in ("ddpm", "cvae"):
        assert contrast(beside, generator) == contrast(alone, generator)
    assert contrast(beside, "older").family == 1
    assert contrast(beside, "broken").family == 40


def test_controls_spend_no_alpha_and_have_no_verdict() -> None:
    board = build_board(suite())
    for generator, mix in (("classical", ""), ("none", "strong")):
        control = contrast(board, generator, mix)
        assert (control.verdict, control.adjusted_p) == ("reference", None)
        assert control.found is not None
        assert control.found.interval is not None
        assert row(board, generator, mix).rank is None
    assert [row(board, name).rank for name in ("ddpm", "cvae")] == [1, 2]


def test_a_control_that_wins_is_a_warning() -> None:
    winning = arm("copies", BETTER, declared("control"))
    text = render_markdown(build_board([*suite(), *winning]))
    assert (
        "warning: better than real images alone without a generative model: copied training images." in text
    )
    assert "warning" not in render_markdown(build_board(suite()))
    ceiling = arm("real_extra", BETTER, declared("control"))
    assert "warning" not in render_markdown(build_board([*suite(), *ceiling])), "more real images should win"


def test_more_than_copies_and_more_than_free_augmentation() -> None:
    board = build_board(suite(adds=4))
    against = {one.against: one for one in row(board, "ddpm").adds}
    assert set(against) == {"classical, +1.0x standard", "none, strong"}
    assert {one.family for one in against.values()} == {4}
    assert all(one.verdict == "better" for one in against.values())
    strong = against["none, strong"].found
    assert strong is not None
    assert strong.mean == pytest.approx((sum(BETTER) - sum(STRONG)) / len(BASE) / TEST * 100)
    assert {one.verdict for one in row(board, "cvae").adds} == {"cannot tell"}
    assert row(board, "classical").adds == ()
    text = render_markdown(board)
    assert "### More than what is simpler?" in text
    assert "a Holm family of its own, of 4 contrasts" in text


def test_a_cell_of_two_suites_stands_in_both_and_a_smaller_copy_is_left_out() -> None:
    first = [declared(role, suite="first", helps=1) for role in ("baseline", "contender")]
    second = [declared(role, family="cd" * 32, suite="second") for role in ("baseline", "contender")]
    shared = arm("none", BASE, first[0], second[0])
    apart = build_board(shared + arm("ddpm", BETTER, first[1]) + arm("cvae", SAME, second[1]))
    assert [group.title for group in apart.groups] == [
        "digits, cnn, suite first",
        "digits, cnn, suite second",
    ]
    assert (contrast(apart, "ddpm").family, contrast(apart, "cvae").family) == (1, 2)


def test_a_later_and_larger_suite_leaves_an_earlier_verdict_alone() -> None:
    first = [declared(role, suite="first", helps=1) for role in ("baseline", "contender")]
    second = [
        declared(role, family="cd" * 32, suite="second", helps=40) for role in ("baseline", "contender")
    ]
    alone = build_board(arm("none", BASE, first[0]) + arm("ddpm", BETTER, first[1]))
    grown = build_board(
        arm("none", BASE, first[0], second[0]) + arm("ddpm", BETTER, *first[1:], second[1])
        + arm("cvae", SAME, second[1])
    )  # fmt: skip
    assert [group.title for group in grown.groups] == [
        "digits, cnn, suite second",
        "digits, cnn, suite first",
    ], "the larger one first"
    kept = next(group for group in grown.groups if group.declared and group.declared.suite == "first")
    assert [row.contrast for row in kept.rows if row.contrast] == [contrast(alone, "ddpm")]
    only = build_board(arm("none", BASE, *first[:1], second[0]) + arm("ddpm", BETTER, first[1], second[1]),
                       family=FAMILY)  # fmt: skip
    assert len(only.groups) == 1


def test_whoever_declares_less_later_is_held_to_what_was_declared_before() -> None:
    many = [declared(role, suite="many", helps=40) for role in ("baseline", "contender")]
    few = [declared(role, family="cd" * 32, suite="few", helps=1) for role in ("baseline", "contender")]
    board = build_board(arm("none", BASE, many[0], few[0]) + arm("ddpm", BETTER, many[1], few[1]))
    families = {group.declared.suite: group.rows[1].contrast for group in board.groups if group.declared}
    assert {name: one.family for name, one in families.items() if one} == {"few": 40}, (
        "of many, 39 are missing"
    )
    assert "over the 40 contrasts that an earlier suite declared of these cells" in render_markdown(board)


def test_what_is_left_of_a_suite_is_shown_where_no_whole_one_shows_it() -> None:
    whole = [declared(role, suite="whole", helps=1) for role in ("baseline", "contender")]
    part = [declared(role, family="cd" * 32, suite="part", seeds=10) for role in ("baseline", "contender")]
    cells = arm("none", BASE, part[0], whole[0]) + arm("ddpm", BETTER, part[1], whole[1])
    assert [group.declared.suite for group in build_board(cells).groups if group.declared] == ["whole"]
    left = arm("none", BASE, part[0]) + arm("ddpm", BETTER, part[1])
    assert [group.declared.suite for group in build_board(left).groups if group.declared] == ["part"]


def test_a_trial_of_one_seed_is_a_remark_where_a_larger_suite_shows_its_cells() -> None:
    trial = [declared(role, family="cd" * 32, suite="trial", seeds=1) for role in ("baseline", "contender")]
    large = [declared(role, suite="large", helps=1) for role in ("baseline", "contender")]
    first = arm("none", BASE[:1], trial[0], large[0]) + arm("ddpm", BETTER[:1], trial[1], large[1])
    rest = arm("none", BASE, large[0])[1:] + arm("ddpm", BETTER, large[1])[1:]
    board = build_board(first + rest)
    assert [group.declared.suite for group in board.groups if group.declared] == ["large"]
    assert board.groups[0].title == "digits, cnn"
    assert board.groups[0].unplanned_looks == (1,)
    page = render_markdown(board)
    assert "test was read before, after 1 seed, which this suite had not planned" in page
    assert "test was read before this suite was declared: of all rows, for the suite trial (1 seed)." in page


def test_rows_that_were_read_before_are_named_whatever_their_role() -> None:
    """Who chooses the number of steps by real images alone has read test, too; who reads later has not."""
    large = [declared(role, suite="large", helps=1) for role in ("baseline", "contender")]
    trial = declared("baseline", family="cd" * 32, suite="trial", seeds=1)
    earlier = declared("baseline", family="ef" * 32, suite="large", helps=1)
    later = declared("contender", family="12" * 32, suite="later", seeds=1)
    first = arm("none", BASE[:1], trial, earlier, large[0])
    rest = arm("none", BASE, earlier, large[0])[1:] + arm("ddpm", BETTER, large[1], later)
    board = build_board(first + rest, family=large[0].family)
    (group,) = board.groups
    assert [(one.suite, one.seeds, one.rows) for one in group.read_before] == [
        ("large", earlier.look, ("none, standard",)), ("trial", 1, ("none, standard",)),
    ]  # fmt: skip
    assert (
        "of real images alone, for an earlier form of large (8 seeds); of real images alone, for the suite "
        "trial (1 seed). What was chosen by it" in render_markdown(board)
    )
    assert group.unplanned_looks == ()


def test_a_trial_of_other_cells_stays() -> None:
    trial = [declared(role, family="cd" * 32, suite="trial", seeds=1) for role in ("baseline", "contender")]
    large = [declared(role, suite="large", helps=1) for role in ("baseline", "contender")]
    cells = arm("none", BASE[:1], trial[0], large[0]) + arm("none", BASE, large[0])[1:]
    cells += arm("ddpm", BETTER, large[1]) + arm("cvae", SAME[:1], trial[1])
    board = build_board(cells)
    assert {group.declared.suite for group in board.groups if group.declared} == {"large", "trial"}
    alone = build_board(arm("none", BASE[:1], trial[0]) + arm("ddpm", BETTER[:1], trial[1]))
    assert [group.declared.suite for group in alone.groups if group.declared] == ["trial"]


def test_a_suite_whose_contenders_were_exchanged_leaves_nothing_beside_its_successor() -> None:
    """The same rows stand in both; of the older declaration, a contender is not among the records."""
    older = [declared(role, family="cd" * 32, suite="mine", helps=2) for role in ("baseline", "contender")]
    newer = [declared(role, suite="mine", helps=2) for role in ("baseline", "contender")]
    kept = arm("none", BASE, older[0], newer[0]) + arm("ddpm", BETTER, older[1], newer[1])
    board = build_board(kept + arm("cvae", SAME, newer[1]))
    assert [group.declared.family for group in board.groups if group.declared] == [FAMILY]
    both = build_board(kept + arm("cvae", SAME, newer[1]) + arm("classical", SAME, older[1]))
    assert len(both.groups) == 2, "whole as it is, it is shown"


def test_a_suite_without_its_baseline_is_shown_beside_one_that_has_it() -> None:
    alone, whole = declared("contender", family="cd" * 32, suite="alone"), declared("baseline")
    board = build_board(arm("none", BASE, whole) + arm("ddpm", BETTER, alone))
    assert {group.declared.suite for group in board.groups if group.declared} == {"mine", "alone"}


def test_records_that_contradict_each_other_have_no_verdict() -> None:
    odd = arm("none", BASE[:1], declared("baseline", helps=40)) + arm("none", BASE, declared("baseline"))[1:]
    board = build_board(odd + arm("ddpm", BETTER, declared("contender")))
    assert contrast(board, "ddpm").verdict == "void"
    assert "contradict each other about what the suite declared" in render_markdown(board)
    mixed = arm("ddpm", BETTER, declared("control"))[:1] + arm("ddpm", BETTER, declared("contender"))[1:]
    board = build_board(arm("none", BASE, declared("baseline")) + mixed)
    assert contrast(board, "ddpm").verdict == "void"
    assert "contradict each other about the role of ddpm" in render_markdown(board)


# -------------------------------------------------------------------------------------------------- looks


def test_an_unplanned_look_costs_alpha_and_is_said() -> None:
    earlier = declared("contender", family="ef" * 32, seeds=5)
    base, now = declared("baseline"), declared("contender")
    records = arm("none", BASE, base) + arm("ddpm", BETTER, earlier, now) + arm("cvae", SAME, now)
    looked, fresh = build_board(records), build_board(suite())
    shown = next(group for group in looked.groups if group.declared and group.declared.family == FAMILY)
    assert shown.unplanned_looks == (5,)
    assert {one.contrast.alpha for one in shown.rows if one.contrast} == {0.05 / 4}
    assert contrast(fresh, "ddpm").alpha == 0.05
    text = render_markdown(looked)
    assert "test was read before, after 5 seeds, which this suite had not planned" in text
    assert "its families are held to 0.0125 instead" in text
    assert "better, worse: p < 0.0125" in text


def test_a_look_cannot_be_planned_afterwards() -> None:
    taken = declared("contender", family="ef" * 32, seeds=5)
    base, now = declared("baseline", looks=(5,)), declared("contender", looks=(5,))
    board = build_board(arm("none", BASE, base) + arm("ddpm", BETTER, taken, now))
    shown = next(group for group in board.groups if group.declared and group.declared.family == FAMILY)
    assert shown.unplanned_looks == (5,)


def test_seeds_that_choose_now_were_looked_at_before() -> None:
    taken = declared("contender", family="ef" * 32, seeds=2)
    plan: dict[str, Any] = {"choosing_seeds": 2, "helps": 1}
    base, now = declared("baseline", **plan), declared("contender", **plan)
    cells = arm("ddpm", BETTER[:2], taken, now) + arm("ddpm", BETTER, now)[2:]
    board = build_board(arm("none", BASE, base) + cells)
    shown = next(group for group in board.groups if group.declared and group.declared.family == FAMILY)
    assert shown.unplanned_looks == (2,)


def test_any_number_of_looks_is_survived() -> None:
    looks = [declared("contender", family=f"{n:064x}", seeds=n) for n in range(9, 700)]
    board = build_board(
        arm("none", BASE, declared("baseline")) + arm("ddpm", SAME, *looks, declared("contender"))
    )
    shown = next(group for group in board.groups if group.declared and group.declared.family == FAMILY)
    assert len(shown.unplanned_looks) == 691
    found = next(row.contrast for row in shown.rows if row.contrast)
    assert (found.verdict, found.detectable_points) == ("cannot tell", None)


def test_the_same_seeds_again_are_no_further_look() -> None:
    other = declared("contender", family="ef" * 32, suite="earlier")
    base, now = declared("baseline"), declared("contender")
    board = build_board(arm("none", BASE, base) + arm("ddpm", BETTER, other, now) + arm("cvae", SAME, now))
    shown = next(group for group in board.groups if group.declared and group.declared.family == FAMILY)
    assert shown.unplanned_looks == ()


def test_planned_looks_are_judged_at_the_seeds_that_are_due() -> None:
    plan: dict[str, Any] = {"seeds": 8, "looks": (5,)}
    base, made = declared("baseline", **plan, look=5), declared("contender", **plan, look=5)
    board = build_board(arm("none", BASE[:5], base) + arm("ddpm", BETTER[:5], made))
    found = contrast(board, "ddpm")
    assert found.alpha == pytest.approx(0.05 * (5 / 8) ** 2)
    assert found.verdict == "better"
    assert row(board, "ddpm").planned == 5
    assert "look 1 of 2 that were planned, after 5 of 8 seeds" in render_markdown(board)
    whole = [declared(role, **plan, look=8) for role in ("baseline", "contender")]
    later = build_board(arm("none", BASE, base, whole[0]) + arm("ddpm", BETTER, made, whole[1]))
    assert contrast(later, "ddpm").alpha == pytest.approx(0.05 * (1 - (5 / 8) ** 2))
    assert later.groups[0].unplanned_looks == ()
    assert row(later, "ddpm").planned == 8


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"looks": (5, 5)}, "do not lead upwards"),
        ({"looks": (9,)}, "do not lead upwards"),
        ({"look": 6}, "a look at 6 seeds was not planned"),
        ({"choosing_seeds": 8}, "leave none that confirm"),
    ],
)
def test_a_declaration_must_make_sense(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        declared("contender", **changes)


# ------------------------------------------------------------------------------------- choosing, confirming


def test_the_seeds_that_choose_confirm_nothing() -> None:
    plan: dict[str, Any] = {"choosing_seeds": 2, "helps": 1}
    base, made = declared("baseline", **plan), declared("contender", **plan)
    linear, cosine = (
        Component("ddpm", config={"schedule": name}, label=f"ddpm:{name}") for name in ("a", "b")
    )
    # On val, the first two seeds prefer cosine; all others, linear.
    good = [cell(linear, i, right, made, val=60.0 if i < 2 else 90.0) for i, right in enumerate(BETTER)]
    poor = [cell(cosine, i, right, made, val=80.0 if i < 2 else 10.0) for i, right in enumerate(SAME)]
    board = build_board(arm("none", BASE, base) + good + poor)
    assert contrast(board, "ddpm:a").verdict == "exploratory"
    chosen = contrast(board, "ddpm:b")
    assert chosen.verdict == "cannot tell"
    assert chosen.found is not None
    assert (chosen.found.n, row(board, "ddpm:b").planned, chosen.family) == (6, 6, 1)
    top1 = row(board, "none").top1
    assert top1 is not None
    assert top1.mean == pytest.approx(sum(BASE[2:]) / 6 / TEST * 100)
    text = render_markdown(board)
    assert "the first 2 seeds chose a configuration of each generator on val" in text
    assert "since val chose another configuration of the generator: DDPM (a)" in text


def test_who_lacks_val_of_a_choosing_seed_cannot_choose_the_winner() -> None:
    plan: dict[str, Any] = {"choosing_seeds": 2, "helps": 1}
    base, made = declared("baseline", **plan), declared("contender", **plan)
    linear, cosine = (
        Component("ddpm", config={"schedule": name}, label=f"ddpm:{name}") for name in ("a", "b")
    )
    good, poor = arm(linear, BETTER, made), arm(cosine, SAME, made, val=80.0)
    board = build_board(arm("none", BASE, base) + good + poor[1:])
    assert {contrast(board, f"ddpm:{name}").verdict for name in ("a", "b")} == {"incomplete"}
    assert "not comparable: val of some of the seeds that choose is missing" in render_markdown(board)


def test_without_seeds_that_choose_every_configuration_counts() -> None:
    base, made = declared("baseline"), declared("contender")
    linear, cosine = (
        Component("ddpm", config={"schedule": name}, label=f"ddpm:{name}") for name in ("a", "b")
    )
    board = build_board(arm("none", BASE, base) + arm(linear, BETTER, made) + arm(cosine, SAME, made))
    assert [contrast(board, f"ddpm:{name}").family for name in ("a", "b")] == [2, 2]
    assert contrast(board, "ddpm:a").verdict == "better"


# ----------------------------------------------------------------------------------------------- warnings


def test_a_collapsed_seed_is_named() -> None:
    fallen = [*BETTER[:3], 500, *BETTER[4:]]
    base, made = declared("baseline"), declared("contender")
    text = render_markdown(build_board(arm("none", BASE, base) + arm("ddpm", fallen, made)))
    assert "seeds that stand apart: seed 3 of DDPM (50.00 %, median 75.05 %)" in text
    assert "stand apart" not in render_markdown(build_board(suite()))


def test_a_board_without_room_says_so() -> None:
    nearly = [998, 1000, 996, 1000, 997, 1000, 995, 999]
    base, made = declared("baseline"), declared("contender")
    board = build_board(arm("none", nearly, base) + arm("ddpm", [1000] * 8, made))
    assert contrast(board, "ddpm").verdict == "cannot tell"
    assert (
        "no room: not even a network without a mistake could be better than real images alone"
        in render_markdown(board)
    )
    assert "no room" not in render_markdown(build_board(suite()))


def test_declarations_of_all_attempts_are_kept() -> None:
    first, second = declared("contender", family="ef" * 32, seeds=5), declared("contender")
    older = arm("ddpm", BETTER, first)
    newer = [
        replace(one, run=replace(one.run, created="2026-02-01T00:00:00Z"))
        for one in arm("ddpm", BETTER, second)
    ]
    board = build_board([*arm("none", BASE, declared("baseline")), *newer, *older])
    shown = next(group for group in board.groups if group.declared and group.declared.family == FAMILY)
    assert shown.unplanned_looks == (5,), "the earlier look is known from the older file"


def test_rows_under_two_meanings_of_an_augmentation_are_two_rows() -> None:
    """The policy was changed between two runs: neither row borrows the other's seeds or its baseline."""
    seeds = range(3)
    old = [cell(Component("none"), index, 60, augment="strong", policy=1) for index in seeds]
    new = [cell(Component("none"), index, 70, augment="strong") for index in seeds if index != 1]
    mixed = [cell(Component("ddpm"), index, 75, augment="strong") for index in seeds]
    board = build_board([*old, *new, *mixed])
    means = {(one.mix, one.generator): one.top1.mean for one in board.groups[0].rows if one.top1}
    assert means["strong (version 1)", "none"] == pytest.approx(100 * 60 / TEST)
    assert means["strong", "none"] == pytest.approx(100 * 70 / TEST)
    compared = row(board, "ddpm").contrast
    assert compared is not None
    assert compared.found is not None
    assert compared.found.mean == pytest.approx(100 * 5 / TEST)  # with the row of its own policy
