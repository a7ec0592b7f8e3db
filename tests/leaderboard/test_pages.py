"""What a board looks like: widths, contents, folded parts, pictures, LaTeX, and a file of each form."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from faults.hostile import assert_dead
from genbench.cli.leaderboard_command import command
from genbench.errors import UsageError
from genbench.records import Component, read_records
from genbench_leaderboard.board import build_board
from genbench_leaderboard.columns import Column
from genbench_leaderboard.crossed import Comparison
from genbench_leaderboard.fitting import PAGE, fitted, least_width
from genbench_leaderboard.html import render_html
from genbench_leaderboard.layout import sections
from genbench_leaderboard.predictors import TITLE
from genbench_leaderboard.rows import Board, Outlier
from genbench_leaderboard.shown import shown
from genbench_leaderboard.tables import anchors, render_csv, render_json, render_latex, render_markdown
from genbench_leaderboard.terms import terms
from made_records import BASE, BETTER, SAME, arm, declared, suite

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "records"


@pytest.fixture(scope="module")
def published() -> Board:
    return build_board(read_records([COMMITTED]))


@pytest.fixture(scope="module")
def page(published: Board) -> str:
    return render_markdown(published)


def tables_of(page: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a page, each as its lines of cells, the header first."""
    for block in page.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("|"):
            yield [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]


def width_of(table: list[list[str]]) -> int:
    """Estimate what a browser needs: 8 pixels per character, 26 per cell, words wrapped, numbers not."""
    width = 0
    for cells in zip(*table, strict=True):
        kept = [cell.replace(" ±", "_±").replace("&nbsp;", "_") for cell in cells]
        words = [word for cell in kept for word in cell.replace("<wbr>", " ").split()]
        width += 8 * max(map(len, words), default=1) + 26
    return width


def test_every_table_of_the_published_board_fits_the_page(published: Board, page: str) -> None:
    tables = list(tables_of(page))
    assert len(tables) > 10
    assert {width_of(table) <= 900 for table in tables} == {True}
    for part in sections(shown(published)):  # the main tables with names alone wrapped
        assert least_width(part.table) <= PAGE


def test_references_are_shown_to_the_letter_however_a_page_breaks_them(published: Board, page: str) -> None:
    generators = {row.generator for group in published.groups for row in group.rows if "," in row.generator}
    assert len(generators) >= 2
    for generator in generators:
        assert generator in page.replace("<wbr>", "")
        assert generator not in page  # it may break
        assert generator in render_html(published)


def test_a_page_begins_with_its_headline_and_contents(page: str) -> None:
    lines = page.splitlines()
    assert lines[0] == "# Leaderboard"
    assert lines[2].startswith(
        "Of 15 contenders with a verdict (what several suites measured counts once), in 7 comparisons, 1 "
        "helped, 11 hurt"
    )
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    links = re.findall(r"^- \[(.*)\]\(#(.*)\): ", page, re.MULTILINE)
    assert [title for title, _ in links] == headings[:-1], "all but the terms, in their order"
    assert [link for _, link in links] == anchors(headings[:-1])
    assert headings[:3] == [
        "CIFAR-10, 5,000 training images: 4 classifiers side by side",
        "Handwritten digits, 150 training images: 2 classifiers side by side",
        "CIFAR-10, 5,000 training images, small CNN, suite cifar10-5k",
    ], "what lies side by side, then the largest group of the dataset with most verdicts"
    assert headings[-3:] == ["CIFAR-10, small CNN", TITLE, "Terms"], "a baseline alone comes last"
    alone = page[page.index("## CIFAR-10, small CNN") : page.index(f"## {TITLE}")]
    assert alone.index("| images") > alone.index("<details>"), "and is short"


def test_steps_stand_in_the_place_of_epochs(page: str) -> None:
    """What a recipe would have taken is not what was run."""
    recipes = [line for line in page.splitlines() if "Recipe: " in line]
    assert any(" steps 938" in one for one in recipes)
    assert any(" epochs 30.0" in one for one in recipes)
    assert not any(" steps 938" in one and "epochs" in one for one in recipes)


def test_terms_are_explained_once(published: Board, page: str) -> None:
    for term in terms(published):
        assert page[page.index("## Terms") :].count(f"\n- {term.name}: ") == 1
    assert page.count("half a 95 % t interval over seeds.") == 1
    names = {term.name for term in terms(published)}
    assert {"Δ", "reference", "Gain per class", "Shifts"} <= names
    assert not {"checked", "void"} & names, "nor what is not there"


def test_columns_that_say_nothing_are_dropped() -> None:
    baseline, contender = declared("baseline", helps=1), declared("contender", helps=1)
    board = build_board(arm("none", BASE, baseline) + arm("ddpm", SAME, contender))
    (table, *_) = tables_of(render_markdown(board))
    assert table[0] == ["images", "top-1 (%)", "Δ", "p", "verdict"]
    text = render_markdown(board)
    assert "1 synthetic image per real one. All rows: standard augmentation, 8 seeds." in text
    assert "p: of one contrast, nothing to adjust for; better, worse: p < 0.05." in text
    assert "ranks" not in text, "one contender is held against real images alone"
    assert "0 further" not in text
    two = [declared(role, helps=2) for role in ("baseline", "contender")]
    both = arm("none", BASE, two[0]) + arm("ddpm", SAME, two[1]) + arm("cvae", SAME, two[1])
    text = render_markdown(build_board(both))
    assert "p: Holm-adjusted over the 2 contrasts that the suite " in text
    assert "No ranks: none of 3 rows is significantly better than another (Holm over 1 further pair)." in text
    mixed = arm("none", BASE, baseline) + arm("ddpm", BETTER, contender)[:7]
    mixed += arm("none", SAME, contender, augment="cutmix")
    (table, *_) = tables_of(render_markdown(build_board(mixed)))
    assert table[0] == ["images", "augmentation", "top-1 (%)", "n", "Δ", "p", "verdict"]
    assert "7 of 8" in {line[3] for line in table}


def test_a_wide_table_is_continued_and_keeps_its_first_columns() -> None:
    first = [Column("class", ("cat", "dog"), "left"), Column("n", ("10", "10"))]
    rows = [Column(f"row number {place}", ("+0.0 ±0.0", "+10.0 ±0.5"), spare=True) for place in range(20)]
    parts = fitted([*first, *rows])
    assert len(parts) > 1
    assert [column.name for part in parts for column in part[2:]] == [column.name for column in rows]
    assert all(part[:2] == first and least_width(part) <= PAGE for part in parts)
    assert least_width(fitted(first)[0]) < PAGE
    assert fitted(first) == [first]


def test_pictures_stand_beside_what_made_them() -> None:
    board = build_board(suite())
    key = {row.generator: row.images_id for row in board.groups[0].rows}
    text = render_markdown(board, {key["ddpm"]: "records/a b/shown/x-strip.png", "of another board": "y.png"})
    assert "| DDPM | ![synthetic images: DDPM](records/a%20b/shown/x-strip.png) |" in text
    assert "y.png" not in text
    assert "![" not in render_markdown(board)


def test_two_names_for_one_group_of_letters_are_one_link() -> None:
    assert anchors(["A, b", "A b", "Terms"]) == ["a-b", "a-b-1", "terms-1"]


# ------------------------------------------------------------------------------------------------ LaTeX


def test_latex_has_balanced_environments_and_nothing_active(published: Board) -> None:
    text = render_latex(published)
    assert_dead({"tex": text})
    for name in ("table", "tabular", "itemize"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 0
    tabular = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    lines = tabular.splitlines()
    assert lines[1:2] + lines[3:4] + lines[-1:] == [r"\toprule", r"\midrule", r"\bottomrule"]
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", tabular)
    assert columns
    assert {line.count(" & ") + 1 for line in lines if line.endswith(r"\\")} == {len(columns[1])}
    assert r"DDPM & strong & 94.79 \ensuremath{\pm}0.46 & +0.33 \ensuremath{\pm}0.34" in text
    assert text.count(r"\caption[{") == text.count(r"\begin{table}")


def test_every_table_of_latex_has_a_label_of_its_own(published: Board) -> None:
    text = render_latex(published)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}")
    assert all(re.fullmatch(r"tab:[a-z0-9-]+(\.[a-z]*\d+)*", label) for label in labels)
    assert any(label.endswith("-gain-per-class") for label in labels)


def test_latex_explains_no_table_that_it_leaves_out(published: Board) -> None:
    text = render_latex(published)
    terms_of_pages = {term.name for term in terms(published)}
    left_out = {"Images behind the rows", "Distances of the image sets", "Other measurements"}
    assert left_out & terms_of_pages
    assert not [name for name in (*left_out, "Across the rows") if rf"\item {name}:" in text]
    assert r"\item Gain per class:" in text


def test_latex_of_baselines_alone_has_their_table(published: Board) -> None:
    text = render_latex(build_board(arm("none", BASE)))
    assert text.count(r"\begin{tabular}") == 1
    assert "real images alone &" in text
    alone = [part.title for part in sections(published) if part.is_alone]
    assert alone, "and where others compare something, a sentence is all that they get"
    assert render_latex(published).count(r"\begin{tabular}") > 1
    assert "real images alone & 80.15" not in render_latex(published)


def test_latex_of_a_hostile_name_is_text() -> None:
    hostile = Component("x", label=r"\input{a_b}%$&#^~[1] 50")
    text = render_latex(build_board(arm("none", BASE) + arm(hostile, SAME)))
    assert r"\textbackslash{}input\{a\_b\}\%\$\&\#" in text
    assert_dead({"tex": text})


# ------------------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("a.md", "# Leaderboard\n"),
        ("a.tex", "% Written by genbench leaderboard."),
        ("a.csv", "comparison,row,dataset,"),
        ("a.json", "{\n"),
        ("a.txt", "On handwritten digits with "),
        ("a", "On handwritten digits with "),
    ],
)
def test_the_suffix_says_the_form(tmp_path: Path, name: str, begins: str) -> None:
    file = tmp_path / "cell-one.json"
    file.write_text(arm("none", BASE)[0].to_json())
    done = CliRunner().invoke(command, [str(file), "-o", str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / name).read_text().startswith(begins)


def test_csv_says_why_there_is_no_verdict_and_what_a_row_adds() -> None:
    (group,) = build_board(suite()).groups
    ddpm = next(row for row in group.rows if row.generator == "ddpm")
    assert ddpm.contrast is not None
    clean = replace(ddpm.contrast.found or Comparison(0, 0, 0), mean=1.25)
    void = replace(
        ddpm.contrast, verdict="void", void="copies", problem="other", copied_images=7, without_copies=clean
    )
    rows = tuple(
        replace(row, contrast=void, outliers=(Outlier(3, 40, 70), Outlier(5, 41, 70))) if row is ddpm else row
        for row in group.rows
    )
    board = Board((replace(group, rows=rows, hopeless=(void.against,)),))
    written = {line["row"]: line for line in csv.DictReader(io.StringIO(render_csv(board)))}
    found = next(line for line in written.values() if line["generator"] == "ddpm")
    other = next(line for line in written.values() if line["augment"] == "strong")
    told = ("verdict", "void", "problem", "copied_images", "delta_points_without_copies", "outliers")
    assert [found[name] for name in told] == ["void", "copies", "other", "7", "1.25", "3 5"]
    assert [other[name] for name in told] == ["reference", "", "", "0", "", ""]
    assert found["hopeless"] == "True"
    assert other["hopeless"] == "True"  # it is held against the same
    assert render_csv(build_board(suite())).count("True") == 0
    assert len(ddpm.adds) == 2
    for one in ddpm.adds:
        assert one.found is not None
        assert float(found[f"adds[{one.against}].delta_points"]) == pytest.approx(one.found.mean)
        assert found[f"adds[{one.against}].verdict"] == one.verdict == "better"
        assert other[f"adds[{one.against}].verdict"] == ""


def test_a_form_that_contradicts_the_suffix_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cell-one.json"
    file.write_text(arm("none", BASE)[0].to_json())
    for out, said in (
        (tmp_path / "b.html", r"--format csv contradicts --out .*b\.html: the suffix \.html stands for html"),
        (tmp_path / "new" / "b.csv", "there is no folder .*new"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            CliRunner().invoke(
                command, [str(file), "-o", str(out), "--format", "csv"], catch_exceptions=False
            )
        assert re.search(r"-o \S*b\.csv   or leave out --format|mkdir -p \S*new ", raised.value.hint)
        assert not out.exists()
        assert not (tmp_path / "new").exists()
    fitting = [
        str(file),
        "-o",
        str(tmp_path / "b.odd"),
        "--format",
        "csv",
    ]  # a suffix that stands for nothing
    assert CliRunner().invoke(command, fitting).exit_code == 0
    assert (tmp_path / "b.odd").read_text().startswith("comparison,row,dataset,")


def test_csv_has_every_metric_and_json_its_headlines(published: Board) -> None:
    head = render_csv(published).splitlines()[0]
    for name in ("class[cat].delta_points_low", "measure[train_top1]", "metric[log_loss]", "comparison,row,"):
        assert name in head
    assert '"headline": "On 150 handwritten digits with' in render_json(published)
