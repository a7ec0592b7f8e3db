"""Options of `inception_score`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import ComponentRef, EvaluatorConfig, ReferenceClassifier


class InceptionScoreConfig(EvaluatorConfig):
    """Options of `inception_score`."""

    subject: ClassVar[Subject] = "image_set"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="cnn"), description="the classifier, trained on real images, that is asked"
    )
