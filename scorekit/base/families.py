"""What samplers draw from: densities that know their score at every noise level, networks among them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Literal, final

import torch
from torch import Tensor, nn

from scorekit.random import Generator
from scorekit.target import Target


class TargetFamily(ABC):
    """Anything that answers `at(sigma)` with a `Target`: all that a sampler needs."""

    @property
    def noise_levels(self) -> Tensor | None:
        """The only levels (L,) at which it is valid, of any precision and device; None for any sigma >= min_sigma."""
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
            ValueError: naming the first level that is below `min_sigma` by more than 1e-6 of it, or further than 1e-4
                (relative) from all `noise_levels`.
        """
        for sigma in levels.tolist():
            if sigma < self.min_sigma * (1 - 1e-6):
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

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target whose score is the model's at one level; a model that knows its log density adds it."""
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
