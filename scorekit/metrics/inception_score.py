r"""Inception score (Salimans et al., "Improved techniques for training GANs", NeurIPS 2016): whether a classifier is
sure of each sample, and the samples are of many classes.

    IS = exp( E_x KL(p(c | x) || p(c)) ) = exp( E_x sum_c p log p(c | x) - sum_c p(c) log p(c) ),    p(c) = E_x p(c | x)

a number from 1 to the number of classes. It is taken on each of ten parts of the samples; what is published is the
mean and the standard deviation of the ten. Sums of p and of p log p over a part are all that is needed, so that memory
does not grow.

A part's own mean stands for p(c), and no other is nearer to its p(c | x): small parts score too low (one sample scores
1). The published protocol has 5,000 samples in each of its ten parts.
"""

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from scorekit.metrics._samples import require_count
from scorekit.metrics.features import checked_features, require_tensors


class Score(NamedTuple):
    """An inception score."""

    mean: float  # over the parts
    std: float  # of the parts, with 1 / parts as in the published code
    count: int  # samples in all parts
    splits: int  # parts


@final
class InceptionScore:
    """The inception score of logits that stream by, in double precision.

    Sample number i belongs to part i mod splits, which needs no total. The published code takes consecutive parts, from
    floor(j N / splits) on: give the total N for those. For independent samples the two differ by chance alone.

    Args:
        num_classes: K, the length of the logits.
        splits: the number of parts.
        total: N for consecutive parts; None for parts by number modulo splits.

    Raises:
        ValueError: unless num_classes >= 2, splits >= 1 and total, if given, >= splits.
    """

    def __init__(self, num_classes: int, *, splits: int = 10, total: int | None = None):
        require_count("InceptionScore: num_classes", num_classes, at_least=2)
        require_count("InceptionScore: splits", splits)
        if total is not None:
            require_count("InceptionScore: total", total, at_least=splits)
        self.num_classes, self.splits, self.total = num_classes, splits, total
        self._next = 0
        self._counts = torch.zeros(splits, dtype=torch.float64)
        self._sums = torch.zeros(splits, num_classes, dtype=torch.float64)  # of p
        self._negentropies = torch.zeros(splits, dtype=torch.float64)  # of sum_c p log p

    def __repr__(self) -> str:
        shown = "" if self.total is None else f", total={self.total}"
        return f"InceptionScore({self.num_classes}, splits={self.splits}{shown}) of {self.count} samples"

    @property
    def count(self) -> int:
        """How many samples there were."""
        return int(self._counts.sum())

    def update(self, logits: Tensor, *, first: int | None = None) -> None:
        """Take in the logits (B, K) of samples.

        Args:
            logits: unnormalised log probabilities.
            first: the number of the first one, where several processes share the samples; None goes on after the last.

        Raises:
            ValueError: unless the logits are finite floating-point (B, K), and their numbers >= 0 and below the total.
        """
        rows = checked_features(logits, "logits", self.num_classes)
        numbers = torch.arange(len(rows)) + (self._next if first is None else first)
        part = self._part_of(numbers)
        log_p = rows.log_softmax(1)
        p = log_p.exp()
        self._counts = self._counts.index_add(0, part, p.new_ones(len(p)))
        self._sums = self._sums.index_add(0, part, p)
        self._negentropies = self._negentropies.index_add(0, part, (p * log_p).sum(1))
        self._next = int(numbers[-1]) + 1

    def _part_of(self, numbers: Tensor) -> Tensor:
        """The part (B,) of each sample's number (B,)."""
        lowest, highest = int(numbers[0]), int(numbers[-1])
        if lowest < 0 or (self.total is not None and highest >= self.total):
            limit = "" if self.total is None else f" and below the total {self.total}"
            raise ValueError(f"samples number {lowest} to {highest}: expected numbers from 0 on{limit}")
        if self.total is None:
            return numbers % self.splits
        starts = torch.arange(1, self.splits) * self.total // self.splits
        return torch.bucketize(numbers, starts, right=True)

    def merge(self, other: "InceptionScore") -> None:
        """Take in the samples of another one, which stays as it is.

        Raises:
            ValueError: if its classes, parts or total differ.
        """
        if (other.num_classes, other.splits, other.total) != (self.num_classes, self.splits, self.total):
            raise ValueError(f"{self!r}: cannot merge {other!r}, the classes, parts or totals differ")
        self._counts = self._counts + other._counts
        self._sums = self._sums + other._sums
        self._negentropies = self._negentropies + other._negentropies
        self._next = max(self._next, other._next)

    def result(self) -> Score:
        """Mean and standard deviation over the parts.

        Raises:
            ValueError: if a part is empty, or fewer samples were seen than the total that the parts were cut for.
        """
        if (self._counts == 0).any() or self.count != (self.count if self.total is None else self.total):
            raise ValueError(
                f"{self!r}: {int(self._counts.min())} to {int(self._counts.max())} a part; expected one sample in each "
                "part at least, and the whole total where one was given"
            )
        marginal = self._sums / self._counts.unsqueeze(1)
        divergence = self._negentropies / self._counts - torch.xlogy(marginal, marginal).sum(1)
        scores = divergence.exp()
        return Score(scores.mean().item(), scores.std(correction=0).item(), self.count, self.splits)

    def state(self) -> dict[str, Tensor]:
        """The sums of each part: counts (S,), probabilities (S, K), negentropies (S,), and the total (), -1 for
        none."""
        return {
            "counts": self._counts.clone(),
            "probabilities": self._sums.clone(),
            "negentropies": self._negentropies.clone(),
            "total": torch.tensor(-1 if self.total is None else self.total),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "InceptionScore":
        """What `state` was taken of.

        Raises:
            ValueError: unless it has just those tensors, in their shapes.
        """
        sizes = tuple(state["probabilities"].shape) if "probabilities" in state else ()
        parts, classes = sizes if len(sizes) == 2 else (0, 0)
        shapes = {"counts": (parts,), "probabilities": (parts, classes), "negentropies": (parts,), "total": ()}
        require_tensors("InceptionScore", state, shapes)
        total = int(state["total"])
        made = cls(classes, splits=parts, total=None if total < 0 else total)
        for kept, name in (
            (made._counts, "counts"),
            (made._sums, "probabilities"),
            (made._negentropies, "negentropies"),
        ):
            kept.copy_(state[name])
        made._next = made.count
        return made
