"""The one error of the data readers: what is wrong with a file, what was expected of it, what was found."""

from pathlib import Path
from typing import final


@final
class DataError(ValueError):
    """Data that cannot be used as they are: missing, truncated, corrupt, of the wrong format, or unsafe to read."""


def mismatch(where: str | Path, expected: str, found: str) -> DataError:
    """The error "`where`: expected `expected`; found `found`", to be raised by the caller."""
    return DataError(f"{where}: expected {expected}; found {found}")
