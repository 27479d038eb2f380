"""The interfaces of scorekit: what authors of plugins read.

Symbols. x is a state (B, *E): B chains or examples, an event of any rank >= 1. sigma is the standard deviation of
the Gaussian noise; p_sigma is the data density convolved with N(0, sigma^2 I); the score is s(x, sigma) = grad_x log
p_sigma(x). sigma = 0 means clean data. h is a step size: drift h * score, noise sqrt(2 h) * z.

Training goes NoiseSchedule -> Estimator -> Objective over a ScoreModel. Sampling goes TargetFamily -> Target ->
Point -> Proposal -> Kernel, with a StepSize rule and a Transition between levels, driven by a Sampler.

A class is either abstract, in this package, or final. Components that are configuration (schedules, estimators,
proposals, kernels, step sizes, transitions, starts, samplers, densities) are frozen dataclasses of numbers, strings,
tuples and components: the fields are the repr and the JSON. `x` decides device and dtype; every function that draws
takes the keyword `generator`.
"""

from scorekit._tensor import expand, sum_event, wide
from scorekit.base.families import ScoreModel, TargetFamily, WrappedFamily
from scorekit.base.metric import Metric
from scorekit.base.records import Info, Move, State, Step
from scorekit.base.sampling import (
    GaussianProposal,
    Kernel,
    LineIntegral,
    Proposal,
    Sampler,
    Start,
    StepSize,
    Transition,
)
from scorekit.base.training import Estimator, NoiseSchedule
from scorekit.random import Generator, PerChain, fork, normal, rademacher, shift, uniform
from scorekit.target import Point, Target, TensorFunction

__all__ = [
    "Estimator", "GaussianProposal", "Generator", "Info", "Kernel", "LineIntegral", "Metric", "Move", "NoiseSchedule",
    "PerChain", "Point", "Proposal", "Sampler", "ScoreModel", "Start", "State", "Step", "StepSize", "Target",
    "TargetFamily", "TensorFunction", "Transition", "WrappedFamily", "expand", "fork", "normal", "rademacher", "shift",
    "sum_event", "uniform", "wide",
]  # fmt: skip
