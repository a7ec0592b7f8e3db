"""Options of every generator that runs a Hub pipeline. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from genbench.protocols import ADDED_LATER, GeneratorConfig
from genbench_generators._pipeline_files import find_pipeline
from genbench_generators._prompts import check_text, named_prompts, read_prompts

SMOKE = {
    "steps": 2,
    "working_size_pixels": 64,
    "batch_size_images": 4,
    "lora_steps": 4,
    "lora_rank": 2,
    "lora_batch_size_images": 2,
}


QUICK = {"steps": 8, "scheduler": "dpmpp", "working_size_pixels": 256}


FINAL = {"precision": "bf16", "batch_size_images": 16}


class PipelineConfig(GeneratorConfig):
    """Options that all pipelines have; their fields are sampling's, but for those named `lora_...`.

    Class attributes:
        pipelines: The classes, as `model_index.json` names them, that the generator can use.
    """

    pipelines: ClassVar[tuple[str, ...]]
    primary: ClassVar[str | None] = "model"
    location_fields: ClassVar[frozenset[str]] = frozenset({"model", "prompt_file"})
    sample_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "template",
            "prompts",
            "negative_prompt",
            "steps",
            "guidance_scale",
            "image_guidance_scale",
            "strength",
            "scheduler",
            "batch_size_images",
        }
    )
    fit_length_fields: ClassVar[frozenset[str]] = frozenset({"lora_steps"})
    costless_fields: ClassVar[frozenset[str]] = frozenset(
        {
            *("template", "prompts", "negative_prompt"),
            *("lora_learning_rate", "lora_template", "lora_drop_fraction"),
        }
    )

    model: str = Field(min_length=1, description="Hub id or local folder of the pipeline; its content counts")
    template: str = Field(
        default="a photo of a {label}",
        description="text of each image: {label} is the name of its class, {prompt} one of `prompts`; a "
        "template without {prompt} gives way to the prompt, where there are prompts",
    )
    prompts: tuple[str, ...] = Field(
        default=(),
        description="texts of which each image draws one, or the name of a list: source-s1, official, clip",
    )
    prompt_file: Path | None = Field(
        default=None, description="text file with a prompt a line, used instead of `prompts`"
    )
    negative_prompt: str = Field(default="", description="text of the branch that guidance leads away from")
    steps: int = Field(default=30, ge=1, le=1000, description="denoising steps")
    guidance_scale: float = Field(
        default=7.5, ge=0, le=100, description="how strongly the text guides; 1 or less is off"
    )
    scheduler: Literal["default", "ddim", "dpmpp", "euler", "euler-ancestral"] = Field(
        default="default", description="sampler; `default` is the one that the pipeline came with"
    )
    working_size_pixels: int = Field(
        default=512,
        ge=8,
        le=2048,
        multiple_of=8,
        description="shorter side at which the pipeline works; images are scaled there and back",
    )
    resize: Literal["lanczos", "bicubic", "nearest"] = Field(
        default="lanczos", description="filter that scales images to the working size and back"
    )
    batch_size_images: int = Field(
        default=4, ge=1, description="images per pipeline call; the last batch is padded to it"
    )
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        default="fp32", description="precision of the weights; LoRA is fitted in bf16 where this is fp16"
    )
    lora_steps: int = Field(
        default=0, ge=0, description="optimizer steps of fine-tuning on train with LoRA; 0 is off"
    )
    lora_rank: int = Field(default=8, ge=1, le=1024, description="rank of the fine-tuned differences")
    lora_learning_rate: float = Field(default=1e-4, gt=0, description="peak learning rate (AdamW)")
    lora_batch_size_images: int = Field(default=8, ge=1, description="images per optimizer step")
    lora_batch_parts: Annotated[int, ADDED_LATER] = Field(
        default=1,
        ge=1,
        le=64,
        description="parts of a batch, whose gradients are added in order; several GPUs share them",
    )
    lora_template: str = Field(
        default="a photo of a {label}", description="text that train images are fine-tuned under"
    )
    lora_drop_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1 / 3,
        description="share of images fine-tuned without text alone, without source alone, and without both",
    )

    @field_validator("prompts", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return named_prompts(value) if isinstance(value, str) else value

    @field_validator("prompts")
    @classmethod
    def _usable_prompts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place, prompt in enumerate(value):
            try:
                check_text(prompt, ("{label}",))
            except ValueError as problem:
                raise ValueError(f"entry {place}: {problem}") from None
        return value

    @field_validator("template")
    @classmethod
    def _usable_template(cls, value: str) -> str:
        check_text(value, ("{label}", "{prompt}"))
        return value

    @field_validator("lora_template")
    @classmethod
    def _usable_lora_template(cls, value: str) -> str:
        check_text(value, ("{label}",))
        return value

    @model_validator(mode="after")
    def _usable_parts(self) -> "PipelineConfig":
        if self.lora_batch_parts > self.lora_batch_size_images:
            raise ValueError(
                f"lora_batch_parts ({self.lora_batch_parts}) must be at most lora_batch_size_images "
                f"({self.lora_batch_size_images})"
            )
        return self

    @model_validator(mode="after")
    def _consistent_prompts(self) -> "PipelineConfig":
        if "{prompt}" in self.template and not self.prompts and self.prompt_file is None:
            raise ValueError(f"template {self.template!r} needs prompts, and there are none")
        return self

    def fit_length(self, train_images: int) -> int:
        """Return the optimizer steps of fine-tuning."""
        return self.lora_steps

    def all_prompts(self) -> tuple[str, ...]:
        """Return `prompts`, or those in `prompt_file`."""
        return self.prompts if self.prompt_file is None else read_prompts(self.prompt_file)

    def source_files(self) -> Mapping[str, Path]:
        """Return the pipeline's files by their path inside it, and the prompt file.

        Raises:
            DataError: There is no such pipeline, or it is of another kind, or weights are missing.
        """
        files = dict(self.model_files())
        if self.prompt_file is not None:
            read_prompts(self.prompt_file)
            files["prompt_file"] = self.prompt_file.expanduser()
        return files

    def model_files(self) -> Mapping[str, Path]:
        """Return the pipeline's files by their path inside it."""
        return find_pipeline(self.model, self.pipelines)
