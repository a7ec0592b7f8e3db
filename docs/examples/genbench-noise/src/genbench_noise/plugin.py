"""Registers the generator: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_generators() -> Sequence[ComponentSpec]:
    """Return `noise`."""
    return [
        ComponentSpec(
            name="noise",
            target="genbench_noise.noise:Noise",
            config="genbench_noise.config:NoiseConfig",
            summary="the mean of each class, with Gaussian noise",
            needs_fit=True,
        )
    ]
