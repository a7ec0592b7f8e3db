"""A clock that stands still."""


class Clock:
    """A monotonic clock that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now
