r"""Kernel inception distance (Binkowski et al., "Demystifying MMD GANs", ICLR 2018): the maximum mean discrepancy of
features x of samples and y of real images, under a cubic kernel.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),        k(x, y) = (x . y / D + 1)^3

estimated without bias: the pairs of a row with itself are left out. So, unlike the Frechet distance, its mean does not
depend on how many samples there are, and it may be negative.

All pairs of 50,000 rows are too many. The distance is the mean over blocks: rows 1 to 1,000 of the samples against rows
1 to 1,000 of the reference, and so on. The blocks are independent, so that the standard deviation of their values over
the root of their number is the mean's standard error. (The paper draws random subsets instead, which overlap.)
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from scorekit.metrics._samples import blocks, checked_pair, require_count
from scorekit.metrics.features import FeatureStatistics, checked_features, require_tensors


def polynomial_mmd(x: Tensor, reference: Tensor) -> float:
    """The unbiased MMD^2 of x (N, *E) and reference (M, *E) under the cubic kernel; dimensionless, and dependent on the
    scale of x. Time grows as (N + M)^2, memory does not.

    Raises:
        ValueError: for samples that are not finite floating-point (N, *E) of one event shape, with two examples each at
            least.
    """
    x, reference = checked_pair(x, reference)
    across = _kernel_sum(x, reference) / (len(x) * len(reference))
    return (_mean_of_pairs(x) + _mean_of_pairs(reference) - 2 * across).item()


def _mean_of_pairs(x: Tensor) -> Tensor:
    """The mean of k over the pairs of different rows of x (N, D)."""
    own = _cubic(x.square().sum(1), x.shape[1]).sum()
    return (_kernel_sum(x, x) - own) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """The sum of k over all pairs of rows of x (N, D) and y (M, D), a block of rows at a time."""
    return torch.stack([_cubic(x[part] @ y.T, x.shape[1]).sum() for part in blocks(len(x), len(y))]).sum()


def _cubic(products: Tensor, width: int) -> Tensor:
    """k of inner products, in their own memory."""
    return products.div_(width).add_(1).pow_(3)


class KernelDistance(NamedTuple):
    """A kernel inception distance."""

    mean: float  # over the blocks
    standard_error: float  # of that mean; NaN for one block
    num_blocks: int
    block_size: int  # rows of samples, and of the reference, in each


@final
class KernelInceptionDistance:
    """The distance of features that stream by from reference features that stream by; at most a block of each is held.

    Whenever the samples fill a block, the next block is read from the reference, in order. Samples left over at the end
    make no block and do not count. Processes share the work by whole blocks: each has the reference of its own blocks,
    and `merge` takes their values together.

    Args:
        num_features: D, the length of a feature vector.
        reference: batches of reference features (B, D), of any sizes; read once, no further than needed. For more
            samples than reference rows, repeat it: blocks then share rows, and the standard error is too small.
        block_size: rows in a block.

    Raises:
        ValueError: unless num_features >= 1 and block_size >= 2.
    """

    def __init__(self, num_features: int, reference: Iterable[Tensor], *, block_size: int = 1000):
        require_count("KernelInceptionDistance: num_features", num_features)
        require_count("KernelInceptionDistance: block_size", block_size, at_least=2)
        self.num_features, self.block_size = num_features, block_size
        self._reference: Iterator[Tensor] = iter(reference)
        self._samples, self._real = (torch.empty(0, num_features, dtype=torch.float64) for _ in range(2))
        self._values = FeatureStatistics(1)  # of the blocks' values

    def __repr__(self) -> str:
        return (
            f"KernelInceptionDistance({self.num_features}, block_size={self.block_size}) of {self._values.count} "
            f"blocks and {self.left_over} rows"
        )

    @property
    def left_over(self) -> int:
        """How many rows of samples wait for their block to be full."""
        return len(self._samples)

    def update(self, features: Tensor) -> None:
        """Take in features of samples (B, D).

        Raises:
            ValueError: unless they, and the reference's batches, are finite floating-point (B, D); if the reference
                ends before the samples do.
        """
        self._samples = torch.cat((self._samples, checked_features(features, "features", self.num_features)))
        while len(self._samples) >= self.block_size:
            self._values.update(self._block().reshape(1, 1))
            self._samples, self._real = self._samples[self.block_size :], self._real[self.block_size :]

    def _block(self) -> Tensor:
        self._read_reference()
        value = polynomial_mmd(self._samples[: self.block_size], self._real[: self.block_size])
        return torch.tensor(value, dtype=torch.float64)

    def _read_reference(self) -> None:
        """Read on until there is a block."""
        while len(self._real) < self.block_size:
            batch = next(self._reference, None)
            if batch is None:
                raise ValueError(
                    f"the reference ended after {self._values.count} blocks of {self.block_size} rows and "
                    f"{len(self._real)} rows: expected as many rows as there are samples"
                )
            self._real = torch.cat((self._real, checked_features(batch, "reference features", self.num_features)))

    def merge(self, other: "KernelInceptionDistance") -> None:
        """Take in the blocks of another one, which stays as it is; its left-over rows do not count.

        Raises:
            ValueError: if its blocks have another size, or its feature vectors another length.
        """
        if (other.num_features, other.block_size) != (self.num_features, self.block_size):
            raise ValueError(f"{self!r}: cannot merge {other!r}, the feature vectors or the blocks differ in size")
        self._values.merge(other._values)

    def result(self) -> KernelDistance:
        """Mean and standard error over the blocks so far.

        Raises:
            ValueError: before the first block is full.
        """
        count = self._values.count
        if not count:
            raise ValueError(f"{self!r}: expected one full block at least; take a smaller block_size")
        error = (self._values.cov.item() / count) ** 0.5 if count > 1 else math.nan
        return KernelDistance(self._values.mean.item(), error, count, self.block_size)

    def state(self) -> dict[str, Tensor]:
        """The values of the full blocks, as `FeatureStatistics.state` of vectors of length 1, and their sizes."""
        return {**self._values.state(), "sizes": torch.tensor([self.num_features, self.block_size])}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], reference: Iterable[Tensor] = ()) -> "KernelInceptionDistance":
        """What `state` was taken of, without its left-over rows: to merge, or to go on with the next block.

        Args:
            state: the tensors.
            reference: the reference's rows from the next block on.

        Raises:
            ValueError: unless it has just those tensors, in their shapes.
        """
        shapes = {"count": (), "mean": (1,), "scatter": (1, 1), "sizes": (2,)}
        require_tensors("KernelInceptionDistance", state, shapes)
        num_features, block_size = state["sizes"].tolist()
        made = cls(num_features, reference, block_size=block_size)
        made._values = FeatureStatistics.from_state({name: state[name] for name in ("count", "mean", "scatter")})
        return made
