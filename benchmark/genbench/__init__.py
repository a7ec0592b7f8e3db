"""genbench: does training on generated images make an image classifier better, and at what cost?

`run`, `plan` and `leaderboard` are the program for scripts and notebooks; a plugin needs `hookimpl`,
`ComponentSpec` and `Resources`; every error is a `GenbenchError`. Names are resolved on first use, so that
`genbench --help` does not pay for them.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genbench.api import leaderboard, plan, run
    from genbench.errors import GenbenchError
    from genbench.hookspecs import ComponentSpec, Resources, hookimpl

__version__ = "0.1.0"

__all__ = [
    "ComponentSpec",
    "GenbenchError",
    "Resources",
    "__version__",
    "hookimpl",
    "leaderboard",
    "plan",
    "run",
]

_HOMES = {
    "ComponentSpec": "hookspecs",
    "GenbenchError": "errors",
    "Resources": "hookspecs",
    "hookimpl": "hookspecs",
    "leaderboard": "api",
    "plan": "api",
    "run": "api",
}


class _Package(ModuleType):
    """This package, whose `plan` is the function, though a module of that name lies in it.

    The import system sets a package's attribute when it imports the module; `from genbench.plan import Plan`
    does not look at it.
    """

    @property
    def plan(self) -> Any:
        """Return `genbench.api.plan`."""
        return import_module("genbench.api").plan

    @plan.setter
    def plan(self, module: ModuleType) -> None:
        """Leave the function where it is."""


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(f"genbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'genbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
