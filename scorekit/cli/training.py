"""What `scorekit train` adds to a run."""

import signal
from pathlib import Path

from scorekit.cli.errors import UsageError, usage
from scorekit.recipe import Recipe
from scorekit.runs import read_recipe
from scorekit.training import Outcome


def folder_of(recipe: str, out: Path | None) -> tuple[Path, str | None]:
    """Where a run goes, and the name of its recipe, if that is registered.

    Raises:
        UsageError: if neither says where.
    """
    if _is_file(recipe):
        if out is None:
            raise UsageError(f"{recipe}: a recipe from a file has no folder of its own: give --out FOLDER")
        return out, None
    return out or Path("runs") / recipe, recipe


def to_recipe(recipe: str) -> Recipe:
    """A recipe by its name, or from a file.

    Raises:
        UsageError: for an unknown name.
        ValueError, TypeError: if a file is none of a recipe.
    """
    if _is_file(recipe):
        return read_recipe(recipe)
    with usage():
        return read_recipe(recipe)


def report(outcome: Outcome, out: Path) -> int:
    """Print how it ended; the exit code."""
    if outcome.signal is not None and not outcome.finished:
        _say(
            outcome, f"{outcome.signal}: saved at step {outcome.step} of {outcome.num_steps}; the same command goes on"
        )
        return 128 + signal.Signals[outcome.signal]
    _say(outcome, f"{out}: {outcome.step} steps; samples.png (first row: real), samples.gif, summary.json, checkpoint/")
    return 0


def _is_file(recipe: str) -> bool:
    return recipe.endswith(".json")


def _say(outcome: Outcome, line: str) -> None:
    if outcome.is_main:
        print(line)
