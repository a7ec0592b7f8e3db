"""Options of `activation_mmd`. Imports neither torch nor numpy."""

from typing import ClassVar

from genbench.protocols import EvaluatorConfig


class ActivationMmdConfig(EvaluatorConfig):
    """`activation_mmd` has no options."""

    reads_baseline: ClassVar[bool] = True
    reads_twin: ClassVar[bool] = True
