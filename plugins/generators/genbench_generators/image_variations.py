"""`image_variations`: training images, edited or varied by an OpenAI-compatible image service.

Each source image is enlarged (Lanczos), sent as PNG with a prompt that names its class, and the answer is
brought back to the size of train. Nothing is fitted. The service draws no seed from us: sets repeat because
answers are stored, not because they could be made again.

Answers are kept in the step's work folder as they come, by image, before anybody looks at their pictures: a
run that was stopped, killed or ran into its cap pays for none of them again. An image for which nothing
usable comes is a fault, `failed`; so many faults in a row that nothing seems to work stop the run. The cap
holds for one sampled set.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genbench.errors import DataError
from genbench.images import read_square
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._images_api import ImagesApi, UnusableError
from genbench_generators._kept import Kept
from genbench_generators._ledger import Ledger
from genbench_generators._secret import read_key
from genbench_generators._shared import chunks
from genbench_generators.configs.image_variations import VariationsConfig

_FAILURES_IN_A_ROW = 10  # after which the service, and not an image, is at fault
_FAILED = "failed"


class ImageVariations(Generator):
    """Asks a service for a variation of each request's source image."""

    def __init__(self, config: VariationsConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield variations, `parallel_requests` at a time; prompts and faults are recorded.

        Raises:
            UsageError: There is no key, or the service refuses it, the endpoint or the model.
            GenbenchError: The spending cap is reached.
            DataError: Nothing usable came many times in a row.
        """
        maker = _Maker(self._api(ctx), ctx.work / "answers")
        names, failures = request.train.class_names, 0
        with ThreadPoolExecutor(self.config.parallel_requests) as pool:
            for part in chunks(len(request), self.config.parallel_requests):
                sources = request.train.batch(request.source_indices[part])
                prompts = [self._prompt(names[label]) for label in request.labels[part]]
                seeds = [int(seed) for seed in request.seeds[part]]
                made = list(pool.map(maker.variation, sources, prompts, seeds))
                for variation in made:
                    failures = failures + 1 if variation.problem else 0
                    _check_service(variation.problem, failures, ctx)
                yield _batch(made, request, part, prompts)
                if ctx.checkpoint_due():
                    ctx.checkpoint({}, {})  # answers are kept as they come: a chance to stop

    def _prompt(self, label: str) -> str:
        """Return the text that is sent; `variations` takes none."""
        return self.config.prompt.format(label=label) if self.config.endpoint == "edits" else ""

    def _api(self, ctx: RunContext) -> ImagesApi:
        secret = read_key(self.config.key_env)
        answers = ctx.work / "answers"
        answers.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(answers / "paid.jsonl", self.config.price_per_image_usd, self.config.max_spend_usd)
        return ImagesApi(self.config, secret, ledger)


@dataclass(frozen=True)
class _Variation:
    """One image, `uint8 [3, H, W]`, or why there is none."""

    image: torch.Tensor
    problem: str = ""


@dataclass(frozen=True)
class _Maker:
    """Makes one variation, from the answers in a folder or from the service; called from several threads."""

    api: ImagesApi
    folder: Path

    def variation(self, source: torch.Tensor, prompt: str, seed: int) -> _Variation:
        """Return a variation of `source`: `uint8 [3, H, W]`."""
        png = _enlarged(source, self.api.config.upload_pixels)
        name = hashlib.sha256(png + prompt.encode()).hexdigest()[:16]
        try:
            picture = self.api.image(png, prompt, seed, Kept(self.folder, f"{seed:x}-{name}"))
            return _Variation(_shrunk(picture, height=source.shape[1], width=source.shape[2]))
        except (UnusableError, DataError) as problem:
            return _Variation(torch.zeros_like(source), str(problem))


def _batch(
    made: Sequence[_Variation], request: SampleRequest, part: slice, prompts: Sequence[str]
) -> SyntheticBatch:
    return SyntheticBatch(
        torch.stack([variation.image for variation in made]),
        request.labels[part],
        request.source_indices[part],
        prompts=prompts,
        faults=[_FAILED if variation.problem else "" for variation in made],
    )


def _check_service(problem: str, failures: int, ctx: RunContext) -> None:
    """Log a failure, and stop where it seems that every image will fail.

    Raises:
        DataError: Nothing usable came many times in a row.
    """
    if problem:
        ctx.log.warning("image_variations: an image failed: %s", problem)
    if failures >= _FAILURES_IN_A_ROW:
        raise DataError(
            f"image_variations: no usable answer for {failures} images in a row; the last problem: {problem}",
            hint="check model, size_pixels and the service, and run the same command again: answers stay; "
            "those called *.refused-* are not paid for again before they are removed",
        )


def _enlarged(source: torch.Tensor, side: int) -> bytes:
    """Encode an image as a square PNG of `side` pixels."""
    content = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(source.permute(1, 2, 0).numpy()))
    image.resize((side, side), Image.Resampling.LANCZOS).save(content, format="PNG")
    return content.getvalue()


def _shrunk(path: Path, *, height: int, width: int) -> torch.Tensor:
    """Bring an answer to the size of train: `uint8 [3, H, W]`; stretched back where it is not square."""
    square = read_square(path, max(height, width), f"the answer {path.name}")
    if height != width:
        stretched = Image.fromarray(square.transpose(1, 2, 0)).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        square = np.ascontiguousarray(np.asarray(stretched).transpose(2, 0, 1))
    return torch.from_numpy(square)
