"""The board against records made by hand, whose right answers are known beforehand."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.errors import DataError, ProtocolError
from genbench.records import Cost, Metric, Record, Result, Run, pack_bits, read_records
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Board, Row
from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

N_TEST = 400


def component(use: str, label: str = "", **config: Any) -> dict[str, Any]:
    return {"use": use, "version": 1, "config": config, "label": label or use}


def cell(
    generator: str | dict[str, Any] = "none",
    index: int = 0,
    right: int = 360,
    *,
    planned: int = 5,
    augment: str = "standard",
    ratio: float = 1.0,
    scale: float = 1.0,
    image_filter: str = "none",
    val: float | None = 90.0,
    seconds: float = 60.0,
    start: int = 0,
    **changes: Any,
) -> Record:
    """Fabricate an accuracy record that is right on `right` test images from image `start` on, cyclically."""
    chosen = component(generator) if isinstance(generator, str) else generator
    baseline = chosen["use"] == "none"
    mix = {"ratio": 0.0 if baseline else ratio, "mode": "append", "augment": augment, "budget": "steps"}
    correct = [(image - start) % N_TEST < right for image in range(N_TEST)]
    result = Result(
        subject="cell",
        status="ok",
        dataset=component("digits"),
        generator=chosen,
        filter=component(image_filter),
        mix={**mix, "budget_scale": scale, "batch_fraction": None},
        classifier=component("cnn", epochs=20),
        index=index,
        protocol={"base_seed": 0, "preset": "quick", "reference": component("cnn")},
        evaluator=component("accuracy"),
        key="",
        planned_indices=planned,
        metrics=(
            Metric("top1", 100.0 * right / N_TEST, "%"),
            *([Metric("val_top1", val, "%")] if val is not None else []),
            Metric("nll", 0.25, "nats"),
        ),
        tables={"test": {"n": N_TEST, "correct_bits": pack_bits(correct)}},
    )
    run = Run(
        created="2025-01-01T00:00:00Z",
        command="genbench run --suite digits.toml",
        hardware={"device": "cpu", "processor": "x86-64-v3"},
        versions={"numpy": "2.4.6", "torch": "2.9.0"},
        costs=(
            Cost("train", 40.0, 2**30, "cpu"),
            *([] if baseline else [Cost("sample", seconds, 2**31, "cpu")]),
        ),
    )
    return rekeyed(Record(replace(result, **changes), run))


def rekeyed(record: Record) -> Record:
    """Give a record the key that its content would have."""
    from genbench.digest import digest

    result = record.result
    about = [result.dataset, result.generator, result.filter, result.mix, result.classifier]
    return replace(record, result=replace(result, key=digest([*about, result.index, result.evaluator])))


def arm(generator: str | dict[str, Any], rights: Sequence[int], **options: Any) -> list[Record]:
    options = {"planned": len(rights), **options}
    return [cell(generator, index, right, **options) for index, right in enumerate(rights)]


def failed(record: Record, reason: str = "CUDA out of memory", status: Any = "failed") -> Record:
    result = replace(record.result, status=status, reason=reason, metrics=(), tables={})
    return replace(record, result=result, run=replace(record.run, log="logs/ab12/run.log", costs=()))


def distances(generator: str, index: int, fid: float, ratio: float = 1.0, **changes: Any) -> list[Record]:
    """Fabricate the fid and mmd records of one image set."""
    made = []
    for use, family, factor in (("fid", "fid", 1.0), ("mmd", "mmd2", 1e-3)):
        metrics = (
            Metric(f"{family}[reference,n=1150,train]", fid * factor),
            Metric(f"{family}[reference,n=287,val]", (fid + 3) * factor),
            Metric(f"{family}_floor[reference,n=287,val]", 2.5 * factor),
        )
        like = cell(generator, index, subject="image_set", classifier=None, mix={"ratio": ratio}, metrics=metrics)
        changed = replace(like.result, evaluator=component(use), tables={}, **changes)
        made.append(rekeyed(replace(like, result=changed)))
    return made


BASELINE = [356, 358, 360, 362, 364]
BETTER = [373, 374, 377, 378, 381]
SAME = [357, 356, 362, 360, 366]


def whole_board() -> list[Record]:
    records = arm("none", BASELINE) + arm("none", [361, 362, 365, 365, 369], augment="strong")
    records += arm("ddpm", BETTER, seconds=380.0) + arm("classical", SAME, seconds=2.0)
    for index in range(5):
        records += distances("ddpm", index, 12.0 + index) + distances("classical", index, 40.0 + index)
    return records


def row(board: Board, generator: str, mix: str = "") -> Row:
    found = [
        one
        for group in board.groups
        for one in group.rows
        if one.generator == generator and mix in one.mix
    ]
    assert len(found) == 1, [one.name for one in found]
    return found[0]
