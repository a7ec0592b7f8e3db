"""The board for machines: a line per row as CSV or pandas, or everything as JSON. Numbers are not rounded."""

import csv
import io
import json
from dataclasses import replace
from textwrap import indent
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from genbench.digest import canonical_json
from genbench.escaping import csv_cell, json_text
from genbench.metrics import shown_range
from genbench_leaderboard.columns import UNKNOWN
from genbench_leaderboard.crossed import Comparison, Interval
from genbench_leaderboard.group_headline import group_headline
from genbench_leaderboard.headline import headline
from genbench_leaderboard.rows import Board, Cost, Distance, Group, Row
from genbench_leaderboard.statistics import Estimate
from genbench_leaderboard.titles import group_titles, row_titles

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 3
_MOST_METRICS = 5_000  # columns: every row has all of them, so they multiply
_BOARD, _GROUP = TypeAdapter(Board), TypeAdapter(Group)
_NO_GROUPS = '\n "groups": []'  # no text of JSON begins a line: this is the entry of the whole


def render_json(board: Board) -> str:
    """Return the whole board as indented JSON with sorted names, and its headlines."""
    body = {"schema_version": SCHEMA_VERSION, **_BOARD.dump_python(replace(board, groups=()), mode="json")}
    body["headline"] = headline(board)
    groups: list[str] = []  # each is written on its own: thousands of them, as objects, are gigabytes
    for group, title in zip(board.groups, group_titles(board), strict=True):
        words = {"headline": group_headline(group), "words": title}
        text = indent(_written({**_GROUP.dump_python(group, mode="json"), **words}), "  ")
        groups += [",\n" if groups else "\n", text]
    begin, _, end = _written(body).partition(_NO_GROUPS)
    closing = "\n ]" if groups else "]"
    return "".join([begin, _NO_GROUPS[:-1], *groups, closing, end, "\n"])


def _written(body: dict[str, Any]) -> str:
    plain = json.loads(canonical_json(body))
    return json_text(json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False))


def render_csv(board: Board) -> str:
    """Return one line per row; a missing value is empty.

    Distances, shifts, classes and whatever else was measured are columns by name:
    `adds[none, strong].verdict`, `fid[reference,n=200,train]`,
    `shift[noisy].top1`, `class[cat].delta_points`, `measure[name by AUTHOR]`,
    and `metric[log_loss]` for what the tables do not show. `comparison` and `row` are what pages call them.
    """
    lines, columns = _lines(board)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in columns])
    writer.writerows([csv_cell(line.get(name, "")) for name in columns] for line in lines)
    return text.getvalue()


def to_frame(board: Board) -> "pd.DataFrame":
    """Return what `render_csv` writes as a pandas DataFrame; a missing value is missing, not empty."""
    import pandas as pd  # here: it takes half a second, and only who asks for a frame has it

    lines, columns = _lines(board)
    return pd.DataFrame(lines, columns=columns)


def _lines(board: Board) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of all groups, and the columns: those of metrics last, by name."""
    lines = [
        {"comparison": title, "row": words.whole, **_line(group, row)}
        for group, title in zip(board.groups, group_titles(board), strict=True)
        for row, words in zip(group.rows, row_titles(group), strict=True)
    ]
    names: dict[str, None] = {}
    for line in lines:
        names |= dict.fromkeys(line)
    metrics = sorted((name for name in names if "[" in name), key=_in_order)[:_MOST_METRICS]
    return lines, [name for name in names if "[" not in name] + metrics


def _in_order(name: str) -> tuple[int, str]:
    """Sort what rows add before distances, shifts, classes, other measurements and metrics, each by name."""
    kinds = ("adds[", "", "shift[", "class[", "measure[", "metric[")
    return next((place for place, kind in enumerate(kinds) if kind and name.startswith(kind)), 1), name


def _line(group: Group, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "dataset": group.dataset,
        "classifier": group.classifier,
        "budget": group.budget,
        "budget_scale": group.budget_scale,
        "preset": group.protocol.preset,
        "base_seed": group.protocol.base_seed,
        "generator": row.generator,
        "filter": row.filter,
        "mix": row.mix,
        "ratio": row.mix_values["ratio"],
        "augment": row.mix_values["augment"],
        "external_data": " ".join(row.external_data),
        "seeds_planned": row.planned,
        "seeds": row.top1.n if row.top1 else 0,
        **_estimate("top1", row.top1),
        **_estimate("val_top1", row.val_top1),
        **_contrast(row),
        "hopeless": bool({row.name, row.contrast.against if row.contrast else ""} & set(group.hopeless)),
        "outliers": " ".join(str(one.index) for one in row.outliers),
        "rank": row.rank,
        "checked": row.level,
        "train_images": row.books.train if row.books else None,
        "synthetic_images": row.books.synthetic if row.books else None,
        "real_images_seen": row.books.real_seen if row.books else None,
        "synthetic_images_seen": row.books.synthetic_seen if row.books else None,
        "family": group.declared.family if group.declared else "",
        "budget_limited": row.budget_limited is not None,
        "mixed_environment": row.mixed_environment,
        "cost_seconds": _seconds(row.cost),
        "peak_memory_bytes": row.cost.peak_memory_bytes if row.cost else None,
        "devices": " ".join(row.cost.devices) if row.cost else "",
    }
    line |= _adds(row)
    return line | {_distance(one): one.mean for one in row.distances} | _further(row)


def _adds(row: Row) -> dict[str, Any]:
    """Return what a row does more than each of what is simpler."""
    line: dict[str, Any] = {}
    for one in row.adds:
        name = f"adds[{one.against}]"
        line |= _difference(f"{name}.delta_points", one.found)
        line |= _difference(f"{name}.delta_points_without_copies", one.without_copies)
        line |= {
            f"{name}.p_unadjusted": one.found.p if one.found else None,
            f"{name}.p_holm": one.adjusted_p,
            f"{name}.family_size": one.family,
            f"{name}.alpha": one.alpha,
            f"{name}.verdict": one.verdict,
            f"{name}.void": one.void,
            f"{name}.problem": one.problem,
        }
    return line


def _further(row: Row) -> dict[str, Any]:
    """Return what the further tables show: shifts, gains of classes, and whatever evaluators measured."""
    line: dict[str, Any] = {}
    for shift in row.shifts:
        line[f"shift[{shift.name}].top1"] = shift.top1.mean
        line |= _difference(f"shift[{shift.name}].delta_points", shift.difference)
    for gain in row.classes:
        line |= _difference(f"class[{gain.name}].delta_points", gain.difference)
        line[f"class[{gain.name}].p_holm"] = gain.adjusted_p
    for one in row.measures:
        by = f" by {one.by}" if one.by else ""
        line[f"measure[{one.value.identity.label}{by}]"] = one.value.value
    known = {one.value.identity.label for one in row.measures if not one.by}
    line |= {f"metric[{label}]": value for label, value in row.metrics.items() if label not in known}
    return line


def _difference(name: str, found: Estimate | Comparison | None) -> dict[str, Any]:
    return {name: found.mean if found else None, **_interval(name, found.interval if found else None)}


def _seconds(cost: Cost | None) -> float | str | None:
    """Return seconds; `unknown` where making the images took time that nobody told."""
    if cost is None:
        return None
    return UNKNOWN if cost.seconds is None else cost.seconds


def _estimate(name: str, value: Estimate | None) -> dict[str, Any]:
    interval = value.interval if value else None
    return {
        name: value.mean if value else None,
        **_interval(name, interval),
        f"{name}_sd": value.sd if value else None,
    }


def _interval(name: str, interval: Interval | None) -> dict[str, Any]:
    return {
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def _contrast(row: Row) -> dict[str, Any]:
    contrast = row.contrast
    found = contrast.found if contrast else None
    return {
        "role": row.role,
        "baseline": contrast.against if contrast else "",
        "pairs": found.n if found else None,
        "test_images": found.images if found else None,
        "delta_points": found.mean if found else None,
        **_interval("delta_points", found.interval if found else None),
        "delta_points_se": found.standard_error if found else None,
        "degrees_of_freedom": found.degrees_of_freedom if found else None,
        "pair_correlation": found.correlation if found else None,
        "p_unadjusted": found.p if found else None,
        "p_holm": contrast.adjusted_p if contrast else None,
        "holm_level": contrast.level if contrast else None,
        "family_size": contrast.family if contrast else None,
        "alpha": contrast.alpha if contrast else None,
        "verdict": contrast.verdict if contrast else "",
        "void": contrast.void if contrast else "",
        "problem": contrast.problem if contrast else "",
        "copied_images": contrast.copied_images if contrast else None,
        **_difference("delta_points_without_copies", contrast.without_copies if contrast else None),
        "detectable_points": contrast.detectable_points if contrast else None,
        "guarded_points": contrast.guarded_points if contrast else None,
        "points_per_minute": contrast.points_per_minute if contrast else None,
    }


def _distance(one: Distance) -> str:
    return f"{one.family}{'_floor' * one.floor}[{one.extractor},n={shown_range(one.n)},{one.against}]"
