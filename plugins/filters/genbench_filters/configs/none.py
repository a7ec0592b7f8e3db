"""Options of `none`. Imports neither torch nor numpy."""

from genbench.protocols import FilterConfig


class NoFilterConfig(FilterConfig):
    """Options of `none`: those that every filter has."""
