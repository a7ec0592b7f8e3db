"""Save the records of the cells that a stopped `genbench run` finished: takes the arguments of that run."""

import shlex
import sys

from genbench.cli.run_command import command
from genbench.compose import Composer
from genbench.request import make_plan_of, make_registry, make_store, read_suite


def main() -> None:
    """Compose and save them."""
    options = command.make_context("run", sys.argv[1:]).params
    registry = make_registry(options["plugin_files"], options["no_plugins"])
    store = make_store(options["store_folder"])
    plan = make_plan_of(registry, store, read_suite(options["suite"], options))
    composer = Composer(plan, store, shlex.join(["genbench", "run", *sys.argv[1:]]))
    done = [key for key in plan.records if composer.record(key) is not None]  # a composed record is saved
    print(f"{len(done)} of {len(plan.records)} records are saved")


if __name__ == "__main__":
    main()
