"""The plugin door: one hook for each kind of component.

A hook takes no arguments and returns a mapping from names to classes or factories. Names are kebab case
("sigma-squared"), given and never derived. The parameters of a class or factory are its configuration: each one is
named in the signature, without `*args` or `**kwargs`.

A plugin is a module, or any object, with functions that `hookimpl` marks; scorekit's own components come in by the
same door (`scorekit.builtin`). The entry-point group of installed plugins is "scorekit".
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pluggy
from torch import nn

from scorekit.base import (
    Estimator,
    Kernel,
    LineIntegral,
    Metric,
    NoiseSchedule,
    Proposal,
    Sampler,
    ScoreModel,
    Start,
    StepSize,
    Transition,
)
from scorekit.densities import Density
from scorekit.recipe import Recipe

PROJECT = "scorekit"
"""The name of pluggy's project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""The decorator that marks a plugin's function as the implementation of a hook."""


class Kind(NamedTuple):
    """One kind of component."""

    singular: str  # as messages name one of them
    base: type  # what its classes derive from, and its factories return


KINDS: Mapping[str, Kind] = {
    "noise_schedules": Kind("noise_schedule", NoiseSchedule),
    "estimators": Kind("estimator", Estimator),
    "models": Kind("model", ScoreModel),  # before networks: a score model is an nn.Module too
    "networks": Kind("network", nn.Module),
    "proposals": Kind("proposal", Proposal),
    "line_integrals": Kind("line_integral", LineIntegral),
    "kernels": Kind("kernel", Kernel),
    "step_sizes": Kind("step_size", StepSize),
    "transitions": Kind("transition", Transition),
    "starts": Kind("start", Start),
    "samplers": Kind("sampler", Sampler),
    "densities": Kind("density", Density),
    "metrics": Kind("metric", Metric),
    "recipes": Kind("recipe", Recipe),
}
"""Every kind by the name of its hook without the prefix `scorekit_`."""


@hookspec
def scorekit_noise_schedules() -> Mapping[str, Callable[..., NoiseSchedule]]:
    """Noise schedules: the levels, and their law in training."""
    ...


@hookspec
def scorekit_estimators() -> Mapping[str, Callable[..., Estimator]]:
    """Estimators of the Fisher divergence."""
    ...


@hookspec
def scorekit_networks() -> Mapping[str, Callable[..., nn.Module]]:
    """Networks f(x, sigma): modules that keep every constructor argument under its own name."""
    ...


@hookspec
def scorekit_models() -> Mapping[str, Callable[..., ScoreModel]]:
    """Score models: parametrisations of the score by a network; they too keep their constructor's arguments."""
    ...


@hookspec
def scorekit_proposals() -> Mapping[str, Callable[..., Proposal]]:
    """Proposals: random moves with the ratio of their densities."""
    ...


@hookspec
def scorekit_line_integrals() -> Mapping[str, Callable[..., LineIntegral]]:
    """Line integrals of the score: what a Metropolis kernel goes by where there is no log density."""
    ...


@hookspec
def scorekit_kernels() -> Mapping[str, Callable[..., Kernel]]:
    """Markov kernels: what becomes of a proposed move."""
    ...


@hookspec
def scorekit_step_sizes() -> Mapping[str, Callable[..., StepSize]]:
    """Rules for the step size at a noise level."""
    ...


@hookspec
def scorekit_transitions() -> Mapping[str, Callable[..., Transition]]:
    """Moves from one noise level to the next."""
    ...


@hookspec
def scorekit_starts() -> Mapping[str, Callable[..., Start]]:
    """Laws of a sampler's initial state."""
    ...


@hookspec
def scorekit_samplers() -> Mapping[str, Callable[..., Sampler]]:
    """Samplers: classes, and named constructors of what a user calls a sampler."""
    ...


@hookspec
def scorekit_densities() -> Mapping[str, Callable[..., Density]]:
    """Densities in closed form at every noise level."""
    ...


@hookspec
def scorekit_metrics() -> Mapping[str, Callable[..., Metric]]:
    """Distances between the laws of two samples."""
    ...


@hookspec
def scorekit_recipes() -> Mapping[str, Callable[..., Recipe]]:
    """Recipes: runs from data to samples."""
    ...
