"""A suite as typed data, read from TOML or from what was typed: which cells to run, and how.

It names components and their options; `genbench.spec` settles them.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from genbench.errors import UsageError
from genbench.explain import COMMAND_LINE, explain
from genbench.notation import LONGEST_NAME_BYTES, as_suite_name, is_suite_name, parse_reference
from genbench.options import ComponentRef, Options
from genbench.recipe import Mix
from genbench.untrusted import parse_toml, read_text

STANDARD_PRESETS = ("smoke", "quick", "paper")
BASELINE = "none"  #: the generator that is always added: real images alone
#: Of a suite's file: the longest that comes with genbench has 2 KB, a thousand long entries have 200.
MOST_SUITE_BYTES = 2**20
DEEPEST_SUITE = 20  #: tables in tables of a suite's file
MOST_ENTRIES, MOST_MIXES = 1_000, 10_000  #: of one list; the planner bounds their product

#: What a suite runs on that names no dataset: with the preset `quick`, so few images that there is something
#: to gain. Whoever names `digits` gets all of them.
DEFAULT_DATASET, DEFAULT_PRESET, FEW_IMAGES = "digits", "quick", "few"


def _default_datasets(entries: Mapping[str, Any]) -> tuple[ComponentRef, ...]:
    """Return the dataset of a suite that names none."""
    options = {"preset": FEW_IMAGES} if entries.get("preset") == DEFAULT_PRESET else {}
    return (ComponentRef(use=DEFAULT_DATASET, options=options),)


class Rows(Options):
    """Rows beside the cross product of a suite: what some generators alone are tried with."""

    generators: tuple[ComponentRef, ...] = Field(
        min_length=1, max_length=MOST_ENTRIES, description="generators of these rows"
    )
    filters: tuple[ComponentRef, ...] = Field(
        default=(ComponentRef(use="none"),),
        min_length=1,
        max_length=MOST_ENTRIES,
        description="filters of these rows",
    )
    mixes: tuple[Mix, ...] = Field(
        default=(), max_length=MOST_MIXES, description="mixes of these rows; without any, those of the suite"
    )

    @field_validator("generators", "filters", mode="before")
    @classmethod
    def _parse_references(cls, value: Any) -> Any:
        return _as_references(value)

    def beginning_in(self, base: Path) -> "Rows":
        """Return the rows with relative paths that begin in a folder."""
        moved = {
            "generators": tuple(one.beginning_in(base) for one in self.generators),
            "filters": tuple(one.beginning_in(base) for one in self.filters),
        }
        return self.model_copy(update=moved)


class Suite(Options):
    """Which cells to run, under which protocol, and what to measure."""

    name: str = Field(
        default="run", description="name of the suite and of its folder; never part of an identity"
    )
    preset: str = Field(
        default=DEFAULT_PRESET, description="preset of every component that does not name its own"
    )
    seeds: int = Field(default=5, ge=1, le=1000, description="seed indices: 0, 1, ..., seeds - 1")
    choosing_seeds: int = Field(
        default=0,
        ge=0,
        description="the first seeds choose a configuration per generator on val, and no more",
    )
    looks: tuple[int, ...] = Field(
        default=(), max_length=20, description="numbers of seeds after which test may be read before the end"
    )
    look: int | None = Field(default=None, description="run as far as this planned look, no further")
    base_seed: int = Field(default=0, ge=0, description="base of all seeds")
    datasets: tuple[ComponentRef, ...] = Field(
        default_factory=_default_datasets, min_length=1, max_length=MOST_ENTRIES, description="datasets"
    )
    baseline_datasets: tuple[ComponentRef, ...] = Field(
        default=(),
        max_length=MOST_ENTRIES,
        description="further datasets, of which real images alone are run: points of a learning curve",
    )
    generators: tuple[ComponentRef, ...] = Field(
        default=(), max_length=MOST_ENTRIES, description="generators; `none` is always added"
    )
    filters: tuple[ComponentRef, ...] = Field(
        default=(ComponentRef(use="none"),), min_length=1, max_length=MOST_ENTRIES, description="filters"
    )
    classifiers: tuple[ComponentRef, ...] = Field(
        min_length=1, max_length=MOST_ENTRIES, description="classifiers"
    )
    evaluators: tuple[ComponentRef, ...] = Field(
        default=(ComponentRef(use="accuracy"), ComponentRef(use="fid"), ComponentRef(use="mmd")),
        max_length=MOST_ENTRIES,
        description="evaluators",
    )
    mixes: tuple[Mix, ...] = Field(default=(Mix(),), min_length=1, max_length=MOST_MIXES, description="mixes")
    rows: tuple[Rows, ...] = Field(
        default=(),
        max_length=MOST_ENTRIES,
        description="further rows, beside generators x filters x mixes",
    )
    reference: ComponentRef = Field(
        default=ComponentRef(use="cnn"), description="architecture of the frozen reference classifier"
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        """Refuse what is no name of a folder: `--out` gets one that is called so."""
        if not is_suite_name(value):
            raise ValueError(
                "use letters, digits, spaces and . , _ + = ( ) - , beginning with a letter or digit, up to "
                f"{LONGEST_NAME_BYTES} bytes: it names a folder"
            )
        return value

    @model_validator(mode="after")
    def _seeds_fit(self) -> Self:
        """Refuse looks and choosing seeds that leave nothing to confirm a verdict with."""
        steps = (self.choosing_seeds, *self.looks, self.seeds)  # without choosing seeds it begins with 0
        if any(left >= right for left, right in pairwise(steps)):
            raise ValueError(
                f"choosing_seeds ({self.choosing_seeds}), looks {list(self.looks)} and seeds ({self.seeds}) "
                "must go upwards: the seeds that choose, then those after which test is read"
            )
        if self.look is not None and self.look not in {*self.looks, self.seeds}:
            raise ValueError(
                f"look {self.look} was not planned: this suite plans {[*self.looks, self.seeds]}"
            )
        return self

    @model_validator(mode="after")
    def _all_is_used(self) -> Self:
        """Refuse what was asked for and would have no effect."""
        generators = [one.use for one in self.generators if one.use != BASELINE]
        filters = [one.use for one in self.filters if one.use != BASELINE]
        if generators and not any(mix.ratio for mix in self.mixes):
            raise ValueError(
                f"a ratio of 0 asks for no synthetic images, and {', '.join(generators)} would not be used; "
                "real images alone are a row of every suite"
            )
        if filters and not generators:
            raise ValueError(
                f"there is nothing to filter for {', '.join(filters)}: name a generator, too "
                "(genbench list generators)"
            )
        return self

    @field_validator(
        "datasets", "baseline_datasets", "generators", "filters", "classifiers", "evaluators", mode="before"
    )
    @classmethod
    def _parse_references(cls, value: Any) -> Any:
        return _as_references(value)

    @field_validator("reference", mode="before")
    @classmethod
    def _parse_reference(cls, value: Any) -> Any:
        return _as_reference(value)


def load_suite(path: Path) -> Suite:
    """Read a suite from TOML.

    Raises:
        UsageError: The file cannot be read, is not TOML, or has an unknown or unusable entry.
    """
    try:
        text = read_text(path, MOST_SUITE_BYTES)
    except ValueError as problem:
        raise UsageError(f"cannot read suite {path}: {problem}", hint="genbench list suites") from problem
    try:
        content = parse_toml(text, DEEPEST_SUITE)
    except ValueError as problem:
        raise UsageError(f"suite {path} is not valid TOML: {problem}") from problem
    return make_suite({"name": as_suite_name(path.stem), **content}, origin=f"suite {path}")


def make_suite(content: Mapping[str, Any], origin: str) -> Suite:
    """Validate a suite, and say in the user's words what is wrong with it."""
    try:
        return Suite.model_validate(content)
    except ValidationError as problem:
        hint = (
            "genbench run --help" if origin == COMMAND_LINE else "genbench docs protocol   (describes suites)"
        )
        raise UsageError(explain(problem, origin, Suite), hint=hint) from None


def _as_reference(value: Any) -> Any:
    return parse_reference(value) if isinstance(value, str) else value


def _as_references(value: Any) -> Any:
    return [_as_reference(item) for item in value] if isinstance(value, list | tuple) else value
