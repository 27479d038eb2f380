"""`main`: the table of commands, and what becomes of a command's arguments."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from cyclopts import App, CycloptsError, UnknownCommandError

from scorekit import __version__
from scorekit.cli.errors import UsageError, exit_code, one_line_warnings

COMMANDS = {
    "list": ("listing:list_components", "Every registered component, with the plugin that it came from."),
    "plugins": ("plugins:list_plugins", "The installed plugins, and the broken ones with the reason."),
    "info": ("info:info", "What a checkpoint holds."),
    "train": ("train:train", "Train by a recipe, then sample; everything goes to one folder."),
    "sample": ("sample:sample", "Draw samples from a checkpoint, with any sampler."),
    "evaluate": ("evaluate:evaluate", "Frechet distance, KID, Inception score, losses, nearest neighbours."),
    "convert": ("convert:convert", "The authors' checkpoints to scorekit's, and back."),
}
"""name -> where its function is within `scorekit.cli`, and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: what follows `scorekit`; None for the process's own.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    with one_line_warnings():
        return exit_code(lambda: _run(arguments))


def _run(arguments: list[str]) -> int | None:
    try:
        return _app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except UnknownCommandError as error:  # its own text would import every command
        raise UsageError(_unknown(error.unused_tokens or arguments)) from error
    except CycloptsError as error:
        raise UsageError(str(error)) from error


def _app() -> App:
    app = App(
        name="scorekit",
        help="Learn a score function, sample it with any gradient sampler. scorekit COMMAND --help explains a command.",
        version=__version__,
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
    )
    for name, (place, summary) in COMMANDS.items():
        app.command(f"scorekit.cli.{place}", name=name, help=summary)
    return app


def _unknown(tokens: Sequence[str]) -> str:
    close = get_close_matches(tokens[0], [*COMMANDS, "--help", "--version"], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no command is named {tokens[0]!r}{hint}; the commands are {', '.join(COMMANDS)}"
