"""Registers the built-in datasets: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_datasets() -> Sequence[ComponentSpec]:
    """Return the built-in datasets."""
    return [
        ComponentSpec(
            name="digits",
            target="genbench_datasets.digits:Digits",
            config="genbench_datasets.configs.digits:DigitsConfig",
            summary="1,797 handwritten digits, 8x8 grey, embedded in scikit-learn: works anywhere",
            paper="Alpaydin and Kaynak, UCI 1998, doi:10.24432/C50P49",
            requires=("sklearn",),
        ),
        ComponentSpec(
            name="cifar10",
            target="genbench_datasets.cifar10:Cifar10",
            config="genbench_datasets.configs.cifar10:Cifar10Config",
            summary="CIFAR-10 from the Hub or a mirror (uoft-cs/cifar10): 50,000 + 10,000 images, 32x32",
            paper="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            requires=("datasets",),
        ),
        ComponentSpec(
            name="imagefolder",
            target="genbench_datasets.imagefolder:ImageFolder",
            config="genbench_datasets.configs.imagefolder:ImageFolderConfig",
            summary="your images: imagefolder:PATH, class folders, with train/ and test/ or not, or a CSV",
            version=2,
        ),
        ComponentSpec(
            name="cats_vs_dogs",
            target="genbench_datasets.cats_vs_dogs:CatsVsDogs",
            config="genbench_datasets.configs.cats_vs_dogs:CatsVsDogsConfig",
            summary="cats and dogs from the Hub or a mirror, 128x128, 601 to train on as S4 had",
            paper="Elson et al., Asirra, CCS 2007",
            requires=("datasets",),
        ),
        ComponentSpec(
            name="imagenet",
            target="genbench_datasets.hub:Hub",
            config="genbench_datasets.configs.imagenet:ImagenetConfig",
            summary="ImageNet-1k from the Hub or a mirror, all of it or some classes, with its shifts",
            paper="arXiv:1409.0575",
            requires=("datasets", "timm"),
        ),
        ComponentSpec(
            name="hub",
            target="genbench_datasets.hub:Hub",
            config="genbench_datasets.configs.hub:HubConfig",
            summary="any set of labelled images on the Hugging Face Hub: hub:ORG/NAME",
            requires=("datasets",),
        ),
    ]
