r"""The law of given points, and its convolution with noise: the truth that a score model trained on them tends to.

p_sigma(x) = 1/N sum_i N(x; x_i, v I),   v = std^2 + sigma^2,
score = (sum_i r_i x_i - x) / v,         r = softmax_i(-|x - x_i|^2 / 2v).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scorekit.base import Generator, normal, uniform
from scorekit.densities.base import CleanDraws, Sigma, check_event, check_finite, noisy_variances

_NUMBERS = 2**22  # coordinates of differences held at a time: 32 MiB in float64


@final
@dataclass(frozen=True, eq=False, repr=False)
class Empirical(CleanDraws):
    """The equal mixture of N(x_i, std^2 I) over N given points: with std = 0 their empirical law, else a kernel density
    estimate. The rows of x, and if need be the points, are taken in chunks, so that at most 2^22 numbers (or N, if
    more) are held at a time.

    It is data, not configuration: it has no JSON, equals only itself, and its repr is short. The points stay on their
    device and are cast to x at use; chains and draws are made there unless told otherwise.

    Args:
        data: (N, *E) of a floating-point type, finite, of rank 2 at least.
        std: the kernel's width, >= 0.

    Raises:
        TypeError: if `data` is not a floating-point tensor.
        ValueError: if its shape is not (N, *E) with N >= 1, a number is not finite, or std is out of range; when a
            density or a score is asked for at sigma = 0 and std is 0.
    """

    data: Tensor
    std: float = 0.0

    def __post_init__(self):
        if not isinstance(self.data, Tensor) or not self.data.is_floating_point():
            kind = self.data.dtype if isinstance(self.data, Tensor) else type(self.data).__name__
            raise TypeError(f"Empirical: data of type {kind}: expected a tensor of a floating-point type")
        if self.data.ndim < 2 or self.data.numel() == 0:
            raise ValueError(
                f"Empirical: data of shape {tuple(self.data.shape)}: expected (N, *E), N >= 1 events of rank 1 at least"
            )
        check_finite(self, "the data have", self.data)
        if not 0 <= self.std < math.inf:
            raise ValueError(f"Empirical: std = {self.std}: expected a finite number >= 0")
        object.__setattr__(self, "data", self.data.detach())

    def __repr__(self) -> str:
        return f"Empirical({len(self.data)} events of shape {self.event_shape}, std={self.std})"

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.data.shape[1:])

    @property
    def device(self) -> torch.device:
        """The points'."""
        return self.data.device

    @property
    def dtype(self) -> torch.dtype:
        """The points'."""
        return self.data.dtype

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The points' mean, and the square root of their variance (over N) + std^2."""
        variance, mean = torch.var_mean(self.data, dim=0, correction=0)
        return mean, (variance + self.std**2).sqrt()

    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """logsumexp over the points: (B,)."""
        n = self.data[0].numel()

        def normalised(exponents: Tensor, rows: Tensor, v: Tensor) -> Tensor:
            return exponents.logsumexp(1) - math.log(len(self.data)) - n / 2 * (2 * math.pi * v.squeeze(1)).log()

        return self._by_chunks(normalised, x, sigma)

    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """(sum_i r_i x_i - x) / v: (B, *E)."""
        points = self.data.to(x).flatten(1)

        def pull(exponents: Tensor, rows: Tensor, v: Tensor) -> Tensor:
            return (exponents.softmax(1) @ points - rows) / v

        return self._by_chunks(pull, x, sigma).reshape(x.shape)

    def _by_chunks(self, function: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, sigma: Sigma) -> Tensor:
        """function(-|x - x_i|^2 / 2v (b, N), x (b, n), v (b, 1)) over chunks of b rows, put together again."""
        check_event(self, x)
        v = noisy_variances(self, torch.tensor([self.std**2], dtype=torch.float64), sigma, x).expand(len(x), 1)
        rows, points = x.flatten(1), self.data.to(x).flatten(1)
        size = max(1, _NUMBERS // points.numel())
        return torch.cat(
            [
                function(_squared_distances(part, points) / (-2 * noise), part, noise)
                for part, noise in zip(rows.split(size), v.split(size), strict=True)
            ]
        )

    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """One of the points, each as likely, + std eps: (num_samples, *E)."""
        unit = uniform(like.new_empty(len(like), dtype=torch.float64), generator=generator)
        points = self.data[(unit * len(self.data)).long().to(self.data.device)].to(like)
        return points if self.std == 0 else points + self.std * normal(like, generator=generator)


def _squared_distances(x: Tensor, points: Tensor) -> Tensor:
    """(b, N), from the differences: |x|^2 - 2xy + |y|^2 loses what is small against |x|^2, and the derivative of
    `torch.cdist` is wrong under vmap (torch 2.13)."""
    size = max(1, _NUMBERS // max(1, x.numel()))
    return torch.cat([_differences(x, part).square().sum(2) for part in points.split(size)], dim=1)


def _differences(x: Tensor, points: Tensor) -> Tensor:
    return x.unsqueeze(1) - points
