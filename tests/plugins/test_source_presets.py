"""Every `source-` preset against what its source did: numbers of the sources, one line each.

S1: DALISA-2025/CS7643-final-project (1d4cf2d). S2, S3: the WPI reports, and the repository that both follow
(zoubohao/DenoisingDiffusionProbabilityModel-ddpm-, 54532d6). S4: kyritzb/Synthetic-Data-Classification-
Experiment (fe3f489). He et al.: arXiv:1512.03385, Sec. 4.2. `official`: khawar-islam/diffuseMix (e58418d).
"""

from typing import Any

import pytest

from genbench.errors import UsageError
from genbench.notation import parse_reference
from genbench.options import ComponentConfig
from genbench.registry import Registry
from genbench.spec import Resolved, resolve

INTO = "A transformed version of image into {prompt}"
TABLE: list[tuple[str, str, str, str, Any]] = [
    # kind, component, preset, option, what the source has
    ("generator", "diffusemix", "source-s1", "fractals", "mandelbrot"),  # final/diffusemix_core.py
    ("generator", "diffusemix", "source-s1", "fractal_count", 100),
    ("generator", "diffusemix", "source-s1", "blend", 0.15),
    ("generator", "diffusemix", "source-s1", "orientations", ("left", "top")),
    ("generator", "diffusemix", "source-s1", "cut", "random"),
    ("generator", "diffusemix", "source-s1", "edge_fraction", 0.0),
    ("generator", "diffusemix", "source-s1", "editor.use", "instruct_pix2pix"),
    ("generator", "diffusemix", "source-s1", "editor.options.preset", "source-s1"),
    ("generator", "diffusemix", "official", "orientations", ("left", "top")),
    ("generator", "diffusemix", "official", "edge_fraction", 20 / 256),
    ("generator", "diffusemix", "official", "blend", 0.2),
    ("generator", "diffusemix", "official", "rounding", "down"),
    ("generator", "diffusemix", "official", "editor.options.preset", "official"),
    ("generator", "instruct_pix2pix", "source-s1", "template", INTO),
    ("generator", "instruct_pix2pix", "source-s1", "steps", 20),
    ("generator", "instruct_pix2pix", "source-s1", "guidance_scale", 7.0),
    ("generator", "instruct_pix2pix", "source-s1", "image_guidance_scale", 1.5),
    ("generator", "instruct_pix2pix", "source-s1", "working_size_pixels", 512),
    ("generator", "instruct_pix2pix", "source-s1", "resize", "lanczos"),
    ("generator", "instruct_pix2pix", "source-s1", "precision", "fp16"),
    ("generator", "instruct_pix2pix", "official", "template", "{prompt}"),
    ("generator", "instruct_pix2pix", "official", "steps", 100),
    ("generator", "instruct_pix2pix", "official", "guidance_scale", 4.0),
    ("generator", "instruct_pix2pix", "official", "image_guidance_scale", 1.5),
    ("generator", "instruct_pix2pix", "official", "scheduler", "euler-ancestral"),
    ("generator", "union", "source-s4", "shares", (795, 5122)),  # the counts that main.ipynb prints
    ("generator", "union", "source-s4", "first.use", "image_variations"),
    ("generator", "union", "source-s4", "first.options.preset", "source-s4"),
    ("generator", "union", "source-s4", "second.use", "style_transfer"),
    ("generator", "union", "source-s4", "second.options.preset", "source-s4"),
    ("generator", "chain", "source-s4", "first.use", "union"),
    ("generator", "chain", "source-s4", "first.options.first", "copies"),
    ("generator", "chain", "source-s4", "first.options.second.use", "image_variations"),
    ("generator", "chain", "source-s4", "first.options.second.preset", "source-s4"),
    ("generator", "chain", "source-s4", "second.options.preset", "source-s4"),
    ("generator", "image_variations", "source-s4", "endpoint", "variations"),  # openai.Image.create_variation
    ("generator", "image_variations", "source-s4", "model", "dall-e-2"),
    ("generator", "image_variations", "source-s4", "upload_pixels", 415),
    ("generator", "image_variations", "source-s4", "size_pixels", 256),
    ("generator", "style_transfer", "source-s4", "method", "adain"),  # Magenta's arbitrary stylization
    ("generator", "style_transfer", "source-s4", "style_blur_pixels", 3),
    ("generator", "classical", "source-s4", "variant", "shear_zoom"),
    ("generator", "classical", "source-s4", "shear_degrees", 0.2),
    ("generator", "classical", "source-s4", "zoom", 0.2),
    ("generator", "ddpm", "source-wpi", "timesteps", 500),  # S2, S3
    ("generator", "ddpm", "source-wpi", "channels", 128),
    ("generator", "ddpm", "source-wpi", "channel_multipliers", (1, 2, 2, 2)),
    ("generator", "ddpm", "source-wpi", "attention_levels", (0, 1, 2, 3)),
    ("generator", "ddpm", "source-wpi", "learning_rate", 1e-4),
    ("generator", "ddpm", "source-wpi", "warmup_gain", 2.5),
    ("generator", "ddpm", "source-wpi", "warmup_fraction", 0.1),
    ("generator", "ddpm", "source-wpi", "weight_decay", 1e-4),
    ("generator", "ddpm", "source-wpi", "beta_start", 1e-4),
    ("generator", "ddpm", "source-wpi", "beta_end", 0.028),
    ("generator", "ddpm", "source-wpi", "guidance_scale", 2.8),  # its w = 1.8 is 2.8 here
    ("generator", "ddpm", "source-wpi", "dropout", 0.15),
    ("generator", "ddpm", "source-wpi", "clip_norm", 1.0),
    ("generator", "ddpm", "source-wpi", "label_dropout", 0.1),
    ("generator", "ddpm", "source-wpi", "ema_decay", 0.0),
    ("generator", "ddpm", "source-wpi", "batch_size_images", 64),  # S3; S2: 80, as its suite says
    ("generator", "ddpm", "source-wpi", "epochs", 100),  # S3
    ("classifier", "resnet32", "source-s1", "shortcut", "B"),
    ("classifier", "resnet32", "source-s1", "recipe.learning_rate", 0.1),
    ("classifier", "resnet32", "source-s1", "recipe.momentum", 0.9),
    ("classifier", "resnet32", "source-s1", "recipe.nesterov", False),
    ("classifier", "resnet32", "source-s1", "recipe.weight_decay", 1e-4),
    ("classifier", "resnet32", "source-s1", "recipe.milestones", (0.5, 0.75)),  # 10 and 15 of 20
    ("classifier", "resnet32", "source-s1", "recipe.gamma", 0.1),
    ("classifier", "resnet32", "source-s1", "recipe.epochs", 20),
    ("classifier", "resnet32", "source-s1", "recipe.batch_size_images", 128),
    ("classifier", "resnet32", "source-he2016", "shortcut", "A"),
    ("classifier", "resnet32", "source-he2016", "recipe.epochs", 64_000 * 128 / 45_000),
    ("classifier", "resnet32", "source-he2016", "recipe.weight_decay", 1e-4),
    ("classifier", "resnet32", "source-he2016", "recipe.milestones", (0.5, 0.75)),  # 32,000 and 48,000
    ("classifier", "vit", "source-s1", "size", "tiny"),
    ("classifier", "vit", "source-s1", "patch", 4),
    ("classifier", "vit", "source-s1", "dropout", 0.2),
    ("classifier", "vit", "source-s1", "embedding_dropout", 0.1),
    ("classifier", "vit", "source-s1", "recipe.optimizer", "adam"),
    ("classifier", "vit", "source-s1", "recipe.learning_rate", 1e-3),
    ("classifier", "vit", "source-s1", "recipe.weight_decay", 0.0),
    ("classifier", "vit", "source-s1", "recipe.schedule", "cosine"),
    ("classifier", "vit", "source-s1", "recipe.batch_size_images", 128),
    ("classifier", "vit", "source-s1", "recipe.epochs", 20),
    ("classifier", "vit", "source-s1-medium", "size", "medium"),
    ("classifier", "vit", "source-s1-medium", "recipe.epochs", 40),
    ("classifier", "vit", "source-s1-large", "size", "large"),
    ("classifier", "vit", "source-s1-large", "recipe.epochs", 60),
    ("classifier", "vit", "source-s1-large", "recipe.learning_rate", 1e-3),
    ("classifier", "mlp", "source-s2", "recipe.learning_rate", 1e-4),
    ("classifier", "mlp", "source-s2", "recipe.epochs", 40),
    ("classifier", "mlp", "source-s2", "recipe.batch_size_images", 32),
    ("classifier", "cnn", "source-s3", "recipe.epochs", 40),
    ("classifier", "cnn", "source-s4", "architecture", "s4"),
    ("classifier", "cnn", "source-s4", "recipe.optimizer", "adam"),  # Keras' default rate
    ("classifier", "cnn", "source-s4", "recipe.learning_rate", 1e-3),
    ("classifier", "cnn", "source-s4", "recipe.batch_size_images", 32),
    ("classifier", "cnn", "source-s4", "recipe.epochs", 900 * 32 / 601),  # 18 steps x 50, of 601 images
]  # fmt: skip


def presets(registry: Registry) -> dict[tuple[str, str, str], type[ComponentConfig]]:
    """Return the schema of every preset that is a source's, of every kind."""
    found = {}
    for kind in ("dataset", "generator", "filter", "classifier", "evaluator"):
        for spec in registry.specs(kind):
            schema = registry.schema(spec, kind)
            for preset in schema.presets:
                if preset.startswith("source-") or preset == "official":
                    found[kind, spec.name, preset] = schema
    return found


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, str, str], type[ComponentConfig]]:
    return presets(Registry())


@pytest.mark.parametrize(("kind", "name", "preset", "option", "wanted"), TABLE)
def test_a_preset_is_its_source(
    known: dict[tuple[str, str, str], type[ComponentConfig]],
    kind: str,
    name: str,
    preset: str,
    option: str,
    wanted: Any,
) -> None:
    required = {"price_per_image_usd": 0.0} if name == "image_variations" else {}
    schema = known[kind, name, preset]
    value: Any = schema(**{**required, **schema.presets[preset]})
    for part in option.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert value == wanted


def test_every_preset_of_a_source_is_in_the_table(
    known: dict[tuple[str, str, str], type[ComponentConfig]],
) -> None:
    assert {row[:3] for row in TABLE} == set(known)


def test_a_preset_of_a_source_can_be_typed_bare() -> None:
    registry = Registry()

    def typed(text: str) -> Resolved:
        return resolve(registry, "classifier", parse_reference(text), "quick", str)

    assert typed("cnn:source-s4").identity == typed("cnn:preset=source-s4").identity
    assert typed("vit:source-s1-large").identity["config"]["size"] == "large"
    assert typed("vit:small").identity["config"]["size"] == "small"
    with pytest.raises(UsageError, match="takes no bare value, found 'source-s9'"):
        resolve(registry, "generator", parse_reference("diffusemix:source-s9"), "quick", str)
