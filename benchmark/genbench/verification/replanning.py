"""Plan a submitted suite again, with built-in components alone, and without opening what it names.

A stranger's suite is data. Components of third parties are left out: their code is not ours to run. So are
components whose options say where something lies: the place is on another machine, and on this one it may be
anything, or an address.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genbench.errors import GenbenchError
from genbench.escaping import LONGEST_SENTENCE, one_line
from genbench.hookspecs import Kind
from genbench.notation import BARE
from genbench.options import ComponentRef, reference_options
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import PluginSource, Registry
from genbench.spec import resolve_suite
from genbench.suite import DEEPEST_SUITE, Suite, make_suite
from genbench.untrusted import parse_toml

_LISTS: tuple[tuple[str, Kind], ...] = (
    ("datasets", "dataset"),
    ("baseline_datasets", "dataset"),
    ("generators", "generator"),
    ("filters", "filter"),
    ("classifiers", "classifier"),
    ("evaluators", "evaluator"),
)


@dataclass(frozen=True)
class Replanned:
    """What can be planned of a submitted suite.

    Attributes:
        registry: The built-in components.
        plan: Of what is left; None if nothing is, with `why`.
        left_out: Why a component is left out, by kind and name.
        why: Why nothing is planned.
    """

    registry: Registry
    plan: Plan | None
    left_out: dict[tuple[Kind, str], str]
    why: str = ""


def replan(text: str, file_digest: Callable[[Path], str]) -> Replanned:
    """Plan a suite that a stranger wrote, as far as that is possible here."""
    registry = Registry(PluginSource(third_party=False))
    left_out: dict[tuple[Kind, str], str] = {}
    try:
        suite = make_suite(parse_toml(text, DEEPEST_SUITE), "the submitted suite")
        reduced = _reduced(suite, registry, left_out)
        if isinstance(reduced, str):
            return Replanned(registry, None, left_out, reduced)
        return Replanned(registry, make_plan(resolve_suite(registry, reduced, file_digest)), left_out)
    except (GenbenchError, ValueError) as problem:
        why = problem.message if isinstance(problem, GenbenchError) else str(problem)
        return Replanned(
            registry, None, left_out, one_line(f"cannot be planned here: {why}", LONGEST_SENTENCE)
        )


def _reduced(suite: Suite, registry: Registry, left_out: dict[tuple[Kind, str], str]) -> Suite | str:
    """Return a suite without what is left out; or why nothing is left."""
    kept: dict[str, tuple[ComponentRef, ...]] = {}
    for entry, kind in _LISTS:
        kept[entry] = tuple(_usable(getattr(suite, entry), kind, registry, left_out))
    rows = [
        one.model_copy(
            update={
                "generators": tuple(_usable(one.generators, "generator", registry, left_out)),
                "filters": tuple(_usable(one.filters, "filter", registry, left_out)),
            }
        )
        for one in suite.rows
    ]
    reference = list(_usable([suite.reference], "classifier", registry, left_out))
    for entry in ("datasets", "classifiers", "filters"):
        if not kept[entry]:
            return f"none of its {entry} can be used here"
    if not reference:
        return "its reference classifier cannot be used here"
    used = tuple(one for one in rows if one.generators and one.filters)
    return suite.model_copy(update={**kept, "rows": used})


def _usable(
    references: Iterable[ComponentRef],
    kind: Kind,
    registry: Registry,
    left_out: dict[tuple[Kind, str], str],
) -> Iterator[ComponentRef]:
    for reference in references:
        why = _unusable(reference, kind, registry)
        if why:
            left_out[kind, reference.use] = why
        else:
            yield reference


def _unusable(reference: ComponentRef, kind: Kind, registry: Registry) -> str:
    """Say why a component is not planned; empty where it is."""
    known = {spec.name: spec for spec in registry.specs(kind)}
    spec = known.get(reference.use)
    if spec is None:
        return f"the {kind} {one_line(reference.use, 100)!r} is no built-in one: its code is not run here"
    schema = registry.schema(spec, kind)
    options = {schema.primary if name == BARE else name: one for name, one in reference.options.items()}
    named = sorted(schema.location_fields & {str(name) for name in options})
    if named:
        return f"the {kind} {reference.use!r} names a place by its option {named[0]!r}: none is opened here"
    for option, mark in reference_options(schema):
        inner = _as_reference(options.get(option))
        why = _unusable(inner, mark.kind, registry) if inner is not None else ""
        if why:
            return why
    return ""


def _as_reference(value: object) -> ComponentRef | None:
    """Return a component among options, in any form that a suite takes."""
    return ComponentRef.model_validate(value) if isinstance(value, str | dict) else None
