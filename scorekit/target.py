"""One unnormalised density at one noise level (`Target`) and a state evaluated under it (`Point`).

A `Target` is a value, not a hierarchy: everything that answers `at(sigma)` with one (a network, an energy, a closed
form, a posterior) meets every sampler. Projection onto a constraint set (the known pixels of an inpainting problem)
happens in `Target.point` and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor

TensorFunction: TypeAlias = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """The projection of a target without constraints: x itself."""
    return x


@final
@dataclass(frozen=True, eq=False, repr=False)
class Target:
    """An unnormalised density p on states x of shape (B, *E).

    Args:
        score: x -> grad log p(x), (B, *E) -> (B, *E).
        log_prob: x -> log p(x) up to a constant, (B, *E) -> (B,); None if only the score is known.
        value_and_score: x -> (log p(x), grad log p(x)) where that is cheaper together; None otherwise.
        project: x -> the nearest state that meets the target's hard constraints.
    """

    score: TensorFunction
    log_prob: TensorFunction | None = None
    value_and_score: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    project: TensorFunction = identity

    def point(self, x: Tensor) -> "Point":
        """The state x, projected, with its score and log density to be evaluated when first asked for."""
        return Point(self, self.project(x))

    def __repr__(self) -> str:
        return f"Target({'score' if self.log_prob is None else 'score and log_prob'})"


@final
class Point:
    """A state under a target; `score` and `log_prob` are evaluated once, when first asked for. It lives within one
    step.

    Args:
        target: where the state is evaluated.
        x: the state (B, *E), already projected: make points by `Target.point`.
        score, log_prob: values already known for exactly this x under exactly this target.
    """

    def __init__(self, target: Target, x: Tensor, *, score: Tensor | None = None, log_prob: Tensor | None = None):
        self.target, self.x = target, x
        self._score, self._log_prob = score, log_prob

    @property
    def score(self) -> Tensor:
        """grad log p(x), (B, *E)."""
        if self._score is None:
            if self.target.value_and_score is None or self._log_prob is not None:
                self._score = self.target.score(self.x)
            else:
                self._log_prob, self._score = self.target.value_and_score(self.x)
        return self._score

    @property
    def log_prob(self) -> Tensor:
        """log p(x) up to a constant, (B,).

        Raises:
            TypeError: if the target knows its score only.
        """
        if self._log_prob is None:
            if self.target.value_and_score is not None and self._score is None:
                self._log_prob, self._score = self.target.value_and_score(self.x)
            elif self.target.log_prob is None:
                raise TypeError(
                    "this target knows its score only, not log_prob: use a kernel that needs none, or a line integral"
                )
            else:
                self._log_prob = self.target.log_prob(self.x)
        return self._log_prob

    def __repr__(self) -> str:
        return f"Point(x={tuple(self.x.shape)}, {self.target!r})"
