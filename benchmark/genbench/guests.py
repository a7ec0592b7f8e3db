"""Whose code a step runs, and what that means for the process that runs it."""

import sys
from collections.abc import Iterator
from pathlib import Path

from genbench.hookspecs import Kind
from genbench.plan import Guest, Step
from genbench.registry import Plugin, Registry

#: Stages that run in a room when built-in components are confined, too: what predicts knows no labels, and
#: a dataset may read everything, in a room or not.
_CONFINED_ON_REQUEST = frozenset({"fit", "sample", "filter", "train", "evaluate"})


def guest_of(step: Step, registry: Registry, confine: str) -> Guest | None:
    """Return what a step's room must know of its code; None where only built-in code runs.

    Args:
        step: A step of the plan.
        registry: Where its components came from.
        confine: With `all`, steps of built-in components have rooms, too.
    """
    owners = [registry.owner(kind, name) for kind, name in step.parts.components]
    foreign = {plugin.name: plugin for plugin in owners if not plugin.builtin}
    if not foreign and not (confine == "all" and step.stage in _CONFINED_ON_REQUEST):
        return None
    kind, name = step.parts.components[0]
    spec = registry.spec(kind, name)
    specs = [registry.spec(*part) for part in step.parts.components]
    facts = {"kind": kind, "name": name, "version": spec.version, **registry.code(kind, name)._asdict()}
    is_own = step.document.get("component", {}).get("use") == name  # else it is the network of another step
    return Guest(
        plugins=tuple(sorted(foreign)),
        places=tuple(
            dict.fromkeys(place for plugin in foreign.values() for place in _places(plugin, registry))
        ),
        facts=facts if is_own else {},
        network=any(one.resources.network for one in specs),
        reserve=any(one.needs_reserve for one in specs),
    )


def _places(plugin: Plugin, registry: Registry) -> Iterator[str]:
    """Yield where a plugin's code lies: its file, or the packages of its components."""
    if not plugin.is_installed:
        yield plugin.origin
        return
    for kind, name in plugin.components:
        package = sys.modules.get(_package(kind, name, registry))
        file = getattr(package, "__file__", None)
        if file:
            path = Path(file)
            yield str(path.parent if path.name == "__init__.py" else path)


def _package(kind: Kind, name: str, registry: Registry) -> str:
    return registry.spec(kind, name).config.partition(":")[0].partition(".")[0]
