"""`noise` holds to the contract."""

from genbench.testing.suites import GeneratorConformance


class TestNoise(GeneratorConformance):
    """Every check of the conformance kit."""

    component = "noise"
