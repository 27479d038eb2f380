"""Errors as one line on stderr, and the exit codes (`scorekit.cli` lists them)."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, final

TRACEBACK = "SCOREKIT_TRACEBACK"
"""The environment variable for Python's traceback instead of one line."""

_SPEAKING = (ValueError, TypeError, OSError, ImportError, ArithmeticError)  # scorekit's own: their text says it all


@final
class UsageError(ValueError):
    """The command line is wrong in itself, whatever the files say."""


@contextmanager
def usage(where: str = "") -> Iterator[None]:
    """What the library refuses in here was wrong on the command line.

    Args:
        where: the option, to begin the message with.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: {text(error)}" if where else text(error)) from error


def require_writable(file: Path) -> None:
    """Make a file's folder, and refuse one that cannot be written: before anything is computed for it.

    Raises:
        OSError: naming the file, or the folder that cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    existed = file.exists()
    file.open("ab").close()
    if not existed:
        file.unlink()


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command; what it raises becomes a line and a number."""
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _stopped("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 128 + 13
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        return _stopped(f"error: {described(error)}", 2 if isinstance(error, UsageError) else 1)


def _stopped(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def described(error: Exception) -> str:
    """An error in one line; one that scorekit did not see coming with its type, and how to see more."""
    if isinstance(error, _SPEAKING):
        return text(error)
    return f"{type(error).__name__}: {text(error)} (unexpected; {TRACEBACK}=1 shows where)"


def text(error: BaseException) -> str:
    """An error's message and notes, on one line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{error.filename}: {error.strerror}"
    else:
        said = str(error) or type(error).__name__
    notes = error.__notes__ if "__notes__" in vars(error) else []
    return " ".join(f"{said} {''.join(f'({note})' for note in notes)}".split())


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Warnings as `warning: ...`, without Python's line of code."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=file or sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
