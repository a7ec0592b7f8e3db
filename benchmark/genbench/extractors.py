"""The frozen networks that make features: their names, and where their weights lie."""

from collections.abc import Mapping
from pathlib import Path

from genbench import hub

#: Where the weights of named extractors lie on the Hub; `timm:NAME` is any other model of timm's.
EXTRACTOR_WEIGHTS: Mapping[str, str] = {
    "squeezenet": "torchvision/squeezenet1_0",
    "inception": "timm/inception_v3.tv_in1k",
    "dinov2": "timm/vit_small_patch14_dinov2.lvd142m",
    "clip": "timm/vit_base_patch32_clip_224.openai",
}


def extractor_files(extractor: str) -> Mapping[str, Path]:
    """Return an extractor's weights; none for `reference` and `pixels`.

    Raises:
        DataError: They cannot be had; the message says what was tried.
    """
    if extractor in {"reference", "pixels"}:
        return {}
    model = EXTRACTOR_WEIGHTS.get(extractor, extractor.replace("timm:", "timm/", 1))
    return hub.find(model, ("model.safetensors",))
