"""What each step does: the only caller of plugins.

real        dataset: real images, split once for all cells
synthetic   fit, sample, filter: synthetic images
network     train, predict, embed
evaluation  evaluate
context     progress, seeds and checkpoints for the plugin that is called
provenance  hardware, versions and code, for the manifest
"""

from genbench.steps.execute import Workshop, execute, sample_with_fixed_noise

__all__ = ["Workshop", "execute", "sample_with_fixed_noise"]
