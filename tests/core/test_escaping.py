"""Text for each target: ordinary labels look as they are, and hostile ones stay text."""

import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.hostile import PAYLOADS, assert_dead_csv, assert_dead_markdown, pictures_of, shape_of, tags_of
from genbench.escaping import (
    csv_cell,
    file_name,
    html_text,
    json_text,
    latex_text,
    markdown_block,
    markdown_link,
    markdown_span,
    markdown_text,
    one_line,
    shortened,
    terminal_text,
)

ORDINARY = (
    "ddpm:timesteps=100,recipe.epochs=3",
    "natural-shift-9",
    "+1.0x standard",
    "replace 0.5x p=0.25 shear_zoom",
    "80.15 ±0.45",
    "-3.72 ±6.72",
    "top1[computed,cifar10.1-v6]",
    "fid[reference,train]",
    "generalisation_gap (points)",
    "<0.001",
    "FID (reference, n=1079)",
    "ddpm #3f2a",
    "Größe 9, 猫 & Co.",
    "none, standard: 3 of 5",
)

texts = st.lists(
    st.sampled_from(PAYLOADS) | st.text(max_size=12) | st.sampled_from(list("\\`|_*[]()<>&#~!@$:"))
).map("".join)


@pytest.mark.parametrize("label", ORDINARY)
def test_ordinary_labels_look_as_they_are(label: str) -> None:
    assert [form(label) for form in (markdown_text, one_line, terminal_text, csv_cell)] == [label] * 4
    assert shape_of(markdown_text(label)) == ["paragraph_open p", "inline ", "paragraph_close p"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b*c`d~e$f\\", r"a\|b\*c\`d\~e\$f\\"),
        ("<b> a<b a < b", r"\<b> a\<b a < b"),
        ("&lt; &#x3c; A & B; C&", r"\&lt; \&#x3c; A & B; C&"),
        ("[a](b) [a][b] [a]: b [a]", r"[a\](b) [a\][b] [a\]: b [a]"),
        ("_a_ a_b __c", r"\_a\_ a_b \_\_c"),
        ("http://x www.x a@b @c", "http:/&#8288;/x www&#8288;.x a@&#8288;b @&#8288;c"),
        ("# a # b", r"\# a # b"),
        ("1. a 2. b", r"1\. a 2. b"),
        ("- a - b", r"\- a - b"),
        ("> a > b", r"\> a > b"),
        ("a\r\n\n# b", "a   # b"),
        ("\x1b[2J\u202e", r"\\x1b[2J\\u202e"),
    ],
)
def test_markdown_is_written_so(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


@settings(max_examples=300, deadline=None)
@given(texts)
def test_no_text_is_markup_in_markdown(text: str) -> None:
    shown = markdown_text(text)
    page = f"{shown}\n\n- {shown}\n- b\n\n## {shown}\n\n| {shown} | b |\n| :-- | --: |\n| {shown} | c |\n"
    assert_dead_markdown(page)
    assert shape_of(page).count("th_open th") == shape_of(page).count("td_open td") == 2
    picture = f"![{markdown_link(text)}](a.png)"
    assert pictures_of(picture) == ["a.png"]
    assert_dead_markdown(picture, pictures=1)
    block = f"a\n\n{markdown_block(text, 'sh')}\n\nb"
    assert [kind for kind in shape_of(block) if kind.startswith("fence")] == ["fence code"]
    assert len(shape_of(block)) == 7


def test_code_is_between_more_backticks_than_it_holds() -> None:
    assert markdown_span("a") == "`a`"
    assert markdown_span("``a`") == "``` ``a` ```"
    assert markdown_span("") == ""
    assert markdown_block("a\n```\nb", "sh") == "````sh\na\n```\nb\n````"
    assert markdown_block("genbench run", "sh") == "```sh\ngenbench run\n```"


@settings(max_examples=200, deadline=None)
@given(texts)
def test_no_text_is_active_in_html_csv_json_and_terminals(text: str) -> None:
    shown = html_text(text)
    assert tags_of(f"<p title=\"{shown}\">{shown}</p><p title='{shown}'>") == ["p", "title", "p", "title"]
    written = io.StringIO()
    csv.writer(written).writerow([csv_cell(text), csv_cell(-1.5)])
    assert_dead_csv(written.getvalue())
    assert terminal_text(text).replace("\n", "").isprintable()
    assert one_line(one_line(text)) == one_line(text)
    document = json.dumps([text], ensure_ascii=False)
    assert json.loads(json_text(document)) == [text]
    assert json_text(document).isprintable()


@settings(max_examples=200, deadline=None)
@given(texts)
def test_no_special_character_is_bare_in_latex(text: str) -> None:
    bare = re.sub(r"\\(text\w+\{\}|[&%$#_{}])|\{[^{}\\]\}", "", latex_text(text))
    assert not set(bare) & set("\\{}$&#^_~%[]<>|`")


@pytest.mark.parametrize("value", [1, -1.5, 0.0, None, True, -(10**20)])
def test_numbers_stay_numbers_in_csv(value: object) -> None:
    assert csv_cell(value) is value


@pytest.mark.parametrize(
    "text",
    ["=1", "+cmd|x", "-2+3", "@A1", "\t=1", "\r=1", " =1", '"=1', "'=1", "\uff1d1", "\uff0bA(1)", "\u22121"],
)
def test_what_a_spreadsheet_would_compute_is_quoted(text: str) -> None:
    assert str(csv_cell(text)).startswith("'")
    assert str(csv_cell(text)).endswith(one_line(text))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_file_names_name_one_file_here(text: str) -> None:
    name = file_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert len(name) <= 120


def test_long_file_names_stay_apart() -> None:
    assert file_name("x" * 500) != file_name("x" * 501)
    assert file_name("a b/c") == "a-b-c"


def test_long_texts_say_how_long_they_are() -> None:
    assert shortened("x" * 10**6, 5) == "xxxxx... (1,000,000 characters)"
    assert shortened("xxxxx", 5) == "xxxxx"
    assert terminal_text("a\nb\x1b" * 10, 4) == "a\nb\\x1b... (40 characters)"
