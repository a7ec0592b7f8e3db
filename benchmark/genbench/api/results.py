"""What the Python interface returns: records, boards, and the cells of a run or a plan."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from genbench.api.cells import Cell
from genbench.errors import UsageError, did_you_mean
from genbench.escaping import html_text
from genbench.outlook import State
from genbench.plan import Plan
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import RunSummary
from genbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from genbench_leaderboard.rows import Board as Rows


class Records(Sequence[Record]):
    """Published measurements, one per evaluation."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = tuple(records)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Records": ...

    def __getitem__(self, index: int | slice) -> "Record | Records":
        return Records(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        states = Counter(one.result.status for one in self._records)
        return f"<{len(self)} genbench records: {', '.join(f'{n} {state}' for state, n in states.items())}>"

    def to_frame(self) -> "pd.DataFrame":
        """Return a line per metric, with what it was measured of; a failed record has a line, too."""
        import pandas as pd

        return pd.DataFrame([line for record in self._records for line in _lines(record)], columns=_COLUMNS)

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(max_rows=20))


_COLUMNS = (
    *("subject", "dataset", "generator", "filter", "ratio", "augment", "classifier", "index", "evaluator"),
    *("metric", "split", "value", "unit", "n", "status", "reason"),
)


def _lines(record: Record) -> Iterable[dict[str, Any]]:
    result = record.result
    about = {
        "subject": result.subject,
        "dataset": result.dataset.name,
        "generator": result.generator.name,
        "filter": result.filter.name,
        "ratio": result.ratio,
        "augment": result.mix.augment if result.mix is not None else None,
        "classifier": result.classifier.name if result.classifier is not None else None,
        "index": result.index,
        "evaluator": result.evaluator.name,
        "status": result.status,
        "reason": result.reason or None,
    }
    if not result.metrics:
        yield about
    for one in result.metrics:
        yield {
            **about,
            "metric": one.label,
            "split": one.split,
            "value": one.value,
            "unit": one.unit,
            "n": one.n,
        }


class Board:
    """The board of records: `str` is what the program prints, a notebook shows its tables."""

    def __init__(self, rows: "Rows", records: Iterable[Record] = ()) -> None:
        self.rows = rows
        self._records = tuple(records)

    @classmethod
    def of(cls, records: Iterable[Record], *, family: str = "", verified: Sequence[Path] = ()) -> "Board":
        """Compute a board; `family` shows what one suite declared, and nothing else."""
        from genbench_leaderboard.board import build_board
        from genbench_leaderboard.verification import read_verified

        found = tuple(records)
        return cls(build_board(found, read_verified(verified), family=family), found)

    def __str__(self) -> str:
        from genbench_leaderboard.tables import render_terminal

        return render_terminal(self.rows)

    def __repr__(self) -> str:
        count = sum(len(group.rows) for group in self.rows.groups)
        return f"<genbench board: {count} rows of {self.rows.cells} cells; print() shows it>"

    def _repr_html_(self) -> str:
        from genbench_leaderboard.html import render_html

        return render_html(self.rows)

    def to_frame(self) -> "pd.DataFrame":
        """Return a line per row: accuracy, difference to real images alone, interval, verdict, cost."""
        from genbench_leaderboard.export import to_frame

        return to_frame(self.rows)

    def to_markdown(self) -> str:
        """Return what `leaderboard.md` holds."""
        from genbench_leaderboard.tables import render_markdown

        return render_markdown(self.rows)

    def to_html(self, pictures: Iterable[Path] = ()) -> str:
        """Return the board as one page of HTML that needs nothing else.

        Args:
            pictures: Folders of runs or of records, whose contact sheets of synthetic images it shows.
        """
        from genbench.sheets import find_shown
        from genbench_leaderboard.page import render_page

        return render_page(self.rows, self._records, find_shown(pictures))

    def to_csv(self) -> str:
        """Return what `leaderboard.csv` holds."""
        from genbench_leaderboard.tables import render_csv

        return render_csv(self.rows)

    def to_json(self) -> str:
        """Return what `leaderboard.json` holds."""
        from genbench_leaderboard.tables import render_json

        return render_json(self.rows)

    def to_latex(self) -> str:
        """Return the tables for a paper, with `booktabs`."""
        from genbench_leaderboard.tables import render_latex

        return render_latex(self.rows)


class _Cells:
    """The cells of a plan."""

    def __init__(self, plan: Plan, store: Store, registry: Registry) -> None:
        self.plan, self.store = plan, store
        self._registry = registry

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of the plan."""
        return tuple(Cell(cell, self.plan, self.store, self._registry) for cell in self.plan.cells)

    def cell(self, name: str = "", **about: Any) -> Cell:
        """Return a cell by its name, or by what it is: `cell(generator="ddpm", index=0)`.

        Raises:
            UsageError: None is so, or several are; the message names them.
        """
        if name:
            self.plan.find_cell(name)
            return next(one for one in self.cells if one.name == name)
        known = set(vars(self.cells[0])) if self.cells else set[str]()
        wrong = [one for one in about if one not in known or one.startswith("_")]
        if wrong:
            names = {one for one in known if not one.startswith("_")}
            raise UsageError(f"cells have no {wrong[0]!r}. {did_you_mean(wrong[0], names)}")
        found = [one for one in self.cells if all(getattr(one, key) == value for key, value in about.items())]
        if len(found) != 1:
            there = ", ".join(one.name for one in (found or self.cells)[:6])
            raise UsageError(
                f"{len(found)} cells have {', '.join(f'{key}={value!r}' for key, value in about.items())}; "
                f"{'the first are' if found else 'there are'}: {there}",
                hint="name more of generator, filter, classifier, dataset, ratio, augment, index",
            )
        return found[0]


class Results(_Cells):
    """What a run left.

    Attributes:
        plan: What was run.
        store: Where everything is.
        records: One per evaluation, failed ones included.
        failed: Why steps failed, by what they were.
        ran: How many steps ran; the others were in the store.
        folder: What `out` got; None without it.
    """

    def __init__(
        self, plan: Plan, store: Store, registry: Registry, summary: RunSummary, *, folder: Path | None
    ) -> None:
        super().__init__(plan, store, registry)
        self.records, self.ran, self.folder = Records(summary.records), summary.ran, folder
        self.failed: Mapping[str, str] = {
            plan.steps[key].label: reason for key, reason in summary.failed.items()
        }

    @cached_property
    def board(self) -> Board:
        """The leaderboard of this run."""
        declared = self.plan.declared
        return Board.of(self.records, family=declared.declaration.family if declared else "")

    def to_frame(self) -> "pd.DataFrame":
        """Return the records as a frame: a line per metric."""
        return self.records.to_frame()

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} steps failed (see .failed)" if self.failed else ""
        return f"<genbench run: {len(self.plan.cells)} cells, {self.ran} steps ran{failed}>"

    def __str__(self) -> str:
        return str(self.board)

    def _repr_html_(self) -> str:
        reasons = "".join(f"<li>{html_text(f'{what}: {why}')}</li>" for what, why in self.failed.items())
        return self.board._repr_html_() + (f"<p>Failed</p><ul>{reasons}</ul>" if reasons else "")


class Outlook(_Cells):
    """What a run would do.

    Attributes:
        plan: Its steps.
        store: Where results would go.
        states: Whether each step is `cached`, `new`, `stale` or `failed`, by key.
    """

    def __init__(self, plan: Plan, store: Store, registry: Registry, states: Mapping[str, State]) -> None:
        super().__init__(plan, store, registry)
        self.states = states

    def to_frame(self) -> "pd.DataFrame":
        """Return a line per step: stage, what it does, state and key."""
        import pandas as pd

        lines = [
            {"stage": step.stage, "step": step.label, "state": self.states[key], "key": key}
            for key, step in self.plan.steps.items()
        ]
        return pd.DataFrame(lines, columns=["stage", "step", "state", "key"])

    def __repr__(self) -> str:
        counts = Counter(self.states.values())
        said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        return f"<genbench plan: {len(self.plan.cells)} cells, {len(self.plan.steps)} steps: {said}>"
