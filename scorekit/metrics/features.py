r"""Mean and covariance of features that stream by: what a Frechet distance is computed from.

A batch of n' rows with mean m' and scatter C' = sum (f - m')(f - m')^T joins n rows with m and C by

    delta = m' - m,    m <- m + delta n' / (n + n'),    C <- C + C' + delta delta^T n n' / (n + n')

(Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", COMPSTAT 1982).
No square of a mean is subtracted from a mean of squares, so that features far from 0 lose no digits; parts that several
processes or runs have gone through join by the same rule.
"""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from scorekit.metrics._samples import checked_sample, require_count


def checked_features(features: Tensor, name: str, width: int) -> Tensor:
    """Features (B, width) in double precision on the CPU.

    Raises:
        ValueError: unless they are finite floating-point (B, width) with B >= 1.
    """
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"{name} of shape {tuple(features.shape)}: expected (B, {width})")
    return checked_sample(features.cpu(), name, at_least=1)  # not every device has double precision


def require_tensors(owner: str, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a state without the tensors of these names and shapes.

    Raises:
        ValueError: naming what is there and what was expected.
    """
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if found != dict(shapes):
        raise ValueError(f"{owner}.from_state: tensors {found}, expected {dict(shapes)}")


@final
class FeatureStatistics:
    """The number, mean and scatter of features, in double precision on the CPU; memory does not grow with the number.

    Args:
        num_features: D, the length of a feature vector.

    Attributes:
        count: n, how many rows there were.

    Raises:
        ValueError: unless num_features is a whole number >= 1.
    """

    def __init__(self, num_features: int):
        require_count("FeatureStatistics: num_features", num_features)
        self.num_features, self.count = num_features, 0
        self._mean = torch.zeros(num_features, dtype=torch.float64)
        self._scatter = torch.zeros(num_features, num_features, dtype=torch.float64)

    def __repr__(self) -> str:
        return f"FeatureStatistics({self.num_features}) of {self.count} rows"

    def update(self, features: Tensor) -> None:
        """Take in rows (B, D).

        Raises:
            ValueError: unless they are finite floating-point (B, D).
        """
        rows = checked_features(features, "features", self.num_features)
        mean = rows.mean(0)
        centred = rows - mean
        self._join(len(rows), mean, centred.T @ centred)

    def merge(self, other: "FeatureStatistics") -> None:
        """Take in the rows of another one, which stays as it is.

        Raises:
            ValueError: if its feature vectors have another length.
        """
        if other.num_features != self.num_features:
            raise ValueError(f"{self!r}: cannot merge {other!r}, its feature vectors have another length")
        self._join(other.count, other._mean, other._scatter)

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        if total == 0:
            return
        delta = mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._scatter = self._scatter + scatter + torch.outer(delta, delta) * (self.count * count / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """The mean (D,).

        Raises:
            ValueError: before the first row.
        """
        self._require(1, "a mean")
        return self._mean.clone()

    @property
    def cov(self) -> Tensor:
        """The unbiased covariance (D, D): the scatter over n - 1.

        Raises:
            ValueError: for fewer than two rows.
        """
        self._require(2, "a covariance")
        return self._scatter / (self.count - 1)

    def _require(self, least: int, what: str) -> None:
        if self.count < least:
            raise ValueError(f"{self!r}: {what} takes {least} at least")

    def state(self) -> dict[str, Tensor]:
        """count (), mean (D,) and scatter (D, D): what a safetensors file or another process takes."""
        return {"count": torch.tensor(self.count), "mean": self._mean.clone(), "scatter": self._scatter.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "FeatureStatistics":
        """What `state` was taken of.

        Raises:
            ValueError: unless it has just those three tensors, in their shapes, and they are statistics of something:
                count >= 0, the others finite and in double precision.
        """
        width = state["mean"].numel() if "mean" in state else 0
        require_tensors("FeatureStatistics", state, {"count": (), "mean": (width,), "scatter": (width, width)})
        mean, scatter, count = state["mean"], state["scatter"], int(state["count"])
        double = mean.dtype == scatter.dtype == torch.float64
        if count < 0 or not double or not (mean.isfinite().all() and scatter.isfinite().all()):
            raise ValueError(
                f"FeatureStatistics.from_state: count = {count}, mean of type {mean.dtype}, scatter of type "
                f"{scatter.dtype}: expected count >= 0, and both finite in double precision"
            )
        made = cls(width)
        made.count, made._mean, made._scatter = count, mean.cpu().clone(), scatter.cpu().clone()
        return made
