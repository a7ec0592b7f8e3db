"""Names in words of datasets, classifiers, generators, filters and augmentations. Plain text, not escaped.

A built-in component has a name in words; one of a third party has its reference, as users typed it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from genbench.escaping import one_line, shortened
from genbench.records import Component
from genbench_leaderboard.rows import BASELINE

_LONGEST = 60  #: characters of a name that is not ours
_PROPER = {"predictions", "resnet32", "timm"}  # which take no article
_PARTS = ("first", "second", "third", "fourth")  # of `union`


class Name(NamedTuple):
    """What a component is called.

    Attributes:
        title: As the title of a column or a cell: `CIFAR-10`.
        phrase: Within a sentence: `CIFAR-10 images`, `the small CNN`.
    """

    title: str
    phrase: str


def dataset_name(component: Component, reference: str) -> Name:
    """Return what a dataset is called: `CIFAR-10`; else its reference, as users typed it."""
    if component.use == "imagefolder":
        return own(reference, "own images", "images of")
    if component.use == "hub":
        path = one_line(str(component.config.get("path", reference)), _LONGEST)
        return Name(path, f"images of {path}")
    known = _DATASETS.get(component.use)
    return known or Name(bare(reference), f"images of {bare(reference)}")


def classifier_name(component: Component, reference: str) -> Name:
    """Return what a classifier is called: `small CNN`; else its reference."""
    name = _CLASSIFIERS.get(component.use)
    if name is None:
        return Name(bare(reference), f"the classifier {bare(reference)}")
    title = name(component.config)
    return Name(title, title if component.use in _PROPER else f"the {title}")


def generator_name(component: Component, reference: str = "") -> str:
    """Return what a generator is called: `DDPM`, `style transfer (AdaIN)`; else its reference.

    Args:
        component: With its options.
        reference: What users typed.
    """
    name = _GENERATORS.get(component.use)
    return name(component.config) if name else bare(reference or component.name)


def filter_name(component: Component, reference: str = "") -> str:
    """Return what a filter does, after the name of a generator: `without near duplicates`."""
    return _FILTERS.get(component.use) or f"filtered by {bare(reference or component.name)}"


AUGMENTATIONS = {
    "off": "no augmentation",
    "colour": "colour",
    "shear_zoom": "shear and zoom",
    "randaugment": "RandAugment",
    "trivialaugment": "TrivialAugment",
    "augmix": "AugMix",
    "mixup": "Mixup",
    "cutmix": "CutMix",
}
_DATASETS = {
    "cifar10": Name("CIFAR-10", "CIFAR-10 images"),
    "digits": Name("Handwritten digits", "handwritten digits"),
    "cats_vs_dogs": Name("Cats and dogs", "photographs of cats and dogs"),
    "imagenet": Name("ImageNet", "ImageNet images"),
}
_FILTERS = {
    "class_fid": "filtered by class FID",
    "confidence": "filtered by confidence",
    "cull_list": "culled by a list",
    "fidelity": "filtered by label fidelity",
    "near_duplicates": "without near duplicates",
    "typicality": "filtered by typicality",
}


def _cnn(config: Mapping[str, Any]) -> str:
    source = {"s3": "small CNN of Dreaming Data", "s4": "small CNN of kyritzb's study"}
    return source.get(str(config.get("architecture")), "small CNN")


def _resnet(config: Mapping[str, Any]) -> str:
    return f"ResNet-{_of(config, 'depth', 32)}"


def _vit(config: Mapping[str, Any]) -> str:
    return f"{_of(config, 'size', '')} vision transformer".strip()


_CLASSIFIERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "cnn": _cnn,
    "mlp": lambda config: "MLP",
    "predictions": lambda config: "predictions of a stored model",
    "resnet32": _resnet,
    "timm": lambda config: _of(config, "model", "timm model"),
    "timm-pretrained": lambda config: f"pretrained {_of(config, 'model', 'timm model')}",
    "vit": _vit,
}


def _style_transfer(config: Mapping[str, Any]) -> str:
    methods = {"adain": " (AdaIN)", "gatys": " (Gatys)"}
    return "style transfer" + methods.get(str(config.get("method")), "")


def _union(config: Mapping[str, Any]) -> str:
    parts = [_part(config.get(part)) for part in _PARTS]
    return " and ".join(part for part in parts if part) or "union"


def _chain(config: Mapping[str, Any]) -> str:
    first, second = _part(config.get("first")), _part(config.get("second"))
    return f"{second} of {first}" if first and second else "chain"


def _sdedit(config: Mapping[str, Any]) -> str:
    base = _part(config.get("base"))
    return "SDEdit" if base in {"", "DDPM"} else f"SDEdit by {base}"


def _diffusemix(config: Mapping[str, Any]) -> str:
    editor = _part(config.get("editor"))
    return f"DiffuseMix by {editor}" if editor else "DiffuseMix"


_GENERATORS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    BASELINE: lambda config: "real images alone",
    "chain": _chain,
    "classical": lambda config: "frozen augmented copies",
    "copies": lambda config: "copied training images",
    "cvae": lambda config: "CVAE",
    "ddpm": lambda config: "DDPM",
    "diffusemix": _diffusemix,
    "image_variations": lambda config: "an image service's variations",
    "instruct_pix2pix": lambda config: "InstructPix2Pix",
    "real_extra": lambda config: "more real images",
    "sd_img2img": lambda config: "Stable Diffusion from images",
    "sd_text2img": lambda config: "Stable Diffusion from text",
    "sdedit": _sdedit,
    "style_transfer": _style_transfer,
    "union": _union,
}


def _part(inner: Any) -> str:
    """Name a component among the options of another; nothing where there is none."""
    if not isinstance(inner, Mapping) or not isinstance(inner.get("use"), str) or inner["use"] == BASELINE:
        return ""
    config = inner.get("config")
    return generator_name(Component(inner["use"], config=config if isinstance(config, Mapping) else {}))


def _of(config: Mapping[str, Any], option: str, default: object) -> str:
    return one_line(str(config.get(option, default)), _LONGEST)


def bare(reference: str) -> str:
    """Return a reference as one line of at most 60 characters."""
    return shortened(one_line(reference), _LONGEST)


def own(reference: str, title: str, phrase: str) -> Name:
    """Name what lies in somebody's folder by that folder: `imagefolder:path=photos`."""
    name = _path(reference)
    return Name(f"{title} ({name})" if name else title, f"{phrase} {name}" if name else title)


def _path(reference: str) -> str:
    _, _, options = reference.partition(":")
    first = options.partition(",")[0]
    return bare(first.removeprefix("path=")) if "=" not in first.removeprefix("path=") else ""
