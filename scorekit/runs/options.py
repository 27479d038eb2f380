"""A recipe with other numbers: what the command line says instead."""

from dataclasses import replace
from typing import TypeVar

from scorekit.recipes import Recipe

RecipeT = TypeVar("RecipeT", bound=Recipe)


def with_options(
    recipe: RecipeT,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    keep_every: int | None = None,
    seed: int | None = None,
    num_samples: int | None = None,
) -> RecipeT:
    """The recipe with the numbers that are not None.

    Args:
        recipe: the recipe.
        steps: how many steps to train. A warm-up and the first validation are moved into the run.
        batch_size: of all processes together. No more samples than this are drawn unless `num_samples` says so.
        keep_every: keep the checkpoint of each so many steps, beside the last ones.
        seed: of everything.
        num_samples: how many samples to draw.

    Raises:
        ValueError: for a number out of its range.
    """
    old = recipe.training
    num_steps = old.num_steps if steps is None else steps
    validate_every = None if old.validate_every is None else min(old.validate_every, num_steps)
    training = replace(
        old,
        num_steps=num_steps,
        batch_size=old.batch_size if batch_size is None else batch_size,
        keep_every=old.keep_every if keep_every is None else keep_every,
        seed=old.seed if seed is None else seed,
        warmup_steps=min(old.warmup_steps, num_steps // 10),
        validate_every=validate_every,
    )
    most = recipe.num_samples if batch_size is None else min(recipe.num_samples, batch_size)
    return replace(recipe, training=training, num_samples=most if num_samples is None else num_samples)
