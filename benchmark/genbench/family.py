"""What a suite declares before test is read: its rows with their roles, and the families of its contrasts.

The digest of a family covers all that a verdict depends on besides the measurements, and nothing else: two
suites that would judge alike declare the same family, whatever they are called and in whatever order they
name things.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from genbench.digest import digest
from genbench.errors import UsageError
from genbench.protocols import ClassifierConfig
from genbench.recipe import Mix
from genbench.records import Declaration, Protocol
from genbench.roles import FREE, NONE, OFF, STRONG, Role, RowKind, roles_of
from genbench.spec import Resolved, ResolvedSuite


class Images(NamedTuple):
    """The images of a row: generator, filter and mix."""

    generator: Resolved
    filter: Resolved
    mix: Mix

    @property
    def content(self) -> object:
        """What the digest covers."""
        return [self.generator.identity, self.filter.identity, self.mix.model_dump(mode="json")]


@dataclass(frozen=True)
class Family:
    """What a suite declares; `of` is what the record of one row says of it."""

    declaration: Declaration
    roles: dict[tuple[int, int, Mix], Role]

    def of(self, generator: Resolved, image_filter: Resolved, mix: Mix | None) -> Declaration:
        """Return the declaration for a row; without a mix, for an image set."""
        if mix is None:
            return self.declaration
        return replace(self.declaration, role=self.roles[id(generator), id(image_filter), mix])


def declare(resolved: ResolvedSuite, protocol: Protocol, rows: Sequence[Images]) -> Family:
    """Declare the families of a suite.

    Args:
        resolved: The suite.
        protocol: What its records share.
        rows: Generators, filters and mixes, each once.
    """
    suite = resolved.suite
    kinds = ((row.generator.name, row.mix.augment, row.mix.budget, row.mix.budget_scale) for row in rows)
    roles = roles_of([RowKind(*kind) for kind in kinds])
    pairs = len(resolved.datasets) * len(resolved.classifiers)
    about = {
        "protocol": protocol.identity,
        "datasets": sorted(digest(one.identity) for one in resolved.datasets),
        "classifiers": sorted(digest(one.identity) for one in resolved.classifiers),
        "rows": sorted(digest([row.content, role]) for row, role in zip(rows, roles, strict=True)),
        "seeds": [suite.seeds, suite.choosing_seeds, list(suite.looks)],
    }
    contenders = [row for row, role in zip(rows, roles, strict=True) if role == "contender"]
    declaration = Declaration(
        family=digest(about),
        suite=suite.name,
        seeds=suite.seeds,
        look=suite.look or suite.seeds,
        helps=pairs * len({_question(row, suite.choosing_seeds) for row in contenders}),
        adds=pairs * len(_additions(contenders, rows, suite.choosing_seeds)),
        choosing_seeds=suite.choosing_seeds,
        looks=suite.looks,
    )
    by_row: dict[tuple[int, int, Mix], Role] = {}
    for row, role in zip(rows, roles, strict=True):
        by_row[id(row.generator), id(row.filter), row.mix] = role
    return Family(declaration, by_row)


def _question(row: Images, choosing_seeds: int) -> object:
    """Return what makes two rows one contrast: where val chooses, all configurations of a generator."""
    if choosing_seeds:
        return (row.generator.name, row.mix.augment, row.mix.budget)
    return digest(row.content)


def _additions(contenders: Sequence[Images], rows: Sequence[Images], choosing_seeds: int) -> set[object]:
    """Return the contrasts with frozen copies and free augmentation that the suite has the rows for."""
    found = set[object]()
    for row in contenders:
        if row.generator.name in {NONE, FREE} or row.mix.augment in {OFF, STRONG}:
            continue
        strong = row.mix.baseline.augmented(STRONG)
        for other in rows:
            is_copies = other.generator.name == FREE and other.mix == row.mix
            is_free = other.generator.name == NONE and other.mix == strong
            if (is_copies and other.filter.name == NONE) or is_free:
                found.add((_question(row, choosing_seeds), digest(other.content)))
    return found


def data_arms(resolved: ResolvedSuite) -> Iterator[Images]:
    """Yield (generator, filter, mix) once each; the baseline knows neither filter nor ratio.

    A mix with ratio 0 is the baseline, whatever the generator.
    """
    none, no_filter = resolved.generators[0], resolved.no_filter
    seen: set[str] = set()
    for rows in resolved.products:
        for generator, image_filter, mix in itertools.product(rows.generators, rows.filters, rows.mixes):
            is_baseline = generator.name == NONE or not mix.ratio
            images = (none, no_filter, mix.baseline) if is_baseline else (generator, image_filter, mix)
            mark = digest(Images(*images).content)
            if mark not in seen:
                seen.add(mark)
                yield Images(*images)


def arms_of_datasets(
    resolved: ResolvedSuite, arms: Sequence[Images], family: Family
) -> Iterator[tuple[Resolved, Sequence[Images]]]:
    """Yield each dataset with the rows that are run on it.

    On `baseline_datasets` these are real images alone that others are held against: no contender is among
    them, so that nothing there has a verdict, or a share of alpha, which `declare` would have to count.
    """
    paired = {arm.mix.baseline for arm in arms if arm.generator.name != NONE}
    baselines = []
    for arm in arms:
        role = family.of(*arm).role
        is_point = role == "baseline" or (role != "contender" and arm.mix in paired)
        if arm.generator.name == NONE and is_point:
            baselines.append(arm)
    for dataset in resolved.datasets:
        yield dataset, arms
    for dataset in resolved.baseline_datasets:
        yield dataset, baselines


def trains(classifier: Resolved) -> bool:
    """Say whether a classifier takes any optimizer step: not with `recipe.epochs=0`."""
    config = classifier.config
    return not isinstance(config, ClassifierConfig) or config.recipe.epochs > 0


def as_often_as_it_learns(resolved: ResolvedSuite) -> ResolvedSuite:
    """Return a suite with one seed where nothing learns: every seed would be the same network."""
    if any(map(trains, resolved.classifiers)):
        return resolved
    once = {"seeds": 1, "choosing_seeds": 0, "looks": (), "look": None}
    return replace(resolved, suite=resolved.suite.model_copy(update=once))


def check_learning(classifiers: Sequence[Resolved], rows: Sequence[Images]) -> None:
    """Refuse rows of a network that learns nothing: whatever their images are, they are the same row.

    Raises:
        UsageError: Such a classifier stands beside generators, augmentations or budgets, or has no weights.
    """
    for classifier in classifiers:
        if not trains(classifier):
            _check_evaluated(classifier, rows)


def check_networks(classifiers: Sequence[Resolved], evaluators: Sequence[Resolved]) -> None:
    """Refuse evaluators that run a network where a classifier has none.

    Raises:
        UsageError: There are both.
    """
    without = [one.label for one in classifiers if not getattr(one.config, "has_network", True)]
    running = [one.name for one in evaluators if getattr(one.config, "reads_network", False)]
    if without and running:
        raise UsageError(
            f"--evaluator {', '.join(running)} asks the network itself, and of {', '.join(without)} only "
            "predictions are known",
            hint="leave the evaluator out, or give the model: weights=FILE (genbench docs classifiers)",
        )


def _check_evaluated(classifier: Resolved, rows: Sequence[Images]) -> None:
    if not (classifier.fingerprint or classifier.external_data):
        raise UsageError(
            f"{classifier.label} trains nothing (recipe.epochs=0) and reads no weights: what would be "
            "evaluated is drawn at random",
            hint=f"{classifier.name}:weights=FILE,recipe.epochs=0",
        )
    if len(rows) == 1 and rows[0].generator.name == NONE:
        return
    made = sorted({row.generator.label for row in rows} - {NONE})
    what = f"images of {', '.join(made)}" if made else "another augmentation or budget"
    raise UsageError(
        f"{classifier.label} trains nothing: {what} cannot reach it, and every row would be the same network",
        hint="name it in a run of its own, without --generator, --augment and --budget-scale; "
        "recipe.epochs=5 with recipe.freeze=backbone trains its head alone",
    )
