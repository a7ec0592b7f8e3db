"""Options of the built-in evaluators. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import EmbeddingConfig, EvaluatorConfig


class AccuracyConfig(EvaluatorConfig):
    """`accuracy` has no options: it reports every split that was predicted."""


class FidConfig(EmbeddingConfig):
    """Options of `fid`: the extractor alone."""


class MmdConfig(EmbeddingConfig):
    """Options of `mmd`."""

    bandwidth: float | None = Field(
        default=None,
        gt=0,
        description="sigma of the RBF kernel, in units of the features; none is the median distance between "
        "real training images",
    )
