"""Text that others wrote, made safe for where it is shown: one function for each target, and no others.

Names, labels, reasons and commands come from plugins, records and files that anybody may have written. What
is shown of them is text and nothing else: no link, picture, formula, heading, tag or escape sequence. An
ordinary label looks the same in every target as it does in a record.
"""

import html
import json
import re
import unicodedata

#: Of a label that is shown. The longest of the published records has 70 characters.
LONGEST_LABEL = 300
#: Of a reason or a note that is shown.
LONGEST_SENTENCE = 2_000
#: Of a message that is printed: several lines, each of which may quote a value.
LONGEST_MESSAGE = 10_000

_JOINER = "&#8288;"  # U+2060, invisible: it parts what a reader of Markdown would take for an address


def shortened(text: str, most: int = LONGEST_LABEL) -> str:
    """Return at most the first `most` characters, and say how many there are."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def writable(text: object) -> str:
    r"""Return any value as text that every file takes: what is no UTF-8 in a name becomes an escape.

    >>> writable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def exception_text(problem: BaseException, most: int = LONGEST_SENTENCE) -> str:
    """Return class and text of an exception: `ValueError: no such thing`.

    >>> exception_text(ValueError("no such thing"))
    'ValueError: no such thing'
    """
    try:
        said = str(problem)
    except Exception:  # a stranger's class: it may raise anything here, too
        said = "(it cannot be written)"
    return shortened(writable(f"{type(problem).__name__}: {said}"), most)


def one_line(text: str, most: int | None = None) -> str:
    r"""Return text as one line of printable characters, at most `most` of them where a limit is given.

    White space becomes spaces; anything else that cannot be seen is written as Python writes it.

    >>> one_line("a\tb\x1b[2J\u202e")
    'a b\\x1b[2J\\u202e'
    """
    text = text if most is None else shortened(text, most)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _printable(one) for one in re.sub(r"\s", " ", text))


def _printable(character: str) -> str:
    return character.encode("unicode_escape").decode()


def terminal_text(text: str, most: int | None = None) -> str:
    """Return text for a terminal: lines stay lines, and no character moves the cursor or hides another."""
    text = (text if most is None else shortened(text, most)).replace("\r\n", "\n")
    return "\n".join(map(one_line, text.split("\n")))


# --------------------------------------------------------------------------------------------- Markdown

_MARKDOWN = re.compile(
    r"""
      (?P<begin>^(?:[\#>] | [-+](?=[-+\s]|$) | =(?==*$) | \[(?=[ xX]\]))) # heading, quote, list, rule, task
    | (?P<number>(?<=\d)[.)](?=\s|$))                                  # the point of `1. item`
    | (?P<always>[\\|*`~$])
    | (?P<tag><(?=[A-Za-z/!?]))
    | (?P<entity>&(?=\#?\w+;))
    | (?P<link>\](?=[(\[:]))                                           # `](url)`, `][name]`, `]: url`
    | (?P<emphasis>(?<![^\W_])(?<!_)_+ | _+(?![^\W_]|_))               # no emphasis within a word
    | (?P<address>/(?=/) | www(?=\.) | @(?=\S))
    """,
    re.VERBOSE | re.IGNORECASE,
)


def markdown_text(text: str, most: int | None = None) -> str:
    r"""Return text for a paragraph, heading, list item or table cell of GitHub Markdown, as one line.

    >>> markdown_text("ddpm:timesteps=100, +1.0x standard, top1[computed,cifar10.1-v6] <0.001")
    'ddpm:timesteps=100, +1.0x standard, top1[computed,cifar10.1-v6] <0.001'
    >>> print(markdown_text("![x](http://a.b) <b>"))
    ![x\](http:/&#8288;/a.b) \<b>
    """
    line = one_line(text, most).lstrip()
    numbered = re.match(r"\d{1,9}[.)](?=\s|$)", line)  # elsewhere a point after a number is a point

    def escaped(found: re.Match[str]) -> str:
        kind, what = found.lastgroup, found[0]
        if kind == "address":
            return what + _JOINER
        if kind == "number" and not (numbered and found.end() == numbered.end()):
            return what
        return "".join(f"\\{one}" for one in what)

    return _MARKDOWN.sub(escaped, line)


def markdown_link(text: str, most: int | None = None) -> str:
    """Return text for the square brackets of a link or picture."""
    bare = re.compile(r"\\.|[\[\]]")  # what is escaped already is passed over
    return bare.sub(lambda one: one[0] if len(one[0]) > 1 else f"\\{one[0]}", markdown_text(text, most))


def markdown_span(text: str) -> str:
    """Return text as inline code, between more backticks than it holds in a row; nothing for no text."""
    line = one_line(text)
    pad = " " if line[:1] in {"`", " "} or line[-1:] in {"`", " "} else ""
    ticks = "`" * (_longest_run(line) + 1)
    return f"{ticks}{pad}{line}{pad}{ticks}" if line.strip() else line


def markdown_block(text: str, language: str) -> str:
    """Return lines as a fenced block; the fence is longer than any run of backticks inside."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{terminal_text(text)}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


# ------------------------------------------------------------------------------------ tables and documents

#: A sign before a number and words, as in `+1.0x standard`: nothing that a formula could call.
_SIGNED_WORDS = re.compile(r"[-+]\d[\w. =±]*", re.ASCII)


def csv_cell(value: object) -> object:
    """Return a value for a cell of CSV: numbers as they are, and no text that a spreadsheet would compute.

    >>> csv_cell("=HYPERLINK(A1)"), csv_cell("+1.0x standard"), csv_cell(-1.5)
    ("'=HYPERLINK(A1)", '+1.0x standard', -1.5)
    """
    if not isinstance(value, str):
        return value
    line = one_line(value)
    first = unicodedata.normalize("NFKC", line.lstrip(" \"'")[:1])  # a full-width sign is a sign to some
    is_formula = first in {"=", "+", "-", "@", "\N{MINUS SIGN}"} and not _SIGNED_WORDS.fullmatch(line)
    return f"'{line}" if is_formula else line


def html_text(text: str) -> str:
    """Return text for an element or a quoted attribute of HTML."""
    return html.escape(one_line(text), quote=True)


_LATEX = str.maketrans(
    {
        **{one: f"\\{one}" for one in "&%$#_{}"},
        **{one: f"{{{one}}}" for one in "[]\"'`-"},  # no optional argument, no ligature
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def latex_text(text: str) -> str:
    r"""Return text for LaTeX, outside of mathematics.

    >>> print(latex_text(r"50 % of \input{a_b}"))
    50 \% of \textbackslash{}input\{a\_b\}
    """
    return one_line(text).translate(_LATEX)


def json_text(text: str) -> str:
    r"""Return a JSON document that means the same, with what cannot be seen written as `\uXXXX`."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1]  # white space between values is \n
        for one in text
    )


def file_name(text: str, most: int = 120) -> str:
    """Name a file or folder after any text: letters, digits, `.`, `_` and `-`, no hidden file, no path.

    A long text keeps its beginning, and a few digits of its digest instead of the rest.

    >>> file_name("../ddpm:timesteps=100/0")
    'ddpm-timesteps-100-0'
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-").rstrip(".") or "unnamed"
    if len(name) <= most:
        return name
    from genbench.digest import digest  # here: `genbench --help` prints without it

    return f"{name[: most - 9]}-{digest(ascii(text))[:8]}"
