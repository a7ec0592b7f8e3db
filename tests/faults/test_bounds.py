"""That a bound which does not hold is noticed."""

import time

import pytest

from faults.bounds import bounded


def test_what_breaks_its_bounds_is_noticed() -> None:
    bounded(lambda: bytearray(10 << 20), mebibytes=100, seconds=20)
    with pytest.raises(AssertionError, match="MemoryError"):
        bounded(lambda: bytearray(200 << 20), mebibytes=100, seconds=20)
    with pytest.raises(AssertionError, match="took more than 1 s"):
        bounded(lambda: time.sleep(20), mebibytes=100, seconds=1)
    with pytest.raises(AssertionError, match="ValueError: invalid literal"):
        bounded(lambda: int("no"), mebibytes=100, seconds=20)
