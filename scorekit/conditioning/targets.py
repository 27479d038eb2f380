r"""Sums of targets: scores and log densities add, as densities multiply.

A target with constraints projects its states onto them, and its score has no component that leads away from them. What
is added to it has to be made so too. A projection onto frozen coordinates, or onto any other affine set at a right
angle, is P(x) = T x + c with T symmetric, so that

    T g = P(g) - P(0)

is the part of a gradient g along the constraints: for known pixels, g with zeros on them, to the bit.
"""

import torch
from torch import Tensor

from scorekit.base import Target, TensorFunction
from scorekit.target import identity


def add(*targets: Target) -> Target:
    """The target of the product of densities. Its log density is known where every factor's is; its states meet the
    constraints of every factor, the last one's where two contradict each other."""
    project = _composed([target.project for target in targets if target.project is not identity])

    def score(x: Tensor) -> Tensor:
        return _along(project, torch.stack([target.score(x) for target in targets]).sum(0))

    def log_prob(x: Tensor) -> Tensor:
        return torch.stack([target.log_prob(x) for target in targets if target.log_prob is not None]).sum(0)

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        values, scores = zip(*(_both(target, x) for target in targets), strict=True)
        return torch.stack(values).sum(0), _along(project, torch.stack(scores).sum(0))

    if any(target.log_prob is None for target in targets):
        return Target(score, project=project)
    together = any(target.value_and_score is not None for target in targets)
    return Target(score, log_prob, both if together else None, project)


def scaled(target: Target, factor: float) -> Target:
    """The target of a density to the power `factor`."""
    log_prob, together = target.log_prob, target.value_and_score

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        value, score = _both(target, x)
        return factor * value, factor * score

    return Target(
        lambda x: factor * target.score(x),
        None if log_prob is None else lambda x: factor * log_prob(x),
        None if together is None else both,
        target.project,
    )


def _both(target: Target, x: Tensor) -> tuple[Tensor, Tensor]:
    if target.value_and_score is not None:
        return target.value_and_score(x)
    point = target.point(x)
    return point.log_prob, point.score


def _composed(projections: list[TensorFunction]) -> TensorFunction:
    def project(x: Tensor) -> Tensor:
        for each in projections:
            x = each(x)
        return x

    return project if projections else identity


def _along(project: TensorFunction, gradient: Tensor) -> Tensor:
    if project is identity:
        return gradient
    return project(gradient) - project(torch.zeros_like(gradient))
