"""Components settled: what TOML files and command-line flags name becomes options with every value.

`ddpm:timesteps=100,schedule=cosine` on the command line and `{use = "ddpm", timesteps = 100, schedule =
"cosine"}` in a suite mean the same. Only resolved values, defaults and presets filled in, reach a key.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from genbench.digest import canonical_json, digest
from genbench.errors import (
    DataError,
    GenbenchError,
    PluginError,
    UsageError,
    did_you_mean,
    listed_problems,
    together,
)
from genbench.escaping import exception_text, one_line
from genbench.explain import explain
from genbench.hookspecs import COPY_CHECK, ComponentSpec, Kind
from genbench.image_files import image_problem
from genbench.notation import (
    BARE,
    label_of,
)
from genbench.options import ComponentConfig, ComponentRef, InputStep, merged, reference_options
from genbench.protocols import GenerationCost, GeneratorConfig, StockConfig
from genbench.recipe import Mix
from genbench.registry import Registry, check_no_folder, check_no_photos
from genbench.suite import BASELINE, STANDARD_PRESETS, Rows, Suite

FileDigest = Callable[[Path], str]
#: Returns the fingerprint that records have of a component (its identity without one), or nothing.
Recorded = Callable[[Mapping[str, Any]], str]
ImageProblem = Callable[[Path], str]


@dataclass(frozen=True)
class Parts:
    """The components whose code a step runs.

    Attributes:
        components: Kind and name of each.
        paths: Files that their options name, and that they read.
    """

    components: tuple[tuple[Kind, str], ...] = ()
    paths: tuple[str, ...] = ()

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(self.components + other.components, self.paths + other.paths)


@dataclass(frozen=True)
class Resolved:
    """A component with every option settled.

    Attributes:
        kind: Which kind of component.
        spec: What it registered.
        config: Its options.
        label: What users typed, for tables: the name with the options they set.
        references: Components among its options, with the artifact that each hands over.
        fingerprint: Digest of the content of the files it reads; empty when it reads none.
        paths: Where those files are.
        remarks: What the options mean for the files that there are, in sentences.
    """

    kind: Kind
    spec: ComponentSpec
    config: ComponentConfig
    label: str
    references: Mapping[str, tuple[InputStep, "Resolved"]] = field(default_factory=dict)
    fingerprint: str = ""
    paths: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The component's name."""
        return self.spec.name

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Name, version, resolved options and the content of its files: what enters a key. No paths."""
        left_out = {*self.config.location_fields, *self.config.remark_fields}
        config = self.config.model_dump(mode="json", exclude=left_out)
        for option, (_, component) in self.references.items():
            config[option] = component.identity
        identity = {"use": self.name, "version": self.spec.version, "config": config}
        return {**identity, "fingerprint": self.fingerprint} if self.fingerprint else identity

    @cached_property
    def location(self) -> Mapping[str, Any]:
        """Options that say where something is, by path: handed to the step, never part of a key.

        Paths are absolute: a room is in a folder of its own.
        """
        own = self.config.model_dump(mode="json", include=set(self.config.location_fields))
        for name in own:
            value = getattr(self.config, name)
            if isinstance(value, Path):
                own[name] = str(value.expanduser().absolute())
        inner = {
            f"{option}/{name}": value
            for option, (_, component) in self.references.items()
            for name, value in component.location.items()
        }
        return {**own, **inner}

    @cached_property
    def parts(self) -> "Parts":
        """This component, and those among its options that are handed to it ready to run."""
        own = Parts(((self.kind, self.name),), self.paths)
        handed_over = (one.parts for step, one in self.references.values() if step.stage != "sample")
        return sum(handed_over, own)

    @property
    def external_data(self) -> tuple[str, ...]:
        """What this component and those among its options learned from beyond `train`."""
        inner = [data for _, component in self.references.values() for data in component.external_data]
        own = self.config.external_data(self.spec.external_data)
        return tuple(dict.fromkeys([*own, *inner]))

    @property
    def generation_costs(self) -> tuple[GenerationCost, ...]:
        """What making images took before they came here: those of this component, and of its options'."""
        own = self.config.generation_cost() if isinstance(self.config, GeneratorConfig) else None
        inner = [cost for _, component in self.references.values() for cost in component.generation_costs]
        return tuple([own, *inner] if own is not None else inner)

    def options(self, *, without: frozenset[str] = frozenset()) -> Mapping[str, Any]:
        """Return the identity with some options left out."""
        config = {name: value for name, value in self.identity["config"].items() if name not in without}
        return {**self.identity, "config": config}


@dataclass(frozen=True)
class ResolvedRows:
    """Generators, filters and mixes of which every combination is a row."""

    generators: tuple[Resolved, ...]
    filters: tuple[Resolved, ...]
    mixes: tuple[Mix, ...]

    @property
    def most(self) -> int:
        """How many rows these are at most, those of real images alone left out."""
        generators = sum(one.name != BASELINE for one in self.generators)
        return generators * len(self.filters) * sum(bool(mix.ratio) for mix in dict.fromkeys(self.mixes))


@dataclass(frozen=True)
class ResolvedSuite:
    """A suite with every component settled; `none` stands first among the generators.

    Of `baseline_datasets`, real images alone are run; none of them is among `datasets`. `rows` are those
    beside the cross product of generators, filters and mixes.
    """

    suite: Suite
    datasets: tuple[Resolved, ...]
    baseline_datasets: tuple[Resolved, ...]
    generators: tuple[Resolved, ...]
    filters: tuple[Resolved, ...]
    classifiers: tuple[Resolved, ...]
    evaluators: tuple[Resolved, ...]
    reference: Resolved
    no_filter: Resolved
    rows: tuple[ResolvedRows, ...] = ()

    @property
    def products(self) -> tuple[ResolvedRows, ...]:
        """All rows: the cross product of the suite, and what is beside it."""
        return (ResolvedRows(self.generators, self.filters, self.suite.mixes), *self.rows)

    @property
    def components(self) -> tuple[Resolved, ...]:
        """All of them, those among their options included."""
        data = (*self.datasets, *self.baseline_datasets)
        images = [one for rows in self.products for one in (*rows.generators, *rows.filters)]
        named = (*data, *images, *self.classifiers, *self.evaluators)
        return tuple(one for top in (*named, self.reference) for one in _with_inner(top))


def _with_inner(component: Resolved) -> Iterator[Resolved]:
    """Yield a component and those among its options."""
    yield component
    for _, inner in component.references.values():
        yield from _with_inner(inner)


def resolve_suite(
    registry: Registry,
    suite: Suite,
    file_digest: FileDigest,
    image_problem: ImageProblem = image_problem,
    recorded: Recorded | None = None,
) -> ResolvedSuite:
    """Settle every component of a suite; the same component named twice counts once.

    The baseline and the check for copies are part of every suite.

    Args:
        registry: Where components are found.
        suite: The suite.
        file_digest: How the files that a component reads are hashed.
        image_problem: How image files are looked at.
        recorded: Stands in for files that are gone: what is in the store can then be found, and nothing run.

    Raises:
        UsageError: A component, a preset or an option is unknown, or a value is out of bounds.
        DataError: Files that components read cannot be used; the message names those of all components.
    """
    lacking: dict[str, DataError] = {}

    def settled(kind: Kind, reference: ComponentRef) -> Resolved:
        found = resolve(registry, kind, reference, suite.preset, file_digest, recorded)
        if recorded is not None:
            return found  # of files that are gone there is nothing to look at
        _check_files(found, image_problem)
        with _its_own_mistakes(f"{kind} {found.name!r}"):
            said = [remark for one in _with_inner(found) for remark in one.config.remarks(image_problem)]
            return replace(found, remarks=tuple(said))

    def settle(kind: Kind, references: Iterable[ComponentRef]) -> tuple[Resolved, ...]:
        found = []
        for reference in references:
            try:
                found.append(settled(kind, reference))
            except DataError as problem:  # the others may lack files, too: all are named at once
                lacking[str(problem)] = problem
        return tuple({canonical_json(component.identity): component for component in found}.values())

    def beside(rows: Rows) -> ResolvedRows:
        return ResolvedRows(
            settle("generator", rows.generators),
            settle("filter", rows.filters),
            tuple(mix.augmented() for mix in rows.mixes) or as_of_now,
        )

    as_of_now = tuple(mix.augmented() for mix in suite.mixes)
    datasets = settle("dataset", suite.datasets)
    whole = {canonical_json(one.identity) for one in datasets}
    baselines = settle("dataset", suite.baseline_datasets)
    resolved = ResolvedSuite(
        suite.model_copy(update={"mixes": as_of_now}),
        datasets=datasets,
        baseline_datasets=tuple(one for one in baselines if canonical_json(one.identity) not in whole),
        generators=settle("generator", (ComponentRef(use=BASELINE), *suite.generators)),
        filters=settle("filter", suite.filters),
        classifiers=settle("classifier", suite.classifiers),
        evaluators=settle("evaluator", (*suite.evaluators, ComponentRef(use=COPY_CHECK.name))),
        reference=settled("classifier", suite.reference),
        no_filter=settled("filter", ComponentRef(use=BASELINE)),
        rows=tuple(map(beside, suite.rows)),
    )
    if lacking:
        raise together(list(lacking.values()))
    _check_preset(suite.preset, resolved.components)
    return resolved


def _check_preset(preset: str, components: Iterable["Resolved"]) -> None:
    """Refuse a preset that none of a suite's components knows: every one would run with its defaults."""
    known = {name for component in components for name in component.config.presets}
    if preset not in {*STANDARD_PRESETS, *known}:
        raise UsageError(
            f"no component of this suite has a preset {preset!r}. "
            f"{did_you_mean(preset, {*STANDARD_PRESETS, *known})}",
            hint="genbench show KIND NAME   (lists the presets of one component)",
        )


def _names_preset(schema: type[ComponentConfig], bare: Any) -> bool:
    """Whether a bare value is a preset: `diffusemix:source-s1`, and `vit:source-s1`, which is no size."""
    clear = schema.primary is None or str(bare).startswith("source-")
    return clear and str(bare) in schema.presets


def _check_files(component: Resolved, image_problem: ImageProblem) -> None:
    """Let a component, and those among its options, look at their files before anything is planned."""
    with _its_own_mistakes(f"{component.kind} {component.name!r}"):
        component.config.check_files(image_problem)
    for _, inner in component.references.values():
        _check_files(inner, image_problem)


def resolve(
    registry: Registry,
    kind: Kind,
    reference: ComponentRef,
    preset: str,
    file_digest: FileDigest,
    recorded: Recorded | None = None,
) -> Resolved:
    """Settle every option of a component: defaults, then the preset, then what the user set.

    Args:
        registry: Where components are found.
        kind: Which kind.
        reference: The component and the options that the user set.
        preset: The suite's preset, for components that do not name their own.
        file_digest: How the files that the component reads are hashed.
        recorded: What records say of files that are gone; without it, that they are is an error.

    Raises:
        UsageError: The component, a preset or an option is unknown, or a value is out of bounds.
    """
    settle = partial(_resolve, registry, kind, reference, preset, file_digest, recorded)
    if reference.base is None:
        return settle()
    try:
        with contextlib.chdir(reference.base):  # options name their files in many ways, and all look here
            return settle()
    except GenbenchError:
        with contextlib.suppress(GenbenchError):
            return settle()  # results were moved without their data, and this is typed where those are
        raise


def _resolve(
    registry: Registry,
    kind: Kind,
    reference: ComponentRef,
    preset: str,
    file_digest: FileDigest,
    recorded: Recorded | None,
) -> Resolved:
    if kind == "generator":
        check_no_folder(registry, reference.use, reference.options.get(BARE))
    if kind == "dataset":
        check_no_photos(registry, reference.use)
    spec = registry.spec(kind, reference.use)
    schema = registry.schema(spec, kind)
    chosen = dict(reference.options)
    origin = f"{kind} {spec.name!r}"
    if _names_preset(schema, chosen.get(BARE)):
        chosen = {"preset": chosen.pop(BARE), **chosen}
    if BARE in chosen:
        if schema.primary is None:
            raise UsageError(
                f"{origin} takes no bare value, found {chosen[BARE]!r}: write OPTION=VALUE",
                hint=f"genbench show {kind} {spec.name}",
            )
        chosen = {schema.primary: chosen.pop(BARE), **chosen}
    named_preset = chosen.pop("preset", None)
    values = merged(_preset_values(schema, named_preset, preset, origin), chosen)
    config = _validated(schema, values, origin, hint=_hint(kind, spec.name, schema, values))
    if reference.base is not None:
        _hold_places(config)
    shown = {**chosen, **({"preset": named_preset} if named_preset else {})}
    inner = {option: getattr(config, option) for option, _ in reference_options(schema)}
    if reference.base is not None:
        inner = {name: one and one.beginning_in(reference.base) for name, one in inner.items()}
    references = {
        option: (step, resolve(registry, step.kind, inner[option], preset, file_digest, recorded))
        for option, step in reference_options(schema)
        if inner[option] is not None
    }
    for option, (_, part) in references.items():
        _check_draw(part, f"{origin}, option {option!r}")
    unread = Resolved(kind, spec, config, label_of(spec.name, shown), references)
    return _read(unread, origin, file_digest, recorded)


def _read(unread: Resolved, origin: str, file_digest: FileDigest, recorded: Recorded | None) -> Resolved:
    """Return a component with the fingerprint of its files; of gone ones, as it was recorded."""
    try:
        with _its_own_mistakes(origin):
            paths = unread.config.source_files()
        files = _digests(paths, file_digest)
    except DataError:
        if recorded is None or not (known := recorded(unread.identity)):
            raise
        return replace(unread, fingerprint=known)
    fingerprint = digest(files) if files else ""
    return replace(unread, fingerprint=fingerprint, paths=tuple(map(str, paths.values())))


def _check_draw(part: Resolved, origin: str) -> None:
    """Refuse a part that uses all its images: how many there are is asked of it by what it is a part of."""
    if isinstance(part.config, StockConfig) and part.config.draw == "whole":
        raise UsageError(
            f"{origin}: {part.label} uses all its images in every seed, whatever is asked of it, and other "
            "components ask for a number of each class",
            hint=f"leave out draw=whole here; alone, `--generator {part.name}:...,draw=whole` works",
        )


def _hold_places(config: ComponentConfig) -> None:
    """Spell out the paths among options while the folder where they begin is the current one."""
    for name in config.location_fields:
        value = getattr(config, name)
        if isinstance(value, Path):
            object.__setattr__(config, name, value.expanduser().absolute())
        elif isinstance(value, str) and value and Path(value).exists():  # else it may be a name on the Hub
            object.__setattr__(config, name, str(Path(value).absolute()))


def _digests(paths: Mapping[str, Path], file_digest: FileDigest) -> dict[str, str]:
    """Hash the files that a component reads.

    Raises:
        DataError: Some cannot be read; all of them are named.
    """
    found, unreadable = dict[str, str](), list[str]()
    for name, path in paths.items():
        try:
            found[name] = file_digest(path)
        except OSError as problem:
            unreadable.append(one_line(f"{path} cannot be read: {problem.strerror or problem}"))
    if unreadable:
        raise listed_problems("files cannot be read", unreadable, hint="ls -l FILE shows who may")
    return found


def _hint(kind: Kind, name: str, schema: type[ComponentConfig], values: Mapping[str, Any]) -> str:
    """Say what to type: the bare value where that is missing, else what shows the options."""
    field = schema.model_fields.get(schema.primary or "")
    if field is not None and field.is_required() and schema.primary not in values:
        return f"--{kind} {name}:{str(schema.primary).upper()}"
    return f"genbench show {kind} {name}"


def _validated(
    schema: type[ComponentConfig], values: Mapping[str, Any], origin: str, hint: str
) -> ComponentConfig:
    """Validate options; what is wrong with them is said in the user's words."""
    try:
        with _its_own_mistakes(origin):
            return schema.model_validate(values)
    except ValidationError as problem:
        raise UsageError(explain(problem, origin, schema), hint=hint) from None


@contextlib.contextmanager
def _its_own_mistakes(origin: str) -> Iterator[None]:
    """Name the component whose options raise what is neither a finding nor an error of genbench's own."""
    try:
        yield
    except (GenbenchError, ValidationError):
        raise
    except (Exception, SystemExit) as problem:
        said = exception_text(problem)
        raise PluginError(f"{origin}: its options raise {said}") from problem


def _preset_values(
    schema: type[ComponentConfig], named: str | None, default: str, origin: str
) -> Mapping[str, Any]:
    """Return a preset's values over nested defaults. A named one must exist; the suite's may mean defaults.

    Nested defaults are spelled out, so that a user who sets one entry of a recipe keeps the others.
    """
    preset = named or default
    nested = {
        name: entry.default.model_dump()
        for name, entry in schema.model_fields.items()
        if isinstance(entry.default, BaseModel) and not isinstance(entry.default, ComponentRef)
    }
    if preset in schema.presets:
        return merged(nested, schema.presets[preset])
    if preset in STANDARD_PRESETS or not named:
        return nested
    raise UsageError(f"{origin} has no preset {preset!r}. {did_you_mean(preset, schema.presets)}")
