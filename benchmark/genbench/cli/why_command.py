"""`genbench why`."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import planned, plugin_options, store_option, suite_options
from genbench.cli._output import Styled, echo
from genbench.digest import differences

if TYPE_CHECKING:
    from genbench.plan import Plan, Step
    from genbench.store import Store


@click.command("why")
@click.argument("cell")
@suite_options
@click.option("--document", is_flag=True, help="Print the whole key document of every step.")
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Explain the identity of a cell, and what differs from the nearest result.

    CELL is a name that `genbench plan` prints; the other options are those of the run.

    \b
    genbench why digits/ddpm/x1-standard/resnet32/0 -g ddpm -c resnet32
    """
    _, store, plan = planned(options)
    cell = plan.find_cell(options["cell"])
    echo(Styled(cell.name, bold=True))
    for key in cell.steps:
        echo("\n".join(_explained(plan, store, plan.steps[key], options["document"])))


def _explained(plan: "Plan", store: "Store", step: "Step", whole: bool) -> Iterator[str]:
    """Yield what there is to say about one step."""
    state = "cached" if store.has(step.key) else "failed" if store.failures.find(step.key) else "not there"
    yield f"\n{step.stage:9} {step.key[:16]}  {state}  {step.label}"
    failure = store.failures.find(step.key)
    if failure is not None and state == "failed":
        yield f"  reason: {failure['reason']}"
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
        yield f"    {path}: stored {json.dumps(there)}, wanted {json.dumps(here)}"
