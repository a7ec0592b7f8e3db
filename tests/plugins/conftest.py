"""What the tests of the built-in components share."""

from collections.abc import Callable

import pytest

from genbench.protocols import RunContext
from genbench.steps.context import StepContext


@pytest.fixture
def ctx(make_context: Callable[..., StepContext]) -> RunContext:
    """A context as steps get it."""
    return make_context()
