"""The `genbench` program: one file per command, which parses, calls one function, and prints.

`genbench --help` imports click and nothing else: the commands' one-liners stand here.
"""

import contextlib
import errno
import importlib
import io
import os
import sys
from typing import NoReturn

import click

from genbench import __version__, interrupts
from genbench.cli._logs import active, standard_error
from genbench.errors import ExitCode, GenbenchError, Interrupted, OutputError, UsageError, did_you_mean

#: Every command and its one-liner, in the order of a first visit.
COMMANDS = {
    "run": "Run a suite, or the cells that options name, and print the leaderboard.",
    "submit": "Hand a run to a SLURM cluster, and return at once.",
    "status": "Show how many steps of a run wait, run, are done and failed, and why.",
    "cancel": "Stop a run: its steps save their work, its jobs leave the queue.",
    "runs": "List runs, the newest first: when, what, how much of it, and what came out.",
    "plan": "Show the cells and steps of a run, what is cached, and what it would cost.",
    "replay": "Run a source's experiment: what it reported, replayed, and controlled.",
    "tune": "Search a classifier's recipe on the val split, and print the line for a suite.",
    "list": "List datasets, generators, filters, classifiers, evaluators or suites.",
    "show": "Show one component or suite: what it does, its options, presets and paper.",
    "leaderboard": "Render records as text, Markdown, an HTML page, LaTeX, CSV or JSON.",
    "report": "Write one page of HTML about a run: its steps, rows, curves, images, failures.",
    "compare": "Say what differs between two runs or boards: first in configuration, then in outcome.",
    "preview": "Draw synthetic images, a row per class: of a cell, a row, a record, or a whole run.",
    "export-images": "Write the synthetic images of a cell or row, with their manifest and a data card.",
    "why": "Explain the identity of a cell, and what differs from the nearest result.",
    "retry": "Forget failures, so that the next run tries those steps again.",
    "store": "List, verify and clean up stored results.",
    "plugins": "Show every plugin, its state, and why one did not load.",
    "plugin": "Check a plugin against the contract, or write a new one.",
    "doctor": "Say what is reachable: device, mirror, cache, plugins, versions.",
    "docs": "Print a page of the documentation, as it came with this version.",
    "completion": "Print what makes a shell complete commands and options.",
    "version": "Print the version.",
}
_EPILOG = (
    "Exit codes: 0 all cells done; 1 some cells failed; 2 wrong name, option or suite; 3 unusable data; "
    "4 the store is damaged, or it or an output cannot be written; 5 a submission contradicts itself; "
    "130 interrupted "
    "(143 by SIGTERM, 129 by SIGHUP; the same command resumes)."
)
#: Why the output of a program cannot be written, if that is not the program's fault.
_ENVIRONMENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EBADF})


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one is near."""
        found = self.get_command(ctx, args[0]) if args and not args[0].startswith("-") else None
        if found is None and args and not args[0].startswith("-"):
            raise UsageError(
                f"no command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}", hint="genbench --help"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the one-liners without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="genbench", message="%(version)s")
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
    with interrupts.heeded(), standard_error(sys.argv[1:]):
        code = _outcome()
        interrupts.leave()
        sys.exit(code)


def _outcome() -> int:
    """Run the program and return its exit code, once everything that it has to say is out."""
    try:
        code = _called()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left, as `head` does
        _close_output()
        return ExitCode.OK
    except OSError as problem:
        if problem.errno not in _ENVIRONMENT:
            raise
        _close_output()
        what = problem.filename or "the output"
        hint = "make room there, or write it elsewhere"
        _say(OutputError(f"cannot write {what}: {problem.strerror}", hint=hint))
        return ExitCode.STORE
    return code


def _called() -> int:
    """Call the command that was asked for and return its exit code."""
    code: int = ExitCode.OK
    try:
        program.main(standalone_mode=False)
    except GenbenchError as problem:
        _say(problem)
        code = interrupts.exit_code() if isinstance(problem, Interrupted) else problem.exit_code
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.ClickException as problem:
        said, hint = io.StringIO(), ""
        problem.show(said)
        if isinstance(problem, click.UsageError) and problem.ctx is not None:
            hint = f"{problem.ctx.command_path} --help"
        _say(UsageError(problem.format_message(), hint=hint), said.getvalue().rstrip("\n"))
        code = ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        _say(Interrupted("interrupted"), "interrupted")
        code = interrupts.exit_code()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return code


def _say(problem: GenbenchError, message: str = "") -> None:
    """Say why the program ends; it may quote names and values from files of others.

    Args:
        problem: What a log says of it.
        message: What is printed elsewhere, if that is not the problem's own text.
    """
    log = active()
    if log is not None:
        log.fails(type(problem).__name__, problem.message, problem.hint)
        return
    message = message or f"Error: {problem}"
    from genbench.cli._output import echo  # here: `genbench --help` needs neither
    from genbench.escaping import LONGEST_MESSAGE
    from genbench.terminal import as_wide

    if sys.stderr.isatty():
        message = as_wide(message)
    with contextlib.suppress(OSError):  # where errors go may be full, too
        echo(message, err=True, most=LONGEST_MESSAGE)


def _close_output() -> None:
    """Let nothing more be written to the standard output, where what is left would fail again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
