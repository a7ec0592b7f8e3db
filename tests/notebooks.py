"""Runs the notebooks of the documentation: `python tests/notebooks.py` writes what they show into them.

No kernel is needed: cells are Python, run in order in one namespace, and what a cell shows is its output and
the value of its last line, as Jupyter would show it.
"""

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def executed(cells: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Run cells of code and yield what each shows, in the form of the file."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, start=1):
        tree, printed = ast.parse("".join(cell["source"])), io.StringIO()
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"cell {number}", "exec"), namespace)
            value = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
        outputs: list[dict[str, Any]] = []
        if printed.getvalue():
            text = printed.getvalue().splitlines(keepends=True)
            outputs.append({"name": "stdout", "output_type": "stream", "text": text})
        if value is not None:
            shown = {"execution_count": number, "metadata": {}, "output_type": "execute_result"}
            outputs.append({"data": _shown(value), **shown})
        yield outputs


def _shown(value: Any) -> dict[str, list[str]]:
    data = {"text/plain": repr(value)}
    rich = getattr(value, "_repr_html_", None)
    page = rich() if rich is not None else None
    return {
        kind: text.splitlines(keepends=True)
        for kind, text in (data | ({"text/html": page} if page else {})).items()
    }


def write(notebook: Path) -> None:
    """Run a notebook and write what it shows into it."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    for number, (cell, outputs) in enumerate(zip(cells, executed(cells), strict=True), start=1):
        cell["outputs"], cell["execution_count"] = outputs, number
    notebook.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENBENCH_STORE"] = folder
        for one in map(Path, sys.argv[1:]) if sys.argv[1:] else NOTEBOOKS:
            write(one)
