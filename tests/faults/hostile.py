"""Hostile records: a small honest board to change, ways to change it, and what must never come of it."""

import contextlib
import copy
import csv
import io
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from copy_tables import CODE, copy_table
from genbench.digest import digest
from genbench.errors import DataError, GenbenchError
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import (
    Component,
    Cost,
    DatasetImages,
    Ledger,
    PluginCode,
    Protocol,
    Record,
    Result,
    Run,
    Sampled,
    Source,
    pack_bits,
)
from genbench_leaderboard.board import build_board
from genbench_leaderboard.page import render_page
from genbench_leaderboard.tables import (
    render_csv,
    render_json,
    render_latex,
    render_markdown,
    render_terminal,
)

Body = dict[str, Any]
Path = tuple[str | int, ...]

RENDERERS: dict[str, Callable[[Any], str]] = {
    "md": render_markdown,
    "txt": render_terminal,
    "tex": render_latex,
    "csv": render_csv,
    "json": render_json,
}

# ------------------------------------------------------------------------------------------ an honest board

TEST = 40
_PROTOCOL = Protocol(preset="quick", reference=Component("cnn", label="reference-net"))
_DATA = DatasetImages("cd" * 32, train=100, val=20, test=TEST, shifts={"natural-shift-9": TEST})
_NETWORK = Component("cnn", config={"recipe": {"epochs": 3}}, label="cnn:recipe.epochs=3")
_DIGITS = Component("digits", label="digits:size=8")
_DDPM = Component("ddpm", config={"timesteps": 100}, label="ddpm:timesteps=100", external_data=("laion",))


def _run(seconds: float, log: str = "") -> Run:
    return Run(
        "2026-01-01T00:00:00+00:00",
        "genbench run -g ddpm:timesteps=100 -c cnn",
        {"device": "cpu", "cores": 2, "flags": {"amx": [1, True]}},
        {"torch": "2.9", "genbench": "0.1"},
        costs=(Cost("fit", seconds, 2**30, "cpu"),),
        plugins=(PluginCode("generator", "ddpm", sha256="ef" * 32, distribution="genbench 0.1"), CODE),
        curves={"train": ({"step": 1.0, "loss": 2.0},)},
        log=log,
    )


def _keyed(result: Result) -> Result:
    parts = (result.generator, result.filter, result.evaluator)
    about = [*(part.identity for part in parts), result.subject, result.index]
    return Result(**{**vars_of(result), "key": digest(about)})


def vars_of(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in Result.__dataclass_fields__}


def _result(generator: Component, index: int, evaluator: str, **entries: Any) -> Result:
    usual = {
        "subject": "cell",
        "classifier": _NETWORK,
        "mix": Mix(ratio=0.0 if generator.use == "none" else 1.0),
    }
    about: dict[str, Any] = {**usual, **entries}
    about.setdefault("ratio", about["mix"].ratio if about["mix"] else 1.0)
    return _keyed(
        Result(
            status=about.pop("status", "ok"), dataset=_DIGITS, generator=generator, filter=Component("none"),
            evaluator=Component(evaluator, label=evaluator), index=index, protocol=_PROTOCOL, key="",
            planned_indices=5, data=_DATA, **about,
        )
    )  # fmt: skip


def _accuracy(generator: Component, index: int, right: int) -> Record:
    def table(size: int) -> Body:
        half = size // 2
        first = min(right, half)
        counts = [[first, half - first], [half - right + first, right - first]]
        rows = [
            {"class": name, "n": half, "correct": counts[at][at]} for at, name in enumerate(("cat", "a dog"))
        ]
        return {
            "n": size, "correct_bits": pack_bits(image < right for image in range(size)),
            "per_class": rows, "confusion": counts,
        }  # fmt: skip

    percent = 100 * right / TEST
    metrics = (
        Metric("top1", percent, "%", True, (0, 100), 1e-9, split="test", n=TEST),
        Metric("top1", 50.0, "%", True, (0, 100), 1e-9, split="val", n=20),
        Metric("top1", percent, "%", True, (0, 100), 1e-9, split="natural-shift-9", n=TEST),
        Metric("log_loss", 0.3, "nats", False, (0, None), note="A note.", split="test", qualifiers=("k=3",)),
    )
    images = Sampled(100, 103, 95, {"blank": 8}, {"test": 1}, 90) if generator.use != "none" else None
    synthetic = Source(90, 90, 600) if images else None
    ledger = Ledger(Source(100, 100, 600), synthetic, images, steps=10)
    tables = {"test": table(TEST), "natural-shift-9": table(TEST)}
    result = _result(generator, index, "accuracy", metrics=metrics, tables=tables, ledger=ledger)
    return Record(result, _run(60.0 + index + 30 * bool(images)))


def honest() -> list[Body]:
    """Return a small board's records as JSON: five seeds against a baseline, images, a suite, failures."""
    found = []
    for index in range(5):
        found += [_accuracy(Component("none"), index, 24 + index), _accuracy(_DDPM, index, 37 + index % 3)]
    images: dict[str, Any] = {"subject": "image_set", "classifier": None, "mix": None, "ratio": 1.0}
    about = {"split": "synthetic", "against": "train", "extractor": "reference", "n": 90}
    fid = (Metric("fid", 12.5, **about), Metric("fid", 3.5, **{**about, "split": "train"}, role="floor"))  # type: ignore[arg-type]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("fid", {"metrics": fid}),
        ("vendi", {"metrics": (Metric("vendi", 7.0, "images", split="synthetic", n=90),)}),
        ("copies", {"tables": {"copies": copy_table(TEST, (0, 1))}}),
        ("kid", {"status": "failed", "reason": "sample ddpm: no images were made"}),
    ]  # fmt: skip
    for evaluator, entries in kinds:
        result = _result(_DDPM, 0, evaluator, **images, **entries)
        found.append(Record(result, _run(1.0, log="logs/ab12.log" if result.reason else "")))
    suite = {**images, "subject": "suite", "ratio": 0.0}
    spearman = (Metric("spearman", 0.5, note="Of 3 rows.", qualifiers=("fid[reference,train]", "cnn")),)
    found.append(Record(_result(Component("none"), 0, "usefulness", **suite, metrics=spearman), _run(1.0)))
    broken = _result(
        Component("cvae", label="cvae"), 1, "accuracy", status="failed", reason="fit cvae: it broke"
    )
    found.append(Record(broken, _run(1.0, log="logs/cd34.log")))
    return [json.loads(record.to_json()) for record in found]


# ------------------------------------------------------------------------------------------------- changes

#: What becomes active somewhere: tags, links, pictures, blocks of Markdown, formulas, escape sequences.
PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](http://evil.example)",
    "![pixel](http://evil.example/a.png)",
    "http://evil.example/x",
    "www.evil.example",
    "user@evil.example",
    "<http://evil.example>",
    "&#x3c;script&#x3e;&lt;b&gt;",
    "x\n\n# Heading\n\n- item\n",
    "x\n```\n<script>alert(1)</script>\n```sh\n",
    "````\n<b>x</b>",
    "a | b | c\n|---|---|\n| <i>x</i> |",
    "=HYPERLINK(\"http://evil.example\")",
    "+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\uff1dHYPERLINK(A1)",
    "-2+3+cmd|' /C calc'!A0",
    "\x1b[2J\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "a\rb\x08c\x00d\x7fe\x9b31mf",
    "\u202eevil\u2066\u200b\u2069\ufeff",
    "**bold** _it_ ~~gone~~ `code` $\\href{http://evil.example}{x}$",
    "> quote",
    "1. item",
    "- [ ] task",
    "[x]: http://evil.example\n[x]",
    "\\](http://evil.example) \\<b> \\` \\|",
    "</table></td><td>",
    "x](http://evil.example) [y",
    "~~~\n<b>",
    "    indented <b>code</b>",
    "===\n---\n***",
    "\U000e0041\u2028\u2029\u0085<b>",
    "'\" onmouseover=alert(1) x='",
    "javascript:alert(1)",
    "[a][b] [c]: <http://evil.example>",
    "a\u00a0http://evil.example",
    "HTTPS://EVIL.EXAMPLE ftp://evil.example mailto:u@evil.example",
    "_a_ __b__ a_b_ _",
)  # fmt: skip

#: What JSON can spell, and few records hold.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53, 2**70, -(2**70), 0.5, -0.5, 1e-300, 1e100, 1e308, -1e308, 97.5,
    "", "x", "97.5", "none", "test", "val", "train", "synthetic", "accuracy", "memorization", "cell",
    "image_set", "ok", "failed", "cpu", "%", "ä\n\u2028", "x" * 5_000, [], {}, [1], {"x": 1}, [[]], {"n": 1},
    [None, None], [[1, 2], [3]], ["test"], [[0.5, 1e200]], {"": {"": {"": [{}]}}}, {"test": None},
    {"copies": {"p": 0.0}},
)  # fmt: skip


_CHANGES = (
    *("remove", "odd", "odd", "repeat", "rename", "scale", "nest", "swap", "splice"),
    *("inject", "inject", "inject"),
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value below a value."""
    entries: dict[Any, Any] = value if isinstance(value, dict) else {}
    for name, inner in [*entries.items(), *(enumerate(value) if isinstance(value, list) else ())]:
        yield (*path, name)
        yield from places(inner, (*path, name))


def at(body: Any, path: Path) -> Any:
    for step in path:
        body = body[step]
    return body


def put(body: Any, path: Path, value: Any) -> None:
    at(body, path[:-1])[path[-1]] = value


def mutated(body: Body, others: Sequence[Body], rng: random.Random) -> Body:
    """Return a copy with one to four changes of its parts."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        found = [path for path in places(body) if path[0] in {"result", "run"} and path[1:]]
        if found:
            _change(body, rng.choice(found), others, rng)
    return body


def _change(body: Body, path: Path, others: Sequence[Body], rng: random.Random) -> None:
    """Change one place: remove, replace, repeat, rename, negate, enlarge, nest, swap, splice or inject."""
    inner, last = at(body, path[:-1]), path[-1]
    value = inner[last]
    kind = rng.choice(
        ["remove", "odd", "odd", "repeat", "rename", "scale", "nest", "swap", "splice", "inject", "inject"]
    )
    if kind == "remove":
        del inner[last]
    elif kind == "repeat" and isinstance(inner, list):
        inner.insert(rng.randrange(len(inner) + 1), copy.deepcopy(value))
    elif kind == "rename" and isinstance(inner, dict):
        inner[rng.choice(["", "x", "test", f"{last}_", rng.choice(PAYLOADS)])] = inner.pop(last)
    elif kind == "scale" and type(value) in {int, float}:
        factor = rng.choice([-1, 0, 1e-9, 2, 10**6, 10**40])
        inner[last] = max(-1e308, min(1e308, value * factor))
    elif kind == "nest":
        inner[last] = rng.choice([[value], {"value": value}, {"a": [value]}])
    elif kind == "swap" and isinstance(inner, dict):
        other = rng.choice(list(inner))
        inner[last], inner[other] = inner[other], inner[last]
    elif kind == "splice":
        other_body = rng.choice(others)
        found = [one for one in places(other_body) if one[-1] == last]
        inner[last] = copy.deepcopy(at(other_body, rng.choice(found))) if found else None
    elif kind == "inject" and isinstance(value, str):
        inner[last] = (
            value[: rng.randrange(len(value) + 1)]
            + rng.choice(PAYLOADS)
            + value[rng.randrange(len(value) + 1) :]
        )
    else:
        inner[last] = copy.deepcopy(rng.choice(ODD_VALUES))


def sealed(body: Body) -> str:
    """Write a body with the digests of what it holds, as somebody does who knows how."""
    with contextlib.suppress(GenbenchError, KeyError):  # else they are wrong, and it must be refused
        body = {**body, **{f"{part}_sha256": digest(body[part]) for part in ("result", "run")}}
    return json.dumps(body)


# ------------------------------------------------------------------------------------------ what must hold


def read(text: str) -> Record | None:
    """Read a record or see one clear line; nothing but `DataError` may be raised."""
    try:
        record = Record.from_json(text, "odd.json")
    except DataError as problem:
        assert_clear(problem, "odd.json: ")
        return None
    assert Record.from_json(record.to_json()) == record  # what is read can be written
    return record


def assert_clear(problem: GenbenchError, says: str) -> None:
    """See that a refusal is one line, names its file, and has a next step."""
    message = problem.message
    assert says in message, message[:200]
    assert message.isprintable(), message[:200]
    assert len(message) < 5_000
    assert problem.hint


def rendered(records: Sequence[Record]) -> dict[str, str]:
    """Return the board in every form; a rule of the protocol may refuse it, in words."""
    try:
        board = build_board(records)
    except GenbenchError:
        return {}
    page = render_page(board, records)
    return {"page": page, **{form: render(board) for form, render in RENDERERS.items()}}


def assert_dead(pages: dict[str, str]) -> None:
    """See that nothing on the pages is anything but text."""
    for form, text in pages.items():
        unseen = sorted({one for one in text if not one.isprintable() and one != "\n"})
        assert not unseen, f"{form}: {unseen!r}"
    if "md" in pages:
        assert_dead_markdown(pages["md"])
    if "tex" in pages:
        assert_dead_latex(pages["tex"])
    if "csv" in pages:
        assert_dead_csv(pages["csv"])
    if "json" in pages:
        json.loads(pages["json"])
    if "page" in pages:
        assert_dead_page(pages["page"])


_RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_BLOCKS = {"heading", "paragraph", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"}
_LINES = {"text", "softbreak", "text_special"}
#: What GitHub makes a link of, wherever it stands in text (GFM, section 6.9), and whom it calls. Others take
#: `//name` for an address, too.
_AUTOLINK = re.compile(r"(?i)//|www\.|[\w.+-]@[^\s\u2060]|(?<!\w)@\w")


#: The tags of a board: its folded parts, which have titles of ours.
_FOLDED = re.compile(r"<details>\n<summary>[A-Z][a-z, ]+</summary>\n?|</details>\n?")


def assert_dead_markdown(text: str, pictures: int = 0) -> None:
    """See that a page has headings, lists, tables and fenced commands, and besides nothing but text.

    A board also has folded parts, and links to its own headings.
    """
    for token in _RENDERER.parse(text):
        kind = re.sub(r"_(open|close)$", "", token.type)
        if kind == "html_block":
            assert _FOLDED.fullmatch(token.content), token.content[:80]
            continue
        assert kind in {*_BLOCKS, "inline", "fence"}, f"{token.type}: {token.content[:80]!r}"
        assert kind != "fence" or token.info in {"sh", "json"}, token.info[:80]
        inline = token.children or []
        odd = {child.type for child in inline if not _is_own_link(child)} - _LINES
        assert odd <= ({"image"} if pictures else set()), f"{odd} in {token.content[:120]!r}"
        plain = "".join(child.content for child in inline if child.type != "image")
        live = _AUTOLINK.search(plain)
        assert not live, f"{live and live[0]!r} in {plain[:120]!r}"


#: What the page of a board is made of; `script` and `style` are its own, whatever the records say.
_PAGE_TAGS = re.findall(
    r"\S+",
    "html head meta title style body a header h1 h2 h3 p main nav ol ul li br span section div label "
    "input fieldset legend output table caption thead tbody tr th td small details summary figure "
    "figcaption img dl dt dd pre button dialog footer script svg desc g text line rect circle polygon "
    "polyline path ",
)
_PAGE_ATTRIBUTES = re.findall(
    r"\S+",
    "lang charset http-equiv content name class href id aria-labelledby aria-label role tabindex "
    "data-of hidden type autocomplete spellcheck value checked data-sortable scope data-kind data-name "
    "data-text data-v data-open data-copy data-step data-close data-same autofocus viewbox width height "
    "font-family font-size font-weight fill stroke x y x1 x2 y1 y2 cx cy r d points stroke-width "
    "stroke-dasharray "
    "text-anchor paint-order opacity fill-opacity transform src alt ",
)


class _Page(HTMLParser):
    """Refuses a page that has a tag, an attribute or an address that is not its own."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _PAGE_TAGS, tag
        for name, value in attrs:
            assert name in _PAGE_ATTRIBUTES, (tag, name)
            assert name != "href" or (value or "").startswith("#"), value
            assert name != "src" or (value or "").startswith("data:image/png;base64,"), (value or "")[:80]


def assert_dead_page(text: str) -> None:
    """See that a page has no tags, attributes and addresses but its own: whatever else is there is text."""
    scripts = re.findall(r"<script>.*?</script>", text, re.DOTALL)
    assert len(scripts) == 1
    bare = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    reader = _Page()
    reader.feed(bare)
    reader.close()


def _is_own_link(child: Token) -> bool:
    return child.type == "link_close" or (
        child.type == "link_open" and str(child.attrs["href"]).startswith("#")
    )


#: The commands of a board, those that stand for a character, and what is written for one.
_LATEX = re.compile(
    r"\\(begin|end)\{(table|tabular|itemize)\}|\\ensuremath\{(-|\\pm|\\Delta|\^\{2\})\}|\[htbp\]"
    r"|\\(centering|toprule|midrule|bottomrule|item)(?= |\n)|\\caption\[\{|\}\]\{|\}\n|\{[lr]+\}\n"
    r"|\\(text\w+|dag|ddag|S)\{\}|\\[&%$#_{}]|\{[^{}\\]\}| \\\\\n| & |^%.*"
    r"|\\label\{tab:[a-z0-9.-]+\}\n"
)


def assert_dead_latex(text: str) -> None:
    """See that a document has the commands of a board and no others, and that all it opens is closed."""
    assert text.count("\\begin{") == text.count("\\end{")
    bare = _LATEX.sub("", text)
    assert not set(bare) & set("\\{}$&#^_~%[]<>|`"), bare[:200]


def assert_dead_csv(text: str) -> None:
    """See that every cell is a number, or a text that no spreadsheet computes."""
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        first = unicodedata.normalize("NFKC", cell.strip(' "\t\r\n')[:1])
        assert first not in {"=", "@", "+", "-"} or re.fullmatch(r"[-+]\d[\w. =±]*(e[-+]\d+)?", cell), cell[
            :80
        ]


class _Tags(HTMLParser):
    """Collects the tags of a document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag, *(name for name, _ in attrs)]


def tags_of(html: str) -> list[str]:
    """Return the tags and the names of the attributes of a document, in their order."""
    reader = _Tags()
    reader.feed(html)
    return reader.found


def pictures_of(markdown: str) -> list[str]:
    """Return the addresses of the pictures on a page."""
    inline = [child for token in _RENDERER.parse(markdown) for child in token.children or []]
    return [str(child.attrs["src"]) for child in inline if child.type == "image"]


def inline_of(markdown: str) -> list[str]:
    """Return what the lines of a page consist of: texts, inline code."""
    return [child.type for token in _RENDERER.parse(markdown) for child in token.children or []]


def shape_of(markdown: str) -> list[str]:
    """Return the blocks of a page: what a payload must not change."""
    return [f"{token.type} {token.tag}" for token in _RENDERER.parse(markdown)]
