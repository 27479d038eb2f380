"""What samples are judged by."""

from abc import ABC, abstractmethod

from torch import Tensor

from scorekit.random import Generator


class Metric(ABC):
    """A number that says how far the laws of two samples are apart."""

    @abstractmethod
    def __call__(self, x: Tensor, reference: Tensor, *, generator: Generator = None) -> float:
        """Compare.

        Args:
            x: the samples (N, *E).
            reference: draws from the law they should have, (M, *E).
            generator: where random projections, bandwidth subsets and the like are drawn from.
        """
