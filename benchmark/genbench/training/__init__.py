"""The one training engine: every classifier of every arm goes through this loop.

data       images on the device, shifted, mirrored and normalised a batch at a time
augment    what follows shift and flip: RandAugment and its like, CutMix and mixup, batched
operations what RandAugment and its like do to an image, to torchvision's pixels
order      which image enters which step: permutations from names, no state
schedule   learning rate by step, in closed form
optimise   optimizers, averaged weights, and their state as flat tensors
ledger     how many images of which source entered gradient steps
loop       what lives from step to step, and how it is saved
engine     one training
whole_step a step as one program: on a GPU, one CUDA graph
stacked    several trainings at once
lowered    bfloat16 for them
predict    logits and penultimate features of a trained network
halves     backbone and head of a network, and freezing one
"""

from genbench.recipe import total_steps
from genbench.training.data import TrainingData
from genbench.training.engine import Trained, train
from genbench.training.halves import freeze, head_parameters
from genbench.training.ledger import Ledger
from genbench.training.optimise import (
    AveragedWeights,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from genbench.training.predict import NormalisedNetwork, predict, predict_batches

__all__ = [
    "AveragedWeights",
    "Ledger",
    "NormalisedNetwork",
    "Trained",
    "TrainingData",
    "freeze",
    "head_parameters",
    "load_optimizer_tensors",
    "optimizer_tensors",
    "predict",
    "predict_batches",
    "set_learning_rate",
    "total_steps",
    "train",
]
