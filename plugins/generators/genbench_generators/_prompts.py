"""The texts that pipelines are given: templates, prompt lists and their presets. Imports no torch.

An image's text is `template`, with `{label}` for the name of its class and `{prompt}` for one of `prompts`,
which its seed draws. A template without `{prompt}` is for images without prompts: where there are some, the
prompt takes its place; it may hold `{label}`, too.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from genbench.errors import DataError, did_you_mean
from genbench.seeding import derive_seed

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")

PROMPT_LISTS: Mapping[str, tuple[str, ...]] = {
    # DALISA-2025/CS7643-final-project, final/diffusemix_core.py
    "source-s1": (
        "Autumn", "Snowy", "Watercolor art", "Sunset", "Rainbow", "Mosaic",
        "Sunny", "Origami", "Starry Night", "Pointillism", "Cyberpunk", "Impressionism",
    ),
    # khawar-islam/diffuseMix, e58418d, README
    "official": (
        "Autumn", "snowy", "watercolor art", "sunset", "rainbow",
        "aurora", "mosaic", "ukiyo-e", "a sketch with crayon",
    ),
    # the seven templates of CLIP (arXiv:2103.00020) that its authors' prompt notebook ends with
    "clip": (
        "itap of a {label}", "a bad photo of the {label}", "a origami {label}", "art of the {label}",
        "a photo of the large {label}", "a {label} in a video game", "a photo of the small {label}",
    ),
}  # fmt: skip


def named_prompts(name: str) -> tuple[str, ...]:
    """Return a list by its preset name; the empty name is the empty list.

    Raises:
        ValueError: There is no such list; the message names those that there are.
    """
    if not name:
        return ()
    if name not in PROMPT_LISTS:
        raise ValueError(f"a list such as [Autumn,Snowy], or one by name. {did_you_mean(name, PROMPT_LISTS)}")
    return PROMPT_LISTS[name]


def check_text(text: str, allowed: Sequence[str]) -> None:
    """Refuse an empty text and placeholders that nobody fills.

    Raises:
        ValueError: The message says which ones are allowed.
    """
    if not text.strip():
        raise ValueError("a text is empty")
    unknown = sorted(set(_PLACEHOLDER.findall(text)) - set(allowed))
    if unknown:
        raise ValueError(f"{text!r} has {', '.join(unknown)}; allowed: {', '.join(allowed)}")


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read a list from UTF-8 text, a prompt a line.

    Raises:
        DataError: There is no such file, it is no text, or a line cannot be used; the message names it.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"prompt_file: cannot read {str(path)!r} as text: {problem}") from None
    if not lines:
        raise DataError(f"prompt_file: {str(path)!r} holds no prompt", hint="write one prompt a line")
    for number, line in enumerate(lines, start=1):
        try:
            check_text(line, ("{label}",))
        except ValueError as problem:
            raise DataError(f"prompt_file: {str(path)!r}, line {number}: {problem}") from None
    return tuple(line.strip() for line in lines)


def fill(template: str, label: str, prompt: str = "") -> str:
    """Return the text of one image.

    >>> fill("a transformed version of image into {prompt}", "tabby_cat", "Autumn")
    'a transformed version of image into Autumn'
    >>> fill("a photo of a {label}", "tabby_cat")
    'a photo of a tabby cat'
    """
    text = template if not prompt or "{prompt}" in template else "{prompt}"
    return text.replace("{prompt}", prompt).replace("{label}", label.replace("_", " "))


def draw(prompts: Sequence[str], seed: int) -> str:
    """Return the prompt that an image's seed chooses, or an empty string where there is none."""
    return prompts[derive_seed("prompt", seed) % len(prompts)] if prompts else ""
