r"""Score models: the parametrisations of s(x, sigma) by a network f, and target families made of a function.

    DirectScore     s(x, sigma) = f(x, sigma)               NCSN (Song and Ermon, arXiv 1907.05600)
    ScaledScore     s(x, sigma) = f(x, sigma) / sigma       NCSNv2, technique 3 (arXiv 2006.09011); sigma > 0
    RoundToLevels   s(x, sigma) = s(x, sigma_i)             sigma_i the nearest level the model was made for
    ScoreOnly       the same score, without the log density

A network is an `nn.Module` called as f(x, sigma), or f(x, sigma, condition), with sigma (B,) and never an index. A
network that is valid at a table of levels only keeps it in a buffer `noise_levels` (L,); for a network that does
not, name its schedule to the wrapper.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor, nn

from scorekit.base import Generator, NoiseSchedule, ScoreModel, Target, TargetFamily, WrappedFamily, expand

Moments: TypeAlias = tuple[Tensor, Tensor]


class NetworkModel(ScoreModel):
    """A score model around one network: the checks at its boundary, and the levels at which it is valid.

    Args:
        net: f(x, sigma[, condition]), with x (B, *E) and sigma (B,).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.

    Raises:
        ValueError: if both name levels, and not the same ones.
    """

    def __init__(self, net: nn.Module, noise: NoiseSchedule | None = None):
        super().__init__()
        table = _table(net)
        if noise is not None and table is not None:
            _require_same(type(net).__name__, table, noise)
        self.net, self.noise = net, noise

    @final
    def output(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the network makes of x (B, *E) and sigma (B,).

        Raises:
            ValueError: if x has no event axis, or sigma is not one number per example.
        """
        if x.ndim < 2 or sigma.shape != x.shape[:1]:
            raise ValueError(
                f"a score model takes x of shape (B, *E) and sigma of shape (B,); got {tuple(x.shape)} and "
                f"{tuple(sigma.shape)}"
            )
        return self.net(x, sigma) if condition is None else self.net(x, sigma, condition)

    @property
    def noise_levels(self) -> Tensor | None:
        """The levels of `noise`, else the network's buffer `noise_levels`, else None."""
        return _table(self.net) if self.noise is None else self.noise.levels()


_WRAPPERS = {"_orig_mod", "net"}  # where torch.compile's wrapper keeps its module, and a network made of a network


def _table(net: nn.Module) -> Tensor | None:
    for name, buffer in net.named_buffers():
        *path, last = name.split(".")
        if last == "noise_levels" and _WRAPPERS.issuperset(path):
            return buffer
    return None


def _require_same(name: str, table: Tensor, noise: NoiseSchedule) -> None:
    levels = noise.levels()
    known = table.to(levels)
    if known.shape != levels.shape or not torch.allclose(known, levels, rtol=1e-4, atol=0):
        raise ValueError(
            f"noise={noise}: {name} keeps a table of its own, of {len(known)} levels from {known[0]:g} to "
            f"{known[-1]:g}: expected the same levels, or noise=None"
        )


class NetworkScore(NetworkModel):
    """A score model around a network with an output of the shape of x.

    Args:
        net: f(x, sigma[, condition]), (B, *E), (B,) -> (B, *E).
        noise: the schedule with the only levels that f knows; None if f knows every sigma or keeps its own table.
    """

    @abstractmethod
    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The score from the network's output."""

    @final
    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score (B, *E) at x (B, *E) and sigma (B,), in the dtype of x whatever autocast did inside the network.

        Raises:
            ValueError: if x has no event axis, sigma is not one number per example, or the network changes the shape.
        """
        output = self.output(x, sigma, condition)
        if output.shape != x.shape:
            raise ValueError(
                f"{type(self.net).__name__} maps x of shape {tuple(x.shape)} to {tuple(output.shape)}: a score has the "
                "shape of x"
            )
        return self.parametrise(output.to(x.dtype), x, sigma)


@final
class DirectScore(NetworkScore):
    """s(x, sigma) = f(x, sigma): the network gives the score itself (NCSN).

    Args:
        net: the network f.
        noise: see `NetworkScore`.
    """

    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The output as it is."""
        return output


@final
class ScaledScore(NetworkScore):
    """s(x, sigma) = f(x, sigma) / sigma: the network gives minus the predicted noise, of norm about sqrt(d) at every
    level (NCSNv2).

    Args:
        net: the network f.
        noise: see `NetworkScore`.
        min_sigma: the smallest level at which the score may be asked for, > 0: the quotient has no limit at 0.

    Raises:
        ValueError: unless 0 < min_sigma < inf.
    """

    def __init__(self, net: nn.Module, noise: NoiseSchedule | None = None, min_sigma: float = 1e-5):
        super().__init__(net, noise)
        if not 0 < min_sigma < math.inf:
            raise ValueError(f"ScaledScore(min_sigma={min_sigma}): the score f / sigma needs 0 < min_sigma < inf")
        self._min_sigma = min_sigma

    @property
    def min_sigma(self) -> float:
        """The smallest level at which the score may be asked for."""
        return self._min_sigma

    def parametrise(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The output over sigma."""
        return output / expand(sigma, x)


@final
class RoundToLevels(ScoreModel):
    """A model that knows a table of levels, asked at any sigma >= 0: it answers with the score of the nearest one in
    log sigma.

    Args:
        model: the score model; its `noise_levels` are the table.

    Raises:
        ValueError: if the model has no table.
    """

    _boundaries: Tensor
    _ascending: Tensor

    def __init__(self, model: ScoreModel):
        super().__init__()
        if model.noise_levels is None:
            raise ValueError(
                f"RoundToLevels({type(model).__name__}): the model is valid at every sigma: nothing to round to"
            )
        self.model = model
        ascending = model.noise_levels.to(device=model.device, dtype=torch.float64).sort().values
        self.register_buffer("_boundaries", (ascending[1:] * ascending[:-1]).sqrt(), persistent=False)
        self.register_buffer("_ascending", ascending, persistent=False)

    def _apply(self, fn, recurse=True):
        """Move, but keep the table in double precision: in half, close levels would be confused."""
        boundaries, ascending = self._boundaries, self._ascending
        super()._apply(fn, recurse)
        self._boundaries, self._ascending = boundaries.to(self._boundaries.device), ascending.to(self._ascending.device)
        return self

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The model's score at the level nearest to each sigma (B,)."""
        nearest = torch.bucketize(sigma.to(self._boundaries.dtype), self._boundaries)
        return self.model(x, self._ascending[nearest].to(torch.promote_types(sigma.dtype, torch.float32)), condition)

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The model's target at the nearest level, with its log density if it knows it."""
        nearest = torch.bucketize(torch.tensor(sigma, dtype=torch.float64), self._boundaries.cpu())
        return self.model.at(self._ascending[nearest].item(), like=like, generator=generator)

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """Its own, if `set_moments` gave it some, else the model's."""
        own = super().moments
        return self.model.moments if own is None else own

    @property
    def inference_mode(self) -> bool:
        """As the model's."""
        return self.model.inference_mode


@dataclass(frozen=True, eq=False, repr=False)
class FunctionFamily(TargetFamily):
    """A family given by a function of (x, sigma), with sigma one Python float.

    Args:
        function: (x, sigma) -> a tensor.
        lowest: the smallest sigma at which it is valid.
        data_moments: (mean, std) of the clean data, if known.
    """

    function: Callable[[Tensor, float], Tensor]
    lowest: float = 0.0
    data_moments: Moments | None = None

    @property
    def min_sigma(self) -> float:
        """The smallest sigma at which the function is valid."""
        return self.lowest

    @property
    def moments(self) -> Moments | None:
        """(mean, std) of the clean data, if they were given."""
        return self.data_moments


def function_arguments(
    maker: str,
    function: Callable[[Tensor, float], Tensor],
    returns: str,
    min_sigma: float,
    moments: Moments | tuple[float, float] | None,
) -> tuple[Callable[[Tensor, float], Tensor], float, Moments | None]:
    """The fields of a `FunctionFamily`, checked; `maker` is the constructor that messages name, `returns` what its
    function gives.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if min_sigma is negative or not finite, or a moment not finite, or std < 0.
    """
    if not callable(function):
        raise TypeError(f"{maker}({function!r}): expected a function (x, sigma) -> {returns}")
    if not 0 <= min_sigma < math.inf:
        raise ValueError(f"{maker}(min_sigma={min_sigma}): expected 0 <= min_sigma < inf")
    pair = None if moments is None else (torch.as_tensor(moments[0]), torch.as_tensor(moments[1]))
    if pair is not None and not (pair[0].isfinite().all() and pair[1].isfinite().all() and (pair[1] >= 0).all()):
        raise ValueError(f"{maker}(moments={moments}): expected finite values and std >= 0")
    return function, min_sigma, pair


@final
@dataclass(frozen=True, eq=False, repr=False)
class ScoreFunction(FunctionFamily):
    """A family given by a function (x, sigma) -> grad log p_sigma(x); see `from_score`."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target with the function's score at one level."""
        return Target(lambda x: self._checked(self.function(x, sigma), x))

    def _checked(self, score: Tensor, x: Tensor) -> Tensor:
        if score.shape != x.shape:
            raise ValueError(
                f"the score function maps x of shape {tuple(x.shape)} to {tuple(score.shape)}: a score has the shape "
                "of x (a log density, (B,), belongs to another constructor)"
            )
        if score.dtype != x.dtype:
            raise ValueError(
                f"the score function maps x of type {x.dtype} to {score.dtype}: a score has the type of x, or the "
                "chains would change theirs"
            )
        return score

    def __repr__(self) -> str:
        return f"from_score({self.function!r})"


def from_score(
    function: Callable[[Tensor, float], Tensor],
    *,
    min_sigma: float = 0.0,
    moments: Moments | tuple[float, float] | None = None,
) -> ScoreFunction:
    """A target family from someone else's score.

    Args:
        function: (x, sigma) -> grad log p_sigma(x), with x (B, *E) and sigma one Python float. It is called
            with autograd off; a function that differentiates does so under `torch.enable_grad()`, or by `torch.func`.
        min_sigma: the smallest sigma at which it is valid.
        moments: (mean, std) of the clean data, numbers or tensors broadcastable to E: what the matched start needs.

    Returns:
        A family that every sampler takes.

    Raises:
        TypeError: if `function` cannot be called.
        ValueError: if min_sigma is negative, or a moment not finite, or std < 0; when sampling, if the function
            changes the shape or the type of x.
    """
    return ScoreFunction(*function_arguments("from_score", function, "score", min_sigma, moments))


@final
class ScoreOnly(WrappedFamily):
    """A family without its log density, so that Metropolis kernels go by the score alone: for tests and comparisons.

    Args:
        family: the family whose log density is hidden.
    """

    def __init__(self, family: TargetFamily):
        self._family = family

    @property
    def family(self) -> TargetFamily:
        """The family underneath."""
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target with its score and projection only."""
        target = self._family.at(sigma, like=like, generator=generator)
        return Target(target.score, project=target.project)
