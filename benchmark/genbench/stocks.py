"""What is asked of images that exist already, held against what is there: before anything else of a run.

A stock is read once, for all seeds. As soon as it and its dataset are in the store, every `sample` step that
draws from it is checked: what is asked for in vain would else be found by every cell, one after the other.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genbench.artifacts import read_stock
from genbench.documents import FitDocument, SampleDocument
from genbench.errors import GenbenchError, UsageError, together
from genbench.plan import Plan, Step
from genbench.registry import Registry
from genbench.store import Store

if TYPE_CHECKING:
    from genbench.images import LabelledImages

_NAMED = 10  # classes that a message names


def reading_steps(plan: Plan, registry: Registry) -> list[str]:
    """Return the keys of the steps that read stocks, and of those that load their datasets."""
    found: dict[str, None] = {}
    for key, step in plan.steps.items():
        if isinstance(step.work, FitDocument) and _has_stock(step, registry):
            found |= dict.fromkeys([*step.inputs.values(), key])
    return list(found)


def check_stocks(plan: Plan, store: Store, registry: Registry) -> None:
    """Hold every draw of a plan against the stock that it is from, where both are in the store.

    Raises:
        GenbenchError: A class has too few images, or all are to be used and the ratio says another number.
    """
    found = list(problems_of_stocks(plan, store, registry))
    if found:
        raise together(found)


def problems_of_stocks(plan: Plan, store: Store, registry: Registry) -> Iterator[GenbenchError]:
    """Yield what is asked of stocks in vain, as far as they and their datasets are in the store."""
    # Here: the runner imports this module, whether there are stocks or not, and this takes torch.
    from genbench.steps.dataset import open_splits

    for step in _draws(plan, registry):
        stock = store.open(step.inputs["fit"])
        dataset = store.open(step.inputs["dataset"])
        if stock is not None and dataset is not None:
            there = np.array(read_stock(stock), dtype=np.int64)
            problem = _problem(step, there, open_splits(dataset).train)
            if problem is not None:
                yield problem


def _problem(step: Step, there: npt.NDArray[np.int64], train: "LabelledImages") -> GenbenchError | None:
    """Say why a draw cannot be made from a stock of so many images of each class; None where it can."""
    from genbench.images import stratified_counts  # here: as above
    from genbench.steps.requests import largest_ratio, whole_problem

    work = step.work
    assert isinstance(work, SampleDocument)
    asked, name = work.images, step.label.removeprefix("sample ").rpartition(" x")[0]
    if work.component["config"]["draw"] == "whole":
        problem = whole_problem(int(there.sum()), len(train), asked)
        return UsageError(f"{name}: {problem.message}", hint=problem.hint) if problem else None
    wanted = stratified_counts(train.class_counts(), round(asked.ratio * len(train)))
    short = np.flatnonzero(there < wanted).tolist()
    if not short:
        return None
    head = (
        f"{name} has too few images for --ratio {asked.ratio:g}: {wanted.sum():,} for {len(train):,} "
        "training images, class by class as train has them"
    )
    lines = [
        f"  {train.class_names[label]}: {there[label]:,} found, {wanted[label]:,} wanted"
        for label in short[:_NAMED]
    ]
    more = [f"  and {len(short) - _NAMED} classes more"] if len(short) > _NAMED else []
    most = largest_ratio(train.class_counts(), there)
    hint = f"--ratio {most} is the largest that works" if most else "no ratio works"
    return UsageError("\n".join([head, *lines, *more]), hint=hint)


def _draws(plan: Plan, registry: Registry) -> Iterator[Step]:
    """Yield the steps that draw from stocks: one of all seeds, which ask for the same."""
    seen = set()
    for step in plan.steps.values():
        if isinstance(step.work, SampleDocument) and _has_stock(step, registry):
            about = (step.inputs["fit"], step.work.images, step.work.component["config"]["draw"])
            if about not in seen:
                seen.add(about)
                yield step


def _has_stock(step: Step, registry: Registry) -> bool:
    return registry.spec("generator", step.document["component"]["use"]).has_stock
