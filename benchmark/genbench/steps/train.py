"""The `train` step: one network on one arm, alone or side by side with those of other seeds."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from genbench.artifacts import TrainingFacts, write_training
from genbench.documents import Inputs, TrainDocument, the
from genbench.errors import GenbenchError, Interrupted, ProtocolError
from genbench.images import LabelledImages, Subset, stratified_choice, stratified_counts
from genbench.plan import Step
from genbench.protocols import ForeignClassifier, TrainRecipe
from genbench.recipe import POLICY_VERSIONS, Mix
from genbench.records import Source
from genbench.steps.components import build_classifier
from genbench.steps.context import Clock, StepContext
from genbench.steps.dataset import open_splits
from genbench.steps.filtering import MORE_IMAGES, open_kept
from genbench.steps.foreign import take_over
from genbench.steps.networks import build_network, normalisation, save_network
from genbench.steps.profiling import profiled
from genbench.steps.samples import SyntheticSet, open_drawn
from genbench.steps.workshop import Facts, Job, Workshop
from genbench.store import Artifact
from genbench.training import Trained, TrainingData, freeze, total_steps, train
from genbench.training.data import resident_limit_bytes
from genbench.training.engine import Choice
from genbench.training.stacked import Run, pays, refusal, train_together


def run(job: Job[TrainDocument]) -> Facts:
    """Train the network of an arm, or take it from the bundle that trained it side by side."""
    workshop, ctx, key = job.workshop, job.ctx, job.step.key
    if key in workshop.bundle:
        _train_announced(workshop, ctx)
    classifier = build_classifier(job.document.component, workshop, job.step.location)
    if isinstance(classifier, ForeignClassifier):
        return take_over(classifier, job)
    recipe = classifier.recipe()
    if key in workshop.trained:
        trained, seconds = workshop.trained.pop(key)
        if isinstance(trained, GenbenchError):
            raise trained
        return {**_write(trained, recipe, ctx), "seconds": seconds}
    if not workshop.profile:
        return _write(_training(job.step, job.given, workshop, ctx).alone(), recipe, ctx)
    with profiled(ctx, job.step.label, workshop.store.log_path(key).with_suffix("")) as watched:
        trained = _training(job.step, job.given, workshop, watched).alone(profiled=True)
    return _write(trained, recipe, ctx)


def _write(trained: Trained, recipe: TrainRecipe, ctx: StepContext) -> Facts:
    """Write weights and books; return the facts of this attempt."""
    save_network(trained.network, ctx.files)
    facts = TrainingFacts(
        sources={name: Source(**books) for name, books in trained.ledger.items()},
        steps=trained.steps,
        parameters=sum(parameter.numel() for parameter in trained.network.parameters()),
        recipe=recipe.model_dump(mode="json"),
        history=tuple(trained.history),
    )
    write_training(facts, ctx.files)
    return trained.run


# -------------------------------------------------------------------------------------- a training made ready


class Training(NamedTuple):
    """A training that is ready to start: everything that is drawn from names is settled."""

    run: Run
    recipe: TrainRecipe
    mix: Mix
    steps: int

    def alone(self, *, profiled: bool = False) -> Trained:
        """Train this network by itself; under a profiler one operation after another, which has phases."""
        run = self.run
        choice: Choice = "off" if profiled else "auto"
        return train(
            run.network, run.data, self.recipe, self.mix, self.steps, run.seed, run.ctx, whole_step=choice
        )


def _training(step: Step, given: Inputs[Artifact], workshop: Workshop, ctx: StepContext) -> Training:
    """Build the network of an arm and its images: everything that is drawn from names is settled here."""
    document = step.work
    assert isinstance(document, TrainDocument)
    splits, mix, seed = open_splits(the(given.dataset)), document.mix, document.seed
    _check_policy(document)
    classifier = build_classifier(document.component, workshop, step.location)
    recipe = classifier.recipe()
    synthetic = None
    if given.sample is not None:
        synthetic = usable(open_drawn(given), given.filter, splits.train, mix.ratio, seed)
    real, identities = arm_images(splits.train, synthetic, mix, seed)
    data = TrainingData(
        real,
        synthetic,
        identities=identities,
        statistics=normalisation(classifier, splits),
        augmentation=splits.augmentation(mix.augment),
        device=ctx.device,
        seed=seed,
    )
    # Every arm takes the steps of the baseline, whatever its own size (with budget `steps`): rule 3.
    arm_size = data.real_rows + data.synthetic_rows
    repeats = splits.facts.epoch_repeats
    steps = total_steps(recipe, len(splits.train), arm_size, mix.budget, mix.budget_scale, repeats)
    network = build_network(classifier, splits.train, recipe, seed).to(ctx.device)
    if recipe.freeze:
        freeze(network, recipe.freeze, splits.train.image_shape)
    return Training(Run(network, data, seed, ctx), recipe, mix, steps)


def _check_policy(document: TrainDocument) -> None:
    """Refuse a training whose augmentation was another one when its key was made.

    Raises:
        ProtocolError: The policy has another version here.
    """
    name, asked = document.mix.augment, document.mix.augment_version
    here = POLICY_VERSIONS.get(name, 1)
    if asked != here:
        raise ProtocolError(
            f"this training asks for version {asked} of the augmentation {name!r}; this genbench has {here}",
            hint="plan it again, or use the genbench that made its record",
        )


def usable(
    synthetic: SyntheticSet, verdicts: Artifact | None, train: LabelledImages, ratio: float, seed: int
) -> Subset:
    """Return the M = round(ratio x N) synthetic images of an arm, class-stratified, counted after filtering.

    Raises:
        ProtocolError: A class has fewer images than the arm needs.
    """
    kept = np.arange(len(synthetic.images)) if verdicts is None else open_kept(verdicts)
    if synthetic.is_whole:
        return Subset(synthetic.images, kept)
    labels = synthetic.images.labels[kept]
    wanted = stratified_counts(train.class_counts(), round(ratio * len(train)))
    there = np.bincount(labels, minlength=train.num_classes)
    drawn = synthetic.images.class_counts()
    too_few = [(train.class_names[label], label) for label in np.flatnonzero(there < wanted)]
    if too_few and verdicts is None:
        short = [f"class {name!r}: {there[label]} of {wanted[label]}" for name, label in too_few]
        raise ProtocolError(f"too few synthetic images could be made: {', '.join(short)}")
    if too_few:
        short = [
            f"class {name!r}: {drawn[label]} drawn, {there[label]} kept, {wanted[label]} needed"
            for name, label in too_few
        ]
        raise ProtocolError(
            f"too few synthetic images are left after filtering: {'; '.join(short)}", hint=MORE_IMAGES
        )
    chosen, _ = stratified_choice(labels, wanted, "usable", seed)
    return Subset(synthetic.images, kept[chosen])


def arm_images(
    train_images: LabelledImages, synthetic: LabelledImages | None, mix: Mix, seed: int
) -> tuple[LabelledImages, torch.Tensor]:
    """Return the real images of an arm, and the identity of each row of real plus synthetic images.

    `replace` drops a seeded stratified subset of as many real images as there are synthetic ones;
    `synthetic-only` drops all. A real image keeps its number in `train` whatever the arm, so that paired arms
    augment it alike.
    """
    count = len(synthetic) if synthetic is not None else 0
    rows = np.arange(len(train_images))
    if mix.mode == "replace" and synthetic is not None:
        dropped = stratified_counts(train_images.class_counts(), count)
        _, rows = stratified_choice(train_images.labels, dropped, "replace", seed)
    elif mix.mode == "synthetic-only":
        rows = rows[:0]
    identities = np.concatenate([rows, len(train_images) + np.arange(count)])
    return Subset(train_images, rows), torch.from_numpy(identities)


# ---------------------------------------------------------------------------------------------- side by side


def _train_announced(workshop: Workshop, ctx: StepContext) -> None:
    """Train all networks of the announced bundle side by side, if that can be and is wanted.

    What each left waits for its own step, with an equal share of the time.
    """
    steps = list(workshop.bundle.values())
    workshop.bundle.clear()  # whatever becomes of it here, it is not tried again
    started = time.perf_counter()
    ready, clocks, room = list[Training](), list[Clock](), resident_limit_bytes(workshop.device)
    for step in steps:
        assert isinstance(step.work, TrainDocument)
        clock, attempt = Clock.resumed(workshop.scratch(step), share=1 / len(steps)), workshop.attempt(step)
        own = ctx.for_step(step.work.seed, workshop.scratch(step), clock)
        own.check_ours = attempt.check if attempt is not None else ctx.check_ours
        clocks.append(clock)
        ready.append(_training(step, workshop.open_inputs(step), workshop, own))
        # The images of all are on the device at once: stop before the next set would not fit.
        room -= ready[-1].run.data.resident_bytes
        if room < ready[-1].run.data.resident_bytes and step is not steps[-1]:
            ctx.log.info("%d trainings run one at a time: the images of all do not fit", len(steps))
            return
    found = train_bundle(ready, workshop.vectorize)
    share = (time.perf_counter() - started) / len(steps)
    for step, clock, trained in zip(steps, clocks, found or (), strict=False):
        workshop.trained[step.key] = (trained, clock.before + share)


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
