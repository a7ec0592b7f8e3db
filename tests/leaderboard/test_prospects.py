"""What `genbench plan` says that a suite could find, from the spreads of earlier records."""

import pytest

from genbench.records import Component
from genbench_leaderboard.crossed import compare
from genbench_leaderboard.groups import make_groups
from genbench_leaderboard.prospects import expectations, prospect
from made_records import BASE, BETTER, TEST, arm, declared, suite

DIGITS, CNN = Component("digits"), Component("cnn")


def test_the_effect_of_the_same_seeds_is_that_of_the_board() -> None:
    records = arm("none", BASE, declared("baseline")) + arm("ddpm", BETTER, declared("contender"))
    (group,) = make_groups(records)
    row, base = (
        next(one for one in group.entries.values() if one.generator.use == use) for use in ("ddpm", "none")
    )
    answers = row.answers(), base.answers()
    assert answers[0] is not None
    assert answers[1] is not None
    found, expected = prospect(records, DIGITS, CNN, 8, 0.025), compare(*answers)
    assert found is not None
    assert expected is not None
    assert (found.images, found.contrasts, found.hopeless) == (TEST, 1, False)
    assert found.room == pytest.approx(100 - sum(BASE) / len(BASE) / TEST * 100)
    assert found.points == pytest.approx(expected.detectable(0.025), rel=0.05)


def test_more_seeds_and_fewer_contrasts_find_more() -> None:
    points = {}
    for seeds, level in ((5, 0.05), (20, 0.05), (5, 0.005)):
        found = prospect(suite(), DIGITS, CNN, seeds, level)
        assert found is not None
        assert found.points is not None
        points[seeds, level] = found.points
    assert points[20, 0.05] < points[5, 0.05] < points[5, 0.005]


def test_a_suite_that_can_find_nothing_is_told_so() -> None:
    nearly = arm("none", [998, 1000, 996, 1000, 997, 1000, 995, 999], declared("baseline"))
    lines = list(expectations(nearly, declared("contender", helps=10), [(DIGITS, CNN)]))
    assert lines[0] == "digits, cnn: no earlier contrasts to tell what this suite could find"
    assert (
        "none is 0.19 points from perfect, and not even a network without a mistake could be better"
        in lines[1]
    )


def test_others_say_nothing_about_it() -> None:
    assert prospect(suite(), DIGITS, Component("mlp"), 8, 0.05) is None
    assert prospect(suite(), Component("letters"), CNN, 8, 0.05) is None


def test_without_a_verdict_nothing_is_promised() -> None:
    few = declared("contender", seeds=4)
    assert list(expectations(suite(), few, [(DIGITS, CNN)])) == ["no verdict: it takes 5 seeds"]
    lines = list(expectations(suite(), declared("control", helps=0), [(DIGITS, CNN)]))
    assert lines == ["no verdict: every row is a reference line"]


def test_a_planned_look_is_held_to_its_own_level() -> None:
    whole = list(expectations(suite(), declared("contender"), [(DIGITS, CNN)]))
    early = list(expectations(suite(), declared("contender", seeds=20, looks=(8,), look=8), [(DIGITS, CNN)]))
    assert whole[0] != early[0]
