"""What is asked for, in the words of the command line: options become plugins, store, suite and plan.

The program and the Python interface both start here. Nothing heavy is imported before it is called.
"""

import math
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genbench.errors import UsageError, did_you_mean

#: Files that a run leaves in its folder, besides its suite: each stands for the run.
OF_A_RUN = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "pictures.md", "report.html", "run.json")

if TYPE_CHECKING:
    from genbench.options import ComponentRef
    from genbench.plan import Plan
    from genbench.registry import Registry
    from genbench.spec import Recorded, ResolvedSuite
    from genbench.store import Store
    from genbench.suite import Suite


def make_registry(plugin_files: tuple[str, ...], no_plugins: bool, *, lenient: bool = False) -> "Registry":
    """Load the plugins that the options name.

    Args:
        plugin_files: Single-file plugins, by path.
        no_plugins: Whether those of other distributions stay out.
        lenient: Whether the command itself says which plugins did not load.

    Raises:
        UsageError: A plugin that was named by its file did not load.
    """
    from genbench.registry import PluginSource, Registry
    from genbench.registry import plugin_files as absolute

    registry = Registry(PluginSource(files=absolute(plugin_files), third_party=not no_plugins))
    if not lenient:
        registry.check_files()
    return registry


def shell_line(words: Sequence[str]) -> str:
    """Return the line of a shell that repeats a call: its words, after the mirror that it read."""
    from genbench.hub import MIRROR_VARIABLE

    line, mirror = shlex.join(words), os.environ.get(MIRROR_VARIABLE)
    return f"{MIRROR_VARIABLE}={shlex.quote(mirror)} {line}" if mirror else line


def make_store(place: str | Path | None) -> "Store":
    """Open the store that the options name: a folder, or the address of a bucket, which must be there."""
    from genbench.addresses import default_address, is_address, open_store

    named = place or default_address()
    if is_address(str(named)):
        return open_store(str(named), check=True)
    return open_store(Path(named).expanduser().resolve())


class Settled(NamedTuple):
    """What is run.

    Attributes:
        plan: The cells and steps.
        suite: The suite that they follow from.
        changes: What it has else than was asked for, in sentences.
    """

    plan: "Plan"
    suite: "Suite"
    changes: tuple[str, ...] = ()


def make_plan_of(
    registry: "Registry", store: "Store", suite: "Suite", recorded: "Recorded | None" = None
) -> "Plan":
    """Settle a suite's components and expand it; `recorded` as in `genbench.spec.resolve_suite`."""
    return settled(registry, store, suite, recorded).plan


def settled(
    registry: "Registry", store: "Store", suite: "Suite", recorded: "Recorded | None" = None
) -> Settled:
    """Settle a suite's components, with batches that its training sets fill, and expand it."""
    from genbench.planner import make_plan
    from genbench.spec import resolve_suite

    try:
        resolved = resolve_suite(registry, suite, store.fingerprint, store.image_problem, recorded)
        suite, changes = with_smaller_batches(resolved, suite, registry, store)
        if changes:
            resolved = resolve_suite(registry, suite, store.fingerprint, store.image_problem, recorded)
    finally:
        store.fingerprints.keep()  # what was read once need not be read again to find the next mistake
    return Settled(make_plan(resolved), suite, changes)


def with_smaller_batches(
    resolved: "ResolvedSuite", suite: "Suite", registry: "Registry", store: "Store"
) -> "tuple[Suite, tuple[str, ...]]":
    """Return a suite whose batches its smallest training set fills, and what was changed for that.

    All arms, the baseline among them, have the smaller batch, and so does every record. A batch that somebody
    typed stays as it is. Nothing is changed where there are several datasets, or where it is not known how
    many images there are: the dataset was never loaded, and does not declare it.
    """
    real = _train_images(resolved, store) if len(resolved.datasets) == 1 else None
    if not real:
        return suite, ()
    mixes = [mix for rows in resolved.products for mix in rows.mixes]
    alone = [round(mix.ratio * real) for mix in mixes if mix.mode == "synthetic-only"]
    smaller = partial(_with_smaller_batch, registry, store, suite.preset)
    found = [smaller(one, min([real, *alone])) for one in suite.classifiers]
    found.append(smaller(suite.reference, real))
    changes = tuple(dict.fromkeys(said for _, said in found if said))
    if not changes:
        return suite, ()
    *classifiers, reference = (one for one, _ in found)
    return suite.model_copy(update={"classifiers": tuple(classifiers), "reference": reference}), changes


def _train_images(resolved: "ResolvedSuite", store: "Store") -> int | None:
    """Return how many real training images there are, where that is known."""
    from genbench.artifacts import read_card
    from genbench.digest import digest
    from genbench.documents import DatasetDocument
    from genbench.protocols import DatasetConfig

    (dataset,) = resolved.datasets
    artifact = store.open(digest(DatasetDocument(component=dataset.identity).content()))
    if artifact is not None:
        return int(read_card(artifact)["splits"]["train"])
    known = dataset.config.declared_splits() if isinstance(dataset.config, DatasetConfig) else None
    return known["train"] if known else None


def _with_smaller_batch(
    registry: "Registry", store: "Store", preset: str, classifier: "ComponentRef", images: int
) -> "tuple[ComponentRef, str]":
    """Return a classifier whose batch `images` fill, and what was changed, if anything was."""
    from genbench.protocols import ClassifierConfig
    from genbench.spec import resolve

    config = resolve(registry, "classifier", classifier, preset, store.fingerprint).config
    typed = dict(classifier.options.get("recipe") or {})
    if not isinstance(config, ClassifierConfig) or not config.recipe.epochs or "batch_size_images" in typed:
        return classifier, ""
    size, fits = config.recipe.batch_size_images, 2 ** (max(images, 1).bit_length() - 1)
    if size <= images:
        return classifier, ""
    options = {**classifier.options, "recipe": {**typed, "batch_size_images": fits}}
    said = (
        f"{images} training images do not fill a batch of {size}: {classifier.use} is trained in batches of "
        f"{fits}, in all arms alike (as if {classifier.use}:recipe.batch_size_images={fits} had been typed)"
    )
    return classifier.model_copy(update={"options": options}), said


def read_suite(suite: str | Mapping[str, Any] | None, flags: Mapping[str, Any], origin: str = "") -> "Suite":
    """Build a suite from a file, a ready suite's name, or its entries; flags override them.

    Args:
        suite: File, name or entries; None is no suite.
        flags: What was asked for, by the names of `genbench run`'s parameters.
        origin: How messages call what was typed; by default as the flags of the command line.
    """
    from genbench.explain import COMMAND_LINE
    from genbench.notation import paths_begin_in
    from genbench.suite import DEFAULT_DATASET, load_suite, make_suite

    base = None
    if isinstance(suite, str):
        file = suite_path(suite)
        content, base = load_suite(file).model_dump(mode="json"), paths_begin_in(file)
    else:
        content = dict(suite or {})
    said = {name: value for name, value in flags.items() if value not in ((), None)}
    mixes = _mixes(said)
    if "datasets" in said:  # what is typed replaces those with real images alone, too
        content.pop("baseline_datasets", None)
    if "generators" in said:  # and the rows that a suite has beside its generators
        content.pop("rows", None)
    content |= {name: said[name] for name in _WHOLE_ENTRIES if name in said}
    if "limit_train" in said:  # who says how many images there are to be means all of the digits otherwise
        content.setdefault("datasets", (DEFAULT_DATASET,))
    if mixes:
        content["mixes"] = mixes
    if "classifiers" not in content:
        raise UsageError(
            "name at least one classifier, or a suite",
            hint="genbench run --generator ddpm --classifier resnet32   (genbench list classifiers)",
        )
    if "name" in said:
        content["name"] = said["name"]
    made = make_suite({"name": _name(content), **content}, origin=origin or COMMAND_LINE)
    if base is not None:
        made = with_paths_in(made, base, without=said)
    return _limited(made, {name: said[name] for name in ("limit_train", "limit_test") if name in said})


def with_paths_in(suite: "Suite", base: Path, without: Collection[str] = ()) -> "Suite":
    """Return a suite whose relative paths begin in a folder.

    Args:
        suite: The suite.
        base: The folder.
        without: Entries that were typed just now: their paths begin in the current folder.
    """
    lists = ("datasets", "baseline_datasets", "generators", "filters", "classifiers", "evaluators")
    moved: dict[str, Any] = {
        name: tuple(one.beginning_in(base) for one in getattr(suite, name))
        for name in lists
        if name not in without
    }
    if "generators" not in without:
        moved["rows"] = tuple(one.beginning_in(base) for one in suite.rows)
    if "reference" not in without:
        moved["reference"] = suite.reference.beginning_in(base)
    return suite.model_copy(update=moved)


def suite_path(suite: str) -> Path:
    """Return the file of a suite: a path, a run's folder or a file in it, or the name of a ready one."""
    if os.path.isfile(suite):  # which takes any text, however long
        file = Path(suite)
        beside = file.with_name("suite.toml")
        return beside if file.name in OF_A_RUN and beside.is_file() else file
    if os.path.isfile(os.path.join(suite, "suite.toml")):
        return Path(suite, "suite.toml")
    ready = {path.stem: path for path in ready_suites()}
    if suite in ready:
        return ready[suite]
    raise UsageError(
        f"no suite {suite!r}: neither a file nor a ready suite. {did_you_mean(suite, ready)}",
        hint="genbench list suites",
    )


def ready_suites() -> list[Path]:
    """Return the suites that come with genbench."""
    return sorted((Path(__file__).parent / "suites").glob("*.toml"))


_WHOLE_ENTRIES = (
    "datasets",
    "generators",
    "filters",
    "classifiers",
    "evaluators",
    "preset",
    "seeds",
    "choosing_seeds",
    "looks",
    "look",
    "base_seed",
    "reference",
)


def _mixes(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cross-product of the mix options, or nothing if none was given."""
    names = ("ratios", "modes", "augments", "budget", "budget_scales", "batch_fraction")
    if not any(name in said for name in names):
        return []
    from genbench.suite import MOST_MIXES

    fixed = {name: said[name] for name in ("budget", "batch_fraction") if name in said}
    lists = ("ratios", "modes", "augments", "budget_scales")
    count = math.prod(len(said.get(name, (None,))) for name in lists)
    if count > MOST_MIXES:  # before they are made: every option may be given thousands of times
        raise UsageError(f"the options name {count:,} mixes: at most {MOST_MIXES:,} are planned at once")
    return [
        {**fixed, "ratio": ratio, "mode": mode, "augment": augment, "budget_scale": scale}
        for ratio in said.get("ratios", (1.0,))
        for mode in said.get("modes", ("append",))
        for augment in said.get("augments", ("standard",))
        for scale in said.get("budget_scales", (1.0,))
    ]


def _limited(suite: "Suite", limits: Mapping[str, int]) -> "Suite":
    """Apply `--limit-train` and `--limit-test` to every dataset."""

    def limited(entries: "tuple[ComponentRef, ...]") -> "tuple[ComponentRef, ...]":
        return tuple(one.model_copy(update={"options": {**one.options, **limits}}) for one in entries)

    return suite.model_copy(
        update={
            "datasets": limited(suite.datasets),
            "baseline_datasets": limited(suite.baseline_datasets),
        }
    )


def _name(content: Mapping[str, Any]) -> str:
    """Name a run after what it runs: `digits-ddpm-resnet32`."""
    from genbench.notation import as_suite_name

    parts = [
        content.get("datasets", ("digits",)),
        content.get("generators", ("none",)),
        content["classifiers"],
    ]
    words = [_word(item) for part in parts for item in part]
    return as_suite_name("-".join(words))


def _word(item: Any) -> str:
    """Name a component: `ddpm`, and with the bare value that it was given, `imagefolder-photos`."""
    if not isinstance(item, str):
        return str(item["use"])
    name, _, rest = item.partition(":")
    bare = rest.partition(",")[0]
    last = "" if "=" in bare else bare.rstrip("/").rpartition("/")[2]
    return f"{name}-{last}" if last else name
