"""What `genbench show suite` says of a suite."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.cli._named import row_name
from genbench.terminal import count, entry, filled

if TYPE_CHECKING:
    from genbench.plan import Plan
    from genbench.registry import Registry
    from genbench.suite import Suite


def suite_page(registry: "Registry", path: Path) -> Iterator[str]:
    """Yield what the file says in its head, what it names, its rows, and what it declares."""
    from genbench import hub
    from genbench.planner import make_plan
    from genbench.spec import resolve_suite
    from genbench.suite import load_suite

    suite = load_suite(path)
    yield f"suite {suite.name}  ({path.name})"
    yield from _head(path)
    yield ""
    yield from _named(suite)
    yield ""
    plan, _ = hub.without_fetching(
        lambda file_digest: make_plan(resolve_suite(registry, suite, file_digest)), lambda file: ""
    )
    if isinstance(plan, Exception):
        yield filled(f"its rows depend on data that are not here: {plan}")
        return
    yield from _rows(plan)
    yield ""
    yield f"genbench plan {path.stem}   says what it would cost here"
    yield f"genbench run {path.stem}   runs it"


def _head(path: Path) -> Iterator[str]:
    """Yield the comment that a suite begins with: what it is, how long it takes, what to expect."""
    comment = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    lines = [line.removeprefix("#").removeprefix(" ") for line in comment]
    for is_prose, group in itertools.groupby(lines, lambda line: bool(line) and not line.startswith(" ")):
        part = list(group)
        yield from [filled(" ".join(part), "  ")] if is_prose else [f"  {line}".rstrip() for line in part]


def _named(suite: "Suite") -> Iterator[str]:
    lists = ("datasets", "classifiers", "generators", "filters", "evaluators")
    for name in lists:
        words = [_written(one.use, one.options) for one in getattr(suite, name)]
        if name == "datasets" and suite.baseline_datasets:
            alone = ", ".join(_written(one.use, one.options) for one in suite.baseline_datasets)
            words[-1] += f"; with real images alone: {alone}"
        yield entry("  ", [(name, 11)], ", ".join(words) or "none")
    for rows in suite.rows:
        parts = [[_written(one.use, one.options) for one in own] for own in (rows.generators, rows.filters)]
        yield entry("  ", [("beside", 11)], " with ".join(", ".join(words) for words in parts))
    yield entry("  ", [("preset", 11)], suite.preset)
    looks = f"; test is read after {', '.join(map(str, suite.looks))}" if suite.looks else ""
    chosen = f", of which {suite.choosing_seeds} choose" if suite.choosing_seeds else ""
    yield entry("  ", [("seeds", 11)], f"{suite.seeds}{chosen}{looks}")


def _written(use: str, options: "object") -> str:
    from genbench.notation import flattened

    words = [f"{name}={value}" for name, value in flattened(dict(options))]  # type: ignore[call-overload]
    return f"{use}:{','.join(words)}" if words else use


def _rows(plan: "Plan") -> Iterator[str]:
    groups: dict[str, dict[str, None]] = {}
    for cell in plan.cells:
        arm = cell.arm
        scale = f", budget x{arm.mix.budget_scale:g}" if arm.mix and arm.mix.budget_scale != 1 else ""
        about = f"{arm.dataset.label}, {arm.classifier.label if arm.classifier else ''}"
        groups.setdefault(about, {})[row_name(cell) + scale] = None
    for about, rows in groups.items():
        yield f"rows on {about}"
        yield from (f"  {row}" for row in rows)
    stages = Counter(step.stage for step in plan.steps.values())
    yield ""
    counts = ", ".join(f"{number} {stage}" for stage, number in stages.items())
    yield filled(f"{count(len(plan.cells), 'cell')}, {count(len(plan.steps), 'step')}: {counts}")
    if plan.declared is not None:
        declared = plan.declared.declaration
        yield filled(
            f"declares {declared.helps} contrasts with real images alone, and {declared.adds} with frozen "
            f"copies or free augmentation; each is judged by {declared.seeds - declared.choosing_seeds} seeds"
        )
