"""What became of the conclusions of all experiments that were replayed: a table over a folder of results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench import terminal
from genbench.escaping import markdown_text
from genbench.replays.experiment import Effect
from genbench.replays.outcome import Conclusion
from genbench.replays.shown import difference_text, reported_effect
from genbench.replays.tables import Table, markdown, plain
from genbench.replays.words import counted
from genbench.untrusted import parse_json, read_text

if TYPE_CHECKING:
    from genbench_leaderboard.replays import Judged

#: What a replay leaves in its folder.
TABLES = ("replay.md", "replay.json")

_MOST_BYTES = 16 * 2**20
_DEPTH = 16
_COLUMNS = ("replayed", "controlled")
_INTRODUCTION = (
    "`replayed` is the source's own protocol, as far as it is known, over several seeds; `controlled` has "
    "equal optimizer steps, the last weights, test read once, and the same free augmentation in all arms. A "
    "difference is in points, ± the half-width of its 95 % interval over new seeds and new test images. "
    "*scaled*: the same comparison with fewer and smaller images and smaller models, which a CPU can run. It "
    "shows a direction, and neither confirms nor refutes the source."
)


@dataclass(frozen=True)
class Concluded:
    """The conclusions of one experiment, as its last replay left them.

    Attributes:
        name: Of the experiment.
        version: `whole` or `scaled`.
        folder: Where its tables are.
        conclusions: One per reported effect.
        problem: Why its file cannot be read; empty where it can.
    """

    name: str
    version: str
    folder: Path
    conclusions: tuple[Conclusion, ...] = ()
    problem: str = ""


def folder_of(out: Path, name: str, *, is_scaled: bool) -> Path:
    """Return the folder of an experiment in a folder of results."""
    return out / (f"{name}-replay-scaled" if is_scaled else f"{name}-replay")


def concluded(out: Path, names: Sequence[str]) -> list[Concluded]:
    """Read the conclusions of all experiments that were replayed into a folder of results."""
    found = []
    for name in names:
        for version in ("whole", "scaled"):
            folder = folder_of(out, name, is_scaled=version == "scaled")
            if (folder / TABLES[1]).is_file():
                found.append(_read(name, version, folder))
    return found


def states(found: Sequence[Concluded]) -> Mapping[str, str]:
    """Say which versions of each experiment were run, in words."""
    versions: dict[str, list[str]] = {}
    for one in found:
        versions.setdefault(one.name, []).append(one.version)
    return {name: ", ".join(there) for name, there in versions.items()}


def conclusions_text(found: Sequence[Concluded]) -> str:
    """Return the conclusions for a terminal; nothing where none was replayed."""
    blocks = ["\n".join(terminal.filled(line) for line in _summary(found))]
    blocks += [plain(table) for table in [_table(found)] if table.rows]
    return "\n\n".join(block for block in blocks if block)


def conclusions_markdown(found: Sequence[Concluded], out: Path) -> str:
    """Return the conclusions as a Markdown page with links from `out`; nothing where none was replayed."""
    if not found:
        return ""
    pages = [
        f"* [{one.name}]({(one.folder / TABLES[0]).relative_to(out).as_posix()}), {one.version}"
        for one in found
    ]
    table = _table(found)
    blocks = [
        "# Published conclusions, replayed",
        _INTRODUCTION,
        "\n".join(f"* {markdown_text(line)}" for line in _summary(found)),
        markdown(table) if table.rows else "",
        "What was measured, what the sources left open, and what was done otherwise:",
        "\n".join(pages),
        "## All experiments",
    ]
    return "\n\n".join(block for block in blocks if block)


def conclusions_entries(found: Sequence[Concluded]) -> Mapping[str, list[dict[str, str]]]:
    """Return the conclusions of each experiment: the cells of the table by the names of its columns."""
    table = _table(found)
    entries: dict[str, list[dict[str, str]]] = {}
    for name, *cells in table.rows:
        entries.setdefault(name, []).append(dict(zip(table.header[1:], cells, strict=True)))
    return entries


def _summary(found: Sequence[Concluded]) -> Iterator[str]:
    """Count the verdicts of each column, in a sentence each; then say what could not be read."""
    effects = [one for each in found for one in each.conclusions]
    for column in _COLUMNS:
        words = [judged.word for one in effects if (judged := getattr(one, column)) is not None]
        if words:
            of = terminal.count(len(words), "reported effect")
            yield counted(f"Of {of}, as {column}", [(word, "") for word in words])
    yield from (one.problem for one in found if one.problem)


def _table(found: Sequence[Concluded]) -> Table:
    header = ("experiment", "version", "effect", "reported", *_COLUMNS)
    rows = tuple(
        (
            each.name,
            each.version,
            one.effect.name,
            reported_effect(one),
            *(_in_one(getattr(one, column), one.effect.unit) for column in _COLUMNS),
        )
        for each in found
        for one in each.conclusions
    )
    return Table(header, rows, right=(3,), whole=(0,))


def _in_one(judged: "Judged | None", unit: str) -> str:
    """Write a difference and its verdict in one cell."""
    if judged is None:
        return "-"
    why = f" ({judged.why})" if judged.why else ""
    return f"{judged.word}{why}: {difference_text(judged, unit)}" if judged.found else f"{judged.word}{why}"


def _read(name: str, version: str, folder: Path) -> Concluded:
    file = folder / TABLES[1]
    try:
        content = parse_json(read_text(file, _MOST_BYTES), _DEPTH)
        effects = tuple(_conclusion(one) for one in content["effects"])
    except (ValueError, KeyError, TypeError) as problem:
        again = f"genbench replay {name}{' --scale' if version == 'scaled' else ''}"
        said = f"{file} is not what a replay leaves ({type(problem).__name__}); `{again}` writes it anew"
        return Concluded(name, version, folder, problem=said)
    return Concluded(name, version, folder, effects)


def _conclusion(entry: Any) -> Conclusion:
    """Rebuild a conclusion from its entry in replay.json.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    from pydantic import TypeAdapter

    from genbench_leaderboard.replays import Judged

    judged = TypeAdapter(Judged)
    return Conclusion(
        Effect(**{name: entry[name] for name in Effect.model_fields}),
        *(judged.validate_python(entry[column]) if entry[column] else None for column in _COLUMNS),
    )
