"""The board as one page: what it says, that it is whole, and how large it may become."""

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import genbench
from board_pages import PUBLISHED, many, pictures, published
from genbench.cli.leaderboard_command import command
from genbench_leaderboard.board import build_board
from genbench_leaderboard.crossed import Comparison, Interval
from genbench_leaderboard.group_headline import group_headline
from genbench_leaderboard.headline import headline
from genbench_leaderboard.page import content, opened, render_page
from genbench_leaderboard.page.content import page_of
from genbench_leaderboard.page.drawings import Drawing, group_drawings, row_labels, size_drawings
from genbench_leaderboard.rows import Board, ShiftGain
from genbench_leaderboard.statistics import Estimate
from genbench_leaderboard.tables import render_markdown

_VOID = {"meta", "br", "img", "input"}


class Reader(HTMLParser):
    """Reads a page as elements: refuses one that is not closed, or twice the same id."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open
        ids = Counter(attributes["id"] for _, attributes in self.elements if "id" in attributes)
        assert ids.most_common(1)[0][1] == 1, ids.most_common(3)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in {"script", "style"}:
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    board, records = published()
    folder = tmp_path_factory.mktemp("pictures")
    return render_page(board, records, pictures(board.groups[0].rows, folder))


def test_a_page_is_well_formed_and_asks_nobody_for_anything(page: str) -> None:
    found = Reader(page)
    sources = [
        one[name] for _, one in found.elements for name in ("src", "href", "action", "data") if name in one
    ]
    assert all(one.startswith(("#", "data:image/png;base64,")) for one in sources)
    ids = {one["id"] for _, one in found.elements if "id" in one}
    anchors = {one["href"][1:] for one in found.all("a")}
    assert anchors <= ids
    assert "url(" not in page
    assert "@import" not in page
    assert not [
        one for _, one in found.elements if "style" in one or any(name.startswith("on") for name in one)
    ]
    assert page.startswith("<!doctype html>")


def test_its_security_policy_names_its_own_script_and_style_alone(page: str) -> None:
    policy = next(one["content"] for one in Reader(page).all("meta") if one.get("http-equiv"))
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "img-src data:;" in f"{policy};"


def test_a_page_says_what_the_board_says(page: str) -> None:
    board, _ = published()
    texts = Reader(page).texts
    assert headline(board) in texts
    for group in board.groups:
        assert group_headline(group) in texts
        for row in group.rows:
            assert row.name in page
    assert "Nobody verified these records" in page
    assert "Nobody verified these records" in render_markdown(board, is_own=False)
    assert "Nobody verified" not in render_markdown(board)
    assert "Nobody verified" not in render_markdown(replace(board, verified=True), is_own=False)
    kinds = {one["value"] for one in Reader(page).all("input") if one["type"] == "checkbox"}
    assert kinds == {"baseline", "reference", "cannot tell", "exploratory"}
    names = re.findall(r'<p class="name">(.*?)</p>', page)
    assert {"Difference to real images alone", "Gain per class"} <= set(names)
    assert any(name.startswith("Gain against cost") for name in names)
    assert {"Real and synthetic images", "Cost by step, mean over seeds"} <= set(names)
    assert any(name.startswith("fit ddpm: loss") for name in names)


def test_cells_are_sorted_by_their_numbers() -> None:
    board, records = published()
    table = page_of(board, records, {}).groups[0].rows
    heads = [head.name for head in table.columns]
    cost = next(place for place, name in enumerate(heads) if name.startswith("cost"))
    delta = next(place for place, name in enumerate(heads) if name.startswith("\u0394"))
    rows = board.groups[0].rows
    for line, row in zip(table.lines, rows, strict=True):
        assert row.cost is not None
        assert row.cost.seconds is not None
        assert float(line.cells[cost].key) == pytest.approx(row.cost.seconds, abs=0.001)
        if row.contrast is not None and row.contrast.found is not None:
            assert float(line.cells[delta].key) == pytest.approx(row.contrast.found.mean, abs=0.005)
    assert [head.numeric for head in table.columns[:2]] == [False, True]
    assert table.lines[0].cells[delta].key == ""  # a baseline is last, whatever the order


def test_a_page_without_records_and_pictures_is_whole() -> None:
    board, _ = published()
    bare = Reader(render_page(board))
    assert len(bare.all("details")) > len(board.groups[0].rows)
    assert not bare.all("img")
    assert "Nothing was measured yet." in render_page(build_board([]))


def test_the_same_images_are_in_the_page_once(page: str) -> None:
    found = Reader(page)
    board, _ = published()
    sets = {row.images_id for row in board.groups[0].rows if row.images_id}
    assert len(found.all("img")) == len(sets)
    assert all(one["alt"].startswith("Synthetic images by") for one in found.all("img"))
    repeated = [one["data-same"] for _, one in found.elements if "data-same" in one]
    rows = [row for group in board.groups for row in group.rows if row.images_id in sets]
    assert len(repeated) == len(rows) - len(sets) > 0
    assert set(repeated) <= {one["id"] for one in found.all("img")}


def test_what_would_make_a_page_too_large_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = many()
    sheets = pictures(board.groups[0].rows, tmp_path)
    whole = render_page(board, (), sheets)
    assert len(Reader(whole).all("img")) == len({row.images_id for row in board.groups[0].rows} - {""})
    assert len(whole) < 10 * 2**20
    monkeypatch.setattr(opened, "MOST_PICTURES", 1000)
    monkeypatch.setattr(opened, "MOST_PLOTS", 50_000)
    small = render_page(many(60), (), sheets)
    assert 1 <= len(Reader(small).all("img")) <= 10
    assert re.search(r"it leaves out the pictures of \d+ rows and the curves of \d+ rows", small)
    assert len(small) < len(whole) - 100_000


def test_a_page_of_many_rows_names_the_comparisons_that_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, _ = published()
    whole = page_of(board, (), {})
    assert whole.notes_on_size == ""
    first, second = whole.groups
    monkeypatch.setattr(content, "MOST_ROWS", len(first.rows.lines))
    found = page_of(board, (), {})
    assert [one.title for one in found.groups] == [first.title]
    assert [(one.id, one.title) for one in found.contents] == [(first.id, first.title), ("", second.title)]
    assert found.contents[1].result == second.result != ""
    rows = len(second.rows.lines)
    assert (
        f"leaves out 1 comparison with {rows} rows, whose results the contents name." in found.notes_on_size
    )
    assert f"<li>{second.title} " in render_page(board)
    assert found.headline == whole.headline

    monkeypatch.setattr(content, "MOST_ROWS", 3)
    (cut,) = page_of(board, (), {}).groups
    assert cut.rows.lines == first.rows.lines[:3]
    assert cut.opened == first.opened[:3]
    assert cut.headline == first.headline
    assert (
        f"the last {len(first.rows.lines) - 3} rows of {first.title}" in page_of(board, (), {}).notes_on_size
    )


def test_curves_of_ratios_and_of_sizes_appear_where_there_are_several() -> None:
    board, _ = published()
    first = board.groups[0]
    named = {one.name for one in group_drawings(first)}
    assert "Top-1 against the ratio" not in named
    assert not size_drawings(board)
    made = next(row for row in first.rows if row.generator == "ddpm")
    twice = replace(made, mix="+2.0x standard", mix_values={**made.mix_values, "ratio": 2.0})
    drawn = {one.name: one for one in group_drawings(replace(first, rows=(*first.rows, twice)))}
    assert made.top1 is not None
    level = f"{made.top1.mean:.2f}"
    assert re.search(rf"DDPM[^:]*: from {level} at 1 to {level} at 2", drawn["Top-1 against the ratio"].svg)
    data = tuple(replace(one, train=300) for one in first.provenance.data)
    rows = tuple(replace(row, books=replace(row.books, train=300)) for row in first.rows if row.books)
    smaller = replace(first, provenance=replace(first.provenance, data=data), rows=rows)
    (sizes,) = size_drawings(replace(board, groups=(first, smaller)))
    assert "1 synthetic per real image" in sizes.name
    plain = next(row for row in first.rows if row.is_baseline and row.contrast is None)
    assert plain.top1 is not None
    level = f"{plain.top1.mean:.2f}"
    assert f"real images alone, standard: from {level} at 150 to {level} at 300" in sizes.svg


def gains_against_cost(board: Board) -> dict[str, Drawing]:
    return {
        one.name: one for one in group_drawings(board.groups[0]) if one.name.startswith("Gain against cost")
    }


def test_gains_against_several_baselines_are_plots_of_their_own() -> None:
    board, _ = published()
    first = board.groups[0]
    baselines = {row.contrast.against for row in first.rows if row.contrast}
    drawn = gains_against_cost(board)
    names = row_labels(first)
    assert len(baselines) == 2
    assert set(drawn) == {f"Gain against cost: baseline {names[one]}" for one in baselines}
    for one in first.rows:
        if one.contrast and one.contrast.found:
            own = drawn[f"Gain against cost: baseline {names[one.contrast.against]}"].svg
            assert f"<title>{names[one.name]}: " in own, one.name
    kept = [row for row in first.rows if not row.contrast or row.contrast.against == min(baselines)]
    alone = replace(board, groups=(replace(first, rows=tuple(kept)),))
    assert set(gains_against_cost(alone)) == {"Gain against cost"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "void", "void": "3 synthetic images are test images"}, "3 synthetic images are test"),
        ({"verdict": "incomplete", "problem": "other images"}, "other images"),
    ],
)
def test_no_front_is_made_of_what_is_void(changes: dict[str, str], reason: str) -> None:
    board, _ = published()
    first = board.groups[0]
    best = max(
        (row for row in first.rows if row.generator == "ddpm" and row.contrast and row.contrast.found),
        key=lambda row: row.contrast.found.mean if row.contrast and row.contrast.found else 0.0,
    )
    assert best.contrast is not None
    label = row_labels(first)[best.name]
    made = replace(best, contrast=replace(best.contrast, **changes))
    rows = tuple(made if row is best else row for row in first.rows)
    before = [one for one in gains_against_cost(board).values() if f"<title>{label}: " in one.svg]
    (after,) = [
        one
        for one in gains_against_cost(replace(board, groups=(replace(first, rows=rows),))).values()
        if f"Left out, since void: {label} ({reason}" in one.note
    ]
    assert len(before) == 1
    assert "Left out" not in before[0].note
    assert f"{label}: " not in after.svg


def test_shifts_have_a_heat_map() -> None:
    board, _ = published()
    first = board.groups[0]
    gain = ShiftGain(
        "fog-3", 100, Estimate(50.0, 5, None, None), Comparison(-1.25, 5, 100, interval=Interval(-2, 0))
    )
    rows = tuple(replace(row, shifts=(gain,)) if row.contrast else row for row in first.rows)
    drawn = {one.name: one for one in group_drawings(replace(first, rows=rows))}
    assert "fog-3: \u22121.2" in drawn["Gain per shift"].svg
    assert drawn["Gain per shift"].wide


def test_the_program_and_the_python_interface_write_the_same_page(tmp_path: Path) -> None:
    out = tmp_path / "board.html"
    done = CliRunner().invoke(command, [str(PUBLISHED), "-o", str(out)])
    assert (done.exit_code, done.output) == (0, f"written: {out}\n")
    _, records = published()
    assert genbench.leaderboard(records).to_html([PUBLISHED]) == out.read_text(encoding="utf-8")
