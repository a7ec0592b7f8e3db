"""`genbench tune`."""

import json
import shlex
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from genbench.cli._options import (
    device_option,
    jobs_option,
    log_format_option,
    make_registry,
    make_store,
    plugin_options,
    read_suite,
    store_option,
)
from genbench.cli._output import echo, warn
from genbench.devices import choose_workers
from genbench.errors import ExitCode

if TYPE_CHECKING:
    from genbench.executors import Event
    from genbench.plan import Step
    from genbench.runner import Observer
    from genbench.suite import Suite
    from genbench.tune import Search, Trial


@click.command("tune")
@click.option(
    "-c", "--classifier", required=True, metavar="NAME[:...]", help="Classifier whose recipe is searched."
)
@click.option(
    "-d",
    "--dataset",
    default="digits",
    show_default=True,
    metavar="NAME[:...]",
    help="Dataset; its val split scores the trials.",
)
@click.option(
    "--search",
    "wanted",
    multiple=True,
    metavar="OPTION[=LOW..HIGH|=A|B]",
    help="An option to search, and its range or choices [default: learning_rate and weight_decay, a factor "
    "of ten around the recipe's].",
)
@click.option(
    "--trials", type=click.IntRange(1), default=20, show_default=True, help="Recipes to try, in all."
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Seeds that score each recipe."
)
@click.option(
    "--base-seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Base of all seeds; differs from the suites' 0, so that no suite seed takes part in the choice.",
)
@click.option("--preset", help="Preset that the search starts from [default: quick].")
@click.option(
    "--augment", default="standard", show_default=True, help="On-the-fly augmentation, as in a mix."
)
@click.option("--limit-train", type=int, help="Use only this many training images.")
@jobs_option
@device_option
@log_format_option
@store_option
@plugin_options
def command(**options: Any) -> None:
    """Search a classifier's recipe on the val split, and print the line for a suite.

    Trials are cells of real images alone; test chooses nothing. After Ctrl-C, or with more --trials, the
    same command resumes: finished trials are read from the store.

    \b
    genbench tune -c resnet32
    genbench tune -d cifar10 -c resnet32:recipe.epochs=20 --search learning_rate=0.01..1 \\
                  --search 'optimizer=sgd|adam' --search schedule --trials 40
    """
    from genbench.tune import best_of, tune

    search = _make_search(options)
    echo(f"searching {', '.join(map(str, search.dimensions))}; {options['trials']} trials", err=True)
    trials = []
    for trial in tune(search, _make_observer()):
        trials.append(trial)
        echo(_line(trial))
    best = best_of(trials)
    if best is None:
        echo(f"all {len(trials)} trials failed; logs are in {search.store.root}/logs", err=True)
        sys.exit(ExitCode.CELLS_FAILED)
    _conclude(search.suite, best, search.earlier_trials + len(trials), options["dataset"])


def _make_search(options: dict[str, Any]) -> "Search":
    """Settle what is searched; a wrong name is an error before anything runs."""
    from genbench.spec import resolve_suite
    from genbench.tune import Search, make_dimensions
    from genbench.worker import RunOptions

    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    suite = _make_suite(options)
    classifier = resolve_suite(registry, suite, store.fingerprint).classifiers[0]
    workers = choose_workers(options["device"], options["jobs"], warn)
    return Search(
        suite,
        make_dimensions(classifier, options["wanted"]),
        options["trials"],
        registry,
        store,
        RunOptions(**workers._asdict(), command="genbench tune", keep_records=False),
    )


def _make_suite(options: dict[str, Any]) -> "Suite":
    flags = {name: options[name] for name in ("preset", "seeds", "base_seed", "limit_train")}
    named = {"datasets": (options["dataset"],), "classifiers": (options["classifier"],)}
    return read_suite(
        None, {**flags, **named, "augments": (options["augment"],), "evaluators": ("accuracy",)}
    )


def _make_observer() -> "Observer":
    """Say now and then how far a long step is; the same remark is made once, not with every trial."""
    from genbench.cli._json_progress import JsonProgress
    from genbench.cli._logs import active
    from genbench.cli._progress import Lines
    from genbench.runner import Observer

    log = active()
    if log is not None:
        return JsonProgress(log).observer
    lines = Lines()

    def take(step: "Step", event: "Event") -> None:
        if event.status == "progress":
            lines.event(step, event)

    return Observer(event=take, notice=cache(lines.notice))


def _line(trial: "Trial") -> str:
    values = ", ".join(f"{name}={value}" for name, value in trial.values.items())
    score = f"val top-1 {trial.score:6.2f} %" if trial.score is not None else f"failed ({trial.reason})"
    return f"trial {trial.number:3}  {score}  {values}"


def _conclude(suite: "Suite", best: "Trial", trials: int, dataset: str) -> None:
    """Print the best recipe as a suite and as a command line take it."""
    from genbench.tune import reference_line

    line = reference_line(suite, best.values, trials)
    echo(f"\nbest: trial {best.number}, val top-1 {best.score:.2f} %. In a suite, or on a command line:")
    echo(f"  classifiers = [{json.dumps(line)}]")
    echo(f"  {shlex.join(['genbench', 'run', '--dataset', dataset, '--classifier', line])}")
