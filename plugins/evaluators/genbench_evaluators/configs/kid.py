"""Options of `kid`. Imports neither torch nor numpy."""

from genbench.protocols import EmbeddingConfig


class KidConfig(EmbeddingConfig):
    """Options of `kid`: the extractor alone."""
