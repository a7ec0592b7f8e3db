"""Options of the check for copies of test: none. Imports neither torch nor numpy."""

from typing import ClassVar

from genbench.metrics import Subject
from genbench.protocols import EvaluatorConfig


class CopiesConfig(EvaluatorConfig):
    """What could be set could be set so that nothing is found."""

    subject: ClassVar[Subject] = "image_set"
