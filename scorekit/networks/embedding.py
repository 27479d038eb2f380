r"""What a network is told besides x, as vectors: the noise level, and a condition.

The noise level enters by its logarithm c = log max(sigma, 1e-5): finite at sigma = 0, and the same below 1e-5, the
smallest level of `ScaledScore`. Gaussian Fourier features of it are

    (sin 2 pi w_1 c, ..., sin 2 pi w_n c, cos 2 pi w_1 c, ..., cos 2 pi w_n c),    w_k ~ N(0, scale^2), then fixed.

Their inner product at two levels is n exp(-2 (pi scale (c - c'))^2) on average: at scale 16 levels 3 % apart have
nothing in common, at scale 1 those 5 % apart are nearly the same to the network, and at a factor 2 have nothing in
common (Tancik et al., arXiv 2006.10739; Song et al., arXiv 2011.13456).

A condition is a class label, which has a row of a table, or a vector, which is mapped linearly.
"""

import math
from typing import final

import torch
from torch import Tensor, nn

from scorekit.base import wide

_SMALLEST_SIGMA = 1e-5


@final
class FourierFeatures(nn.Module):
    """sigma (B,) -> sin and cos of 2 pi w_k log max(sigma, 1e-5), (B, 2 n).

    Args:
        num_frequencies: n >= 1.
        scale: the standard deviation of the frequencies w_k, > 0; they are drawn once (buffer `frequencies`) and
            stay in float32, whatever type the module is cast to: rounded to half precision they were others.

    Raises:
        ValueError: if the number is below 1, or the scale not finite and positive.
    """

    frequencies: Tensor

    def __init__(self, num_frequencies: int, scale: float = 16.0):
        super().__init__()
        if num_frequencies < 1 or not 0 < scale < math.inf:
            raise ValueError(
                f"FourierFeatures(num_frequencies={num_frequencies}, scale={scale}): expected num_frequencies >= 1 and "
                "0 < scale < inf"
            )
        self.num_frequencies, self.scale = num_frequencies, scale
        self.register_buffer("frequencies", scale * torch.randn(num_frequencies, dtype=torch.float32))

    def _apply(self, fn, recurse=True):
        """Move, but keep the frequencies' type."""
        frequencies = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype != torch.float32:
            self.frequencies = frequencies.to(self.frequencies.device)
        return self

    def forward(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B, 2 n), in float32 or the type of sigma, whichever is wider."""
        level = wide(sigma).clamp(min=_SMALLEST_SIGMA).log()
        angle = level.unsqueeze(1) * (2 * math.pi * self.frequencies)
        return torch.cat((angle.sin(), angle.cos()), dim=1)


@final
class ConditionEmbedding(nn.Module):
    """A condition -> `width` numbers a row: a table's row for a class label, or a linear map of a vector.

    Args:
        owner: the network it is part of: what messages start with.
        width: how many numbers.
        num_classes: of labels 0, 1, ..., num_classes - 1.
        condition_dim: D, the size of the vectors; exactly one of the two is given.

    Raises:
        ValueError: unless one of the two is given, and is at least 1; when called, if the condition's shape is not (B,)
            for labels and (B, D) for vectors, or a label on the CPU is none of the classes. Elsewhere reading labels
            would wait for the device; there, and when compiled, the table's own check raises its own error.
        TypeError: when called with labels that are not int64, or vectors that are not floating-point.
    """

    def __init__(self, owner: str, width: int, num_classes: int | None = None, condition_dim: int | None = None):
        super().__init__()
        given = [size for size in (num_classes, condition_dim) if size is not None]
        if len(given) != 1 or given[0] < 1:
            raise ValueError(
                f"{owner}(num_classes={num_classes}, condition_dim={condition_dim}): a condition is a label or a "
                "vector, so exactly one of them is given, and it is >= 1"
            )
        self.owner, self.num_classes, self.condition_dim = owner, num_classes, condition_dim
        self.map = nn.Linear(given[0], width) if num_classes is None else nn.Embedding(given[0], width)

    @property
    def expected(self) -> str:
        """What it is called with, in words."""
        if self.num_classes is None:
            return f"vectors (B, {self.condition_dim}) of a floating-point type (condition_dim={self.condition_dim})"
        return f"labels (B,) of type int64 from 0 to {self.num_classes - 1} (num_classes={self.num_classes})"

    def forward(self, condition: Tensor, x: Tensor) -> Tensor:
        """(B,) or (B, D), and the x (B, *E) that it is the condition of -> (B, width)."""
        labels = self.num_classes is not None
        right = condition.dtype == torch.int64 if labels else condition.is_floating_point()
        if not right:
            raise TypeError(f"{self.owner}: a condition of type {condition.dtype}: expected {self.expected}")
        if condition.shape != ((len(x),) if labels else (len(x), self.condition_dim)):
            raise ValueError(
                f"{self.owner}: a condition of shape {tuple(condition.shape)} for B = {len(x)}: expected "
                f"{self.expected}"
            )
        try:
            return self.map(condition if labels else condition.to(x.dtype))
        except IndexError as error:  # the table's own check, on the CPU
            low, high = condition.min(), condition.max()
            raise ValueError(
                f"{self.owner}: a condition of labels from {low} to {high}: expected {self.expected}"
            ) from error


def make_condition_embedding(
    owner: str, width: int, num_classes: int | None, condition_dim: int | None
) -> ConditionEmbedding | None:
    """The embedding of a network's conditions; None for a network without any.

    Raises:
        ValueError: if both kinds are given, or a size is below 1.
    """
    if num_classes is None and condition_dim is None:
        return None
    return ConditionEmbedding(owner, width, num_classes, condition_dim)


def embed_condition(
    owner: str, embedding: ConditionEmbedding | None, condition: Tensor | None, x: Tensor
) -> Tensor | None:
    """The condition of x (B, *E) as vectors (B, width); None where there is none and none is needed.

    Raises:
        TypeError: if there is a condition and no embedding, or the other way round, in the name of `owner`.
    """
    if embedding is None:
        if condition is not None:
            raise TypeError(
                f"{owner} takes no condition: it models one density, not one for each condition (it was made without "
                "num_classes and condition_dim)"
            )
        return None
    if condition is None:
        raise TypeError(f"{owner} was called without a condition: expected {embedding.expected}")
    return embedding(condition, x)
