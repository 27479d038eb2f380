"""Score models: families that are trained; and what they are under a condition."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import final

import torch
from torch import Tensor, nn

from scorekit._kinds import brief
from scorekit.base.families.family import TargetFamily, WrappedFamily
from scorekit.base.families.rows import of_each_chain, rows_of
from scorekit.random import Generator
from scorekit.target import Target


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

    def at(
        self,
        sigma: float,
        *,
        like: Tensor | None = None,
        generator: Generator = None,
        condition: Tensor | None = None,
    ) -> Target:
        """The target whose score is the model's at one level; a model that knows its log density adds it.

        Args:
            sigma, like, generator: see `TargetFamily.at`.
            condition: what the model is told: one for all chains or one for each, as in `given`.
        """
        return Target(lambda x: self(x, x.new_full((x.shape[0],), sigma), condition_for(condition, x)))

    @final
    def given(self, condition: Tensor | int) -> "Given":
        """The family of the model's densities under a condition.

        Args:
            condition: a class label, () for all chains or (B,) for each its own, of an integer type; or a vector, (D,)
                or (B, D), of a floating-point one.

        Raises:
            TypeError: if it is neither.
            ValueError: if it has another shape; when sampling, if there is not one for each chain.
        """
        return Given(self, condition)

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
    def evaluating(self) -> AbstractContextManager[None]:
        """Every submodule in evaluation mode; each one's own mode comes back at the end."""
        return evaluation_mode(self)


@final
class Given(WrappedFamily):
    """A score model's densities p_sigma(x | condition): what `ScoreModel.given` makes.

    Args:
        model: the score model.
        condition: see `ScoreModel.given`.
    """

    def __init__(self, model: ScoreModel, condition: Tensor | int):
        condition = torch.as_tensor(condition)
        if condition.dtype == torch.bool or condition.is_complex():
            raise TypeError(f"given({brief(condition)}): expected labels of an integer type or floating-point vectors")
        least = 1 if condition.is_floating_point() else 0
        if not least <= condition.ndim <= least + 1:
            raise ValueError(
                f"given: a condition of type {condition.dtype} and shape {tuple(condition.shape)}: expected a label () "
                "or labels (B,) of an integer type, or a vector (D,) or vectors (B, D) of a floating-point type"
            )
        self._model, self._condition = model, condition if condition.is_floating_point() else condition.long()

    @property
    def family(self) -> TargetFamily:
        """The model."""
        return self._model

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The model's target at one level, under the condition."""
        if like is not None:
            condition_for(self._condition, like)
        return self._model.at(sigma, like=like, generator=generator, condition=self._condition)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The model under the conditions of some chains."""
        kept = rows_of("a condition", self._condition, _one_condition(self._condition), first, count, shape[0])
        return self if kept is self._condition else Given(self._model, kept)

    def __repr__(self) -> str:
        shown = self._condition.item() if self._condition.ndim == 0 else f"condition {tuple(self._condition.shape)}"
        return f"{self._model.title}.given({shown})"


def condition_for(condition: Tensor | None, x: Tensor) -> Tensor | None:
    """A condition for each row of x (B, *E): (B,) or (B, D), from one for all or one for each.

    Raises:
        ValueError: if there is not one for each.
    """
    if condition is None:
        return None
    one = _one_condition(condition)
    of_each_chain("a condition", condition, one, len(x))
    return condition.to(x.device).expand(len(x), *one)


def _one_condition(condition: Tensor) -> tuple[int, ...]:
    return tuple(condition.shape[-1:]) if condition.is_floating_point() else ()


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """A module and its submodules in evaluation mode; each one's own mode comes back at the end."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


def _floating(module: nn.Module) -> Iterator[Tensor]:
    yield from (tensor for tensor in chain(module.parameters(), module.buffers()) if tensor.is_floating_point())
