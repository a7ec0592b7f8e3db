"""Options of `accuracy`. Imports neither torch nor numpy."""

from genbench.protocols import EvaluatorConfig


class AccuracyConfig(EvaluatorConfig):
    """`accuracy` has no options: it reports every split that was predicted."""
