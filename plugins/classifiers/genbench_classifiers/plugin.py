"""Registers the built-in classifiers: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, Resources, hookimpl

#: Of every network that `weights=FILE` is given to.
_CHECKPOINT = ("a checkpoint (weights=)",)


@hookimpl
def genbench_classifiers() -> Sequence[ComponentSpec]:
    """Return the built-in classifiers."""
    return [
        ComponentSpec(
            name="mlp",
            target="genbench_classifiers.mlp:Mlp",
            config="genbench_classifiers.configs.mlp:MlpConfig",
            summary="fully connected layers on raw pixels: 1.8 M parameters on 32x32 images",
            external_data=_CHECKPOINT,
        ),
        ComponentSpec(
            name="cnn",
            target="genbench_classifiers.cnn:Cnn",
            config="genbench_classifiers.configs.cnn:CnnConfig",
            summary="a small CNN: 95 k parameters; architecture=s3 and s4 are those of two source papers",
            external_data=_CHECKPOINT,
        ),
        ComponentSpec(
            name="resnet32",
            target="genbench_classifiers.resnet32:ResNet32",
            config="genbench_classifiers.configs.resnet32:ResNet32Config",
            summary="the CIFAR ResNet, depth 20 to 110: 464 k parameters at depth 32",
            paper="arXiv:1512.03385",
            resources=Resources(gpu_memory_gib=1),
            external_data=_CHECKPOINT,
        ),
        ComponentSpec(
            name="vit",
            target="genbench_classifiers.vit:Vit",
            config="genbench_classifiers.configs.vit:VitConfig",
            summary="a vision transformer for small images: tiny (0.8 M parameters), small, medium, large",
            paper="arXiv:2010.11929",
            resources=Resources(gpu_memory_gib=4),
            external_data=_CHECKPOINT,
        ),
        ComponentSpec(
            name="timm",
            target="genbench_classifiers.timm_adapter:Timm",
            config="genbench_classifiers.configs.timm:TimmConfig",
            summary="any model of timm by name, with fresh weights: timm:resnet18",
            resources=Resources(gpu_memory_gib=8),
            external_data=_CHECKPOINT,
        ),
        ComponentSpec(
            name="timm-pretrained",
            target="genbench_classifiers.timm_adapter:TimmPretrained",
            config="genbench_classifiers.configs.timm_pretrained:TimmPretrainedConfig",
            version=2,
            summary="any model of timm with published weights, fine-tuned: timm-pretrained:resnet18.a1_in1k",
            resources=Resources(gpu_memory_gib=8, network=True),
            external_data=("pretrained weights from timm",),
        ),
        ComponentSpec(
            name="predictions",
            version=3,
            target="genbench_classifiers.predictions:StoredPredictions",
            config="genbench_classifiers.configs.predictions:PredictionsConfig",
            summary="what a model of yours said of test and shifts: predictions:FILE; nothing is trained",
            external_data=("a model trained elsewhere (predictions)",),
        ),
    ]
