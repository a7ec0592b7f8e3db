"""Whose code a step runs, and what that means for the process that runs it."""

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from genbench.plan import Guest, Plan, Step
from genbench.registry import Plugin, Registry

#: Stages that run in a room when built-in components are confined, too: what predicts knows no labels, and
#: a dataset may read everything, in a room or not.
_CONFINED_ON_REQUEST = frozenset({"fit", "sample", "filter", "train", "evaluate"})


def guests_of(plan: Plan, keys: Iterable[str], registry: Registry, confine: str) -> dict[str, Guest]:
    """Return, for each of these steps that needs a room, what the room must know of its code.

    Args:
        plan: What is run.
        keys: Of steps.
        registry: Where the components came from.
        confine: With `all`, steps of built-in components have rooms, too.
    """
    data = (step for step in plan.steps.values() if step.stage == "dataset")
    named = (path for step in data for path in step.named_paths if Path(path).exists())
    protected = tuple(dict.fromkeys(named))
    places = {one.name: tuple(_places(one, registry)) for one in registry.plugins if not one.builtin}
    found = {key: _guest_of(plan.steps[key], registry, confine, places) for key in keys}
    return {
        # A dataset may read everything: it is what brings the images.
        key: guest if plan.steps[key].stage == "dataset" else replace(guest, protected=protected)
        for key, guest in found.items()
        if guest is not None
    }


def _guest_of(
    step: Step, registry: Registry, confine: str, places: Mapping[str, tuple[str, ...]]
) -> Guest | None:
    owners = [registry.owner(kind, name) for kind, name in step.parts.components]
    foreign = {plugin.name for plugin in owners if not plugin.builtin}
    if not foreign and not (confine == "all" and step.stage in _CONFINED_ON_REQUEST):
        return None
    specs = [registry.spec(*part) for part in step.parts.components]
    # Of a step without a component of its own (a network predicts): the first stranger in it.
    part = next(
        (part for part, owner in zip(step.parts.components, owners, strict=True) if not owner.builtin),
        step.parts.components[0],
    )
    own = step.parts.components[0]
    kind, name = own if step.document.get("component", {}).get("use") == own[1] else part
    version = registry.spec(kind, name).version
    return Guest(
        plugins=tuple(sorted(foreign)),
        places=tuple(dict.fromkeys(place for name in foreign for place in places[name])),
        facts={"kind": kind, "name": name, "version": version, **registry.code(kind, name)._asdict()},
        network=any(one.resources.network for one in specs),
        reserve=any(one.needs_reserve for one in specs),
    )


def _places(plugin: Plugin, registry: Registry) -> Iterator[str]:
    """Yield where a plugin's code lies: its file, or the packages that it and its components are in."""
    if not plugin.is_installed:
        yield plugin.origin
        return
    specs = [registry.spec(*part) for part in plugin.components]
    modules = [plugin.module, *(target for spec in specs for target in (spec.config, spec.target))]
    for top in dict.fromkeys(module.partition(":")[0].partition(".")[0] for module in modules):
        with contextlib.suppress(ImportError, ValueError):
            found = importlib.util.find_spec(top)
            if found is not None:
                yield from found.submodule_search_locations or filter(None, [found.origin])
