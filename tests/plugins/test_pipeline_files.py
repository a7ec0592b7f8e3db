"""Which pipeline is meant and whether it can be used: told from its files before anything is loaded."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from genbench.digest import file_digest
from genbench.errors import DataError, PluginError
from genbench.images import TensorImages
from genbench.protocols import ComponentRef, RunContext, SampleRequest
from genbench.registry import Registry
from genbench.spec import resolve
from genbench_generators import _prompts
from genbench_generators.configs._pipelines import PipelineConfig
from genbench_generators.configs.instruct_pix2pix import InstructPix2PixConfig
from genbench_generators.configs.sd_img2img import SdImg2ImgConfig
from genbench_generators.configs.sd_text2img import SdText2ImgConfig
from genbench_generators.sd_text2img import SdText2Img

INDEX, UNET = "model_index.json", "unet/diffusion_pytorch_model"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out like the Hub, with a pipeline whose files hold next to nothing."""
    folder = tmp_path / "mirror" / "tiny" / "sd"
    parts = {
        "unet": "diffusers",
        "vae": "diffusers",
        "text_encoder": "transformers",
        "tokenizer": "transformers",
    }
    index = {
        "_class_name": "StableDiffusionPipeline",
        "safety_checker": [None, None],
        "requires_safety_checker": True,
    }
    weights = (
        f"{UNET}.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    )
    for name in (*weights, "unet/config.json", "tokenizer/vocab.json", "scheduler/scheduler_config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / INDEX).write_text(
        json.dumps({**index, **{part: [library, ""] for part, library in parts.items()}})
    )
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def test_the_content_is_the_identity_and_the_path_is_not(
    registry: Registry, mirror: Path, tmp_path: Path
) -> None:
    def identity(model: str, **options: Any) -> Any:
        reference = ComponentRef(use="sd_img2img", options={"model": model, **options})
        return resolve(registry, "generator", reference, "quick", file_digest).identity

    shutil.copytree(mirror / "tiny" / "sd", tmp_path / "copy")
    by_name = identity("tiny/sd")
    assert by_name == identity(str(tmp_path / "copy"))
    assert by_name["fingerprint"]
    assert str(tmp_path) not in json.dumps(by_name)
    weights = tmp_path / "copy" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_text("other weights")
    assert identity(str(tmp_path / "copy")) != by_name
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("snowy\n")
    first = identity("tiny/sd", prompt_file=str(prompts))
    prompts.write_text("sunny\n")
    assert identity("tiny/sd", prompt_file=str(prompts)) != first != by_name


def test_variants_and_single_files_are_not_read(mirror: Path, tmp_path: Path) -> None:
    shutil.copytree(mirror / "tiny" / "sd", tmp_path / "copy")
    names = SdImg2ImgConfig(model=str(tmp_path / "copy")).source_files().keys()
    for name in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"):
        (tmp_path / "copy" / name).touch()
    (tmp_path / "copy" / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors").touch()
    found = SdImg2ImgConfig(model=str(tmp_path / "copy")).source_files().keys()
    assert found - names == {"unet/diffusion_pytorch_model-00001-of-00002.safetensors"}
    assert {"tokenizer/vocab.json", "scheduler/scheduler_config.json"} <= names


def test_weights_that_are_nowhere_say_what_was_tried(mirror: Path) -> None:
    with pytest.raises(
        DataError, match=f"model 'no/such'. Tried: mirror {mirror}.*cache of this machine"
    ) as caught:
        SdImg2ImgConfig(model="no/such").source_files()
    assert "hf download --repo-type model no/such" in caught.value.hint


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda it: (it / INDEX).unlink(), "no model_index.json, only scheduler, text_encoder,"),
        (lambda it: (it / INDEX).write_text('{"_class_name": "SomeXL"}'), "'SomeXL'; allowed: StableDiff"),
        (lambda it: (it / INDEX).write_text("{"), "model_index.json is not JSON"),
        (
            lambda it: (it / f"{UNET}.safetensors").rename(it / f"{UNET}.bin"),
            "unet has no weights as .safetensors, only unet/config.json",
        ),
        (shutil.rmtree, "is not a folder"),
    ],
)  # fmt: skip
def test_a_wrong_model_folder_says_what_was_found(
    mirror: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(mirror / "tiny" / "sd", folder)
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        SdImg2ImgConfig(model=str(folder)).source_files()
    assert "save_pretrained" in caught.value.hint


def test_a_pipeline_of_another_generator_is_refused(mirror: Path) -> None:
    with pytest.raises(
        DataError, match=r"'StableDiffusionPipeline'; allowed: StableDiffusionInstructPix2Pix"
    ):
        InstructPix2PixConfig(model="tiny/sd").source_files()


# ---------------------------------------------------------------------------------------------- options


def test_prompts_are_drawn_evenly_and_lists_have_names() -> None:
    prompts = SdText2ImgConfig(prompts="source-s1").prompts
    assert len(prompts) == 12
    assert len(InstructPix2PixConfig(**InstructPix2PixConfig.presets["official"]).prompts) == 9
    counts = [sum(_prompts.draw(prompts, seed) == prompt for seed in range(2400)) for prompt in prompts]
    assert sum(counts) == 2400
    assert sum((count - 200) ** 2 / 200 for count in counts) < 31.3  # chi-squared, 11 degrees, p = .001
    s1 = InstructPix2PixConfig(**InstructPix2PixConfig.presets["source-s1"])
    assert _prompts.fill(s1.template, "cat", "Mosaic") == "A transformed version of image into Mosaic"
    assert (s1.steps, s1.guidance_scale, s1.image_guidance_scale, s1.working_size_pixels) == (
        20,
        7.0,
        1.5,
        512,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": ["a", " "]}, "entry 1: a text is empty"),
        ({"prompts": ["{class}"]}, r"has {class}; allowed: {label}"),
        ({"prompts": "source-s2"}, "Did you mean source-s1"),
        ({"template": "a {prompt}"}, "needs prompts, and there are none"),
        ({"template": "{name}"}, r"has {name}; allowed: {label}, {prompt}"),
        ({"lora_template": " "}, "a text is empty"),
        ({"strength": 0}, "greater than 0"),
        ({"strength": 1.1}, "less than or equal to 1"),
        ({"strength": 0.1, "steps": 5}, "less than one step"),
        ({"working_size_pixels": 20}, "multiple of 8"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SdImg2ImgConfig(**options)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"snowy\n\nsunny\n", "line 2: a text is empty"), (b"", "holds no prompt"), (b"\xff", "as text"),
     (None, "cannot read")],
)  # fmt: skip
def test_a_prompt_file_that_cannot_be_used_is_refused_before_planning(
    mirror: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        SdImg2ImgConfig(model="tiny/sd", prompt_file=tmp_path / "prompts.txt").source_files()


@pytest.mark.parametrize("schema", [SdText2ImgConfig, SdImg2ImgConfig, InstructPix2PixConfig])
def test_what_is_fitted_depends_on_no_sampling_option(schema: type[PipelineConfig]) -> None:
    fields = set(schema.model_fields)
    fitted = {"model", "prompt_file", "working_size_pixels", "resize", "precision"}
    assert fields - schema.sample_fields == fitted | {name for name in fields if name.startswith("lora_")}


def test_sampling_before_fitting_is_refused(
    make_images: Callable[..., TensorImages], ctx: RunContext
) -> None:
    rows = np.arange(4, dtype=np.int64)
    request = SampleRequest(rows, rows, rows, make_images())
    with pytest.raises(PluginError, match="fit or load comes before sample"):
        list(SdText2Img(SdText2ImgConfig()).sample(request, ctx))
