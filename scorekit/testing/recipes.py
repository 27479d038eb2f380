"""The check of a recipe: what it describes can be made, trained, sampled and written down."""

from dataclasses import replace
from typing import Any

import torch

from scorekit.base import PerChain
from scorekit.config import to_config
from scorekit.data import Source
from scorekit.recipe import Experiment, Recipe
from scorekit.runs.document import describe, parse_recipe
from scorekit.testing.trial import Trial


def check_recipe(recipe: Recipe, *, source: Source) -> None:
    """The laws of a recipe.

    Its experiment is one whose parts go together: the objective takes the data, the sampler takes the model. The same
    seed makes the same network. Written to JSON and read again it describes the same experiment. It is a value: with
    other numbers it is another recipe.

    Args:
        recipe: the recipe.
        source: a few examples of the kind that it is for.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_recipe", recipe)
    first, again = _made(recipe, source), _made(recipe, source)
    trial.require(
        isinstance(first, Experiment), "an experiment is made", f"{type(first).__name__}", "an Experiment", "its return"
    )
    states = first.model.state_dict(), again.model.state_dict()
    trial.require(
        all(torch.equal(states[0][name], states[1][name]) for name in states[0]),
        "the same seed makes the same network",
        "two networks",
        "equal weights",
        "randomness from elsewhere than torch's global generator, in the recipe or the network",
    )
    _check_parts(trial, first, source)
    _check_document(trial, recipe, first, source)
    trial.require(
        replace(recipe, num_samples=recipe.num_samples + 1) != recipe and replace(recipe) == recipe,
        "a recipe is a value",
        "dataclasses.replace does not make another one",
        "equality by its numbers",
        "it is no frozen dataclass",
    )


def _made(recipe: Recipe, source: Source) -> Experiment:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return recipe.experiment(source)


def _check_parts(trial: Trial, experiment: Experiment, source: Source) -> None:
    rows, streams = torch.arange(2), PerChain(1)
    x = source.batch(rows, generator=streams.fork("data"))
    condition = source.condition(rows)
    loss = experiment.objective()(x, condition, generator=streams.fork("loss")).loss
    trial.require(
        bool(loss.isfinite()), "its objective takes the data", f"a loss of {loss}", "a finite one", "the first weights"
    )
    model = experiment.model
    model.set_moments(x.mean(0), x.std(0))
    family = model if condition is None else model.given(condition)
    start = experiment.sampler.initial(tuple(x.shape), family=family, generator=streams.fork("start"))
    step = next(iter(experiment.sampler.steps(family, start, generator=streams.fork("steps"))))
    trial.shape(step.x, tuple(x.shape), "the chains")


def _check_document(trial: Trial, recipe: Recipe, experiment: Experiment, source: Source) -> None:
    document = describe(recipe, experiment, "somewhere", None)
    read: Any = parse_recipe(document)
    with torch.random.fork_rng(devices=[]):
        made = read.experiment(source)
    same = all(
        to_config(a) == to_config(b)
        for a, b in zip(
            (experiment.model, experiment.estimator, experiment.noise, experiment.sampler),
            (made.model, made.estimator, made.noise, made.sampler),
            strict=True,
        )
    )
    trial.require(
        same and made.weight == experiment.weight and read.training == recipe.training,
        "its document describes the same experiment",
        "another one",
        "equal parts",
        "a part whose configuration leaves something out",
    )
