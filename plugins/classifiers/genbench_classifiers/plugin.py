"""Registers the built-in classifiers: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, Resources, hookimpl


@hookimpl
def genbench_classifiers() -> Sequence[ComponentSpec]:
    """Return the built-in classifiers."""
    return [
        ComponentSpec(
            name="mlp",
            target="genbench_classifiers.mlp:Mlp",
            config="genbench_classifiers.configs:MlpConfig",
            summary="fully connected layers on raw pixels: 1.8 M parameters on 32x32 images",
        ),
        ComponentSpec(
            name="cnn",
            target="genbench_classifiers.cnn:Cnn",
            config="genbench_classifiers.configs:CnnConfig",
            summary="three convolutions with batch norm and global pooling: 95 k parameters",
        ),
        ComponentSpec(
            name="resnet32",
            target="genbench_classifiers.resnet32:ResNet32",
            config="genbench_classifiers.configs:ResNet32Config",
            summary="the CIFAR ResNet, depth 20 to 110: 464 k parameters at depth 32",
            paper="arXiv:1512.03385",
            resources=Resources(gpu_memory_gib=1),
        ),
    ]
