"""Options that several commands share, and the suite that they describe."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from genbench.cli._durations import TrainingBudget
from genbench.request import make_plan_of, make_registry, make_store, read_suite, ready_suites, suite_path

if TYPE_CHECKING:
    from genbench.plan import Plan
    from genbench.registry import Registry
    from genbench.store import Store
    from genbench.suite import Suite

__all__ = ["make_plan_of", "make_registry", "make_store", "read_suite", "ready_suites", "suite_path"]

Command = Callable[..., Any]
AUGMENTS = (
    *("off", "standard", "strong", "colour", "shear_zoom"),
    *("randaugment", "trivialaugment", "augmix", "mixup", "cutmix"),
)


class StorePlace(click.Path):
    """A folder, or the address of a store in a bucket, which stays a text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path or an address."""
        if "://" in str(value):  # `genbench.addresses` says what is no address
            return str(value)
        return super().convert(value, param, ctx)


def store_option(command: Command) -> Command:
    """Add `--store`."""
    return click.option(
        "--store",
        "store_folder",
        type=StorePlace(file_okay=False, path_type=Path),
        metavar="DIR|URL",
        help="Stored results: a folder, or s3://BUCKET/PREFIX [default: $GENBENCH_STORE, else "
        "~/.cache/genbench].",
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


def jobs_option(command: Command) -> Command:
    """Add `--jobs`."""
    return click.option(
        "-j",
        "--jobs",
        type=click.IntRange(min=0),
        help="Worker processes; 0 runs in this process [default: cores, or the number of GPUs; on a cluster, "
        "what its executor names].",
    )(command)


def records_option(command: Command) -> Command:
    """Add `--records`."""
    return click.option(
        "--records",
        "adopted",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        metavar="PATH",
        help="Records of an earlier run, or folders of them: what they tell of this run's evaluations is not "
        "measured again, whatever became of that run's store. Repeatable.",
    )(command)


def timeout_option(command: Command) -> Command:
    """Add `--step-timeout`."""
    return click.option(
        "--step-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Fail a step that takes longer.",
    )(command)


def log_format_option(command: Command) -> Command:
    """Add `--log-format`; `genbench.cli._logs` reads it before a command line is parsed."""
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        expose_value=False,
        help="Standard error as text, or as a JSON object per line and event (`genbench docs logs`).",
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
        help="Dataset [default: digits:few with the preset quick, else digits].",
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
        type=TrainingBudget(["steps", "epochs"]),
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
        "--limit-test",
        type=int,
        help="Use at most this many test images of every dataset, and of every shift.",
    ),
    click.option(
        "--reference",
        metavar="NAME[:...]",
        help="Architecture of the frozen reference classifier [default: cnn].",
    ),
]


def on_the_dataset(options: Mapping[str, Any], suite: "Suite") -> str:
    """Say which dataset is taken where none was named; nothing where somebody chose it."""
    from genbench.suite import FEW_IMAGES

    (first, *_), chosen = suite.datasets, options["datasets"] or options["suite"]
    if chosen or first.options.get("preset") != FEW_IMAGES:
        return ""
    return (
        f"no dataset was named: {first.use}:{FEW_IMAGES} trains on so few images that there is something to "
        f"gain (-d {first.use} takes all; genbench list datasets)"
    )


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
