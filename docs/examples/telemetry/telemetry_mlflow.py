"""A run, its cells and their curves in MLflow: `--plugin telemetry_mlflow.py`.

MLflow's own variables say where they go: `MLFLOW_TRACKING_URI` (else `sqlite:///mlflow.db`, in this folder)
and `MLFLOW_EXPERIMENT_NAME` (else `genbench`). Needs `mlflow-skinny` 3.7 or newer; for a database of your
own also `sqlalchemy` and `alembic`, which `mlflow` brings.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import genbench
from genbench.records import Record
from genbench.telemetry import RunFacts, StepFacts, numbers, parameters, subject, title

_STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000  # that a tracking server takes at once


class _Tracked:
    """A run as MLflow has it: a parent, and a child for each cell and each image set."""

    def __init__(self, run: RunFacts) -> None:
        from mlflow import MlflowClient  # here: every command loads plugins, and MLflow takes seconds

        self._client = MlflowClient()
        self._experiment = _experiment(self._client)
        self._children: dict[str, str] = {}  # MLflow's ids, by subject
        self._logged: set[str] = set()  # keys of evaluations
        self._steps, self._seconds = 0, 0.0
        tags = {"genbench.run": run.id, "mlflow.note.content": f"`{run.command}`"}
        self._parent = self._begin(run.suite, tags)
        about = {"suite": run.suite, "command": run.command, "cells": run.cells, "steps": run.steps}
        self._log_parameters(self._parent, {**about, "device": run.device, "genbench": run.version})

    def step(self, step: StepFacts) -> None:
        """Log how far the run is, and what a cell measured."""
        self._steps, self._seconds = self._steps + 1, self._seconds + step.seconds
        far = {"steps_done": self._steps, "seconds": self._seconds, f"seconds.{step.stage}": step.seconds}
        self._log_metrics(self._parent, [{**far, "step": self._steps}])
        if step.record is not None:
            self.record(step.record)

    def record(self, record: Record) -> None:
        """Log an evaluation into the child of its cell, once."""
        if record.result.status != "ok" or record.result.key in self._logged:
            return
        self._logged.add(record.result.key)
        about = subject(record)
        if about not in self._children:
            tags = {"mlflow.parentRunId": self._parent, "genbench.subject": record.result.subject}
            self._children[about] = self._begin(title(record), tags)
            self._log_parameters(self._children[about], parameters(record))
            for curve, rows in record.run.curves.items():
                named = [
                    {(name if name == "step" else f"{curve}/{name}"): row[name] for name in row}
                    for row in rows
                ]
                self._log_metrics(self._children[about], named)
        self._log_metrics(self._children[about], [numbers(record)])
        self._client.log_text(self._children[about], record.to_json(), f"records/{record.file_name}")

    def finish(self, status: str, reason: str, records: Sequence[Record]) -> None:
        """Log what was in the store already, end everything, and add the board."""
        for record in records:
            self.record(record)
        if reason:
            self._client.set_tag(self._parent, "genbench.reason", reason)
        for child in self._children.values():
            self._client.set_terminated(child)
        self._client.set_terminated(self._parent, _STATUS[status])
        if any(record.result.subject == "cell" and record.result.status == "ok" for record in records):
            board = genbench.leaderboard(records)
            self._client.log_text(self._parent, board.to_markdown(), "leaderboard.md")
            self._client.log_text(self._parent, board.to_html(), "leaderboard.html")

    def _begin(self, name: str, tags: Mapping[str, str]) -> str:
        made = self._client.create_run(self._experiment, run_name=name, tags=dict(tags))
        return str(made.info.run_id)

    def _log_parameters(self, run: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        found = [Param(_name(name), str(value)) for name, value in values.items()]
        for first in range(0, len(found), _MOST_PARAMETERS):
            self._client.log_batch(run, params=found[first : first + _MOST_PARAMETERS])

    def _log_metrics(self, run: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Log rows of numbers; `step` says where in a curve a row is."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [
            Metric(_name(name), float(row[name]), now, int(row.get("step", 0)))
            for row in rows
            for name in row
            if name != "step"
        ]
        for first in range(0, len(found), _MOST_METRICS):
            self._client.log_batch(run, metrics=found[first : first + _MOST_METRICS])


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "genbench")
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _name(label: str) -> str:
    """Write a label in the characters that MLflow takes: `fid[reference,train]` is `fid.reference.train`."""
    return re.sub(r"[^\w\-. :/]+", ".", label).strip(".")


_runs: dict[str, _Tracked] = {}  #: by `RunFacts.id`: `genbench replay` and `tune` have several


@genbench.hookimpl
def genbench_run_started(run: RunFacts) -> None:
    """Begin the parent."""
    _runs[run.id] = _Tracked(run)


@genbench.hookimpl
def genbench_step_finished(step: StepFacts, run: RunFacts) -> None:
    """Log a step."""
    _runs[run.id].step(step)


@genbench.hookimpl
def genbench_run_finished(run: RunFacts, status: str, reason: str, records: Sequence[Record]) -> None:
    """Log the rest."""
    _runs.pop(run.id).finish(status, reason, records)
