"""Records made by hand: what a suite declared, and which images its networks got right."""

from collections.abc import Sequence
from typing import Any

from genbench.digest import digest
from genbench.metrics import Metric
from genbench.recipe import Mix
from genbench.records import Component, Declaration, Protocol, Record, Result, Run, pack_bits
from genbench.roles import Role

TEST = 1000
FAMILY = "ab" * 32
BASE, BETTER, SAME = [700, 706, 694, 702, 698, 704, 697, 703], [751, 763, 742, 755, 749, 757, 750, 756], [
    702, 703, 697, 701, 700, 706, 694, 702,
]  # fmt: skip
STRONG = [703, 701, 699, 698, 702, 705, 696, 700]


def declared(role: Role, **changes: Any) -> Declaration:
    seeds = changes.get("seeds", 8)
    usual: dict[str, Any] = {
        "family": FAMILY,
        "suite": "mine",
        "seeds": seeds,
        "look": seeds,
        "helps": 2,
        "adds": 2,
    }
    return Declaration(**{**usual, **changes}, role=role)


def cell(
    generator: Component,
    index: int,
    right: int,
    *declarations: Declaration,
    augment: Any = "standard",
    policy: int | None = None,
    val: float = 70.0,
    dataset: str = "digits",
) -> Record:
    mix = Mix(ratio=0.0 if generator.use == "none" else 1.0, augment=augment).augmented()
    mix = mix if policy is None else mix.model_copy(update={"augment_version": policy})
    start = 7 * len(generator.use)  # rows differ in their images, too
    bits = [(image - start) % TEST < right for image in range(TEST)]
    planned = max(8, *(one.seeds for one in declarations), 0)
    result = Result(
        subject="cell",
        status="ok",
        dataset=Component(dataset),
        generator=generator,
        filter=Component("none"),
        ratio=mix.ratio,
        mix=mix,
        classifier=Component("cnn"),
        index=index,
        protocol=Protocol(version=1),  # whose images nobody checked for copies: tests of that have their own
        evaluator=Component("accuracy"),
        key=digest([dataset, generator.identity, mix.model_dump(mode="json"), index]),
        planned_indices=planned,
        metrics=(
            Metric("top1", 100 * right / TEST, "%", split="test"),
            Metric("top1", val, "%", split="val"),
        ),
        tables={"test": {"n": TEST, "correct_bits": pack_bits(bits)}},
    )
    return Record(result, Run("2026-01-01T00:00:00Z", "genbench run", declared=declarations))


def arm(
    use: str | Component, rights: Sequence[int], *declarations: Declaration, **options: Any
) -> list[Record]:
    generator = Component(use) if isinstance(use, str) else use
    return [cell(generator, index, right, *declarations, **options) for index, right in enumerate(rights)]


def suite(**changes: Any) -> list[Record]:
    """Two contenders beside none, strong augmentation and frozen copies."""
    baseline, contender, control = (
        declared(role, **changes) for role in ("baseline", "contender", "control")
    )
    return [
        *arm("none", BASE, baseline),
        *arm("none", STRONG, control, augment="strong"),
        *arm("classical", [right + 2 for right in SAME], control),
        *arm("ddpm", BETTER, contender),
        *arm("cvae", SAME, contender),
    ]
