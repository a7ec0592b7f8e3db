"""Whether a model of others fits a dataset: asked as soon as that is there, before anything is fitted.

A checkpoint is loaded into its network once, and predictions are held against the splits once: what does not
fit would else be found by a step that stands behind every generator.
"""

import torch

from genbench.protocols import Classifier, ForeignClassifier
from genbench.registry import import_target
from genbench.spec import Resolved
from genbench.steps.dataset import open_splits
from genbench.steps.foreign import check_splits
from genbench.store import Artifact


def check_model(classifier: Resolved, dataset: Artifact) -> None:
    """Read what a classifier's options name, and hold it against a dataset.

    Args:
        classifier: A built-in one, with a checkpoint or with predictions.
        dataset: What the step that loads the dataset left.

    Raises:
        GenbenchError: The file cannot be read, or is of another network, other images or other classes.
    """
    made: Classifier = import_target(classifier.spec.target, classifier.name)(classifier.config)
    splits = open_splits(dataset)
    if isinstance(made, ForeignClassifier):
        check_splits(list(made.logits(splits.evaluated)))
        return
    with torch.random.fork_rng(devices=[]):
        made.build(splits.train.num_classes, splits.train.image_shape)
