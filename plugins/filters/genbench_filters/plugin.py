"""Registers the built-in filters: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_filters() -> Sequence[ComponentSpec]:
    """Return the built-in filters."""
    return [
        ComponentSpec(
            name="none",
            target="genbench_filters.none:NoFilter",
            config="genbench_filters.configs:NoFilterConfig",
            summary="keeps every synthetic image",
        )
    ]
