"""Registers the built-in generators: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, Resources, hookimpl


@hookimpl
def genbench_generators() -> Sequence[ComponentSpec]:
    """Return the built-in generators."""
    return [
        ComponentSpec(
            name="none",
            target="genbench_generators.none:NoGenerator",
            config="genbench_generators.configs.none:NoneConfig",
            summary="the baseline: real images alone",
        ),
        ComponentSpec(
            name="copies",
            target="genbench_generators.copies:Copies",
            config="genbench_generators.configs.copies:CopiesConfig",
            summary="the training images again: the floor, what any generator must beat",
        ),
        ComponentSpec(
            name="classical",
            target="genbench_generators.classical:Classical",
            config="genbench_generators.configs.classical:ClassicalConfig",
            version=2,
            summary="frozen augmented copies (arm F): shift, colour, shear-zoom, RandAugment, AugMix, ...",
            paper="arXiv:1909.13719, arXiv:2103.10158, arXiv:1912.02781",
            requires=("torchvision",),
        ),
        ComponentSpec(
            name="ddpm",
            target="genbench_generators.ddpm:Ddpm",
            config="genbench_generators.configs.ddpm:DdpmConfig",
            version=2,
            summary="class-conditional diffusion fitted on train, with classifier-free guidance",
            paper="arXiv:2006.11239",
            requires=("diffusers",),
            resources=Resources(gpu_memory_gib=12),
            needs_fit=True,
        ),
        ComponentSpec(
            name="sdedit",
            target="genbench_generators.sdedit:SdEdit",
            config="genbench_generators.configs.sdedit:SdEditConfig",
            summary="training images, noised part of the way and denoised by a fitted diffusion generator",
            paper="arXiv:2108.01073",
            requires=("diffusers",),
            resources=Resources(gpu_memory_gib=12),
        ),
        ComponentSpec(
            name="cvae",
            target="genbench_generators.cvae:Cvae",
            config="genbench_generators.configs.cvae:CvaeConfig",
            summary="conditional variational autoencoder, convolutional, fitted on train",
            paper="arXiv:1312.6114",
            resources=Resources(gpu_memory_gib=4),
            needs_fit=True,
        ),
        ComponentSpec(
            name="diffusemix",
            target="genbench_generators.diffusemix:DiffuseMix",
            config="genbench_generators.configs.diffusemix:DiffuseMixConfig",
            version=2,
            summary="part of an image beside part of its edited copy, with a fractal blended in",
            paper="arXiv:2405.14881",
        ),
        ComponentSpec(
            name="chain",
            target="genbench_generators.chain:Chain",
            config="genbench_generators.configs.chain:ChainConfig",
            summary="one generator edits the images that another one made",
        ),
        ComponentSpec(
            name="union",
            target="genbench_generators.union:Union",
            config="genbench_generators.configs.union:UnionConfig",
            version=2,
            summary="the images of two to four generators as one set",
        ),
        ComponentSpec(
            name="folder",
            target="genbench_generators.folder:Folder",
            config="genbench_generators.configs.folder:FolderConfig",
            summary="images that exist already, folder:PATH: class folders, .npz, parquet, zip, hub:ORG/NAME",
            external_data=("whatever the maker of the images had learned from (made_from= says it)",),
            needs_fit=True,
            has_stock=True,
        ),
        ComponentSpec(
            name="real_extra",
            target="genbench_generators.real_extra:RealExtra",
            config="genbench_generators.configs.real_extra:RealExtraConfig",
            summary="held-out real images: the ceiling of what any generator could add",
            needs_reserve=True,
        ),
        ComponentSpec(
            name="style_transfer",
            target="genbench_generators.style_transfer:StyleTransfer",
            config="genbench_generators.configs.style_transfer:StyleTransferConfig",
            version=2,
            summary="training images in the manner of paintings or drawn styles: Gatys et al., or AdaIN",
            paper="arXiv:1508.06576, arXiv:1703.06868",
            requires=("torchvision",),
            resources=Resources(gpu_memory_gib=12, network=True),
            external_data=(
                "style images",
                "ImageNet (weights of the vgg19 or squeezenet encoder)",
            ),  # see config
            needs_fit=True,
        ),
        ComponentSpec(
            name="sd_text2img",
            target="genbench_generators.sd_text2img:SdText2Img",
            config="genbench_generators.configs.sd_text2img:SdText2ImgConfig",
            summary="images that Stable Diffusion draws from class names, fine-tuned with LoRA if wanted",
            paper="arXiv:2112.10752",
            requires=("diffusers", "transformers"),
            resources=Resources(gpu_memory_gib=16, network=True),
            external_data=("the pipeline's weights (default: Stable Diffusion 1.5, LAION-5B with captions)",),
            needs_fit=True,
        ),
        ComponentSpec(
            name="sd_img2img",
            target="genbench_generators.sd_img2img:SdImg2Img",
            config="genbench_generators.configs.sd_img2img:SdImg2ImgConfig",
            summary="training images that Stable Diffusion noises part of the way and draws again",
            paper="arXiv:2108.01073",
            requires=("diffusers", "transformers"),
            resources=Resources(gpu_memory_gib=16, network=True),
            external_data=("the pipeline's weights (default: Stable Diffusion 1.5, LAION-5B with captions)",),
            needs_fit=True,
        ),
        ComponentSpec(
            name="instruct_pix2pix",
            target="genbench_generators.instruct_pix2pix:InstructPix2Pix",
            config="genbench_generators.configs.instruct_pix2pix:InstructPix2PixConfig",
            summary="training images, edited as a text instruction says",
            paper="arXiv:2211.09800",
            requires=("diffusers", "transformers"),
            resources=Resources(gpu_memory_gib=24, network=True),
            external_data=(
                "the pipeline's weights (default: InstructPix2Pix: LAION-5B with captions, GPT-3 edits)",
            ),
            needs_fit=True,
        ),
        ComponentSpec(
            name="image_variations",
            target="genbench_generators.image_variations:ImageVariations",
            config="genbench_generators.configs.image_variations:VariationsConfig",
            summary="training images, edited or varied by an OpenAI-compatible service, under a spending cap",
            resources=Resources(network=True),
            external_data=("whatever the image service's model was trained on",),
        ),
    ]
