"""The interfaces of scorekit: the file that plugin authors read.

Symbols. x is a state (B, *E): B chains or examples, an event of any rank >= 1. sigma is the standard deviation of
the Gaussian noise; p_sigma is the data density convolved with N(0, sigma^2 I); the score is s(x, sigma) = grad_x log
p_sigma(x). sigma = 0 means clean data. h is a step size: drift h * score, noise sqrt(2 h) * z.

Training goes NoiseSchedule -> Estimator -> Objective over a ScoreModel. Sampling goes TargetFamily -> Target ->
Point -> Proposal -> Kernel, with a StepSize rule and a Transition between levels, driven by a Sampler.

A class is either abstract, in this file, or final. Components that are configuration (schedules, estimators,
proposals, kernels, step sizes, transitions, starts, samplers, densities) are frozen dataclasses of numbers, strings,
tuples and components: the fields are the repr and the JSON. `x` decides device and dtype; every function that draws
takes the keyword `generator`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, final

import torch
from torch import Tensor, nn

from scorekit._tensor import expand, sum_event
from scorekit.random import Generator, PerChain, fork, normal, rademacher, shift, uniform
from scorekit.target import Point, Target, TensorFunction

__all__ = [
    "Estimator", "GaussianProposal", "Generator", "Info", "Kernel", "Move", "NoiseSchedule", "PerChain", "Point",
    "Proposal", "Sampler", "ScoreModel", "Start", "State", "Step", "StepSize", "Target", "TargetFamily",
    "TensorFunction", "Transition", "WrappedFamily", "expand", "fork", "normal", "rademacher", "shift", "sum_event",
    "uniform",
]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------
# records


class Move(NamedTuple):
    """A proposed move: the points visited from the current to the proposed one, and the momentum at the end (None
    without one)."""

    path: tuple[Point, ...]
    momentum: Tensor | None = None


class Info(NamedTuple):
    """What a kernel that decides reports, one value a chain (B,); nothing is averaged over chains."""

    accepted: Tensor  # bool
    log_accept: Tensor  # log of the Metropolis ratio
    nonfinite: Tensor  # bool: the ratio was NaN or infinite, so the move was rejected
    trusted: Tensor  # bool: the line integral vouched for the ratio
    energy_error: Tensor  # total energy after minus before


class Step(NamedTuple):
    """One update of the chains. It holds the state only, so that keeping steps costs their x."""

    x: Tensor
    sigma: float
    info: Info | None
    phase: Literal["transition", "step", "final"]


class State(Protocol):
    """What travels from step to step: a NamedTuple of tensors that the kernel declares, with x (B, *E) at least.

    Fields named `score` (B, *E) and `log_prob` (B,) are handed back to the kernel as the values of the next `Point`.
    """

    @property
    def x(self) -> Tensor:
        """The chains' state (B, *E)."""
        ...

    def _asdict(self) -> dict[str, Tensor]: ...


StateT = TypeVar("StateT", bound=State)


# -----------------------------------------------------------------------------------------------------------------
# training


class NoiseSchedule(ABC):
    """The noise levels sigma_1 > ... > sigma_L that a model is trained on, and their law during training."""

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


# ------------------------------------------------------------------------------------------------------------ target
# families


class TargetFamily(ABC):
    """Anything that answers `at(sigma)` with a `Target`: all that a sampler needs."""

    @property
    def noise_levels(self) -> Tensor | None:
        """The only levels (L,) at which it is valid, float64 on the CPU; None for any sigma >= min_sigma."""
        return None

    @property
    def min_sigma(self) -> float:
        """The smallest sigma at which it is valid."""
        return 0.0

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """(mean, std) of the clean data, each broadcastable to E, if known: what the matched start uses. Wrappers
        delegate."""
        return None

    @property
    def refresh(self) -> Literal["level", "step"]:
        """How often the driver asks `at` again: once a level, or before every step."""
        return "level"

    @property
    def inference_mode(self) -> bool:
        """True if its scores may be evaluated under `torch.inference_mode`, that is without autograd inside."""
        return False

    @property
    def device(self) -> torch.device | None:
        """The default device of the chains, if it is bound to one."""
        return None

    @property
    def dtype(self) -> torch.dtype | None:
        """The default floating-point type of the chains, if it computes in one."""
        return None

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target at one noise level. It never evaluates the network.

        Args:
            sigma: the noise level, one Python float. Every family answers at 0, even below `min_sigma`: a sampler asks
                the target there for its projection, never for its score.
            like: the chains' x (B, *E), for families that draw something for each chain.
            generator: where those draws come from.
        """

    def evaluating(self) -> AbstractContextManager[None]:
        """A context in which the family's modules are in evaluation mode; their own modes come back at its end."""
        return nullcontext()

    @final
    def require(self, levels: Tensor) -> None:
        """Refuse noise levels at which the family is not valid: checked once, when an `Objective` or a `Sampler`
        starts.

        Raises:
            ValueError: naming the first level that is below `min_sigma`, or further than 1e-4 (relative) from all
                `noise_levels`.
        """
        for sigma in levels.tolist():
            if sigma < self.min_sigma:
                raise ValueError(
                    f"sigma = {sigma:g} is below the smallest level {self.min_sigma:g} at which {self.title} is valid"
                )
            if self.noise_levels is not None:
                known = self.noise_levels.double().cpu()
                if not torch.isclose(known, known.new_tensor(sigma), rtol=1e-4, atol=0).any():
                    shown = ", ".join(f"{level:.4g}" for level in known.tolist()[:12]) + (
                        ", ..." if len(known) > 12 else ""
                    )
                    raise ValueError(
                        f"sigma = {sigma:g} is not one of the {len(known)} levels that {self.title} was made for "
                        f"({shown}); wrap it in RoundToLevels to use the nearest one"
                    )


class WrappedFamily(TargetFamily):
    """A family made of another one: all that it does not define itself is the other's."""

    @property
    @abstractmethod
    def family(self) -> TargetFamily:
        """The family underneath."""

    @property
    def title(self) -> str:
        """The wrapped family's."""
        return self.family.title

    @property
    def noise_levels(self) -> Tensor | None:
        """The wrapped family's."""
        return self.family.noise_levels

    @property
    def min_sigma(self) -> float:
        """The wrapped family's."""
        return self.family.min_sigma

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """The wrapped family's."""
        return self.family.moments

    @property
    def refresh(self) -> Literal["level", "step"]:
        """The wrapped family's."""
        return self.family.refresh

    @property
    def inference_mode(self) -> bool:
        """The wrapped family's."""
        return self.family.inference_mode

    @property
    def device(self) -> torch.device | None:
        """The wrapped family's."""
        return self.family.device

    @property
    def dtype(self) -> torch.dtype | None:
        """The wrapped family's."""
        return self.family.dtype

    def evaluating(self) -> AbstractContextManager[None]:
        """The wrapped family's modules in evaluation mode."""
        return self.family.evaluating()


class ScoreModel(nn.Module, TargetFamily):
    """A trainable approximation s(x, sigma) of grad log p_sigma(x).

    It carries the mean and standard deviation of the data it was trained on, once `set_moments` was called, in its
    state dict.
    """

    data_mean: Tensor | None
    data_std: Tensor | None

    def __init__(self):
        super().__init__()
        self.register_buffer("data_mean", None)
        self.register_buffer("data_std", None)

    @abstractmethod
    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score: x (B, *E), sigma (B,) per example (never an index) -> (B, *E)."""

    @final
    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target whose score is the model's at one level."""
        return Target(lambda x: self(x, x.new_full((x.shape[0],), sigma)))

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """(mean, std) of the training data, each of the event's shape E; None before `set_moments`."""
        if self.data_mean is None or self.data_std is None:
            return None
        return self.data_mean, self.data_std

    @final
    def set_moments(self, mean: Tensor, std: Tensor) -> None:
        """Keep the data's mean and standard deviation (each of shape E, or broadcastable to it) with the model.

        Raises:
            ValueError: if they differ in shape, are not finite, or std is negative.
        """
        if mean.shape != std.shape or not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError(
                f"moments of shapes {tuple(mean.shape)} and {tuple(std.shape)}: mean and std need one shape, finite "
                "values and std >= 0"
            )
        self.data_mean = mean.detach().clone().to(device=self.device, dtype=self.dtype)
        self.data_std = std.detach().clone().to(device=self.device, dtype=self.dtype)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name in ("data_mean", "data_std"):  # an empty buffer takes the shape of what is loaded
            if self._buffers[name] is None and prefix + name in state_dict:
                self._buffers[name] = torch.empty_like(state_dict[prefix + name], device=self.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def inference_mode(self) -> bool:
        """True: a network's forward pass needs no autograd. A model that differentiates inside overrides it."""
        return True

    @property
    def device(self) -> torch.device | None:
        """The device of the first parameter, or buffer."""
        return next((tensor.device for tensor in _floating(self)), None)

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of the first floating-point parameter, or buffer."""
        return next((tensor.dtype for tensor in _floating(self)), None)

    @final
    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Every submodule in evaluation mode; each one's own mode comes back at the end."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _floating(module: nn.Module) -> Iterator[Tensor]:
    yield from (tensor for tensor in chain(module.parameters(), module.buffers()) if tensor.is_floating_point())


# -----------------------------------------------------------------------------------------------------------------
# sampling


class Proposal(ABC):
    """A random move from the current point, with the ratio of its densities."""

    needs_score: ClassVar[bool] = True

    @abstractmethod
    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        """Draw a move. `step_size` is (), (B,) or (B, *E)."""

    @abstractmethod
    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        """log q(current | proposed) - log q(proposed | current), (B,)."""


class GaussianProposal(Proposal):
    """q(y | x) = N(y; mean(x, h), 2 h I): a new sampler is its `mean`, and the ratio of densities follows."""

    @abstractmethod
    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        """The mean of the proposal from `point`, (B, *E)."""

    @final
    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        """Draw mean(x, h) + sqrt(2 h) z."""
        h = expand(step_size, point.x)
        proposed = self.mean(point, step_size) + (2 * h).sqrt() * normal(point.x, generator=generator)
        return Move((point, point.target.point(proposed)))

    @final
    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        """(|y - mean(x)|^2 - |x - mean(y)|^2) / 4h, summed over the event: (B,)."""
        current, proposed = move.path[0], move.path[-1]
        forward = (proposed.x - self.mean(current, step_size)).square()
        backward = (current.x - self.mean(proposed, step_size)).square()
        return sum_event((forward - backward) / (4 * expand(step_size, current.x)))


class Kernel(ABC, Generic[StateT]):
    """A Markov kernel on the chains' state at one noise level: pure tensor code, without a branch on a tensor's
    value."""

    @abstractmethod
    def init(self, point: Point, *, generator: Generator = None) -> StateT:
        """The state to start a level with."""

    @abstractmethod
    def step(
        self, point: Point, state: StateT, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[StateT, Info | None]:
        """One step from `point`. Info is None where nothing is decided.

        The point is the state's own, except where a family is asked again before every step: then it is the state's x
        under the new target, and what the state carries of score and log density is out of date. Read `point`.
        """

    @final
    def point(self, target: Target, state: StateT) -> Point:
        """The point that a state stands for, with what the state carries of its score and log density."""
        carried = state._asdict()
        return Point(target, state.x, score=carried.get("score"), log_prob=carried.get("log_prob"))


class StepSize(ABC):
    """A pure rule for the step size h at a noise level."""

    uses_point: ClassVar[bool] = False
    """True if h depends on the state: no Metropolis-adjusted kernel takes such a rule, since it breaks detailed
    balance."""

    @abstractmethod
    def __call__(self, sigma: float, point: Point) -> Tensor:
        """h as (), (B,) or (B, *E): a step for each coordinate is a diagonal mass."""


class Transition(ABC):
    """A move of the chains from one noise level to the next."""

    only_final: ClassVar[bool] = False
    """True if it moves to sigma = 0 only, and so can only be a sampler's last move."""

    @abstractmethod
    def move(
        self,
        family: TargetFamily,
        point: Point,
        target: Target,
        sigma_from: float,
        sigma_to: float,
        carry: Any = None,
        *,
        generator: Generator = None,
    ) -> tuple[Tensor, Any]:
        """Move the chains.

        Args:
            family: the targets at every level.
            point: the chains at `sigma_from`, whose score may be known already.
            target: `family.at(sigma_to)`.
            sigma_from, sigma_to: the two levels.
            carry: what the transition before returned; None at the first.
            generator: where noise is drawn from.

        Returns:
            The new x (the very tensor `point.x` if nothing was done) and the history for the next transition.
        """


class Start(ABC):
    """The law of a sampler's initial state."""

    @abstractmethod
    def draw(
        self, like: Tensor, sigma: float, *, family: TargetFamily | None = None, generator: Generator = None
    ) -> Tensor:
        """Initial chains shaped like `like` (B, *E) for a first noise level `sigma`."""


class Sampler(ABC):
    """Where chains start, and the steps they take through a family of targets."""

    @abstractmethod
    def initial(
        self,
        shape: tuple[int, ...],
        *,
        family: TargetFamily | None = None,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Initial chains of the given shape (B, *E)."""

    @abstractmethod
    def steps(self, family: TargetFamily, x: Tensor, *, generator: Generator = None) -> Iterator[Step]:
        """Check the pair of sampler and family at once, then yield every update of the chains that start at x."""

    @abstractmethod
    def num_updates(self) -> int:
        """How many updates `steps` yields at most: what a progress bar counts to."""
