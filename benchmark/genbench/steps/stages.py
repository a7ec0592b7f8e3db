"""Which function does a step of which stage."""

from collections.abc import Callable, Mapping
from typing import Any

from genbench.steps import dataset, embed, evaluate, filtering, fit, predict, sample, train
from genbench.steps.workshop import Facts, Job

STAGES: Mapping[str, Callable[[Job[Any]], Facts | None]] = {
    "dataset": dataset.run,
    "fit": fit.run,
    "sample": sample.run,
    "filter": filtering.run,
    "train": train.run,
    "predict": predict.run,
    "embed": embed.run,
    "evaluate": evaluate.run,
}
