"""Options of `ood_accuracy`. Imports neither torch nor numpy."""

from genbench.protocols import EvaluatorConfig


class OodAccuracyConfig(EvaluatorConfig):
    """`ood_accuracy` has no options: it reports every shift that the dataset was asked for."""
