"""The conformance kit: what every plugin must hold to, as checks that anyone can run.

    genbench plugin check my-gen                      from a shell
    from genbench.testing.suites import GeneratorConformance
    class TestMyGen(GeneratorConformance):            in a test suite
        component = "my-gen:preset=smoke"

The checks run on made-up images of 8x8 pixels (`image_size` changes that), or on a few of a dataset's, and
take seconds at `smoke`. Each mistake is reported by one check: those that rest on it are skipped.
docs/writing-a-plugin.md says of each check how to pass it.
"""

from genbench.testing.asking import Check, Outcome, needed_by, outcomes
from genbench.testing.checks import CHECKS, checks_of
from genbench.testing.context import MemoryContext
from genbench.testing.subject import Subject, make_subject

__all__ = [
    "CHECKS", "Check", "MemoryContext", "Outcome", "Subject", "checks_of", "make_subject", "needed_by",
    "outcomes",
]  # fmt: skip
