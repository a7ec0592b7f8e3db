"""Stable Diffusion pipelines: the real loading code, on tiny random pipelines that are written here."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from genbench.errors import DataError, GenbenchError, Interrupted, UsageError
from genbench.images import TensorImages, open_images
from genbench.protocols import SampleRequest, SyntheticBatch
from genbench.steps.context import StepContext
from genbench.steps.samples import write_sample
from genbench.testing.context import MemoryContext
from genbench.testing.suites import GeneratorConformance
from genbench_generators import _lora, _prompts
from genbench_generators._diffusion import to_pixels
from genbench_generators._pipeline_parts import resized, working_size
from genbench_generators._pipelines import PipelineGenerator, faults_of, load_pipeline
from genbench_generators.configs._pipelines import PipelineConfig
from genbench_generators.configs.instruct_pix2pix import InstructPix2PixConfig
from genbench_generators.configs.sd_img2img import SdImg2ImgConfig
from genbench_generators.configs.sd_text2img import SdText2ImgConfig
from genbench_generators.instruct_pix2pix import InstructPix2Pix
from genbench_generators.sd_img2img import SdImg2Img
from genbench_generators.sd_text2img import SdText2Img

SMALL: dict[str, Any] = {"steps": 2, "working_size_pixels": 16, "batch_size_images": 3}
LORA: dict[str, Any] = {"lora_steps": 4, "lora_rank": 2, "lora_batch_size_images": 2}
TOKENS = 24
WORDS = [*"abcdefghijklmnopqrstuvwxyz0123456789-,"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:transformers.*",  # transformers' own modules, as for torch and diffusers
    "ignore::FutureWarning:transformers.*",
)

Usual = dict[type[PipelineGenerator], torch.Tensor]


# -------------------------------------------------------------------------------------- tiny pipelines


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer that knows letters and digits; return the size of its vocabulary."""
    folder.mkdir(parents=True)
    words = [*WORDS, *(f"{word}</w>" for word in WORDS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {f"{name}_token": "<|endoftext|>" for name in ("eos", "unk", "pad")}
    card = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, "bos_token": "<|startoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**card, **special}))
    return len(words)


def write_pipeline(folder: Path, pipeline_class: str = "StableDiffusionPipeline", **replaced: Any) -> None:
    """Write a tiny random pipeline as the Hub has it; `replaced` components stand in for the default ones."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = write_tokenizer(folder / "tokenizer")
    edits = "Pix2Pix" in pipeline_class
    parts: dict[str, Any] = {
        "unet": diffusers.UNet2DConditionModel(
            sample_size=8, in_channels=8 if edits else 4, out_channels=4, block_out_channels=(8, 16),
            layers_per_block=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
            attention_head_dim=4, norm_num_groups=4,
        ),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(CLIPTextConfig(
            vocab_size=words, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=TOKENS, bos_token_id=words - 2,
            eos_token_id=words - 1, pad_token_id=words - 1,
        )),
        "scheduler": diffusers.PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
            steps_offset=1,
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    }  # fmt: skip
    pipeline = getattr(diffusers, pipeline_class)(**{**parts, **replaced}, requires_safety_checker=False)
    pipeline.save_pretrained(folder)


def safety_checker() -> dict[str, Any]:
    """Build a real checker, which finds nothing unless one of its thresholds is lowered."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    tower = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**tower, "image_size": 16, "patch_size": 8}
    torch.manual_seed(3)
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=tower, vision_config=vision, projection_dim=8)
    )
    checker.visual_projection.weight.data.normal_()
    checker.concept_embeds_weights.data.fill_(2.0)
    checker.special_care_embeds_weights.data.fill_(2.0)
    size = {"height": 16, "width": 16}
    return {"safety_checker": checker, "feature_extractor": CLIPImageProcessor(size=size, crop_size=size)}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like the Hub."""
    folder = tmp_path_factory.mktemp("mirror")
    with torch.random.fork_rng(devices=[]):
        write_pipeline(folder / "tiny" / "sd")
        write_pipeline(folder / "tiny" / "ip2p", "StableDiffusionInstructPix2PixPipeline")
    return folder


@pytest.fixture(autouse=True)
def _mirrored(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(mirror))


@pytest.fixture(scope="module")
def train() -> TensorImages:
    """Twelve made-up images of three classes, 8x8 like digits."""
    pixels = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(5))
    return TensorImages(pixels.byte(), np.arange(12, dtype=np.int64) % 3, ["cat", "dog", "fire_truck"])


@pytest.fixture
def memory(tmp_path: Path) -> MemoryContext:
    return MemoryContext(work=tmp_path / "memory")


def request_for(train: TensorImages, count: int = 7, seed: int = 100) -> SampleRequest:
    rows = np.arange(count, dtype=np.int64) % len(train)
    return SampleRequest(train.labels[rows], np.arange(count, dtype=np.int64) + seed, rows, train)


def ready(kind: type[PipelineGenerator], config: PipelineConfig, tmp_path: Path) -> PipelineGenerator:
    """Return a generator without fine-tuning, saved and loaded as the harness does."""
    generator = kind(config)
    generator.fit(
        TensorImages(torch.zeros(0, 3, 8, 8).byte(), np.zeros(0, dtype=np.int64), []), MemoryContext(tmp_path)
    )
    folder = tmp_path / "saved"
    folder.mkdir(exist_ok=True)
    generator.save(folder)
    loaded = kind(config)
    loaded.load(folder)
    return loaded


def sample(generator: PipelineGenerator, request: SampleRequest, ctx: MemoryContext) -> list[SyntheticBatch]:
    return list(generator.sample(request, ctx))


def pixels_of(batches: list[SyntheticBatch]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


def drawn(
    train: TensorImages, tmp_path: Path, kind: type[PipelineGenerator] = SdImg2Img, **options: Any
) -> torch.Tensor:
    """Sample with a tiny pipeline."""
    made = ready(kind, config_of(kind, **options), tmp_path)
    return pixels_of(sample(made, request_for(train), MemoryContext(tmp_path)))


def config_of(kind: type[PipelineGenerator], **options: Any) -> PipelineConfig:
    schemas: dict[type[PipelineGenerator], type[PipelineConfig]] = {
        SdText2Img: SdText2ImgConfig,
        SdImg2Img: SdImg2ImgConfig,
        InstructPix2Pix: InstructPix2PixConfig,
    }
    model = "tiny/ip2p" if kind is InstructPix2Pix else "tiny/sd"
    return schemas[kind](**{"model": model, **SMALL, **options})


KINDS = (SdText2Img, SdImg2Img, InstructPix2Pix)


@pytest.fixture(scope="module")
def usual(train: TensorImages, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Usual:
    """What each generator draws with the options of `config_of`."""
    folder = tmp_path_factory.mktemp("usual")
    models = {kind: str(mirror / config_of(kind).model) for kind in KINDS}
    return {kind: drawn(train, folder, kind, model=model) for kind, model in models.items()}


@pytest.fixture(scope="module")
def usual_adapter(train: TensorImages, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What InstructPix2Pix learns with the options of `LORA`."""
    ctx = MemoryContext(tmp_path_factory.mktemp("adapter"))
    return tuned(InstructPix2Pix, train, ctx, model=str(mirror / "tiny" / "ip2p"))[1]


# ---------------------------------------------------------------------------------------- the contract


class TestSdText2Img(GeneratorConformance):
    component: ClassVar[str] = "sd_text2img:tiny/sd,working_size_pixels=16"


class TestSdImg2Img(GeneratorConformance):
    component: ClassVar[str] = "sd_img2img:tiny/sd,working_size_pixels=16"


class TestInstructPix2Pix(GeneratorConformance):
    component: ClassVar[str] = "instruct_pix2pix:tiny/ip2p,working_size_pixels=16"


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_those_of_a_direct_call_of_diffusers(
    train: TensorImages, tmp_path: Path, mirror: Path, kind: type[PipelineGenerator]
) -> None:
    import diffusers

    options = {"prompts": ["gold"], "template": "a {prompt} {label}", "negative_prompt": "ugly"}
    made = drawn(train, tmp_path, kind, **options, batch_size_images=1)
    config = config_of(kind, **options)
    pipeline = getattr(diffusers, kind.pipeline_class).from_pretrained(mirror / config.model)
    source = resized(train.batch([1]), (16, 16), "lanczos").float() / 255
    extra = {
        SdText2Img: {"height": 16, "width": 16},
        SdImg2Img: {"image": source, "strength": 0.5},
        InstructPix2Pix: {"image": source, "image_guidance_scale": 1.5},
    }[kind]
    direct = pipeline(
        "a gold dog",
        negative_prompt="ugly",
        num_inference_steps=2,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(101),
        output_type="np",
        **extra,
    ).images
    expected = torch.from_numpy((direct * 255).round().astype(np.uint8)).permute(0, 3, 1, 2)
    assert expected.float().std() > 1
    assert torch.equal(made[1:2], resized(expected, (8, 8), "lanczos"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_however_the_request_is_split(
    train: TensorImages, tmp_path: Path, memory: MemoryContext, kind: type[PipelineGenerator]
) -> None:
    config = config_of(kind, scheduler="euler-ancestral", prompts=["gold", "snowy", "{label} toy"])
    generator, request = ready(kind, config, tmp_path), request_for(train)
    sizes: set[int] = set()
    pipeline = generator._pipeline(memory)
    pipeline.vae.decoder.register_forward_pre_hook(lambda _, inputs: sizes.add(len(inputs[0])))
    whole = sample(generator, request, memory)
    assert sizes == {3}, "the last batch is padded: another size would change the last bits"
    rows = np.array([6, 2, 5])
    some = SampleRequest(request.labels[rows], request.seeds[rows], request.source_indices[rows], train)
    part = sample(generator, some, memory)
    assert torch.equal(pixels_of(part), pixels_of(whole)[rows])
    texts = [text for batch in whole for text in batch.prompts or []]
    assert [text for batch in part for text in batch.prompts or []] == [texts[row] for row in rows]
    sources = np.concatenate([batch.source_indices for batch in whole])
    np.testing.assert_array_equal(sources, request.source_indices if kind.edits else np.full(7, -1))
    assert len(torch.unique(pixels_of(whole), dim=0)) == len(request)


@pytest.mark.parametrize("size", [(32, 32), (12, 20)])
def test_other_sizes_come_back_as_they_were(
    tmp_path: Path, memory: MemoryContext, size: tuple[int, int]
) -> None:
    pixels = torch.randint(0, 256, (4, 3, *size), generator=torch.Generator().manual_seed(0)).byte()
    train = TensorImages(pixels, np.arange(4, dtype=np.int64) % 2, ["a", "b"])
    generator = ready(SdImg2Img, config_of(SdImg2Img, working_size_pixels=24), tmp_path)
    assert pixels_of(sample(generator, request_for(train, 4), memory)).shape == (4, 3, *size)
    expected = (24, 24) if size == (32, 32) else (24, 40)
    assert working_size(config_of(SdImg2Img, working_size_pixels=24), (3, *size)) == expected


# --------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (SdImg2Img, "template", "art of a {label}"),
        (SdImg2Img, "prompts", ["gold"]),
        (SdImg2Img, "negative_prompt", "ugly"),
        (SdImg2Img, "steps", 4),
        (SdImg2Img, "guidance_scale", 1.0),
        (SdImg2Img, "strength", 1.0),
        (SdImg2Img, "working_size_pixels", 24),
        (SdImg2Img, "resize", "nearest"),
        (SdImg2Img, "resize", "bicubic"),
        (SdImg2Img, "precision", "bf16"),
        (InstructPix2Pix, "image_guidance_scale", 3.0),
        *((SdText2Img, "scheduler", name) for name in ("ddim", "dpmpp", "euler", "euler-ancestral")),
    ],
)
def test_every_option_changes_the_images(
    train: TensorImages, tmp_path: Path, usual: Usual, kind: type[PipelineGenerator], option: str, value: Any
) -> None:
    assert not torch.equal(drawn(train, tmp_path, kind, **{option: value}), usual[kind])
    sampling = option in config_of(kind).sample_fields
    assert sampling == (option not in {"working_size_pixels", "resize", "precision"})


@pytest.mark.parametrize(("strength", "calls"), [(0.25, 1), (0.5, 2), (1.0, 4)])
def test_strength_is_the_share_of_steps_taken(
    train: TensorImages, tmp_path: Path, memory: MemoryContext, strength: float, calls: int
) -> None:
    config = config_of(SdImg2Img, steps=4, strength=strength, scheduler="ddim", batch_size_images=8)
    generator = ready(SdImg2Img, config, tmp_path)
    levels: list[int] = []
    pipeline = generator._pipeline(memory)
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: levels.append(int(inputs[1])))
    sample(generator, request_for(train), memory)
    assert len(levels) == calls
    assert max(levels) <= 1000 * strength


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_precision_is_that_of_the_network(
    train: TensorImages,
    tmp_path: Path,
    memory: MemoryContext,
    usual: Usual,
    precision: str,
    dtype: torch.dtype,
) -> None:
    generator = ready(SdText2Img, config_of(SdText2Img, precision=precision), tmp_path)
    seen: list[torch.dtype] = []
    pipeline = generator._pipeline(memory)
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    low = pixels_of(sample(generator, request_for(train), memory)).float()
    assert set(seen) == {dtype} == {value.dtype for value in pipeline.unet.parameters()}
    assert (low - usual[SdText2Img].float()).abs().mean() < 8


def test_texts_are_templates_prompts_and_class_names(
    train: TensorImages, tmp_path: Path, memory: MemoryContext
) -> None:
    def texts(**options: Any) -> list[str]:
        generator = ready(SdText2Img, config_of(SdText2Img, steps=1, **options), tmp_path)
        return [
            text for batch in sample(generator, request_for(train), memory) for text in batch.prompts or []
        ]

    plain = ["a photo of a cat", "a photo of a dog", "a photo of a fire truck"]
    assert texts() == [plain[row % 3] for row in range(7)]
    assert set(texts(prompts=["a {label} toy"])) == {"a cat toy", "a dog toy", "a fire truck toy"}
    assert texts(prompts=["gold"], template="{label}, {prompt}")[1] == "dog, gold"
    file = tmp_path / "prompts.txt"
    file.write_text("snowy\nsunny {label}\n")
    assert set(texts(prompt_file=file)) <= {"snowy", "sunny cat", "sunny dog", "sunny fire truck"}
    assert "snowy" in texts(prompt_file=file)


def test_a_text_that_is_too_long_is_named_once_in_the_log(
    train: TensorImages, tmp_path: Path, memory: MemoryContext, caplog: pytest.LogCaptureFixture
) -> None:
    generator = ready(SdText2Img, config_of(SdText2Img, steps=1, prompts=["ab" * TOKENS]), tmp_path)
    sample(generator, request_for(train), memory)
    ours = [record.getMessage() for record in caplog.records if record.name == memory.log.name]
    assert ours == [f"only the first {TOKENS} tokens of '{'ab' * TOKENS}' are read"]


# ------------------------------------------------------------------------------------- blank and failed


def test_what_the_safety_checker_blacks_out_is_counted_and_made_again(
    train: TensorImages, tmp_path: Path, make_context: Callable[..., StepContext]
) -> None:
    with torch.random.fork_rng(devices=[]):
        write_pipeline(tmp_path / "checked", **safety_checker())
    generator = ready(SdImg2Img, config_of(SdImg2Img, model=str(tmp_path / "checked")), tmp_path)
    memory, request = MemoryContext(tmp_path), request_for(train, 12)
    weights = generator._pipeline(memory).safety_checker.concept_embeds_weights

    def faults(threshold: float) -> list[str]:
        weights.data[0] = threshold
        batches = sample(generator, request, memory)
        found = [fault for batch in batches for fault in batch.faults or []]
        black = (pixels_of(batches) == 0).all(dim=(1, 2, 3)).tolist()
        assert [fault == "blank" for fault in found] == black
        return found

    assert faults(2.0) == [""] * 12
    assert faults(-2.0) == ["blank"] * 12
    with pytest.raises(GenbenchError, match="of 12 images 12 blank: nothing is kept"):
        write_sample(generator, request, make_context(), tmp_path)
    low, high = -1.0, 1.0
    while not 0 < (count := faults((low + high) / 2).count("blank")) < 7:
        low, high = ((low + high) / 2, high) if count else (low, (low + high) / 2)
    ctx = make_context(work=tmp_path / "few", files=tmp_path / "few-files")
    write_sample(generator, request, ctx, ctx.files)
    counts = json.loads((ctx.files / "counts.json").read_text())
    images = open_images(ctx.files)
    assert counts["faults"]["blank"] >= count
    assert counts["attempts"] >= 12 + count
    assert counts["made_images"] == len(images)
    assert (images.all().amax(dim=(1, 2, 3)) > 0).all()


def test_images_that_are_not_finite_have_failed(
    tmp_path: Path, train: TensorImages, memory: MemoryContext
) -> None:
    images = torch.rand(3, 3, 4, 4)
    images[0] = 0
    images[1, 0, 0, 0] = torch.nan
    assert faults_of(images) == ["blank", "failed", ""]
    generator = ready(SdImg2Img, config_of(SdImg2Img), tmp_path)
    generator._pipeline(memory).vae.decoder.conv_out.bias.data.fill_(torch.nan)
    faults = [
        fault for batch in sample(generator, request_for(train), memory) for fault in batch.faults or []
    ]
    assert faults == ["failed"] * 7


# ------------------------------------------------------------------------------------------------ LoRA


def tuned(
    kind: type[PipelineGenerator], train: TensorImages, ctx: MemoryContext, **options: Any
) -> tuple[PipelineGenerator, bytes]:
    """Fine-tune, and return what was saved."""
    generator = kind(config_of(kind, **{**LORA, **options}))
    generator.fit(train, ctx)
    folder = ctx.work / "lora"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator.save(folder)
    return generator, (folder / "lora.safetensors").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuning_changes_images_and_goes_on_where_it_stopped(
    train: TensorImages, tmp_path: Path, memory: MemoryContext, usual: Usual, kind: type[PipelineGenerator]
) -> None:
    generator, saved = tuned(kind, train, memory, lora_learning_rate=0.05)
    images = pixels_of(sample(generator, request_for(train), memory))
    assert not torch.equal(images, usual[kind])
    stopped = MemoryContext(tmp_path, stop_after=3)
    with pytest.raises(Interrupted):
        tuned(kind, train, stopped, lora_learning_rate=0.05)
    assert stopped.saved is not None
    assert stopped.saved.meta["step"] == 3
    resumed = MemoryContext(tmp_path, saved=stopped.saved)
    assert tuned(kind, train, resumed, lora_learning_rate=0.05)[1] == saved


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lora_steps", 5),
        ("lora_rank", 3),
        ("lora_learning_rate", 1e-3),
        ("lora_batch_size_images", 3),
        ("lora_batch_parts", 2),
        ("lora_template", "a {label}"),
        ("lora_drop_fraction", 1 / 3),
        ("precision", "bf16"),
        ("resize", "nearest"),
    ],
)
def test_every_option_of_fine_tuning_changes_what_is_learned(
    train: TensorImages, memory: MemoryContext, usual_adapter: bytes, option: str, value: Any
) -> None:
    assert tuned(InstructPix2Pix, train, memory, **{option: value})[1] != usual_adapter
    assert option not in PipelineConfig.sample_fields


def test_merged_weights_are_w_plus_b_a(train: TensorImages, memory: MemoryContext) -> None:
    generator, _ = tuned(SdText2Img, train, memory, lora_learning_rate=0.05)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    adapter = generator._fitted()
    w = load_pipeline(config_of(SdText2Img), SdText2Img.pipeline_class).unet.get_submodule(name).weight
    merged = generator._pipeline(memory).unet.get_submodule(name).weight
    difference = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
    assert difference.abs().max() > 1e-3
    torch.testing.assert_close(merged, w + difference)


def test_fine_tuning_lowers_the_loss(train: TensorImages, memory: MemoryContext) -> None:
    generator, _ = tuned(SdText2Img, train, memory, lora_steps=60, lora_rank=4, lora_learning_rate=0.02)
    config = config_of(SdText2Img, lora_batch_size_images=12)

    @torch.no_grad()
    def loss(pipeline: Any) -> float:
        measure = _lora.AdapterLoss(pipeline, train, config, False, MemoryContext(memory.work, step_seed=9))
        return float(np.mean([float(measure(step, slice(None))) for step in range(8)]))

    before = loss(load_pipeline(config, SdText2Img.pipeline_class))
    after = loss(generator._pipeline(memory))
    assert after < 0.95 * before, f"{before:.3f} to {after:.3f}"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_the_models_own(train: TensorImages, memory: MemoryContext, prediction: str) -> None:
    config = config_of(SdText2Img, lora_batch_size_images=2, lora_drop_fraction=0)
    pipeline = load_pipeline(config, SdText2Img.pipeline_class)
    pipeline.scheduler.register_to_config(prediction_type=prediction)
    loss = _lora.AdapterLoss(pipeline, train, config, False, memory)
    seen: dict[str, Any] = {}

    def zero(x_t: torch.Tensor, t: torch.Tensor, texts: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        seen.update(x_t=x_t, t=t, texts=texts)
        return (torch.zeros_like(x_t),)

    pipeline.unet.forward = zero
    found = float(loss(0, slice(None)))
    # the same draws, by hand: the pixels, then the latents' noise, the levels, and the noise
    rng = torch.Generator().manual_seed(memory.seed("noise", 0))
    order = torch.randperm(12, generator=memory.rng("order", 0))[:2]
    large = resized(train.batch(order), (16, 16), "lanczos").float() / 127.5 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(large).latent_dist.sample(rng) * pipeline.vae.config.scaling_factor
    t = torch.randint(1000, (2,), generator=rng)
    noise = torch.randn(latents.shape, generator=rng)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    signal = torch.cumprod(1 - betas, 0)[t].float()[:, None, None, None]
    goal = {
        "epsilon": noise,
        "sample": latents,
        "v_prediction": signal.sqrt() * noise - (1 - signal).sqrt() * latents,
    }[prediction]
    torch.testing.assert_close(seen["x_t"], signal.sqrt() * latents + (1 - signal).sqrt() * noise)
    assert seen["t"].tolist() == t.tolist()
    assert found == pytest.approx(float(goal.square().mean()), rel=1e-4)
    texts = [_prompts.fill("a photo of a {label}", train.class_names[train.labels[row]]) for row in order]
    encoded, _ = pipeline.encode_prompt(texts, "cpu", 1, False)
    torch.testing.assert_close(seen["texts"], encoded)


def test_a_share_of_images_is_fitted_without_text_without_source_and_without_both(
    memory: MemoryContext,
) -> None:
    pixels = torch.randint(1, 256, (600, 3, 8, 8), generator=torch.Generator().manual_seed(5)).byte()
    many = TensorImages(pixels, np.arange(600, dtype=np.int64) % 2, ["a", "b"])
    config = config_of(InstructPix2Pix, lora_batch_size_images=600, lora_drop_fraction=0.1)
    pipeline = load_pipeline(config, InstructPix2Pix.pipeline_class)
    loss = _lora.AdapterLoss(pipeline, many, config, True, memory)
    seen: dict[str, torch.Tensor] = {}

    def zero(x_t: torch.Tensor, t: torch.Tensor, texts: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        seen.update(x_t=x_t, texts=texts)
        return (torch.zeros_like(x_t[:, :4]),)

    pipeline.unet.forward = zero
    images = loss._latents
    shown: list[torch.Tensor] = []
    loss._latents = lambda x: shown.append(x) or images(x)  # type: ignore[func-returns-value,method-assign]
    loss(0, slice(None))
    targets, sources = (to_pixels(x).flatten(1).tolist() for x in shown)
    labels = {tuple(row): label for row, label in zip(pixels.flatten(1).tolist(), many.labels, strict=True)}
    pairs = [(labels[tuple(one)], labels[tuple(two)]) for one, two in zip(targets, sources, strict=True)]
    assert all(one == two for one, two in pairs)
    assert len({tuple(source) for source in sources}) > 300
    no_text = (seen["texts"] == loss._texts[-1]).flatten(1).all(dim=1)
    no_source = (seen["x_t"][:, 4:] == 0).flatten(1).all(dim=1)
    shares = [(no_text & ~no_source), (no_text & no_source), (~no_text & no_source)]
    assert all(0.06 < float(share.float().mean()) < 0.14 for share in shares)


def test_fine_tuning_that_diverges_says_when_and_what_to_do(
    train: TensorImages, memory: MemoryContext
) -> None:
    with pytest.raises(
        GenbenchError, match=r"LoRA diverged: the loss is (nan|inf) by step 4 of 4, learning rate"
    ) as (caught):
        tuned(SdText2Img, train, memory, lora_learning_rate=1e30)
    assert "lower lora_learning_rate" in caught.value.hint


# ------------------------------------------------------------------------------------------ the weights


def test_weights_that_do_not_load_are_refused(train: TensorImages, mirror: Path, tmp_path: Path) -> None:
    shutil.copytree(mirror / "tiny" / "sd", tmp_path / "torn")
    (tmp_path / "torn" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"diffusers cannot load .*torn' as StableDiffusionImg2ImgPipeline"):
        drawn(train, tmp_path, model=str(tmp_path / "torn"))


@pytest.mark.parametrize("module", ["transformers", "peft"])
def test_a_missing_library_says_what_to_install(
    train: TensorImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: MemoryContext, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"need {module}, which cannot be imported") as caught:
        tuned(SdText2Img, train, memory)
    assert caught.value.hint == "pip install 'genbench[diffusion-hub]'"
