"""What the generators share."""

from collections.abc import Iterator

BATCH_IMAGES = 256  #: images per batch where the batch size changes nothing but memory


def chunks(total: int, size: int = BATCH_IMAGES) -> Iterator[slice]:
    """Cut `range(total)` into slices of at most `size`."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))
