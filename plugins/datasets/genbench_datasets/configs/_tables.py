"""Where published shifts are found, and how their files are packed. Imports neither torch nor numpy."""

from collections.abc import Mapping

ARCHIVES = (".tar.gz", ".zip")  #: how files of class folders are packed


PARQUET = ("data/*.parquet", "*/*.parquet", "*.parquet")


def _of_v2(variant: str) -> tuple[str, tuple[str, ...]]:
    packed = f"imagenetv2-{variant}"
    return "vaishaal/ImageNetV2", (f"{packed}.tar.gz", f"{packed}-format-val/*/*")


#: Published shifts of ImageNet: their ids on the Hub, and their files there or extracted in a mirror.
PUBLISHED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "imagenet-r": ("axiong/imagenet-r", PARQUET),
    "imagenet-a": ("barkermrl/imagenet-a", PARQUET),
    "imagenet-sketch": ("songweig/imagenet_sketch", ("data/ImageNet-Sketch.zip", "sketch/*/*", *PARQUET)),
    "imagenetv2-matched-frequency": _of_v2("matched-frequency"),
    "imagenetv2-threshold-0.7": _of_v2("threshold0.7"),
    "imagenetv2-top-images": _of_v2("top-images"),
    "objectnet": ("timm/objectnet", PARQUET),
}
