"""Options of `copies`. Imports neither torch nor numpy."""

from genbench.protocols import GeneratorConfig


class CopiesConfig(GeneratorConfig):
    """`copies` has no options."""
