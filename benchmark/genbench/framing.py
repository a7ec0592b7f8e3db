"""How an image of any kind, size and shape becomes RGB of one size: for datasets and generators alike.

Options name a `Framing`: neither torch nor, before there is an image, numpy and Pillow are imported.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from genbench.image_files import open_image, upright

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Fit = Literal["crop", "pad", "squash"]
_NAMED = {"#ffffff": "white", "#000000": "black", "#808080": "grey"}


def _in_lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _by_name(value: str) -> str:
    return _NAMED.get(value, value)


#: A name, or red, green and blue as on web pages. What has a name gets it: one colour, one key.
Colour = Annotated[
    str,
    StringConstraints(pattern=r"^(white|black|grey|#[0-9a-f]{6})$"),
    BeforeValidator(_in_lower_case),
    AfterValidator(_by_name),
]
FIT_IN_WORDS = (
    "how an image that is not square becomes it: cut to its centre, padded with `background`, or stretched"
)
BACKGROUND_IN_WORDS = (
    "what lies behind transparent pixels and beside a padded image: white, black, grey or #rrggbb"
)


@dataclass(frozen=True)
class Framing:
    """What happens to an image that is not square, and to transparent pixels.

    Attributes:
        fit: `crop` keeps the largest square in its middle, `pad` all of it on a square of `background`,
            `squash` all of it without its proportions.
        background: `white`, `black`, `grey` or `#rrggbb`.
    """

    fit: Fit = "crop"
    background: str = "white"

    def as_options(self) -> dict[str, str]:
        """Return what is not as usual, by name."""
        usual = Framing()
        return {name: value for name, value in vars(self).items() if value != getattr(usual, name)}


USUAL = Framing()


def read_square(
    source: bytes | Path,
    size: int,
    name: str,
    *,
    as_photograph: bool = False,
    mode: str | None = None,
    framing: Framing = USUAL,
) -> "npt.NDArray[np.uint8]":
    """Open an image that came from others, and bring it to RGB, `size` x `size`: `uint8 [3, size, size]`.

    Args:
        source: The encoded image, or its file.
        size: Height and width in pixels.
        name: What messages call it.
        as_photograph: Whether it is turned as its EXIF data say.
        mode: Pillow's mode that it is converted to first.
        framing: What happens where it is not square, and to transparent pixels.

    Raises:
        DataError: It cannot be decoded, or is too large (see `genbench.image_files`).
    """
    with open_image(source, name) as image:
        turned = upright(image) if as_photograph else image
        return to_square(turned.convert(mode) if mode and mode != turned.mode else turned, size, framing)


def to_square(image: Any, size: int, framing: Framing = USUAL) -> "npt.NDArray[np.uint8]":
    """Bring any PIL image to RGB, `size` x `size`: `uint8 [3, size, size]`.

    Transparent pixels are blended with the background; one channel becomes three, and a palette its colours;
    CMYK is converted without a colour profile. Of 16-bit and floating-point grey, the brightest level of
    each image becomes white, negative levels and what is no number black. Resizing is PIL's antialiased
    Lanczos; an image of the right size keeps every pixel.
    """
    import numpy as np

    image = _opaque(_in_bytes(image), framing.background).convert("RGB")
    if image.size != (size, size):
        image = _FITS[framing.fit](image, size, framing.background)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def _in_bytes(image: Any) -> Any:
    """Bring levels of more than a byte to 0-255."""
    import numpy as np
    from PIL import Image

    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    levels = np.array(image, dtype=np.float64)
    np.nan_to_num(levels, copy=False, posinf=0, neginf=0)
    np.maximum(levels, 0, out=levels)
    levels /= max(levels.max(), 1)
    levels *= 255  # in place: a large image fills a quarter of a GiB for each byte of its pixels
    return Image.fromarray(levels.astype(np.uint8))


def _opaque(image: Any, background: str) -> Any:
    """Blend transparent pixels with the background."""
    from PIL import Image

    if image.mode not in {"RGBA", "LA", "PA"} and "transparency" not in image.info:
        return image
    canvas = Image.new("RGBA", image.size, background)
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas


def _crop(image: Any, size: int, background: str) -> Any:
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)


def _pad(image: Any, size: int, background: str) -> Any:
    """Put all of an image into the middle; of one that is a thousand times as long as wide, a pixel stays.

    `ImageOps.pad` fails where the shorter side would round to none.
    """
    from PIL import Image

    longest = max(image.size)
    width, height = (max(1, round(side / longest * size)) for side in image.size)
    canvas = Image.new("RGB", (size, size), background)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(small, (round((size - width) / 2), round((size - height) / 2)))
    return canvas


def _squash(image: Any, size: int, background: str) -> Any:
    from PIL import Image

    return image.resize((size, size), Image.Resampling.LANCZOS)


_FITS = {"crop": _crop, "pad": _pad, "squash": _squash}
