"""The conformance kit: what every plugin must hold to, as checks that anyone can run.

    genbench plugin check my-gen                      from a shell
    from genbench.testing.suites import GeneratorConformance
    class TestMyGen(GeneratorConformance):            in a test suite
        component = "my-gen:preset=smoke"

The checks run on made-up images of 8x8 pixels (`image_size` changes that) and take seconds at `smoke`.
"""

from genbench.testing.checks import CHECKS, Subject, checks_of, make_subject
from genbench.testing.context import MemoryContext

__all__ = ["CHECKS", "MemoryContext", "Subject", "checks_of", "make_subject"]
