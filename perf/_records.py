"""Records in any number that genbench accepts, made from the published ones: `make_records(folder, count)`.

Every suite has a base seed and a family of its own, and so a group of its own: real images alone, frozen
copies, copied images and `arms` configurations of the contender, with five seeds each, all checked for copies
and measured by FID and MMD; some predictions of every cell are made wrong, so that no two are alike.
"""

import base64
import json
import random
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json, to_json

from genbench.digest import digest

PUBLISHED = Path(__file__).parents[1] / "leaderboard" / "records" / "digits-quick"
PER_FOLDER = 5_000  #: records
_MOST_WRONG = 0.04  # share of a split's right predictions that are made wrong
_CONTENDER = "ddpm"

Body = dict[str, Any]


class _Kind(NamedTuple):
    """What the published records differ in, but for their seed."""

    evaluator: str
    generator: str
    augment: str
    budget_scale: float


def make_records(folder: Path, count: int, arms: int = 12) -> None:
    """Write `count` records below a folder, `PER_FOLDER` in each folder in it.

    Args:
        folder: It is made.
        count: How many.
        arms: Configurations of the contender in every suite.
    """
    templates = _templates()
    suites = (one for suite in range(count) for one in _suite(suite, arms, templates))
    for number, body in enumerate(islice(suites, count)):
        place = folder / f"run-{number // PER_FOLDER:03d}" / "records"
        if number % PER_FOLDER == 0:
            place.mkdir(parents=True)
        body |= {f"{part}_sha256": digest(body[part]) for part in ("result", "run")}
        result = body["result"]
        name = f"{result['subject']}-{result['key'][:16]}-{body['run_sha256'][:8]}.json"
        (place / name).write_bytes(to_json(body, indent=1))  # json.dumps takes a millisecond


def _templates() -> Mapping[_Kind, list[bytes]]:
    found: dict[_Kind, list[bytes]] = {}
    for path in sorted(PUBLISHED.glob("*.json")):
        body = json.loads(path.read_text(encoding="utf-8"))
        result = body["result"]
        mix = result["mix"] or {"augment": "", "budget_scale": 0.0}
        kind = _Kind(
            result["evaluator"]["use"], result["generator"]["use"], mix["augment"], mix["budget_scale"]
        )
        found.setdefault(kind, []).append(to_json(body))
    return found


def _suite(suite: int, arms: int, templates: Mapping[_Kind, list[bytes]]) -> Iterator[Body]:
    """Yield the records of a suite."""
    chance = random.Random(suite)
    family = digest(["perf", suite])
    for kind, bodies in templates.items():
        if kind.augment == "strong" and kind.generator != "none":
            continue
        several = kind.generator == _CONTENDER and kind.budget_scale != 2
        for arm in range(arms if several else 1):
            for template in bodies:
                body: Body = from_json(template)
                _vary(body, chance)
                result, run = body["result"], body["run"]
                result["protocol"]["base_seed"] = suite
                if arm:
                    result["generator"]["config"]["timesteps"] = 1_000 + arm
                    result["generator"]["label"] += f":timesteps={1_000 + arm}"
                result["key"] = digest([suite, *kind, arm, result["index"]])
                run["created"] = f"2026-{1 + suite % 12:02d}-{1 + arm % 28:02d}T10:00:00+00:00"
                for declared in run["declared"]:
                    declared |= {"family": family, "suite": f"suite-{suite}", "helps": arms, "adds": 2 * arms}
                yield body


def _vary(body: Body, chance: random.Random) -> None:
    """Make some predictions of a cell wrong, or change the distance of an image set a little."""
    result = body["result"]
    if result["evaluator"]["use"] in {"fid", "mmd"}:
        for metric in result["metrics"]:
            if metric["value"] and metric["role"] == "score" and metric["bounds"][1] is None:
                metric["value"] *= chance.uniform(1.0, 1.2)
    for split, table in result["tables"].items() if result["evaluator"]["use"] == "accuracy" else ():
        _make_wrong(table, chance)
        values = dict(_following(table))
        for metric in result["metrics"]:
            if metric["split"] == split and metric["name"] in values:
                metric["value"] = values[metric["name"]]


def _make_wrong(table: Body, chance: random.Random) -> None:
    """Turn some right predictions of a split into wrong ones, in every table of it."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(table["correct_bits"]), dtype=np.uint8))
    right = np.flatnonzero(bits)
    wrong = chance.sample(list(right), chance.randint(0, int(_MOST_WRONG * len(right))))
    bits[wrong] = 0
    table["correct_bits"] = base64.b64encode(np.packbits(bits).tobytes()).decode()
    confusion = np.array(table["confusion"])
    for _ in wrong:
        true = chance.choices(range(len(confusion)), confusion.diagonal().tolist())[0]
        other = (true + chance.randint(1, len(confusion) - 1)) % len(confusion)
        confusion[true, true] -= 1
        confusion[true, other] += 1
        bin_ = max(table["reliability"], key=lambda one: one["images"] * one["accuracy"])
        bin_["accuracy"] = (round(bin_["images"] * bin_["accuracy"]) - 1) / bin_["images"]
    table["confusion"] = confusion.tolist()
    for place, row in enumerate(table["per_class"]):
        row["correct"], row["predicted"] = int(confusion[place, place]), int(confusion[:, place].sum())
        row["recall"] = row["correct"] / row["n"]
        row["precision"] = row["correct"] / row["predicted"] if row["predicted"] else 0.0
        row["f1"] = 2 * row["correct"] / (row["n"] + row["predicted"])


def _following(table: Body) -> Iterator[tuple[str, float]]:
    """Yield the metrics that follow from counts, in %, as the evaluator `accuracy` defines them."""
    rows, n = table["per_class"], table["n"]
    yield "top1", 100 * sum(row["correct"] for row in rows) / n
    yield "balanced_accuracy", 100 * float(np.mean([row["recall"] for row in rows]))
    yield "macro_f1", 100 * float(np.mean([row["f1"] for row in rows]))
    gaps = (one["images"] * abs(one["accuracy"] - one["confidence"]) for one in table["reliability"])
    yield "calibration_error", 100 * sum(gaps) / n
