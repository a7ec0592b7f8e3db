"""The `train` and `predict` steps: networks, and what they say of every split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from genbench.errors import GenbenchError, Interrupted
from genbench.images import ImageStatistics, LabelledImages, Subset, stratified_choice, stratified_counts
from genbench.protocols import Classifier, Mix, Predictions, TrainRecipe
from genbench.seeding import derive_seed
from genbench.steps.context import StepContext
from genbench.steps.real import Splits
from genbench.store import Artifact
from genbench.training import NormalisedNetwork, Trained, TrainingData, predict, total_steps, train
from genbench.training.stacked import Run, pays, refusal, train_together


class Training(NamedTuple):
    """A training that is ready to start: everything that is drawn from names is settled."""

    run: Run
    recipe: TrainRecipe
    mix: Mix
    steps: int

    def alone(self) -> Trained:
        """Train this network by itself."""
        run = self.run
        return train(run.network, run.data, self.recipe, self.mix, self.steps, run.seed, run.ctx)


def prepare_training(
    classifier: Classifier,
    splits: Splits,
    synthetic: LabelledImages | None,
    document: Mapping[str, Any],
    ctx: StepContext,
) -> Training:
    """Build the network of one arm and its images."""
    recipe, mix, seed = classifier.recipe(), document["mix"], int(document["seed"])
    real, identities = arm_images(splits.train, synthetic, mix, seed)
    data = TrainingData(
        real,
        synthetic,
        identities=identities,
        statistics=normalisation(classifier, splits),
        augmentation=splits.augmentation(mix["augment"]),
        device=ctx.device,
        seed=seed,
    )
    arm_size = data.real_rows + data.synthetic_rows
    steps = total_steps(recipe, len(splits.train), arm_size, mix["budget"], mix["budget_scale"])
    network = build(classifier, splits.train, recipe, seed).to(ctx.device)
    return Training(Run(network, data, seed, ctx), recipe, _as_mix(mix), steps)


def train_bundle(trainings: Sequence[Training], vectorize: str) -> list[Trained | GenbenchError] | None:
    """Train networks that differ in their seed side by side, or return None if one by one is better.

    Args:
        trainings: At least two.
        vectorize: `on` wherever it can be; `auto` where a probe says that it is faster.
    """
    first, log = trainings[0], trainings[0].run.ctx.log
    runs = [training.run for training in trainings]
    if any((one.recipe, one.mix, one.steps) != (first.recipe, first.mix, first.steps) for one in trainings):
        reason: str | None = "their recipes or steps differ"
    else:
        reason = refusal(runs, first.recipe, first.mix)
    if reason is None and vectorize == "auto" and not pays(runs, first.recipe, first.mix):
        reason = "that is faster"
    if reason is not None:
        log.info("%d trainings run one at a time: %s", len(runs), reason)
        return None
    log.info("%d trainings run side by side", len(runs))
    try:
        return train_together(runs, first.recipe, first.mix, first.steps)
    except (GenbenchError, RuntimeError) as problem:
        if isinstance(problem, Interrupted):
            raise
        log.warning("training side by side failed, training one at a time instead: %s", problem)
        return None


def write_training(trained: Trained, recipe: TrainRecipe, folder: Path) -> Mapping[str, Any]:
    """Write weights, history, ledger and what was trained; return the facts of this attempt."""
    save_file(_contiguous(trained.network.state_dict()), folder / "network.safetensors")
    _write_json(folder / "ledger.json", trained.ledger)
    _write_json(folder / "history.json", trained.history)
    parameters = sum(parameter.numel() for parameter in trained.network.parameters())
    facts = {"steps": trained.steps, "parameters": parameters, "recipe": recipe.model_dump(mode="json")}
    _write_json(folder / "training.json", facts)
    return trained.run


def normalisation(classifier: Classifier, splits: Splits) -> ImageStatistics:
    """Return what pixels are normalised with: the classifier's own statistics, or those of train."""
    own = classifier.normalisation()
    return splits.statistics if own is None else ImageStatistics(*own)


def arm_images(
    train_images: LabelledImages, synthetic: LabelledImages | None, mix: Mapping[str, Any], seed: int
) -> tuple[LabelledImages, torch.Tensor]:
    """Return the real images of an arm, and the identity of each row of real plus synthetic images.

    `replace` drops a seeded stratified subset of as many real images as there are synthetic ones;
    `synthetic-only` drops all. A real image keeps its number in `train` whatever the arm, so that paired arms
    augment it alike.
    """
    count = len(synthetic) if synthetic is not None else 0
    rows = np.arange(len(train_images))
    if mix["mode"] == "replace" and synthetic is not None:
        dropped = stratified_counts(train_images.class_counts(), count)
        _, rows = stratified_choice(train_images.labels, dropped, "replace", seed)
    elif mix["mode"] == "synthetic-only":
        rows = rows[:0]
    identities = np.concatenate([rows, len(train_images) + np.arange(count)])
    return Subset(train_images, rows), torch.from_numpy(identities)


def build(classifier: Classifier, images: LabelledImages, recipe: TrainRecipe, seed: int) -> torch.nn.Module:
    """Build a network whose initial weights depend on the training seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        network = classifier.build(images.num_classes, images.image_shape)
    return network.to(memory_format=torch.channels_last) if recipe.channels_last else network


def open_network(classifier: Classifier, splits: Splits, trained: Artifact, device: str) -> NormalisedNetwork:
    """Rebuild a trained network: pixels in, logits out, evaluation mode."""
    network = build(classifier, splits.train, classifier.recipe(), seed=0)
    network.load_state_dict(load_file(trained.folder / "network.safetensors"))
    return NormalisedNetwork(network, normalisation(classifier, splits)).to(device).eval()


def write_predictions(
    network: NormalisedNetwork, splits: Splits, recipe: TrainRecipe, ctx: StepContext, folder: Path
) -> None:
    """Write logits and features of val, test and every shift, each read once."""
    for position, (name, images) in enumerate(splits.evaluated.items()):
        outputs = predict(network, images, recipe.precision, ctx.device)
        np.save(folder / f"{name}.logits.npy", outputs.logits)
        np.save(folder / f"{name}.features.npy", outputs.features)
        ctx.progress(position + 1, len(splits.evaluated))


def open_predictions(artifact: Artifact, splits: Splits) -> dict[str, Predictions]:
    """Open what `write_predictions` wrote."""
    return {
        name: Predictions(
            np.load(artifact.folder / f"{name}.logits.npy"),
            np.load(artifact.folder / f"{name}.features.npy"),
            images.labels,
            images.class_names,
        )
        for name, images in splits.evaluated.items()
    }


def _as_mix(mix: Mapping[str, Any]) -> Mix:
    return Mix.model_validate({**mix, "ratio": mix["ratio"] or 1.0})


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))
