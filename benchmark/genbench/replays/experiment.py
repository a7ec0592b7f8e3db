"""An experiment of a source as typed data: one TOML file holds everything that `genbench replay` needs.

    title, source, paper, url        what it is
    known                            replayable, partly, claim only: how much of the settings is known
    holes, departures, needs         what the source leaves open, what is done otherwise here, what is missing
    [datasets] [generators] [classifiers] [mixes]     components by names that the rest of the file uses
    [replayed] [controlled]          two suites over these names, and which of their rows are arms
    [[reported]]                     numbers of the source, each with the arm that answers it
    [[effects]]                      what the source concluded: one arm over another
    [scale]                          the same names with smaller components: minutes on a CPU
    [stored]                         instead of suites: predictions that the source published

A number that the source printed stands in such a file with its unit, split, images, runs and place, and
nowhere else.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from genbench.errors import UsageError, did_you_mean
from genbench.explain import explain
from genbench.notation import parse_reference
from genbench.options import ComponentRef, Options
from genbench.recipe import Mix
from genbench.suite import BASELINE, DEEPEST_SUITE, MOST_SUITE_BYTES
from genbench.untrusted import parse_toml, read_text

FOLDER = Path(__file__).parent / "experiments"
COLUMNS = ("replayed", "controlled")
Known = Literal["replayable", "partly", "claim only"]
#: Whether a number was read in the source; `recounted`: by another program from what the source published.
LookedUp = Literal["verified", "quoted from memory", "recounted"]
_MOST = 200  #: entries of a list; the longest experiment that comes with genbench has 40
_MOST_GUESSES = 4
_KINDS = ("datasets", "generators", "filters", "classifiers")
_ALL_KINDS = (*_KINDS, "mixes")
_FIELDS: Mapping[str, str] = dict(
    zip(_ALL_KINDS, ("dataset", "generator", "filter", "classifier", "mix"), strict=True)
)

#: A line of words: what is printed in a table, or in a list below it.
Line = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Components = Mapping[str, ComponentRef]


class Arm(Options):
    """A row of a column, and the number that is read from its records."""

    classifier: str = Field(default="", description="name of a classifier; empty: about an image set")
    generator: str = Field(default=BASELINE, description="name of a generator; `none`: real images alone")
    filter: str = Field(default=BASELINE, description="name of a filter")
    mix: str = Field(description="name of a mix")
    dataset: str = Field(default="", description="name of a dataset; empty: the column's first")
    title: Line = Field(
        default="", max_length=120, description="words for the row, where nothing is reported"
    )
    metric: str = Field(default="top1", description="name of the metric")
    split: Line = Field(default="test", description="split that it is measured on")
    role: Literal["score", "floor"] = Field(default="score", description="the metric, or its floor")
    against: str = Field(default="", description="what it is compared with; empty: whatever there is")

    def named(self, kind: str) -> tuple[str, ...]:
        """Return the name of a kind that it uses, if it does."""
        name = str(getattr(self, _FIELDS[kind]))
        return (name,) if name and name != BASELINE else ()


class Column(Options):
    """A suite over the file's names, and its arms."""

    datasets: tuple[str, ...] = Field(min_length=1, max_length=_MOST, description="names of datasets")
    generators: tuple[str, ...] = Field(default=(), max_length=_MOST, description="names of generators")
    filters: tuple[str, ...] = Field(default=(), max_length=_MOST, description="names of filters")
    classifiers: tuple[str, ...] = Field(min_length=1, max_length=_MOST, description="names of classifiers")
    mixes: tuple[str, ...] = Field(min_length=1, max_length=_MOST, description="names of mixes")
    evaluators: tuple[ComponentRef, ...] = Field(
        default=(ComponentRef(use="accuracy"),), max_length=_MOST, description="evaluators"
    )
    reference: ComponentRef = Field(
        default=ComponentRef(use="cnn"), description="architecture of the frozen reference classifier"
    )
    preset: str = Field(default="paper", description="preset of components that name none")
    seeds: int = Field(default=5, ge=1, le=1000, description="seed indices: 0, 1, ...")
    arms: Mapping[str, Arm] = Field(description="rows by name: equal names answer the same number")

    @field_validator("evaluators", mode="before")
    @classmethod
    def _parse_evaluators(cls, value: Any) -> Any:
        return [_reference(one) for one in value] if isinstance(value, list | tuple) else value

    @field_validator("reference", mode="before")
    @classmethod
    def _parse_reference(cls, value: Any) -> Any:
        return _reference(value)

    def named(self, kind: str) -> tuple[str, ...]:
        """Return the names of a kind that it uses: of its lists and of its arms."""
        listed: tuple[str, ...] = getattr(self, kind)
        return (*listed, *(name for arm in self.arms.values() for name in arm.named(kind)))

    def with_arms_that_run(self) -> "Column":
        """Return the same without the arms of which a component is not in its lists."""
        without = {arm for arm, _, _ in self.unlisted()}
        return self.model_copy(
            update={"arms": {name: arm for name, arm in self.arms.items() if name not in without}}
        )

    def unlisted(self) -> Iterator[tuple[str, str, str]]:
        """Yield what arms use and its lists do not have: arm, kind and name."""
        for name, arm in self.arms.items():
            for kind in _ALL_KINDS:
                yield from ((name, kind, part) for part in arm.named(kind) if part not in getattr(self, kind))


class StoredValue(Options):
    """A model of `[stored]`: its accuracy on a set, or how much that is above another model's."""

    model: str = Field(description="name of the model, as in the files")
    version: str = Field(description="name of the test set, as in the files")
    minus: str = Field(default="", description="the model that is subtracted")


class Reported(Options):
    """A number that a source printed."""

    name: Line = Field(max_length=120, description="what it is, in a few words")
    value: float = Field(description="as printed")
    unit: Line = Field(default="%", max_length=20, description="unit; empty where it has none")
    split: Line = Field(default="test", description="the images it was measured on, as far as known")
    images: int | None = Field(default=None, ge=1, description="how many images; None: not told")
    same_images: bool = Field(default=False, description="whether it is measured on the same images here")
    runs: int | None = Field(
        default=None, ge=1, description="how many runs it is the mean of; None: not told"
    )
    error: float = Field(default=0.0, ge=0, description="how far it may be off by rounding or reading a plot")
    where: Line = Field(min_length=3, description="page, table, file or plot of the source")
    source: LookedUp = Field(default="verified", description="whether it was read in the source")
    holes: tuple[Line, ...] = Field(default=(), max_length=_MOST, description="what makes it doubtful")
    arm: str = Field(default="", description="the arm that answers it; empty: none can")
    stored: StoredValue | None = Field(default=None, description="where [stored] answers it")
    unanswered: Line = Field(default="", description="why it cannot be checked")

    @model_validator(mode="after")
    def _answered_or_not(self) -> Self:
        answers = [bool(self.arm), self.stored is not None, bool(self.unanswered)]
        if sum(answers) != 1:
            raise ValueError(
                "say one of `arm`, `stored` and `unanswered`: what answers it, or why nothing does"
            )
        return self


class Effect(Options):
    """What a source concluded: an arm is above another one, below it, or no different."""

    name: Line = Field(max_length=120, description="the conclusion, in a few words")
    sign: Literal[-1, 0, 1] = Field(description="1: above; -1: below; 0: no different")
    value: float | None = Field(default=None, description="reported difference; None: in words alone")
    error: float | None = Field(
        default=None,
        ge=0,
        description="how far it may be off; None: the errors of its arms' numbers together",
    )
    unit: Line = Field(default="points", max_length=20, description="unit of the difference")
    where: Line = Field(min_length=3, description="page, table or sentence of the source")
    of: str = Field(description="an arm")
    over: str = Field(description="the arm that it is held against")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.value is not None and self.sign and self.value * self.sign <= 0:
            raise ValueError(f"sign {self.sign} contradicts the value {self.value:g}")
        if self.of == self.over:
            raise ValueError(f"the arm {self.of!r} cannot be held against itself")
        return self


class Smaller(Options):
    """What a column of the scaled version has otherwise."""

    seeds: int | None = Field(default=None, ge=1, le=1000, description="seed indices")
    with_generators: tuple[str, ...] = Field(default=(), description="generators that only it has")
    without_generators: tuple[str, ...] = Field(default=(), description="generators that are left out")
    without_classifiers: tuple[str, ...] = Field(default=(), description="classifiers that are left out")
    without_mixes: tuple[str, ...] = Field(default=(), description="mixes that are left out")
    without_datasets: tuple[str, ...] = Field(default=(), description="datasets that are left out")


class Scale(Options):
    """The same comparison with smaller components: minutes on a CPU. No absolute number means anything."""

    core_minutes: float = Field(gt=0, description="estimate for all seeds of both columns, one core")
    changes: tuple[Line, ...] = Field(min_length=1, max_length=_MOST, description="what is smaller, in words")
    datasets: Components = Field(default_factory=dict, description="in place of those of these names")
    generators: Components = Field(default_factory=dict, description="in place of those of these names")
    filters: Components = Field(default_factory=dict, description="in place of those of these names")
    classifiers: Components = Field(default_factory=dict, description="in place of those of these names")
    mixes: Mapping[str, Mix] = Field(default_factory=dict, description="in place of those of these names")
    preset: str = Field(default="quick", description="preset of components that name none")
    replayed: Smaller = Field(default=Smaller(), description="of the replayed column")
    controlled: Smaller = Field(default=Smaller(), description="of the controlled column")

    @field_validator(*_KINDS, mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _references(value)


class Stored(Options):
    """Predictions that a source published; `{version}` and `{model}` stand for names."""

    repository: str = Field(description="dataset on the Hub or in a mirror: ORG/NAME")
    labels: str = Field(description="path of the true labels of a version, a .npy file")
    predictions: str = Field(description="path of a model's classes, a .json list")
    classes: int = Field(ge=2, le=100_000, description="number of classes")


class Experiment(Options):
    """One experiment of a source."""

    title: Line = Field(max_length=160, description="what was done, in a line")
    source: Line = Field(description="which source")
    paper: Line = Field(description="title or repository, with its version")
    url: Line = Field(default="", description="where it is")
    known: Known = Field(description="how much of the settings is known")
    holes: tuple[Line, ...] = Field(default=(), max_length=_MOST, description="what the source leaves open")
    departures: tuple[Line, ...] = Field(default=(), max_length=_MOST, description="what is otherwise here")
    needs: tuple[Line, ...] = Field(default=(), max_length=_MOST, description="what is needed to run it")
    full_hours: Line = Field(default="", description="what the whole takes, and on what, in words")
    datasets: Components = Field(default_factory=dict, description="datasets by name")
    generators: Components = Field(default_factory=dict, description="generators by name")
    filters: Components = Field(default_factory=dict, description="filters by name")
    classifiers: Components = Field(default_factory=dict, description="classifiers by name")
    mixes: Mapping[str, Mix] = Field(default_factory=dict, description="mixes by name")
    replayed: Column | None = Field(default=None, description="the source's own protocol")
    controlled: Column | None = Field(default=None, description="the comparison done with controls")
    reported: tuple[Reported, ...] = Field(default=(), max_length=_MOST, description="numbers of the source")
    effects: tuple[Effect, ...] = Field(default=(), max_length=_MOST, description="its conclusions")
    scale: Scale | None = Field(default=None, description="minutes on a CPU")
    stored: Stored | None = Field(default=None, description="predictions that the source published")

    @field_validator(*_KINDS, mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _references(value)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Its columns, by name, with the arms whose components they run."""
        found = {name: getattr(self, name) for name in COLUMNS}
        return {name: one.with_arms_that_run() for name, one in found.items() if one is not None}

    @property
    def runs_here(self) -> bool:
        """Whether anything can be run at all."""
        return bool(self.columns) or self.stored is not None

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        """Refuse a name of a component, mix or arm that stands nowhere."""
        whole = [column for column in (self.replayed, self.controlled) if column is not None]
        for column in whole:
            for kind in _ALL_KINDS:
                _check(column.named(kind), getattr(self, kind), kind)
        arms = {name for column in whole for name in column.arms}
        _check((one.arm for one in self.reported if one.arm), arms, "arms")
        _check((name for one in self.effects for name in (one.of, one.over)), arms, "arms")
        self._check_sizes()
        _check_titles(whole)
        self._check_arms()
        if any(one.stored for one in self.reported) and self.stored is None:
            raise ValueError("a reported number says `stored`, and there is no table [stored]")
        if self.scale is not None:
            self._check_scale(self.scale)
        if not self.runs_here and not self.needs:
            raise ValueError("it has no columns: say in `needs` what would be needed")
        return self

    def error_of(self, effect: Effect) -> float:
        """Return how far the size of an effect may be off: its own, or both numbers off in opposite ways."""
        if effect.error is not None or effect.value is None:
            return effect.error or 0.0
        return sum(
            max((one.error for one in self.reported if one.arm == arm), default=0.0)
            for arm in (effect.of, effect.over)
        )

    def _check_sizes(self) -> None:
        """Refuse a size of which nobody says how exact it is."""
        known = {one.arm for one in self.reported}
        for one in self.effects:
            if one.value is not None and one.error is None and not {one.of, one.over} <= known:
                raise ValueError(
                    f"effect {one.name!r}: say in `error` how far {one.value:g} may be off: its arms have no "
                    "reported numbers whose errors would say it"
                )

    def _check_arms(self) -> None:
        """Refuse an arm that no version would run: of a component that its column nowhere lists."""
        for name in COLUMNS:
            column: Column | None = getattr(self, name)
            added = getattr(self.scale, name).with_generators if self.scale else ()
            for arm, kind, part in column.unlisted() if column else ():
                if kind != "generators" or part not in added:
                    listed = ", ".join(getattr(column, kind)) or "nothing"
                    raise ValueError(
                        f"arm {arm!r} of [{name}] uses {part!r}, which is not among its {kind}: {listed}"
                    )

    def _check_scale(self, scale: Scale) -> None:
        """Refuse names in the scaled version that the whole one does not have."""
        for kind in _ALL_KINDS:
            _check(getattr(scale, kind), getattr(self, kind), kind)
        for smaller in (scale.replayed, scale.controlled):
            _check(smaller.with_generators, self.generators, "generators")
            for kind in ("datasets", "generators", "classifiers", "mixes"):
                _check(getattr(smaller, f"without_{kind}"), getattr(self, kind), kind)


def _check_titles(columns: Iterable[Column]) -> None:
    """Refuse two titles of one arm: its numbers of both columns stand in one row."""
    titles: dict[str, str] = {}
    for column in columns:
        for name, arm in column.arms.items():
            if arm.title and titles.setdefault(name, arm.title) != arm.title:
                raise ValueError(
                    f"arm {name!r} has two titles, {titles[name]!r} and {arm.title!r}: both columns' numbers "
                    "stand in one row"
                )


def _check(names: Any, known: Any, kind: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"no {name!r} among its {kind}. {did_you_mean(name, set(known))}")


def _reference(value: Any) -> Any:
    return parse_reference(value) if isinstance(value, str) else value


def _references(value: Any) -> Any:
    return {name: _reference(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def experiments() -> Mapping[str, Path]:
    """Return the files of the experiments that come with genbench, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load_experiment(name: str) -> tuple[str, Experiment]:
    """Read an experiment by its name, or from a file of yours: (name, experiment).

    Raises:
        UsageError: There is none, or its file cannot be read, is not TOML, or holds what it may not.
    """
    ready = experiments()
    path = ready.get(name) or Path(name)
    if path.is_file() and path.suffix != ".toml":
        raise UsageError(
            f"{path} is no experiment: the name of its file does not end in .toml",
            hint="genbench docs replay",
        )
    if not path.is_file():
        raise UsageError(
            f"no experiment {name!r}: neither a file nor one that comes with genbench."
            + _nearest(name, ready),
            hint="genbench replay   (lists them)",
        )
    try:
        content = parse_toml(read_text(path, MOST_SUITE_BYTES), DEEPEST_SUITE)
    except ValueError as problem:
        raise UsageError(f"cannot read experiment {path}: {problem}", hint="genbench replay") from problem
    own = ready.get(path.stem, path)
    if own != path and content != parse_toml(read_text(own, MOST_SUITE_BYTES), DEEPEST_SUITE):
        raise UsageError(
            f"{path} has the name of an experiment that comes with genbench, and another content: what it "
            f"finds would pass for a replay of {path.stem}",
            hint=f"mv {path} {path.with_name(f'my-{path.name}')}   (or any other name)",
        )
    try:
        return path.stem, Experiment.model_validate(content)
    except ValidationError as problem:
        raise UsageError(
            explain(problem, f"experiment {path.stem}", Experiment), hint="genbench docs replay"
        ) from None


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the experiments whose names are like this one, or have it in them."""
    near = list(dict.fromkeys([*get_close_matches(name, known, n=3), *(one for one in known if name in one)]))
    return f" Did you mean {' or '.join(near[:_MOST_GUESSES])}?" if name and near else ""


def scaled(experiment: Experiment, name: str = "") -> Experiment:
    """Return the CPU-sized version: the same names, with the components of its `[scale]`.

    Args:
        experiment: The whole one.
        name: What messages call it; by default its title.

    Raises:
        UsageError: It has none.
    """
    scale, name = experiment.scale, name or experiment.title
    if experiment.stored is not None:
        raise UsageError(
            f"{name} needs no --scale: no network is trained, and it takes seconds on a CPU. Run it as it is",
            hint=f"genbench replay {name}",
        )
    if not experiment.runs_here:
        raise UsageError(
            f"{name} cannot be run, with --scale or without: {'; '.join(experiment.needs)}",
            hint=f"genbench replay {name} --dry-run   (shows what was reported)",
        )
    if scale is None:
        raise UsageError(f"{name} has no version for --scale", hint="genbench replay   (says which have one)")
    merged = {kind: {**getattr(experiment, kind), **getattr(scale, kind)} for kind in _ALL_KINDS}
    columns = {
        name: _shrunk(column, getattr(scale, name), scale.preset)
        for name in COLUMNS
        if (column := getattr(experiment, name)) is not None
    }
    return experiment.model_copy(update={**merged, **columns})


def _shrunk(column: Column, smaller: Smaller, preset: str) -> Column:
    """Leave out what a scaled column does without, and add what only it has."""
    kept: dict[str, Any] = {"preset": preset, "seeds": smaller.seeds or column.seeds}
    for kind in ("datasets", "generators", "classifiers", "mixes"):
        gone = getattr(smaller, f"without_{kind}")
        kept[kind] = tuple(name for name in getattr(column, kind) if name not in gone)
    kept["generators"] += smaller.with_generators
    return column.model_copy(update=kept)


def replaced(experiment: Experiment) -> Iterator[tuple[str, ComponentRef, ComponentRef]]:
    """Yield what the scaled version replaces: name, component, and the smaller one."""
    for kind in _KINDS:
        for name, smaller in (getattr(experiment.scale, kind) if experiment.scale else {}).items():
            yield f"{kind.removesuffix('s')} {name}", getattr(experiment, kind)[name], smaller
