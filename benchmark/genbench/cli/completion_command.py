"""`genbench completion`."""

import click

from genbench.cli._output import echo

_WHERE = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/genbench.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_WHERE)))
def command(shell: str) -> None:
    """Print what makes a shell complete commands and options, for its start-up file.

    \b
    genbench completion bash >> ~/.bashrc
    genbench completion zsh >> ~/.zshrc
    genbench completion fish > ~/.config/fish/completions/genbench.fish
    """
    from click.shell_completion import get_completion_class

    from genbench.cli import program

    kind = get_completion_class(shell)
    assert kind is not None  # click knows these three
    # The text itself, not a line that calls genbench: a shell that starts should not start Python.
    echo(kind(program, {}, "genbench", "_GENBENCH_COMPLETE").source())
    echo(f"# for {_WHERE[shell]}; open a new shell, or source it")
