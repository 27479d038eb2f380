"""What training is put together from: the noise levels, and the functional of the score that is minimised."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from scorekit.base.families import ScoreModel
from scorekit.random import Generator
from scorekit.target import TensorFunction


class NoiseSchedule(ABC):
    """The noise levels sigma_1 > ... > sigma_L that samplers visit, and the law of sigma during training."""

    continuous: ClassVar[bool] = False
    """True if training draws sigma from a continuous law on [sigma_L, sigma_1], not from the levels."""

    @abstractmethod
    def levels(self) -> Tensor:
        """The levels (L,), float64 on the CPU, strictly decreasing."""

    @abstractmethod
    def sample(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """One training draw of sigma for each row of `like`: (B,), in its dtype and on its device."""


class Estimator(ABC):
    """A functional of the score whose expectation is the Fisher divergence 1/2 E|s - grad log p_sigma|^2 up to a
    constant.

    The constant does not depend on the score's parameters; norms are summed over the event.
    """

    needs_noise: ClassVar[bool]
    """True if the estimator is a regression on the noise, and so is undefined at sigma = 0."""

    def check(self, model: ScoreModel) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse a model that it is not valid for; an `Objective` calls it once, when it is made.

        Raises:
            ValueError: with the reason.
        """

    def check_score(self, score: TensorFunction, x: Tensor) -> None:  # noqa: B027
        """Refuse a score that it cannot train; training calls it once, with its first batch x (B, *E), and waits.

        Raises:
            ValueError: with the reason.
        """

    @abstractmethod
    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        """The estimate for each example.

        Args:
            score: y -> s(y, sigma), (B, *E) -> (B, *E), with the levels already bound.
            x: the noisy examples x0 + sigma eps, (B, *E).
            sigma: the noise levels (B,).
            eps: the standard normal draws that made x, (B, *E).
            generator: where probes are drawn from.

        Returns:
            (B,), in Fisher units: unweighted, with the factor 1/2, summed over the event.
        """
