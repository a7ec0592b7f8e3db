"""The page in headless Chromium: it fits a phone, its script works, and axe-core finds nothing."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from board_pages import many, pictures, published
from chromium import Browser, browser, chromium
from genbench_leaderboard.page import render_page

SLOW = pytest.mark.slow(reason="starts a browser and opens a dozen pages")
MISSING = pytest.mark.skipif(chromium() is None, reason="needs Chromium: apt-get install chromium")
pytestmark = [pytest.mark.browser, SLOW, MISSING]
AXE = Path(os.environ.get("GENBENCH_AXE", Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"))
ROWS = "[...document.querySelectorAll('table.main tbody')[0].rows].filter(one => !one.hidden)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of the page of a published board, and of one of two hundred rows."""
    folder = tmp_path_factory.mktemp("pages")
    board, records = published()
    contents = {
        "published": render_page(board, records, pictures(board.groups[0].rows, folder)),
        "many": render_page(many(), records),
    }
    for name, content in contents.items():
        (folder / f"{name}.html").write_text(content, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in contents}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("name", ["published", "many"])
@pytest.mark.parametrize(("width", "dark"), [(390, False), (900, True), (1600, False)])
def test_a_page_fits_its_window_and_loads_nothing(
    chrome: Browser, pages: dict[str, str], name: str, width: int, dark: bool
) -> None:
    chrome.open(pages[name], width=width, dark=dark)
    assert chrome.run("document.documentElement.scrollWidth") <= width
    assert chrome.requests == []
    assert chrome.complaints == []
    assert chrome.run("document.querySelector('.tools').hidden") is False  # its script was let run
    ground = chrome.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    plot = chrome.run("document.querySelector('.drawn .plot').getBoundingClientRect().width")
    assert 200 < plot <= width


@pytest.mark.parametrize("name", ["published", "many"])
def test_nothing_of_the_first_table_is_cut_on_a_phone(
    chrome: Browser, pages: dict[str, str], name: str
) -> None:
    chrome.open(pages[name], width=390)
    ends = (
        "[...document.querySelectorAll('table.main')[0].querySelectorAll('td, th')].map(one => {"
        "const range = new Range(); range.selectNodeContents(one);"
        "return Math.max(range.getBoundingClientRect().right, one.getBoundingClientRect().right)})"
    )
    found = chrome.run(ends)
    assert len(found) > 30
    assert max(found) <= 390
    said = f"{ROWS}[0].cells[1]"
    assert chrome.run(f"getComputedStyle({said}, '::before').content").startswith('"top-1')
    chrome.run("document.querySelector('.tools input[type=search]').focus()")
    chrome.write("ddpm" if name == "published" else "number=17")
    shown = chrome.run(f"{ROWS}.length")
    high = "[...document.querySelectorAll('table.main tbody')[0].rows].filter(one => one.offsetHeight).length"
    assert 0 < shown == chrome.run(high) < chrome.run(f"{ROWS}[0].parentNode.rows.length")


def test_columns_are_sorted_by_click_and_by_key(chrome: Browser, pages: dict[str, str]) -> None:
    chrome.open(pages["many"])
    board = chrome.run(f"{ROWS}.map(one => one.dataset.text)")
    place = chrome.run(
        "[...document.querySelectorAll('table.main th')].findIndex(one => one.innerText.startsWith('Δ'))"
    )
    values = f"{ROWS}.map(one => one.cells[{place}].dataset.v)"
    head = f"document.querySelectorAll('table.main th')[{place}]"
    assert chrome.run(f"{head}.getAttribute('aria-sort')") == "none"
    chrome.run(f"{head}.querySelector('button').focus()")
    chrome.press("Enter")
    found = chrome.run(values)
    numbers = [float(one) for one in found if one]
    assert len(found) == 200
    assert numbers == sorted(numbers, reverse=True)
    assert found[len(numbers) :] == [""] * (200 - len(numbers))  # a baseline has none, and is last
    assert chrome.run(f"{head}.getAttribute('aria-sort')") == "descending"
    chrome.press(" ")
    found = chrome.run(values)
    assert [float(one) for one in found if one] == sorted(numbers)
    assert found[-1] == ""
    assert "sort=" in chrome.run("location.hash")
    shared = chrome.run("location.href")
    chrome.run(f"{head}.querySelector('button').click()")
    assert chrome.run(f"{ROWS}.map(one => one.dataset.text)") == board
    assert chrome.run("location.hash") == ""
    chrome.open(shared)  # as somebody does who was sent the address
    assert chrome.run(values) == found
    assert chrome.run(f"{head}.getAttribute('aria-sort')") == "ascending"


def test_rows_are_filtered_by_words_and_by_kind(chrome: Browser, pages: dict[str, str]) -> None:
    chrome.open(pages["many"])
    chrome.run("document.querySelector('.tools input[type=search]').focus()")
    chrome.write("NUMBER=17 made")
    shown = chrome.run(f"{ROWS}.map(one => one.dataset.text)")
    assert 1 <= len(shown) < 20
    assert all("number=17" in one for one in shown)
    assert chrome.run("document.querySelector('.tools output').textContent") == f"{len(shown)} of 200 rows"
    chrome.run("document.querySelector('.tools input[value=\"cannot tell\"]').click()")
    fewer = chrome.run(f"{ROWS}.map(one => one.dataset.kind)")
    assert 0 < len(fewer) < len(shown)
    assert "cannot tell" not in fewer
    chrome.open(chrome.run("location.href"))
    assert chrome.run(f"{ROWS}.map(one => one.dataset.kind)") == fewer
    assert chrome.run("document.querySelector('.tools input[type=search]').value") == "NUMBER=17 made"


def test_a_row_opens_by_key_shows_its_pictures_and_gives_the_focus_back(
    chrome: Browser, pages: dict[str, str]
) -> None:
    chrome.open(pages["published"])
    chrome.run("document.querySelectorAll('table.main tbody a')[2].focus()")
    chrome.press("Enter")
    assert chrome.run("document.querySelector('dialog').open") is True
    title = chrome.run("document.querySelector('dialog h2').textContent")
    assert title.startswith("DDPM")
    assert chrome.run("document.querySelector('dialog img').naturalWidth") == 40
    assert chrome.run("document.querySelectorAll('dialog svg').length") >= 3
    shared = chrome.run("location.href")
    chrome.run("document.querySelector('dialog [data-step=\"1\"]').click()")
    assert chrome.run("document.querySelector('dialog h2').textContent") != title
    # The second row has the same images, which are in the page once.
    assert chrome.run("document.querySelector('dialog img').naturalWidth") == 40
    chrome.press("Escape")
    assert chrome.run("document.querySelector('dialog').open") is False
    assert chrome.run("document.activeElement.dataset.open") is not None
    until = time.monotonic() + 10  # `close` is told to the page a moment later
    while chrome.run("document.querySelector('dialog .body').childElementCount") != 0:
        assert time.monotonic() < until
    chrome.open(shared)
    assert chrome.run("document.querySelector('dialog h2').textContent") == title
    chrome.run("document.querySelector('dialog [data-copy]').click()")
    assert chrome.run("document.querySelector('dialog [data-copy]').textContent") in {
        "Copied",
        "Selected",
        "Copy",
    }


@pytest.mark.skipif(
    not AXE.is_file(), reason="needs axe-core: npm install --no-save axe-core, or its path in GENBENCH_AXE"
)
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1600, False)])
def test_axe_finds_nothing(chrome: Browser, pages: dict[str, str], width: int, dark: bool) -> None:
    chrome.open(pages["published"], width=width, dark=dark)
    chrome.run("document.querySelectorAll('details').forEach(one => (one.open = true))")
    chrome.run(AXE.read_text(encoding="utf-8"))
    found = _violations(chrome)
    chrome.run("document.querySelectorAll('table.main tbody a')[2].click()")
    assert chrome.run("document.querySelector('dialog').open") is True
    assert [*found, *_violations(chrome, "'dialog'")] == []


def _violations(chrome: Browser, inside: str = "document") -> list[Any]:
    said = "({id, nodes}) => [id, nodes.slice(0, 3).map(one => one.html.slice(0, 200))]"
    found: list[Any] = chrome.run(f"axe.run({inside}).then(found => found.violations.map({said}))")
    return found
