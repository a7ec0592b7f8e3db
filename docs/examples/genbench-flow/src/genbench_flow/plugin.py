"""Registers the generator: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_generators() -> Sequence[ComponentSpec]:
    """Return `flow`."""
    return [
        ComponentSpec(
            name="flow",
            target="genbench_flow.flow:Flow",
            config="genbench_flow.config:FlowConfig",
            summary="conditional flow matching with straight paths, and a small U-Net",
            paper="arXiv:2210.02747",
            needs_fit=True,
        )
    ]
