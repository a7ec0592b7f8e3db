"""Registers the built-in filters: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_filters() -> Sequence[ComponentSpec]:
    """Return the built-in filters."""
    return [
        ComponentSpec(
            name="none",
            target="genbench_filters.none:NoFilter",
            config="genbench_filters.configs.none:NoFilterConfig",
            summary="keeps every synthetic image",
        ),
        ComponentSpec(
            name="confidence",
            target="genbench_filters.confidence:Confidence",
            config="genbench_filters.configs.confidence:ConfidenceConfig",
            summary="keeps the images in which a classifier sees their label most clearly",
        ),
        ComponentSpec(
            name="typicality",
            target="genbench_filters.typicality:Typicality",
            config="genbench_filters.configs.typicality:TypicalityConfig",
            summary="drops the images that are farther from their class's real images than those do",
        ),
        ComponentSpec(
            name="near_duplicates",
            target="genbench_filters.near_duplicates:NearDuplicates",
            config="genbench_filters.configs.near_duplicates:NearDuplicatesConfig",
            summary="drops copies of training images, and copies within the set but for the first",
        ),
        ComponentSpec(
            name="fidelity",
            target="genbench_filters.fidelity:Fidelity",
            config="genbench_filters.configs.fidelity:FidelityConfig",
            summary="drops the images that an independent classifier does not take for their label",
        ),
        ComponentSpec(
            name="class_fid",
            target="genbench_filters.class_fid:ClassFid",
            config="genbench_filters.configs.class_fid:ClassFidConfig",
            summary="drops, class by class, the images that hold the class's Fréchet distance up",
        ),
        ComponentSpec(
            name="cull_list",
            target="genbench_filters.cull_list:CullList",
            config="genbench_filters.configs.cull_list:CullListConfig",
            summary="drops the images whose rows are listed in a text file",
        ),
    ]
