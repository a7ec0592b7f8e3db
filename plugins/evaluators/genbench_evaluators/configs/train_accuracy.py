"""Options of `train_accuracy`. Imports neither torch nor numpy."""

from typing import ClassVar

from genbench.protocols import EvaluatorConfig


class TrainAccuracyConfig(EvaluatorConfig):
    """`train_accuracy` has no options."""

    reads_network: ClassVar[bool] = True
    reads_train: ClassVar[bool] = True
