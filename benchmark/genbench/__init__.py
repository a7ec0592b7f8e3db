"""genbench: does training on generated images make an image classifier better, and at what cost?

A plugin needs three names from here: `hookimpl`, `ComponentSpec` and `Resources`. They are
resolved on first use, so that `genbench --help` does not pay for them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genbench.hookspecs import ComponentSpec, Resources, hookimpl

__version__ = "0.1.0"

__all__ = ["ComponentSpec", "Resources", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    """Import the plugin author's names when they are asked for (PEP 562)."""
    if name in {"ComponentSpec", "Resources", "hookimpl"}:
        from genbench import hookspecs

        return getattr(hookspecs, name)
    raise AttributeError(f"module 'genbench' has no attribute {name!r}")
