"""Options of `real_extra`. Imports neither torch nor numpy."""

from genbench.protocols import (
    GeneratorConfig,
)


class RealExtraConfig(GeneratorConfig):
    """`real_extra` has no options; the dataset's `reserve` says how many images are held out for it."""
