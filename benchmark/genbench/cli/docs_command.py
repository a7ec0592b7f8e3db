"""`genbench docs`."""

import sysconfig
from importlib import metadata
from pathlib import Path

import click

from genbench.cli._output import Styled, echo
from genbench.errors import UsageError, did_you_mean
from genbench.terminal import entry

_INSTALLED = "share/doc/genbench/"
_DEPTH = 1  # `design/copies` is a page; what examples hold is not


@click.command("docs")
@click.argument("name", required=False)
@click.option("--path", "only_path", is_flag=True, help="Print where the page is, instead of the page.")
def command(name: str | None, only_path: bool) -> None:
    """Print a page of the documentation, as it came with this version; without NAME, list the pages.

    \b
    genbench docs protocol
    genbench docs writing-a-plugin | less
    """
    pages = documentation()
    if name is None:
        echo(Styled("pages", bold=True))
        width = max(map(len, pages), default=0)
        for page, path in pages.items():
            echo(entry("  ", [(page, width)], _title(path)))
        return
    page = name.removeprefix("docs/").removesuffix(".md")
    if page not in pages:
        raise UsageError(f"no page {name!r}. {did_you_mean(page, pages)}", hint="genbench docs")
    echo(str(pages[page]) if only_path else pages[page].read_text(encoding="utf-8").rstrip("\n"))


def documentation() -> dict[str, Path]:
    """Return the Markdown pages by name: those of a checkout, else those that were installed."""
    checkout = Path(__file__).resolve().parents[3] / "docs"
    if (checkout / "protocol.md").is_file():
        found = {path.relative_to(checkout).as_posix(): path for path in checkout.rglob("*.md")}
    else:
        found = _installed()
    pages = {name.removesuffix(".md"): path for name, path in found.items() if name.count("/") <= _DEPTH}
    own = [name for name in pages if not name.startswith("results-repository/")]
    return {name: pages[name] for name in sorted(own, key=lambda name: ("/" in name, name))}


def _installed() -> dict[str, Path]:
    """Return what the distribution lists as its own, wherever the installer put it."""
    try:
        files = metadata.files("genbench") or []
    except metadata.PackageNotFoundError:
        files = []
    listed = {str(file.as_posix()): Path(str(file.locate())).resolve() for file in files}
    found = {
        name.partition(_INSTALLED)[2]: path
        for name, path in listed.items()
        if _INSTALLED in name and name.endswith(".md") and path.is_file()
    }
    folder = Path(sysconfig.get_path("data")) / _INSTALLED
    return found or {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.md")}


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "")
