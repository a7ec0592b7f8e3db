"""The same images under several classifiers, side by side."""

import re
from collections.abc import Sequence
from dataclasses import replace

from genbench.records import Component, Declaration, Record
from genbench_leaderboard.board import build_board
from genbench_leaderboard.headline import headline
from genbench_leaderboard.page import render_page
from genbench_leaderboard.side_by_side import side_by_side
from genbench_leaderboard.tables import render_markdown, render_terminal
from made_records import BASE, BETTER, SAME, STRONG, arm, declared

WORSE = [2 * base - better for base, better in zip(BASE, BETTER, strict=True)]


def under(classifier: str, records: Sequence[Record]) -> list[Record]:
    """Return the records as another classifier's."""
    return [
        replace(
            one,
            result=replace(
                one.result,
                classifier=Component(classifier),
                key=f"{len(classifier):02x}{one.result.key[2:]}",
            ),
        )
        for one in records
    ]


def family(*contenders: tuple[str, Sequence[int]], suite: str = "mine", name: str = "ab") -> list[Record]:
    told = {"family": name * 32, "suite": suite, "helps": len(contenders)}
    baseline, contender, control = (declared(role, **told) for role in ("baseline", "contender", "control"))
    records = [*arm("none", BASE, baseline), *arm("none", STRONG, control, augment="strong")]
    for use, rights in contenders:
        records += arm(use, rights, contender)
    return records


def test_what_helps_one_network_is_seen_beside_the_others() -> None:
    cnn = family(("ddpm", BETTER), ("cvae", SAME), ("sdedit", BETTER))
    mlp = under("mlp", family(("ddpm", WORSE), ("cvae", SAME)))
    board = build_board([*cnn, *mlp])
    (table,) = side_by_side(board)
    cells = {column.name: column.cells for column in table.columns}
    assert list(cells) == ["images", "small CNN", "MLP"]
    assert [*cells["images"]] == [
        "real images alone",
        "DDPM",
        "CVAE",
        "real images alone, strong augmentation",
    ]
    ddpm = cells["images"].index("DDPM")
    assert cells["small CNN"][ddpm].startswith("▲ +5.")
    assert cells["MLP"][ddpm].startswith("▼ -5.")
    assert cells["small CNN"][0] == cells["MLP"][0]
    assert cells["small CNN"][0].startswith("70.05 ±")
    assert "DDPM helped 1 of 2 classifiers and hurt 1 of 2 classifiers." in table.sentence
    assert "CVAE: for both classifiers the data cannot tell." in table.sentence
    assert "SDEdit" not in table.sentence, "one classifier alone was trained on it"
    assert table.result == "1 helped, 1 hurt, 2 cannot tell"
    for text in (render_markdown(board), render_terminal(board, width=120), page := render_page(board)):
        assert table.title in text
    assert re.search(r'data-v="\+5\.\d+"[^>]*>\s*▲ \+5\.', page), "a mark does not hinder sorting"


def test_one_classifier_or_no_verdict_has_no_such_table() -> None:
    assert side_by_side(build_board(family(("ddpm", BETTER)))) == ()
    lines = [one for one in family() if one.result.generator.use == "none"]
    assert side_by_side(build_board([*lines, *under("mlp", lines)])) == ()
    other = under("mlp", family(("cvae", BETTER)))
    assert side_by_side(build_board([*family(("ddpm", BETTER)), *other])) == (), "no images in common"


def test_cells_of_two_suites_are_counted_once() -> None:
    def also(record: Record) -> Record:
        """Declare a record in a second, smaller suite, too."""
        (first,) = record.run.declared
        second = Declaration(
            family="cd" * 32, suite="smaller", seeds=8, look=8, helps=1, adds=0, role=first.role
        )
        return replace(record, run=replace(record.run, declared=(first, second)))

    records = family(("ddpm", BETTER), ("cvae", BETTER))
    shared = [also(one) if one.result.generator.use != "cvae" else one for one in records]
    mlp = under("mlp", family(("ddpm", BETTER)))
    board = build_board([*shared, *mlp])
    suites = [group.declared.suite for group in board.groups if group.declared]
    assert suites == ["mine", "smaller", "mine"], "of the same networks, the larger suite comes first"
    assert headline(board).startswith(
        "Of 3 contenders with a verdict (what several suites measured counts once), in 2 comparisons, 3 "
        "helped."
    )
    (table,) = side_by_side(board)
    assert table.result == "2 helped"
