"""The `genbench` program: one file per command, which parses, calls one function, and prints.

`genbench --help` imports click and nothing else: the commands' one-liners stand here.
"""

import importlib
import io
import sys
from typing import NoReturn

import click

from genbench.errors import ExitCode, GenbenchError

#: Every command and its one-liner, in the order of a first visit.
COMMANDS = {
    "run": "Run a suite, or the cells that options name, and print the leaderboard.",
    "plan": "Show the cells and steps of a run, what is cached, and what it would cost.",
    "tune": "Search a classifier's recipe on the val split, and print the line for a suite.",
    "list": "List datasets, generators, filters, classifiers, evaluators or suites.",
    "show": "Show one component: what it does, its options, presets and paper.",
    "leaderboard": "Render records as markdown, text, CSV or JSON.",
    "preview": "Draw the synthetic images of a cell: a row per class.",
    "export-images": "Write the synthetic images of a cell, with their manifest and a data card.",
    "why": "Explain the identity of a cell, and what differs from the nearest result.",
    "retry": "Forget failures, so that the next run tries those steps again.",
    "store": "List, verify and clean up stored results.",
    "plugins": "Show every plugin, its state, and why one did not load.",
    "plugin": "Check a plugin against the contract.",
    "doctor": "Say what is reachable: device, mirror, cache, plugins, versions.",
    "version": "Print the version.",
}
_EPILOG = (
    "Exit codes: 0 all cells done; 1 some cells failed; 2 wrong name, option or suite; 3 unusable data; "
    "4 store full or read-only; 130 interrupted (the same command resumes)."
)


class LazyGroup(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a built-in command, or look for one among the plugins."""
        if cmd_name in COMMANDS:
            module = cmd_name.replace("-", "_")
            command: click.Command = importlib.import_module(f"genbench.cli.{module}_command").command
            return command
        from genbench.registry import Registry

        return next((command for command in Registry().commands() if command.name == cmd_name), None)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the one-liners without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def program() -> None:
    """Does training on generated images make an image classifier better, where, and at what cost?

    \b
    First steps:
      genbench run --generator ddpm --classifier resnet32
      genbench list generators
      genbench show generator ddpm
    """


def main() -> NoReturn:
    """Run the program; errors that the user can mend are printed without a traceback."""
    try:
        program.main(standalone_mode=False)
    except GenbenchError as problem:
        _say(f"Error: {problem}")
        sys.exit(problem.exit_code)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except click.ClickException as problem:
        said = io.StringIO()
        problem.show(said)
        _say(said.getvalue().rstrip("\n"))
        sys.exit(ExitCode.USAGE)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    sys.exit(ExitCode.OK)


def _say(message: str) -> None:
    """Print a message; it may quote names and values from files of others."""
    from genbench.cli._output import echo  # here: `genbench --help` needs neither
    from genbench.escaping import LONGEST_MESSAGE

    echo(message, err=True, most=LONGEST_MESSAGE)
