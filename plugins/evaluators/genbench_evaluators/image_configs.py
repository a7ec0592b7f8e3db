"""Options of the evaluators of image sets. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import ComponentRef, EmbeddingConfig, EvaluatorConfig, ReferenceClassifier


class KidConfig(EmbeddingConfig):
    """Options of `kid`: the extractor alone."""


class PrecisionRecallConfig(EmbeddingConfig):
    """Options of `precision_recall`."""

    neighbours: int = Field(default=3, ge=1, le=100, description="k of improved precision and recall")
    density_neighbours: int = Field(default=5, ge=1, le=100, description="k of density and coverage")
    most_images: int = Field(
        default=10_000, ge=10, le=200_000, description="images of each set, drawn by a fixed seed"
    )


class VendiConfig(EmbeddingConfig):
    """Options of `vendi`."""

    most_images: int = Field(
        default=10_000, ge=2, le=200_000, description="images of each set, drawn by a fixed seed"
    )


class MemorizationConfig(EmbeddingConfig):
    """Options of `memorization`."""

    quantile: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="an image is flagged where it is closer to a real one than this share of val is to train",
    )
    most_images: int = Field(
        default=10_000, ge=10, le=200_000, description="synthetic images looked at, drawn by a fixed seed"
    )


class InceptionScoreConfig(EvaluatorConfig):
    """Options of `inception_score`."""

    subject: ClassVar[Subject] = "image_set"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"), description="the classifier, trained on real images, that is asked"
    )


class LabelFidelityConfig(EvaluatorConfig):
    """Options of `label_fidelity`."""

    subject: ClassVar[Subject] = "image_set"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="resnet32"),
        description="the classifier, trained on real images, that is asked: another one than a filter's",
    )
