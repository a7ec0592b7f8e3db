"""Options of `fidelity`. Imports neither torch nor numpy."""

from pydantic import Field

from genbench.protocols import ComponentRef, FilterConfig, ReferenceClassifier


class FidelityConfig(FilterConfig):
    """Options of `fidelity`."""

    judge: ReferenceClassifier = Field(
        default=ComponentRef(use="mlp"),
        description="the classifier, trained on real images, that must see the label: take another than the "
        "one under test",
    )
