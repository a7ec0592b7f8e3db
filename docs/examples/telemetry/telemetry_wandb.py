"""A run, its cells and their curves in Weights & Biases: `--plugin telemetry_wandb.py`.

wandb's own variables say where they go: `WANDB_MODE=offline` writes to `./wandb`, for `wandb sync` later;
`WANDB_PROJECT` (else `genbench`), `WANDB_ENTITY`, `WANDB_DIR`. Needs `wandb` 0.19.10 or newer.
"""

import os
from collections.abc import Sequence
from typing import Any

import genbench
from genbench.records import Record
from genbench.telemetry import RunFacts, StepFacts, numbers, parameters, subject, title


class _Tracked:
    """A run as wandb has it: one of type `run` while it lasts, then one for each cell and image set.

    All are of one group. A run of wandb is a process of its own while it is open, and cannot be opened twice
    offline: those of cells are written when everything that was measured of them is known.
    """

    def __init__(self, run: RunFacts) -> None:
        self._run, self._steps, self._seconds = run, 0, 0.0
        about = {"command": run.command, "cells": run.cells, "steps": run.steps, "device": run.device}
        self._whole = self._begin(run.suite, "run", {**about, "genbench": run.version})

    def step(self, step: StepFacts) -> None:
        """Log how far the run is."""
        self._steps, self._seconds = self._steps + 1, self._seconds + step.seconds
        row = {"steps_done": self._steps, "seconds": self._seconds, f"seconds.{step.stage}": step.seconds}
        self._whole.log(row)

    def finish(self, status: str, reason: str, records: Sequence[Record]) -> None:
        """Log the board, then every cell and image set."""
        import wandb

        self._whole.summary.update({"status": status, "reason": reason})
        if any(record.result.subject == "cell" and record.result.status == "ok" for record in records):
            board = genbench.leaderboard(records)
            self._whole.log({"leaderboard": wandb.Html(board.to_html(), inject=False)})
        self._whole.finish(exit_code=int(status != "done"))
        together: dict[str, list[Record]] = {}
        for record in records:
            if record.result.status == "ok":
                together.setdefault(subject(record), []).append(record)
        for alike in together.values():
            self._log(alike)

    def _log(self, records: Sequence[Record]) -> None:
        """Write a cell: its configuration, its curves, and what was measured."""
        first = records[0]
        cell = self._begin(title(first), first.result.subject, parameters(first))
        for curve, rows in first.run.curves.items():
            cell.define_metric(f"{curve}/*", step_metric=f"{curve}/step")  # each curve counts for itself
            for row in rows:
                cell.log({f"{curve}/{name}": value for name, value in row.items()})
        cell.summary.update({name: value for one in records for name, value in numbers(one).items()})
        cell.finish()

    def _begin(self, name: str, kind: str, config: dict[str, Any]) -> Any:
        import wandb  # here: every command loads plugins

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "genbench"),
            group=f"{self._run.suite} {self._run.id[:8]}",
            job_type=kind,
            name=name[:128],
            config=config,
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, save_code=False, x_disable_stats=True),
        )


_runs: dict[str, _Tracked] = {}  #: by `RunFacts.id`: `genbench replay` and `tune` have several


@genbench.hookimpl
def genbench_run_started(run: RunFacts) -> None:
    """Open the run."""
    _runs[run.id] = _Tracked(run)


@genbench.hookimpl
def genbench_step_finished(step: StepFacts, run: RunFacts) -> None:
    """Log a step."""
    _runs[run.id].step(step)


@genbench.hookimpl
def genbench_run_finished(run: RunFacts, status: str, reason: str, records: Sequence[Record]) -> None:
    """Log the rest."""
    _runs.pop(run.id).finish(status, reason, records)
