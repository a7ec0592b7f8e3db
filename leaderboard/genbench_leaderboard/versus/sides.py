"""One side of a comparison: rows with their gains, and how they came to be.

Records say which test images every network got right, and every option. The JSON of a board says neither: its
gains can be compared as those of independent runs alone, and its components by their labels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genbench.digest import digest
from genbench.errors import DataError
from genbench.records import Record
from genbench_leaderboard.board import build_board
from genbench_leaderboard.crossed import Answers
from genbench_leaderboard.export import render_json
from genbench_leaderboard.groups import Entry, RawGroup, make_groups, mix_label
from genbench_leaderboard.settled import settle

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Gain:
    """A difference with the spread that it has over new seeds and new test images, in points."""

    mean: float
    n: int
    standard_error: float | None
    degrees_of_freedom: float | None
    half_width: float | None


@dataclass(frozen=True)
class SideRow:
    """One row.

    Attributes:
        name: As the board prints it.
        likeness: What it is called without options: rows of two sides that share only this are compared, too.
        identity: Digest of generator, filter and mix; empty where only a board is known.
        config: Its options, where they are known.
        top1: Mean accuracy on test in %, or None.
        gain: Against real images alone; None for these, and where nothing could be compared.
        verdict: On the gain.
        void: Why nothing can be concluded from the row, whatever was measured; empty where something can.
        answers: Which test images its networks got right; None where nobody says.
        base: The same of what it is held against.
        keys: Of its records, by seed index.
        parts: What was chosen for it: generator and filter as they are called, and every entry of its mix.
    """

    name: str
    likeness: str
    is_baseline: bool
    top1: float | None
    gain: Gain | None
    verdict: str
    identity: str = ""
    config: Tree = field(default_factory=dict)
    answers: Answers | None = None
    base: Answers | None = None
    keys: Mapping[int, str] = field(default_factory=dict)
    parts: Tree = field(default_factory=dict)
    void: str = ""


@dataclass(frozen=True)
class SideGroup:
    """Rows that share dataset, protocol, budget and classifier.

    Attributes:
        title: Of the group.
        likeness: Dataset and classifier without options.
        kin: Digest of all that its rows share; empty where only a board is known.
        said: What a board says of how it came to be.
        config: The same with every option; empty where only a board is known.
        data: Fingerprint of the stored splits; empty where nobody, or not everybody, says the same.
        base_seed: Of all seeds.
    """

    title: str
    likeness: str
    rows: tuple[SideRow, ...]
    said: Tree
    data: str
    base_seed: int
    kin: str = ""
    config: Tree = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """What one of two names stands for."""

    name: str
    groups: tuple[SideGroup, ...]


def side_of_board(name: str, board: Any) -> Side:
    """Read a side from the JSON of a board.

    Raises:
        DataError: It is none.
    """
    try:
        return Side(name, tuple(_group(group) for group in board["groups"]))
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise DataError(
            f"{name} is not the JSON of a board ({problem!r})",
            hint="genbench leaderboard RECORDS -o board.json writes one; folders of records say more",
        ) from problem


def side_of_records(name: str, records: Iterable[Record]) -> Side:
    """Read a side from records: rows and gains as their board has them, and what only records know."""
    known = list(records)
    board = side_of_board(name, json.loads(render_json(build_board(known))))
    settled, _ = settle(known, {})
    raw = make_groups(settled)
    return Side(name, tuple(_richer(group, one) for group, one in zip(board.groups, raw, strict=True)))


# ------------------------------------------------------------------------------------- from a board's JSON


def _group(group: Mapping[str, Any]) -> SideGroup:
    provenance, declared, protocol = group["provenance"], group["declared"], group["protocol"]
    prints = {one["fingerprint"] for one in provenance["data"]}
    rows = tuple(_row(row) for row in group["rows"])
    seeds = declared["look"] if declared else max((row["planned"] for row in group["rows"]), default=0)
    data = [{name: one for name, one in part.items() if name != "fingerprint"} for part in provenance["data"]]
    said = {
        "dataset": group["dataset"],
        "images": data[0] if len(data) == 1 else data,
        "splits": ", ".join(sorted(one[:12] for one in prints)),
        "classifier": group["classifier"],
        "recipe": provenance["recipe"],
        "budget": f"{group['budget']}, {group['budget_scale']:g}x",
        "protocol": {entry: protocol[entry] for entry in ("version", "base_seed", "preset")},
        "seeds": seeds,
        **_environment(group["environments"]),
        "commit": ", ".join(provenance["commits"]),
        "third_parties": provenance["plugins"],
    }
    likeness = " ".join(str(group[part]).partition(":")[0] for part in ("dataset", "classifier"))
    fingerprint = prints.pop() if len(prints) == 1 else ""
    return SideGroup(str(group["title"]), likeness, rows, said, fingerprint, int(protocol["base_seed"]))


def _environment(found: Sequence[Mapping[str, Any]]) -> Tree:
    """Return hardware and versions; all values where records differ."""
    both: dict[str, dict[str, dict[str, None]]] = {"hardware": {}, "versions": {}}
    for one in found:
        for part, values in both.items():
            for name, value in one[part].items():
                values.setdefault(name, {})[str(value)] = None
    return {part: {name: " or ".join(ones) for name, ones in values.items()} for part, values in both.items()}


def _row(row: Mapping[str, Any]) -> SideRow:
    generator, image_filter, mix = (str(row[part]) for part in ("generator", "filter", "mix"))
    images = generator if image_filter == "none" else f"{generator} + {image_filter}"
    plain = [one.partition(":")[0].partition(" ")[0] for one in (generator, image_filter)]
    contrast = row["contrast"]
    return SideRow(
        name=f"{images}, {mix}",
        likeness=" ".join([*plain, mix]),
        is_baseline=not row["mix_values"]["ratio"],
        top1=float(row["top1"]["mean"]) if row["top1"] else None,
        gain=_gain(contrast["found"]) if contrast and contrast["found"] else None,
        verdict=str(contrast["verdict"]) if contrast else "baseline",
        parts={"generator": generator, "filter": image_filter, **row["mix_values"]},
        void=_void(contrast) if contrast else "",
    )


def _void(contrast: Mapping[str, Any]) -> str:
    """Say why a board has no verdict on a row, where that is no matter of numbers."""
    reason = str(contrast.get("void") or contrast.get("problem") or "")
    return reason or ("its board says no more" if contrast["verdict"] == "void" else "")


def _gain(found: Mapping[str, Any]) -> Gain:
    interval = found["interval"]
    half = (interval["high"] - interval["low"]) / 2 if interval else None
    spread = (found["standard_error"], found["degrees_of_freedom"])
    return Gain(float(found["mean"]), int(found["n"]), *spread, half)


# --------------------------------------------------------------------------------------- what records add


def _richer(group: SideGroup, raw: RawGroup) -> SideGroup:
    """Add to a group of a board what its records know."""
    entries = {
        (one.generator_label, one.filter_label, mix_label(one.mix)): one for one in raw.entries.values()
    }
    by_name = {_name(*labels): entry for labels, entry in entries.items()}
    reference = raw.protocol.reference
    config = {
        **{name: one for name, one in group.said.items() if name != "recipe"},  # options of the classifier
        "dataset": _options(raw.dataset.identity),
        "classifier": _options(raw.classifier.identity),
        "reference": _options(reference.identity) if reference else "",
        "code": _code(raw),
    }
    rows = tuple(_with_answers(row, by_name.get(row.name), raw) for row in group.rows)
    return SideGroup(
        group.title,
        group.likeness,
        rows,
        group.said,
        group.data,
        group.base_seed,
        f"{raw.kin}/{raw.budget_scale!r}",
        config,
    )


def _name(generator: str, image_filter: str, mix: str) -> str:
    return f"{generator if image_filter == 'none' else f'{generator} + {image_filter}'}, {mix}"


def _options(identity: Tree) -> Tree:
    """Return a component's options without the word `config`, beside its name and version."""
    inner = {
        name: _options(one) if isinstance(one, Mapping) and "use" in one else one
        for name, one in identity["config"].items()
    }
    about = {name: identity[name] for name in ("use", "version", "fingerprint") if name in identity}
    return {**inner, **about}


def _code(raw: RawGroup) -> Tree:
    """Return the digest of the code of every component that took part, where records agree."""
    found: dict[str, set[str]] = {}
    for entry in raw.entries.values():
        for record in entry.measured.values():
            for one in record.run.plugins:
                found.setdefault(f"{one.kind} {one.name}", set()).add(one.sha256[:12])
    return {name: " or ".join(sorted(ones)) for name, ones in found.items()}


def _with_answers(row: SideRow, entry: Entry | None, raw: RawGroup) -> SideRow:
    if entry is None:
        return row
    base = raw.baseline_of(entry)
    parts = (entry.generator.identity, entry.filter.identity)
    return replace(
        row,
        identity=digest([*parts, dict(entry.mix)]),
        config={"generator": _options(parts[0]), "filter": _options(parts[1]), "mix": dict(entry.mix)},
        answers=entry.answers(),
        base=base.answers() if base is not None and row.gain is not None else None,
        keys={index: one.result.key for index, one in entry.measured.items()},
        void=row.void or raw.contradiction,
    )
