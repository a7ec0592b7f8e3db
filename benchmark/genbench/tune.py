"""Searching a recipe: each trial is an ordinary cell of the baseline, and its score is accuracy on val.

Trials are asked for one by one of Optuna's TPE sampler (Watanabe, arXiv:2304.11127) with a fixed seed, after
one trial of the recipe as it stands. Nothing is kept but the cells: the same search again asks for the same
trials, finds their cells in the store, and continues after the last. Values are rounded to three digits, so
that the line to paste is the recipe that was tried. Test accuracy is in the cells' records, too; it is not
read here, and chooses nothing.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from genbench.errors import UsageError, did_you_mean
from genbench.notation import BARE, flattened, scalar
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.protocols import ClassifierConfig, ComponentRef, TrainRecipe
from genbench.records import Record
from genbench.registry import Registry
from genbench.runner import Observer, run
from genbench.seeding import derive_seed
from genbench.spec import Resolved, Suite, resolve_suite
from genbench.store import Store
from genbench.worker import RunOptions

if TYPE_CHECKING:
    import optuna

METRIC, SPLIT = "top1", "val"  #: what is maximised: the accuracy evaluator's top-1 on val, in %
_DIGITS = 3  # significant digits of a tried number
_LOG_FROM = 10.0  # a range of numbers above 0 is searched on a log scale from this ratio on
Value = str | int | float | bool | tuple[Any, ...] | None


@dataclass(frozen=True)
class Dimension:
    """One option that is searched.

    Attributes:
        option: Its name as users type it, for example `recipe.learning_rate`.
        choices: Its values; empty for a range.
        low: Smallest value of a range.
        high: Largest value of a range.
    """

    option: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def ask(self, trial: "optuna.Trial") -> Value:
        """Return the value that a trial tries."""
        if self.choices:
            place = trial.suggest_categorical(self.option, range(len(self.choices)))
            return self.choices[place]
        log = self.low > 0 and self.high / self.low >= _LOG_FROM
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.option, self.low, self.high, log=log)
        return _rounded(trial.suggest_float(self.option, self.low, self.high, log=log))

    def parameter(self, value: Value) -> Value:
        """Return what Optuna is told for a value, or None where it is outside the space."""
        if self.choices:
            return self.choices.index(value) if value in self.choices else None
        inside = isinstance(value, int | float) and self.low <= value <= self.high
        return value if inside else None

    def __str__(self) -> str:
        """Return it as `--search` takes it."""
        if self.choices:
            return f"{self.option}={'|'.join(_text(choice) for choice in self.choices)}"
        return f"{self.option}={self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried.

    Attributes:
        number: From 0, the recipe as it stands.
        values: The searched options.
        score: Mean top-1 on val over the seeds, in %; None where a cell failed.
        reason: Why it failed.
    """

    number: int
    values: Mapping[str, Value]
    score: float | None
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """What is searched, and where.

    Attributes:
        suite: One dataset, one classifier, no generator: its cells are the baseline's.
        dimensions: The options that are searched.
        trials: How many recipes are tried.
        registry: Where components are found.
        store: Where cells are kept.
        options: How cells are run.
    """

    suite: Suite
    dimensions: Sequence[Dimension]
    trials: int
    registry: Registry
    store: Store
    options: RunOptions = field(default_factory=lambda: RunOptions(jobs=0))

    @property
    def start(self) -> Resolved:
        """The classifier that the search starts from."""
        return resolve_suite(self.registry, self.suite, self.store.fingerprint).classifiers[0]

    @property
    def earlier_trials(self) -> int:
        """How many recipes had been tried to find the one that it starts from: those of a preset count."""
        config = self.start.config
        return config.tuning_trials if isinstance(config, ClassifierConfig) else 0

    def plan(self, values: Mapping[str, Value]) -> Plan:
        """Return the cells of one trial."""
        return make_plan(
            resolve_suite(
                self.registry,
                with_values(self.suite, values),
                self.store.fingerprint,
                self.store.image_problem,
            )
        )


def tune(search: Search, observer: Observer | None = None) -> Iterator[Trial]:
    """Try recipes one after another, and yield each with its score.

    Raises:
        UsageError: Optuna is not installed, or an option does not take a value of its range.
        Interrupted: Ctrl-C; the same search resumes.
    """
    study = _study(search)
    for dimension in search.dimensions:  # a bound that the option refuses is an error before anything runs
        for value in dimension.choices or (dimension.low, dimension.high):
            search.plan({dimension.option: value})
    start = _start(search)
    if start is not None:
        study.enqueue_trial(start)
    for number in range(search.trials):
        asked = study.ask()
        values = {dimension.option: dimension.ask(asked) for dimension in search.dimensions}
        records = run(search.plan(values), search.store, search.registry, search.options, observer).records
        trial = scored(number, values, records)
        _tell(study, asked, trial.score)
        yield trial


def scored(number: int, values: Mapping[str, Value], records: Iterable[Record]) -> Trial:
    """Score a trial by its records: the mean of top-1 on val, and of nothing else."""
    scores = []
    for record in records:
        metric = record.result.metric(METRIC, SPLIT)
        if metric is None or metric.value is None:
            return Trial(number, values, None, record.result.reason or f"no {METRIC} on {SPLIT}")
        scores.append(metric.value)
    return Trial(number, values, sum(scores) / len(scores))


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the highest score, the first of equal ones; None if all failed."""
    finished = [trial for trial in trials if trial.score is not None]
    return max(finished, key=lambda trial: trial.score or 0.0, default=None)


def with_values(suite: Suite, values: Mapping[str, Value]) -> Suite:
    """Return the suite with options of its classifier set; dotted names go into the recipe."""
    (classifier,) = suite.classifiers
    options = json.loads(json.dumps(dict(classifier.options)))
    for option, value in values.items():
        *parents, last = option.split(".")
        place = options
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    changed = ComponentRef(use=classifier.use, options=options)
    return suite.model_copy(update={"classifiers": (changed,)})


def reference_line(suite: Suite, values: Mapping[str, Value], trials: int) -> str:
    """Return the classifier as users type it, complete with its preset: what a suite takes.

    How many recipes were tried goes with it, into every record that the recipe leaves.
    """
    (classifier,) = with_values(suite, values).classifiers
    options = {"preset": suite.preset, **classifier.options, "tuning_trials": trials}
    bare = [str(options.pop(BARE))] if BARE in options else []
    words = bare + [f"{name}={_text(value)}" for name, value in flattened(options)]
    return f"{classifier.use}:{','.join(words)}"


# ------------------------------------------------------------------------------------------- the space


def make_dimensions(classifier: Resolved, wanted: Sequence[str]) -> list[Dimension]:
    """Read `--search` options; without any, rate and decay (if it decays) around the recipe's values.

    Args:
        classifier: What is searched.
        wanted: `OPTION=LOW..HIGH`, `OPTION=A|B|C`, or `OPTION` alone, which is every choice that it has or a
            factor of ten around its value. An option of the recipe needs no `recipe.` before it.

    Raises:
        UsageError: An option is unknown, named twice, or its values cannot be read; or the recipe is searched
            and never followed.
    """
    usual = ["learning_rate", *(["weight_decay"] if value_of(classifier, "recipe.weight_decay") else [])]
    found = [_dimension(classifier, text) for text in wanted or usual]
    names = [dimension.option for dimension in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"--search names {twice!r} twice")
    idle = next((name for name in names if name.startswith("recipe.")), None)
    if idle and "recipe.epochs" not in names and not value_of(classifier, "recipe.epochs"):
        raise UsageError(
            f"{classifier.name} has recipe.epochs=0 and is not trained: {idle} would change nothing",
            hint="recipe.epochs=N trains it in every trial; --search epochs=LOW..HIGH searches how long",
        )
    return found


def value_of(classifier: Resolved, option: str) -> Any:
    """Return the present value of an option, by its dotted name."""
    value: Any = classifier.config
    for part in option.split("."):
        value = getattr(value, part)
    return value


def _dimension(classifier: Resolved, text: str) -> Dimension:
    name, equals, values = text.partition("=")
    option = _option(classifier, name.strip())
    if not equals:
        return _around(classifier, option)
    low, dots, high = values.partition("..")
    if dots:
        bounds = [_value(low), _value(high)]
        if not all(isinstance(bound, int | float) for bound in bounds) or bounds[0] >= bounds[1]:
            raise UsageError(f"--search {text!r}: a range is LOW..HIGH, two numbers, the smaller one first")
        return Dimension(option, low=bounds[0], high=bounds[1])
    choices = tuple(_value(word) for word in values.split("|"))
    if len(set(choices)) < 2:
        raise UsageError(f"--search {text!r}: name a range LOW..HIGH, or at least two choices, A|B")
    return Dimension(option, choices)


def _option(classifier: Resolved, name: str) -> str:
    """Return the dotted name of an option of the classifier or of its recipe."""
    own = [entry for entry in type(classifier.config).model_fields if entry != "recipe"]
    recipe = list(TrainRecipe.model_fields)
    if name in own or name.removeprefix("recipe.") not in recipe:
        if name not in own:
            raise UsageError(
                f"--search: {classifier.name} has no option {name!r}. {did_you_mean(name, [*own, *recipe])}",
                hint=f"genbench show classifier {classifier.name}",
            )
        return name
    return f"recipe.{name.removeprefix('recipe.')}"


def _around(classifier: Resolved, option: str) -> Dimension:
    """Return the usual values of an option that was named without any."""
    name, value = option.removeprefix("recipe."), value_of(classifier, option)
    schema = TrainRecipe if option.startswith("recipe.") else type(classifier.config)
    annotation = schema.model_fields[name].annotation
    if get_origin(annotation) is Literal:
        return Dimension(option, tuple(get_args(annotation)))
    if isinstance(value, bool):
        return Dimension(option, (False, True))
    if isinstance(value, float) and value > 0:
        return Dimension(option, low=_rounded(value / 10), high=_rounded(value * 10))
    raise UsageError(
        f"--search {option}: it is {_text(value)}, which has no usual range",
        hint=f"--search {name}=LOW..HIGH, or --search '{name}=A|B'",
    )


# ---------------------------------------------------------------------------------------------- optuna


def _study(search: Search) -> "optuna.Study":
    try:
        import optuna
    except ImportError as problem:
        raise UsageError(
            "genbench tune needs Optuna, which is not installed", hint="pip install 'genbench[tune]'"
        ) from problem
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = derive_seed("tune", search.suite.base_seed) % 2**32
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _start(search: Search) -> dict[str, Value] | None:
    """Return the present recipe as a trial's parameters, if it is in the space."""
    resolved = search.start
    values = {
        dimension.option: dimension.parameter(value_of(resolved, dimension.option))
        for dimension in search.dimensions
    }
    return None if None in values.values() else values


def _tell(study: "optuna.Study", asked: "optuna.Trial", score: float | None) -> None:
    from optuna.trial import TrialState

    if score is None:
        study.tell(asked, state=TrialState.FAIL)
    else:
        study.tell(asked, score)


# ----------------------------------------------------------------------------------------------- words


def _rounded(value: float) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))


def _value(text: str) -> Any:
    """Read a value as any option is read; a list becomes a tuple, which can be told from others."""
    value = scalar(text.strip())
    return tuple(value) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
