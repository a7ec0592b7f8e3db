"""Options that several commands share, and the suite that they describe."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from genbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from genbench.plan import Plan
    from genbench.registry import Registry
    from genbench.spec import Suite
    from genbench.store import Store

Command = Callable[..., Any]
AUGMENTS = (
    *("off", "standard", "strong", "colour", "shear_zoom"),
    *("randaugment", "trivialaugment", "augmix", "mixup", "cutmix"),
)


def store_option(command: Command) -> Command:
    """Add `--store`."""
    return click.option(
        "--store",
        "store_folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of stored results [default: $GENBENCH_STORE, else ~/.cache/genbench].",
    )(command)


def device_option(command: Command) -> Command:
    """Add `--device`."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where networks run.",
    )(command)


def timeout_option(command: Command) -> Command:
    """Add `--step-timeout`."""
    return click.option(
        "--step-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Fail a step that takes longer.",
    )(command)


def plugin_options(command: Command) -> Command:
    """Add `--plugin` and `--no-plugins`."""
    command = click.option("--no-plugins", is_flag=True, help="Load built-in components only.")(command)
    return click.option(
        "--plugin",
        "plugin_files",
        multiple=True,
        metavar="FILE",
        help="Load a single-file plugin; may be repeated.",
    )(command)


def suite_options(command: Command) -> Command:
    """Add the argument SUITE and the options that name cells."""
    for option in reversed(_SUITE_OPTIONS):
        command = option(command)
    return click.argument("suite", required=False)(command)


_SUITE_OPTIONS = [
    click.option(
        "-d",
        "--dataset",
        "datasets",
        multiple=True,
        metavar="NAME[:OPTION=VALUE,...]",
        help="Dataset [default: digits].",
    ),
    click.option(
        "-g",
        "--generator",
        "generators",
        multiple=True,
        metavar="NAME[:...]",
        help="Generator; `none` is always added.",
    ),
    click.option(
        "-f",
        "--filter",
        "filters",
        multiple=True,
        metavar="NAME[:...]",
        help="Filter of synthetic images [default: none].",
    ),
    click.option(
        "-c", "--classifier", "classifiers", multiple=True, metavar="NAME[:...]", help="Classifier."
    ),
    click.option(
        "-e",
        "--evaluator",
        "evaluators",
        multiple=True,
        metavar="NAME[:...]",
        help="Evaluator [default: accuracy, fid, mmd].",
    ),
    click.option(
        "--ratio", "ratios", type=float, multiple=True, help="Synthetic images per real one [default: 1]."
    ),
    click.option(
        "--mode",
        "modes",
        type=click.Choice(["append", "replace", "synthetic-only"]),
        multiple=True,
        help="How synthetic images enter [default: append].",
    ),
    click.option(
        "--augment",
        "augments",
        type=click.Choice(AUGMENTS),
        multiple=True,
        help="On-the-fly augmentation of all arms [default: standard].",
    ),
    click.option(
        "--budget",
        type=click.Choice(["steps", "epochs"]),
        help="Equal optimizer steps in all arms, or equal epochs [default: steps].",
    ),
    click.option(
        "--budget-scale",
        "budget_scales",
        type=float,
        multiple=True,
        help="Factor on every arm's budget [default: 1].",
    ),
    click.option("--batch-fraction", type=float, help="Fix the synthetic share of every batch."),
    click.option("--preset", help="smoke (seconds), quick (minutes, CPU) or paper (GPU) [default: quick]."),
    click.option("--seeds", type=int, help="Number of paired seeds [default: 5]."),
    click.option(
        "--choosing-seeds",
        type=int,
        help="Let the first seeds choose one configuration per generator on val; the others confirm it "
        "[default: 0, every configuration counts].",
    ),
    click.option(
        "--looks",
        type=int,
        multiple=True,
        metavar="SEEDS",
        help="Plan to read test after so many seeds, before all are there; may be repeated.",
    ),
    click.option("--look", type=int, metavar="SEEDS", help="Run as far as this planned look."),
    click.option("--base-seed", type=int, help="Base of all seeds [default: 0]."),
    click.option("--limit-train", type=int, help="Use only this many training images of every dataset."),
    click.option(
        "--reference",
        metavar="NAME[:...]",
        help="Architecture of the frozen reference classifier [default: cnn].",
    ),
]


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


def make_store(folder: Path | None) -> "Store":
    """Open the store that the options name."""
    from genbench.store import Store, default_root

    return Store((folder or default_root()).expanduser().resolve())


def make_plan_of(registry: "Registry", store: "Store", suite: "Suite") -> "Plan":
    """Settle a suite's components and expand it."""
    from genbench.planner import make_plan
    from genbench.spec import resolve_suite

    resolved = resolve_suite(registry, suite, store.fingerprint)
    store.fingerprints.keep()
    return make_plan(resolved)


class Planned(NamedTuple):
    """What commands about a run start from."""

    registry: "Registry"
    store: "Store"
    plan: "Plan"


def planned(options: Mapping[str, Any]) -> Planned:
    """Load plugins, open the store and expand the suite that a command's options name."""
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    return Planned(registry, store, make_plan_of(registry, store, read_suite(options["suite"], options)))


def read_suite(suite: str | None, flags: Mapping[str, Any]) -> "Suite":
    """Build a suite from a file or a ready suite's name; flags override its entries."""
    from genbench.spec import COMMAND_LINE, load_suite, make_suite

    content = load_suite(suite_path(suite)).model_dump(mode="json") if suite else {}
    said = {name: value for name, value in flags.items() if value not in ((), None)}
    mixes = _mixes(said)
    content |= {name: said[name] for name in _WHOLE_ENTRIES if name in said}
    if mixes:
        content["mixes"] = mixes
    if "classifiers" not in content:
        raise UsageError(
            "name at least one classifier, or a suite",
            hint="genbench run --generator ddpm --classifier resnet32   (genbench list classifiers)",
        )
    if "name" in said:
        content["name"] = said["name"]
    made = make_suite({"name": _name(content), **content}, origin=COMMAND_LINE)
    return _limited(made, said["limit_train"]) if "limit_train" in said else made


def suite_path(suite: str) -> Path:
    """Return the file of a suite: a path, the folder of a run, or the name of a ready one."""
    if os.path.isfile(suite):  # which takes any text, however long
        return Path(suite)
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
    return sorted((Path(__file__).parent.parent / "suites").glob("*.toml"))


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
    from genbench.spec import MOST_MIXES

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


def _limited(suite: "Suite", limit: int) -> "Suite":
    """Apply `--limit-train` to every dataset."""
    datasets = tuple(
        entry.model_copy(update={"options": {**entry.options, "limit_train": limit}})
        for entry in suite.datasets
    )
    return suite.model_copy(update={"datasets": datasets})


def _name(content: Mapping[str, Any]) -> str:
    """Name a run after what it runs: `digits-ddpm-resnet32`."""
    from genbench.spec import as_suite_name

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
