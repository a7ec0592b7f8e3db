"""`genbench why`."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._named import named_argument, named_cells
from genbench.cli._options import plugin_options, store_option, suite_options
from genbench.cli._output import Styled, echo
from genbench.digest import differences
from genbench.terminal import entry, filled

if TYPE_CHECKING:
    from genbench.plan import Plan, Step
    from genbench.store import Store


@click.command("why")
@named_argument
@suite_options
@click.option("--document", is_flag=True, help="Print the whole key document of every step.")
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Explain the identity of a cell, and what differs from the nearest result.

    CELL is a name that `genbench plan` prints, or that of a row; the other options are then those of the run.
    FOLDER is one that `genbench run` wrote, which the name of a row may follow; RECORD is a file of its
    `records`.

    \b
    genbench why ddpm -g ddpm -c resnet32
    genbench why genbench-results/digits-ddpm-resnet32 ddpm
    """
    named = named_cells(options["what"], options)
    for position, cell in enumerate(named.cells):
        echo("\n" if position else "", Styled(cell.name, bold=True))
        for key in cell.steps:
            step = named.plan.steps[key]
            echo("\n".join(_explained(named.plan, named.store, step, options["document"])))


def _explained(plan: "Plan", store: "Store", step: "Step", whole: bool) -> Iterator[str]:
    """Yield what there is to say about one step."""
    state = "cached" if store.has(step.key) else "failed" if store.failures.find(step.key) else "not there"
    yield "\n" + entry("", [(step.stage, 8), (step.key[:16], 16), (state, 9)], step.label)
    failure = store.failures.find(step.key)
    if failure is not None and state == "failed":
        yield filled(f"reason: {failure['reason']}", "    ", "  ")
        yield f"  log: {store.root / failure['log']}"
    if whole:
        yield json.dumps(step.document, indent=1, sort_keys=True)
    if state != "cached":
        yield from _nearest(store, step)


def _nearest(store: "Store", step: "Step") -> Iterator[str]:
    """Name what differs from the stored result of this stage that differs least."""
    best: list[tuple[str, Any, Any]] | None = None
    best_key = ""
    for key in store.finished():
        manifest: Mapping[str, Any] | None = store.manifest(key)
        if manifest is None or manifest["document"].get("stage") != step.stage:
            continue
        found = differences(manifest["document"], dict(step.document))
        if best is None or len(found) < len(best):
            best, best_key = found, key
    if best is None:
        yield "  no stored result of this stage to compare with"
        return
    yield f"  nearest stored result: {best_key[:16]}, which differs in"
    for path, there, here in best:
        yield filled(f"{path}: stored {json.dumps(there)}, wanted {json.dumps(here)}", "      ", "    ")
