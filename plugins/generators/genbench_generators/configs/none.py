"""Options of `none`. Imports neither torch nor numpy."""

from genbench.protocols import GeneratorConfig


class NoneConfig(GeneratorConfig):
    """`none` has no options."""
