"""What is asked of a filter."""

from typing import Any

import numpy as np
import torch

from genbench.images import JoinedImages, LabelledImages, Subset
from genbench.testing.asking import after
from genbench.testing.common_checks import target_is_of_its_kind
from genbench.testing.subject import Subject, content_of, global_generators_untouched, same_chance


@after(target_is_of_its_kind)
def filter_judges_every_image(subject: Subject) -> None:
    """One verdict per image, and a reason for each that is dropped; also when more images are added."""
    fewer = subject.images(1)
    for synthetic in (fewer, JoinedImages([fewer, subject.images(2)])):
        verdicts = _judged(subject, synthetic)
        keep = np.asarray(verdicts.keep)
        assert keep.dtype == bool, f"keep must be bool, found {keep.dtype}"
        found, wanted = (*keep.shape, len(verdicts.reasons)), len(synthetic)
        assert found == (wanted, wanted), (
            f"{len(keep)} verdicts and {len(verdicts.reasons)} reasons for {wanted} images"
        )
        unsaid = [row for row, reason in enumerate(verdicts.reasons) if not reason and not keep[row]]
        assert not unsaid, f"image {unsaid[0]} is dropped without a reason"


@after(filter_judges_every_image)
def verdicts_repeat(subject: Subject) -> None:
    """The same images are judged the same again."""
    first, second = (_judged(subject, subject.images(1)).keep for _ in range(2))
    same = np.array_equal(first, second)
    assert same, "the same images are judged differently: draw randomness from ctx.rng(purpose)"


@after(verdicts_repeat)
def verdicts_do_not_depend_on_the_order(subject: Subject) -> None:
    """An image is judged by what it shows and by the others, not by its row; one that reads a list may."""
    if subject.resolved.fingerprint:
        return
    order = np.random.default_rng(0).permutation(len(subject.images(1)))
    straight = np.asarray(_judged(subject, subject.images(1)).keep)
    shuffled = np.asarray(_judged(subject, Subset(subject.images(1), order)).keep)
    assert np.array_equal(straight[order], shuffled), (
        "the same images in another order are judged differently"
    )


@after(filter_judges_every_image)
def every_class_keeps_images(subject: Subject) -> None:
    """With its defaults, images like those of train are not all dropped, in no class: a run would fail."""
    draw = subject.resolved.config.first_draw()  # type: ignore[attr-defined]
    assert 1 <= draw <= 100, f"first_draw() is {draw:g}: images sampled per image wanted, from 1 to 100"
    synthetic = subject.images(1)
    keep = np.asarray(_judged(subject, synthetic).keep)
    before = synthetic.class_counts()
    left = np.bincount(synthetic.labels[keep], minlength=len(before))
    lost = [synthetic.class_names[label] for label in np.flatnonzero((before > 0) & (left == 0))]
    assert not lost, (
        f"of {before.max()} images like those of train, none is left of {', '.join(lost[:5])}: a run with "
        "these options fails"
    )


@after(filter_judges_every_image)
def inputs_are_left_alone(subject: Subject) -> None:
    """Neither the synthetic images nor train are changed."""
    sets = {"the synthetic images": subject.images(1), "train": subject.images()}
    before = {name: content_of(images) for name, images in sets.items()}
    with same_chance():
        subject.build().keep(*sets.values(), subject.context())
    changed = [name for name, images in sets.items() if content_of(images) != before[name]]
    assert not changed, f"keep changes {' and '.join(changed)}: work on a copy (.clone())"


@after(filter_judges_every_image)
def random_state_is_left_alone(subject: Subject) -> None:
    """Global random state is nobody's: draw from `ctx.rng`."""
    chosen, synthetic, train, ctx = subject.build(), subject.images(1), subject.images(), subject.context()
    with torch.random.fork_rng(devices=[]), global_generators_untouched():
        chosen.keep(synthetic, train, ctx)


def _judged(subject: Subject, synthetic: LabelledImages) -> Any:
    with same_chance():
        return subject.build().keep(synthetic, subject.images(), subject.context())
