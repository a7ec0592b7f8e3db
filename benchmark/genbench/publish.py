"""What a run leaves in its folder: the board in every form, records, pictures, and the suite."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.digest import digest
from genbench.disk import check_output, write_output, writing_output
from genbench.pictures import write_gallery
from genbench.plan import Plan
from genbench.records import Record
from genbench.registry import package_digest
from genbench.runner import RunSummary
from genbench.spec import Suite
from genbench.store import Store
from genbench.verification.layout import suite_text

#: What is written, besides records and pictures.
_WRITTEN = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "pictures.md", "suite.toml")
_KEPT = "every result is in the store, and nothing is run again"


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        folder: Where.
        board: The board as text for a terminal.
        lines: What to say of the files.
    """

    folder: Path
    board: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Publication:
    """A run and the folder that it has; made before anything runs, written to when it is over.

    Attributes:
        plan: What is run.
        suite: The suite that it was made of.
        store: Where results are.
        folder: Where it is written.
    """

    plan: Plan
    suite: Suite
    store: Store
    folder: Path

    @classmethod
    def prepared(cls, plan: Plan, suite: Suite, store: Store, out: Path, command: str) -> "Publication":
        """Choose the folder of a run, and see that it can be written.

        Args:
            plan: What is run.
            suite: The suite that it was made of.
            store: Where results are.
            out: Where the folders of runs are.
            command: What repeats it.

        Raises:
            UsageError: Something is in the way.
            OutputError: The disk is full or failing.
        """
        folder = out / suite.name
        check_output(folder, "--out", folders=("records", "pictures"), files=_WRITTEN)
        return cls(plan, suite, store, folder)

    def claimed(self) -> contextlib.AbstractContextManager[None]:
        """Mark the folder as this run's, while it runs."""
        return contextlib.nullcontext()

    def publish(self, summary: RunSummary) -> Published:
        """Write what a run left.

        Raises:
            OutputError: It cannot be written.
        """
        folder, records = self.folder, summary.records
        with writing_output(folder, "--out", kept=_KEPT):
            pictures = write_gallery(self.plan, self.store, folder)
            declared = self.plan.declared
            board = _rendered(records, declared.declaration.family if declared else "", self.store)
            text = board.pop("txt")
            (folder / "records").mkdir(parents=True, exist_ok=True)
            for record in records:
                path, content = folder / "records" / record.file_name, record.to_json().encode()
                if not path.is_file() or path.read_bytes() != content:  # a crash may have left half of it
                    write_output(path, content)
            board["md"] += f"\n[{pictures} pictures of these cells](pictures.md)\n" if pictures else ""
            for suffix, form in board.items():
                write_output(folder / f"leaderboard.{suffix}", form.encode())
            write_output(folder / "suite.toml", suite_text(self.suite).encode())  # what `submit` plans again
        lines = [
            f"written: {folder}/leaderboard.md (and .csv, .json), {len(records)} records in {folder}/records"
        ]
        lines += [f"pictures: {pictures}, shown in {folder}/pictures.md"] if pictures else []
        return Published(folder, text, tuple(lines))


def _rendered(records: Sequence[Record], family: str, store: Store) -> dict[str, str]:
    """Return the board in every form, by suffix; from the store, where it was rendered before.

    What a board says depends on the records and on the code that renders them, and on nothing else.
    """
    code = [package_digest("genbench"), package_digest("genbench_leaderboard")]
    key = digest([*code, family, sorted([record.result_digest, record.run_digest] for record in records)])
    known: dict[str, str] | None = store.boards.find(key)
    if known is None:
        from genbench_leaderboard.board import build_board
        from genbench_leaderboard.tables import render_csv, render_json, render_markdown, render_terminal

        board = build_board(records, family=family)
        renders = {"txt": render_terminal, "md": render_markdown, "csv": render_csv, "json": render_json}
        known = {suffix: render(board) for suffix, render in renders.items()}
        store.boards.keep(key, known)
    return known
