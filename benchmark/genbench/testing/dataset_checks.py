"""What is asked of a dataset."""

import sys
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genbench.images import LabelledImages, RealImages
from genbench.metrics import STANDARD_SPLITS
from genbench.testing.asking import after
from genbench.testing.common_checks import target_is_of_its_kind
from genbench.testing.subject import Subject, content_of, global_generators_untouched, same_chance

_OF_THE_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr")


@after(target_is_of_its_kind)
def splits_can_be_used(subject: Subject) -> None:
    """`load` returns RealImages of one size, with a label per image and training images of each class."""
    real = _loaded(subject)
    assert isinstance(real, RealImages), f"load must return RealImages, found {type(real).__name__}"
    taken = sorted(STANDARD_SPLITS & real.shifts.keys())
    assert not taken, f"a shift may not be called {', '.join(map(repr, taken))}"
    for name, images in _splits(real).items():
        assert isinstance(images, LabelledImages), f"{name} must be LabelledImages"
        shape = real.train.image_shape
        assert images.image_shape == shape, f"{name} has images of {images.image_shape}, and train of {shape}"
        labels, last = images.labels, len(images) - 1
        assert len(labels), f"{name} has no image"
        assert labels.dtype == np.int64, f"{name} needs int64 labels, found {labels.dtype}"
        batch = images.batch([last, 0])
        found = (batch.dtype, *batch.shape)
        assert found == (torch.uint8, 2, *shape), f"{name}.batch gives {found}, not uint8 {[2, *shape]}"
        assert torch.equal(batch[1], images.batch([0])[0]), f"{name}.batch must keep the order of its indices"
        assert ((labels >= 0) & (labels < images.num_classes)).all(), (
            f"labels of {name} must lie in 0..{images.num_classes - 1}, found {labels.min()}..{labels.max()}"
        )
    empty = [real.train.class_names[label] for label in np.flatnonzero(real.train.class_counts() == 0)]
    assert not empty, f"no training image of: {', '.join(empty)}"


@after(splits_can_be_used)
def splits_have_the_same_classes(subject: Subject) -> None:
    """Label k means the same class in every split."""
    real = _loaded(subject)
    for name, images in _splits(real).items():
        assert tuple(images.class_names) == tuple(real.train.class_names), (
            f"{name} has the classes {list(images.class_names)[:5]}, and train "
            f"{list(real.train.class_names)[:5]}"
        )


@after(splits_can_be_used)
def dataset_loads_twice_the_same(subject: Subject) -> None:
    """Pixels and labels come out the same each time."""
    first, second = (_splits(_loaded(subject)) for _ in range(2))
    assert first.keys() == second.keys(), "the second load has other splits"
    for name, images in first.items():
        assert content_of(images) == content_of(second[name]), f"{name} differs between two loads"


@after(splits_can_be_used)
def files_that_are_read_are_named(subject: Subject) -> None:
    """Who reads files names them in `source_files()`; data made from options alone has none to name."""
    if subject.resolved.fingerprint:
        return
    with _Opened.noted() as opened:
        _splits(_loaded(subject))
    roots = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *_OF_THE_SYSTEM]
    known = [subject.work, *map(Path, roots)]
    data = sorted(
        path.name
        for path in opened
        if path.suffix not in {".py", ".pyc"} and not any(path.is_relative_to(folder) for folder in known)
    )
    assert not data, (
        f"load reads {', '.join(data[:3])}, and source_files() names no file: the data's identity is unknown"
    )


@after(splits_can_be_used)
def random_state_is_left_alone(subject: Subject) -> None:
    """Global random state is nobody's: draw from a generator of your own, with a fixed seed."""
    dataset, ctx = subject.build(), subject.context()
    with torch.random.fork_rng(devices=[]), global_generators_untouched():
        dataset.load(ctx)


def _loaded(subject: Subject) -> Any:
    with same_chance():
        return subject.build().load(subject.context())


def _splits(real: RealImages) -> Mapping[str, LabelledImages]:
    own_val = {} if real.val is None else {"val": real.val}
    return {"train": real.train, **own_val, "test": real.test, **real.shifts}


class _Opened:
    """The files that Python opens while it is asked to note them: an audit hook, which cannot be removed."""

    paths: set[Path] | None = None

    def __enter__(self) -> set[Path]:
        found: set[Path] = set()
        type(self).paths = found
        return found

    def __exit__(self, *_: object) -> None:
        type(self).paths = None

    @classmethod
    def noted(cls) -> "_Opened":
        """Begin to note."""
        _listen(cls._hear)
        return cls()

    @classmethod
    def _hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.paths is not None and event == "open" and isinstance(arguments[0], str):
            mode = arguments[1]
            if mode is None or "r" in mode:
                cls.paths.add(Path(arguments[0]).absolute())


@cache
def _listen(hook: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Add an audit hook, once."""
    sys.addaudithook(hook)
