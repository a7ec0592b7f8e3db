"""What the generators that are Stable Diffusion pipelines share: loading, batches, texts, blank images.

A pipeline is loaded with diffusers from the mirror, the Hub's cache or a local folder (`genbench.hub`). Every
image has a `torch.Generator` of its own, on the CPU, and every call the same number of images, so that image
i is the same however a request is split. Images are brought to the working size and back with Pillow.

An image whose every pixel is 0 is what a pipeline's safety checker leaves: a `blank`. One that is not finite,
as half precision can make it, is `failed`.
"""

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from genbench.errors import DataError, PluginError
from genbench.images import LabelledImages, Labels
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._pipeline_files import INDEX
from genbench_generators._pipeline_parts import required, resized, working_size
from genbench_generators._prompts import draw, fill
from genbench_generators._shared import chunks
from genbench_generators.configs._pipelines import PipelineConfig

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ADAPTER_FILE = "lora.safetensors"
_SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
}


class Painted(NamedTuple):
    """What one pipeline call made.

    Attributes:
        pixels: `uint8 [n, 3, H, W]`, 0-255, on the CPU.
        faults: `blank`, `failed` or an empty string for each.
    """

    pixels: torch.Tensor
    faults: list[str]


class PipelineGenerator(Generator, ABC):
    """Makes images with a pretrained pipeline, fine-tuned on train where `lora_steps` says so.

    Class attributes:
        pipeline_class: The class of diffusers that the pipeline is loaded as.
        edits: Whether it starts from the source images.
        unet_sees_source: Whether the network is handed the source beside the noisy image.
    """

    pipeline_class: ClassVar[str]
    edits: ClassVar[bool]
    unet_sees_source: ClassVar[bool] = False

    def __init__(self, config: PipelineConfig) -> None:
        self._common = config
        self._adapter: Mapping[str, torch.Tensor] | None = None
        self._loaded: Any = None

    @abstractmethod
    def arguments(self, sources: torch.Tensor | None) -> Mapping[str, Any]:
        """Return the arguments of a pipeline call that this pipeline has and others have not.

        Args:
            sources: `float32 [n, 3, h, w]`, 0-1, at the working size; None unless it `edits`.
        """

    # ---------------------------------------------------------------------------------------------- fit

    @property
    def batch_parts(self) -> int:
        """On how many devices the fit may run (`genbench.steps.fit_helpers`)."""
        return self._common.lora_batch_parts if self._common.lora_steps else 1

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Fine-tune on train, from the last checkpoint on; without `lora_steps` there is nothing to do.

        Raises:
            GenbenchError: The loss became NaN or infinite.
        """
        self._loaded, self._adapter = None, {}
        if self._common.lora_steps:
            from genbench_generators._lora import fit_adapter

            required("peft")
            pipeline = load_pipeline(self._common, self.pipeline_class)
            self._adapter = fit_adapter(pipeline, train, self._common, self.unet_sees_source, ctx)

    def save(self, folder: Path) -> None:
        """Write the fine-tuned differences; none are none."""
        from safetensors.torch import save_file

        save_file(dict(self._fitted()), folder / ADAPTER_FILE)

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote; the pipeline is loaded when it is sampled."""
        from safetensors.torch import load_file

        self._loaded, self._adapter = None, load_file(folder / ADAPTER_FILE)

    def _fitted(self) -> Mapping[str, torch.Tensor]:
        if self._adapter is None:
            raise PluginError(f"{type(self).__name__} is not ready: fit or load comes before sample")
        return self._adapter

    # ------------------------------------------------------------------------------------------- sample

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield images, a padded batch at a time, with the text of each and what is wrong with it."""
        pipeline = self._pipeline(ctx)
        choices, size = self._common.all_prompts(), self._common.batch_size_images
        cut: set[str] = set()
        for part in chunks(len(request), size):
            rows = np.minimum(np.arange(part.start, part.start + size), part.stop - 1)
            names = [request.train.class_names[label] for label in request.labels[rows]]
            prompts = [
                fill(self._common.template, name, draw(choices, int(seed)))
                for name, seed in zip(names, request.seeds[rows], strict=True)
            ]
            sources = request.train.batch(request.source_indices[rows]) if self.edits else None
            with _quiet():
                cut |= _warn_of_cut_texts(set(prompts) - cut, pipeline.tokenizer, ctx)
                painted = self._paint(
                    pipeline, prompts, request.seeds[rows], sources, request.train.image_shape
                )
            count = part.stop - part.start
            none = np.full(count, -1, dtype=np.int64)
            yield SyntheticBatch(
                images=painted.pixels[:count],
                labels=request.labels[part],
                source_indices=request.source_indices[part] if self.edits else none,
                prompts=prompts[:count],
                faults=painted.faults[:count],
            )

    @torch.inference_mode()
    def _paint(
        self,
        pipeline: Any,
        prompts: list[str],
        seeds: Labels,
        sources: torch.Tensor | None,
        image_shape: tuple[int, int, int],
    ) -> Painted:
        """Call the pipeline once, at the working size, and scale what it made to `image_shape`."""
        config = self._common
        height, width = working_size(config, image_shape)
        extra = self.arguments(
            None if sources is None else resized(sources, (height, width), config.resize).float() / 255
        )
        made = pipeline(
            prompt=prompts,
            negative_prompt=[config.negative_prompt] * len(prompts),
            num_inference_steps=config.steps,
            guidance_scale=config.guidance_scale,
            generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
            output_type="pt",
            **({} if self.edits else {"height": height, "width": width}),
            **extra,
        ).images
        faults = faults_of(made)
        pixels = (made.float().nan_to_num().clamp(0, 1) * 255).round().byte().cpu()
        return Painted(resized(pixels, image_shape[1:], config.resize), faults)

    def _pipeline(self, ctx: RunContext) -> Any:
        """Return the pipeline, fine-tuned, on the device; the second time it is there already."""
        adapter = self._fitted()
        if self._loaded is None:
            pipeline = load_pipeline(self._common, self.pipeline_class)
            if adapter:
                from genbench_generators._lora import merge_adapter

                merge_adapter(pipeline.unet, adapter, self._common)
            self._loaded = pipeline.to(ctx.device, DTYPES[self._common.precision])
        return self._loaded


def load_pipeline(config: PipelineConfig, pipeline_class: str) -> Any:
    """Load a pipeline, on the CPU in float32, with the configured sampler.

    Raises:
        UsageError: transformers is not installed.
        DataError: There is no such pipeline, or diffusers cannot load it.
    """
    required("transformers")
    folder = config.model_files()[INDEX].parent
    diffusers = importlib.import_module("diffusers")
    with _quiet(), torch.random.fork_rng(devices=[]):  # building networks draws random weights
        try:
            pipeline = getattr(diffusers, pipeline_class).from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except Exception as problem:  # wrong files of others: diffusers raises nearly every kind
            raise DataError(
                f"diffusers cannot load {config.model!r} as {pipeline_class}: {problem}",
                hint=f"compare its files with the Hub's: hf download {config.model}",
            ) from problem
    pipeline.set_progress_bar_config(disable=True)
    if config.scheduler != "default":
        scheduler = getattr(diffusers, _SCHEDULERS[config.scheduler])
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    return pipeline.to("cpu", torch.float32)


def faults_of(images: torch.Tensor) -> list[str]:
    """Say why each image of `float [n, 3, h, w]`, 0-1, cannot be used: `failed`, `blank`, or nothing."""
    finite = images.isfinite().all(dim=(1, 2, 3)).tolist()
    black = (images == 0).all(dim=(1, 2, 3)).tolist()
    return ["blank" if is_black else "" if is_finite else "failed"
            for is_finite, is_black in zip(finite, black, strict=True)]  # fmt: skip


def _warn_of_cut_texts(texts: set[str], tokenizer: Any, ctx: RunContext) -> set[str]:
    """Say in the step's log which texts have more tokens than the pipeline reads; return them."""
    limit = tokenizer.model_max_length
    long = {text for text in texts if len(tokenizer(text).input_ids) > limit}
    for text in sorted(long):
        ctx.log.warning("only the first %d tokens of %r are read", limit, text)
    return long


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and warnings of the libraries, which know no step's log, off the terminal."""
    logs = [importlib.import_module(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bars in before:
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
