"""Options of `label_fidelity`. Imports neither torch nor numpy."""

from typing import ClassVar

from pydantic import Field

from genbench.metrics import Subject
from genbench.protocols import ComponentRef, EvaluatorConfig, ReferenceClassifier


class LabelFidelityConfig(EvaluatorConfig):
    """Options of `label_fidelity`."""

    subject: ClassVar[Subject] = "image_set"

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="resnet32"),
        description="the classifier, trained on real images, that is asked: another one than a filter's",
    )
